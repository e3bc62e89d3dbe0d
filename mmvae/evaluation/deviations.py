"""How far rows deviate from a reference group: in the latent, and of each modality given the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmvae.abilities import Generates, Infers, lack
from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.latents import Latents
from mmvae.sources import Data, as_source
from mmvae.subsets import Subset

_LEAST_RELIABILITY = 0.01
"""Share of a latent column's variance that is between rows. Below it the posterior is the prior and means are noise."""


@dataclass(frozen=True, eq=False)
class Deviation:
    """How far N rows deviate from a reference group.

    Attributes:
        latent: Mahalanobis distance of each posterior mean from those of the reference group, ``[N]``; NaN for rows
            that lack the subset.
        p_value: Probability of such a distance, or a larger one, in the group that the reference rows were drawn from,
            ``[N]``. Holds if posterior means of the group are Gaussian, and for rows outside the reference.
        z: ``{name: [N, *shape]}``, z-scores of each number of a modality, given the other modalities of the row. NaN
            where the number is missing, or all other modalities. Modalities of codes have none.
        views: ``{name: [N]}``, root mean square of a row's z-scores; about 1 in the reference group.
        columns: Latent columns that were compared, bool ``[D]``: those in which the reference rows differ.
    """

    latent: Float[Tensor, "N"]
    p_value: Float[Tensor, "N"]
    z: dict[str, Float[Tensor, "N *shape"]]
    views: dict[str, Float[Tensor, "N"]]
    columns: Bool[Tensor, "D"]


def deviation(
    model: Infers,
    data: Data,
    reference: Data,
    *,
    subset: Subset = None,
    covariates: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
) -> Deviation:
    """How far rows deviate from a reference group, such as patients from controls.

    The latent distance of a row is the Mahalanobis distance of its posterior mean μ from the n means of the reference
    group, under their sample mean and covariance; n (n - d) / ((n² - 1) d) times its square is F-distributed with d and
    n - d degrees of freedom for a further row of the group. Columns in which reference rows do not differ (less than
    1 % of the variance of the aggregated posterior) are left out.

    The z-score of a number of modality m is its residual from what the model generates from all other modalities of the
    row, minus the mean residual of the reference group and divided by its standard deviation. Take reference rows that
    the model was not trained on: residuals of training rows are too small.

    Args:
        model: Model that was trained on the reference group, or on both.
        data: N rows, as :func:`mmvae.infer` takes them.
        reference: Rows of the group to compare with; with covariates, in a :class:`~mmvae.Batch`.
        subset: Modalities that the latent distance looks at; by default all that a row has.
        covariates: ``{name: numbers [N]}`` beside ``data``.
        batch_size: Rows at a time.

    Raises:
        TypeError: For a model that does not generate.
        ValueError: For a reference group of too few rows, or data that does not fit the model.

    Source: Lawry Aguila et al. 2023, "Multi-modal variational autoencoders for normative modelling across multiple
    imaging modalities", the deviations of latent and features. That modalities are predicted from the others only, the
    F distribution (Hotelling 1931) and the columns left out are this library's.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal(0.3)) for name in ("a", "b")], latent_dim=2)
        >>> factor = torch.randn(65, 1)
        >>> rows = {name: factor + 0.3 * torch.randn(65, 4) for name in ("a", "b")}
        >>> controls = {name: each[:60] for name, each in rows.items()}
        >>> patients = {name: each[60:] for name, each in rows.items()}
        >>> run = mmvae.fit(vae, controls, epochs=100, lr=3e-3, progress=False)
        >>> found = mmvae.deviation(vae, patients, controls)
        >>> found.latent.shape, found.z["a"].shape
        (torch.Size([5]), torch.Size([5, 4]))
    """
    if not isinstance(model, Generates):
        raise TypeError(f"model: {type(model).__name__} {lack(Generates)}; take a model that does.")
    rows, group = (_whole(each, given) for each, given in ((data, covariates), (reference, None)))
    options: dict[str, Any] = {"missing": "nan", "batch_size": batch_size, "progress": False}
    distances, columns = _distances(
        infer(model, rows, subset, **options), infer(model, group, subset, **options).without_gaps()
    )
    z, views = {}, {}
    for name in cast("Any", model).names:
        others = [other for other in cast("Any", model).names if other != name and other in rows.names]
        if name not in rows.names or not others or not _has(group, name) or not _has_any(group, others):
            continue
        found = _residuals(model, rows, name, others, options)
        expected = _residuals(model, group, name, others, options)
        if found is None or expected is None:
            continue
        z[name] = _standardised(name, found, expected)
        views[name] = z[name].flatten(1).square().nanmean(1).sqrt()
    return Deviation(*distances, z, views, columns)


