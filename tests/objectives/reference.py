"""Objectives once more, in loops over rows, samples, subsets and modalities, with densities of their own, in float64.

Networks are the model's, and so is the noise: the latents that an objective drew are recorded, and the reference draws
the same ones through its own parameters, so that values and gradients can be compared.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from mmvae.distributions import MixtureOfExperts
from mmvae.models import MultimodalVAE
from mmvae.subsets import powerset

Gaussian = tuple[Tensor, Tensor]


@dataclass
class Drawn:
    """What one call of an objective asked the model to score."""

    z: Tensor
    rows: dict[str, Tensor] | None
    component: Tensor | None
    """Of a mixture that was drawn from once per row, the component of each row."""


def record(model: MultimodalVAE) -> list[Drawn]:
    """A list to which every call of the model's score adds its latents."""
    drawn: list[Drawn] = []
    chosen: list[Tensor] = []
    score, component_at = model.score, MixtureOfExperts._component_at

    def noted(mixture: MixtureOfExperts, position: Tensor) -> Tensor:
        chosen.append(component_at(mixture, position))
        return chosen[-1]

    def recorded(batch: Any, z: Tensor, rows: Any = None) -> dict[str, Tensor]:
        drawn.append(Drawn(z.detach().double(), rows, chosen[-1].squeeze(0) if chosen else None))
        return score(batch, z, rows)

    model.score = recorded  # type: ignore[method-assign]
    fuse = model.joint_posterior.forward

    def fused(*arguments: Any) -> Any:
        posterior = fuse(*arguments)
        if isinstance(posterior, MixtureOfExperts):
            posterior._component_at = functools.partial(noted, posterior)
        return posterior

    model.joint_posterior.forward = fused  # type: ignore[method-assign]
    return drawn


