"""TOC: how the dimensions of a codebook score, and what accuracy is left when only some are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmvae.abilities import HasCodebook
from mmvae.codebooks.dimensions import Criterion, toc
from mmvae.plotting.figures.style import INK, MARKERS, MUTED, PALETTE, PAPER, new_figure, style, tidy

Accuracies = Mapping[int, float | Sequence[float]]
"""By the number of dimensions that were kept, one number or one for each draw or seed."""

_CRITERIA: tuple[Criterion, ...] = ("both", "similarity", "variance")


@dataclass(frozen=True, eq=False)
class TOCCurve:
    """Scores of the dimensions of a codebook, and accuracies with some of them.

    Attributes:
        scores: by criterion, ``[D]``.
        dead: which dimensions are the same in all codes, ``[D]``.
        kept: by how the dimensions were chosen, their numbers, ``[Q]``, ascending.
        accuracy: likewise, ``[Q, R]`` for R draws or seeds, NaN where there are fewer.
    """

    scores: dict[str, Float[np.ndarray, "D"]]
    dead: Bool[np.ndarray, "D"]
    kept: dict[str, Int[np.ndarray, "Q"]]
    accuracy: dict[str, Float[np.ndarray, "Q R"]]

    @classmethod
    def of(cls, source: Tensor | HasCodebook, accuracy: Mapping[str, Accuracies]) -> TOCCurve:
        """The scores of a codebook under all criteria, and accuracies that were measured.

        Args:
            source: a codebook ``[L, D]``, or a model that has one.
            accuracy: by how the dimensions were chosen: ``"both"``, ``"similarity"`` and ``"variance"`` are the
                criteria of :func:`mmvae.toc`, anything else (``"random"``, ``"lowest"``) counts as a control.

        Raises:
            ValueError: for no accuracy.
            TypeError: for a source without a codebook.
        """
        if not accuracy or not all(accuracy.values()):
            raise ValueError("accuracy: expected numbers by how the dimensions were chosen, got none.")
        scores = {each: toc(source, keep=1, criterion=each, drop_dead=False).scores for each in _CRITERIA}
        kept, values = {}, {}
        for name, found in accuracy.items():
            kept[name] = np.array(sorted(found))
            each = [np.atleast_1d(np.asarray(found[number], dtype=float)) for number in sorted(found)]
            values[name] = np.full((len(each), max(map(len, each))), np.nan)
            for place, draws in enumerate(each):
                values[name][place, : len(draws)] = draws
        codebook = source if isinstance(source, Tensor) else source.codebook
        dead = (codebook.detach().double().var(0) < 1e-8).cpu().numpy()
        return cls({name: each.cpu().numpy() for name, each in scores.items()}, dead, kept, values)


def toc_curve(arrays: TOCCurve) -> Figure:
    """Left the scores of the dimensions, sorted, for each criterion; right accuracy against how many were kept.

    Dead dimensions are open circles. Controls are grey and dashed; bands are one standard deviation over draws.

    Args:
        arrays: from :meth:`TOCCurve.of`.
    """
    figure = new_figure(7.2, 3.1)
    criteria = list(arrays.scores)
    with style():
        left, right = figure.subplots(1, 2)
        for turn, (name, scores) in enumerate(arrays.scores.items()):
            order = np.argsort(-scores, kind="stable")
            ranks = np.arange(1, len(order) + 1)
            left.plot(ranks, scores[order], color=PALETTE[turn], label=name)
            dead = arrays.dead[order]
            circles = {"marker": "o", "markersize": 3.5, "markerfacecolor": PAPER, "color": PALETTE[turn]}
            left.plot(ranks[dead], scores[order][dead], linestyle="", **circles)
        count = int(arrays.dead.sum())
        left.set_title("Scores of the dimensions" + (f", {count} dead (open)" if count else ""))
        left.set(xlim=(0.5, len(arrays.dead) + 0.5), xlabel="rank of the dimension", ylabel="score (units of code²)")
        left.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        tidy(left)
        controls = [name for name in arrays.accuracy if name not in criteria]
        for name in arrays.accuracy:
            turn = controls.index(name) if name in controls else criteria.index(name)
            _accuracy(right, arrays, name, turn, control=name in controls)
        right.set_title("Accuracy with some of them")
        right.set(xlabel="dimensions kept", ylabel="accuracy")
        right.set_xscale("log", base=2)
        right.xaxis.set_major_formatter("{x:g}")
        tidy(right)
        handles, labels = right.get_legend_handles_labels()
        lacking = [name for name in criteria if name not in labels]
        handles += [line for line in left.get_lines() if line.get_label() in lacking]
        figure.legend(handles, labels + lacking, loc="outside upper right", ncols=len(handles))
    return figure


def _accuracy(ax: Axes, arrays: TOCCurve, name: str, turn: int, control: bool) -> None:
    kept, values = arrays.kept[name], arrays.accuracy[name]
    means = np.nanmean(values, axis=1)
    colour = (MUTED if turn else INK) if control else PALETTE[turn]
    dash, marker = ("--" if turn < 2 else ":", MARKERS[3 + turn]) if control else ("-", MARKERS[turn])
    ax.plot(kept, means, color=colour, linestyle=dash, marker=marker, markersize=4, label=name)
    several = (~np.isnan(values)).sum(1) > 1
    if several.any():
        spread = np.nanstd(values[several], axis=1, ddof=1)
        ax.fill_between(kept[several], means[several] - spread, means[several] + spread, color=colour, alpha=0.15, lw=0)
