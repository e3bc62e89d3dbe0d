"""MoLT: what is missing or padding reaches nothing, the second pass is of complete pairs, encoders stay as they are."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.classifiers.tokens import EncoderOutput, wrap_encoder
from mmvae.models import MoLT
from mmvae.nn import CCALoss, Precomputed, TextTransformer, ViT, canonical_correlations, cca_loss
from mmvae.testing import InferenceContract

SMALL_BATCHES = pytest.mark.filterwarnings("ignore:canonical correlations of views")
SETTINGS: dict[str, Any] = {"common_dim": 4, "fusion_dim": 8, "fusion_heads": 2}


def encoders() -> dict[str, nn.Module]:
    return {
        "image": ViT((1, 8, 8), patch=4, dim=12, depth=3, heads=2),
        "text": TextTransformer(9, 5, dim=8, depth=2, heads=2, padding=0),
    }


def data_of(size: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, 9, (size, 5), generator=generator)
    length = torch.randint(1, 6, (size, 1), generator=generator)
    image = torch.rand(size, 1, 8, 8, generator=generator)
    return {"image": image, "text": torch.where(torch.arange(5) < length, text, 0)}


def small(kind: type[MoLT] = MoLT, **options: Any) -> MoLT:
    return kind(encoders(), 3, **{**SETTINGS, **options})


@SMALL_BATCHES
class TestMoLT(InferenceContract):
    options: dict[str, Any] = {}  # noqa: RUF012 (subclasses have their own)

    def build(self) -> MoLT:
        return small(**self.options)

    def make_data(self, size: int = 6) -> dict[str, Tensor]:
        return data_of(size)

    def make_labels(self, size: int = 6) -> Tensor:
        return torch.arange(size) % 3


class TestMoLTWithConcatenation(TestMoLT):
    options = {"fusion": "concat"}  # noqa: RUF012


class TestMoLTWithoutFusion(TestMoLT):
    options = {"fusion": "none"}  # noqa: RUF012


# What is there and what is not.


def states_of(model: MoLT, size: int = 6) -> dict[str, EncoderOutput]:
    """What the encoders might say, with padding in both modalities."""

    def output(dim: int, depth: int, tokens: int) -> EncoderOutput:
        mask = torch.rand(size, tokens) < 0.6
        hidden = tuple(torch.randn(size, 1 + tokens, dim) for _ in range(depth))
        return EncoderOutput(torch.randn(size, dim), torch.randn(size, tokens, dim), mask, hidden)

    tokens = {"image": 4, "text": 5}
    return {name: output(model.encoder(name).dim, model.encoder(name).depth, tokens[name]) for name in model.names}


def noised(output: EncoderOutput, keep: Tensor) -> EncoderOutput:
    """Other states of the tokens for which ``keep``, bool ``[N, 1 + n]``, is false."""

    def noise(value: Tensor, kept: Tensor) -> Tensor:
        return torch.where(kept[..., None], value, 50 * torch.randn_like(value))

    assert output.hidden is not None
    hidden = tuple(noise(each, keep) for each in output.hidden)
    return EncoderOutput(noise(output.cls, keep[:, 0]), noise(output.tokens, keep[:, 1:]), output.mask, hidden)


def some_shown() -> dict[str, Tensor]:
    return {
        "image": torch.tensor([True, True, False, True, True, False]),
        "text": torch.tensor([True, False, True, True, False, True]),
    }


def all_shown(size: int = 6) -> dict[str, Tensor]:
    return {name: torch.ones(size, dtype=torch.bool) for name in ("image", "text")}


def assert_padding_and_what_is_missing_reach_no_logit(model: MoLT) -> None:
    encodings, shown = states_of(model), some_shown()
    before = model.head(model.represent(encodings, shown))
    changed = {}
    for name, output in encodings.items():
        assert output.mask is not None
        valid = nn.functional.pad(output.mask, (1, 0), value=True) & shown[name][:, None]
        changed[name] = noised(output, valid)
    torch.testing.assert_close(model.head(model.represent(changed, shown)), before, atol=1e-5, rtol=0)
    for name in model.names:  # and what is there does reach them
        there = {**encodings, name: noised(encodings[name], torch.zeros(6, 1 + encodings[name].tokens.shape[1]).bool())}
        moved = (model.head(model.represent(there, shown)) - before).abs().amax(1)
        assert torch.equal(moved > 1e-3, shown[name])


@pytest.mark.parametrize("fusion", ["transformer", "concat"])
def test_padding_and_what_is_missing_reach_no_logit(fusion: str) -> None:
    assert_padding_and_what_is_missing_reach_no_logit(small(fusion=fusion).eval())


def assert_a_subset_is_the_whole_path_without_the_rest(model: MoLT, subset: str) -> None:
    """Masked, left out or not asked for: the same; and not what both modalities give."""
    data = data_of()
    found = model.infer(data, subset).mean
    observed = {name: torch.full((6,), name == subset) for name in model.names}
    torch.testing.assert_close(model.infer({subset: data[subset]}).mean, found)
    torch.testing.assert_close(model.infer(data, observed=observed).mean, found)
    assert not torch.allclose(model.infer(data).mean, found, atol=1e-3)


@pytest.mark.parametrize("subset", ["image", "text"])
def test_a_subset_is_the_whole_path_without_the_rest(subset: str) -> None:
    assert_a_subset_is_the_whole_path_without_the_rest(small().eval(), subset)


def test_the_missing_side_is_a_translation_of_the_present_one() -> None:
    """With its null token alone to ask with, the latent of the text follows the image."""
    model, encodings = small(fusion="none").eval(), states_of(small())
    shown = {"image": all_shown()["image"], "text": ~all_shown()["text"]}
    tuned = model._tune(model._inputs(encodings, shown), shown)
    other = {**encodings, "image": noised(encodings["image"], torch.zeros(6, 5, dtype=torch.bool))}
    again = model._tune(model._inputs(other, shown), shown)
    assert ((again.after[1] - tuned.after[1]).norm(dim=-1) > 1e-3).all()
    assert torch.equal(again.before[1], tuned.before[1])


# The second pass.


class Squared(MoLT):
    """With another norm, of the largest two correlations."""

    def make_correlation(self) -> CCALoss:
        return CCALoss(norm="squared", top_k=2)


@pytest.mark.parametrize("correlated", [("after",), ("before",), ("after", "before")], ids=str)
@pytest.mark.parametrize("kind", [MoLT, Squared])
def test_complete_pairs_are_correlated_whatever_is_shown(correlated: tuple[Any, ...], kind: type[MoLT]) -> None:
    model = small(type("Chosen", (kind,), {"correlated": correlated}))
    encodings = states_of(model, 64)
    observed = {"image": torch.rand(64) < 0.8, "text": torch.rand(64) < 0.8}
    shown = {name: mask & (torch.rand(64) < 0.6) for name, mask in observed.items()}
    batch = Batch(data_of(64), observed)
    model.represent(encodings, shown)
    terms = model.regularisers(encodings, batch, shown)

    both = observed["image"] & observed["text"]
    tuned = model._tune(model._inputs(encodings, all_shown(64)), all_shown(64)).rows(both)
    norm: Any = (1e-3, "squared", 2) if kind is Squared else (1e-3, "nuclear", None)
    each = {
        "after": torch.stack([cca_loss(a, b, *norm) for a, b in zip(*tuned.after, strict=True)]).mean(),
        "before": torch.stack([cca_loss(a, b, *norm) for a, b in zip(*tuned.before, strict=True)]).mean(),
    }
    weight, value = terms["cca"]
    assert weight == 0.1
    torch.testing.assert_close(value, torch.stack([each[stage] for stage in correlated]).mean())
    for name, views in (("before", tuned.before), ("after", tuned.after)):
        weight, correlation = terms[f"correlation_{name}"]
        assert weight == 0
        assert not correlation.requires_grad
        torch.testing.assert_close(correlation, canonical_correlations(*views).mean())


def test_blocks_run_again_for_complete_pairs_if_something_was_hidden() -> None:
    model, data = small(modality_dropout=False), data_of(40)
    rows: list[int] = []
    model.tuning.blocks[0].register_forward_hook(lambda module, inputs, output: rows.append(output.after[0].shape[1]))
    observed = {"text": torch.arange(40) < 30}
    everything, holes = Batch(data, labels=torch.arange(40) % 3), Batch(data, observed, torch.arange(40) % 3)
    for batch, passes in ((everything, [40]), (holes, [40])):
        model.loss(batch)
        assert rows == passes
        rows.clear()
    model.modality_dropout = True
    for batch, passes in ((everything, [40, 40]), (holes, [40, 30])):
        model.loss(batch)
        assert rows == passes
        rows.clear()


def test_hidden_states_are_projected_once() -> None:
    model = small()
    widths: list[int] = []
    model.tuning.projections[0][1].register_forward_hook(lambda module, inputs, output: widths.append(output.shape[0]))
    model.loss(Batch(data_of(40), labels=torch.arange(40) % 3))
    assert widths == [40]


def test_gradients_of_both_passes_are_those_of_passes_on_their_own() -> None:
    model, encodings = small(), states_of(small(), 40)
    batch, shown = Batch(data_of(40)), {"image": torch.arange(40) >= 10, "text": torch.arange(40) < 25}

    def gradients(of: dict[str, EncoderOutput]) -> list[Tensor]:
        """With a plain dict nothing is known of the first pass."""
        model.zero_grad()
        latents = model.represent(of, shown).square().sum()
        weight, value = model.regularisers(of, batch, shown)["cca"]
        (latents + 100 * weight * value).backward()
        return [each.grad.clone() for each in model.tuning.parameters() if each.grad is not None]

    model.eval()
    remembering = model.encode(model.prepare(data_of(40)))
    remembering.update(encodings)
    for one, other in zip(gradients(remembering), gradients(encodings), strict=True):
        torch.testing.assert_close(one, other)


def test_without_weight_the_correlation_is_no_part_of_the_loss() -> None:
    model = small(cca=0.0)
    loss = model.loss(Batch(data_of(4), labels=torch.zeros(4, dtype=torch.int64)))  # too few, and nobody is warned
    assert set(loss.terms) == {"task", "accuracy"}
    assert torch.equal(loss.total, loss.terms["task"])


def test_small_batches_are_warned_of_and_tiny_ones_do_without() -> None:
    model = small()
    with pytest.warns(UserWarning, match="width 4 from 5 rows that have both modalities say nothing"):
        loss = model.loss(Batch(data_of(5), labels=torch.zeros(5, dtype=torch.int64)))
    assert loss.terms["cca"] == 0
    assert "correlation_after" not in loss.terms
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.loss(Batch(data_of(6), labels=torch.zeros(6, dtype=torch.int64))).terms["cca"] < 0


def test_a_batch_without_complete_pairs_trains_the_task() -> None:
    observed = {"image": torch.arange(6) < 3, "text": torch.arange(6) >= 3}
    with pytest.warns(UserWarning, match="from 0 rows that have both"):
        loss = small().loss(Batch(data_of(), observed, torch.arange(6) % 3))
    assert loss.terms["cca"] == 0
    assert "correlation_after" not in loss.terms
    loss.total.backward()


def test_a_batch_without_a_modality_trains_the_task() -> None:
    model, data = small(), {"text": data_of()["text"]}
    with pytest.warns(UserWarning, match="from 0 rows that have both"):
        loss = model.loss(Batch(data, labels=torch.arange(6) % 3))
    assert loss.terms["cca"] == 0
    loss.total.backward()
    null = model.tuning.blocks[0].first.null_token
    assert null.grad.abs().sum() > 0


# Encoders.


class Normalised(nn.Module):
    """Two tokens of a row of numbers; with everything that freezing has to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Dropout(0.5))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.layers(inputs).unflatten(-1, (2, 6))
        return tokens.mean(1), tokens


