"""TOC: the dimensions of a codebook that tell its codes apart, found without data or training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmvae.abilities import HasCodebook
from mmvae.codebooks.vectors import nearest
from mmvae.latents import Latents

Criterion = Literal["both", "similarity", "variance"]
Mode = Literal["slice", "requantise"]

_DEAD_VARIANCE = 1e-8
"""Below it, a dimension is the same in all codes."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The dimensions of a codebook that were kept; a function that reads latents in them alone.

    Attributes:
        dims: which, the best first.
        scores: of all dimensions, kept or not.
        mode: how latents are read: ``"slice"`` or ``"requantise"``.
        codebook: the codes in the kept dimensions.
    """

    dims: Int64[Tensor, "keep"]
    scores: Float[Tensor, "D"]
    mode: Mode
    codebook: Float[Tensor, "L keep"]

    def __call__(self, latents: Latents) -> Float[Tensor, "N *T keep"]:
        """The code of each vector in the kept dimensions: of the code it chose, or of the one nearest in these.

        Raises:
            ValueError: for latents of another width, or without what the mode needs.
        """
        if self.mode == "slice":
            return self._chosen("mean", latents.mean)
        codes = self.codes(latents)
        return torch.where((codes >= 0).unsqueeze(-1), self.codebook.to(codes.device)[codes], 0)

    def codes(self, latents: Latents) -> Int64[Tensor, "N *T"]:
        """The index of each vector's code: unchanged with ``"slice"``, searched anew with ``"requantise"``.

        Raises:
            ValueError: for latents of another width, or without what the mode needs.
        """
        if self.mode == "slice":
            if latents.codes is None:
                raise ValueError("codes: these latents have none; infer them with a model that has a codebook.")
            return latents.codes
        if "features" not in latents.diagnostics:
            raise ValueError(
                "mode='requantise': these latents do not hold diagnostics['features'], the vectors before "
                "quantisation; infer them with a model that has a codebook, or take mode='slice'."
            )
        features = self._chosen("features", latents.diagnostics["features"])
        codes = nearest(features, self.codebook.to(features.device))
        return codes if latents.codes is None else torch.where(latents.codes < 0, -1, codes)

    def _chosen(self, what: str, vectors: Tensor) -> Tensor:
        if vectors.shape[-1] != len(self.scores):
            raise ValueError(
                f"{what}: expected latents of width {len(self.scores)} as the codebook, got {vectors.shape[-1]}."
            )
        return vectors[..., self.dims.to(vectors.device)]


def toc(
    source: Float[Tensor, "L D"] | HasCodebook,
    *,
    keep: int,
    criterion: Criterion = "both",
    mode: Mode = "slice",
    drop_dead: bool = True,
    balance: float = 0.7,
    lowest: float = 0.0,
    used: Bool[Tensor, "L"] | None = None,
) -> Kept:
    """The dimensions in which the codes of a codebook are least alike and vary most, to be kept of all D.

    The score of dimension d is -λ sim_d + (1 - λ) var_d, where sim_d is the mean of e_id e_jd over pairs of different
    codes and var_d the unbiased variance of e_id over the codes. With the mean m and that variance v of a dimension,
    sim is m² - v / L, so it takes no loop over pairs. One choice serves all modalities.

    Args:
        source: a codebook, or a model that has one.
        keep: how many dimensions.
        criterion: ``"both"`` terms; ``"similarity"``, -sim alone, as the authors' code has it for most tasks;
            ``"variance"`` alone.
        mode: how the result reads latents. ``"slice"``: a vector keeps its code, of which the kept coordinates are
            read. ``"requantise"``: the nearest code is searched anew in the kept coordinates.
        drop_dead: leave out dimensions that are the same in all codes (variance below 1e-8) before the choice. Their
            score is near 0 where they are zero, which is better than that of many live ones in codes after a ReLU.
        balance: λ.
        lowest: the share of ``keep`` that is given to the lowest scores, 1/4 for a mix of 3 : 1; part of the authors'
            search, and otherwise a control.
        used: codes that count; by default all, those that were never chosen among them.

    Raises:
        ValueError: for more dimensions than are alive, fewer than 2 codes, or an argument out of its range.
        TypeError: for a source without a codebook.

    Source: TOC of Huang et al. 2025, "Enhancing multimodal unified representations for cross modal generalization",
    after the criterion of Zhu et al. 2023 (APE); dead dimensions are left out by this library.

    Example:
        >>> import torch, mmvae
        >>> codebook = torch.tensor([[1.0, 2.0, 0.0, -1.0], [1.0, -2.0, 0.0, 1.0]])
        >>> kept = mmvae.toc(codebook, keep=2)
        >>> kept.dims
        tensor([1, 3])
        >>> kept.codebook
        tensor([[ 2., -1.],
                [-2.,  1.]])
    """
    codebook = _codebook(source)
    for argument, value, names in (("criterion", criterion, get_args(Criterion)), ("mode", mode, get_args(Mode))):
        if value not in names:
            raise ValueError(
                f"{argument}: expected {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, got {value!r}."
            )
    for argument, share in (("balance", balance), ("lowest", lowest)):
        if not 0 <= share <= 1:
            raise ValueError(f"{argument}: expected 0 to 1, got {share}.")
    voters = codebook if used is None else _voters(codebook, used)
    if len(voters) < 2:
        raise ValueError(f"codebook: expected at least 2 codes to compare, got {len(voters)}.")
    scores, variance = _scores(voters.double(), criterion, balance)
    alive = variance >= _DEAD_VARIANCE if drop_dead else torch.ones_like(variance, dtype=torch.bool)
    ranked = scores.masked_fill(~alive, -torch.inf).argsort(descending=True, stable=True)[: int(alive.sum())]
    _check_number(keep, len(ranked), codebook.shape[1])
    num_lowest = round(keep * lowest)
    dims = torch.cat([ranked[: keep - num_lowest], ranked[len(ranked) - num_lowest :]])
    return Kept(dims, scores, mode, codebook[:, dims])


def _scores(codes: Tensor, criterion: str, balance: float) -> tuple[Tensor, Tensor]:
    """The score and the variance of each dimension."""
    mean, variance = codes.mean(0), codes.var(0)
    similarity = mean.square() - variance / len(codes)
    weights = {"both": (balance, 1 - balance), "similarity": (1.0, 0.0), "variance": (0.0, 1.0)}[criterion]
    return weights[1] * variance - weights[0] * similarity, variance


def _codebook(source: object) -> Tensor:
    codebook = source.codebook if isinstance(source, HasCodebook) else source
    if not isinstance(codebook, Tensor):
        raise TypeError(
            f"{type(source).__name__} has no codebook; toc takes a tensor [L, D], or a model with one, such as "
            f"models.DCID or models.FCID."
        )
    if codebook.ndim != 2:
        raise ValueError(f"codebook: expected codes [L, D], got {tuple(codebook.shape)}.")
    if not bool(codebook.isfinite().all()):
        raise ValueError("codebook: expected finite codes, got NaN or infinite values; training has diverged.")
    return codebook.detach()


def _voters(codebook: Tensor, used: Tensor) -> Tensor:
    if used.dtype != torch.bool or used.shape != codebook.shape[:1]:
        raise ValueError(
            f"used: expected a boolean mask over the {len(codebook)} codes, got {used.dtype} {tuple(used.shape)}; of a "
            f"histogram, pass histogram > 0."
        )
    return codebook[used.to(codebook.device)]


def _check_number(keep: int, alive: int, dim: int) -> None:
    if 1 <= keep <= alive:
        return
    dead = f", since {dim - alive} of the {dim} are the same in all codes" if alive < dim else ""
    advice = "; keep fewer, or all kinds with drop_dead=False" if alive < keep <= dim else ""
    raise ValueError(f"keep: expected 1 to {alive} dimensions{dead}, got {keep}{advice}.")
