"""Probes of planted latents: labels are read where they were put, and are at chance everywhere else."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mmvae import Batch, Latents, Modality, likelihoods, models
from mmvae.evaluation import Evaluation, evaluate
from mmvae.layout import Layout
from mmvae.subsets import canonical

DIGITS, PLACES, ROWS = 5, 4, 400
ROWS_OF = ("shared_from_shared", "private_from_shared", "private_from_private", "shared_from_private")


class Planted(nn.Module):
    """Data of a modality are its latents: the shared columns, then its private ones."""

    names = ("a", "b")

    def __init__(self, layout: Layout | None) -> None:
        super().__init__()
        self.layout = layout

    def infer(self, batch: Any, subset: Any = None, observed: Any = None) -> Latents:
        batch = batch.restrict(None if subset is None else canonical(subset, self.names))
        if self.layout is None:
            return Latents(dist.Delta(batch.data[batch.names[0]], event_dim=1), batch.names)
        z = torch.zeros(batch.size, self.layout.size)
        z[:, self.layout.columns()] = batch.data[batch.names[0]][:, : self.layout.shared]
        for name in batch.names:
            z[:, self.layout.columns(name)] = batch.data[name][:, self.layout.shared :]
        return Latents(dist.Delta(z, event_dim=1), batch.names, layout=self.layout)


def one_hot(classes: Tensor, count: int) -> Tensor:
    return nn.functional.one_hot(classes, count).float()


def planted(seed: int, *, swapped: bool = False) -> tuple[Batch, dict[str, Tensor]]:
    """Digits that both share, a place of each; ``swapped`` puts each where the other belongs.

    Digits and places form all combinations equally often, so that no probe beats chance at what it cannot see.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(ROWS, generator=generator)
    digits, place = order % DIGITS, order // DIGITS % PLACES
    places = {"a": place, "b": (place + order // (DIGITS * PLACES)) % PLACES}
    data = {}
    for name, own in places.items():
        parts = [one_hot(digits, DIGITS), one_hot(own, DIGITS)]
        data[name] = torch.cat(parts[::-1] if swapped else parts, 1)
    return Batch(data, labels=digits), places


def measured(model: Any, *, swapped: bool = False, **keywords: Any) -> Evaluation:
    (data, places), (train, train_places) = planted(1, swapped=swapped), planted(2, swapped=swapped)
    keywords = {"train": train, "private_labels": places, "train_private_labels": train_places} | keywords
    return evaluate(model, data, ["disentanglement"], progress=False, **keywords)


LAYOUT = Layout(DIGITS, {"a": DIGITS, "b": DIGITS})


def test_planted_latents_give_one_and_chance() -> None:
    found = measured(Planted(LAYOUT))
    assert not found.notes
    assert len(found.rows) == 8
    for name in ("a", "b"):
        values = [found.value(row, name, name) for row in ROWS_OF]
        assert values == pytest.approx([1, 1 / PLACES, 1, 1 / DIGITS], abs=1e-6)
        assert [found.select(row, name)[0]["chance"] for row in ROWS_OF] == pytest.approx([0.2, 0.25, 0.25, 0.2])


def test_swapped_latents_give_the_opposite() -> None:
    found = measured(Planted(LAYOUT), swapped=True)
    for name in ("a", "b"):
        values = [found.value(row, name, name) for row in ROWS_OF]
        assert values == pytest.approx([1 / DIGITS, 1, 1 / PLACES, 1], abs=1e-6)


def test_a_model_without_private_latents_has_the_two_numbers_of_its_latent() -> None:
    found = measured(Planted(None))
    assert {row["metric"] for row in found.rows} == {"shared_from_shared", "private_from_shared"}
    assert all(row["value"] == 1 for row in found.rows)  # the one latent has everything
    (data, _), (train, _) = planted(1), planted(2)
    assert evaluate(Planted(None), data, ["disentanglement"], train=train, progress=False).notes == [
        "disentanglement: left out, since Planted has no private latents, and there are no private labels."
    ]


def test_probes_of_a_vae_are_scikit_learns() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (2 * DIGITS,), likelihoods.Normal()) for name in ("a", "b")]
    vae = models.MMVAEPlus(modalities, latent_dim=3, private_dim={"b": 2})
    found = measured(vae)
    (data, places), (train, train_places) = planted(1), planted(2)
    latents, learnt = vae.infer(data, "b"), vae.infer(train, "b")
    for part, x, x_train in (
        ("shared", latents.shared.mean, learnt.shared.mean),
        ("private", latents.private["b"].mean, learnt.private["b"].mean),
    ):
        for kind, y, y_train in (
            ("shared", data.labels, train.labels),
            ("private", places["b"], train_places["b"]),
        ):
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=0))
            probe.fit(x_train.detach().numpy(), y_train.numpy())
            assert found.value(f"{kind}_from_{part}", "b") == pytest.approx(probe.score(x.detach().numpy(), y.numpy()))
    assert not found.select("shared_from_private", "a")


