"""Statistics of which codes are used, and by which modalities; functions of histograms of codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def code_histogram(codes: Int64[Tensor, "*N"], num_codes: int) -> Int64[Tensor, "L"]:
    """How often each code occurs; entries of -1, where there is no vector, are left out."""
    shifted = torch.zeros(num_codes + 1, dtype=torch.int64, device=codes.device)
    index = codes.flatten() + 1
    return shifted.index_add_(0, index, torch.ones_like(index))[1:]


def usage(histogram: Int64[Tensor, "L"]) -> Float[Tensor, ""]:
    """The share of the codes that occur."""
    return (histogram > 0).double().mean()


def perplexity(histogram: Int64[Tensor, "L"]) -> Float[Tensor, ""]:
    """exp of the entropy of the codes: how many are in use, if all were used equally; 1 at least."""
    shares = _shares(histogram)
    return torch.special.entr(shares).sum().exp()


def sharing(histograms: Mapping[str, Int64[Tensor, "L"]], least: float = 0.1) -> Float[Tensor, "M"]:
    """The shares of the codes in use that one modality owns, that two own, ..., that all M own.

    Histograms are brought to the sum 1 first; a modality owns a code if at least the share ``least`` of what the code
    has over all modalities is its own.

    Args:
        histograms: of the M modalities, over the same codes.
        least: at most 1/M, so that each code has an owner.

    Raises:
        ValueError: for a ``least`` out of its range.

    Source: Xia et al. 2023, figure 4, counts a code of two modalities as shared from a share of 0.2 on.
    """
    if not 0 < least <= 1 / len(histograms):
        raise ValueError(f"least: expected a share above 0 and at most 1/{len(histograms)}, got {least}.")
    shares = torch.stack([_shares(histogram) for histogram in histograms.values()])  # [M, L]
    total = shares.sum(0)
    owners = (shares >= least * total).sum(0).masked_fill(total == 0, 0)  # of each code; those not in use have none
    counts = torch.arange(1, len(histograms) + 1, device=owners.device).unsqueeze(-1)
    return (owners == counts).sum(1).double() / (owners > 0).sum().clamp_min(1)


def _shares(histogram: Tensor) -> Tensor:
    return histogram.double() / histogram.sum().clamp_min(1)
