"""The objective agrees with the slow reference, values and gradients, with each of its options."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from objectives.parts import Parts
from objectives.reference import record
from refinement.parts import in_float64
from refinement.reference import Options, Reference
from torch import Tensor

from mmvae import Batch, Modality, likelihoods, models
from mmvae.models import IterativeVAE
from mmvae.objectives import LinearWarmup
from mmvae.refinement import RefinedELBO

WEIGHTS = {"bits": 0.5, "codes": 3.0}
SMALL: dict[str, Any] = {"trunk_width": 4, "hidden": 8, "refinement_hidden": 6}
UNSTOPPED: dict[str, Any] = {"stop_grad_teacher": False}
CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "weighted": {"weights": WEIGHTS, "beta": 0.4, "alpha": 0.3},
    "late steps": {"step_weights": "late"},
    "through time": {"through_time": True},
    "features learn": {"features_learn": True},
    "initial trains decoders": {"initial_trains_decoders": True, "weights": WEIGHTS, "beta": 0.4},
    "aligned to initial": {"align_to": "initial"},
    "student first": {"kl_direction": "student_first", "alpha": 0.3},
    "unstopped": UNSTOPPED,
    "unstopped, initial": {**UNSTOPPED, "align_to": "initial", "alpha": 0.3},
    "unstopped, student first": {**UNSTOPPED, "kl_direction": "student_first", "features_learn": True},
    "two samples": {"num_samples": 2},
    "mvae": {"base": "mvae", "features_learn": True},
    "mvtcae": {"base": "mvtcae", "weights": WEIGHTS},
    "all at once": {
        **UNSTOPPED,
        "weights": WEIGHTS,
        "beta": 2.0,
        "alpha": 0.7,
        "num_samples": 2,
        "step_weights": "late",
        "through_time": True,
        "features_learn": True,
        "initial_trains_decoders": True,
    },
}


def modalities() -> list[Modality]:
    """Those of the contract, but for a scale of the real numbers that is learned."""
    real, *others = Parts().make_modalities()
    learned = likelihoods.Normal("learned")
    return [Modality("real", (3,), learned, real.encoder, real.decoder, weight=2.0), *others]


def make(num_steps: int, **options: Any) -> tuple[Any, Batch, dict[str, Tensor]]:
    """A model in float64 whose weights are all in use, and its data."""
    model = IterativeVAE(modalities(), 2, num_steps=num_steps, **SMALL, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    data = Parts().make_data(2)
    model, batch = in_float64(model, data)
    return model, batch, data


@pytest.mark.parametrize("num_steps", [0, 1, 3])
@pytest.mark.parametrize("case", list(CASES))
def test_values_and_gradients(case: str, num_steps: int) -> None:
    model, batch, data = make(num_steps, **CASES[case])
    drawn = record(model)
    loss = model.loss(batch)
    assert len(drawn) == num_steps + 1 + (num_steps > 0 and CASES[case].get("initial_trains_decoders", False))
    known = {name: value for name, value in CASES[case].items() if name in vars(Options())}
    reference = Reference(model, data, drawn, Options(num_steps=num_steps, **known))
    torch.testing.assert_close(loss.total.detach(), reference.value, rtol=1e-9, atol=1e-9)
    assert {name: pytest.approx(float(term.detach()), rel=1e-9) for name, term in loss.terms.items()} == reference.terms
    loss.total.backward()
    for (name, parameter), other in zip(model.named_parameters(), reference.model.parameters(), strict=True):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = reference.gradients.get(id(other), torch.zeros_like(other))
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")


def parts_with_gradients(model: Any, loss: Tensor) -> set[str]:
    """The parts of the model that a loss reaches."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    reached = {name for name, each in model.named_parameters() if each.grad is not None and each.grad.abs().sum() > 0}
    return {name.split(".")[0] for name in reached}


def test_every_part_is_trained() -> None:
    model, batch, _ = make(2)
    loss = model.loss(batch)
    everything = {"experts", "joint_posterior", "decoders", "likelihoods", "refinement"}
    assert parts_with_gradients(model, loss.total) == everything
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "reached"),
    [
        ({}, {"experts"}),
        ({"align_to": "initial"}, {"experts"}),
        ({"stop_grad_teacher": False}, {"experts", "refinement"}),
        ({"stop_grad_teacher": False, "features_learn": True}, {"experts", "refinement", "joint_posterior"}),
        ({"stop_grad_teacher": False, "align_to": "initial"}, {"experts", "joint_posterior"}),
        ({"stop_grad_teacher": False, "align_to": "initial", "num_steps": 0}, {"experts", "joint_posterior"}),
    ],
)
def test_whom_the_alignment_trains(options: dict[str, Any], reached: set[str]) -> None:
    model, batch, _ = make(**{"num_steps": 2, **options})
    assert parts_with_gradients(model, model.loss(batch).terms["alignment"]) == reached


