"""Holes of data filled by a model, with intervals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from mmvae.abilities import Imputes
from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.intervals import DRAWS, WithIntervals, check_interval, quantiles, rows_at_a_time
from mmvae.modes import mode
from mmvae.seeds import derive_seed, seeded
from mmvae.sources import Data, as_source, consecutive
from mmvae.transforms import columns_of, spread


@torch.no_grad()
def impute(
    model: Imputes,
    data: Data,
    num_samples: int | None = None,
    interval: float | None = None,
    *,
    observed: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> WithIntervals:
    """Fill the holes of data with what a model expects there, given all that each row has; all else stays untouched.

    Missing numbers, missing steps and missing modalities are holes alike. A number is filled with its mean (a count or
    a bit too, so it may have a fraction; round it where a model is to score it), a code with the most probable one.

    Args:
        model: Any VAE of the library.
        data: What :func:`mmvae.infer` takes. Every row needs a number that is observed.
        num_samples: Draws from the posterior of each row over which predictions are averaged; by default predictions
            are made at its mean, and intervals from 200 draws.
        interval: Share of its predictive distribution that each interval holds, between 0 and 1; noise of the data
            included. By default there are no intervals.
        observed: ``{name: bool [N]}`` or with further dimensions, for data in memory.
        covariates: ``{name: numbers [N]}``, beside the data or in the batch.
        seed: Of the draws. Generators are left as they were.

    Returns:
        A mapping ``{name: [N, *shape]}`` of every modality of the model, in the types of the data, with ``.lower`` and
        ``.upper``.

    Raises:
        ValueError: For data that does not fit the model, a row without any number, or an interval outside of (0, 1).
        TypeError: For a model that does not say how data is distributed.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality("labs", (3,), likelihoods.Normal(), missing="cells")], latent_dim=2)
        >>> data = torch.tensor([[1.0, torch.nan, 3.0], [1.0, 2.0, 3.0]])
        >>> imputed = mmvae.impute(vae, {"labs": data}, interval=0.9)
        >>> imputed["labs"].isnan().any().item(), imputed["labs"][1].tolist()
        (False, [1.0, 2.0, 3.0])
        >>> bool(imputed.lower["labs"][0, 1] < imputed["labs"][0, 1] < imputed.upper["labs"][0, 1])
        True
    """
    if not isinstance(model, Imputes):
        raise TypeError(f"{type(model).__name__} does not say how its data is distributed, so it cannot fill holes.")
    if num_samples is not None:
        check_count("num_samples", num_samples, 1)
    check_interval(interval)
    source = as_source(data, observed, covariates=covariates)
    draws = num_samples if interval is None else num_samples or DRAWS
    parts: list[tuple[dict[str, Tensor], ...]] = []
    start = 0
    with mode(cast("nn.Module", model), training=False):
        rows = rows_at_a_time(max(each.size for each in model.modalities), draws or 1)
        while start < len(source):
            batch = consecutive(source, start, min(start + rows, len(source)))
            with _drawing(model, derive_seed(seed, "impute", str(start)), draws is not None):
                parts.append(_filled(model, batch, num_samples, draws, interval))
            start += rows
    filled, lower, upper = (
        {name: torch.cat([part[name] for part in column]) for name in column[0]} for column in zip(*parts, strict=True)
    )
    return WithIntervals(filled, lower or None, upper or None)


def _filled(
    model: Imputes, batch: Batch, num_samples: int | None, draws: int | None, interval: float | None
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """A batch without holes, and both ends of the intervals."""
    prepared = model.prepare(batch)
    latents = model.infer(prepared)
    drawn = None if draws is None else model.predictive(prepared, latents.sample(draws))
    told = model.predictive(prepared, latents.mean.unsqueeze(0)) if num_samples is None or drawn is None else drawn
    filled, lower, upper = {}, {}, {}
    for name, distribution in told.items():
        point = model.agreed(name, distribution)
        filled[name] = _in_holes(point, batch, name)
        if interval is not None and drawn is not None:
            ends = quantiles(drawn[name], point, model.is_ordered(name), interval)
            lower[name], upper[name] = (_in_holes(end, batch, name) for end in ends)
    return filled, lower, upper


def _in_holes(made: Tensor, batch: Batch, name: str) -> Tensor:
    """The data of a batch with other values in its holes, in its own type and place."""
    if name not in batch.data:
        return made
    given, present = batch.data[name], batch.present(name)
    if present is None:
        return given
    if not given.is_floating_point():
        made = made.round() if made.is_floating_point() else made
    return torch.where(spread(present, given), given, made.to(given.device, given.dtype))


@contextlib.contextmanager
def _drawing(model: Imputes, seed: int, draws: bool) -> Iterator[None]:
    """Seeded generators, which are then as they were."""
    if not draws:
        yield
        return
    with seeded(seed, next(iter(model.parameters())).device):
        yield


# What measures imputation: data that is known is hidden, and filled in again.


def cells_to_hide(
    batch: Batch, names: Sequence[str], generator: torch.Generator, share: float = 0.2, among: Sequence[str] = ()
) -> dict[str, Bool[Tensor, "N *shape"]]:
    """Numbers to hide of modalities of which single numbers may be missing, at random; every row keeps a number.

    Args:
        batch: N rows.
        names: The modalities to hide of.
        generator: Of the choice, on the CPU.
        share: Share of the numbers of a row that is hidden.
        among: Modalities that are given, in one of which every row keeps something; by default ``names``.
    """
    hidden = {}
    for name in names:
        there = spread(batch.masks[name], batch.data[name])
        chosen = torch.rand(there.shape, generator=generator) < share
        hidden[name] = chosen.to(there.device) & there
    kept = [
        _rows_of(spread(batch.masks[each], batch.data[each]) & ~hidden.get(each, _NOTHING)) for each in among or names
    ]
    bare = ~torch.stack(kept).any(0)
    return {name: hide & ~spread(bare, hide) for name, hide in hidden.items()}


def usual_values(
    values: Float[Tensor, "N *shape"] | Int64[Tensor, "N *shape"],
    present: Bool[Tensor, "N *shape"],
    is_ordered: Tensor | bool,
) -> Tensor:
    """The mean of each number, or the most frequent code, where it is present, ``[*shape]``.

    Args:
        values: Data.
        present: Where it is there.
        is_ordered: Whether values have an order; one for all, or by column of a table.
    """
    shape = values.shape[1:]
    flat, there = values.reshape(len(values), -1), present.reshape(len(values), -1)
    count = there.sum(0).clamp(min=1)
    usual = torch.where(there, flat.double(), 0.0).sum(0) / count
    for place in _unordered(is_ordered, flat.shape[1]):
        known = flat[there[:, place], place]
        if len(known):
            usual[place] = known.mode().values.double()
    return usual.reshape(shape)


def deviations(true: Tensor, guess: Tensor, is_ordered: Tensor | bool) -> Float64[Tensor, "*N"]:
    """The square of each difference; of codes 1 where they differ."""
    squares, wrong = (true.double() - guess.double()).square(), (true != guess.to(true.dtype)).double()
    if isinstance(is_ordered, bool):
        return squares if is_ordered else wrong
    return torch.where(is_ordered.to(true.device), squares, wrong)


def points(model: Imputes, batch: Batch) -> dict[str, Tensor]:
    """What a model expects of every modality at posterior means, ``{name: [N, *shape]}``; the batch must conform."""
    told = model.predictive(batch, model.infer(batch).mean.unsqueeze(0))
    return {name: model.agreed(name, distribution) for name, distribution in told.items()}


class Errors:
    """Errors of what was filled in, by column, beside those of usual values.

    Args:
        shape: Shape of a row.
        is_ordered: Whether values have an order; one for all, or by column of a table.
    """

    def __init__(self, shape: tuple[int, ...], is_ordered: Tensor | bool) -> None:
        self._shape, self._is_ordered = shape, is_ordered
        self._sums = torch.zeros(2, *columns_of(shape), dtype=torch.float64)
        self._counts = torch.zeros(columns_of(shape), dtype=torch.float64)

    def add(self, true: Tensor, made: Tensor, where: Bool[Tensor, "N *shape"], usual: Tensor) -> None:
        """Count rows in.

        Args:
            true: Data ``[N, *shape]``.
            made: What was filled in.
            where: What counts.
            usual: Values of :func:`usual_values`.
        """
        self._counts += self.by_column(where).reshape(self._counts.shape)
        for place, guess in enumerate((made, usual.expand_as(true))):
            self._sums[place] += self.by_column(
                torch.where(where, deviations(true, guess, self._is_ordered), 0.0)
            ).reshape(self._counts.shape)

    @property
    def counts(self) -> Float64[Tensor, "P"]:
        """How many numbers of each column were counted in."""
        return self._counts.flatten()

    @property
    def values(self) -> Float64[Tensor, "P"]:
        """Root mean square error of each column, or share of codes that are wrong."""
        return self._of(0)

    @property
    def floors(self) -> Float64[Tensor, "P"]:
        """The same of the usual values."""
        return self._of(1)

    @property
    def relative(self) -> Float64[Tensor, "P"]:
        """Errors over those of the usual values."""
        return self.values / self.floors

    def by_column(self, values: Tensor) -> Float64[Tensor, "P"]:
        """Sums over rows ``[N, *shape]``, by column."""
        return values.double().sum_to_size(columns_of(self._shape)).flatten().cpu()

    def _of(self, place: int) -> Tensor:
        means = self._sums[place].flatten() / self.counts.clamp(min=1)
        codes = torch.zeros(len(means), dtype=torch.bool)
        codes[_unordered(self._is_ordered, len(means))] = True
        return torch.where(codes, means, means.sqrt())


def _unordered(is_ordered: Tensor | bool, size: int) -> list[int]:
    if isinstance(is_ordered, bool):
        return [] if is_ordered else list(range(size))
    return (~is_ordered).nonzero().flatten().tolist()


_NOTHING = torch.zeros((), dtype=torch.bool)


def _rows_of(mask: Bool[Tensor, "N *shape"]) -> Bool[Tensor, "N"]:
    return mask.reshape(len(mask), -1).any(1)
