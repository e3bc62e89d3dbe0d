"""Data that the model generates, and what classifiers make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mmvae.abilities import Describes, Generates, Samples
from mmvae.distributions import point_mass
from mmvae.evaluation.context import Context, device_of
from mmvae.evaluation.judges import Featured, Reads
from mmvae.evaluation.results import Unavailable
from mmvae.latents import Latents

_PRIOR_BLOCK = 500
"""Draws of the prior that share one seed. It is no setting, since draws would depend on it."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a classifier makes of n data of its modality.

    Attributes:
        predicted: the class, int64 ``[n]`` on the CPU.
        features: its penultimate layer, ``[n, F]`` on the CPU, or ``None`` if the classifier shows none.
        num_classes: how many it tells apart; two for a single logit.
    """

    predicted: Int64[Tensor, "n"]
    features: Float[Tensor, "n F"] | None
    num_classes: int


def generated(context: Context, subset: tuple[str, ...] | None) -> Iterator[dict[str, Tensor]]:
    """Data of every modality, a batch at a time, on the model's device; the same at each call.

    Decoder means, at one draw from q(z | x_S) for each data point that has the subset S, in their order; or, without
    a subset, from draws of the prior.

    Raises:
        Unavailable: for a model that does not generate or, without a subset, has no prior.
    """
    if subset is None:
        yield from from_prior(context, sampler_of(context))
        return
    model, found = generator_of(context), context.inferred(subset)
    for places in torch.arange(len(found.rows)).split(context.batch_size):
        codes = None if found.codes is None else found.codes[places].to(context.device)
        at_draw = point_mass(found.draw[places].to(context.device))
        covariates = context.covariates_of(found.rows[places])
        yield model.generate(Latents(at_draw, subset, codes=codes, covariates=covariates))


def from_prior(context: Context, model: Samples) -> Iterator[dict[str, Tensor]]:
    """Data of every modality from draws of a model's prior, a batch at a time; the same at each call."""
    for number, start in enumerate(range(0, context.prior_samples, _PRIOR_BLOCK)):
        context.reseed("prior", number)
        size = min(_PRIOR_BLOCK, context.prior_samples - start)
        if context.data.covariates:  # those of the data, in turn
            rows = torch.arange(start, start + size) % context.data.size
            yield model.sample(size, covariates=context.covariates_of(rows))
        else:
            yield model.sample(size)


def generator_of(context: Context) -> Generates:
    """The model, if it generates.

    Raises:
        Unavailable: if it does not.
    """
    if not isinstance(context.model, Generates):
        raise Unavailable(f"{type(context.model).__name__} does not generate (it has no method generate)")
    return context.model


def sampler_of(context: Context) -> Samples:
    """The model, if it has a prior.

    Raises:
        Unavailable: if it has none.
    """
    if not isinstance(context.model, Samples):
        raise Unavailable(f"{type(context.model).__name__} has no prior to draw from (it has no method sample)")
    return context.model


def no_judges(context: Context) -> str:
    """Why there are no classifiers, and what to do."""
    trainable = ", or labelled training data as train=" if isinstance(context.model, Describes) else ""
    return f"there are no classifiers; pass classifiers={trainable}"


def readings(context: Context, subset: tuple[str, ...] | None) -> dict[str, Reading]:
    """What the classifiers make of the data that :func:`generated` gives, by modality."""
    return context.once(("readings", subset), lambda: read(context.classifiers, generated(context, subset)))


def real_readings(context: Context, name: str) -> Reading:
    """What the classifier of a modality makes of the data points that have it."""
    classifier = {name: context.classifiers[name]}
    return context.once(("real", name), lambda: read(classifier, real(context, name))[name])


def real(context: Context, name: str) -> Iterator[dict[str, Tensor]]:
    """The data points that have a modality, a batch at a time."""
    for block in context.rows((name,)).split(context.batch_size):
        yield {name: context.data.data[name][block.to(context.data.device)]}


def read(classifiers: Mapping[str, nn.Module], batches: Iterator[dict[str, Tensor]]) -> dict[str, Reading]:
    """What classifiers make of data of their modality that comes a batch at a time."""
    predicted: dict[str, list[Tensor]] = {name: [] for name in classifiers}
    features: dict[str, list[Tensor]] = {name: [] for name in classifiers}
    widths: dict[str, int] = {}
    for batch in batches:
        for name, classifier in classifiers.items():
            logits, shown = _judged(classifier, batch[name].to(device_of(classifier)))
            widths[name] = max(2, logits.shape[-1])
            predicted[name].append((logits.argmax(-1) if logits.shape[-1] > 1 else (logits[:, 0] > 0).long()).cpu())
            if shown is not None:
                features[name].append(shown.flatten(1).float().cpu())
    return {
        name: Reading(torch.cat(predicted[name]), torch.cat(features[name]) if features[name] else None, widths[name])
        for name in classifiers
    }


def _judged(classifier: nn.Module, data: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits, and the penultimate layer of a classifier that shows it."""
    if isinstance(classifier, Reads):
        return classifier.read(data)
    return classifier(data), classifier.features(data) if isinstance(classifier, Featured) else None
