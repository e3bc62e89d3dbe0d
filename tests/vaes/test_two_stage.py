"""TELBO, JNF and CVAE: the contract, stages, and what students and conditional priors learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import make

import mmvae
from mmvae import Modality, likelihoods, priors
from mmvae.models import CVAE, JNF, TELBO, MultimodalVAE
from mmvae.testing import LinearGaussian, ModelContract, exact_model

SMALL: dict[str, Any] = {"trunk_width": 4, "hidden": 8}


class TestTELBO(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return TELBO(modalities, 2, private_dim={"real": 1}, **SMALL)


class TestJNF(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return JNF(modalities, 2, flow_hidden=8, **SMALL)


class TestCVAE(ModelContract):
    def make_covariates(self) -> dict[str, float]:
        return {"lane": 0.0, "age": 0.25}

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CVAE(modalities, 2, {"lane": 2, "age": None})


# Stages.


@pytest.mark.parametrize("kind", ["TELBO", "JNF"])
def test_students_leave_teacher_and_decoders_as_they_are(kind: str) -> None:
    """The first stage trains these, the second what infers from other subsets; each moves nothing else."""
    torch.manual_seed(0)
    model, data = make(kind, students="after", **SMALL)
    assert [stage.name for stage in model.stages] == ["joint", "students"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mmvae.fit(model, data, epochs={"joint": 2, "students": 0}, progress=False)
    middle = {name: value.clone() for name, value in model.state_dict().items()}
    mmvae.fit(model, data, epochs={"joint": 0, "students": 2}, progress=False)
    after = model.state_dict()

    def moved(one: Any, other: Any) -> set[str]:
        names = {name for name in one if name not in ("epoch", "seen") and not torch.equal(one[name], other[name])}
        return {"between" if "between" in name else name.split(".")[0] for name in names}

    assert moved(before, middle) == {"joint_posterior", "decoders"}
    assert moved(middle, after) == {"experts", *(["between"] if kind == "JNF" else [])}
    with pytest.raises(ValueError, match="students: expected one of 'along', 'after'"):
        make(kind, students="before")


def test_flows_learn_the_posteriors_of_subsets_from_the_joint_network() -> None:
    """Of a linear-Gaussian model with an exact joint encoder: divergences from the exact posteriors fall."""
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 4, "c": 2}, 2, seed=1)
    model = exact_model(yardstick, "JNF")
    data = yardstick.sample(1500)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.experts.parameters():
            parameter.mul_(0.3)
    few = {name: value[:200] for name, value in data.items()}

    def distance() -> list[float]:
        found = []
        for subset in (("a",), ("c",), ("a", "b")):
            exact = yardstick.posterior(few, subset)
            z = exact.sample((50,))
            with torch.no_grad():
                log_q = model.infer(few, subset).distribution.log_prob(z.float())
            found.append(float((exact.log_prob(z) - log_q).mean()))
        return found

    before = distance()
    mmvae.fit(model, data, epochs={"joint": 0, "students": 12}, batch_size=100, lr=5e-3, progress=False)
    after = distance()
    assert all(later < 0.2 * earlier and later < 0.15 for earlier, later in zip(before, after, strict=True)), (
        before,
        after,
    )


def test_many_modalities_are_fitted_on_a_sample_of_subsets() -> None:
    from mmvae.objectives.sampled_alignment import _proper_subsets

    members = _proper_subsets(7, 30, torch.device("cpu"))
    assert members.shape == (30, 7)
    assert len({tuple(row) for row in members.tolist()}) == 30
    assert all(row in members.tolist() for row in torch.eye(7, dtype=torch.bool).tolist())
    assert not members.all(1).any()
    assert _proper_subsets(3, 30, torch.device("cpu")).shape == (6, 3)


# Conditional priors.


def test_samples_follow_the_covariates() -> None:
    generator = torch.Generator().manual_seed(0)
    lane = torch.randint(0, 2, (600,), generator=generator)
    data = {"x": (4.0 * lane - 2).unsqueeze(1) + 0.3 * torch.randn(600, 3, generator=generator)}
    torch.manual_seed(0)
    vae = CVAE([Modality("x", (3,), likelihoods.Normal(0.3))], 1, {"lane": 2})
    assert isinstance(vae.prior, priors.ConditionalNormal)
    mmvae.fit(vae, data, covariates={"lane": lane}, epochs=10, lr=3e-3, progress=False)
    for each in (0, 1):
        drawn = vae.sample(200, covariates={"lane": each})["x"]
        assert (drawn.mean() - (4.0 * each - 2)).abs() < 0.5


def test_without_covariates_it_is_a_plain_vae() -> None:
    model, data = make("CVAE", 1)
    assert isinstance(model.prior, priors.StandardNormal)
    torch.manual_seed(0)
    loss = model.loss(data)
    torch.testing.assert_close(loss.total, loss.terms["kl"] - model.weights["real"] * loss.terms["real"])


@pytest.mark.parametrize("kind", ["CMVAE", "CVAE", "MMJSD"])
def test_a_prior_fitted_to_any_recipe_is_saved(kind: str, tmp_path: Any) -> None:
    modalities = [Modality(name, (4,), likelihoods.Normal()) for name in "ab"]
    data = {name: torch.randn(8, 4) for name in "ab"}
    private = {"private_dim": 1} if kind == "CMVAE" else {}
    model = getattr(mmvae.models, kind)(modalities, 2, **private)
    mmvae.fit_prior(model, data, priors.GaussianMixture(2), steps=3)
    mmvae.save(model, tmp_path / "run")
    again = mmvae.load(tmp_path / "run")
    z = torch.randn(5, model.latent_dim)
    torch.testing.assert_close(again.prior().log_prob(z), model.prior().log_prob(z))


@pytest.mark.parametrize("kind", ["TELBO", "JNF"])
def test_a_run_of_two_stages_goes_on_where_it_stopped(kind: str, tmp_path: Any) -> None:
    """In the middle of the second stage, with the weights of a run without a break."""
    data = {name: torch.randn(12, 4, generator=torch.Generator().manual_seed(0)) for name in "ab"}
    weights = []
    for breaks in (False, True):
        torch.manual_seed(0)
        modalities = [Modality(name, (4,), likelihoods.Normal()) for name in "ab"]
        model = getattr(mmvae.models, kind)(modalities, 2, students="after", **SMALL)
        out = tmp_path / str(breaks)
        options: Any = {"batch_size": 6, "progress": False, "out": out, "seed": 1}
        if breaks:
            mmvae.fit(model, data, epochs={"joint": 2, "students": 1}, **options)
            mmvae.fit(model, data, epochs={"joint": 2, "students": 2}, resume=True, **options)
        else:
            mmvae.fit(model, data, epochs={"joint": 2, "students": 2}, **options)
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