@SMALL_BATCHES
def test_encoders_stay_as_they_are() -> None:
    given = wrap_encoder(Normalised(), shape=(4,))
    model = MoLT({"a": given, "b": Precomputed(4, 2)}, 2, **SETTINGS)
    before = {name: value.clone() for name, value in model.encoders.state_dict().items()}
    assert any("running_mean" in name for name in before)
    data = {"a": torch.randn(40, 4) + 3, "b": torch.randn(40, 3, 3, 4)}
    labels = torch.arange(40) % 2
    model.train()
    model.loss(Batch(data, labels=labels)).total.backward()
    assert all(parameter.grad is None for parameter in model.encoders.parameters())
    mmvae.fit(model, data, labels=labels, epochs=1, batch_size=20, device="cpu", progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.encoders.state_dict().items())
    copied = model.encoder("a").encoder.state_dict()
    assert all(torch.equal(value, copied[name]) for name, value in given.state_dict().items())
    assert given.training
    first, second = (model.encode(model.prepare(data))["a"].cls for _ in range(2))
    assert torch.equal(first, second)


def test_layers_are_paired_by_the_depths_of_the_encoders() -> None:
    model = small()
    assert model.read_layers == {"image": (1, 2), "text": (0, 1)}  # round(3 / 2) is 2: the second of three
    assert model.note == "image: layers 2, 3 of 3; text: layers 1, 2 of 2"
    assert small(max_layers=1).read_layers == {"image": (2,), "text": (1,)}
    final_only = MoLT({"a": wrap_encoder(Normalised(), shape=(4,)), "b": Precomputed(4, 3)}, 2, **SETTINGS)
    assert final_only.read_layers == {"a": (0,), "b": (2,)}


