"""Mixture of products of experts (MoPoE)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import pyro.distributions as dist
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from mmvae.choices import check_choice, check_count
from mmvae.distributions.mixture_of_experts import MixtureOfExperts
from mmvae.distributions.product_of_gaussians import product_of_gaussians
from mmvae.posteriors.base import Fusion
from mmvae.posteriors.experts import Experts
from mmvae.subsets import powerset, to_mask

PriorExpert = Literal["full", "all", "none"]


class MixtureOfProducts(Fusion):
    """q(z | x_S): the even mixture of the products over all non-empty subsets of S.

    A row's subsets are those whose members are all observed in it. With many modalities the powerset is too large:
    beyond ``max_components`` subsets the mixture is over the single modalities, everything that the row has, and those
    of its subsets that are in a random sample, drawn once from ``seed``. The sample is one of the model's modalities,
    so that a mask and ``subset=`` say the same.

    Private columns are not mixed: in every component they follow their owner's expert, with the prior where the
    component has it.

    Args:
        num_modalities: Number of modalities of the model.
        prior_expert: Products in which the standard normal prior is an expert: ``"full"`` (only that of all M
            modalities, as in the authors' code), ``"all"`` or ``"none"``.
        max_components: Cap on the number of products.
        seed: Seed of the sample of subsets.

    Raises:
        ValueError: For an unknown ``prior_expert``, or a cap that leaves out single modalities or the whole.

    Source: Sutter et al. 2021, "Generalized multimodal ELBO".
    """

    families = (dist.Normal,)

    def __init__(
        self, num_modalities: int, prior_expert: PriorExpert = "full", max_components: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        check_choice("prior_expert", prior_expert, get_args(PriorExpert))
        check_count("num_modalities", num_modalities, 1)
        if max_components <= num_modalities:
            raise ValueError(
                f"max_components: {num_modalities} modalities need at least {num_modalities + 1}, got {max_components}."
            )
        self.num_modalities = num_modalities
        self.prior_expert = prior_expert
        self.max_components = max_components
        self.seed = seed

    def subsets(self) -> Bool[Tensor, "C M"]:
        """The members of each product, one column for each modality of the model.

        Where the powerset is too large, the product of everything a row has comes on top.
        """
        return _subsets(self.num_modalities, self.max_components, self.seed)

    def fuse(self, experts: Experts, members: Bool[Tensor, "S M"] | None = None) -> MixtureOfExperts:
        """The mixture of all products of the given experts, of batch shape ``[N]``, or ``[S, N]`` with ``members``."""
        places = tuple(experts.everyone.index(name) for name in experts.names)
        components = _among(places, self.num_modalities, self.max_components, self.seed, experts.loc.device)  # [C, M]
        if experts.observed is None and members is None and not self._is_sample and experts.layout.is_shared:
            loc, scale = self._shared(experts, components, self._has_prior(components.sum(1)))
            return MixtureOfExperts(loc, scale, family=experts.family)  # of complete rows, every product has its share
        presence = experts.presence(members)  # [*S, M, N]
        membership = components.to(presence.dtype)
        size = membership.sum(1).reshape(-1, *(1,) * (presence.ndim - 1))  # [C, *1, 1]
        weights = (torch.einsum("cm,...mn->c...n", membership, presence) == size).to(presence.dtype)  # [C, *S, N]
        with_prior = self._has_prior(size)
        loc, scale = self._shared(experts, components, with_prior.flatten())
        if members is not None:
            loc, scale = (each.unsqueeze(1).expand(-1, len(members), -1, -1) for each in (loc, scale))
        if self._is_sample:  # beside the sample, everything that a row has; unless the sample holds just that
            count = presence.sum(-2)[None]  # [1, *S, N]
            is_known = (weights * (size == count)).sum(0, keepdim=True) > 0
            weights = torch.cat([weights, (~is_known & (count > 0)).to(weights.dtype)])
            whole = self._has_prior(count)
            with_prior = torch.cat([with_prior.expand(len(components), *whole.shape[1:]), whole])
            everything = _chosen(whole, *(self._product(experts, members, prior) for prior in (1.0, 0.0)))
            loc, scale = (torch.cat(pair) for pair in zip((loc, scale), everything, strict=True))
        if not experts.layout.is_shared:
            private = slice(experts.layout.shared, None)
            own = _chosen(with_prior, *(self._product(experts, members, prior, private) for prior in (1.0, 0.0)))
            shared = slice(0, experts.layout.shared)
            loc, scale = (
                torch.cat([each[..., shared], extra.expand(*each.shape[:-1], -1)], -1)
                for each, extra in zip((loc, scale), own, strict=True)
            )
        if members is not None:  # rows that have no member of a subset: the standard normal
            nobody = weights.sum(0) == 0
            weights = weights + nobody
            loc, scale = loc.masked_fill(nobody[..., None], 0.0), scale.masked_fill(nobody[..., None], 1.0)
        return MixtureOfExperts(loc, scale, weights, experts.family)

    @property
    def _is_sample(self) -> bool:
        """Whether the powerset is too large."""
        return 2**self.num_modalities - 1 > self.max_components

    def _has_prior(self, size: Shaped[Tensor, "*P"]) -> Bool[Tensor, "*P"]:
        """Whether the prior is an expert of products of so many modalities."""
        if self.prior_expert == "full":
            return size == self.num_modalities
        return torch.full_like(size, self.prior_expert == "all", dtype=torch.bool)

    def _shared(
        self, experts: Experts, components: Bool[Tensor, "C M"], has_prior: Bool[Tensor, "C"]
    ) -> tuple[Tensor, Tensor]:
        """The products over the components' members, ``[C, N, D]``."""
        return product_of_gaussians(
            experts.loc,
            experts.scale,
            observed=experts.observed,
            members=components,
            prior_precision=has_prior.to(experts.loc.dtype),
        )

    def _product(
        self, experts: Experts, members: Bool[Tensor, "S M"] | None, prior: float, columns: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """The product over everything that each row has, ``[*S, N, D]``."""
        speaks = experts.speaks
        return product_of_gaussians(
            experts.loc[..., columns],
            experts.scale[..., columns],
            observed=experts.observed,
            members=members,
            speaks=None if speaks is None else speaks[:, columns],
            prior_precision=prior,
        )


def _chosen(
    with_prior: Bool[Tensor, "C *S N"], one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The one pair of location and scale where the prior is an expert, the other where it is not."""
    choice = with_prior.unsqueeze(-1)
    return torch.where(choice, one[0], other[0]), torch.where(choice, one[1], other[1])


@lru_cache
def _subsets(num_modalities: int, max_components: int, seed: int) -> Bool[Tensor, "C M"]:
    names = [str(index) for index in range(num_modalities)]
    if 2**num_modalities - 1 <= max_components:
        return to_mask(powerset(names), names)
    generator = torch.Generator().manual_seed(seed)
    chosen = {1 << index for index in range(num_modalities)}
    while len(chosen) < max_components - 1:  # one place is for everything that a row has
        chosen.add(int(torch.randint(1, 2**num_modalities - 1, (), generator=generator)))
    ordered = sorted(chosen, key=lambda bits: (bits.bit_count(), bits))
    return torch.tensor([[bool(bits >> index & 1) for index in range(num_modalities)] for bits in ordered])


@lru_cache
def _among(
    places: tuple[int, ...], num_modalities: int, max_components: int, seed: int, device: torch.device
) -> Bool[Tensor, "C M"]:
    """The subsets that lie within the modalities at ``places``, one column for each of them.

    They are the same at each step, and so kept on the device: a step that copied them there would wait.
    """
    with torch.inference_mode(False):  # they outlive the mode in which they are first asked for
        subsets = _subsets(num_modalities, max_components, seed)
        elsewhere = torch.ones(num_modalities, dtype=torch.bool)
        elsewhere[list(places)] = False
        return subsets[~(subsets & elsewhere).any(1)][:, list(places)].to(device)
