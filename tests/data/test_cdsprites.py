"""CdSprites: captions and pictures say the same."""

import pytest
import torch

from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import cdsprites, sprite_attributes, sprite_captions, sprite_words

COLOURS = {
    "red": (192, 64, 0),
    "yellow": (228, 217, 111),
    "green": (10, 107, 60),
    "blue": (0, 127, 200),
    "pink": (255, 0, 255),
}
CLASSES = {1: 3, 2: 6, 3: 30, 4: 120, 5: 240}


def shown(level: int, rows: int = 240, pixels: int = 64) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Captions, pictures in [0, 255] and the pixels of shapes on the black backgrounds of levels 1 to 4."""
    batch = cdsprites(level, rows, pixels).everything()
    pictures = batch.data["image"] * 255
    return sprite_captions(batch.data["text"]), pictures, pictures.amax(1) > 0


@pytest.mark.parametrize("level", CLASSES)
def test_every_class_occurs_equally_often_and_has_its_caption(level: int) -> None:
    dataset = cdsprites(level, 480)
    assert torch.bincount(dataset.labels).tolist() == [480 // CLASSES[level]] * CLASSES[level]
    captions = sprite_captions(dataset.everything().data["text"])
    assert len(set(captions)) == CLASSES[level]
    by_class = {int(label): caption for label, caption in zip(dataset.labels, captions, strict=True)}
    assert all(by_class[int(label)] == caption for label, caption in zip(dataset.labels, captions, strict=True))


def test_the_words_of_a_caption_are_the_attributes_in_their_order() -> None:
    dataset = cdsprites(5, 240)
    attributes = sprite_attributes(dataset.labels)
    assert list(attributes) == ["size", "colour", "shape", "position", "background"]
    for row, caption in enumerate(sprite_captions(dataset.everything().data["text"])):
        size, colour, shape, down, right, background = caption.split()
        told = [int(values[row]) for values in attributes.values()]
        assert told == [
            ["small", "big"].index(size),
            list(COLOURS).index(colour),
            ["square", "ellipse", "heart"].index(shape),
            ["top left", "top right", "bottom left", "bottom right"].index(f"{down} {right}"),
            ["light", "dark"].index(background),
        ]


def test_shapes_have_the_colour_that_is_told() -> None:
    captions, pictures, _ = shown(3)
    for caption, picture in zip(captions, pictures, strict=True):
        colour = torch.tensor(COLOURS[caption.split()[1]], dtype=torch.float32)
        brightest = picture.flatten(1)[:, picture.sum(0).flatten().argmax()]
        assert torch.nn.functional.cosine_similarity(brightest, colour, dim=0) > 0.98


def test_shapes_stand_where_they_are_said_to() -> None:
    captions, _, inside = shown(4)
    for caption, mask in zip(captions, inside, strict=True):
        rows, columns = mask.nonzero().float().mean(0).tolist()
        assert ("bottom" in caption) == (rows > 32)
        assert ("right" in caption) == (columns > 32)


def test_big_shapes_cover_four_times_as_much_as_small_ones() -> None:
    captions, _, inside = shown(2)
    area = {name: [] for name in ("square", "ellipse", "heart")}
    for shape, found in area.items():
        for size in ("small", "big"):
            chosen = [
                mask.sum() for caption, mask in zip(captions, inside, strict=True) if caption == f"{size} {shape}"
            ]
            found.append(float(torch.stack(chosen).float().mean()))
    assert all(big / small == pytest.approx(4, rel=0.25) for small, big in area.values())


def test_shapes_differ_by_more_than_their_angle() -> None:
    """Of the smallest circle around it, a square covers 0.64, an ellipse its ratio of axes; a heart has no symmetry."""
    captions, _, inside = shown(1, 30, pixels=256)
    shares: dict[str, list[float]] = {"square": [], "ellipse": [], "heart": []}
    for caption, mask in zip(captions, inside, strict=True):
        place = mask.nonzero().float()
        radius = (place - place.mean(0)).norm(dim=1).max()
        shares[caption].append(float(len(place) / (torch.pi * radius**2)))
    means = [sum(each) / len(each) for each in shares.values()]
    assert means[0] == pytest.approx(2 / torch.pi, abs=0.03)
    assert means[1] == pytest.approx(0.55, abs=0.03)


def test_backgrounds_are_light_or_dark() -> None:
    dataset = cdsprites(5, 240)
    border = dataset.everything().data["image"][:, :, 0].mean((1, 2))
    dark = sprite_attributes(dataset.labels)["background"] == 1
    assert float(border[dark].max()) < 0.4 < 0.5 < float(border[~dark].min())


def test_sets_are_seeded_and_what_is_not_told_does_not_depend_on_the_class() -> None:
    first, again, other = (cdsprites(4, 30, seed=seed).everything().data["image"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    dataset = cdsprites(4, 30, pixels=16)
    one = dataset.batch([3]).data["image"]
    assert one.shape == (1, 3, 16, 16)
    assert torch.equal(one, dataset.everything().data["image"][3:4])


def test_a_model_takes_both_modalities() -> None:
    dataset = cdsprites(5, 8, pixels=16)
    vae = models.MVAE(
        [
            Modality("image", (3, 16, 16), likelihoods.Normal()),
            Modality("text", (6,), likelihoods.Categorical(len(sprite_words()))),
        ],
        latent_dim=2,
    )
    assert vae.loss(Batch(dataset.everything().data)).total.isfinite()


def test_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="level: expected a whole number from 1 to 5, got 6"):
        cdsprites(6)
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        cdsprites(1, 0)
    with pytest.raises(ValueError, match="level 1 has the classes 0 to 2, got 3"):
        sprite_attributes(torch.tensor([3]), 1)
    with pytest.raises(ValueError, match="codes from 0 to 15, got 16"):
        sprite_captions(torch.tensor([[16]]))
