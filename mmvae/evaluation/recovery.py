"""Whether latents are the sources that data was made of."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mean_correlation(sources: Float[Tensor, "N D"], latents: Float[Tensor, "N L"]) -> float:
    """The mean absolute correlation of each source with the latent that is paired with it.

    Pairs are chosen so that the mean is largest; no latent has two sources. A column that does not vary has the
    correlation 0. The score is 1 if the latents are the sources up to their order, their scales and their signs.

    Args:
        sources: Known sources.
        latents: Posterior means, at least as many columns as there are sources.

    Raises:
        ValueError: For different numbers of rows, or fewer latents than sources.

    Source: the mean correlation coefficient of Hyvarinen and Morioka 2016, and Khemakhem et al. 2020.
    """
    from scipy.optimize import linear_sum_assignment

    if len(sources) != len(latents) or latents.shape[1] < sources.shape[1]:
        raise ValueError(
            f"mean_correlation: expected as many rows, and at least as many latents as sources, got sources "
            f"{tuple(sources.shape)} and latents {tuple(latents.shape)}."
        )
    found = _standardised(sources).T @ _standardised(latents) / len(sources)  # [D, L]
    strength = found.abs().numpy()
    return float(strength[linear_sum_assignment(strength, maximize=True)].mean())


def _standardised(values: Tensor) -> Tensor:
    centred = values.detach().cpu().double() - values.detach().cpu().double().mean(0)
    scale = centred.square().mean(0).sqrt()
    return torch.where(scale > 0, centred / torch.where(scale > 0, scale, 1.0), 0.0)
