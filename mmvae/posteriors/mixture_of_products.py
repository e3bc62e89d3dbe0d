"""Mixture of products of experts (MoPoE)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.batch import Batch
from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import JointPosterior
from mmvae.posteriors.experts import Experts, UnimodalExperts
from mmvae.subsets import powerset, to_mask


class MixtureOfProducts(JointPosterior):
    """q(z | x_S): the even mixture of the products over all non-empty subsets of S.

    A row's subsets are those whose members are all observed in it. With many modalities the powerset is too large:
    beyond ``max_components`` subsets, the mixture is over the M single modalities, the whole, and a random sample of
    the others, drawn once from ``seed`` and the same for every batch.

    Args:
        num_modalities: of the model.
        prior_expert: in which products the standard normal prior is an expert: ``"full"`` (only in that of all M
            modalities, as in the authors' code), ``"all"`` or ``"none"``.
        max_components: cap on the number of products.
        seed: of the sample of subsets.

    Source: Sutter et al. 2021, "Generalized multimodal ELBO".
    """

    def __init__(
        self,
        num_modalities: int,
        prior_expert: Literal["full", "all", "none"] = "full",
        max_components: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if prior_expert not in ("full", "all", "none"):
            raise ValueError(f'prior_expert: expected "full", "all" or "none", got {prior_expert!r}.')
        if max_components <= num_modalities:
            raise ValueError(
                f"max_components: {num_modalities} modalities need at least {num_modalities + 1}, got {max_components}."
            )
        self.num_modalities = num_modalities
        self.prior_expert = prior_expert
        self.max_components = max_components
        self.seed = seed

    def subsets(self, num_modalities: int) -> Bool[Tensor, "C M"]:
        """The members of each product, when the batch holds that many modalities."""
        return _subsets(num_modalities, self.max_components, self.seed)

    def forward(self, batch: Batch, experts: UnimodalExperts) -> MixtureOfExperts:
        """The mixture over all modalities of the batch."""
        return self.fuse(experts(batch))

    def fuse(self, experts: Experts) -> MixtureOfExperts:
        """The mixture of all products of the given experts, of batch shape ``[N]``."""
        members = _subsets_on(len(experts.names), self.max_components, self.seed, experts.loc.device)  # [C, M]
        loc, scale = product_of_gaussians(
            experts.loc,
            experts.scale,
            observed=experts.observed,
            members=members,
            prior_precision=self._prior_precision(members),
        )
        weights = None
        if experts.observed is not None:
            missing = members.to(loc.dtype) @ (~experts.observed).to(loc.dtype)  # [C, N]: members not observed
            weights = (missing == 0).to(loc.dtype)
        return MixtureOfExperts(loc, scale, weights, experts.family)

    def _prior_precision(self, members: Bool[Tensor, "C M"]) -> float | Tensor:
        if self.prior_expert == "full":
            return (members.sum(1) == self.num_modalities).to(torch.get_default_dtype())
        return float(self.prior_expert == "all")


@lru_cache
def _subsets(num_modalities: int, max_components: int, seed: int) -> Bool[Tensor, "C M"]:
    names = [str(index) for index in range(num_modalities)]
    if 2**num_modalities - 1 <= max_components:
        return to_mask(powerset(names), names)
    generator = torch.Generator().manual_seed(seed)
    chosen = {1 << index for index in range(num_modalities)} | {2**num_modalities - 1}
    while len(chosen) < max_components:
        chosen.add(int(torch.randint(1, 2**num_modalities, (), generator=generator)))
    ordered = sorted(chosen, key=lambda bits: (bits.bit_count(), bits))
    return torch.tensor([[bool(bits >> index & 1) for index in range(num_modalities)] for bits in ordered])


@lru_cache
def _subsets_on(num_modalities: int, max_components: int, seed: int, device: torch.device) -> Bool[Tensor, "C M"]:
    """The same at each step, and so kept on the device: a step that took them there would wait."""
    with torch.inference_mode(False):  # they outlive the mode in which they are first asked for
        return _subsets(num_modalities, max_components, seed).to(device)
