"""One distribution over the rows of several."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch.distributions import Distribution

from mmvae.distributions.mixture_of_experts import MixtureOfExperts


def concatenate(distributions: Sequence[Distribution]) -> Distribution:
    """The distributions of consecutive batches as one, of batch shape ``[N_1 + N_2 + ...]``.

    Args:
        distributions: posteriors of one kind, each of batch shape ``[N_i]`` and event shape ``[D]``.

    Raises:
        TypeError: for a kind of distribution that it does not know.
    """
    first = distributions[0]
    if len(distributions) == 1:
        return first
    if isinstance(first, MixtureOfExperts):
        return MixtureOfExperts(
            torch.cat([part.loc for part in distributions], 1),  # type: ignore[attr-defined]
            torch.cat([part.scale for part in distributions], 1),  # type: ignore[attr-defined]
            torch.cat([part.weights for part in distributions], 1),  # type: ignore[attr-defined]
            first.family,
        )
    if isinstance(first, torch.distributions.Independent):
        return dist.Independent(
            concatenate([part.base_dist for part in distributions]),  # type: ignore[attr-defined]
            first.reinterpreted_batch_ndims,
        )
    if isinstance(first, dist.Delta):
        return dist.Delta(torch.cat([part.v for part in distributions]), event_dim=first.event_dim)  # type: ignore[attr-defined]
    if isinstance(first, dist.Normal | dist.Laplace):
        loc = torch.cat([part.loc for part in distributions])  # type: ignore[attr-defined]
        return type(first)(loc, torch.cat([part.scale for part in distributions]))  # type: ignore[attr-defined]
    if isinstance(first, dist.Empirical):
        samples = torch.cat([part._samples for part in distributions])  # type: ignore[attr-defined]
        return dist.Empirical(samples, torch.cat([part.log_weights for part in distributions]))  # type: ignore[attr-defined]
    raise TypeError(f"cannot concatenate distributions of type {type(first).__name__}.")
