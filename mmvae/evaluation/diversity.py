"""How different the data is that a model generates for one and the same condition."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.distributions import point_mass
from mmvae.evaluation.context import Context
from mmvae.evaluation.generation import generator_of, no_judges, read, real_readings
from mmvae.evaluation.judges import Featured, Reads
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import Row, Unavailable, make_row, mean_and_error
from mmvae.labels import class_numbers
from mmvae.latents import Latents
from mmvae.subsets import label
from mmvae.words import Words

_PAIR = 2
_MOST_REAL = 1000
"""Real rows whose distances are compared, all with all."""


@metric(
    Words(
        "diversity",
        "Diversity",
        "Mean distance of two data that are generated from the same data point, over that of two real data.",
    ),
    about="generation",
    kinds="that generate",
    beside=("classifier_accuracy",),
)
def diversity(context: Context) -> Iterator[Row]:
    """Mean distance of two generated data given the same, over that of two real data, per subset and missing target.

    Two latents are drawn from q(z | x_S) for each data point, and a target outside of S is decoded from both. Distances
    are Euclidean, between penultimate features of the target's classifier. Data are decoder means, without the noise of
    the likelihood. Rows are those chosen for importance sampling.

    Extras: ``distance`` and ``real``, the two mean distances; ``within_class``, the mean distance of two real data of
    one class over ``real``, which a model has that generates all of a class and nothing else; ``n_real``, real rows
    that are compared, all with all.

    Source: Zhu et al. 2017, "Toward multimodal image-to-image translation", section 5: distance of pairs of outputs
    from the same input, beside that of random real pairs. Departure: features of the classifiers in the place of
    LPIPS, which is for images only.
    """
    generator_of(context)
    if not context.classifiers:
        raise Unavailable(no_judges(context))
    real = {name: of_real for name in context.names if (of_real := _of_real_data(context, name)) is not None}
    for subset in context.each_subset("diversity"):
        rows = context.inferred(subset).rows
        rows = rows[context.weighed[rows]]
        targets = [name for name in real if name not in subset]
        if not targets:
            continue
        if not len(rows):
            context.note(f"diversity: left out for {label(subset)}; raise likelihood_rows.")
            continue
        classifiers = {name: context.classifiers[name] for name in targets}
        found = read(classifiers, _decoded(context, subset, rows))
        for name in targets:
            features = found[name].features
            assert features is not None
            one, other = features.double().unflatten(0, (-1, _PAIR)).unbind(1)
            distance, error = mean_and_error((one - other).norm(dim=1))
            scale, within, count = real[name]
            yield make_row(
                "diversity",
                distance / scale,
                subset,
                name,
                stderr=error / scale,
                n=len(rows),
                distance=distance,
                real=scale,
                within_class=within,
                n_real=count,
            )


def _decoded(context: Context, subset: tuple[str, ...], rows: Int64[Tensor, "n"]) -> Iterator[dict[str, Tensor]]:
    """Data of every modality at two draws for each row, one beside the other, a batch at a time."""
    model = generator_of(context)
    for block, found in context.latents(subset, rows, "diversity"):
        draws = found.sample(_PAIR).float()  # (2, n, D)
        for places in torch.arange(len(block)).split(context.batch_size):
            codes = None if found.codes is None else found.codes[places.to(found.codes.device)]
            pairs = draws[:, places.to(draws.device)].transpose(0, 1).flatten(0, 1)
            yield model.generate(
                Latents(
                    point_mass(pairs),
                    subset,
                    codes=None if codes is None else codes.repeat_interleave(_PAIR, 0),
                    covariates=context.covariates_of(block[places].repeat_interleave(_PAIR)),
                )
            )


def _of_real_data(context: Context, name: str) -> tuple[float, float, int] | None:
    """The mean distance of two real data, that within a class over it (NaN without classes), and the number of rows.

    ``None``, with a note, where there is no distance to compare with.
    """
    if name not in context.classifiers:
        context.note(f"diversity: left out for {name}, for which there is no classifier.")
        return None
    if not isinstance(context.classifiers[name], Reads | Featured):
        context.note(f"diversity: left out for {name}, whose classifier has no features(x).")
        return None
    features, rows = real_readings(context, name).features, context.rows((name,))
    assert features is not None
    generator = torch.Generator().manual_seed(context.derived_seed("diversity of real data", name))
    chosen = torch.randperm(len(features), generator=generator)[:_MOST_REAL]
    labels = class_numbers(context.data.labels)
    scale, within = mean_distances(features[chosen], None if labels is None else labels[rows][chosen])
    if not scale > 0:
        context.note(f"diversity: left out for {name}, of which there are no two real data that differ.")
        return None
    return scale, within / scale, len(chosen)


def mean_distances(features: Float[Tensor, "n F"], classes: Int64[Tensor, "n"] | None) -> tuple[float, float]:
    """The mean Euclidean distance of two different rows, and that of two different rows of one class.

    Args:
        features: Of the rows.
        classes: Of the rows, -1 where unknown; or ``None``.

    Returns:
        Both means; NaN where there is no such pair.
    """
    apart = torch.pdist(features.double())
    if classes is None:
        return float(apart.mean()), math.nan
    first, second = torch.triu_indices(len(features), len(features), 1)
    alike = (classes[first] == classes[second]) & (classes[first] >= 0)
    return float(apart.mean()), float(apart[alike].mean())
