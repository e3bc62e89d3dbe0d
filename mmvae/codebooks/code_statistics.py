"""Statistics of which codes are used, and by which modalities; functions of histograms of codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_LEAST_SHARE = 0.1
"""A modality owns a code if at least this share of what the code has is its own (less beyond ten modalities)."""


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


def owners(histograms: Mapping[str, Int64[Tensor, "L"]], least: float | None = None) -> Int64[Tensor, "L"]:
    """How many modalities own each code; 0 for one that is not in use.

    Histograms are brought to the sum 1 first; a modality owns a code if at least the share ``least`` of what the code
    has over all modalities is its own.

    Args:
        histograms: of the M modalities, over the same codes.
        least: at most 1/M, so that each code in use has an owner; by default 0.1, or 1/M beyond ten modalities.

    Raises:
        ValueError: for a ``least`` out of its range.

    Source: Xia et al. 2023, figure 4, counts a code of two modalities as shared from a share of 0.2 on.
    """
    most = 1 / len(histograms)
    least = min(_LEAST_SHARE, most) if least is None else least
    if not 0 < least <= most:
        raise ValueError(f"least: expected a share above 0 and at most 1/{len(histograms)}, got {least}.")
    shares = torch.stack([_shares(histogram) for histogram in histograms.values()])  # [M, L]
    total = shares.sum(0)
    return (shares >= least * total).sum(0).masked_fill(total == 0, 0)


def sharing(histograms: Mapping[str, Int64[Tensor, "L"]], least: float | None = None) -> Float[Tensor, "M"]:
    """The shares of the codes in use that one modality owns, that two own, ..., that all M own; see :func:`owners`.

    Args:
        histograms: of the M modalities, over the same codes.
        least: the share from which on a modality owns a code.

    Raises:
        ValueError: for a ``least`` out of its range.
    """
    owned_by = owners(histograms, least)
    counts = torch.arange(1, len(histograms) + 1, device=owned_by.device).unsqueeze(-1)
    return (owned_by == counts).sum(1).double() / (owned_by > 0).sum().clamp_min(1)


def _shares(histogram: Tensor) -> Tensor:
    return histogram.double() / histogram.sum().clamp_min(1)
