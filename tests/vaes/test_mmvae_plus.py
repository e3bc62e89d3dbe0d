"""MMVAE+ and CMVAE: the contract, the objective in slow loops, its gradient, and what private latents must not do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import Parts
from torch import Tensor

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.models import CMVAE, MMVAEPlus, MultimodalVAE
from mmvae.testing import ModelContract

PRIVATE = {"real": 1, "codes": 2}


class TestMMVAEPlus(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMVAEPlus(modalities, 2, PRIVATE)


class TestImportanceWeightedMMVAEPlus(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMVAEPlus(modalities, 2, 1, num_samples=3, family="normal")


class TestMMVAEPlusWithCovariates(ModelContract):
    def make_covariates(self) -> dict[str, float]:
        return {"lane": 0.0}

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMVAEPlus(modalities, 2, 1, objective="elbo", covariates={"lane": 2})


class TestCMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CMVAE(modalities, 2, 1, 3)


# The objective.


def log_laplace(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-(x - loc).abs() / scale - (2 * scale).log()).sum()


def slow(model: Any, data: dict[str, Tensor], observed: dict[str, Tensor], z: Tensor, beta: float) -> Tensor:
    """log w ``[K, C, N]`` at latents that were drawn, row by row and component by component; nothing where a row lacks
    the modality of the component."""
    layout, names = model.layout, model.names
    loc_scale = {}
    for name in names:
        features = model.experts.encoders[name](data[name])
        loc_scale[name] = model.experts.heads[name](features)
    found = torch.zeros(z.shape[:3])
    for k in range(z.shape[0]):
        for n in range(z.shape[2]):
            has = [name for name in names if observed[name][n]]
            for c, name in enumerate(names):
                if name not in has:
                    continue
                latent = z[k, c, n]
                shared, own = latent[:2], latent[layout.columns(name)]
                value = torch.zeros(())
                for other in has:
                    decoded = model.decode(latent[None], other)[other]
                    value = value + model.weights[other] * decoded.log_prob(data[other][n : n + 1])[0]
                mixture = torch.stack(
                    [log_laplace(shared, loc_scale[each][0][n, :2], loc_scale[each][1][n, :2]) for each in has]
                )
                zero, one = torch.zeros_like(latent), torch.ones_like(latent)
                ratio = log_laplace(shared, zero[:2], one[:2]) - mixture.logsumexp(0) + math.log(len(has))
                ratio = ratio + log_laplace(own, zero[: len(own)], one[: len(own)])
                ratio = ratio - log_laplace(own, loc_scale[name][0][n, 2:], loc_scale[name][1][n, 2:])
                found[k, c, n] = value + beta * ratio
    return found


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize(("objective", "num_samples"), [("elbo", 2), ("iwae", 3), ("dreg", 3), ("dreg", 1)])
def test_the_loss_is_that_of_slow_loops(objective: Any, num_samples: int, missing: bool) -> None:
    parts = Parts()
    torch.manual_seed(0)
    model = MMVAEPlus(parts.make_modalities(), 2, PRIVATE, num_samples=num_samples, objective=objective, beta=0.7)
    data = parts.make_data()
    everything = {name: torch.ones(6, dtype=torch.bool) for name in data}
    observed = parts.make_observed() if missing else everything
    drawn: list[Tensor] = []
    score = model.score

    def recorded(batch: Any, z: Tensor, rows: Any = None) -> Any:
        drawn.append(z.detach())
        return score(batch, z, rows)

    model.score = recorded  # type: ignore[method-assign]
    loss = model.loss(data, observed)
    del model.score
    with torch.no_grad():
        log_w = slow(model, data, observed, drawn[0], 0.7)
        bound = log_w.mean(0) if objective == "elbo" else log_w.logsumexp(0) - math.log(num_samples)
    has = torch.stack([observed[name] for name in model.names]).float()
    expected = -((bound * has).sum(0) / has.sum(0)).mean()
    torch.testing.assert_close(loss.total.detach(), expected, rtol=1e-4, atol=1e-4)


def test_private_latents_of_others_come_from_auxiliary_priors() -> None:
    """Component m keeps its own private posterior; all other private columns are draws of the auxiliary priors."""
    parts = Parts()
    model = MMVAEPlus(parts.make_modalities(), 2, PRIVATE, family="normal")
    with torch.no_grad():
        for head in model.experts.heads.values():
            head.linear.bias[: head.linear.out_features // 2] += 50.0  # locations far from the prior
    drawn: list[Tensor] = []
    score = model.score
    model.score = lambda batch, z, rows=None: drawn.append(z.detach()) or score(batch, z, rows)  # type: ignore
    model.loss(parts.make_data())
    (z,) = drawn
    for component, name in enumerate(model.names):
        assert (z[:, component, :, :2] > 20).all()
        for owner in model.layout.private:
            assert (z[:, component, :, model.layout.columns(owner)] > 20).all() == (owner == name)


def gradients(model: Any, data: dict[str, Tensor], repeats: int) -> Tensor:
    parameters = [each for each in model.parameters() if each.requires_grad]
    rows = []
    for _ in range(repeats):
        found = torch.autograd.grad(model.loss(data).total, parameters)
        rows.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(rows)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_the_doubly_reparameterised_gradient_is_that_of_the_bound(num_samples: int) -> None:
    """On the average over many draws, parameter by parameter: encoders, decoders and auxiliary priors."""
    parts = Parts()
    data = {name: torch.cat([value] * 40) for name, value in parts.make_data().items()}
    found = []
    for objective in ("iwae", "dreg"):
        torch.manual_seed(0)
        model = MMVAEPlus(
            parts.make_modalities(), 2, PRIVATE, num_samples=num_samples, objective=objective, family="normal", beta=0.8
        )
        with torch.no_grad():
            for parameter in model.experts.heads.parameters():
                parameter.mul_(3)
        torch.manual_seed(1)
        found.append(gradients(model, data, 80))
    plain, dreg = found
    error = (plain.var(0) / len(plain) + dreg.var(0) / len(dreg)).sqrt()
    score = (plain.mean(0) - dreg.mean(0)).abs() / (error + 1e-6)
    assert score.max() < 5.5
    assert (score > 3).double().mean() < 0.02


def test_with_one_modality_it_is_a_vae_with_one_latent() -> None:
    """Nothing is mixed, and no auxiliary prior takes part."""
    parts = Parts()
    modalities, data = parts.make_modalities()[:1], {"real": parts.make_data()["real"]}
    torch.manual_seed(0)
    plus = MMVAEPlus(modalities, 2, 1, objective="elbo", family="normal")
    plain = models.MMVAE(
        modalities, 2, private_dim=1, objective="elbo", family="normal", learned_prior_scale=False, num_samples=1
    )
    missing = plain.load_state_dict(plus.state_dict(), strict=False)
    assert all(name.startswith("auxiliary") for name in missing.unexpected_keys)
    losses = []
    for model in (plus, plain):
        torch.manual_seed(1)
        losses.append(model.loss(data).total)
    torch.testing.assert_close(*losses)


# What it is for.

GENERATOR = torch.Generator().manual_seed(0)
CONTENT = torch.randn(3000, 1, generator=GENERATOR)
STYLES = {name: torch.randn(3000, 1, generator=GENERATOR) for name in "ab"}
MIXED = {
    name: torch.cat([CONTENT, STYLES[name]], 1) @ torch.randn(2, 6, generator=GENERATOR)
    + 0.1 * torch.randn(3000, 6, generator=GENERATOR)
    for name in "ab"
}


def r2(features: Tensor, target: Tensor) -> float:
    """Share of the variance that a linear fit explains."""
    design = torch.cat([features, torch.ones(len(features), 1)], 1)
    residual = target - design @ torch.linalg.lstsq(design, target).solution
    return 1 - float(residual.var() / target.var())


def test_shared_content_is_in_the_shared_latent_and_style_in_the_private_one() -> None:
    torch.manual_seed(0)
    modalities = [Modality(name, (6,), likelihoods.Normal(0.1)) for name in "ab"]
    vae = MMVAEPlus(modalities, 1, 1, family="normal", objective="elbo")
    mmvae.fit(vae, MIXED, epochs=30, batch_size=128, lr=2e-3, progress=False)
    latents = mmvae.infer(vae, MIXED, subset="a")
    assert r2(latents.shared.mean, CONTENT) > 0.8
    assert r2(latents.shared.mean, STYLES["a"]) < 0.2
    assert r2(latents.private["a"].mean, STYLES["a"]) > 0.6


# Clusters.


def test_clusters_are_found_from_every_subset() -> None:
    generator = torch.Generator().manual_seed(1)
    cluster = torch.randint(0, 3, (1500,), generator=generator)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    hidden = centres[cluster] + 0.3 * torch.randn(1500, 2, generator=generator)
    data = {
        name: hidden @ torch.randn(2, 5, generator=generator) + 0.2 * torch.randn(1500, 5, generator=generator)
        for name in "ab"
    }
    torch.manual_seed(0)
    vae = CMVAE([Modality(name, (5,), likelihoods.Normal(0.3)) for name in "ab"], 2, 1, 6)
    mmvae.fit(vae, data, epochs=40, lr=2e-3, progress=False)
    for subset in ("a", "b", None):
        found = vae.clusters(data, subset)
        assert found.shape == (1500, 6)
        torch.testing.assert_close(found.sum(1), torch.ones(1500))
        chosen = found.argmax(1)
        pure = sum(int(cluster[chosen == each].bincount(minlength=3).max()) for each in chosen.unique())
        assert pure > 0.9 * 1500
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    kept = vae.prune(data)
    assert len(kept) == 3
    moved = {name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"prior.shared.logits"}
    found = vae.clusters(data)
    assert (found[:, [each for each in range(6) if each not in kept]] == 0).all()
    chosen = found.argmax(1)
    assert sum(int(cluster[chosen == each].bincount(minlength=3).max()) for each in chosen.unique()) > 0.9 * 1500
    assert vae.prune(data) == kept
    assert vae.loss(data).total.isfinite()


def test_pruning_needs_clusters() -> None:
    parts = Parts()
    model = CMVAE(parts.make_modalities(), 2, 1, prior=mmvae.priors.StandardNormal())
    for ask in (model.prune, model.clusters):
        with pytest.raises(TypeError, match="no clusters, as its prior is a StandardNormal; leave prior= out"):
            ask(parts.make_data())