def log_normal(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((x - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum()


def log_laplace(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-(x - loc).abs() / scale - (2 * scale).log()).sum()


def kl_normal(q: Gaussian, p: Gaussian) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for q_loc, q_scale, p_loc, p_scale in zip(*q, *p, strict=True):
        ratio = q_scale / p_scale
        total = total + 0.5 * (ratio**2 + ((q_loc - p_loc) / p_scale) ** 2 - 1) - ratio.log()
    return total


class Reference:
    """The model in float64, asked row by row."""

    def __init__(self, model: MultimodalVAE, data: dict[str, Tensor], observed: dict[str, Tensor] | None) -> None:
        self.model = copy.deepcopy(model).double()
        self.names = model.names
        self.weights = model.weights
        self.data = data
        self.size = len(next(iter(data.values())))
        self.observed = observed or {name: torch.ones(self.size, dtype=torch.bool) for name in data}

    def has(self, row: int) -> list[str]:
        return [name for name in self.names if self.observed[name][row]]

    @functools.cache  # noqa: B019 (a reference lives as long as its test)
    def expert(self, name: str, row: int) -> Gaussian:
        x = self.data[name][row : row + 1]
        features = self.model.experts.encoders[name](x.double() if x.is_floating_point() else x)
        loc, scale = self.model.experts.heads[name](features)
        layout = self.model.layout
        return layout.place(loc[0], name, 0.0), layout.place(scale[0], name, 1.0)

    def joint(self, row: int) -> Gaussian:
        """The joint encoder of JMVAE."""
        encoder: Any = self.model.joint_posterior
        parts = []
        for name in self.names:
            x = self.data[name][row : row + 1]
            parts.append(encoder.trunks[name](x.double() if x.is_floating_point() else x))
        loc, scale = encoder.head(encoder.hidden(torch.cat(parts, 1)))
        return loc[0], scale[0]

    def product(self, names: Sequence[str], row: int, prior: bool) -> Gaussian:
        size = self.model.latent_dim
        precision = torch.full((size,), float(prior), dtype=torch.float64)
        weighted = torch.zeros(size, dtype=torch.float64)
        for name in names:
            loc, scale = self.expert(name, row)
            precision = precision + 1 / scale**2
            weighted = weighted + loc / scale**2
        return weighted / precision, 1 / precision.sqrt()

    def prior(self) -> Gaussian:
        size = self.model.latent_dim
        raw = self.model.prior.raw_scale
        scale = torch.ones(size, dtype=torch.float64)
        if raw is not None:
            scale = size * raw.exp() / raw.exp().sum() + 1e-6
        return torch.zeros(size, dtype=torch.float64), scale

    def log_p(self, name: str, row: int, z: Tensor) -> Tensor:
        """log p(x_m | z) of the contract's modalities: real numbers, bits and codes."""
        parameters = self.model.decoders[name](self.model.layout.read(z, name)[None])[0]
        x = self.data[name][row]
        if name == "real":
            return log_normal(x.double(), parameters, torch.tensor(0.7, dtype=torch.float64))
        total = torch.zeros((), dtype=torch.float64)
        if name == "bits":
            for bit, logit in zip(x.flatten(), parameters.flatten(), strict=True):
                p = 1 / (1 + (-logit).exp())
                total = total + (p if bit == 1 else 1 - p).log()
            return total
        for code, logits in zip(x, parameters, strict=True):
            total = total + logits[code] - logits.exp().sum().log()
        return total

    def weighted(self, row: int, z: Tensor, names: Sequence[str]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for name in names:
            total = total + self.weights[name] * self.log_p(name, row, z)
        return total

    def redraw(self, gaussian: Gaussian, z: Tensor) -> Tensor:
        """The recorded draw, through the reference's own parameters."""
        loc, scale = gaussian
        noise = ((z - loc) / scale).detach()
        return loc + scale * noise


def subset_elbo(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    assert drawn.rows is not None
    loss = torch.zeros((), dtype=torch.float64)
    for subset, z_of_subset in enumerate(drawn.z):
        members = [name for name in reference.names if subset in drawn.rows[name].tolist()]
        for row in range(reference.size):
            scored = [name for name in members if name in reference.has(row)]
            posterior = reference.product(scored, row, prior=True)
            z = reference.redraw(posterior, z_of_subset[row])
            loss = loss - reference.weighted(row, z, scored) + beta * kl_normal(posterior, reference.prior())
    return loss / reference.size


def mixture_elbo(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        components = [
            reference.product(subset, row, prior=len(subset) == len(reference.names))
            for subset in powerset(reference.has(row))
        ]
        assert drawn.component is not None
        chosen = components[_place(reference, row, int(drawn.component[row]))]
        z = reference.redraw(chosen, drawn.z[row])
        loss = loss - reference.weighted(row, z, reference.has(row))
        for component in components:
            loss = loss + beta * kl_normal(component, reference.prior()) / len(components)
    return loss / reference.size


def _place(reference: Reference, row: int, component: int) -> int:
    """Where a component of all modalities' subsets stands among those that the row has."""
    subset = powerset(reference.names)[component]
    return powerset(reference.has(row)).index(subset)


def total_correlation(reference: Reference, drawn: Drawn, beta: float, alpha: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        names = reference.has(row)
        posterior = reference.product(names, row, prior=False)
        z = reference.redraw(posterior, drawn.z[row])
        loss = loss - (len(names) - alpha) / len(names) * reference.weighted(row, z, names)
        loss = loss + beta * (1 - alpha) * kl_normal(posterior, reference.prior())
        for name in names:
            loss = loss + beta * alpha / len(names) * kl_normal(posterior, reference.expert(name, row))
    return loss / reference.size


def with_private(reference: Reference, shared: Gaussian, row: int) -> Gaussian:
    """Some posterior in the shared columns, and the owners' experts in the private ones of what the row has."""
    loc, scale, layout = shared[0].clone(), shared[1].clone(), reference.model.layout
    for owner in layout.private:
        columns = layout.columns(owner)
        own = (
            reference.expert(owner, row)
            if owner in reference.has(row)
            else (torch.zeros_like(loc), torch.ones_like(loc))
        )
        loc[columns], scale[columns] = own[0][columns], own[1][columns]
    return loc, scale


def cross_subset_elbo(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        for subset, names in enumerate([reference.has(row), *([name] for name in reference.names)]):
            if not set(names) <= set(reference.has(row)):
                continue
            posterior = with_private(reference, reference.product(names, row, prior=True), row)
            z = reference.redraw(posterior, drawn.z[subset][row])
            loss = (
                loss - reference.weighted(row, z, reference.has(row)) + beta * kl_normal(posterior, reference.prior())
            )
    return loss / reference.size


def geometric_pool(reference: Reference, names: Sequence[str], row: int) -> Gaussian:
    alpha = reference.model.joint_posterior.logits.exp()
    total = sum((alpha[reference.names.index(name)] for name in names), start=torch.zeros(()))
    precision, weighted = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for name in names:
        loc, scale = reference.expert(name, row)
        share = alpha[reference.names.index(name)] / total
        precision, weighted = precision + share / scale**2, weighted + share * loc / scale**2
    return weighted / precision, 1 / precision.sqrt()


def consensus(reference: Reference, names: Sequence[str], row: int) -> Gaussian:
    """By the inverse of the covariance of the experts' errors."""
    rho = reference.model.joint_posterior.correlation
    experts = [reference.expert(name, row) for name in names]
    found = []
    for column in range(2):
        loc, scale = (torch.stack([each[side][column] for each in experts]) for side in (0, 1))
        inverse = torch.linalg.inv(rho * scale.outer(scale) + (1 - rho) * scale.square().diag())
        found.append((inverse.sum(0) @ loc / inverse.sum(), inverse.sum().rsqrt()))
    return torch.stack([each[0] for each in found]), torch.stack([each[1] for each in found])


def pool_of_roots(reference: Reference, names: Sequence[str], row: int) -> list[tuple[Tensor, Gaussian, int]]:
    """Weight, Gaussian and place of each component of the pool of square roots."""
    everyone = list(reference.names)
    pairs = list(combinations(everyone, 2))
    found = [(torch.ones((), dtype=torch.float64), reference.expert(name, row), everyone.index(name)) for name in names]
    for one, two in combinations(names, 2):
        (mu, s), (nu, t) = reference.expert(one, row), reference.expert(two, row)
        v, w = s**2, t**2
        overlap = ((2 * (v * w).sqrt() / (v + w)).sqrt() * (-((mu - nu) ** 2) / (4 * (v + w))).exp()).prod()
        middle = (mu * w + nu * v) / (v + w), (2 * v * w / (v + w)).sqrt()
        found.append((2 * overlap, middle, len(everyone) + pairs.index((one, two))))
    total = sum((each[0] for each in found), start=torch.zeros(()))
    return [(weight / total, gaussian, place) for weight, gaussian, place in found]


def moments_of_roots(reference: Reference, names: Sequence[str], row: int) -> Gaussian:
    mean, square = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for weight, (loc, scale), _ in pool_of_roots(reference, names, row):
        mean, square = mean + weight * loc, square + weight * (loc**2 + scale**2)
    return mean, (square - mean**2).sqrt()


def plain_elbo(reference: Reference, drawn: Drawn, beta: float, fuse: Callable[..., Gaussian]) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        names = reference.has(row)
        posterior = fuse(reference, names, row)
        z = reference.redraw(posterior, drawn.z[row])
        loss = loss - reference.weighted(row, z, names) + beta * kl_normal(posterior, reference.prior())
    return loss / reference.size


def elbo_of_pool(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    """Of draws ``[K, C, N, D]`` from each component, weighed under the whole pool."""
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        names = reference.has(row)
        components = pool_of_roots(reference, names, row)
        for weight, gaussian, place in components:
            for draws in drawn.z:
                z = reference.redraw(gaussian, draws[place, row])
                density = sum((share * log_normal(z, *each).exp() for share, each, _ in components), torch.zeros(()))
                log_w = reference.weighted(row, z, names)
                log_w = log_w + beta * (log_normal(z, *reference.prior()) - density.log())
                loss = loss - weight * log_w / len(drawn.z)
    return loss / reference.size


def consensus_elbo(reference: Reference, drawn: Drawn, beta: float, entropy: float) -> Tensor:
    everyone = powerset(reference.names)[::-1]
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        has = [subset for subset in everyone if set(subset) <= set(reference.has(row))]
        raw = [reference.model.subset_logits[everyone.index(subset)].exp() for subset in has]
        for subset, each in zip(has, raw, strict=True):
            weight = each / sum(raw)
            posterior = with_private(reference, consensus(reference, subset, row), row)
            z = reference.redraw(posterior, drawn.z[everyone.index(subset)][row])
            kl = kl_normal(posterior, reference.prior())
            loss = loss + weight * (beta * kl - reference.weighted(row, z, reference.has(row)))
            loss = loss + entropy * weight * weight.log()
    return loss / reference.size


def jensen_shannon(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    standard = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for row in range(reference.size):
        names = reference.has(row)
        assert drawn.component is not None
        chosen = reference.expert(reference.names[int(drawn.component[row])], row)
        loss = loss - reference.weighted(row, reference.redraw(chosen, drawn.z[row]), names)
        everyone = [*(reference.expert(name, row) for name in names), standard]
        precision = sum(((1 / scale**2) for _, scale in everyone), start=torch.zeros(2)) / len(everyone)
        loc = sum((loc / scale**2 for loc, scale in everyone), start=torch.zeros(2)) / len(everyone) / precision
        for each in everyone:
            loss = loss + beta * kl_normal(each, (loc, 1 / precision.sqrt())) / len(everyone)
    return loss / reference.size


def component_elbo(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        for name in reference.has(row):
            expert = reference.expert(name, row)
            for draws in drawn.z:
                z = reference.redraw(expert, draws[reference.names.index(name), row])
                loss = loss - reference.weighted(row, z, reference.has(row)) / len(drawn.z)
            loss = loss + beta * kl_normal(expert, reference.prior())
    return loss / reference.size


def coordinated_elbo(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    parts = len(reference.names) + 1
    for row in range(reference.size):
        names = reference.has(row)
        joint = reference.product(names, row, prior=False)
        z = reference.redraw(joint, drawn.z[0][row])
        loss = loss + beta / parts * kl_normal(joint, reference.prior())
        for name in names:
            expert = reference.expert(name, row)
            own = reference.redraw(expert, drawn.z[1 + reference.names.index(name)][row])
            both = reference.weighted(row, z, [name]) + reference.weighted(row, own, [name])
            loss = loss - both / 2 / parts + beta / parts * kl_normal(joint, expert)
    return loss / reference.size


def soft_sharing(reference: Reference, drawn: Drawn, beta: float, alpha: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        names = reference.has(row)
        prior = 1.0 if len(names) == 1 else alpha
        for name in names:
            expert = reference.expert(name, row)
            own = reference.redraw(expert, drawn.z[reference.names.index(name)][row])
            loss = loss - reference.weighted(row, own, [name])
            loss = loss + beta * prior * kl_normal(expert, reference.prior())
            for other in names:
                pull = kl_normal(expert, reference.expert(other, row))
                loss = loss + beta * (1 - prior) / len(names) * pull
    return loss / reference.size


def triple_elbo(reference: Reference, drawn: Drawn, beta: float, unimodal: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        joint = reference.joint(row)
        z = reference.redraw(joint, drawn.z[0][row])
        loss = loss - reference.weighted(row, z, reference.names) + beta * kl_normal(joint, reference.prior())
        for index, name in enumerate(reference.names):
            expert = reference.expert(name, row)
            own = reference.redraw(expert, drawn.z[1 + index][row])
            bound = reference.weighted(row, own, [name]) - beta * kl_normal(expert, reference.prior())
            loss = loss - unimodal * bound
    return loss / reference.size


def sampled_alignment(reference: Reference, drawn: Drawn, beta: float) -> Tensor:
    """The flow is the model's; the product under it, in which the prior counts once, is made by hand."""
    loss = torch.zeros((), dtype=torch.float64)
    subsets = powerset(reference.names)[:-1]
    between: Any = reference.model.joint_posterior.between
    for row in range(reference.size):
        joint = reference.joint(row)
        z = reference.redraw(joint, drawn.z[row])
        loss = loss - reference.weighted(row, z, reference.names) + beta * kl_normal(joint, reference.prior())
        for subset in subsets:
            experts = [reference.expert(name, row) for name in subset]
            each = torch.stack([1 / scale**2 for _, scale in experts])
            precision = torch.maximum(each.sum(0) - (len(subset) - 1), each.amin(0))
            mean = sum((loc / scale**2 for loc, scale in experts), start=torch.zeros(2)) / precision
            scale = 1 / precision.sqrt()
            u, volume = between.flow(torch.cat([mean, scale.log()])).call_and_ladj(drawn.z[row])
            loss = loss - (log_normal(u, mean, scale) + volume) / len(subsets)
    return loss / reference.size


def set_pooling(reference: Reference, names: Sequence[str], row: int) -> Gaussian:
    pooling: Any = reference.model.joint_posterior
    if not names:
        return torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    pooled = torch.zeros(())
    for name in names:
        loc, scale = reference.expert(name, row)
        pooled = pooled + pooling.each(torch.cat([loc, scale.log()]))
    loc, scale = pooling.head(pooling.together(pooled)[None])
    return loc[0], scale[0]


def masked_bound(reference: Reference, drawn: Drawn, beta: float, kept: Tensor) -> Tensor:
    """For the parts ``kept``, bool ``[N, M]``, that the objective drew."""
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        has = reference.has(row)
        some = [name for name in has if kept[row, reference.names.index(name)]]
        rest = [name for name in has if name not in some]
        part, whole = set_pooling(reference, some, row), set_pooling(reference, has, row)
        z, other = reference.redraw(part, drawn.z[0][row]), reference.redraw(whole, drawn.z[1][row])
        loss = loss - reference.weighted(row, z, some) + beta * kl_normal(part, reference.prior())
        loss = loss - reference.weighted(row, other, rest) + beta * kl_normal(whole, part)
    return loss / reference.size


def aligned_elbo(reference: Reference, drawn: Drawn, beta: float, alpha: float) -> Tensor:
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(reference.size):
        posterior = reference.joint(row)
        z = reference.redraw(posterior, drawn.z[row])
        loss = loss - reference.weighted(row, z, reference.names) + beta * kl_normal(posterior, reference.prior())
        for name in reference.names:
            loss = loss + alpha * kl_normal(posterior, reference.expert(name, row))
    return loss / reference.size


class Stratified:
    """The three objectives of a mixture of experts, for draws ``[K, C, N, D]``."""

    def __init__(self, reference: Reference, drawn: Drawn, beta: float, laplace: bool) -> None:
        self.reference, self.z, self.beta = reference, drawn.z, beta
        self.log_density = log_laplace if laplace else log_normal
        self.num_samples = len(drawn.z)

    def log_weight(self, row: int, z: Tensor, frozen: bool = False, honest: bool = False) -> Tensor:
        reference, names = self.reference, self.reference.has(row)
        density = torch.zeros((), dtype=torch.float64)
        for name in names:
            loc, scale = reference.expert(name, row)
            if frozen:
                loc, scale = loc.detach(), scale.detach()
            density = density + self.log_density(z, loc, scale).exp() / len(names)
        log_ratio = self.log_density(z, *reference.prior()) - density.log()
        if honest:
            return sum((reference.log_p(name, row, z) for name in names), start=log_ratio)
        return reference.weighted(row, z, names) + self.beta * log_ratio

    def draws(self, row: int) -> dict[str, list[Tensor]]:
        """Of each component that the row has."""
        return {
            name: [
                self.reference.redraw(
                    self.reference.expert(name, row), self.z[k, self.reference.names.index(name), row]
                )
                for k in range(self.num_samples)
            ]
            for name in self.reference.has(row)
        }

    def elbo(self, honest: bool = False) -> Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        for row in range(self.reference.size):
            draws = self.draws(row)
            for z_of_component in draws.values():
                for z in z_of_component:
                    loss = loss - self.log_weight(row, z, honest=honest) / self.num_samples / len(draws)
        return loss / self.reference.size

    def iwae(self, honest: bool = False) -> Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        for row in range(self.reference.size):
            draws = self.draws(row)
            for z_of_component in draws.values():
                weights = [self.log_weight(row, z, honest=honest).exp() for z in z_of_component]
                loss = loss - (sum(weights) / self.num_samples).log() / len(draws)
        return loss / self.reference.size

    def responsibilities(self, row: int, z: Tensor) -> dict[str, Tensor]:
        """How probable it is that each component gave z; the components are held fixed."""
        densities = {}
        for name in self.reference.has(row):
            loc, scale = self.reference.expert(name, row)
            densities[name] = self.log_density(z, loc.detach(), scale.detach()).exp()
        return {name: density / sum(densities.values()) for name, density in densities.items()}

    def dreg(self) -> Tensor:
        """A number whose gradient is the doubly reparameterised one; its value means nothing."""
        loss = torch.zeros((), dtype=torch.float64)
        for row in range(self.reference.size):
            draws = self.draws(row)
            for component, z_of_component in draws.items():
                points = [z.detach().requires_grad_() for z in z_of_component]
                log_w = [self.log_weight(row, point, frozen=True) for point in points]
                weights = [float(each.detach().exp()) for each in log_w]
                for z, point, each, weight in zip(z_of_component, points, log_w, weights, strict=True):
                    omega = weight / sum(weights)
                    excess = self.beta * (omega - 1 / self.num_samples)
                    shares = self.responsibilities(row, point)
                    own = float(shares[component].detach())
                    (slope,) = torch.autograd.grad(each, point, retain_graph=True)
                    slope_of_share = torch.zeros_like(slope)
                    if len(shares) > 1:
                        (slope_of_share,) = torch.autograd.grad(shares[component], point, retain_graph=True)
                    fixed = self.log_weight(row, point.detach(), frozen=True)
                    gained = omega * fixed + omega * (1 - self.beta * (1 - omega) * own) * (slope * z).sum()
                    gained = gained - excess * (slope_of_share * z).sum()
                    for name in draws:
                        if name != component:
                            density = self.log_density(point.detach(), *self.reference.expert(name, row))
                            gained = gained - excess * shares[name].detach() * density
                    loss = loss - gained / len(draws)
        return loss / self.reference.size
