"""Digits that stand somewhere else in each modality: translated PolyMNIST and PolyMNIST-Quadrant."""

import pytest
import torch

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.data import LabelledImages, polymnist_quadrant, polymnist_translated
from mmvae.data.digits.overlays import Overlay, Places, resized

QUADRANTS = {0: (0, 1), 1: (0, 0), 2: (1, 0), 3: (1, 1)}
"""Row and column of each."""


def blocks(num: int = 40, size: int = 16) -> LabelledImages:
    """Full squares of light: any digit that is placed and resized stays one."""
    return LabelledImages(torch.full((num, 1, size, size), 255, dtype=torch.uint8), torch.arange(num) % 4, "MNIST")


def black(count: int, size: int = 70) -> list[torch.Tensor]:
    return [torch.zeros(3, size, size, dtype=torch.uint8)] * count


@pytest.mark.parametrize("canvas", [64, 16])
def test_a_digit_fills_the_quadrant_that_its_private_label_names(canvas: int) -> None:
    dataset = polymnist_quadrant(blocks(), black(5), seed=3, canvas=canvas)
    batch, half = dataset.everything(), canvas // 2
    assert dataset.shapes["m0"] == (3, canvas, canvas)
    for name, images in batch.data.items():
        for image, quadrant in zip(images, dataset.private_labels[name].tolist(), strict=True):
            row, column = QUADRANTS[quadrant]
            light = image.amax(0)
            assert bool((light[row * half : (row + 1) * half, column * half : (column + 1) * half] == 1).all())
            assert float(light.sum()) == half * half
    assert {int(quadrant) for quadrant in dataset.private_labels["m2"]} == {0, 1, 2, 3}
    assert not torch.equal(dataset.private_labels["m0"], dataset.private_labels["m1"])


def test_quadrants_are_even_and_tell_nothing_about_the_digit() -> None:
    quadrants = polymnist_quadrant(blocks(4000, 4), black(1, 20), modalities=1, canvas=8)
    counts = torch.zeros(4, 4).index_put_(
        (quadrants.labels, quadrants.private_labels["m0"]), torch.ones(4000), accumulate=True
    )
    assert (counts - 250).abs().max() < 5 * 250**0.5


def test_inks() -> None:
    """The first modality is red, the fifth blue, and those between invert the photograph."""
    photographs = [torch.full((3, 20, 20), 100, dtype=torch.uint8)] * 5
    data = polymnist_quadrant(blocks(), photographs, canvas=8).everything().data
    found = {name: {tuple(pixel.tolist()) for pixel in (images * 255).round().movedim(1, -1).reshape(-1, 3)}
             for name, images in data.items()}  # fmt: skip
    outside, inverted = (100.0,) * 3, (155.0,) * 3
    assert found["m0"] == {outside, (255.0, 0.0, 0.0)}
    assert found["m4"] == {outside, (0.0, 0.0, 255.0)}
    assert all(found[name] == {outside, inverted} for name in ("m1", "m2", "m3"))


def test_a_translated_digit_stands_at_every_place_and_within_the_image() -> None:
    dataset = polymnist_translated(blocks(3000), black(2, 40), modalities=2)
    images = dataset.everything().data["m1"][:, 0]
    assert torch.equal(images.flatten(1).sum(1), torch.full((3000,), 21.0 * 21))  # none is cut off
    top, left = images.amax(2).argmax(1), images.amax(1).argmax(1)
    assert torch.bincount(top * 8 + left).count_nonzero() == 64
    assert torch.equal(dataset.private_labels["m1"], top * 3 // 8 * 3 + left * 3 // 8)


def test_digits_are_placed_as_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(0, 256, (6, 1, 5, 5), generator=generator).to(torch.uint8)
    background = torch.randint(0, 256, (3, 12, 14), generator=generator).to(torch.uint8)
    plain = Overlay(digits, background, 7, places=Places(5, 9, torch.arange(5)), threshold=255)  # nothing is inside
    placed = Overlay(digits, background, 7, places=Places(5, 9, torch.arange(5)), threshold=60)
    rows = torch.tensor([4, 0, 5])
    crops = (plain.take(rows) * 255).round().long()
    for image, crop, row in zip((placed.take(rows) * 255).round().long(), crops, rows.tolist(), strict=True):
        expected = crop.clone()
        top, left = placed.place[:, row].tolist()
        for y in range(5):
            for x in range(5):
                if digits[row, 0, y, x] > 60:
                    expected[:, top + y, left + x] = 255 - crop[:, top + y, left + x]
        assert torch.equal(image, expected)


def test_resizing_keeps_light_and_bytes() -> None:
    small = resized(blocks(3, 28).images, 21)
    assert small.shape == (3, 1, 21, 21)
    assert small.dtype == torch.uint8
    assert small.unique().tolist() == [255]


@pytest.mark.parametrize("make", [polymnist_quadrant, polymnist_translated])
def test_sets_are_seeded_and_named_by_their_form(make) -> None:
    first, again, other = (make(blocks(), black(2), seed, modalities=2) for seed in (0, 0, 1))
    assert torch.equal(first.private_labels["m1"], again.private_labels["m1"])
    assert not torch.equal(first.private_labels["m1"], other.private_labels["m1"])
    assert "form (photographs of the user)" in first.name
    with pytest.raises(ValueError, match="canvas: expected at least 8 pixels, got 4"):
        make(blocks(), black(2), modalities=2, canvas=4)
    with pytest.raises(ValueError, match="3 modalities need as many backgrounds, got 2"):
        make(blocks(), black(2), modalities=3)


def test_private_labels_follow_their_rows() -> None:
    dataset = polymnist_quadrant(blocks(), black(3), modalities=3, canvas=16)
    rows = torch.tensor([7, 2, 30])
    part = dataset.subset(rows).restrict(["m0", "m2"])
    assert list(part.private_labels) == ["m0", "m2"]
    assert torch.equal(part.private_labels["m2"], dataset.private_labels["m2"][rows])
    assert torch.equal(dataset.to("cpu").private_labels["m1"], dataset.private_labels["m1"])
    sizes = [len(each.private_labels["m0"]) for each in dataset.split([0.75, 0.25])]
    assert sizes == [30, 10]
    with pytest.raises(ValueError, match=r"private_labels of 'b': expected one of 'a' and shape \(4,\)"):
        mmvae.data.MultimodalDataset({"a": torch.zeros(4, 2)}, private_labels={"b": torch.zeros(4, dtype=torch.int64)})


def test_an_evaluation_reads_the_private_labels_of_its_data() -> None:
    dataset = polymnist_quadrant(blocks(60), black(3), modalities=3, canvas=8)
    torch.manual_seed(0)
    vae = models.MVAE([Modality(name, (3, 8, 8), likelihoods.Normal()) for name in ("m0", "m1")], 2, private_dim=2)
    train, test = dataset.split([0.5, 0.5])
    found = mmvae.evaluate(vae, test, ["disentanglement"], train=train, progress=False)
    assert {row["metric"] for row in found.rows} == {
        "shared_from_shared",
        "private_from_shared",
        "private_from_private",
        "shared_from_private",
    }
