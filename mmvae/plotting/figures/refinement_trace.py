"""Refinement step by step: how far it raises the bound of each datum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmvae.abilities import Evaluated
from mmvae.batch import Batch
from mmvae.inference import infer
from mmvae.plotting.figures.inputs import complete_rows, evaluating, spread
from mmvae.plotting.figures.style import INK, MUTED, PALETTE, axes_or_new, style, tidy
from mmvae.refinement import Gaussian, Gradient
from mmvae.refinement.amortized import RefinesItself
from mmvae.sources import Data

_BEYOND = 3
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class RefinementTrace:
    """The bound of each datum in the course of its refinement, in nats.

    Attributes:
        gradient: by ascent on each datum's own posterior, ``[A + 1, N]``.
        network: by the network of a model that refines itself, ``[T + 1, N]``; ``None`` for any other model. Step 0 is
            that of ``gradient``, and both average over the same draws.
        trained_steps: how many steps the network was trained with, or ``None``.
        weighted: whether the bound has the modality and KL weights of training; if not, nats are honest.
    """

    gradient: Float[np.ndarray, "A N"]
    network: Float[np.ndarray, "T N"] | None
    trained_steps: int | None
    weighted: bool

    @classmethod
    def of(
        cls, model: Evaluated, data: Data, *, steps: int | None = None, ascent_steps: int = 50, size: int = 64
    ) -> RefinementTrace:
        """The bound given all modalities, before the first step and after each.

        A model that refines itself is refined by its network, and by gradient ascent from the same start on the same
        bound, which has the weights of training. For any other model there is ascent alone, from its posterior, on the
        ELBO in honest nats; a mixture starts as the Gaussian of its mean and variance.

        Args:
            model: any probabilistic model.
            data: of which ``size`` points, evenly spread, are used; those that lack a modality are left out.
            steps: of the network; by default three more than it was trained with.
            ascent_steps: of gradient ascent. Each decodes every datum at least 32 times.
            size: how many data points.

        Raises:
            TypeError: for a model without a generative program.
            ValueError: if no data point has every modality.
        """
        batch = complete_rows(model, spread(data, size))
        if not isinstance(model, RefinesItself):
            latents = infer(model, batch, refine=Gradient(ascent_steps), progress=False)
            return cls(_numbers(latents.elbo_trace), None, None, weighted=False)
        return cls._beside_network(model, batch, model.num_steps + _BEYOND if steps is None else steps, ascent_steps)

    @classmethod
    def _beside_network(cls, model: Any, batch: Batch, steps: int, ascent_steps: int) -> RefinementTrace:
        batch = model.prepare(batch)
        with evaluating(model, seed=0):
            bound, path = model.refinement_path(batch, steps)
            weights, beta = dict(bound.weights or {}), float(bound.beta)

            def climbed(steps: int, start: Gaussian) -> np.ndarray:
                ascent = Gradient(steps, weights=weights or None, beta=beta)
                return _numbers(ascent(model, batch, start.distribution).elbo_trace)

            network = np.concatenate([climbed(0, each) for each in path.iterates])
            gradient = climbed(ascent_steps, path.iterates[0])
        weighted = beta != 1 or any(weight != 1 for weight in weights.values())
        return cls(gradient, network, model.num_steps, weighted)


def _numbers(trace: Tensor | None) -> np.ndarray:
    assert trace is not None  # refiners that climb have one
    return trace.double().cpu().numpy()


def refinement_trace(arrays: RefinementTrace, ax: Axes | None = None) -> Axes:
    """The gain in the bound against the step: mean, median and the middle 80 % of the data; mean bound on the right.

    Beside a network, gradient ascent is shown as far as the network goes, and at the right edge where it ends. The
    vertical line marks the steps that the network was trained with.

    Args:
        arrays: from :meth:`RefinementTrace.of`.
        ax: to draw on; by default those of a new figure.
    """
    ax = axes_or_new(ax, 7.2, 3.6)
    ascent = arrays.gradient - arrays.gradient[0]
    last = len(ascent) - 1 if arrays.network is None else len(arrays.network) - 1
    with style():
        if arrays.network is not None:
            _curve(ax, arrays.network - arrays.network[0], PALETTE[0], "network of the model")
            trained = arrays.trained_steps or 0
            ax.axvline(trained, color=INK, linewidth=1, linestyle="--")
            text = f" trained: T = {trained}"
            ax.annotate(text, (trained, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
        _curve(ax, ascent[: last + 1], PALETTE[1], "gradient ascent")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.margins(x=0.02)
        if len(ascent) - 1 > last:
            _end(ax, ascent, last)
        ax.axhline(0, color=MUTED, linewidth=0.8)
        ax.set(xlabel="step of refinement")
        bound = "training bound" if arrays.weighted else "ELBO"
        ax.set_ylabel(f"gain in the {bound} (nats per datum)")
        _mean_on_the_right(ax, float(arrays.gradient[0].mean()), f"mean {bound} (nats per datum)")
        ax.plot([], [], color=MUTED, linewidth=1, linestyle=":", label="median")
        ax.fill_between([], [], [], color=MUTED, alpha=0.25, linewidth=0, label="10 to 90 % of the data")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
        tidy(ax)
    return ax


def _curve(ax: Axes, gain: Float[np.ndarray, "T N"], colour: str, name: str) -> None:
    low, median, high = np.quantile(gain, _QUANTILES, axis=1)
    steps = np.arange(len(gain))
    ax.fill_between(steps, low, high, color=colour, alpha=0.22, linewidth=0)
    ax.plot(steps, median, color=colour, linewidth=1, linestyle=":")
    ax.plot(steps, gain.mean(1), color=colour, marker="o", markersize=3 if len(gain) < 20 else 0, label=f"{name}: mean")


def _mean_on_the_right(ax: Axes, start: float, name: str) -> None:
    """The mean bound, which is where it started plus the mean gain."""

    def to_bound(gain: Any) -> Any:
        return gain + start

    def to_gain(bound: Any) -> Any:
        return bound - start

    ax.secondary_yaxis("right", functions=(to_bound, to_gain)).set_ylabel(name)


def _end(ax: Axes, gain: Float[np.ndarray, "A N"], last: int) -> None:
    """What the last step of a longer curve reaches, as a mark beyond the others."""
    low, median, high = np.quantile(gain[-1], _QUANTILES)
    mean, place = gain[-1].mean(), last + max(1.0, 0.12 * last)
    ax.plot([last, place], [gain[last].mean(), mean], color=PALETTE[1], linewidth=1, linestyle=(0, (1, 2)))
    ax.plot([place, place], [low, high], color=PALETTE[1], linewidth=6, alpha=0.3, solid_capstyle="butt")
    ax.plot(place, median, color=PALETTE[1], marker="_", markersize=6)
    ax.plot(place, mean, color=PALETTE[1], marker="o", markersize=4.5)
    ticks = range(0, last + 1, max(1, last // 12))
    ax.set_xticks([*ticks, place], [*map(str, ticks), f"{len(gain) - 1}"])
