"""Students against their teacher: what one modality says, against what all of them say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from mmvae.abilities import Evaluated
from mmvae.inference import infer
from mmvae.plotting.figures.inputs import complete_rows, spread
from mmvae.plotting.figures.style import INK, MUTED, PALETTE, new_figure, style, tidy
from mmvae.sources import Data

_BINS = 51


@dataclass(frozen=True, eq=False)
class StudentsAgainstTeacher:
    """The posterior given each modality alone (student), and that given all of them (teacher).

    Attributes:
        names: of the M modalities.
        teacher_mean: ``[N, D]``.
        teacher_scale: ``[N, D]``.
        student_mean: ``[M, N, D]``.
        student_scale: ``[M, N, D]``.
        cosine: of the two means of the same datum, ``[M, N]``.
        cosine_shuffled: of the means of different data, ``[M, N]``: what chance gives.
    """

    names: tuple[str, ...]
    teacher_mean: Float[np.ndarray, "N D"]
    teacher_scale: Float[np.ndarray, "N D"]
    student_mean: Float[np.ndarray, "M N D"]
    student_scale: Float[np.ndarray, "M N D"]
    cosine: Float[np.ndarray, "M N"]
    cosine_shuffled: Float[np.ndarray, "M N"]

    @classmethod
    def of(cls, model: Evaluated, data: Data, size: int = 1000) -> StudentsAgainstTeacher:
        """What the model infers from one modality and from all.

        The teacher is the posterior given all modalities: of an :class:`~mmvae.models.IterativeVAE` the refined one,
        whatever its students were aligned to.

        Args:
            model: any model that infers.
            data: of which ``size`` points, evenly spread, are used; those that lack a modality are left out.
            size: how many data points.

        Raises:
            ValueError: for data of a single modality, fewer than two points that have every modality, or posteriors
                without a scale (point masses).
        """
        batch = complete_rows(model, spread(data, size))
        names = tuple(name for name in model.names if name in batch.names)
        if len(names) < 2 or batch.size < 2:
            raise ValueError(
                f"students: expected at least 2 modalities and 2 data points that have them all, got {len(names)} and "
                f"{batch.size}."
            )
        teacher = infer(model, batch, names, progress=False)
        students = [infer(model, batch, name, progress=False) for name in names]
        means, scales = (torch.stack([getattr(each, part) for each in students]) for part in ("mean", "scale"))
        if bool((scales == 0).any()):
            raise ValueError(f"{type(model).__name__}: its posteriors are point masses, which have no scale.")
        order = torch.randperm(batch.size, generator=torch.Generator().manual_seed(0)).to(means.device)
        cosine = torch.cosine_similarity(means, teacher.mean, dim=-1)
        shuffled = torch.cosine_similarity(means[:, order], teacher.mean[order.roll(1)], dim=-1)
        return cls(names, *map(_numbers, (teacher.mean, teacher.scale, means, scales, cosine, shuffled)))

    @property
    def explained(self) -> Float[np.ndarray, "M"]:
        """The share of the variance of the teacher's mean over the data that each student's mean explains."""
        total = ((self.teacher_mean - self.teacher_mean.mean(0)) ** 2).sum()
        return 1 - ((self.student_mean - self.teacher_mean) ** 2).sum((1, 2)) / total


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def students_against_teacher(arrays: StudentsAgainstTeacher) -> Figure:
    """A row per modality: means and scales of all latent dimensions as densities, and the cosine of the means.

    Args:
        arrays: from :meth:`StudentsAgainstTeacher.of`.
    """
    count = len(arrays.names)
    figure = new_figure(7.2, 2.25 * count + 0.4)
    with style():
        panels = figure.subplots(count, 3, squeeze=False, sharex="col")
        mean_bins = np.linspace(*_range(arrays.teacher_mean, arrays.student_mean), _BINS)
        scale_bins = np.exp(np.linspace(*_range(np.log(arrays.teacher_scale), np.log(arrays.student_scale)), _BINS))
        for place, (name, (left, middle, right)) in enumerate(zip(arrays.names, panels, strict=True)):
            _density(left, arrays.teacher_mean, arrays.student_mean[place], mean_bins)
            left.set_title(f"{name}: mean, R² {_written(arrays.explained[place])}")
            left.set_ylabel(f"student {name}")
            middle.set(xscale="log", yscale="log")
            _density(middle, arrays.teacher_scale, arrays.student_scale[place], scale_bins)
            for axis in (middle.xaxis, middle.yaxis):
                axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_locator(NullLocator())
            ratio = np.exp(np.log(arrays.student_scale[place] / arrays.teacher_scale).mean())
            middle.set_title(f"scale, {ratio:.2f} \N{MULTIPLICATION SIGN} teacher's")
            _cosines(right, arrays.cosine[place], arrays.cosine_shuffled[place])
            found, chance = (_written(each[place].mean()) for each in (arrays.cosine, arrays.cosine_shuffled))
            right.set_title(f"cosine {found}, chance {chance}")
        panels[-1][0].set_xlabel("teacher: mean (units of z)")
        panels[-1][1].set_xlabel("teacher: s.d. (units of z)")
        panels[-1][2].set_xlabel("cosine of the means")
        handles, labels = panels[0][2].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


def _written(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _range(*values: np.ndarray) -> tuple[float, float]:
    """That of all but the most extreme values, with a margin, the same for all modalities."""
    every = np.concatenate([each.ravel() for each in values])
    low, high = np.quantile(every, [0.001, 0.999])
    edge = 0.04 * (high - low) + 1e-3
    return float(low - edge), float(high + edge)


def _density(ax: Axes, teacher: np.ndarray, student: np.ndarray, bins: np.ndarray) -> None:
    ax.hist2d(teacher.ravel(), student.ravel(), bins=[bins, bins], norm="log", cmap="Blues", rasterized=True)
    ends = bins[[0, -1]]
    ax.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
    ax.set(xlim=ends, ylim=ends)
    ax.set_aspect("equal")
    tidy(ax, "none")


def _cosines(ax: Axes, cosine: np.ndarray, shuffled: np.ndarray) -> None:
    bins = np.linspace(-1, 1, 41).tolist()
    shares = [np.full(len(each), 1 / len(each)) for each in (cosine, shuffled)]
    ax.hist(cosine, bins, weights=shares[0], color=PALETTE[0], label="same datum")
    ax.hist(
        shuffled, bins, weights=shares[1], histtype="step", color=MUTED, linewidth=1.2, label="different data (chance)"
    )
    ax.set(xlim=(-1, 1), ylabel="share of the data")
    tidy(ax)
