"""Bounds and likelihoods by importance sampling, with the diagnostics that say whether to believe them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmvae.abilities import Weighs
from mmvae.evaluation.context import Context
from mmvae.evaluation.pareto import effective_sample_size, pareto_k, pareto_k_threshold
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.subsets import label
from mmvae.words import Words

_ONE_DRAW = 2.0
"""Effective sample size below which one draw decides the estimate of a row (half of K, where K is below four)."""

_BLOCK = 128
"""Data points whose draws share one seed. It is no setting, since draws would depend on it."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """What the importance weights of some data points, given a subset, come to.

    Attributes:
        rows: which data points, int64 ``[n]``.
        elbo: the mean log weight, in nats.
        log_likelihood: log of the mean weight, in nats.
        effective: the effective sample size, from 1 to K.
        shape: Pareto k.
    """

    rows: Int64[Tensor, "n"]
    elbo: Float[Tensor, "n"]
    log_likelihood: Float[Tensor, "n"]
    effective: Float[Tensor, "n"]
    shape: Float[Tensor, "n"]


@metric(
    Words("elbo", "ELBO", "Evidence lower bound of the modalities of the subset.", unit="nats", better="higher"),
    about="likelihood",
    kinds="with densities",
)
def elbo(context: Context) -> Iterator[Row]:
    """E_q(z|x_S)[log p(x_S, z) - log q(z|x_S)] in nats, per subset, without training weights."""
    for subset in _subsets("ELBO", context):
        found = weigh(context, subset)
        yield mean_row("elbo", found.elbo, subset, num_samples=context.num_samples)


@metric(
    Words(
        "log_likelihood",
        "Log-likelihood",
        "Importance-sampled log p of the modalities of the subset, per datum.",
        unit="nats",
        better="higher",
    ),
    about="likelihood",
    kinds="with densities",
)
def log_likelihood(context: Context) -> Iterator[Row]:
    """log p(x_S) in nats, per subset, by importance sampling from q(z|x_S); on average a lower bound.

    Extras: ``ess``, the mean effective sample size; ``pareto_k``, the median over rows; ``pareto_k_high``, the share of
    rows above the threshold for this K, whose estimates cannot be trusted. Rows whose weights are not finite count as 0
    draws in ``ess`` and as an infinite ``pareto_k``; ``note`` says how many there are, and how many rows hang on a
    single draw.

    Source: Burda et al. 2016, the bound L_K; Vehtari et al. 2024 for the diagnostics.
    """
    for subset in _subsets("log-likelihood", context):
        found = weigh(context, subset)
        extras = diagnostics(context, "log_likelihood", subset, found.effective, found.shape)
        yield mean_row("log_likelihood", found.log_likelihood, subset, **extras)


@metric(
    Words(
        "conditional_log_likelihood",
        "Conditional log-likelihood",
        "Log p of the target given the modalities of the subset, per datum.",
        unit="nats",
        better="higher",
    ),
    about="likelihood",
    kinds="with densities",
)
def conditional_log_likelihood(context: Context) -> Iterator[Row]:
    """log p(x_t | x_S) = log p(x_S, x_t) - log p(x_S) in nats, for each subset S and each target t outside it.

    Each term is estimated with its own proposal, so the difference is no bound. ``ess`` and ``pareto_k`` are those
    of the worse of the two, data point by data point. Where most rows hang on a single draw, the difference means
    nothing: it is left out with a note, unless the metric was asked for by name.
    """
    for subset in _subsets("conditional log-likelihood", context):
        for target in context.names:
            both = tuple(name for name in context.names if name in subset or name == target)
            if target in subset or not len(_rows(context, both)):
                continue
            whole, part = weigh(context, both), weigh(context, subset)
            common = torch.searchsorted(part.rows, whole.rows)
            difference = whole.log_likelihood - part.log_likelihood[common]
            effective = torch.minimum(whole.effective, part.effective[common])
            shape = torch.maximum(whole.shape, part.shape[common])
            if not context.asked and 2 * int(_dominated(context, effective).sum()) >= len(effective):
                context.note(
                    f"conditional_log_likelihood, {label(subset)} to {target}: left out, since most rows hang on one "
                    f"draw (effective sample size near 1). Raise num_samples; imputation says how well it is told."
                )
                continue
            extras = diagnostics(context, "conditional_log_likelihood", subset, effective, shape, target)
            yield mean_row("conditional_log_likelihood", difference, subset, target, **extras)


def weigh(context: Context, subset: tuple[str, ...]) -> Weighed:
    """The importance weights of the data points that have the subset (at most as many as the evaluation allows)."""
    return context.once(("weighed", subset), lambda: _weigh(context, subset))


def _weigh(context: Context, subset: tuple[str, ...]) -> Weighed:
    model, data, rows = context.model, context.data, _rows(context, subset)
    assert isinstance(model, Weighs)  # _subsets has made sure
    parts: list[tuple[Tensor, ...]] = []
    for number, block in enumerate(context.each("+".join(subset), rows.split(_BLOCK))):
        batch = data[block.to(data.device)].restrict(subset).to(context.device)
        context.reseed("weights", subset, number)
        weights = model.log_weights(batch, subset, context.num_samples).double()
        likelihood = weights.logsumexp(0) - math.log(len(weights))
        found = (weights.mean(0), likelihood, effective_sample_size(weights), pareto_k(weights))
        parts.append(tuple(each.cpu() for each in found))
    return Weighed(rows, *(torch.cat(column) for column in zip(*parts, strict=True)))


def _subsets(metric: str, context: Context) -> Iterator[tuple[str, ...]]:
    """The subsets that data points chosen for importance sampling have.

    Raises:
        Unavailable: for a model without densities.
    """
    if not isinstance(context.model, Weighs):
        raise Unavailable(f"{type(context.model).__name__} has no log_weights, so no densities")
    for subset in context.each_subset(metric):
        if context.inferred(subset).point_mass:
            raise Unavailable(f"the posterior of {type(context.model).__name__} is a point mass, which has no density")
        if len(_rows(context, subset)):
            yield subset
        else:
            context.note(
                f"{'+'.join(subset)}: no likelihoods, since none of the data points chosen for them has all of it; "
                f"raise likelihood_rows."
            )


def _rows(context: Context, subset: tuple[str, ...]) -> Int64[Tensor, "n"]:
    rows = context.rows(subset)
    return rows[context.weighed[rows]]


def mean_row(
    metric: str, values: Float[Tensor, "n"], subset: tuple[str, ...], target: str = "", **extras: float | str | None
) -> Row:
    """The row of a mean over data points, with its standard error and their number."""
    mean, error = mean_and_error(values)
    return make_row(metric, mean, subset, target, stderr=error, n=len(values), **extras)


def _dominated(context: Context, effective: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Rows of which one draw has nearly all the weight."""
    return (effective > 0) & (effective < min(_ONE_DRAW, context.num_samples / 2))


