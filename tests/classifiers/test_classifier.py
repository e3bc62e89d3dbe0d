"""What all classifiers share, on the smallest recipe: the mean of what is shown, and a linear head."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.classifiers.classifier import MultimodalClassifier, random_subsets
from mmvae.classifiers.tokens import EncoderOutput, TokenEncoder


class Small(TokenEncoder):
    """A linear map of each step, padded with zeros; counts the rows that it sees."""

    def __init__(self, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dim, self.depth, self.shape, self.dtype = 4, 1, (3, width), dtype
        self.offers_hidden = self.takes_extra = False
        self.linear = nn.Linear(width, 4)
        self.rows = 0

    def forward(self, inputs, mask=None, extra=None, isolate=False) -> EncoderOutput:
        self.check(inputs, extra)
        self.rows += len(inputs)
        tokens = self.linear(inputs.float()).tanh()
        if mask is not None:
            tokens = tokens * mask[..., None]
        return EncoderOutput(tokens.sum(1), tokens, mask)


class Mean(MultimodalClassifier):
    """The recipe."""

    def __init__(self, encoders, num_classes, *, task="single-label", modality_dropout=True) -> None:
        super().__init__(encoders, num_classes, task=task, modality_dropout=modality_dropout)
        self.latent_dim = 4
        self.head = nn.Linear(4, num_classes)
        self.shown: list[dict[str, Tensor]] = []

    def adopt(self, encoder: TokenEncoder) -> TokenEncoder:
        return encoder

    def represent(self, encodings, shown) -> Tensor:
        self.shown.append(dict(shown))
        weights = {name: shown[name][:, None].float() for name in encodings}
        total = sum(weights[name] * encodings[name].cls for name in encodings)
        return total / sum(weights.values())

    def regularisers(self, encodings, batch, shown):
        return {"size": (0.5, encodings["a"].cls.square().mean())}


@pytest.fixture
def model() -> Mean:
    return Mean({"a": Small(2), "b": Small(5)}, 3)


@pytest.fixture
def data() -> dict[str, Tensor]:
    return {"a": torch.randn(8, 3, 2), "b": torch.randn(8, 3, 5)}


def test_prediction_is_the_head_of_the_latent(model: Mean, data: dict[str, Tensor]) -> None:
    latents = mmvae.infer(model, data, subset="a", batch_size=3)
    assert latents.subset == ("a",)
    assert latents.mean.shape == (8, 4)
    assert torch.equal(latents.sample(2)[0], latents.mean)
    assert (latents.scale == 0).all()
    logits = model.predict(latents)
    torch.testing.assert_close(logits, model.head(model.encoders["a"](data["a"]).cls))
    with pytest.raises(TypeError, match="expected what infer returns, got Tensor"):
        model.predict(latents.mean)


def test_only_encoders_of_what_is_there_run_and_only_on_rows_that_have_it(model: Mean, data) -> None:
    observed = {"a": torch.tensor([True] * 3 + [False] * 5), "b": torch.tensor([False] * 2 + [True] * 6)}
    mixed = model.infer(data, observed=observed)
    assert (model.encoders["a"].rows, model.encoders["b"].rows) == (3, 6)
    model.infer(data, "b")
    assert (model.encoders["a"].rows, model.encoders["b"].rows) == (3, 14)
    for rows, subset in ((slice(0, 2), "a"), (slice(2, 3), None), (slice(3, 8), "b")):
        alone = model.infer({name: value[rows] for name, value in data.items()}, subset)
        torch.testing.assert_close(mixed.mean[rows], alone.mean)


def test_content_under_a_false_mask_reaches_nothing(model: Mean, data) -> None:
    observed = {"a": torch.tensor([True, False] * 4), "b": torch.tensor([False, True, True, True] * 2)}
    noisy = {name: value.clone() for name, value in data.items()}
    noisy["a"][~observed["a"]], noisy["b"][~observed["b"]] = 1e30, float("nan")
    model.eval()
    labels = torch.arange(8) % 3
    losses = [model.loss(Batch(each, observed, labels)) for each in (data, noisy)]
    assert torch.equal(model.infer(data, observed=observed).mean, model.infer(noisy, observed=observed).mean)
    assert torch.equal(losses[0].total, losses[1].total)


def test_a_modality_of_which_a_batch_has_no_row(model: Mean, data) -> None:
    observed = {"a": torch.zeros(8, dtype=torch.bool)}
    torch.testing.assert_close(model.infer(data, observed=observed).mean, model.infer({"b": data["b"]}).mean)


def test_steps_go_to_the_encoder(model: Mean, data) -> None:
    steps = torch.rand(8, 3) < 0.7
    steps[:, 0] = True
    latents = model.infer(Batch({"a": data["a"]}, {"a": steps}))
    torch.testing.assert_close(latents.mean, model.encoders["a"](data["a"], steps).cls)


def test_loss_is_the_tasks_and_the_weighted_rest(model: Mean, data) -> None:
    labels = torch.arange(8) % 3
    loss = model.eval().loss(Batch(data, labels=labels))
    logits = model.predict(model.infer(data))
    cross_entropy = torch.stack([-logits[row].log_softmax(0)[label] for row, label in enumerate(labels)]).mean()
    torch.testing.assert_close(loss.terms["task"], cross_entropy)
    torch.testing.assert_close(loss.total, cross_entropy + 0.5 * loss.terms["size"])
    torch.testing.assert_close(loss.terms["accuracy"], (logits.argmax(1) == labels).float().mean())


def test_several_labels(data) -> None:
    model = Mean({"a": Small(2), "b": Small(5)}, 3, task="multi-label").eval()
    labels = torch.randint(2, (8, 3))
    loss = model.loss(Batch(data, labels=labels))
    p = model.predict(model.infer(data)).sigmoid()
    binary = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(loss.terms["task"], binary)
    torch.testing.assert_close(loss.terms["accuracy"], ((p > 0.5) == labels.bool()).float().mean())


def test_rows_whose_class_is_not_known_do_not_count(data) -> None:
    model = Mean({"a": Small(2), "b": Small(5)}, 3).eval()
    classes, known = torch.arange(8) % 3, torch.arange(8) % 2 == 0
    expected = model.loss(Batch(data, labels=classes)[known])
    forms = [
        torch.where(known, classes, -1),
        torch.where(known, classes.double(), torch.nan),
        [int(each) if here else None for each, here in zip(classes, known, strict=True)],
        [None if not here else "abc"[each] for each, here in zip(classes, known, strict=True)],
    ]
    for labels in forms:
        loss = model.loss(Batch(data, labels=labels))
        for name in ("task", "accuracy"):  # regularisers need no labels
            torch.testing.assert_close(loss.terms[name], expected.terms[name])
    none = model.loss(Batch(data, labels=torch.full((8,), -1)))
    assert none.terms["task"] == 0
    assert none.terms["accuracy"] == 0


def test_single_labels_of_several_may_be_unknown(data) -> None:
    model = Mean({"a": Small(2), "b": Small(5)}, 3, task="multi-label").eval()
    labels = torch.randint(2, (8, 3)).float()
    p = model.predict(model.infer(data)).sigmoid()
    labels[0, 1] = torch.nan
    labels[2, 0] = -1
    known = labels >= 0
    binary = -(labels * p.log() + (1 - labels) * (1 - p).log())[known].mean()
    loss = model.loss(Batch(data, labels=labels))
    torch.testing.assert_close(loss.terms["task"], binary)
    torch.testing.assert_close(loss.terms["accuracy"], ((p > 0.5) == (labels > 0))[known].float().mean())


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("single-label", None, r"labels: a classifier is trained on labels; pass fit\(model, data, labels"),
        ("single-label", torch.zeros(8, 3, dtype=torch.int64), 'task="multi-label"'),
        ("single-label", torch.full((8,), 0.5), "whole numbers, got torch.float32 with fractions"),
        ("single-label", torch.full((8,), 3), "classes from 0 to 2, got 3"),
        ("single-label", ["cat", "dog"] * 4, "2 names of classes occur, but the model tells 3 apart"),
        ("multi-label", torch.zeros(8, dtype=torch.int64), r"expected 0 or 1, \(N, 3\)"),
        ("multi-label", torch.full((8, 3), 2), "got other values"),
    ],
)
def test_labels_that_do_not_fit(task, labels, message, data) -> None:
    model = Mean({"a": Small(2), "b": Small(5)}, 3, task=task)
    with pytest.raises((ValueError, TypeError), match=message):
        model.loss(Batch(data, labels=labels))


def test_bad_arguments() -> None:
    for encoders, classes, task, message in (
        ({}, 3, "single-label", "encoders: at least one"),
        ({"z": Small(2)}, 3, "single-label", "'z' is reserved"),
        ({"a": Small(2)}, 1, "single-label", "num_classes"),
        ({"a": Small(2)}, 3, "regression", "task: expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            Mean(encoders, classes, task=task)
    with pytest.raises(TypeError, match="expected a dict by modality, got list"):
        Mean([Small(2)], 3)


def test_bad_data(model: Mean, data) -> None:
    with pytest.raises(TypeError, match="a: its encoder takes whole numbers"):
        Mean({"a": Small(2, torch.int64)}, 3).infer({"a": data["a"]})
    with pytest.raises(TypeError, match=r"a: its encoder takes real numbers, got torch.uint8; convert, for images"):
        model.infer({**data, "a": data["a"].byte()})
    with pytest.raises(ValueError, match="a: expected"):
        model.infer({"a": torch.randn(8, 3, 4)})
    with pytest.raises(ValueError, match="none of"):
        model.infer(data, observed={"a": torch.zeros(8).bool(), "b": torch.arange(8) > 0})
    with pytest.raises(ValueError, match="unknown modality 'c'"):
        model.infer(data, "c")


def test_dropout_shows_every_subset_as_often() -> None:
    """Of three modalities seven subsets, of the two that a row has three; never none, and nothing that is not there."""
    present = {"a": torch.ones(7000, dtype=torch.bool), "b": torch.arange(7000) < 3500}
    present["c"] = present["a"]
    shown = torch.stack(list(random_subsets(present).values()), 1)
    assert not shown[3500:, 1].any()
    for rows, kinds in ((shown[:3500], 7), (shown[3500:], 3)):
        counts = Counter(map(tuple, rows.tolist()))
        assert len(counts) == kinds
        assert (False, False, False) not in counts
        share = 1 / kinds
        assert all(abs(count / 3500 - share) < 5 * (share * (1 - share) / 3500) ** 0.5 for count in counts.values())


def test_dropout_is_for_training_alone(model: Mean, data) -> None:
    labels = torch.zeros(8, dtype=torch.int64)
    for training, dropout in ((True, True), (True, False), (False, True)):
        model.train(training).modality_dropout = dropout
        model.loss(Batch(data, labels=labels))
        everything = all(bool(mask.all()) for mask in model.shown[-1].values())
        assert everything == (not (training and dropout))
    model.train().infer(data)
    assert all(bool(mask.all()) for mask in model.shown[-1].values())


def test_it_learns_and_is_judged_by_its_task(data) -> None:
    torch.manual_seed(0)
    x = torch.randn(128, 3, 2)
    y = (x.sum((1, 2)) > 0).long()
    model = Mean({"a": Small(2)}, 2)
    run = mmvae.fit(model, {"a": x}, labels=y, epochs=15, lr=0.05, validation=0.25, progress=False)
    rows = [row for row in run.metrics if row["split"] == "validation"]
    assert rows[-1]["accuracy"] > 0.9
    assert run.best_epoch == min(rows, key=lambda row: row["task"])["epoch"]
