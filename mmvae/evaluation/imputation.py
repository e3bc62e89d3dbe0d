"""How well hidden data is filled in, beside the mean of its column, and whether intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from mmvae.abilities import Imputes
from mmvae.batch import Batch
from mmvae.evaluation.context import Context
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, make_row
from mmvae.imputing import Errors, cells_to_hide, impute, usual_values
from mmvae.intervals import WithIntervals
from mmvae.likelihoods import Columns
from mmvae.transforms import spread
from mmvae.words import Words

_INTERVAL = 0.9
_MOST_COLUMNS = 64
"""Columns of a modality up to which each has a row of its own."""


@dataclass(frozen=True, eq=False)
class _Hidden:
    """What was hidden of a modality, and what was put there.

    Attributes:
        target: Name of the modality.
        true: Its data ``[n, *shape]``.
        where: Which numbers were hidden.
        filled: Data with its holes filled.
        chosen: Rows with intervals.
        intervals: The chosen rows with their intervals; ``None`` if no rows were chosen.
    """

    target: str
    true: Tensor
    where: Bool[Tensor, "n *shape"]
    filled: WithIntervals
    chosen: Bool[Tensor, "n"]
    intervals: WithIntervals | None


@metric(
    Words(
        "imputation",
        "Imputation error",
        "Error of hidden data over the error of the column's mean, averaged over the columns; 1 is no better than it.",
        better="lower",
    ),
    Words(
        "imputation_column",
        "Imputation error of a column",
        "Root mean square error of hidden numbers, in their units, or share of hidden codes that are wrong.",
        better="lower",
    ),
    about="generation",
    needs=(Imputes,),
    kinds="VAEs",
)
def imputation(context: Context) -> Iterator[Row]:
    """Error of hidden data beside that of the column's mean, per subset, modality and column, with coverage.

    Of a modality outside of the subset everything is hidden. Of a member whose single numbers may be missing, a fifth
    of the numbers that a row has is hidden; other members are given as a whole and not reported.

    Extras: ``floor``, the error of the mean, or of the most frequent code, of the training data (of this data if there
    is none); ``coverage``, the share of the hidden numbers that lie within intervals of ``interval`` (0.9), in the rows
    chosen for importance sampling. Codes have no order, and no coverage.
    """
    for subset in context.each_subset("imputation"):
        rows = context.rows(subset)
        data = context.data[rows.to(context.data.device)].to("cpu")
        for hidden in _hidden(context, subset, data, context.weighed[rows]):
            yield from _rows(context, subset, hidden)


def _hidden(context: Context, subset: tuple[str, ...], data: Batch, chosen: Bool[Tensor, "n"]) -> Iterator[_Hidden]:
    """Each modality of which something can be hidden, filled in from the subset; chosen rows with intervals."""
    model = context.model
    assert isinstance(model, Imputes)  # the metric needs it
    given = {name: data.data[name] for name in subset}
    masks = {name: data.masks[name] for name in subset}
    seed = context.derived_seed("filling", subset)

    def filled(batch: Batch) -> tuple[WithIntervals, Bool[Tensor, "n"], WithIntervals | None]:
        some = batch[chosen.nonzero().flatten()]
        intervals = impute(model, some, interval=_INTERVAL, seed=seed) if len(some) else None
        return impute(model, batch, seed=seed), chosen, intervals

    others = [name for name in context.names if name not in subset and bool(data.observed[name].any())]
    if others:
        made = filled(Batch(given, masks, covariates=data.covariates))
        for name in others:
            yield _Hidden(name, data.data[name], _present(data, name), *made)
    generator = torch.Generator().manual_seed(context.derived_seed("hiding", subset))
    with_cells = [each.name for each in model.modalities if each.missing == "cells" and each.name in subset]
    hidden = cells_to_hide(data, with_cells, generator, among=subset)
    hidden = {name: where for name, where in hidden.items() if bool(where.any())}
    if hidden:
        kept = {name: _present(data, name) & ~where for name, where in hidden.items()}
        made = filled(Batch(given, {**masks, **kept}, covariates=data.covariates))
        for name, where in hidden.items():
            yield _Hidden(name, data.data[name], where, *made)


def _rows(context: Context, subset: tuple[str, ...], hidden: _Hidden) -> Iterator[Row]:
    """The row of a modality, and those of its columns."""
    model, name = context.model, hidden.target
    assert isinstance(model, Imputes)
    is_ordered = model.is_ordered(name)
    reference = context.data if context.train is None or name not in context.train.names else context.train
    usual = context.once(
        ("usual", name),
        lambda: usual_values(reference.data[name].cpu(), _present(reference, name).cpu(), _on_cpu(is_ordered)),
    )
    errors = Errors(tuple(hidden.true.shape[1:]), _on_cpu(is_ordered))
    errors.add(hidden.true, hidden.filled[name].cpu(), hidden.where, usual)
    ordered = (_on_cpu(is_ordered) & torch.ones_like(hidden.where)) & hidden.where & spread(hidden.chosen, hidden.true)
    inside = errors.by_column(_inside(hidden) & ordered)
    with_order = errors.by_column(ordered)
    covered = inside / with_order  # NaN in columns of codes, which rows then lack
    counts = errors.counts
    told = counts > 0
    relative = errors.relative[told & (errors.floors > 0)]
    if len(relative):
        coverage = float(inside.sum() / with_order.sum())  # NaN without intervals
        extras = {"floor": 1.0, "coverage": coverage, "interval": _INTERVAL, "hidden": int(counts.sum())}
        rows = int(hidden.where.reshape(len(hidden.where), -1).any(1).sum())
        yield make_row("imputation", float(relative.mean()), subset, name, n=rows, **extras)
    else:
        context.note(f"imputation: left out for {name} given {'+'.join(subset)}, whose columns do not vary here.")
    names = _names(context, name, len(counts))
    if len(counts) > _MOST_COLUMNS:
        return
    for place in told.nonzero().flatten().tolist():
        yield make_row(
            "imputation_column",
            float(errors.values[place]),
            subset,
            name,
            column=names[place],
            floor=float(errors.floors[place]),
            coverage=float(covered[place]),
            interval=_INTERVAL,
            n=int(counts[place]),
        )


def _inside(hidden: _Hidden) -> Bool[Tensor, "n *shape"]:
    """Where the true value lies between the ends of its interval; false in rows without intervals."""
    inside, name = torch.zeros_like(hidden.where), hidden.target
    if hidden.intervals is None:
        return inside
    lower, upper = hidden.intervals.lower, hidden.intervals.upper
    assert lower is not None
    assert upper is not None
    true = hidden.true[hidden.chosen]
    inside[hidden.chosen] = (lower[name].cpu() <= true) & (true <= upper[name].cpu())
    return inside


def _present(data: Batch, name: str) -> Bool[Tensor, "N *shape"]:
    """Where the numbers of a modality are there."""
    return spread(data.masks[name], data.data[name])


def _on_cpu(is_ordered: Tensor | bool) -> Tensor | bool:
    return is_ordered if isinstance(is_ordered, bool) else is_ordered.cpu()


def _names(context: Context, name: str, count: int) -> tuple[str, ...]:
    """The columns of a modality by name, or by number."""
    assert isinstance(context.model, Imputes)
    likelihood = next(each.likelihood for each in context.model.modalities if each.name == name)
    return likelihood.names if isinstance(likelihood, Columns) else tuple(map(str, range(count)))
