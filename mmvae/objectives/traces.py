"""Log-densities of a model's sites, read off one trace of its Pyro program."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from mmvae.batch import Batch
from mmvae.objectives.base import Trainable


def log_likelihoods(
    model: Trainable, batch: Batch, z: Float[Tensor, "*P N D"], rows: Mapping[str, Tensor] | None = None
) -> dict[str, Float[Tensor, "*Q N"]]:
    """log p(x_m | z) of every modality of the batch, zero where it is missing; one replay of the program.

    Args:
        model: whose program is run.
        batch: N data points.
        z: latents, with any number of leading dimensions for particles, components or subsets.
        rows: ``{name: indices}`` into the first axis of ``z``, for a modality that is to be scored at some only.
    """
    trace = poutine.trace(poutine.condition(model.generative, data={"z": z})).get_trace(batch, rows)
    trace.compute_log_prob(lambda name, site: name != "z")
    return {name: trace.nodes[name]["log_prob"] for name in batch.names}