def diagnostics(
    context: Context,
    metric: str,
    subset: tuple[str, ...],
    effective: Float[Tensor, "n"],
    shape: Float[Tensor, "n"],
    target: str = "",
) -> dict[str, Any]:
    """Extras of the row of an importance-weighted estimate, with a note on what to distrust.

    The note is repeated among those of the evaluation if weights are not finite, or if half of the rows hang on one
    draw each.

    Args:
        context: the evaluation, for K and for its notes.
        metric: name of the row's metric.
        subset: the modalities that inference looked at.
        effective: effective sample size of each row, 0 where its weights are not finite.
        shape: Pareto k of each row, NaN if K is too small for it.
        target: the modality that the row is about, if any.
    """
    draws, rows = context.num_samples, len(effective)
    extras: dict[str, Any] = {"num_samples": draws, "ess": float(effective.mean())}
    warnings = []
    if bool(shape.isnan().any()):
        warnings.append(f"{draws} draws are too few for pareto_k; raise num_samples")
    else:
        extras["pareto_k"] = float(shape.median())
        extras["pareto_k_high"] = float((shape > pareto_k_threshold(draws)).double().mean())
    broken = int((effective == 0).sum())
    if broken:
        warnings.append(f"{broken} of {rows} rows have weights that are not finite")
    dominated = int(_dominated(context, effective).sum())
    if dominated:
        warnings.append(f"effective sample size near 1 in {dominated} of {rows} rows, each of which hangs on one draw")
    if warnings:
        extras["note"] = "; ".join(warnings)
    if broken or 2 * dominated >= rows:
        where = f"{label(subset)} to {target}" if target else label(subset)
        context.note(f"{metric}, {where}: {extras['note']}.")
    return extras