def test_the_path_in_full() -> None:
    """From hidden states to logits, step by step."""
    model, data = small().eval(), data_of()
    image, text = model.encoder("image")(data["image"]), model.encoder("text")(data["text"])
    valid = nn.functional.pad(data["text"] != 0, (1, 0), value=True)
    pooled = []
    for layer, (first, second) in enumerate(((1, 0), (2, 1))):
        project: Any = model.tuning.projections[layer]
        tokens = project[0](image.hidden[first]), project[1](text.hidden[second])
        shown = torch.ones(6, dtype=torch.bool)
        tuned = model.tuning.blocks[layer](tokens, (torch.ones(6, 5, dtype=torch.bool), valid), (shown, shown))
        products = tuned.after[0][0] * tuned.after[1][0]
        pooled.append(torch.stack([products[:, 0] + products[:, 1], products[:, 2] + products[:, 3]], 1))
    robust = torch.stack(pooled).mean(0)
    shown = [torch.ones(6, dtype=torch.bool)] * 2
    latent = model.fusion(robust, [image.cls, text.cls], shown)
    latents = model.infer(data)
    torch.testing.assert_close(latents.mean, latent)
    torch.testing.assert_close(model.predict(latents), model.head[1](model.head[0](latent)))
    assert model.latent_dim == 8


