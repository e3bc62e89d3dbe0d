"""The posterior of one datum, before and after refinement, against draws from the true one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from mmvae.abilities import Evaluated
from mmvae.batch import Batch
from mmvae.plotting.figures.inputs import evaluating, is_gaussian, prior_of
from mmvae.plotting.figures.posterior_moments import gaussian_kl
from mmvae.plotting.figures.style import INK, MARKERS, MUTED, PALETTE, new_figure, style, tidy
from mmvae.refinement import HMC, Gaussian, Gradient, Refinable
from mmvae.refinement.amortized import RefinesItself
from mmvae.sources import Data, as_source


@dataclass(frozen=True, eq=False)
class PosteriorAgainstHMC:
    """Gaussians and draws from the true posterior of one datum, in a few pairs of latent dimensions.

    Attributes:
        subset: the modalities that the datum has, all of which are looked at.
        dimensions: P pairs of latent dimensions, ``[P, 2]``.
        draws: from the true posterior, ``[K, P, 2]``.
        names: of the G Gaussians, in the order of refinement.
        mean: of the Gaussians, ``[G, P, 2]``.
        scale: their standard deviations, ``[G, P, 2]``.
        r_hat: the largest over all latent dimensions; above about 1.1 the chains have not met, and the draws prove
            nothing.
        effective_sample_size: the smallest over all latent dimensions.
    """

    subset: tuple[str, ...]
    dimensions: Int[np.ndarray, "P 2"]
    draws: Float[np.ndarray, "K P 2"]
    names: list[str]
    mean: Float[np.ndarray, "G P 2"]
    scale: Float[np.ndarray, "G P 2"]
    r_hat: float
    effective_sample_size: float

    @classmethod
    def of(
        cls,
        model: Evaluated,
        data: Data,
        row: int = 0,
        *,
        pairs: int = 2,
        steps: int | None = None,
        ascent: Gradient | None = None,
        hmc: HMC | None = None,
    ) -> PosteriorAgainstHMC:
        """The posteriors of the datum in one row.

        Before refinement: the posterior of the model, or λ_0 of a model that refines itself. After: λ_T of its network,
        and what gradient ascent reaches. Draws and ascent are of the honest posterior, without the weights of training;
        the network follows the bound that it was trained with.

        Args:
            model: any probabilistic model.
            data: that holds the datum.
            row: where it stands.
            pairs: at most so many pairs of latent dimensions: those in which the ascended posterior moves furthest from
                the prior.
            steps: of the network; by default as many as in training.
            ascent: by default 100 steps.
            hmc: by default 4 chains of 100 draws each, after as many that are thrown away, at the price of some forty
                thousand passes through the decoders. Take more where :attr:`r_hat` is not near 1.

        Raises:
            IndexError: for a row that the data does not have.
            TypeError: for a model without a generative program.
            ValueError: for a latent of a single dimension.
        """
        source = as_source(data)
        if not -len(source) <= row < len(source):
            raise IndexError(f"row: {row} is outside the data, which has {len(source)} rows.")
        if not isinstance(model, Refinable):
            raise TypeError(f"{type(model).__name__} has no generative program, and so no true posterior to draw from.")
        prior = prior_of(model)
        if prior.event_shape[0] < 2:
            raise ValueError("latent: two-dimensional marginals need at least 2 latent dimensions, got 1.")
        with evaluating(model, seed=0):
            datum = _what_is_there(model, source.batch(torch.tensor([row % len(source)])))
            stages = dict(_stages(model, datum, steps))
            start = next(iter(stages.values()))
            best = Gaussian.of((ascent or Gradient())(model, datum, start.distribution).distribution)
            true = (hmc or HMC(100))(model, datum, best.distribution)
        informed = gaussian_kl(*(_numbers(each) for each in (*best, prior.mean, prior.stddev)))[0]
        count = 2 * min(pairs, len(informed) // 2)
        kept = np.argsort(-informed, kind="stable")[:count].reshape(-1, 2)  # [P, 2]
        stages["gradient ascent"] = best
        draws = true.distribution.enumerate_support()[0]  # [K, D]
        return cls(
            datum.names,
            kept,
            _numbers(draws)[:, kept],
            list(stages),
            np.stack([_numbers(each.loc)[0, kept] for each in stages.values()]),
            np.stack([_numbers(each.scale)[0, kept] for each in stages.values()]),
            float(true.diagnostics["r_hat"].max()),
            float(true.diagnostics["effective_sample_size"].min()),
        )


def _what_is_there(model: Refinable, datum: Batch) -> Batch:
    """The datum, restricted to the modalities that it has."""
    there = [name for name in model.names if name in datum.names and bool(datum.observed[name].all())]
    return model.prepare(datum).restrict(there)


def _stages(model: Any, datum: Batch, steps: int | None) -> Iterator[tuple[str, Gaussian]]:
    """The Gaussians that the model itself gives, by name."""
    if not isinstance(model, RefinesItself):
        posterior = model.posterior(datum)
        matched = "" if is_gaussian(posterior) else " (moment-matched)"
        yield f"posterior of the model{matched}", Gaussian.of(posterior)
        return
    last = model.num_steps if steps is None else steps
    iterates = model.refinement_path(datum, last)[1].iterates
    yield "before refinement", iterates[0]
    yield f"after {last} steps of the network", iterates[-1]


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def posterior_against_hmc(arrays: PosteriorAgainstHMC) -> Figure:
    """A panel per pair of latent dimensions: draws as dots, Gaussians as ellipses of 1 and 2 standard deviations.

    Args:
        arrays: from :meth:`PosteriorAgainstHMC.of`.
    """
    count = len(arrays.dimensions)
    side = 3.5 if count > 1 else 4.2
    figure = new_figure(side * count, side + 0.55)
    with style():
        for place, ax in enumerate(figure.subplots(1, count, squeeze=False)[0]):
            _panel(arrays, place, ax)
        dots = Line2D([], [], linestyle="", marker="o", markersize=3, color=MUTED)
        lines = [
            Line2D([], [], color=PALETTE[turn], marker=MARKERS[turn], markersize=4.5)
            for turn in range(len(arrays.names))
        ]
        figure.legend([dots, *lines], ["draws by HMC", *arrays.names], loc="outside upper center", ncols=2)
        said = f"{len(arrays.draws)} draws: R-hat at most {arrays.r_hat:.2f}, effective sample size at least "
        figure.supxlabel(f"{said}{arrays.effective_sample_size:.0f}", fontsize=8, color=MUTED)
    return figure


def _panel(arrays: PosteriorAgainstHMC, place: int, ax: Axes) -> None:
    ax.scatter(
        arrays.draws[:, place, 0], arrays.draws[:, place, 1], s=7, color=MUTED, alpha=0.55, linewidths=0, zorder=2
    )
    for turn in range(len(arrays.names)):
        centre, scale = arrays.mean[turn, place], arrays.scale[turn, place]
        for reach in (1, 2):
            width, height = 2 * reach * scale
            ax.add_patch(
                Ellipse(
                    (centre[0], centre[1]),
                    width,
                    height,
                    fill=False,
                    edgecolor=PALETTE[turn],
                    linewidth=1.6 / reach,
                    zorder=3,
                )
            )
        ax.plot(*centre, marker=MARKERS[turn], color=PALETTE[turn], markersize=5, markeredgecolor=INK, zorder=4)
    ax.autoscale_view()
    ax.set_aspect("equal", adjustable="datalim")
    first, second = arrays.dimensions[place]
    ax.set(xlabel=f"latent dimension {first} (units of z)", ylabel=f"latent dimension {second} (units of z)")
    tidy(ax, "both")