def test_schedules_are_followed() -> None:
    """After 2.5 of 10 epochs a weight from 1 to 3 is 1.5."""
    model, batch, _ = make(2)
    scheduled = copy.deepcopy(model)
    model.objective.alpha = model.objective.beta = 1.5
    scheduled.objective.alpha = scheduled.objective.beta = LinearWarmup(end=3.0, epochs=10, start=1.0)
    scheduled.epoch.fill_(2.5)
    losses = []
    for each in (model, scheduled):
        torch.manual_seed(3)
        losses.append(each.loss(Batch.trusted(batch.data, conforms_to=each.forms)))
        losses[-1].total.backward()
    torch.testing.assert_close(losses[1].total, losses[0].total)
    for first, second in zip(model.parameters(), scheduled.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad)


def test_the_terms_are_in_honest_nats() -> None:
    """Weights change the loss, and the path, but no term of a path that is the same: here of no step."""
    plain, batch, _ = make(0)
    weighted = copy.deepcopy(plain)
    weighted.weights, weighted.objective.beta = {"real": 5.0, "bits": 0.1, "codes": 2.0}, 3.0
    losses = []
    for each in (plain, weighted):
        torch.manual_seed(3)
        losses.append(each.loss(Batch.trusted(batch.data, conforms_to=each.forms)))
    assert losses[0].total != losses[1].total
    assert losses[0].terms == losses[1].terms


def test_the_loss_is_the_same_where_gradients_are_switched_off() -> None:
    """As in validation."""
    model, batch, _ = make(2, initial_trains_decoders=True)
    torch.manual_seed(3)
    expected = model.loss(batch)
    torch.manual_seed(3)
    with torch.no_grad():
        found = model.loss(batch)
    assert torch.equal(found.total, expected.total)
    assert not found.total.requires_grad


def test_each_encoder_runs_once_and_each_decoder_once_a_step() -> None:
    """T + 1 passes in all: one serves the loss of a step and the slope of the next."""
    model, batch, _ = make(3)
    calls: dict[str, int] = {}
    counted = {
        **{f"decoder of {name}": each for name, each in model.decoders.items()},
        **{f"student of {name}": each for name, each in model.experts.encoders.items()},
        **{f"trunk of {name}": each for name, each in model.joint_posterior.trunks.items()},
    }
    for name, module in counted.items():
        module.register_forward_hook(lambda *_, n=name: calls.update({n: calls.get(n, 0) + 1}))
    model.loss(batch).total.backward()
    assert {name: count for name, count in calls.items() if name.startswith("decoder")} == {
        f"decoder of {name}": 4 for name in model.names
    }
    assert {count for name, count in calls.items() if not name.startswith("decoder")} == {1}
    assert len(calls) == 9


# Without a step it is JMVAE.


def test_without_a_step_it_is_jmvae() -> None:
    """To the last bit: the loss, its terms, and every gradient."""
    shared: dict[str, Any] = {"alpha": 0.3, "beta": 0.7, "weights": WEIGHTS, "trunk_width": 4, "hidden": 8}
    jmvae = models.JMVAE(modalities(), 2, **shared)
    model = IterativeVAE(modalities(), 2, num_steps=0, align_to="initial", stop_grad_teacher=False, **shared)
    missing = model.load_state_dict(jmvae.state_dict(), strict=False)
    assert all(name.startswith("refinement.") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    data = Parts().make_data(32)
    losses = []
    for each in (jmvae, model):
        torch.manual_seed(5)
        losses.append(each.loss(data))
        losses[-1].total.backward()
    assert torch.equal(losses[0].total, losses[1].total)
    assert losses[0].terms.keys() == losses[1].terms.keys()
    assert all(torch.equal(term, losses[1].terms[name]) for name, term in losses[0].terms.items())
    others = dict(model.named_parameters())
    for name, parameter in jmvae.named_parameters():
        assert parameter.grad is not None
        assert others[name].grad is not None
        assert torch.equal(parameter.grad, others[name].grad), name
    assert all(each.grad is None for each in model.refinement.parameters())


# Settings.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, "num_steps: expected at least 0, got -1"),
        ({"num_samples": 0}, "num_samples: expected at least 1, got 0"),
        ({"align_to": "teacher"}, "align_to: expected one of 'refined', 'initial', got 'teacher'"),
        ({"kl_direction": "reverse"}, "kl_direction: expected one of 'teacher_first', 'student_first'"),
        ({"step_weights": "early"}, "step_weights: expected one of 'even', 'late'"),
    ],
)
def test_settings_that_there_are_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RefinedELBO(**options)
    with pytest.raises(ValueError, match=message):
        IterativeVAE(modalities(), 2, **options)


def test_incomplete_data_is_refused_by_name() -> None:
    model = IterativeVAE(modalities(), 2, **SMALL)
    data = Parts().make_data()
    with pytest.raises(ValueError, match=r"IterativeVAE cannot train on incomplete data.*'bits'"):
        model.loss(data, {"bits": torch.tensor([True] * 5 + [False])})
