from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmvae import Batch, Modality, likelihoods
from mmvae.evaluation import train_classifiers
from mmvae.evaluation.judges import Classifier, Sizes
from mmvae.storage import read_tensors, write_tensors

MODALITIES = [
    Modality("codes", (4,), likelihoods.Categorical(6)),
    Modality("numbers", (3,), likelihoods.Normal()),
]
QUICK: dict[str, Any] = {"steps": 60, "batch_size": 16}


def make_data(rows: int = 90, seed: int = 0, observed: dict[str, Tensor] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    codes = torch.randint(6, (rows, 4), generator=generator)
    codes[:, 1] = labels
    numbers = 1000 + 50 * torch.randn(rows, 3, generator=generator) + 400 * torch.nn.functional.one_hot(labels, 3)
    return Batch({"codes": codes, "numbers": numbers}, observed, labels)


def weights(classifier: Classifier) -> Tensor:
    return torch.cat([value.flatten().float() for value in classifier.state_dict().values()])


def test_classes_are_learnt_whatever_the_kind_and_scale_of_data() -> None:
    judges = train_classifiers(make_data(), MODALITIES, **QUICK)
    held_out = make_data(seed=1)
    for name, judge in judges.items():
        assert not judge.training
        accuracy = (judge(held_out.data[name]).argmax(-1) == held_out.labels).double().mean()
        assert float(accuracy) > 0.95
        assert judge.features(held_out.data[name]).shape == (90, 128)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 10), (5,), (2, 3)])
def test_any_shape_has_a_classifier(shape: tuple[int, ...]) -> None:
    judge = Classifier(Sizes(shape, None, 7))
    assert judge(torch.rand(2, *shape)).shape == (2, 7)


def test_classifiers_do_not_depend_on_one_another_nor_on_the_random_state() -> None:
    both = train_classifiers(make_data(), MODALITIES, **QUICK)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    alone = train_classifiers(make_data(), MODALITIES[1:], **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(weights(alone["numbers"]), weights(both["numbers"]))


def test_values_under_a_false_mask_do_not_matter() -> None:
    there = {"numbers": torch.arange(90) % 5 != 0}
    data = make_data()
    padded = data.data | {"numbers": torch.where(there["numbers"][:, None], data.data["numbers"], torch.tensor(1e6))}
    one = train_classifiers(make_data(observed=there), MODALITIES, **QUICK)
    other = train_classifiers(Batch(padded, there, data.labels), MODALITIES, **QUICK)
    assert torch.equal(weights(one["numbers"]), weights(other["numbers"]))


def test_cache_gives_back_the_same_and_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_classifiers(make_data(), MODALITIES, cache=tmp_path, **QUICK)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(list(tmp_path.glob("*.json"))) == 2
    from mmvae.evaluation import judges

    def refuse(*_: Any) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(judges, "_fit", refuse)
        again = train_classifiers(make_data(), MODALITIES, cache=tmp_path, **QUICK)
        for name in first:
            assert torch.equal(weights(again[name]), weights(first[name]))
        for change in ({"seed": 1}, {"steps": 61}, {"num_classes": 4}):
            with pytest.raises(AssertionError, match="trained again"):
                train_classifiers(make_data(), MODALITIES, cache=tmp_path, **(QUICK | change))
        with pytest.raises(AssertionError, match="trained again"):
            train_classifiers(make_data(seed=5), MODALITIES, cache=tmp_path, **QUICK)


@pytest.mark.parametrize("damage", ["cut", "other names", "other shapes", "no json", "nested json", "no digest"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    first = train_classifiers(make_data(), MODALITIES, cache=tmp_path, **QUICK)
    path = next(tmp_path.glob("classifier-numbers*.safetensors"))
    state, _ = read_tensors(path)
    changes: dict[str, Callable[[], object]] = {
        "cut": lambda: path.write_bytes(path.read_bytes()[:100]),
        "other names": lambda: write_tensors(path, {f"{name}.": value for name, value in state.items()}),
        "other shapes": lambda: write_tensors(path, {name: value[..., None] for name, value in state.items()}),
        "no json": lambda: path.with_suffix(".json").write_text("{"),
        "nested json": lambda: path.with_suffix(".json").write_text("[" * 100_000),
        "no digest": lambda: save_file(state, path),
    }
    changes[damage]()
    for _ in range(2):
        mended = train_classifiers(make_data(), MODALITIES, cache=tmp_path, **QUICK)
        torch.testing.assert_close(weights(mended["numbers"]), weights(first["numbers"]))
    again, _ = read_tensors(path)
    assert again.keys() == state.keys()


class DrawnAnew:
    """A source that draws the codes from the labels at each access."""

    def __len__(self) -> int:
        return 90

    def batch(self, rows: Tensor) -> Batch:
        codes = torch.randint(6, (len(rows), 4))
        codes[:, 1] = rows % 3
        return Batch({"codes": codes}, labels=rows % 3)


def test_data_that_is_drawn_anew_is_cached_by_its_labels(tmp_path: Path) -> None:
    first = train_classifiers(DrawnAnew(), MODALITIES, cache=tmp_path, **QUICK)
    again = train_classifiers(DrawnAnew(), MODALITIES, cache=tmp_path, **QUICK)
    assert torch.equal(weights(first["codes"]), weights(again["codes"]))


@pytest.mark.parametrize("labels", [None, torch.rand(90), torch.ones(90, 2).long(), torch.full((90,), -1)])
def test_labels_that_are_no_classes_are_refused(labels: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"classifiers: the training data has .*one whole number or name for each row"):
        train_classifiers(Batch(make_data().data, labels=labels), MODALITIES, **QUICK)
