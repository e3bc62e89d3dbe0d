"""CdSprites: pictures of coloured shapes, and captions whose every word is an attribute of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmvae.casting import as_models_read
from mmvae.data.dataset import MultimodalDataset
from mmvae.seeds import stream

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": ("small", "big"),
    "colour": ("red", "yellow", "green", "blue", "pink"),
    "shape": ("square", "ellipse", "heart"),
    "position": ("top left", "top right", "bottom left", "bottom right"),
    "background": ("light", "dark"),
}
"""Values of each attribute, in the order of a caption."""

_SINCE = {"shape": 1, "size": 2, "colour": 3, "position": 4, "background": 5}
"""Level from which on a caption tells an attribute, and pictures differ in it."""

_COLOURS = ((192, 64, 0), (228, 217, 111), (10, 107, 60), (0, 127, 200), (255, 0, 255))
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_RADII = {"small": 0.09, "big": 0.18}
"""Half of a shape's width, as a share of the picture's."""

_MARGIN = 0.2
_NEAR, _FAR = (0.2, 0.35), (0.65, 0.8)
"""Centres of shapes: without a position at least a margin from the edge, with one within these shares."""

_BRIGHTNESS = {"light": 0.75, "dark": 0.2}
_TEXTURE = 0.2
"""Share by which a texture darkens and lightens."""

_FINER = 2
"""Pictures are drawn that much finer, and averaged, so that edges are smooth."""


class Sprites:
    """Rows that are pictures of one shape each, drawn from what is known of them when they are read.

    Args:
        attributes: Number of the value of each attribute that the pictures differ in, ``{name: int64 [n]}``.
        pixels: Height and width of a picture.
        seed: Of what no caption tells: the angle, the place within a quadrant, the textures.
    """

    def __init__(self, attributes: Mapping[str, Int64[Tensor, "n"]], pixels: int, seed: int) -> None:
        self._attributes = dict(attributes)
        self._pixels = pixels
        count = len(attributes["shape"])
        self._chance = torch.rand(count, 10, generator=stream(seed, "sprites"))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return (3, self._pixels, self._pixels)

    def __len__(self) -> int:
        return len(self._chance)

    def take(self, rows: Int64[Tensor, "B"]) -> Float[Tensor, "B 3 P P"]:
        """The pictures of these rows, in [0, 1]."""
        chosen = {name: values.index_select(0, rows) for name, values in self._attributes.items()}
        chance = self._chance.index_select(0, rows)
        axis = (torch.arange(self._pixels * _FINER, device=rows.device) + 0.5) / (self._pixels * _FINER)
        down, right = axis[:, None], axis[None, :]
        top, left = _centre(chosen.get("position"), chance[:, 0], chance[:, 1])
        inside = _inside(
            chosen["shape"],
            right - left[:, None, None],
            down - top[:, None, None],
            _radius(chosen.get("size"), chance[:, 2]),
            2 * torch.pi * chance[:, 3],
        )
        ink, ground = _ink(chosen.get("colour"), rows), _ground(chosen.get("background"), rows)
        if "colour" in chosen:
            ink = ink * _texture(right, down, chance[:, 4:7])
        if "background" in chosen:
            ground = ground * _texture(right, down, chance[:, 7:10])
        picture = torch.where(inside.unsqueeze(1), ink, ground)
        picture = torch.nn.functional.avg_pool2d(picture, _FINER)
        return as_models_read(picture.round().clamp(0, 255).to(torch.uint8))

    def to(self, device: torch.device) -> Sprites:
        """The same rows on another device."""
        moved = Sprites.__new__(Sprites)
        moved._attributes = {name: values.to(device) for name, values in self._attributes.items()}
        moved._pixels, moved._chance = self._pixels, self._chance.to(device)
        return moved


def cdsprites(level: int = 5, size: int = 30_000, pixels: int = 64, seed: int = 0) -> MultimodalDataset:
    """CdSprites, drawn anew: ``"image"`` ``[3, pixels, pixels]`` and ``"text"``, one code for each word of a caption.

    At level 1 pictures differ in their shape. Each further level adds an attribute, to pictures and captions: the size,
    the colour (and a texture), the position, the background. Every class, which is a combination of attributes, occurs
    equally often, to within one picture. Angles, the exact place and textures are in no caption.

    Args:
        level: From 1 to 5.
        size: Number of data points.
        pixels: Height and width of a picture.
        seed: Of the order of the classes and of what no caption tells.

    Returns:
        A dataset with the class as label. Score the text by ``likelihoods.Categorical(len(sprite_words()))``;
        :func:`sprite_captions` reads it, and :func:`sprite_attributes` says what a class is made of.

    Raises:
        ValueError: For a level that does not exist, or sizes below one.

    Source: the rules of CdSprites+ (Sejnova, Vavrecka and Stepanova 2024, "Bridging the gap between multimodal VAEs and
    their evaluation"). Pictures are rendered here, and differ: textures are waves, positions of the first three levels
    are anywhere.
    """
    names = _told(level)
    if size < 1 or pixels < 1:
        raise ValueError(f"size and pixels: expected at least 1, got {size} and {pixels}.")
    classes = _classes(names)
    generator, rounds = stream(seed, "classes"), -(-size // len(classes))
    labels = torch.cat([torch.randperm(len(classes), generator=generator) for _ in range(rounds)])[:size]
    attributes = sprite_attributes(labels, level)
    codes = torch.tensor([[sprite_words().index(word) for word in each] for each in _captions(level)])
    return MultimodalDataset(
        {"image": Sprites(attributes, pixels, seed), "text": codes},
        {"text": labels},
        labels,
        name=f"CdSprites, level {level} (rendered)",
        sources_used={"image": "rendered sprites", "text": "captions"},
        seed=seed,
    )


def sprite_words() -> list[str]:
    """The words of all captions; a code is a place in this list."""
    return [word for values in _ATTRIBUTES.values() for word in dict.fromkeys(" ".join(values).split())]


def sprite_captions(codes: Int64[Tensor, "N L"]) -> list[str]:
    """The captions that codes stand for.

    Raises:
        ValueError: For codes that are no words.
    """
    words = sprite_words()
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < len(words):
        raise ValueError(f"text: expected codes from 0 to {len(words) - 1}, got {int(codes.min())} to {codes.max()}.")
    return [" ".join(words[code] for code in row) for row in codes.tolist()]


def sprite_attributes(labels: Int64[Tensor, "N"], level: int = 5) -> dict[str, Int64[Tensor, "N"]]:
    """What classes are made of: the number of the value of each attribute of a level, ``{attribute: int64 [N]}``.

    They are labels for probes and judges: of the shape, of the colour and so on.

    Raises:
        ValueError: For a level that does not exist, or a label that is no class of it.
    """
    classes = _classes(_told(level))
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise ValueError(f"labels: level {level} has the classes 0 to {len(classes) - 1}, got {labels.max()}.")
    table = torch.tensor(classes, device=labels.device)[labels]
    return {name: table[:, place] for place, name in enumerate(_told(level))}


def _told(level: int) -> list[str]:
    """Attributes that captions of a level tell."""
    if level not in _SINCE.values():
        raise ValueError(f"level: expected a whole number from 1 to {max(_SINCE.values())}, got {level!r}.")
    return [name for name in _ATTRIBUTES if _SINCE[name] <= level]


def _classes(names: Sequence[str]) -> list[tuple[int, ...]]:
    """All combinations of values of these attributes, by number."""
    combined: list[tuple[int, ...]] = [()]
    for name in names:
        combined = [(*each, value) for each in combined for value in range(len(_ATTRIBUTES[name]))]
    return combined


def _captions(level: int) -> list[list[str]]:
    """The words of each class of a level; all have as many."""
    names = _told(level)
    return [
        " ".join(_ATTRIBUTES[name][value] for name, value in zip(names, values, strict=True)).split()
        for values in _classes(names)
    ]


def _centre(position: Tensor | None, down: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Where shapes stand, as shares of height and width, from two numbers in [0, 1]."""
    if position is None:
        return _MARGIN + (1 - 2 * _MARGIN) * down, _MARGIN + (1 - 2 * _MARGIN) * right
    centres = []
    for is_far, share in ((position >= 2, down), (position % 2 == 1, right)):
        near, far = (low + (high - low) * share for low, high in (_NEAR, _FAR))
        centres.append(torch.where(is_far, far, near))
    return centres[0], centres[1]


def _radius(size: Tensor | None, chance: Tensor) -> Tensor:
    small, big = _RADII["small"], _RADII["big"]
    if size is None:
        return small + (big - small) * chance
    return torch.where(size == 1, big, small)


def _ink(colour: Tensor | None, rows: Tensor) -> Tensor:
    if colour is None:
        return _filled(_WHITE, rows)
    return torch.tensor(_COLOURS, dtype=torch.float32, device=rows.device)[colour][:, :, None, None]


def _ground(background: Tensor | None, rows: Tensor) -> Tensor:
    if background is None:
        return _filled(_BLACK, rows)
    levels = torch.tensor([_BRIGHTNESS[word] for word in _ATTRIBUTES["background"]], device=rows.device)
    return 255 * levels[background][:, None, None, None].expand(-1, 3, 1, 1)


def _filled(colour: tuple[int, int, int], rows: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32, device=rows.device).expand(len(rows), 3)[:, :, None, None]


def _texture(right: Tensor, down: Tensor, chance: Float[Tensor, "B 3"]) -> Float[Tensor, "B 1 P P"]:
    """Waves around one, of an angle, a length and a phase of chance."""
    angle, length, phase = (each[:, None, None] for each in (torch.pi * chance).unbind(1))
    along = right * angle.cos() + down * angle.sin()
    waves = (2 * torch.pi * (4 + 2 * length) * along + 2 * phase).sin()
    return 1 + _TEXTURE * waves.unsqueeze(1)


def _inside(
    shape: Int64[Tensor, "B"],
    x: Float[Tensor, "B 1 P"],
    y: Float[Tensor, "B P 1"],
    radius: Float[Tensor, "B"],
    angle: Float[Tensor, "B"],
) -> Bool[Tensor, "B P P"]:
    """Which pixels lie within each shape, which is turned by an angle."""
    radius, cos, sin = (each[:, None, None] for each in (radius, angle.cos(), angle.sin()))
    u, v = (cos * x + sin * y) / radius, (cos * y - sin * x) / radius
    square = torch.maximum(u.abs(), v.abs()) <= 0.8
    ellipse = u.square() + (v / 0.55).square() <= 1
    across, up = 1.2 * u, 0.1 - 1.2 * v
    heart = (across.square() + up.square() - 1) ** 3 <= across.square() * up**3
    which = shape[:, None, None]
    return torch.where(which == 0, square, torch.where(which == 1, ellipse, heart))
