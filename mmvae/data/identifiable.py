"""Data made by mixing known sources, in segments that make the sources identifiable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.choices import check_choice, check_count
from mmvae.data.dataset import MultimodalDataset
from mmvae.seeds import stream

Family = Literal["gaussian", "laplace"]

_LEAST_SCALE, _MOST_SCALE, _FARTHEST = 0.5, 3.0, 5.0
"""Of the sources of a segment: scales are drawn between the first two, means within the third on both sides."""

_SLOPE = 0.1
_CANDIDATES, _QUARTER = 1000, 0.25
"""Matrices whose condition numbers say what is well conditioned: no worse than the best quarter of them."""


@dataclass(frozen=True, eq=False)
class IdentifiableSources:
    """Data, and the sources that it was made of.

    Attributes:
        dataset: Modalities ``[P_m]`` of N rows; the label is the segment.
        sources: ``[N, D]``.
        segments: int64 ``[N]``. Given as a covariate, they make the sources identifiable:
            ``mmvae.fit(vae, data.dataset.everything().data, covariates={"segment": data.segments})``.
    """

    dataset: MultimodalDataset
    sources: Float[Tensor, "N D"]
    segments: Int64[Tensor, "N"]


def identifiable_sources(
    size: int = 8000,
    columns: Mapping[str, int] | None = None,
    num_sources: int = 5,
    segments: int = 40,
    *,
    layers: int = 3,
    noise: float = 0.1,
    family: Family = "gaussian",
    seed: int = 0,
) -> IdentifiableSources:
    """Modalities that are different nonlinear mixtures of the same independent sources.

    In each segment every source has a mean and a scale of its own. Each modality is a network of the sources: layers of
    well-conditioned matrices with unit columns, leaky rectifiers of slope 0.1 between them, and Gaussian noise on top.
    Sources of this kind can be found again up to their order and simple maps of each (Khemakhem et al. 2020), by a
    model whose prior knows the segment. :func:`mmvae.evaluation.mean_correlation` says how well they were.

    Args:
        size: N, number of rows; segments are equally large, to within one row.
        columns: ``{modality: P_m}``; by default ``"a"`` of 10 columns and ``"b"`` of 20.
        num_sources: D.
        segments: Number of segments.
        layers: Number of matrices of each mixing network; with one, mixtures are linear.
        noise: Standard deviation of the noise, in units of the standard deviation of each column.
        family: Distribution of a source within a segment.
        seed: Of all that is drawn.

    Raises:
        ValueError: For sizes below one, negative noise, or an unknown family.

    Source: the simulation of Hirt et al. 2024 for multimodal identifiable VAEs, after Khemakhem et al. 2020,
    "Variational autoencoders and nonlinear ICA". Departures: noise is relative to each column, and condition numbers
    are compared with 1,000 matrices in the place of 10,000.
    """
    check_choice("family", family, get_args(Family))
    wanted = {"a": 10, "b": 20} if columns is None else dict(columns)
    counts = {"size": size, "num_sources": num_sources, "segments": segments, "layers": layers}
    for name, count in (counts | {f"columns of {name!r}": count for name, count in wanted.items()}).items():
        check_count(name, count, 1)
    if not noise >= 0:
        raise ValueError(f"noise: expected a number from 0, got {noise!r}.")
    generator = stream(seed, "sources")
    segment = (torch.arange(size) % segments)[torch.randperm(size, generator=generator)]
    scale = _LEAST_SCALE + (_MOST_SCALE - _LEAST_SCALE) * torch.rand(segments, num_sources, generator=generator)
    mean = _FARTHEST * (2 * torch.rand(segments, num_sources, generator=generator) - 1)
    sources = mean[segment] + scale[segment] * _standard(family, (size, num_sources), generator)
    data = {name: _mixed(sources, width, layers, noise, stream(seed, "mixing", name)) for name, width in wanted.items()}
    dataset = MultimodalDataset(data, labels=segment, name="identifiable sources", seed=seed)
    return IdentifiableSources(dataset, sources, segment)


def _standard(family: Family, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draws of mean zero and variance one."""
    if family == "gaussian":
        return torch.randn(shape, generator=generator)
    one, other = torch.rand(2, *shape, generator=generator).clamp(min=torch.finfo(torch.float32).tiny).log()
    return (one - other) / 2**0.5


def _mixed(sources: Tensor, width: int, layers: int, noise: float, generator: torch.Generator) -> Tensor:
    """A modality: the sources through a network, standardised, with noise."""
    hidden = sources
    for layer in range(layers):
        if layer:
            hidden = torch.nn.functional.leaky_relu(hidden, _SLOPE)
        hidden = hidden @ _well_conditioned(hidden.shape[1], width, generator)
    hidden = (hidden - hidden.mean(0)) / hidden.std(0).clamp(min=torch.finfo(torch.float32).tiny)
    return hidden + noise * torch.randn(hidden.shape, generator=generator)


def _well_conditioned(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """A matrix with unit columns, of a condition number that a quarter of such matrices have, or a lower one."""
    made = 2 * torch.rand(_CANDIDATES, inputs, outputs, generator=generator) - 1
    made = made / made.norm(dim=1, keepdim=True)
    conditions = torch.linalg.cond(made)
    return made[(conditions <= conditions.quantile(_QUARTER)).nonzero()[0, 0]]
