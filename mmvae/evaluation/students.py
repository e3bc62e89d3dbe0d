"""How the posterior from one modality compares with the one from all: student and teacher."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.distributions import kl_divergence

from mmvae.evaluation.context import Context, is_point_mass
from mmvae.evaluation.importance import mean_row
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.inference import infer
from mmvae.words import Words


@metric(
    Words(
        "student_kl",
        "KL from teacher to student",
        "Divergence of the posterior from one modality from that of all modalities of the same datum.",
        unit="nats",
        better="lower",
    ),
    Words(
        "student_mean_distance",
        "Distance of student and teacher",
        "Between the posterior means from one and from all modalities, in standard deviations of the former.",
    ),
    Words(
        "student_scale_ratio",
        "Scale of student over teacher",
        "How many times wider the posterior from one modality is than that from all.",
    ),
    about="inference",
    kinds="whose posterior is no point mass",
    costly="infers once more",
)
def students(context: Context) -> Iterator[Row]:
    """The posterior given a single modality (the student) beside the one given all (the teacher), per modality.

    - ``student_kl``: mean KL(teacher || student), in nats; left out, with a note, where it has no closed form, as of
      mixtures.
    - ``student_mean_distance``: mean over the data of the root mean square, over the latent dimensions, of
      (student mean - teacher mean) / student standard deviation.
    - ``student_scale_ratio``: geometric mean, over data and dimensions, of the student's standard deviation over the
      teacher's.

    Over the data points that have every modality. The angle between the means is a metric of its own, ``cosine``.
    """
    if len(context.joint) < 2:
        raise Unavailable("a single modality leaves nothing to compare")
    complete = context.rows(context.joint)
    if not len(complete):
        raise Unavailable("no data point has every modality")
    data = context.data[complete.to(context.data.device)].restrict(context.joint)
    teacher = infer(context.model, data, context.joint, batch_size=context.batch_size, progress=False)
    if is_point_mass(teacher.distribution):
        raise Unavailable(f"the posterior of {type(context.model).__name__} is a point mass, which has no scale")
    for subset in context.each_subset("students"):
        if len(subset) > 1:
            continue
        student = infer(context.model, data, subset, batch_size=context.batch_size, progress=False)
        try:
            divergence = kl_divergence(teacher.distribution, student.distribution)
        except NotImplementedError:
            context.note("student_kl: left out, since KL(teacher || student) has no closed form for these posteriors.")
        else:
            yield mean_row("student_kl", divergence.cpu(), subset)
        distance = ((student.mean - teacher.mean) / student.scale).square().mean(-1).sqrt()
        yield mean_row("student_mean_distance", distance.cpu(), subset)
        log_ratio, error = mean_and_error((student.scale / teacher.scale).log().mean(-1).cpu())
        ratio = math.exp(log_ratio)
        yield make_row("student_scale_ratio", ratio, subset, stderr=ratio * error, n=len(complete))
