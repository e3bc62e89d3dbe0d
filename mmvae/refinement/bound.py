"""The bound that refinement climbs, as a function of the parameters of the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions import divergence
from mmvae.objectives.base import Generative, weighted_sum
from mmvae.refinement.gaussian import Gaussian

_MOST_DECODED = 4096
"""Latents decoded at a time, whose activations are kept for the gradient; bounds memory, changes no number."""


def draws_at_a_time(rows: int) -> int:
    """How many draws for each of so many rows are decoded together."""
    return max(1, _MOST_DECODED // rows)


class Terms(NamedTuple):
    """What a bound is made of.

    Attributes:
        log_likelihoods: E_q[log p(x_m | z)] of each modality, ``{name: [N]}``, in nats.
        kl: KL(q || p), ``[N]``, in nats.
    """

    log_likelihoods: dict[str, Float[Tensor, "N"]]
    kl: Float[Tensor, "N"]


class Slope(NamedTuple):
    """A bound and its gradient at N Gaussians; no gradient flows through any of them.

    Attributes:
        terms: of the bound.
        value: the bound, ``[N]``.
        loc: its gradient with respect to the locations, ``[N, D]``; each row is that of its own datum.
        log_variance: its gradient with respect to log scale², ``[N, D]``.
    """

    terms: Terms
    value: Float[Tensor, "N"]
    loc: Float[Tensor, "N D"]
    log_variance: Float[Tensor, "N D"]


@dataclass(frozen=True, eq=False)
class Bound:
    """L(λ; x_S) = E_q(z;λ)[Σ_{m in S} w_m log p(x_m | z)] - β KL(q(z; λ) || p(z)) of each datum of a batch.

    S is what the batch holds. With the default weights it is the ELBO in honest nats.

    Args:
        model: whose generative program scores the data.
        batch: N data points that conform to the model.
        weights: w_m by name; by default 1.
        beta: KL weight.

    Raises:
        ValueError: for a weight of an unknown modality.

    Source: equation (1) of the specification of iterative amortized inference; the KL is exact
    where it has a closed form, and estimated from the draws where not.
    """

    model: Generative
    batch: Batch
    weights: Mapping[str, float] | None = None
    beta: float | Tensor = 1.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.weights or {} if name not in self.model.names]
        if unknown:
            raise ValueError(
                f"weights: {unknown[0]!r} is no modality of this model, which has "
                f"{', '.join(map(repr, self.model.names))}."
            )

    def terms(self, posterior: Distribution, z: Float[Tensor, "*K N D"]) -> Terms:
        """The terms of the bound, given draws of the posterior; averaged over leading dimensions of the draws."""
        log_p = self.model.score(self.batch, z)
        averaged = {
            name: each.mean(tuple(range(each.ndim - 1))) if each.ndim > 1 else each for name, each in log_p.items()
        }
        return Terms(averaged, divergence(posterior, self.model.prior(self.batch.context), z))

    def reconstruction(self, terms: Terms) -> Float[Tensor, "N"]:
        """Σ_m w_m E_q[log p(x_m | z)]."""
        log_p = terms.log_likelihoods
        return weighted_sum(log_p, {**dict.fromkeys(log_p, 1.0), **(self.weights or {})})

    def value(self, terms: Terms) -> Float[Tensor, "N"]:
        """The bound that terms add up to."""
        return self.reconstruction(terms) - self.beta * terms.kl

    def at(self, q: Gaussian, noise: Float[Tensor, "K n D"]) -> Float[Tensor, "N"]:
        """The bound at Gaussians, z = loc + scale ε for each draw of the noise (``n`` is N, or 1 for all rows).

        Draws are decoded a few at a time.
        """
        total = q.loc.new_zeros(len(q.loc))
        for part in noise.split(draws_at_a_time(len(q.loc))):
            terms = self.terms(q.distribution, q.loc + q.scale * part)
            total = total + (len(part) / len(noise)) * self.value(terms)
        return total

    def slope(self, q: Gaussian, noise: Float[Tensor, "K n D"]) -> Slope:
        """The bound and its gradient, also where gradients are switched off; the model's parameters are not touched.

        Draws are decoded a few at a time, so memory does not grow with K.
        """
        loc, log_variance = q.loc.detach().requires_grad_(), q.log_variance.detach().requires_grad_()
        slopes = [torch.zeros_like(loc), torch.zeros_like(loc)]
        log_p = {name: loc.new_zeros(len(loc)) for name in self.batch.names}
        kl = loc.new_zeros(len(loc))
        with torch.enable_grad():
            for part in noise.split(draws_at_a_time(len(loc))):
                share = len(part) / len(noise)
                at = Gaussian.from_log_variance(loc, log_variance)
                terms = self.terms(at.distribution, at.loc + at.scale * part)
                gradients = torch.autograd.grad(self.value(terms).sum(), (loc, log_variance))
                for total, gradient in zip(slopes, gradients, strict=True):
                    total.add_(gradient, alpha=share)
                for name, each in terms.log_likelihoods.items():
                    log_p[name].add_(each.detach(), alpha=share)
                kl.add_(terms.kl.detach(), alpha=share)
        terms = Terms(log_p, kl)
        return Slope(terms, self.value(terms), *slopes)
