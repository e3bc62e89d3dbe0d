"""Posteriors per latent dimension: what each tells the model, and what each subset says about one datum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes

from mmvae.abilities import Evaluated, HasPrior
from mmvae.plotting.figures.inputs import chosen_subsets, inferable, is_gaussian, moments, prior_of, spread
from mmvae.plotting.figures.style import INK, MARKERS, MUTED, PALETTE, RULE, axes_or_new, style, tidy
from mmvae.sources import Data, as_source
from mmvae.subsets import Subset, label

_ACTIVE = 0.01


@dataclass(frozen=True, eq=False)
class KLPerDimension:
    """How far the posterior of each subset is from the prior, in each latent dimension.

    Attributes:
        subsets: S of them.
        kl: ``[S, D]``, nats per datum.
        active: ``[S, D]``, whether the posterior mean varies over the data by more than 0.01 (Burda et al. 2016).
        exact: whether posteriors and prior are Gaussian; otherwise ``kl`` is that of Gaussians of their moments.
    """

    subsets: list[tuple[str, ...]]
    kl: Float[np.ndarray, "S D"]
    active: Bool[np.ndarray, "S D"]
    exact: bool

    @classmethod
    def of(
        cls, model: Evaluated, data: Data, subsets: Iterable[Subset] | None = None, *, size: int = 1000
    ) -> KLPerDimension:
        """KL(q(z_d | x_S) || p(z_d)), averaged over the data.

        Args:
            model: with a prior.
            data: of which ``size`` points, evenly spread, are used.
            subsets: by default the single modalities and all of them together.
            size: how many data points.

        Raises:
            TypeError: for a model without a prior.
            ValueError: for posteriors without a scale (point masses).
        """
        prior = prior_of(model)
        prior_mean, prior_variance = (each.double().cpu().numpy() for each in (prior.mean, prior.variance))
        batch = spread(data, size)
        names = [name for name in model.names if name in batch.names]
        default: list[Subset] = [*names, names] if len(names) > 1 else [names]
        chosen = chosen_subsets(model, batch, default if subsets is None else subsets)
        inferred = [moments(model, batch, subset) for subset in chosen]
        if any((each.scale[each.rows] == 0).any() for each in inferred):
            raise ValueError(f"{type(model).__name__}: its posteriors are point masses, whose KL is not finite.")
        kls = [
            gaussian_kl(each.mean[each.rows], each.scale[each.rows], prior_mean, np.sqrt(prior_variance)).mean(0)
            for each in inferred
        ]
        active = [each.mean[each.rows].var(0) > _ACTIVE for each in inferred]
        exact = is_gaussian(prior) and all(each.gaussian for each in inferred)
        return cls(chosen, np.stack(kls), np.stack(active), exact)


def gaussian_kl(mean: np.ndarray, scale: np.ndarray, prior_mean: np.ndarray, prior_scale: np.ndarray) -> np.ndarray:
    """KL(N(mean, scale²) || N(prior_mean, prior_scale²)), in nats, element by element."""
    ratio = (scale / prior_scale) ** 2
    return 0.5 * (ratio + ((mean - prior_mean) / prior_scale) ** 2 - 1 - np.log(ratio))


def kl_per_dimension(arrays: KLPerDimension, ax: Axes | None = None) -> Axes:
    """KL from the prior in each latent dimension: bars for the largest subset, marks for the others.

    Dimensions are sorted by the bars; a bar is pale where the dimension is inactive.

    Args:
        arrays: from :meth:`KLPerDimension.of`.
        ax: to draw on; by default those of a new figure.
    """
    ax = axes_or_new(ax, 7.2, 3.0)
    whole = max(range(len(arrays.subsets)), key=lambda place: len(arrays.subsets[place]))
    order = np.argsort(-arrays.kl[whole], kind="stable")
    positions = np.arange(len(order))
    active = arrays.active[whole][order]
    inactive = "" if active.all() else " (pale: not)"
    with style():
        ax.bar(
            positions,
            arrays.kl[whole][order],
            width=0.72,
            color=[PALETTE[0] if each else RULE for each in active],
            label=f"{label(arrays.subsets[whole])}: {int(active.sum())} of {len(order)} active{inactive}",
        )
        others = [place for place in range(len(arrays.subsets)) if place != whole]
        for turn, place in enumerate(others, 1):
            name = f"{label(arrays.subsets[place])}: {int(arrays.active[place].sum())} active"
            ax.plot(
                positions,
                arrays.kl[place][order],
                linestyle="",
                marker=MARKERS[turn % 10],
                markersize=4.5,
                markeredgewidth=0.4,
                markeredgecolor=INK,
                color=PALETTE[turn % 10],
                label=name,
            )
        ax.set(xlim=(-0.7, len(order) - 0.3), xlabel="latent dimension, sorted")
        ax.set_xticks(positions, [str(each) for each in order], fontsize=8 if len(order) <= 32 else 5)
        measure = "KL from the prior (nats)"
        ax.set_ylabel(measure if arrays.exact else f"{measure},\nmoment-matched Gaussians")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2 if len(others) < 4 else 3)
        tidy(ax)
        ax.tick_params(axis="x", length=0)
    return ax


@dataclass(frozen=True, eq=False)
class PosteriorOfDatum:
    """What each subset says about one datum, per latent dimension.

    Attributes:
        subsets: S of them, those of which the datum has a member.
        dimensions: which latent dimensions, D of them.
        mean: ``[S, D]``.
        scale: ``[S, D]``, standard deviations.
        prior_scale: ``[D]``, or ``None``.
    """

    subsets: list[tuple[str, ...]]
    dimensions: Int[np.ndarray, "D"]
    mean: Float[np.ndarray, "S D"]
    scale: Float[np.ndarray, "S D"]
    prior_scale: Float[np.ndarray, "D"] | None

    @classmethod
    def of(
        cls,
        model: Evaluated,
        data: Data,
        row: int = 0,
        subsets: Iterable[Subset] | None = None,
        *,
        dimensions: int = 12,
    ) -> PosteriorOfDatum:
        """The posteriors of the datum in one row.

        Args:
            model: any model that infers.
            data: that holds the datum.
            row: where it stands.
            subsets: by default all, or beyond seven the single modalities and the whole.
            dimensions: at most so many latent dimensions: those in which the largest subset moves the posterior
                furthest from the prior.

        Raises:
            IndexError: for a row that the data does not have.
            ValueError: for posteriors without a scale (point masses).
        """
        source = as_source(data)
        if not -len(source) <= row < len(source):
            raise IndexError(f"row: {row} is outside the data, which has {len(source)} rows.")
        batch = source.batch(torch.tensor([row % len(source)]))
        chosen = [s for s in chosen_subsets(model, batch, subsets) if bool(inferable(batch, s).all())]
        inferred = [moments(model, batch, subset) for subset in chosen]
        mean = np.concatenate([each.mean for each in inferred])  # [S, D]
        scale = np.concatenate([each.scale for each in inferred])
        if (scale == 0).any():
            raise ValueError(f"{type(model).__name__}: its posteriors are point masses, which have no scale.")
        prior = prior_of(model).stddev.double().cpu().numpy() if isinstance(model, HasPrior) else None
        width = np.ones(mean.shape[1]) if prior is None else prior
        with np.errstate(divide="ignore"):
            informed = gaussian_kl(mean[-1], scale[-1], np.zeros_like(width), width)
        kept = np.sort(np.argsort(-informed, kind="stable")[:dimensions])
        return cls(chosen, kept, mean[:, kept], scale[:, kept], None if prior is None else prior[kept])


def posterior_of_datum(arrays: PosteriorOfDatum, ax: Axes | None = None) -> Axes:
    """Posterior mean and standard deviation of one datum from each subset, side by side in each latent dimension.

    Args:
        arrays: from :meth:`PosteriorOfDatum.of`.
        ax: to draw on; by default those of a new figure.
    """
    ax = axes_or_new(ax, 7.2, 3.2)
    count, positions = len(arrays.subsets), np.arange(len(arrays.dimensions))
    offsets = (np.arange(count) - (count - 1) / 2) * (0.74 / max(count, 1))
    with style():
        if arrays.prior_scale is not None:
            ax.bar(
                positions,
                2 * arrays.prior_scale,
                bottom=-arrays.prior_scale,
                width=0.9,
                color="#eef0f3",
                label="prior ± 1 s.d.",
            )
        ax.axhline(0, color=MUTED, linewidth=0.8)
        for place, subset in enumerate(arrays.subsets):
            ax.errorbar(
                positions + offsets[place],
                arrays.mean[place],
                yerr=arrays.scale[place],
                linestyle="",
                marker=MARKERS[place % 10],
                markersize=4,
                color=PALETTE[place % 10],
                elinewidth=1.4,
                label=label(subset),
            )
        ax.set_xticks(positions, [str(each) for each in arrays.dimensions])
        ax.set(xlim=(-0.6, len(positions) - 0.4), xlabel="latent dimension")
        ax.set_ylabel("posterior mean ± 1 s.d. (units of z)")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, count + 1))
        tidy(ax)
        ax.tick_params(axis="x", length=0)
    return ax
