from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from mmvae.data.digits import rendered
from mmvae.data.digits.glyphs import glyph_atlas
from mmvae.data.digits.rendered import rendered_digits
from mmvae.data.digits.row_draws import Draws

STYLES = {"plain": (1, 28, 28), "street": (3, 32, 32)}
unchecked = inspect.unwrap(rendered_digits)  # what a user meets, for whom no annotation is checked
SOME = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]


def digits(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(10, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("style", STYLES)
class TestImages:
    def test_shape_type_and_range(self, style):
        images = rendered_digits(digits(50), style)
        assert images.shape == (50, *STYLES[style])
        assert images.dtype == torch.uint8
        assert images.float().std((1, 2, 3)).min() > 1  # nothing is blank
        assert images.max() > 200
        assert images.min() < 20

    def test_a_seed_gives_the_same_images_and_another_seed_gives_others(self, style):
        first, again, other = (rendered_digits(SOME, style, seed=seed) for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert (first != other).flatten(1).any(1).all()

    def test_rows_of_the_same_digit_differ(self, style):
        images = rendered_digits([7] * 30, style).flatten(1)
        assert len(images.unique(dim=0)) == 30

    def test_a_list_and_tensors_of_any_whole_type_are_the_same(self, style):
        expected = rendered_digits(SOME, style)
        for dtype in (torch.uint8, torch.int32, torch.int64):
            assert torch.equal(rendered_digits(torch.tensor(SOME, dtype=dtype), style), expected)

    def test_the_global_generator_is_left_alone(self, style):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        images = rendered_digits(SOME, style)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(rendered_digits(SOME, style), images)

    def test_a_longer_list_begins_with_the_same_images(self, style):
        labels = digits(150)
        assert torch.equal(rendered_digits(labels, style)[:37], rendered_digits(labels[:37], style))

    def test_a_label_changes_its_own_row_alone(self, style):
        labels = digits(12)
        changed = labels.clone()
        changed[4] = (labels[4] + 1) % 10
        differs = (rendered_digits(labels, style) != rendered_digits(changed, style)).flatten(1).any(1)
        assert differs.nonzero().flatten().tolist() == [4]

    def test_no_image_depends_on_the_size_of_a_chunk(self, style, monkeypatch):
        labels = digits(20)
        expected = rendered_digits(labels, style).int()
        for chunk in (1, 7, 1000):
            monkeypatch.setattr(rendered, "_CHUNK", chunk)
            # Sums run in another order, which can round a grey level the other way.
            assert (rendered_digits(labels, style).int() - expected).abs().max() <= 1

    def test_labels_are_respected(self, style):
        # Ridge regression on half of the rows reads the other half: most of the plain digits, and far more than chance
        # of the street digits, once bright digits on dark plates are told from dark ones on bright plates.
        count = {"plain": 1000, "street": 1600}[style]
        labels = digits(count)
        pixels = rendered_digits(labels, style).float().mean(1).flatten(1) / 255
        pixels = pixels - pixels.mean(1, keepdim=True)
        if style == "street":
            middle = pixels.view(-1, 32, 32)
            polarity = middle[:, 8:24, 12:20].mean((1, 2), keepdim=True) - middle[:, :, :4].mean((1, 2), keepdim=True)
            pixels = (middle * polarity.sign()).flatten(1)
        features = torch.cat([pixels, torch.ones(count, 1)], 1).double()
        half = count // 2
        gram = features[:half].T @ features[:half] + 10.0 * torch.eye(features.shape[1], dtype=torch.float64)
        targets = torch.nn.functional.one_hot(labels, 10).double()
        weights = torch.linalg.solve(gram, features[:half].T @ targets[:half])
        accuracy = ((features[half:] @ weights).argmax(1) == labels[half:]).double().mean()
        assert accuracy > {"plain": 0.75, "street": 0.25}[style]


def test_street_images_are_as_bright_rough_and_colourful_as_real_ones(mmvae_data):
    with np.load(mmvae_data / "SVHN" / "svhn_train_first1083.npz", allow_pickle=False) as archive:
        real = torch.from_numpy(archive["X"]).movedim(-1, 1).float() / 255
    street = rendered_digits(digits(1000), "street").float() / 255

    def medians(images: torch.Tensor) -> dict[str, float]:
        grey = images.mean(1, keepdim=True)
        contrast = grey.std((1, 2, 3))
        steps = torch.nn.functional.conv2d(grey, torch.tensor([[[[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]]]))
        return {
            "brightness": grey.mean().item(),
            "contrast": contrast.median().item(),
            "colour": (images - grey).std((1, 2, 3)).median().item(),
            "sharpness": (steps.abs().mean((1, 2, 3)) / contrast).median().item(),
        }

    assert medians(street) == pytest.approx(medians(real), rel=0.2)


@pytest.mark.parametrize("style", STYLES)
class TestCache:
    def test_a_hit_equals_what_is_computed(self, style, tmp_path, monkeypatch):
        expected = rendered_digits(SOME, style)
        assert torch.equal(rendered_digits(SOME, style, cache=tmp_path / "new"), expected)
        monkeypatch.setattr(rendered, "_render", None)  # a hit renders nothing
        assert torch.equal(rendered_digits(SOME, style, cache=tmp_path / "new"), expected)

    def test_each_request_has_a_file_of_its_own(self, style, tmp_path):
        for labels, seed in ((SOME, 0), (SOME, 1), (SOME[::-1], 0), (SOME[:-1], 0)):
            rendered_digits(labels, style, seed=seed, cache=tmp_path)
        files = list(tmp_path.iterdir())
        assert len(files) == 4
        assert all(file.suffix == ".npz" and style in file.name for file in files)

    def test_a_new_version_does_not_read_old_files(self, style, tmp_path, monkeypatch):
        rendered_digits(SOME, style, cache=tmp_path)
        monkeypatch.setattr(rendered, "_VERSION", rendered._VERSION + 1)
        rendered_digits(SOME, style, cache=tmp_path)
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped", "shape", "name"])
    def test_a_damaged_file_is_made_again(self, style, damage, tmp_path):
        expected = rendered_digits(SOME, style, cache=tmp_path)
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        middle = len(whole) // 2
        if damage == "shape":
            np.savez(file, images=expected[:3].numpy())
        elif damage == "name":
            np.savez(file, pictures=expected.numpy())
        else:
            flipped = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 8]) + whole[middle + 8 :]
            file.write_bytes({"empty": b"", "cut": whole[:middle], "noise": b"no archive", "flipped": flipped}[damage])
        assert torch.equal(rendered_digits(SOME, style, cache=tmp_path), expected)
        (again,) = tmp_path.iterdir()
        with np.load(again, allow_pickle=False) as archive:
            assert np.array_equal(archive["images"], expected.numpy())

    def test_a_failed_write_leaves_nothing_behind(self, style, tmp_path, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="disk full"):
            rendered_digits(SOME, style, cache=tmp_path)
        assert not list(tmp_path.iterdir())


class TestErrors:
    @pytest.mark.parametrize("labels", [[], torch.zeros(0, dtype=torch.long), [[1, 2], [3, 4]], torch.tensor(3)])
    def test_no_flat_list_of_digits(self, labels):
        with pytest.raises(ValueError, match="flat list"):
            unchecked(labels, "plain")

    @pytest.mark.parametrize(("labels", "row"), [([1, 10], 1), ([-1, 3], 0), (torch.tensor([0, 5, 300]), 2)])
    def test_a_label_that_is_no_digit(self, labels, row):
        with pytest.raises(ValueError, match=f"in row {row}"):
            unchecked(labels, "street")

    @pytest.mark.parametrize("labels", [[1.0, 2.0], [True, False]])
    def test_labels_that_are_no_whole_numbers(self, labels):
        with pytest.raises(TypeError, match="whole numbers"):
            unchecked(labels, "plain")

    def test_an_unknown_style(self):
        with pytest.raises(ValueError, match="'plain', 'street'"):
            unchecked([1], "fancy")

    def test_a_negative_seed(self):
        with pytest.raises(ValueError, match="seed"):
            unchecked([1], "plain", seed=-1)


class TestGlyphs:
    def test_distances_are_distances(self):
        distance = glyph_atlas().distance
        slope = torch.stack(torch.gradient(distance, spacing=1 / 40, dim=(-2, -1))).square().sum(0).sqrt()
        assert slope.max() < 1.1  # never steeper than one ...
        assert slope.median() == pytest.approx(1, abs=0.03)  # ... and just that but for ridges

    def test_every_digit_has_the_same_height(self):
        inside = (glyph_atlas().distance > 0).any(-1)  # (F, 10, T), rows with ink
        assert (inside.sum(-1) - 40).abs().max() <= 1

    def test_no_two_faces_and_no_two_digits_of_a_face_are_alike(self):
        inside = (glyph_atlas().distance > 0).float()
        faces = inside.flatten(1)
        assert (torch.cdist(faces, faces, p=1) + 1e6 * torch.eye(len(faces))).min() > 100
        shapes = inside.flatten(2)
        assert (torch.cdist(shapes, shapes, p=1) + 1e6 * torch.eye(10)).min() > 30


class TestDraws:
    def test_a_row_has_its_numbers_whatever_stands_beside_it(self):
        together = Draws(3, 1, range(10, 20), uniforms=6, normals=4)
        alone = Draws(3, 1, [14], uniforms=6, normals=4)
        assert torch.equal(together.unit(2)[4], alone.unit(2)[0])
        assert torch.equal(together.noise(2, 2)[4], alone.noise(2, 2)[0])
        assert torch.equal(together.bell(1.0)[4], alone.bell(1.0)[0])

    def test_rows_seeds_and_streams_are_independent(self):
        columns = torch.stack(
            [Draws(seed, stream, range(2000), uniforms=1).unit() for seed in (0, 1) for stream in (1, 2)]
        )
        assert (torch.corrcoef(columns) - torch.eye(4)).abs().max() < 0.1  # 4.5 standard errors
        shifted = torch.stack([columns[0, 1:], columns[0, :-1]])
        assert torch.corrcoef(shifted)[0, 1].abs() < 0.1

    def test_distributions(self):
        draws = Draws(0, 1, range(4000), uniforms=9, normals=1)
        assert draws.between(2.0, 3.0).mean() == pytest.approx(2.5, abs=0.02)
        bell = draws.bell(2.0)
        assert bell.std() == pytest.approx(2.0, abs=0.1)
        assert bell.abs().max() <= 6
        assert draws.chance(0.2).float().mean() == pytest.approx(0.2, abs=0.03)
        assert draws.below(3).unique().tolist() == [0, 1, 2]
        assert draws.noise(1).std() == pytest.approx(1.0, abs=0.05)

    def test_asking_for_more_than_was_drawn_is_an_error(self):
        with pytest.raises(RuntimeError):
            Draws(0, 1, range(5), uniforms=2).unit(3)
