"""Inference on data of any size: batches, devices, progress."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mmvae.abilities import Infers
from mmvae.batch import Batch
from mmvae.choices import check_choice, numbers_checked
from mmvae.distributions import concatenate
from mmvae.latents import Latents
from mmvae.modes import mode
from mmvae.multimodal import MultimodalModel
from mmvae.refinement import Refinable, Refine, Refiner, chosen_refiner
from mmvae.sources import Data, Source, as_source, consecutive
from mmvae.subsets import Subset, canonical

_BATCH, _REFINED_BATCH = 1024, 256
"""Rows at a time, where nothing else is asked for."""

_LONG_WORK, _LONG_REFINEMENT = 50, 4
"""From this many batches on, progress is shown."""


@numbers_checked
def infer(
    model: Infers,
    data: Data,
    subset: Subset = None,
    *,
    refine: Refine | None = None,
    steps: int | None = None,
    observed: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
    missing: Literal["error", "nan"] = "error",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Latents:
    """The posterior of every datum given a subset of its modalities.

    Runs without gradients for the model and in evaluation mode, on the model's device, a batch at a time.

    With ``refine``, the posterior is improved step by step, datum by datum, by the modalities of the subset and no
    others: the bound that is climbed scores the members of the subset alone.

    Args:
        model: any model of the library.
        data: a dict of tensors or arrays, a :class:`~mmvae.Batch`, or a dataset (see :func:`mmvae.sources.as_source`).
        subset: one name, several in any order, or ``None`` for all that is observed.
        refine: ``"gradient"`` (ascent on each datum's own posterior, for any probabilistic model), ``"amortized"`` (by
            the network of a model that has one), ``"hmc"`` (draws from the true posterior of a few data), a refiner of
            :mod:`mmvae.refinement` with other settings, or ``None`` for the posterior of the model as it is.
        steps: of refinement; by default 100, as many as in training, or 200 draws.
        observed: ``{name: bool [N]}``, beside the data or in the batch.
        covariates: ``{name: numbers [N]}``, beside the data or in the batch.
        missing: What becomes of rows that have no member of the subset: ``"error"`` refuses them, ``"nan"`` gives NaN
            for them, so that rows stay beside those of the data; ``latents.known`` says which are there.
        batch_size: rows at a time, by default 1024, or 256 where they are refined; does not change the answer.
        progress: show a bar; by default only for long work.

    Returns:
        The latents of all N data points; after refinement with ``elbo_trace``, ``[steps + 1, N]``.

    Raises:
        ValueError: if the data does not fit the model, if rows do not have the subset and ``missing`` is ``"error"`` or
            none has it, or for an unknown refiner.
        TypeError: if the model cannot be refined.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> mmvae.infer(vae, {"a": torch.randn(5, 4)}, subset="a").mean.shape
        torch.Size([5, 2])
    """
    if refine is None:
        if steps is not None:
            raise ValueError('steps: there is nothing to do in steps; say how: refine="gradient", for one.')
        each: Callable[[Batch, Subset], Latents] = model.infer
    else:
        each = functools.partial(_refined, model, chosen_refiner(refine, steps))
    if batch_size is None:
        batch_size = _BATCH if refine is None else _REFINED_BATCH
    check_choice("missing", missing, ("error", "nan"))
    gaps = _Gaps(model, subset) if missing == "nan" else None
    source = as_source(data, observed, covariates=covariates)
    with torch.no_grad(), mode(cast(nn.Module, model), training=False):
        batches = _batches(source, batch_size, progress, refine is not None)
        if gaps is None:
            parts = [each(batch, subset) for batch in batches]
        else:
            parts = [each(*known) for batch in batches if (known := gaps.without(batch)) is not None]
    _warn_of_unseen(model, parts)
    return _joined(parts) if gaps is None else gaps.around(parts)


class _Gaps:
    """Rows that have no member of a subset: left out of inference, and put in again as NaN.

    Args:
        model: Model that infers.
        subset: Subset that it looks at.
    """

    def __init__(self, model: Any, subset: Subset) -> None:
        self._names, self._subset = tuple(model.names), subset
        self._members = canonical(subset, self._names)
        self._rows: list[Tensor] = []
        self._covariates: list[Mapping[str, Tensor]] = []

    def without(self, batch: Batch) -> tuple[Batch, Subset] | None:
        """Return the rows that have a member of the subset, and the members they hold; ``None`` if there are none."""
        there = [name for name in self._members if name in batch.data]
        nothing = torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        rows = torch.stack([nothing, *(batch.observed[name] for name in there)]).any(0)
        self._rows.append(rows)
        self._covariates.append(batch.covariates)
        if not bool(rows.any()):
            return None
        known = batch if bool(rows.all()) else batch[rows.nonzero().flatten()]
        return known, None if self._subset is None else there

    def around(self, parts: Sequence[Latents]) -> Latents:
        """The latents of all rows, from those of the rows that were left.

        Raises:
            ValueError: If no row was left.
        """
        if not parts:
            names = ", ".join(map(repr, self._members))
            raise ValueError(f"subset: no row has any of {names}, so there is nothing to infer from; ask for another.")
        known = dataclasses.replace(
            _joined(parts), subset=tuple(n for n in self._members if any(n in p.subset for p in parts))
        )
        rows = torch.cat(self._rows).to(known.mean.device)
        if bool(rows.all()):
            return known
        covariates = {
            name: torch.cat([each[name] for each in self._covariates]).to(value)
            for name, value in known.covariates.items()
        }
        return known.with_gaps(rows, covariates)


def _warn_of_unseen(model: Any, parts: Sequence[Latents]) -> None:
    if not isinstance(model, MultimodalModel):
        return
    names = model.unseen(dict.fromkeys(name for part in parts for name in part.subset))
    if names:
        warnings.warn(
            f"infer: no training row had {', '.join(map(repr, names))}; what is inferred from it comes from weights "
            f"that never learned. Leave it out of the subset.",
            stacklevel=3,
        )


def _refined(model: Any, refiner: Refiner, batch: Batch, subset: Subset) -> Latents:
    if not isinstance(model, Refinable):
        raise TypeError(f"{type(model).__name__} has no generative program, by which a posterior could be refined.")
    members = None if subset is None else canonical(subset, model.names)
    given = model.prepare(batch).restrict(members)
    if given.drawn:  # what the program is to draw counts as missing here
        observed = None if given.complete else given.observed
        given = given.derive(given.data, observed, cells=given.cells, conforms_to=given.conforms_to)
        given.drawn = ()
    refined = refiner(model, given)
    return dataclasses.replace(refined, layout=model.layout, covariates=given.covariates)


def _joined(parts: Sequence[Latents]) -> Latents:
    """The latents of consecutive batches as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    trace = None if first.elbo_trace is None else torch.cat([part.elbo_trace for part in parts], 1)  # type: ignore[misc]
    diagnostics = {name: torch.cat([part.diagnostics[name] for part in parts]) for name in first.diagnostics}
    codes = None if first.codes is None else torch.cat([part.codes for part in parts])  # type: ignore[misc]
    distribution = concatenate([part.distribution for part in parts])
    covariates = {name: torch.cat([part.covariates[name] for part in parts]) for name in first.covariates}
    return Latents(distribution, first.subset, trace, diagnostics, codes, first.layout, covariates)


def _batches(source: Source, batch_size: int, progress: bool | None, is_long: bool) -> Iterator[Batch]:
    starts = range(0, len(source), batch_size)
    shown: Any = starts
    if progress or (progress is None and len(starts) >= (_LONG_REFINEMENT if is_long else _LONG_WORK)):
        from rich.progress import track

        shown = track(starts, description="refining" if is_long else "inferring")
    for start in shown:
        yield consecutive(source, start, min(start + batch_size, len(source)))
