"""What both models with a codebook do alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from codebooks.makers import MAKERS, SMALL, make_data, make_steps, without_dropout
from torch import nn

import mmvae
from mmvae import Batch, Latents
from mmvae.distributions import point_mass
from mmvae.nn import CodeSteps, PatchSteps

NAMES = ("audio", "video", "text")
WEIGHTS = ("reconstruction", "commitment", "club", "cpc", "matching", "coarse_alignment", "readout")

each_kind = pytest.mark.parametrize("kind", list(MAKERS))


def weights_of(kind: str, **only: float) -> dict[str, float]:
    """All weights zero, but for those that are named."""
    names = WEIGHTS if kind == "FCID" else WEIGHTS[:5]
    return {**dict.fromkeys(names, 0.0), **only}


def reached(model: nn.Module) -> set[str]:
    """The parameters that have a gradient other than zero."""
    return {name for name, each in model.named_parameters() if each.grad is not None and bool(each.grad.any())}


# Inference.


@each_kind
@pytest.mark.parametrize("name", NAMES)
def test_one_modality_touches_no_part_of_another(kind: str, name: str) -> None:
    model = MAKERS[kind](stem="conv", positions=True)
    calls: list[str] = []
    for part_name, part in model.named_modules():
        part.register_forward_hook(lambda *_, part_name=part_name: calls.append(part_name))
    latents = model.infer(make_data(kind), name)
    latents.mean.square().sum().backward()
    allowed = {f"encoders.{name}", f"stems.{name}", f"steps.{name}", ""}
    if kind == "FCID":
        allowed |= {f"coarse_poolings.{name}"} if name in model.coarse else {"fine_pooling"}
    assert f"encoders.{name}" in calls
    assert any(each.startswith(f"encoders.{name}.") for each in reached(model))
    for touched in [*calls, *reached(model)]:
        assert any(touched == part or touched.startswith(f"{part}.") for part in allowed), touched


@each_kind
def test_latents_are_codes_of_the_features(kind: str) -> None:
    model, data = MAKERS[kind]().eval(), make_data(kind)
    for subset in ("audio", "text", ("audio", "video")):
        latents = model.infer(data, subset)
        features = latents.diagnostics["features"]
        distances = torch.cdist(features, model.codebook)
        assert latents.codes is not None
        assert torch.equal(latents.codes, distances.argmin(-1))
        torch.testing.assert_close(latents.mean, model.codebook[latents.codes])
        assert not latents.scale.any()
    each = [model.infer(data, name).diagnostics["features"] for name in ("audio", "video")]
    torch.testing.assert_close(features, (each[0] + each[1]) / 2)


@each_kind
def test_evaluation_updates_nothing_and_drops_nothing(kind: str) -> None:
    model, data = MAKERS[kind](dropout=0.5), make_data(kind)
    model.loss(data)  # so that the codebook has started
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = model.infer(data).mean, model.infer(data).mean
    assert torch.equal(first, second)
    torch.manual_seed(3)
    one = model.loss(data).total
    torch.manual_seed(3)
    assert torch.equal(model.loss(data).total, one)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    model.infer(data)  # not even in training mode
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.loss(data)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "quantiser.codebook" in changed
    assert not changed & {name for name, _ in model.named_parameters()}


# The loss.


@each_kind
def test_the_total_is_the_weighted_sum_of_the_terms(kind: str) -> None:
    weights = weights_of(kind, reconstruction=3.0, commitment=0.25, club=0.5, cpc=0.25, matching=2.0)
    weights |= {"coarse_alignment": 1.5, "readout": 0.75} if kind == "FCID" else {}
    loss = MAKERS[kind](**weights).eval().loss(make_data(kind))
    factors = {**weights, "commitment": 1.0, "reconstruction_fine": 3.0, "reconstruction_coarse": 3.0}
    terms = {name: value for name, value in loss.terms.items() if name in factors}
    expected = {"reconstruction_fine", "reconstruction_coarse"} if kind == "FCID" else {"reconstruction"}
    assert set(terms) == (set(weights) - {"reconstruction"}) | expected
    torch.testing.assert_close(loss.total, sum(factors[name] * value for name, value in terms.items()))
    assert set(loss.terms) - set(terms) == {"perplexity", "usage", "used_by_1", "used_by_2", "used_by_3"}


@each_kind
def test_statistics_are_those_of_the_codes(kind: str) -> None:
    model, data = MAKERS[kind](num_codes=20).eval(), make_data(kind, 40)
    terms = model.loss(data).terms
    used = {name: set(model.infer(data, name).codes.flatten().tolist()) for name in NAMES}
    together = set.union(*used.values())
    assert float(terms["usage"]) == pytest.approx(len(together) / 20)
    assert 1 <= float(terms["perplexity"]) <= len(together)
    assert float(sum(terms[f"used_by_{count}"] for count in (1, 2, 3))) == pytest.approx(1)


@each_kind
@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_weight_of_zero_builds_and_computes_nothing(kind: str, weight: str) -> None:
    if weight not in weights_of(kind):
        return
    whole, without = MAKERS[kind](), MAKERS[kind](**{weight: 0.0})
    gone = {each.split(".")[0] for each, _ in whole.named_parameters()} - {
        each.split(".")[0] for each, _ in without.named_parameters()
    }
    parts = {"reconstruction": {"decoders"}, "club": {"clubs"}, "cpc": {"cpc"}, "readout": {"readouts"}}
    extra = {"coarse_decoders"} if kind == "FCID" and weight == "reconstruction" else set()
    assert gone == parts.get(weight, set()) | extra
    terms = without.loss(make_data(kind)).terms
    assert not any(name.startswith(weight) for name in terms if weight != "commitment")
    if weight == "commitment":
        assert terms["commitment"] == 0
    plain = MAKERS[kind](**weights_of(kind, commitment=0.25))
    assert not any("specific" in name for name, _ in plain.named_parameters())
    assert set(plain.loss(make_data(kind)).terms) == {
        "commitment", "perplexity", "usage", "used_by_1", "used_by_2", "used_by_3",
    }  # fmt: skip


@each_kind
@pytest.mark.parametrize("alone", WEIGHTS)
def test_each_term_is_finite_and_reaches_an_encoder(kind: str, alone: str) -> None:
    if alone not in weights_of(kind):
        return
    model = MAKERS[kind](**weights_of(kind, **{alone: 1.0}), code_dim=16)
    model.loss(make_data(kind)).total.backward()
    grads = reached(model)
    assert not any(name.startswith("clubs") for name in grads)
    if alone == "readout":  # which leaves the rest of the model as it is
        assert {name.split(".")[0] for name in grads} == {"readouts"}
        assert {name.split(".")[1] for name in grads} == set(NAMES)
    else:
        for name in ("audio", "video") if (kind, alone) == ("FCID", "cpc") else NAMES:
            assert any(each.startswith(f"encoders.{name}.") for each in grads), name


# Missing data.


@each_kind
def test_what_is_under_masks_of_steps_reaches_nothing(kind: str) -> None:
    steps, results = make_steps(), []
    for noise in (0.0, 1e30):
        data = make_data(kind)
        data["audio"][~steps["audio"]] = noise
        data["text"][~steps["text"]] = 0 if noise == 0 else 99
        model = without_dropout(MAKERS[kind](positions=True))
        torch.manual_seed(3)
        loss = model.loss(data, steps)
        loss.total.backward()
        latents = model.infer(data, observed=steps)
        numbers = [loss.total, *loss.terms.values(), latents.mean, latents.codes, *model.buffers()]
        results.append(numbers + [each.grad for each in model.parameters() if each.grad is not None])
    for first, second in zip(*results, strict=True):
        assert first.isfinite().all()
        assert torch.equal(first, second)


@each_kind
def test_rows_that_lack_a_modality_leave_only_its_terms(kind: str) -> None:
    """One modality in each row: pairs of modalities have nothing to compare, all else trains."""
    data = make_data(kind)
    observed = {name: torch.arange(6) % 3 == place for place, name in enumerate(NAMES)}
    model = MAKERS[kind]()
    loss = model.loss(data, observed)
    assert loss.terms["matching"] == 0
    if kind == "FCID":
        assert loss.terms["coarse_alignment"] == 0
    loss.total.backward()
    for name in NAMES:
        assert any(each.startswith(f"encoders.{name}.") for each in reached(model)), name
    alone = {name: data[name][observed[name]] for name in NAMES}
    for name in NAMES:
        assert model.loss({name: alone[name]}).total.isfinite()


@each_kind
def test_absent_rows_leave_the_terms_of_a_modality_to_the_others(kind: str) -> None:
    data = make_data(kind)
    observed = {"text": torch.tensor([True, True, False, True, False, False])}
    reconstruction = MAKERS[kind](**weights_of(kind, reconstruction=1.0)).eval()
    if kind == "DCID":
        each = {name: reconstruction.loss({name: value}).terms["reconstruction"] for name, value in data.items()}
        shown = reconstruction.loss({"text": data["text"][observed["text"]]}).terms["reconstruction"]
        expected = each["audio"] + each["video"] + shown
        torch.testing.assert_close(reconstruction.loss(data, observed).terms["reconstruction"], expected)
    else:
        fine = reconstruction.loss(data, observed).terms["reconstruction_fine"]
        torch.testing.assert_close(fine, reconstruction.loss(data).terms["reconstruction_fine"])
        alignment = MAKERS[kind](**weights_of(kind, coarse_alignment=1.0)).eval()
        rows = {name: value[observed["text"]] for name, value in data.items()}
        found = alignment.loss(data, observed).terms["coarse_alignment"]
        torch.testing.assert_close(found, alignment.loss(rows).terms["coarse_alignment"])


@each_kind
def test_an_image_has_no_steps_to_miss(kind: str) -> None:
    steps = {"video": torch.ones(6, 1, dtype=torch.bool)}
    with pytest.raises(ValueError, match="'video' is one of steps, but an image is there as a whole"):
        MAKERS[kind]().infer(make_data(kind), observed=steps)


# Training.


@each_kind
def test_gradient_parts_hold_every_parameter_that_the_loss_trains_once(kind: str) -> None:
    model = MAKERS[kind](stem="conv", positions=True)
    parts = list(model.gradient_parts())
    found = [id(each) for part in parts for each in part]
    assert len(found) == len(set(found))
    inner = {id(each) for each in model.inner_parameters()}
    assert set(found) == {id(each) for each in model.parameters()} - inner
    names = {id(each): name.split(".")[0] for name, each in model.named_parameters()}
    groups = [{names[id(each)] for each in part} for part in parts]
    assert {"cpc"} in groups
    assert any("encoders" in group and "decoders" not in group for group in groups)


@each_kind
def test_inner_steps_fit_the_estimators_and_nothing_else(kind: str) -> None:
    model, data = without_dropout(MAKERS[kind](club_hidden=16)), make_data(kind, 32)
    model.loss(data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam(model.inner_parameters(), 0.01)
    inputs = model.inner_inputs(data)
    assert set(inputs) == set(model.clubs)
    assert not any(x.requires_grad for x, _, _ in map(detached, inputs.values()))
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = model.inner_loss({name: detached(pair) for name, pair in inputs.items()})
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"clubs"}
    assert not list(MAKERS[kind](club=0.0).inner_parameters())


def detached(pair: Any) -> Any:
    x, y, valid = pair
    return x.detach(), y.detach(), valid


@each_kind
def test_fit_trains_saves_and_resumes_bit_by_bit(kind: str, tmp_path: Path) -> None:
    data, observed = make_data(kind, 24), {"text": torch.arange(24) % 3 > 0}
    options: dict[str, Any] = {"batch_size": 8, "progress": False, "device": "cpu", "max_grad_norm": 0.5}
    options |= {"observed": observed, "lr": 0.01}
    whole = mmvae.fit(MAKERS[kind](reset_after=2), data, epochs=3, **options).model
    stopped = MAKERS[kind](reset_after=2)
    terms, calls = stopped.terms, []

    def interrupted(batch: Batch) -> Any:
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return terms(batch)

    stopped.terms = interrupted
    with pytest.raises(KeyboardInterrupt):
        mmvae.fit(stopped, data, epochs=3, out=tmp_path, **options)
    resumed = mmvae.fit(MAKERS[kind](reset_after=2), data, epochs=3, out=tmp_path, resume=True, **options).model
    loaded = mmvae.load(tmp_path)
    for other in (resumed, loaded):
        assert whole.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in whole.state_dict().items())
    assert torch.equal(loaded.eval().infer(data).codes, whole.eval().infer(data).codes)
    assert not torch.equal(whole.codebook, MAKERS[kind](reset_after=2).codebook)


# What toc keeps.


@each_kind
@pytest.mark.parametrize("code_mode", ["pooled", "split"])
def test_kept_dimensions_are_read_off_what_a_model_infers(kind: str, code_mode: str) -> None:
    """A batch at a time, with steps that are not there: slices of the codes, or the nearest of few dimensions."""
    model, data, steps = MAKERS[kind](num_codes=12), make_data(kind), {"audio": make_steps()["audio"]}
    steps["audio"][3, 0] = True  # every row has a step
    model.loss(data)
    if kind == "FCID":
        model.code_mode = code_mode
    latents = mmvae.infer(model, data, "audio", observed=steps, batch_size=4)
    assert latents.codes is not None
    there, features = latents.codes >= 0, latents.diagnostics["features"]
    if features.ndim == 3:
        assert torch.equal(there, steps["audio"])
    sliced, searched = mmvae.toc(model, keep=2), mmvae.toc(model, keep=2, mode="requantise")
    assert torch.equal(sliced.dims, mmvae.toc(model.codebook, keep=2).dims)
    few = model.codebook[:, sliced.dims]
    assert torch.equal(sliced.codes(latents), latents.codes)
    assert torch.equal(sliced(latents)[there], few[latents.codes[there]])
    expected = torch.cdist(features[..., sliced.dims], few.expand(6, -1, -1) if features.ndim == 3 else few).argmin(-1)
    assert torch.equal(searched.codes(latents), torch.where(there, expected, -1))
    assert torch.equal(searched(latents)[there], few[expected[there]])
    for read in (sliced, searched):
        assert not read(latents)[~there].any()


# Generation.


@each_kind
def test_generated_data_has_the_form_of_data(kind: str) -> None:
    model, data = MAKERS[kind](), make_data(kind)
    model.loss(data)
    for subset in ("audio", "text", None):
        latents = model.eval().infer(data, subset)
        for generated, size in ((model.generate(latents), (6,)), (model.generate(latents, num_samples=2), (2, 6))):
            assert tuple(generated) == model.names
            for name, value in generated.items():
                assert value.shape == (*size, *data[name].shape[1:])
                assert value.dtype == data[name].dtype
                assert value.isfinite().all()
    bare = model.generate(Latents(point_mass(latents.mean), latents.subset))  # as metrics hand them over
    assert all(torch.equal(bare[name], value) for name, value in model.generate(latents).items())


@each_kind
def test_what_cannot_be_generated_is_refused(kind: str) -> None:
    model, data = MAKERS[kind](), make_data(kind)
    latents = model.infer(data)
    with pytest.raises(TypeError, match="expected what infer returns, got Tensor"):
        model.generate(latents.mean)
    with pytest.raises(ValueError, match="width 4, got 3"):
        model.generate(Latents(point_mass(latents.mean[..., :3]), latents.subset))
    weight = "reconstruction" if kind == "DCID" else "readout"
    with pytest.raises(ValueError, match=f"built with {weight}=0"):
        MAKERS[kind](**{weight: 0.0}).generate(latents)


# Arguments.


@each_kind
def test_options_out_of_range_are_refused(kind: str) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"club": -1.0}, "club: expected a number of at least 0, got -1"),
        ({"matching": float("nan")}, "matching: expected a finite number, got nan"),
        ({"stem": "fft"}, "stem: expected 'linear' or 'conv', got 'fft'"),
        ({"heads": 3}, "heads: expected a divisor of code_dim, which is 4, got 3"),
        ({"layers": -1}, "layers: expected at least 0, got -1"),
        ({"max_steps": 0}, "max_steps: expected at least 1"),
        ({"inner_steps": -1}, "inner_steps: expected at least 0"),
        ({"num_codes": 1}, "at least 2 codes"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            MAKERS[kind](**options)


@each_kind
def test_positions_end_somewhere(kind: str) -> None:
    model = MAKERS[kind](positions=True, max_steps=5)
    with pytest.raises(ValueError, match=r"audio: got 7 steps, but positions are learned for 5; .*max_steps=7"):
        model.infer({"audio": torch.randn(2, 7, 3)})
    assert MAKERS[kind](max_steps=5).infer({"audio": torch.randn(2, 7, 3)}).mean.isfinite().all()


def test_modalities_are_named_and_have_steps() -> None:
    from mmvae.models import DCID

    with pytest.raises(ValueError, match="stem: 'conv' is for images"):
        DCID({"audio": 3}, stem="conv", **SMALL)
    with pytest.raises(TypeError, match="audio: expected the width of feature vectors"):
        DCID({"audio": "3"}, **SMALL)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="at least one modality"):
        DCID({}, **SMALL)
    assert DCID({"audio": CodeSteps(3, length=2), "video": PatchSteps((1, 2, 2), (1, 2))}, **SMALL).shapes == {
        "audio": (2,),
        "video": (1, 2, 2),
    }