def test_how_many_weights_are_trained() -> None:
    model = MoLT({"image": Precomputed(768, 12), "text": Precomputed(768, 12)}, 101)
    assert sum(parameter.numel() for parameter in model.tuning.parameters()) == 12 * 123_392
    assert sum(parameter.numel() for parameter in model.mean.parameters()) == 12 * 12
    assert sum(parameter.numel() for parameter in small().encoders.parameters() if parameter.requires_grad) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"task": "multi-label"},
        {"fusion": "none"},
        {"fbp_window": 4, "fusion": "concat"},
        {"max_layers": 1},
    ],
    ids=str,
)
def test_every_setting_trains_every_weight(options: dict[str, Any]) -> None:
    model, data = small(**options), data_of(40)
    several = options.get("task") == "multi-label"
    labels = torch.randint(2, (40, 3)) if several else torch.arange(40) % 3
    observed = {"image": torch.arange(40) >= 4, "text": torch.arange(40) < 36}
    loss = model.loss(Batch(data, observed, labels))
    torch.testing.assert_close(loss.total, loss.terms["task"] + 0.1 * loss.terms["cca"])
    loss.total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert model.predict(model.infer(data)).shape == (40, 3)


def test_mixed_precision_leaves_the_correlation_as_it_is() -> None:
    model, batch = small(modality_dropout=False), Batch(data_of(40), labels=torch.arange(40) % 3)
    expected = model.loss(batch).terms["cca"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch)
    assert loss.terms["cca"].dtype == torch.float32
    torch.testing.assert_close(loss.terms["cca"], expected, atol=0.02, rtol=0)
    loss.total.backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, 'fusion: expected "transformer", "concat" or "none", got \'sum\''),
        ({"cca": -1.0}, "cca: expected a number of at least 0, got -1.0"),
        ({"common_dim": 0}, "common_dim: expected at least 1, got 0"),
        ({"fbp_window": 3}, "window: 4 features cannot be cut into groups of 3"),
        ({"max_layers": 0}, "max_layers: expected at least 1"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_tokens_of_the_fusion_do_not_decay() -> None:
    model = small()
    (types,) = model.token_parameters()
    assert types is model.fusion.types
    assert not list(small(fusion="concat").token_parameters())


def test_other_numbers_of_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="exactly two encoders, got 1: 'image'; for another number take CMPT"):
        MoLT({"image": encoders()["image"]}, 3)
    with pytest.raises(ValueError, match="exactly two encoders, got 3"):
        MoLT({name: Precomputed(4, 2) for name in "abc"}, 3)


# What it is for.


def test_one_missing_view_of_a_shared_class() -> None:
    """Two noisy views of a class: with correlation and modality dropout, one view serves better than without.

    Accuracy with one view, of 1024 held-out data and the mean of both: the numbers depend on seed and machine, and are
    to be seen with ``pytest -s``.
    """

    def views(size: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (size,), generator=generator)
        means = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))

        def view(place: int) -> Tensor:
            private = torch.randn(size, 3, 3, 6, generator=generator)
            return means[place, labels][:, None, None] + 1.2 * private

        return {"a": view(0), "b": view(1)}, labels

    (data, labels), (held_out, truth) = views(256, 1), views(1024, 2)
    accuracy = {}
    for robust in (True, False):
        torch.manual_seed(0)
        pair = {"a": Precomputed(6, 2), "b": Precomputed(6, 2)}
        model = MoLT(pair, 4, modality_dropout=robust, cca=0.1 if robust else 0.0, common_dim=8)
        mmvae.fit(model, data, labels=labels, epochs=8, batch_size=64, lr=5e-3, device="cpu", progress=False)
        scores = [
            float((model.predict(mmvae.infer(model, held_out, subset)).argmax(1) == truth).float().mean())
            for subset in (None, "a", "b")
        ]
        accuracy[robust] = (scores[1] + scores[2]) / 2
        print(
            f"\ncorrelation and dropout {'on' if robust else 'off'}: both {scores[0]:.3f}, one {accuracy[robust]:.3f}"
        )
    assert accuracy[True] > accuracy[False]
