"""How modalities use the codes of a codebook: which they share, and which they keep to themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae.abilities import Evaluated, HasCodebook
from mmvae.codebooks import code_statistics
from mmvae.inference import infer
from mmvae.plotting.figures.inputs import inferable, require, spread
from mmvae.plotting.figures.style import INK, MUTED, PALETTE, PAPER, new_figure, style, tidy
from mmvae.sources import Data

_LEAST_NAMED = 0.14
"""The share of the codes from which on a group has room for its name."""


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """How often each modality, by itself, is given each code.

    Attributes:
        names: of the M modalities.
        counts: vectors (data points, or steps of them) by modality and code, ``[M, L]``.
        owned: of the codes in use, the shares that one modality owns, that two own, ..., ``[M]``.
        perplexity: of each modality's codes: how many would be in use, were they used equally, ``[M]``.
    """

    names: tuple[str, ...]
    counts: Int[np.ndarray, "M L"]
    owned: Float[np.ndarray, "M"]
    perplexity: Float[np.ndarray, "M"]

    @classmethod
    def of(cls, model: Evaluated, data: Data, size: int = 2000) -> CodeUsage:
        """The codes of the data, each modality inferred from by itself.

        A modality owns a code if at least a tenth (less beyond ten modalities) of the code's shares is its own.

        Args:
            model: with a codebook.
            data: of which ``size`` points, evenly spread, are used.
            size: how many data points.

        Raises:
            TypeError: for a model without a codebook.
        """
        able = require(model, HasCodebook, "has no codebook; this plot needs a model whose latents are codes")
        batch = spread(data, size)
        histograms = {}
        for name in (each for each in model.names if each in batch.names):
            rows = inferable(batch, (name,)).nonzero().flatten()
            if len(rows):
                codes = infer(model, batch[rows], name, progress=False).codes
                assert codes is not None  # the model has a codebook
                histograms[name] = code_statistics.code_histogram(codes.cpu(), len(able.codebook))
        return cls.of_histograms(histograms)

    @classmethod
    def of_histograms(cls, histograms: dict[str, Int[torch.Tensor, "L"]]) -> CodeUsage:
        """Of what was counted already, by modality."""
        owned = code_statistics.sharing(histograms)
        each = torch.stack([code_statistics.perplexity(histogram) for histogram in histograms.values()])
        counts = torch.stack(list(histograms.values()))
        return cls(tuple(histograms), counts.numpy(), owned.numpy(), each.numpy())

    @property
    def shares(self) -> Float[np.ndarray, "M L"]:
        """The counts as shares of each modality's vectors."""
        return self.counts / self.counts.sum(1, keepdims=True).clip(1)

    @property
    def owners(self) -> Int[np.ndarray, "L"]:
        """By how many modalities each code is owned; 0 for one that nobody uses."""
        histograms = zip(self.names, torch.from_numpy(self.counts), strict=True)
        return code_statistics.owners(dict(histograms)).numpy()


def code_usage(arrays: CodeUsage) -> Figure:
    """How often each code is used, stacked by modality, and the shares of codes that one or several modalities own.

    Codes in use are grouped by how many modalities own them, many first, and sorted by use within a group.

    Args:
        arrays: from :meth:`CodeUsage.of`.
    """
    figure = new_figure(7.2, 3.1)
    with style():
        left, right = figure.subplots(1, 2, width_ratios=(4.4, 1))
        _bars(arrays, left)
        owners = np.arange(len(arrays.names), 0, -1)
        right.bar([str(each) for each in owners], 100 * arrays.owned[owners - 1], width=0.72, color=MUTED)
        for place, each in enumerate(100 * arrays.owned[owners - 1]):
            right.annotate(f"{each:.0f}", (place, each), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        right.set(xlabel="owners of a code", ylabel="share of the codes in use (%)", ylim=(0, 109))
        tidy(right)
        right.tick_params(axis="x", length=0)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(3, len(labels)))
    return figure


def _bars(arrays: CodeUsage, ax: Axes) -> None:
    shares, owners = 100 * arrays.shares, arrays.owners
    order = np.lexsort((-shares.sum(0), -owners))  # by owners, then by use
    order = order[: int((owners > 0).sum())]
    below = np.zeros(len(order))
    for place, name in enumerate(arrays.names):
        used = int((arrays.counts[place] > 0).sum())
        text = f"{name}: {used} {'code' if used == 1 else 'codes'}, perplexity {arrays.perplexity[place]:.0f}"
        heights = shares[place, order]
        width = 0.9 if len(order) <= 64 else 1.0
        ax.bar(np.arange(len(order)), heights, width, below, color=PALETTE[place % 10], linewidth=0, label=text)
        below += heights
    top = 1.12 * float(below.max(initial=0.0)) + 1e-9
    for number in np.unique(owners[order]):
        places = np.flatnonzero(owners[order] == number)
        if places[-1] + 1 < len(order):
            ax.axvline(places[-1] + 0.5, color=INK, linewidth=0.8, linestyle=":")
        if len(places) >= _LEAST_NAMED * len(order):
            look: dict[str, Any] = {"fontsize": 8, "color": MUTED, "backgroundcolor": PAPER}
            ax.text(places.mean(), 0.985 * top, f"owned by {number}", ha="center", va="top", **look)
    ax.set(xlim=(-0.6, len(order) - 0.4), ylim=(0, top), ylabel="share of the vectors of each (%)")
    idle = arrays.counts.shape[1] - len(order)
    ax.set_xlabel(f"codes in use, sorted ({idle} of {arrays.counts.shape[1]} not used)")
    tidy(ax)