def _whole(data: Data, covariates: Mapping[str, Any] | None) -> Batch:
    source = as_source(data, covariates=covariates)
    return source.batch(torch.arange(len(source)))


def _has(batch: Batch, name: str) -> bool:
    return name in batch.names and bool(batch.observed[name].any())


def _has_any(batch: Batch, names: list[str]) -> bool:
    return any(_has(batch, name) for name in names)


def _distances(latents: Latents, reference: Latents) -> tuple[tuple[Tensor, Tensor], Bool[Tensor, "D"]]:
    """Distances and their p-values, and the columns that count."""
    from scipy.stats import f

    means = reference.mean.double().flatten(1)
    noise = reference.scale.double().flatten(1).square().mean(0)
    between = means.var(0) if len(means) > 1 else torch.zeros_like(noise)
    columns = between > _LEAST_RELIABILITY * (between + noise)
    n, d = len(means), int(columns.sum())
    if not d:
        raise ValueError(
            f"reference: the posterior means of its {n} rows do not differ in any latent column; pass more rows, or "
            f"train the model further."
        )
    if n < d + 2:
        raise ValueError(f"reference: {n} rows are too few for {d} latent columns; pass at least {d + 2}, better more.")
    chosen = means[:, columns]
    apart = latents.mean.double().flatten(1)[:, columns] - chosen.mean(0)
    squared = (apart * torch.linalg.solve(chosen.T.cov().reshape(d, d), apart.T).T).sum(1)
    ratio = squared * n * (n - d) / ((n**2 - 1) * d)
    p_value = torch.from_numpy(f.sf(ratio.cpu().numpy(), d, n - d))
    return (squared.sqrt().float().cpu(), p_value.float()), columns.cpu()


def _residuals(
    model: Any, batch: Batch, name: str, others: list[str], options: Mapping[str, Any]
) -> Float[Tensor, "N *shape"] | None:
    """Data of a modality minus what the others say of it, NaN where there is none; ``None`` for codes."""
    there = [other for other in others if _has(batch, other)]
    if not there:
        return None
    made = model.generate(infer(model, batch, there, **options))[name]
    if not made.is_floating_point():
        return None
    value = batch.data[name].to(made)
    mask = batch.masks[name].to(made.device)
    present = mask.reshape(*mask.shape, *(1,) * (value.ndim - mask.ndim))
    return torch.where(present, value - made, torch.nan).cpu()


def _standardised(
    name: str, residuals: Float[Tensor, "N *shape"], reference: Float[Tensor, "n *shape"]
) -> Float[Tensor, "N *shape"]:
    """Residuals in standard deviations of those of the reference group, around their mean."""
    known = ~reference.isnan()
    count = known.sum(0)
    if bool((count < 2).any()):
        raise ValueError(
            f"reference: {name!r} needs at least two rows that have it, and another modality, at each place; the "
            f"fewest are {int(count.min())}. Pass more rows."
        )
    values = torch.where(known, reference, 0.0).double()
    mean = values.sum(0) / count
    squares = torch.where(known, (values - mean).square(), 0.0).sum(0)
    scale = (squares / (count - 1)).sqrt()
    return torch.where(scale > 0, (residuals - mean) / scale, torch.nan).float()
