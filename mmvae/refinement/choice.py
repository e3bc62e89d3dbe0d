"""Refiners by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mmvae.refinement.amortized import Amortized
from mmvae.refinement.base import Refiner
from mmvae.refinement.gradient import Gradient
from mmvae.refinement.hmc import HMC

Refine = Literal["amortized", "gradient", "hmc"] | Refiner
"""How a posterior is to be refined: a name, or a refiner with settings of its own."""

_REFINERS: dict[str, Callable[..., Refiner]] = {"amortized": Amortized, "gradient": Gradient, "hmc": HMC}


def chosen_refiner(refine: Refine, steps: int | None = None) -> Refiner:
    """The refiner of a name, with as many steps as asked for or as are its default; a refiner is itself.

    Raises:
        ValueError: for an unknown name, or steps beside a refiner, which has its own.
    """
    if isinstance(refine, Refiner):
        if steps is not None:
            raise ValueError(f"steps: {type(refine).__name__} was given with its own; set them there.")
        return refine
    if refine not in _REFINERS:
        raise ValueError(
            f"refine: expected None, {', '.join(map(repr, _REFINERS))} or a mmvae.refinement.Refiner, got {refine!r}."
        )
    return _REFINERS[refine]() if steps is None else _REFINERS[refine](steps)
