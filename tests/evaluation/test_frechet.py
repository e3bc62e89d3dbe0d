from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy.linalg
import torch
from torch import nn

from mmvae import Batch
from mmvae.evaluation import evaluate, frechet_distance
from mmvae.evaluation.frechet import Inception, feature_distance


def random_covariance(size: int, rank: int, seed: int) -> torch.Tensor:
    factor = torch.randn(size, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.mT


def test_one_dimension_has_a_closed_form() -> None:
    found = frechet_distance(torch.tensor([1.0]), torch.tensor([[4.0]]), torch.tensor([3.5]), torch.tensor([[9.0]]))
    assert found == pytest.approx(2.5**2 + (2 - 3) ** 2)


def test_covariances_that_commute_have_a_closed_form() -> None:
    basis = torch.linalg.qr(random_covariance(6, 6, 0)).Q
    first, second = torch.rand(6, dtype=torch.float64) * 5, torch.rand(6, dtype=torch.float64) * 5
    zero = torch.zeros(6, dtype=torch.float64)
    found = frechet_distance(zero, basis @ first.diag() @ basis.mT, zero, basis @ second.diag() @ basis.mT)
    assert found == pytest.approx(float((first.sqrt() - second.sqrt()).square().sum()))


@pytest.mark.parametrize("size", [2, 12])
def test_it_agrees_with_scipys_matrix_root(size: int) -> None:
    first, second = random_covariance(size, size, 1), random_covariance(size, size, 2)
    mean, other = torch.randn(2, size, dtype=torch.float64)
    root = scipy.linalg.sqrtm((first @ second).numpy()).real
    expected = float((mean - other).square().sum() + first.trace() + second.trace()) - 2 * root.trace()
    assert frechet_distance(mean, first, other, second) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(other, second, mean, first) == pytest.approx(expected, rel=1e-7)


def test_singular_covariances_are_no_trouble() -> None:
    flat = random_covariance(8, 3, 3)
    zero = torch.zeros(8, dtype=torch.float64)
    assert frechet_distance(zero, flat, zero, flat) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(zero, flat, zero, 0 * flat) == pytest.approx(float(flat.trace()))


def test_equal_features_are_no_distance_apart_and_a_shift_is_its_square() -> None:
    features = torch.randn(50, 4)
    assert feature_distance(features, features.flip(0)) == pytest.approx(0, abs=1e-5)
    assert feature_distance(features, features + 2) == pytest.approx(16, rel=1e-4)


class Judge(nn.Module):
    def features(self, data: torch.Tensor) -> torch.Tensor:
        return data

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return data


def test_classifier_features_bear_their_own_name(known) -> None:
    data = torch.randn(40, 3)
    model = known({"a": lambda z: z + 1, "b": lambda z: z}, data)
    judges = {"a": Judge(), "b": Judge()}
    found = evaluate(model, {"a": data, "b": data}, ["frechet"], classifiers=judges, max_data=40, progress=False)
    assert {row["metric"] for row in found.rows} == {"classifier_feature_fd"}
    for given in ("", "a", "b", "a+b"):
        assert found.value("classifier_feature_fd", given, "a") == pytest.approx(3, rel=1e-4)
        assert found.value("classifier_feature_fd", given, "b") == pytest.approx(0, abs=1e-5)
    assert any("no Inception weights" in note for note in found.notes)


def test_a_classifier_without_features_is_noted(known) -> None:
    model = known({"a": lambda z: z}, torch.eye(3))
    found = evaluate(model, {"a": torch.eye(3)}, ["frechet"], classifiers={"a": nn.Identity()}, progress=False)
    assert not found.rows
    assert any("no features" in note for note in found.notes)


def test_what_too_few_rows_leave_out_is_noted(known) -> None:
    data, there = torch.randn(5, 3), torch.arange(5) < 1
    model = known({"a": lambda z: z, "b": lambda z: z}, data)
    holed = Batch({"a": data, "b": data}, {"b": there})
    found = evaluate(model, holed, ["frechet"], classifiers={"a": Judge(), "b": Judge()}, progress=False)
    assert {row["target"] for row in found.rows} == {"a"}
    assert "classifier_feature_fd: left out for b, which fewer than 2 rows have." in found.notes
    assert "classifier_feature_fd: left out for a from b, which fewer than 2 rows have." in found.notes
    (row,) = found.select("classifier_feature_fd", "a", "a")
    assert "note" not in row
    narrow = evaluate(model, holed[:3], ["frechet"], classifiers={"a": Judge()}, subsets=["a"], progress=False)
    assert "singular" in narrow.select("classifier_feature_fd", "a", "a")[0]["note"]


class FakeInception(nn.Module):
    """In the place of pytorch-fid's network: fetches its weights as that does, and gives 6 features."""

    BLOCK_INDEX_BY_DIM = {2048: 3}  # noqa: RUF012 (as in pytorch-fid)

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        from pytorch_fid import inception

        assert blocks == [3]
        self.scale = nn.Parameter(inception.load_state_dict_from_url("somewhere")["scale"])
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(images)
        return [self.scale * images.mean((2, 3)).repeat(1, 2)[:, :, None, None]]


@pytest.fixture
def inception_weights(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from pytorch_fid import inception
    from safetensors.torch import save_file

    monkeypatch.setattr(inception, "InceptionV3", FakeInception)
    save_file({"scale": torch.tensor(1.0)}, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_grey_images_are_repeated_and_clipped_for_inception(inception_weights) -> None:
    network = Inception(inception_weights)
    assert network(torch.full((2, 1, 4, 4), 1.5)).shape == (2, 6)
    (seen,) = network.network.seen
    assert seen.shape == (2, 3, 4, 4)
    assert float(seen.min()) == float(seen.max()) == 1


def test_weights_come_from_the_file_or_not_at_all(tmp_path, inception_weights) -> None:
    with pytest.raises(FileNotFoundError, match="inception_weights"):
        Inception(tmp_path / "nowhere.pth")
    torch.save({"scale": torch.tensor(3.0)}, tmp_path / "weights.pth")
    assert float(Inception(tmp_path / "weights.pth").network.scale.detach()) == 3


def test_fid_is_of_images_alone_and_named_so(known, inception_weights) -> None:
    images, vectors = torch.rand(6, 1, 2, 2), torch.rand(6, 4)

    class Painter(known):
        def infer(self, batch, subset=None, observed=None):
            flat = Batch({name: value.flatten(1) for name, value in batch.data.items()})
            return super().infer(flat, subset, observed)

    model = Painter({"image": lambda z: z.reshape(-1, 1, 2, 2), "vector": lambda z: z}, torch.rand(10, 4))
    found = evaluate(
        model, {"image": images, "vector": vectors}, ["frechet"], inception_weights=inception_weights, progress=False
    )
    assert {(row["metric"], row["target"]) for row in found.rows} == {("fid", "image")}
    assert found.value("fid", "image") == pytest.approx(0, abs=1e-4)
    assert found.value("fid", "vector") > 0
    assert "singular" in found.rows[0]["note"]
    assert any("classifier_feature_fd" in note for note in found.notes)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, nn.Module]]:
    """A file in the layout of pytorch-fid's, with weights at random, and the whole network that it belongs to."""
    from pytorch_fid import inception

    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    with pytest.MonkeyPatch.context() as patch:  # of torchvision's network pytorch-fid makes its own, then loads
        patch.setattr(inception, "_inception_v3", lambda **_: network)
        patch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: network.state_dict())
        inception.fid_inception_v3()
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(network.state_dict(), path)
    yield path, network.eval()
    path.unlink()  # 90 MB


def test_features_are_those_of_pytorch_fids_network(published) -> None:
    """Its last pooled layer, for grey images of another size and range."""
    path, whole = published
    images = torch.rand(2, 1, 28, 28)
    whole.fc = nn.Identity()
    colour = nn.functional.interpolate(images.repeat(1, 3, 1, 1), (299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected = whole(2 * colour - 1)
        found = Inception(path)(images)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_are_no_weights_are_named(tmp_path, name) -> None:
    for content in (b"", b"<html>not found</html>"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"inception_weights: .*{name} is damaged"):
            Inception(tmp_path / name)


def test_weights_of_another_network_are_named(tmp_path) -> None:
    for content, message in (({"scale": torch.ones(1)}, "does not fit"), ([torch.ones(1)], "but a list")):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(ValueError, match=rf"inception_weights: .*weights\.pth .*{message}"):
            Inception(tmp_path / "weights.pth")


class Loud:
    """Runs code where a file that holds it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise AssertionError('unpickled')",)


def test_no_code_in_a_file_of_weights_is_run(tmp_path) -> None:
    torch.save({"scale": Loud()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="no file of weights"):
        Inception(tmp_path / "weights.pth")
