"""A look at the data before training, which speaks only of what is odd."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmvae.batch import Batch
from mmvae.likelihoods import Columns, Likelihood
from mmvae.likelihoods.real_numbers import LocationScale
from mmvae.likelihoods.table import look_like_counts
from mmvae.transforms import Transform, spread

_FEW_ROWS, _MOST_ROWS = 30, 4096
"""Rows of a modality below which nothing is said of it, and the most that are looked at."""

_MOSTLY_MISSING = 0.95
_CONSTANT, _DIGITS = 1e-7, 1e-5
"""Standard deviation, relative to the mean, of columns that are constant, and of those that float32 blurs."""

_SMALL, _LARGE = 0.05, 20.0
"""Between them the size of data should lie that networks read as it is."""

_OUTLIER = 30.0
"""Standard deviations from the mean, beyond which a value rules the loss of its column."""

_FEW_LEVELS, _LARGE_COUNT = 10, 20
_CONSTANT_COUNTS = 0.1
"""Share of columns of counts and bits that may be constant before something is said of them."""

_COLUMNS_NAMED = 5


class _Column(NamedTuple):
    """Numbers of the columns of one modality, ``[P]`` each, over the values that are there."""

    mean: Tensor
    deviation: Tensor
    furthest: Tensor
    is_empty: Tensor
    is_constant: Tensor
    names: tuple[str, ...]

    def only(self, places: list[int]) -> _Column:
        """Some of the columns."""
        return _Column(
            self.mean[places],
            self.deviation[places],
            self.furthest[places],
            self.is_empty[places],
            self.is_constant[places],
            tuple(self.names[place] for place in places),
        )

    def named(self, which: Tensor) -> str:
        """The columns of a mask as the beginning of a clause, with its verb."""
        places = which.nonzero().flatten().tolist()
        shown = ", ".join(self.names[place] for place in places[:_COLUMNS_NAMED])
        shown += ", ..." if len(places) > _COLUMNS_NAMED else ""
        if len(places) == len(which) > 1:
            return f"all {len(which)} columns are"
        return f"column {shown} is" if len(places) == 1 else f"{len(places)} of {len(which)} columns ({shown}) are"

    @property
    def varies(self) -> Tensor:
        return ~(self.is_empty | self.is_constant)


def warn_of_odd_data(model: Any, batch: Batch) -> None:
    """Warn, once for all, of what :func:`odd_data` finds."""
    lines = odd_data(model, batch)
    if lines:
        warnings.warn("fit has looked at the data. " + " ".join(lines), stacklevel=3)


def columns_in_words(model: Any) -> list[str]:
    """The likelihoods of the columns of each table of a model, a line for each table."""
    likelihoods = getattr(model, "likelihoods", None) or {}
    return [f"{name}: {each.words()}" for name, each in likelihoods.items() if isinstance(each, Columns)]


def odd_data(model: Any, batch: Batch) -> list[str]:
    """What is odd about the data of a VAE, a line for each oddity; nothing of other models.

    Looks at shares of missing rows, at constant columns, at scales that no transform evens out, at outliers, at whole
    numbers under likelihoods of real numbers, and at values that float32 cannot tell apart.

    Args:
        model: To train.
        batch: Its training data, or a sample of it.
    """
    likelihoods = getattr(model, "likelihoods", None)
    if likelihoods is None:
        return []
    if batch.size > _MOST_ROWS:
        batch = batch[torch.linspace(0, batch.size - 1, _MOST_ROWS, dtype=torch.float64).round().long()]
    batch = batch.conform(model.shapes, model.forms)
    lines: list[str] = []
    for name in batch.names:
        rows = int(batch.observed[name].sum())
        lacking = 1 - rows / batch.size
        if lacking > _MOSTLY_MISSING and batch.size >= _FEW_ROWS:
            lines.append(f"{name}: {lacking:.0%} of the rows lack it.")
        if rows < _FEW_ROWS:
            continue
        transform = dict(model.transforms.items()).get(name)
        lines += _of_modality(name, batch, likelihoods[name], transform)
    return lines


def _of_modality(name: str, batch: Batch, likelihood: Likelihood, transform: Transform | None) -> Iterator[str]:
    values, observed = batch.data[name], batch.observed[name]
    if not values.is_floating_point():
        return
    if values.ndim > 2:
        yield from _of_images(name, values[observed].double(), likelihood, transform)
        return
    if name in batch.cells:
        values = torch.where(spread(batch.cells[name], values), values, torch.nan)
    values = values[observed].double()
    values = values.reshape(len(values), -1)
    columns = _columns(values, likelihood.names if isinstance(likelihood, Columns) else ())
    if bool(columns.is_empty.any()):
        yield f"{name}: {columns.named(columns.is_empty)} missing in every row. Leave them out, or look why."
    expected = 0.0 if likelihood.scores_transformed else _CONSTANT_COUNTS  # of rare counts and bits some are all zero
    if float(columns.is_constant.double().mean()) > expected:
        yield (
            f"{name}: {columns.named(columns.is_constant)} constant, and say nothing. Leave them out, or look whether "
            f"they were read rightly."
        )
    if isinstance(likelihood, LocationScale):
        yield from _of_real_columns(name, values, columns, type(likelihood).__name__, transform)
    elif isinstance(likelihood, Columns):
        for kind, places in likelihood.kinds():
            if issubclass(kind, LocationScale):
                yield from _of_real_columns(name, values[:, places], columns.only(places), kind.__name__, transform)


def _of_real_columns(
    name: str, values: Tensor, columns: _Column, scores: str, transform: Transform | None
) -> Iterator[str]:
    varies, missing = columns.varies, values.isnan()
    whole = ((values == values.round()) | missing).all(0) & varies
    if bool(whole.any()):
        steps = values.sort(0).values.diff(dim=0)  # missing values come last
        levels = 1 + ((steps != 0) & ~steps.isnan()).sum(0)
        few = whole & (levels <= _FEW_LEVELS)
        if bool(few.any()):
            yield (
                f"{name}: {columns.named(few)} of few whole values, but {scores} scores real numbers. If they are "
                f"categories, make them a modality, or columns of likelihoods.Columns, under likelihoods.Categorical, "
                f"or likelihoods.Bernoulli for 0 and 1."
            )
        least = torch.where(missing, torch.inf, values).amin(0)
        most = torch.where(missing, -torch.inf, values).amax(0)
        count_like = [look_like_counts(*each) for each in zip(least.tolist(), most.tolist(), strict=True)]
        counted = whole & ~few & torch.tensor(count_like, device=whole.device) & (most >= _LARGE_COUNT)
        if bool(counted.any()):
            yield (
                f"{name}: {columns.named(counted)} of whole numbers to {float(most[counted].max()):.6g}, but {scores} "
                f"scores real numbers. If they are counts, likelihoods.NegativeBinomial() scores them."
            )
    blurred = varies & (columns.deviation < _DIGITS * columns.mean.abs())
    if bool(blurred.any()):
        yield (
            f"{name}: {columns.named(blurred)} so far from zero that float32 cannot tell its values apart well. "
            f"Subtract the mean before."
        )
    if transform is None:
        yield from _of_scales(name, columns)
    outlying = varies & (columns.furthest > _OUTLIER)
    if bool(outlying.any()):
        yield (
            f"{name}: {columns.named(outlying)} ruled by outliers, {float(columns.furthest.max()):.0f} standard "
            f"deviations from the mean. Clip them, or pass transform=transforms.Log1p() if all values are positive."
        )


def _of_scales(name: str, columns: _Column) -> Iterator[str]:
    sizes = torch.maximum(columns.deviation, columns.mean.abs())[columns.varies]
    if not len(sizes) or (float(sizes.min()) >= _SMALL and float(sizes.max()) <= _LARGE):
        return
    reach = f"{float(sizes.min()):.2g}"
    if float(sizes.max()) > 2 * float(sizes.min()):
        reach += f" to {float(sizes.max()):.2g}"
    yield (
        f"{name}: its columns are of size {reach}, and networks read them as they are. Pass "
        f"transform=transforms.Standardize()."
    )


def _of_images(name: str, values: Tensor, likelihood: Likelihood, transform: Transform | None) -> Iterator[str]:
    if (transform is None or likelihood.scored(transform) is None) and isinstance(likelihood, LocationScale):
        most = float(values.abs().max())
        if most > _LARGE:
            yield (
                f"{name}: values reach {most:.4g}, and are scored as they are. Divide, for images by 255, or "
                f"pass transform=transforms.Standardize()."
            )
        elif most == 0:
            yield f"{name}: every value is zero."


def _columns(values: Tensor, names: Sequence[str]) -> _Column:
    named = tuple(map(repr, names)) or tuple(map(str, range(values.shape[1])))
    is_empty = values.isnan().all(0)
    mean = values.nanmean(0)
    deviation = (values - mean).square().nanmean(0).sqrt()
    is_constant = deviation <= _CONSTANT * mean.abs()  # which does not hold of NaN
    furthest = (values - mean).abs().nan_to_num(0.0).amax(0) / torch.where(is_constant, 1.0, deviation)
    return _Column(mean, deviation, furthest.nan_to_num(0.0), is_empty, is_constant, named)
