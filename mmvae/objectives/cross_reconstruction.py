"""Objectives of mixtures with private latents, in which no private latent explains another modality (MMVAE+)."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.distributions import MixtureOfExperts
from mmvae.distributions.components import Components
from mmvae.layout import Layout
from mmvae.objectives.base import Generative
from mmvae.objectives.stratified import StratifiedDReG, StratifiedELBO, StratifiedIWAE
from mmvae.posteriors import Experts, JointPosterior, Mixture


class HasAuxiliaryPriors(Generative, Protocol):
    """A model with a prior for each private latent that serves the reconstruction of other modalities alone."""

    @property
    def auxiliary(self) -> nn.ModuleDict:
        """``{name: module}``; called without arguments, each gives a distribution of event shape ``[private]``."""


class CrossProposal:
    """Component m: shared columns and its own private ones from expert m, those of all others from auxiliary priors.

    Its density is that of the mixture over the shared columns, times that of expert m over its own private columns,
    times the standard prior over the private columns of others, so that these cancel against the model's prior.

    Args:
        experts: Unimodal posteriors, ``[M, N]``.
        auxiliary: Auxiliary priors by modality.
        is_held: Whether no gradient flows into the density through the parameters of the experts.
    """

    def __init__(self, experts: Experts, auxiliary: nn.ModuleDict, is_held: bool = False) -> None:
        loc, scale = experts.loc, experts.scale
        self._experts, self._auxiliary = experts, auxiliary
        self._loc, self._scale = (loc.detach(), scale.detach()) if is_held else (loc, scale)
        self.layout: Layout = experts.layout
        columns = self.layout.columns()
        self._shared = MixtureOfExperts(
            self._loc[..., columns], self._scale[..., columns], experts.weights, experts.family
        )
        self.weights = self._shared.weights  # [C, N]
        self.num_components = len(experts.names)

    def component_rsample(self, num_samples: int) -> Float[Tensor, "K C N D"]:
        """K draws from every component."""
        own = self._experts.distribution.rsample(torch.Size((num_samples,)))
        if self.layout.is_shared:
            return own
        drawn = [own[..., self.layout.columns()]]
        for owner in self.layout.private:
            columns = self.layout.columns(owner)
            prior: Distribution = self._auxiliary[owner]()
            others = prior.rsample(own.shape[:-1])
            if owner in self._experts.names:
                row = self._experts.names.index(owner)
                others = torch.cat([others[:, :row], own[:, row : row + 1, :, columns], others[:, row + 1 :]], 1)
            drawn.append(others)
        return torch.cat(drawn, -1)

    def log_prob(self, value: Float[Tensor, "K C N D"]) -> Float[Tensor, "K C N"]:
        """Log-density in nats; the second axis says which component each latent came from."""
        shared = self._shared.log_prob(value[..., self.layout.columns()])
        if self.layout.is_shared:
            return shared
        private = slice(self.layout.shared, None)
        # Where an expert is silent its location is 0 and its scale 1: there its density is that of the standard prior.
        each = self._experts.family(self._loc[..., private], self._scale[..., private]).log_prob(value[..., private])
        return shared + each.sum(-1)

    def component_log_prob(self, value: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K C N"]:
        """Log-density of the shared columns under each component, in nats."""
        return self._shared.component_log_prob(value[..., self.layout.columns()])

    def responsibilities(self, value: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K C N"]:
        """The probability that each component gave the shared columns."""
        return self._shared.responsibilities(value[..., self.layout.columns()])

    def own_share(self, own: Float[Tensor, "K C N"]) -> Float[Tensor, "K C N D"]:
        """Share of the density's slope that is the own component's: of shared columns its responsibility, of its own
        private columns all, of those of others none.
        """
        speaks = self._experts.speaks
        if speaks is None:
            return own.unsqueeze(-1)
        is_shared = torch.arange(self.layout.size, device=own.device) < self.layout.shared
        return torch.where(is_shared, own.unsqueeze(-1), speaks.unsqueeze(1).to(own.dtype))

    def detach(self) -> CrossProposal:
        """The same proposal, whose density no gradient flows into through the experts."""
        return CrossProposal(self._experts, self._auxiliary, is_held=True)


class _Cross:
    """Draws from a :class:`CrossProposal`."""

    def refusal(self, posterior: JointPosterior) -> str | None:
        """The bound is one of mixtures."""
        if isinstance(posterior, Mixture):
            return None
        return "It bounds a mixture of experts with private latents. Pair the objective with Mixture."

    def _proposal(self, model: Generative, batch: Batch) -> Components:
        return CrossProposal(model.experts(batch), cast(HasAuxiliaryPriors, model).auxiliary)


class CrossELBO(_Cross, StratifiedELBO):
    """(1/M) Σ_m E[log w], where component m explains other modalities without their private posteriors.

    With z and w_m drawn from expert m, and the private latents of all others from auxiliary priors r_n,

    log w = Σ_n w_n log p(x_n | z, w_n) + β (log p(z) + log p(w_m) - log q(z | X) - log q_m(w_m | x_m)).

    Args:
        num_samples: K, draws from each component.
        beta: KL weight.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Palumbo et al. 2023, "MMVAE+: Enhancing the generative quality of multimodal VAEs without compromises". It
    bounds a model whose private priors are r_n wherever a modality is not the one that was encoded.
    """


class CrossIWAE(_Cross, StratifiedIWAE):
    """(1/M) Σ_m E[log (1/K) Σ_k w_k], with the weights of :class:`CrossELBO`.

    Args:
        num_samples: K, draws from each component.
        beta: KL weight.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Palumbo et al. 2023.
    """


class CrossDReG(_Cross, StratifiedDReG):
    """The bound of :class:`CrossIWAE` with a doubly reparameterised gradient.

    Args:
        num_samples: K, draws from each component.
        beta: KL weight.
        chunk_size: Latents decoded at a time, see :class:`~mmvae.models.MMVAE`.

    Source: Palumbo et al. 2023. The authors' code leaves the score of the posterior in the gradient; here it is held
    fixed, with the corrections for mixtures of :class:`~mmvae.objectives.StratifiedDReG`.
    """
