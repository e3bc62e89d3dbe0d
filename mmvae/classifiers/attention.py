"""Where the class token of an encoder, and the proxy tokens beside it, look: over patches of images and over text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmvae.abilities import Evaluated
from mmvae.classifiers.classifier import MultimodalClassifier
from mmvae.classifiers.cmpt import CMPT
from mmvae.classifiers.tokens import Frozen, TokenEncoder, ViT
from mmvae.classifiers.tokens.own import OwnEncoder
from mmvae.plotting.figures.cells import Cells, Render, blank
from mmvae.plotting.figures.inputs import distinct_rows, evaluating, require, shown_labels, spread
from mmvae.plotting.figures.style import INK, MUTED, PALETTE, bare, new_figure, style
from mmvae.sources import Data

CLASS_TOKEN = "class token"
_POOL = 500


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention that learned tokens pay to the tokens of R data points, in the last block, mean over the heads.

    What is left to one is paid to the class token and to other learned tokens.

    Attributes:
        names: of the modalities.
        data: ``{name: [R, *shape]}``.
        observed: ``{name: [R]}``.
        weights: by modality and by who looks, ``[R, n]``, NaN where the datum lacks the modality. The class token of
            each encoder looks and, in a CMPT, the proxies that live inside it (the mean of those for one target).
        grids: by modality, how many patches there are below and beside each other; none for text.
        unavailable: why there is nothing about a modality, or about its proxies.
    """

    names: tuple[str, ...]
    data: dict[str, Shaped[np.ndarray, "R ..."]]
    observed: dict[str, Bool[np.ndarray, "R"]]
    weights: dict[str, dict[str, Float[np.ndarray, "R n"]]]
    grids: dict[str, tuple[int, int]]
    unavailable: dict[str, str]

    @classmethod
    def of(cls, model: Evaluated, data: Data, rows: int = 6) -> AttentionMaps:
        """What the library's own encoders (``nn.ViT``, ``nn.TextTransformer``) of a classifier look at.

        Encoders of other libraries, and precomputed features, do not show their attention; ``unavailable`` says so.

        Args:
            model: a classifier.
            data: of which some points are shown, of different classes where it has labels.
            rows: R, at most.

        Raises:
            TypeError: for a model that is no classifier, or has no encoder of the library's own.
        """
        able = require(model, MultimodalClassifier, "has no token encoders; this plot needs a classifier, such as CMPT")
        pool = spread(data, _POOL)
        batch = able.prepare(pool[distinct_rows(shown_labels(pool), pool.size, rows).tolist()])
        own = {name: encoder for name in batch.names if (encoder := own_encoder(able.encoder(name))) is not None}
        if not own:
            kinds = ", ".join(able.encoder(name).name for name in batch.names)
            raise TypeError(
                f"attention is available for the library's own encoders, nn.ViT and nn.TextTransformer, alone; this "
                f"model has {kinds}."
            )
        unavailable = {
            name: f"{able.encoder(name).name} is none of the library's own encoders"
            for name in batch.names
            if name not in own
        }
        with evaluating(model, 0), ExitStack() as stack:
            recorded = {name: stack.enter_context(recorded_attention(encoder)) for name, encoder in own.items()}
            able.encode(batch)
        weights = {}
        for name, encoder in own.items():
            (attention,), observed = recorded[name], batch.observed[name]
            lookers, reason = _lookers(able, name)
            if reason:
                unavailable[name] = reason
            count = _tokens(encoder, batch.data[name])
            weights[name] = {
                looker: _spread_out(attention[:, _places(places, count), 1 : 1 + count], observed)
                for looker, places in lookers.items()
            }
        arrays = {name: value.detach().cpu().numpy() for name, value in batch.data.items()}
        masks = {name: mask.cpu().numpy() for name, mask in batch.observed.items()}
        grids = {name: encoder.embedding.steps.grid for name, encoder in own.items() if isinstance(encoder, ViT)}
        return cls(batch.names, arrays, masks, weights, grids, unavailable)


def own_encoder(encoder: TokenEncoder) -> OwnEncoder | None:
    """The encoder, frozen or not, if it is of the library's own, otherwise ``None``."""
    inner = encoder.encoder if isinstance(encoder, Frozen) else encoder
    return inner if isinstance(inner, OwnEncoder) else None


