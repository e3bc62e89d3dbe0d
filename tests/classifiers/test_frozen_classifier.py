"""Features in the place of data: the same latents, losses and weights; kept on disk, and noticed when damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import mmvae
from mmvae import Batch
from mmvae.classifiers.feature_cache import FeatureWriter, Fingerprint
from mmvae.classifiers.frozen_classifier import FrozenEncoderClassifier
from mmvae.files import temporary_beside
from mmvae.models import LateFusion, MoLT
from mmvae.nn import Precomputed, TextTransformer, ViT, wrap_encoder

pytestmark = pytest.mark.filterwarnings("ignore:canonical correlations of views")

SIZE = 10
OBSERVED = {"image": torch.arange(SIZE) != 2, "text": torch.arange(SIZE) < 8}


def encoders() -> dict[str, nn.Module]:
    return {
        "image": ViT((1, 8, 8), patch=4, dim=12, depth=3, heads=2),
        "text": TextTransformer(9, 5, dim=8, depth=2, heads=2, padding=0),
    }


def molt(**options: Any) -> MoLT:
    settings: dict[str, Any] = {"common_dim": 4, "fusion_dim": 8, "fusion_heads": 2, **options}
    return MoLT(encoders(), 3, **settings).eval()


def late_fusion(**options: Any) -> LateFusion:
    return LateFusion(encoders(), 3, **options).eval()


def batch_of(observed: dict[str, Tensor] | None = OBSERVED) -> Batch:
    text = torch.randint(1, 9, (SIZE, 5))
    text = torch.where(torch.arange(5) < torch.randint(1, 6, (SIZE, 1)), text, 0)
    return Batch({"image": torch.rand(SIZE, 1, 8, 8), "text": text}, observed, torch.arange(SIZE) % 3)


@contextmanager
def counted(model: FrozenEncoderClassifier) -> Iterator[dict[str, int]]:
    """How many rows the encoders see, by modality."""
    rows = dict.fromkeys(model.names, 0)

    def count(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            rows[name] += len(inputs[0])

        return hook

    handles = [model.encoder(name).register_forward_hook(count(name)) for name in model.names]
    yield rows
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("make", [molt, late_fusion])
@pytest.mark.parametrize("observed", [None, OBSERVED], ids=["complete", "incomplete"])
def test_features_give_the_same_latents(make: Any, observed: dict[str, Tensor] | None) -> None:
    model, batch = make(), batch_of(observed)
    features, small = model.features(batch, batch_size=3), model.on_features()
    assert features.size == SIZE
    assert features.complete == batch.complete
    assert torch.equal(features.labels, batch.labels)
    for name, mask in batch.observed.items():
        assert torch.equal(features.observed[name], mask)
    torch.testing.assert_close(small.infer(features).mean, model.infer(batch).mean)
    rows = torch.arange(8) if observed is None else torch.tensor([0, 1, 3, 4, 5, 6, 7])
    for name in model.names:
        torch.testing.assert_close(small.infer(features[rows], name).mean, model.infer(batch[rows], name).mean)
    assert type(small) is type(model)


def test_features_are_the_layers_that_are_read_and_the_final_tokens() -> None:
    model, batch = molt(), batch_of()
    features = model.features(batch)
    output = model.encoder("image")(batch.data["image"])
    expected = torch.stack([output.hidden[1], output.hidden[2], output.final], 2)
    there = batch.observed["image"]
    torch.testing.assert_close(features.data["image"][there], expected[there])
    assert (features.data["image"][~there] == 0).all()
    assert features.data["text"].shape == (SIZE, 6, 3, 8)
    assert set(features.steps) == {"text"}  # images have no padding
    valid = nn.functional.pad(batch.data["text"] != 0, (1, 0), value=True) & batch.observed["text"][:, None]
    assert torch.equal(features.steps["text"], valid)
    assert (features.data["text"][~valid] == 0).all()


@pytest.mark.parametrize("make", [molt, late_fusion])
def test_training_on_features_is_training_on_data(make: Any) -> None:
    """The same loss and gradients, and after some steps the same weights, which both models share."""
    model, batch = make(), batch_of()
    features, small = model.features(batch), model.on_features()
    gradients = []
    for each, data in ((model, batch), (small, features)):
        model.zero_grad()
        torch.manual_seed(5)
        each.train()
        loss = each.loss(data)
        loss.total.backward()
        gradients.append([loss.total, *(value.grad for value in model.parameters() if value.grad is not None)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert {id(value) for value in small.parameters()} == {
        id(value) for value in model.parameters() if value.requires_grad
    }
    before = model.infer(batch).mean
    mmvae.fit(small, features, epochs=2, batch_size=5, device="cpu", progress=False)
    small.eval(), model.eval()
    torch.testing.assert_close(model.infer(batch).mean, small.infer(features).mean)
    if make is molt:
        assert not torch.allclose(model.infer(batch).mean, before)
    assert float(model.epoch) == 2


def test_a_model_on_features_is_saved_and_loaded_on_its_own(tmp_path: Path) -> None:
    model, batch = molt(), batch_of()
    features, small = model.features(batch), model.on_features()
    mmvae.save(small, tmp_path / "run")
    loaded = mmvae.load(tmp_path / "run").eval()
    assert torch.equal(loaded.infer(features).mean, small.infer(features).mean)
    assert isinstance(loaded.encoders["image"].encoder, Precomputed)


def test_moving_one_moves_what_both_share_and_the_other_follows() -> None:
    """The meta device stands for a GPU."""
    model = molt()
    small = model.on_features()
    small.to("meta")
    assert model.device.type == "meta"
    assert next(model.encoders.parameters()).device.type == "cpu"
    with pytest.raises(Exception, match="meta"):  # numbers cannot be asked of it
        model.infer({"image": torch.rand(2, 1, 8, 8)}).mean.tolist()
    assert next(model.encoders.parameters()).device.type == "meta"


# On disk.


def test_features_are_kept_on_disk_and_found_again(tmp_path: Path) -> None:
    model, batch = molt(), batch_of()
    expected = model.features(batch)
    with counted(model) as rows:
        first = model.features(batch, tmp_path, batch_size=4)
        assert rows == {"image": 9, "text": 9}  # 8 texts, and a row for the shape of a batch that has none
        again = model.features(batch, tmp_path)
        assert rows == {"image": 9, "text": 9}
    for found in (first, again):
        for name in model.names:
            assert torch.equal(found.data[name], expected.data[name])
            assert torch.equal(found.observed[name], expected.observed[name])
        assert torch.equal(found.steps["text"], expected.steps["text"])
        assert torch.equal(found.labels, batch.labels)
    assert not list(tmp_path.glob(".*"))
    again.data["image"][0] = 7  # a copy in memory: the file stays as it is
    assert torch.equal(model.features(batch, tmp_path).data["image"], expected.data["image"])


def test_features_depend_on_data_masks_encoders_and_layers(tmp_path: Path) -> None:
    model, batch = molt(), batch_of()
    model.features(batch, tmp_path)
    other = Batch({**batch.data, "text": batch.data["text"].flip(0)}, batch.observed, batch.labels)
    fewer = Batch(batch.data, {**OBSERVED, "text": torch.arange(SIZE) < 7})
    cases = {
        "another text": (model, other, {"text"}),
        "less text": (model, fewer, {"text"}),
        "other encoders": (molt(), batch, {"image", "text"}),
        "fewer layers": (MoLT(dict(model.encoders.items()), 3, max_layers=1), batch, {"image", "text"}),
        "another head": (MoLT(dict(model.encoders.items()), 5), batch, set()),
        "another model": (LateFusion(dict(model.encoders.items()), 3), batch, set()),  # the last layers, as above
    }
    for what, (another, data, expected) in cases.items():
        with counted(another) as rows:
            another.features(data, tmp_path)
        assert {name for name, count in rows.items() if count} == expected, what


@pytest.mark.parametrize("damage", ["cut", "flipped", "valid", "about", "gone"])
def test_damaged_files_are_noticed_and_written_anew(tmp_path: Path, damage: str) -> None:
    model, batch = molt(), batch_of()
    expected = model.features(batch)
    model.features(batch, tmp_path)
    (place,) = tmp_path.glob("text-*")
    states, valid, about = place / "states.npy", place / "valid.npy", place / "about.json"
    if damage == "cut":
        states.write_bytes(states.read_bytes()[:-100])
    elif damage == "flipped":
        content = bytearray(states.read_bytes())
        content[-3] ^= 1
        states.write_bytes(bytes(content))
    elif damage == "valid":
        valid.write_bytes(b"")
    elif damage == "about":
        about.write_text("{")
    else:
        states.unlink()
    with counted(model) as rows, pytest.warns(UserWarning, match=rf"{place.name} is damaged; .* computed again"):
        found = model.features(batch, tmp_path)
    assert (rows["image"], rows["text"] > 0) == (0, True)
    assert torch.equal(found.data["text"], expected.data["text"])
    assert torch.equal(model.features(batch, tmp_path).data["text"], expected.data["text"])  # and nobody is warned


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    model, batch = molt(), batch_of()

    def fail(module: nn.Module, inputs: Any, output: Any) -> None:
        raise KeyboardInterrupt

    handle = model.encoder("text").register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        model.features(batch, tmp_path)
    assert list(tmp_path.iterdir()) == []
    handle.remove()
    assert model.features(batch, tmp_path).size == SIZE


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new, foreign = (
        temporary_beside(tmp_path / "text-0"),
        temporary_beside(tmp_path / "text-0"),
        tmp_path / ".a.tmp",
    )
    for folder in (old, new, foreign):
        folder.mkdir()
        (folder / "states.npy").write_bytes(b"half")
    for folder in (old, foreign):
        os.utime(folder / "states.npy", (0, 0))
        os.utime(folder, (0, 0))
    molt().features(batch_of(), tmp_path)
    assert not old.exists()
    assert new.exists()
    assert (foreign / "states.npy").read_bytes() == b"half"


def test_what_others_put_into_a_folder_of_features_is_not_removed(tmp_path: Path) -> None:
    model, batch = molt(), batch_of()
    model.features(batch, tmp_path)
    place = next(tmp_path.glob("text-*"))
    (place / "states.npy").write_bytes(b"damaged")
    (place / "notes.txt").write_text("mine")
    with (
        pytest.warns(UserWarning, match=r"computed again"),
        pytest.raises(FileExistsError, match=rf"{place} holds notes.txt, which mmvae did not write"),
    ):
        model.features(batch, tmp_path)
    assert (place / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_a_killed_process_left_among_the_features_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = temporary_beside(tmp_path / "table"), temporary_beside(tmp_path / "table")
    for file in (old, new):
        file.write_text("half")
    os.utime(old, (0, 0))
    FeatureWriter("image", 3, tmp_path / "image-0").close()
    assert list(tmp_path.iterdir()) == [new]


def test_a_folder_that_vanishes_while_it_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, old = temporary_beside(tmp_path / "text-0"), temporary_beside(tmp_path / "text-0")
    for folder in (finished, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    look = Path.iterdir

    def look_too_late(folder: Path) -> Any:
        if folder == finished:
            finished.rmdir()
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", look_too_late)
    FeatureWriter("image", 3, tmp_path / "image-0").close()
    assert list(tmp_path.iterdir()) == []


def test_the_key_can_be_read(tmp_path: Path) -> None:
    molt().features(batch_of(), tmp_path)
    (place,) = tmp_path.glob("image-*")
    key = json.loads((place / "about.json").read_text())["key"]
    assert key["encoder"] == "ViT"
    assert key["layers"] == [1, 2]


# Data of other kinds.


class Pairs(Dataset):
    """Pairs of data and a label, the text missing in the first rows; images drawn anew at each access on request."""

    def __init__(self, batch: Batch, drawn_anew: bool = False) -> None:
        self.whole, self.drawn_anew = batch, drawn_anew

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, row: int) -> tuple[dict[str, Any], Tensor]:
        image = torch.rand(1, 8, 8) if self.drawn_anew else self.whole.data["image"][row]
        return {"image": image, "text": None if row < 5 else self.whole.data["text"][row]}, self.whole.labels[row]


def test_a_dataset_of_which_the_first_batches_lack_a_modality(tmp_path: Path) -> None:
    model, batch = molt(), batch_of(None)
    observed = {"text": torch.arange(SIZE) >= 5}
    expected = model.features(Batch(batch.data, observed, batch.labels))
    for cache in (None, tmp_path, tmp_path):
        found = model.features(Pairs(batch), cache, batch_size=4)
        for name in model.names:
            torch.testing.assert_close(found.data[name], expected.data[name])
            assert torch.equal(found.observed[name], expected.observed[name])
        assert torch.equal(found.labels, batch.labels)


def test_data_that_change_at_each_reading_are_not_kept(tmp_path: Path) -> None:
    model, data = molt(), Pairs(batch_of(), drawn_anew=True)
    assert model.features(data).size == SIZE
    with pytest.raises(ValueError, match="image: the data changes from one reading to the next"):
        model.features(data, tmp_path)
    assert not list(tmp_path.glob("*image*"))


def test_a_modality_that_no_row_has_is_left_out(tmp_path: Path) -> None:
    model, batch = molt(), batch_of(None)
    for cache in (None, tmp_path):
        features = model.features({"image": batch.data["image"]}, cache)
        assert features.names == ("image",)
        torch.testing.assert_close(model.on_features().infer(features).mean, model.infer(batch, "image").mean)


def test_a_fingerprint_does_not_depend_on_the_cut_into_batches() -> None:
    steps = torch.rand(SIZE, 4) < 0.5
    batch = Batch({"a": torch.randn(SIZE, 4, 2)}, {"a": steps})
    prints = []
    for size in (SIZE, 3):
        each = Fingerprint("a")
        for start in range(0, SIZE, size):
            each.add(batch[start : start + size])
        prints.append(each.hexdigest())
    assert prints[0] == prints[1]
    other = Fingerprint("a")
    other.add(Batch(batch.data))
    assert other.hexdigest() != prints[0]


def test_encoders_that_learn_have_no_features() -> None:
    model = late_fusion(freeze=False)
    for refused in (lambda: model.features(batch_of()), model.on_features):
        with pytest.raises(ValueError, match=r"image: its encoder has [\d,]+ weights that learn"):
            refused()


class Projected(nn.Module):
    """An encoder of sequences of any length: ``[N, T, 3]`` to their mean and T tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.layer(data)
        return tokens.mean(1), tokens


class Unpadded:
    """Four sequences, whose batches of two are as long as their longest."""

    def __len__(self) -> int:
        return 4

    def batch(self, rows: Tensor) -> Batch:
        return Batch({"sound": torch.ones(len(rows), 3 if rows[0] < 2 else 5, 3)})


@pytest.mark.parametrize("cached", [False, True])
def test_batches_of_different_lengths_are_refused_with_what_to_do(cached: bool, tmp_path: Path) -> None:
    model = LateFusion({"sound": wrap_encoder(Projected(), dim=4)}, 2)
    expected = r"sound: expected 4 tokens .* got 6 from row 2 on; pad .* observed=\{'sound': bool \[N, T\]\}"
    with pytest.raises(ValueError, match=expected):
        model.features(Unpadded(), tmp_path if cached else None, batch_size=2)
    assert not list(tmp_path.iterdir())