def test_labels_follow_the_rows_that_are_looked_at() -> None:
    found = measured(Planted(LAYOUT), max_data=150)
    for name in ("a", "b"):
        assert found.value("private_from_private", name) == 1
        assert found.value("shared_from_shared", name) == 1
        assert found.select("private_from_private", name)[0]["n"] == 150


def test_names_number_alike_and_unknown_labels_do_not_count() -> None:
    names = ["left", "right", "top", "bottom"]
    (_, places), (_, train_places) = planted(1), planted(2)
    named = [names[place] if row % 2 else None for row, place in enumerate(places["a"].tolist())]
    train_named = [names[place] for place in train_places["a"].tolist()]
    train_named[0] = "a further one"
    found = measured(Planted(LAYOUT), private_labels={"a": named}, train_private_labels={"a": train_named})
    (row,) = found.select("private_from_private", "a")
    assert (row["value"], row["n"]) == (1, ROWS // 2)
    assert any("without a private label of b" in note for note in found.notes)


def test_rows_without_the_modality_neither_train_nor_count() -> None:
    (data, places), (train, train_places) = planted(1), planted(2)
    there = torch.arange(ROWS) % 4 > 0
    wrong = {"a": places["a"], "b": torch.where(there, places["b"], places["b"] + 1)}
    train_wrong = {"a": train_places["a"], "b": torch.where(there, train_places["b"], train_places["b"] + 1)}
    data, train = (Batch(each.data, {"b": there}, each.labels) for each in (data, train))
    found = evaluate(
        Planted(LAYOUT),
        data,
        ["disentanglement"],
        train=train,
        private_labels=wrong,
        train_private_labels=train_wrong,
        progress=False,
    )
    (row,) = found.select("private_from_private", "b")
    assert (row["value"], row["n"], row["n_train"]) == (1, int(there.sum()), int(there.sum()))


def test_what_the_data_lacks_is_noted() -> None:
    found = measured(Planted(LAYOUT), private_labels=None)
    assert {row["metric"] for row in found.rows} == {"shared_from_shared", "shared_from_private"}
    assert any("pass private_labels={'a': ...}" in note for note in found.notes)
    found = measured(Planted(LAYOUT), train_private_labels=None)
    assert any("pass train_private_labels={'b': ...}" in note for note in found.notes)
    found = measured(Planted(LAYOUT), train=None, train_private_labels=None)
    assert not found.rows
    assert any("pass train=" in note for note in found.notes)
    (data, places), (train, train_places) = planted(1), planted(2)
    found = evaluate(
        Planted(LAYOUT),
        Batch(data.data),
        ["disentanglement"],
        train=train,
        private_labels=places,
        train_private_labels=train_places,
        progress=False,
    )
    assert {row["metric"] for row in found.rows} == {"private_from_shared", "private_from_private"}
    assert any("without the shared label" in note for note in found.notes)
    same = {name: torch.zeros_like(each) for name, each in train_places.items()}
    found = measured(Planted(LAYOUT), train_private_labels=same)
    assert any(note.startswith("private_from_shared: left out for a") for note in found.notes)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"private_labels": {"c": [0] * ROWS}}, r"private_labels: 'c' is not a modality of this model; choose among"),
        ({"private_labels": {"a": [0, 1]}}, rf"private_labels of 'a': expected a class for each of {ROWS} rows, got"),
        ({"train_private_labels": {"a": [0.5] * ROWS}}, r"train_private_labels of 'a': .* that are not classes; pass"),
        ({"private_labels": {"a": ["x"] * ROWS}}, r"private_labels of 'a': labels: some are names"),
        ({"train": None}, r"train_private_labels: there is no training data that they belong to; pass train="),
    ],
)
def test_wrong_private_labels_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(Planted(LAYOUT), **keywords)
