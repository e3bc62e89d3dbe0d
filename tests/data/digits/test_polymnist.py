from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvae.data import LabelledImages, SourceNotFound, polymnist, polymnist_form
from mmvae.data.digits.overlays import Overlay
from mmvae.data.digits.polymnist import photographs


def digits(num: int = 30, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num, 1, 28, 28), generator=generator).to(torch.uint8)
    return LabelledImages(images, torch.arange(num) % 3, "MNIST")


def picture(height: int = 40, width: int = 50, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)


def test_the_recipe_on_two_images_by_hand():
    """128 is outside the digit and 129 inside, where every colour c becomes 255 - c."""
    strokes = torch.tensor([[[[0, 128], [129, 255]]], [[[255, 0], [0, 0]]]], dtype=torch.uint8)
    background = torch.tensor([10, 100, 250], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 5, 4)
    images = (Overlay(strokes, background, seed=0).take(torch.tensor([0, 1])) * 255).round()
    for channel, (outside, inside) in enumerate(((10, 245), (100, 155), (250, 5))):
        assert images[0, channel].tolist() == [[outside, outside], [inside, inside]]
        assert images[1, channel].tolist() == [[inside, outside], [outside, outside]]


def test_every_image_is_a_crop_of_its_background_outside_the_digit():
    source, background = digits(12), picture(33, 36)
    overlay = Overlay(source.images, background, seed=1)
    taken = (overlay.take(torch.arange(12)) * 255).round().to(torch.uint8)
    corners = set()
    for image, strokes in zip(taken, source.images, strict=True):
        inside = strokes[0] > 128
        crop = torch.where(inside, 255 - image, image)
        found = [
            (top, left)
            for top in range(33 - 28 + 1)
            for left in range(36 - 28 + 1)
            if torch.equal(background[:, top : top + 28, left : left + 28], crop)
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 6
    assert max(top for top, _ in corners) < 33 - 28  # the last row and column are never reached, as in the original


def test_crops_are_uniform():
    overlay = Overlay(torch.zeros(4000, 1, 1, 1, dtype=torch.uint8), picture(2, 5), seed=0)
    background = picture(2, 5)[:, 0, :4].float() / 255
    taken = overlay.take(torch.arange(4000)).flatten(1)
    counts = torch.stack([(taken == colour).all(1).sum() for colour in background.T])
    assert counts.sum() == 4000
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_the_form_of_polymnist():
    source = digits()
    dataset = polymnist_form(source, [picture(seed=seed) for seed in range(5)], seed=2)
    assert dataset.names == ("m0", "m1", "m2", "m3", "m4")
    assert set(dataset.shapes.values()) == {(3, 28, 28)}
    assert len(dataset) == len(source)
    batch = dataset.everything()
    assert torch.bincount(batch.labels).tolist() == [10, 10, 10]
    assert batch.data["m0"].dtype == torch.float32
    assert all(0 <= float(images.min()) <= float(images.max()) <= 1 for images in batch.data.values())


def test_every_digit_occurs_once_in_each_modality_beside_others_of_its_class():
    """Over a black photograph an image is white inside the digit, so the digits can be told."""
    source = digits()
    inside = (source.images > 128).float().flatten(1)
    dataset = polymnist_form(source, [torch.zeros(3, 30, 30, dtype=torch.uint8)] * 2, modalities=2)
    batch = dataset.everything()
    rows = [torch.cdist(batch.data[name][:, 0].flatten(1), inside).argmin(1) for name in ("m0", "m1")]
    for found in rows:
        assert sorted(found.tolist()) == list(range(30))
        assert torch.equal(source.labels[found], batch.labels)
    assert not torch.equal(*rows)


def test_the_form_is_seeded_and_never_called_polymnist():
    pictures = [picture(seed=seed) for seed in range(2)]
    first, again, other = (polymnist_form(digits(), pictures, seed, modalities=2).everything() for seed in (0, 0, 1))
    assert torch.equal(first.data["m1"], again.data["m1"])
    assert not torch.equal(first.data["m1"], other.data["m1"])
    assert polymnist_form(digits(), pictures, modalities=2).name == "PolyMNIST-form (photographs of the user)"
    assert polymnist_form(digits()).name == "PolyMNIST-form (sklearn photographs)"
    rendered = LabelledImages(digits().images, digits().labels, "rendered plain digits")
    assert polymnist_form(rendered).name == "PolyMNIST-form (rendered plain digits, sklearn photographs)"


def test_the_photographs_are_five_and_differ():
    pictures = photographs()
    assert len(pictures) == 5
    assert all(picture.dtype == torch.uint8 and min(picture.shape[1:]) > 100 for picture in pictures)
    means = torch.stack([picture.float().mean((1, 2)) for picture in pictures])
    assert float(torch.pdist(means).min()) > 20  # grey levels


def test_backgrounds_that_do_not_do():
    with pytest.raises(ValueError, match="no room for crops"):
        Overlay(digits().images, picture(28, 50), 0)
    with pytest.raises(ValueError, match=r"\[3, height, width\]"):
        Overlay(digits().images, picture()[:1], 0)
    with pytest.raises(TypeError, match="bytes"):
        Overlay(digits().images.float(), picture(), 0)
    with pytest.raises(ValueError, match="5 modalities need as many backgrounds, got 2"):
        polymnist_form(digits(), [picture(), picture()])


def write_original(root: Path, part: str, num: int = 6) -> dict[tuple[int, int, int], np.ndarray]:
    generator = np.random.default_rng(0)
    written = {}
    for modality in range(5):
        folder = root / "MMNIST" / part / f"m{modality}"
        folder.mkdir(parents=True)
        for digit in range(2):
            for index in range(num):
                pixels = generator.integers(0, 256, (28, 28, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.{digit}.png")
                written[modality, digit, index] = pixels
    return written


def test_the_original_folders_are_read_by_index_and_digit(tmp_path):
    written = write_original(tmp_path, "train")
    dataset = polymnist(tmp_path, True)
    assert dataset.name == "PolyMNIST"
    assert len(dataset) == 12
    batch = dataset.everything()
    assert torch.bincount(batch.labels).tolist() == [6, 6]
    for row in range(12):
        images = [(batch.data[f"m{m}"][row].movedim(0, -1) * 255).round().byte().numpy() for m in range(5)]
        key = next(key[1:] for key, value in written.items() if key[0] == 0 and np.array_equal(value, images[0]))
        assert key[0] == int(batch.labels[row])
        assert all(np.array_equal(written[m, *key], images[m]) for m in range(5))
    assert len(polymnist(tmp_path, True, size=5)) == 5


def test_original_folders_that_do_not_fit(tmp_path):
    with pytest.raises(SourceNotFound, match=r"m0 to m4.*test"):
        polymnist(tmp_path, False)
    with pytest.raises(SourceNotFound, match="no folder of data sets"):
        polymnist(None, False)
    write_original(tmp_path, "train")
    (tmp_path / "MMNIST" / "train" / "m3" / "2.1.png").unlink()
    with pytest.raises(ValueError, match=r"2\.1\.png"):
        polymnist(tmp_path, True)
    Image.fromarray(np.zeros((20, 28, 3), dtype=np.uint8)).save(tmp_path / "MMNIST" / "train" / "m3" / "2.1.png")
    with pytest.raises(ValueError, match="20 x 28"):
        polymnist(tmp_path, True)