@contextmanager
def recorded_attention(encoder: OwnEncoder) -> Iterator[list[Float[Tensor, "N Q K"]]]:
    """While this lasts, each pass through the encoder adds the attention of its last block, mean over the heads.

    Args:
        encoder: one of the library's own.
    """
    block: Any = encoder.transformer.blocks[-1]
    recorded: list[Tensor] = []
    parts: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            parts[name] = output.unflatten(-1, (block.heads, -1)).transpose(1, 2)  # [N, H, S, d / H]

        return hook

    def finish(module: Any, inputs: Sequence[Any], output: Tensor) -> None:
        query, key = parts.pop("query"), parts.pop("key")
        scores = query @ key.mT / query.shape[-1] ** 0.5
        attend = inputs[1] if len(inputs) > 1 else None
        if attend is not None:
            scores = scores.masked_fill(~attend, -torch.inf)
        recorded.append(scores.softmax(-1).mean(1))

    handles = [
        block.query.register_forward_hook(keep("query")),
        block.key.register_forward_hook(keep("key")),
        block.register_forward_hook(finish),
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _lookers(model: MultimodalClassifier, name: str) -> tuple[Mapping[str, range | None], str]:
    """Who looks in an encoder: places behind its tokens (``None``: the class token); and why some do not show."""
    lookers: dict[str, range | None] = {CLASS_TOKEN: None}
    others = [other for other in model.names if other != name]
    if not isinstance(model, CMPT) or not others:
        return lookers, ""
    if model.places[name] == "outside":
        return lookers, "its proxies live behind the encoder"
    each = model.num_proxies
    lookers |= {f"proxy for {other}": range(place * each, (place + 1) * each) for place, other in enumerate(others)}
    return lookers, ""


def _places(places: range | None, count: int) -> list[int]:
    """Of the tokens that look, in the sequence of the class token, ``count`` others, and learned ones."""
    return [0] if places is None else [1 + count + place for place in places]


def _spread_out(attention: Float[Tensor, "r Q n"], observed: Bool[Tensor, "R"]) -> Float[np.ndarray, "R n"]:
    """The mean over those who look, NaN in the rows that were not run."""
    weights = np.full((len(observed), attention.shape[-1]), np.nan)
    if bool(observed.any()):
        weights[observed.cpu().numpy()] = attention.mean(1).double().cpu().numpy()
    return weights


def _tokens(encoder: OwnEncoder, data: Tensor) -> int:
    """How many tokens a datum has."""
    return encoder.embedding.steps.length if isinstance(encoder, ViT) else data.shape[1]


_WIDTH = 6.0
"""Of the columns of a page, in inches."""
_LETTER, _LINE = 0.075, 0.17
"""Width of a letter and height of a line of text, in inches."""
_HEADING, _SPACE = 0.26, 0.16
_LABELS, _LEAST_WIDTH = 1.15, 4.2
_GAP = 0.04
_STRONGEST, _FULL = 0.85, 4.0
"""The largest opacity, and at how many times an even share of the attention it is reached."""


def attention_maps(arrays: AttentionMaps, render: Render | None = None) -> Figure:
    """The data, and below it where each token looks: orange where it looks, full from four times an even share on.

    Args:
        arrays: from :meth:`AttentionMaps.of`.
        render: by modality, a callable from codes ``[1]``, one token, to the string to show.
    """
    count = len(next(iter(arrays.observed.values())))
    cell = min(1.1, _WIDTH / count)
    words = {
        name: [[_word(token, name, render) for token in row] for row in arrays.data[name]]
        for name in arrays.weights
        if name not in arrays.grids
    }
    letters = int((cell - 2 * _GAP) / _LETTER)
    lines = {name: max(len(wrapped(row, letters)) for row in rows) for name, rows in words.items()}
    heights = [
        _HEADING + _SPACE + _rows(arrays, name) * (cell if name in arrays.grids else _text_height(lines.get(name, 0)))
        for name in arrays.names
    ]
    right, bottom = max(count * cell, _LEAST_WIDTH), sum(heights)
    figure = new_figure(_LABELS + right, bottom)
    figure.set_layout_engine("none")  # the axes are the page, in inches
    with style():
        ax = figure.add_axes((0, 0, 1, 1))
        top = 0.0
        for name, height in zip(arrays.names, heights, strict=True):
            ax.text(0, top + 0.6 * _HEADING, name, ha="left", va="center", fontsize=8.5, weight="bold")
            reason = arrays.unavailable.get(name)
            if reason:
                place = (0.1 * len(name) + 0.15, top + 0.6 * _HEADING)
                ax.text(*place, f"not available: {reason}", ha="left", va="center", fontsize=7, color=MUTED)
            if name in arrays.grids:
                _images(ax, arrays, name, top + _HEADING, cell)
            elif name in words:
                _texts(ax, arrays, name, words[name], top + _HEADING, (cell, _text_height(lines[name]), letters))
            top += height
        bare(ax)
        ax.set(xlim=(-_LABELS, right), ylim=(bottom, 0))
    return figure


def wrapped(words: list[str], letters: int) -> list[list[int]]:
    """The places of words in lines of at most so many letters; a longer word has a line of its own."""
    gap = _gap(words)
    lines: list[list[int]] = [[]]
    used = 0
    for place, word in enumerate(words):
        if lines[-1] and used + len(word) > letters:
            lines.append([])
            used = 0
        lines[-1].append(place)
        used += len(word) + gap
    return lines


def _rows(arrays: AttentionMaps, name: str) -> int:
    """Lines of the grid for a modality: the picture, which text does not need, and one for each that looks."""
    return len(arrays.weights.get(name, {})) + (name in arrays.grids)


def _text_height(lines: int) -> float:
    return lines * _LINE + 0.1 if lines else 0.0


def _label(ax: Axes, text: str, middle: float) -> None:
    text = "\n".join(textwrap.wrap(text, 17))
    ax.text(-0.08, middle, text, ha="right", va="center", fontsize=7.5, color=MUTED)


def _images(ax: Axes, arrays: AttentionMaps, name: str, top: float, cell: float) -> None:
    cells = Cells.of(name, arrays.data[name])
    for line, looker in enumerate([None, *arrays.weights[name]]):
        above = top + line * cell
        _label(ax, looker or "data", above + cell / 2)
        for column, value in enumerate(arrays.data[name]):
            frame = (column * cell, above, cell, cell)
            if not arrays.observed[name][column]:
                blank(ax, frame)
                continue
            cells.draw(ax, value, frame)
            if looker is not None:
                weights = arrays.weights[name][looker][column].reshape(arrays.grids[name])
                _glow(ax, weights, frame)


def _glow(ax: Axes, weights: Float[np.ndarray, "R C"], frame: tuple[float, float, float, float]) -> None:
    """The weights as opacity of a colour, over what is there already, which is dimmed first."""
    left, above, width, height = frame
    extent = (left + _GAP, left + width - _GAP, above + height - _GAP, above + _GAP)
    corner, size = (extent[0], extent[3]), (width - 2 * _GAP, height - 2 * _GAP)
    ax.add_patch(Rectangle(corner, *size, facecolor="black", alpha=0.35, linewidth=0, zorder=3))
    colours = np.ones((*weights.shape, 4)) * to_rgba(PALETTE[1])
    colours[..., 3] = _STRONGEST * strength(weights)
    ax.imshow(colours, extent=extent, aspect="auto", zorder=4)


def strength(weights: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The weights over a few times an even share of them, at most one; tokens that nobody can look at have no share."""
    even = float(weights.sum()) / max(int((weights > 0).sum()), 1)
    return (weights / max(_FULL * even, 1e-12)).clip(0, 1)


def _texts(
    ax: Axes,
    arrays: AttentionMaps,
    name: str,
    words: list[list[str]],
    top: float,
    sizes: tuple[float, float, int],
) -> None:
    cell, height, letters = sizes
    for line, (looker, weights) in enumerate(arrays.weights[name].items()):
        above = top + line * height
        _label(ax, looker, above + height / 2)
        for column, row in enumerate(words):
            if not arrays.observed[name][column]:
                blank(ax, (column * cell, above, cell, height))
                continue
            _write(ax, row, strength(weights[column]), (column * cell + _GAP, above + 0.05, letters))


def _write(ax: Axes, words: list[str], weights: np.ndarray, place: tuple[float, float, int]) -> None:
    left, above, letters = place
    gap = _gap(words)
    for turn, line in enumerate(wrapped(words, letters)):
        x, y = left, above + turn * _LINE
        for index in line:
            width = len(words[index]) * _LETTER
            opacity = _STRONGEST * float(weights[index])
            ax.add_patch(Rectangle((x, y), width, 0.9 * _LINE, facecolor=PALETTE[1], alpha=opacity, linewidth=0))
            middle = (x + width / 2, y + 0.45 * _LINE)
            ax.text(*middle, words[index], ha="center", va="center", fontsize=7.5, family="monospace", color=INK)
            x += width + gap * _LETTER


def _gap(words: list[str]) -> int:
    """Letters between words: none where all tokens are single letters."""
    return 0 if all(len(word) == 1 for word in words) else 1


def _word(token: Shaped[np.generic, ""], name: str, render: Render | None) -> str:
    if render is None or name not in render:
        return str(token)
    return render[name](torch.as_tensor(np.asarray([token]))).strip() or "\N{MIDDLE DOT}"
