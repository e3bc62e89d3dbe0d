"""Whether samples agree better when they come from a prior that was fitted to the latents of the data."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from mmvae.evaluation.coherence import agreement, judged_names
from mmvae.evaluation.context import Context, rows_with_any
from mmvae.evaluation.generation import from_prior, generator_of, read, readings
from mmvae.evaluation.registry import metric
from mmvae.evaluation.results import OtherKind, Row, Unavailable, make_row, share_error
from mmvae.priors import GaussianMixture
from mmvae.training import fit_prior
from mmvae.vaes.base import MultimodalVAE
from mmvae.words import Words

_COMPONENTS = 20


@metric(
    Words(
        "joint_coherence_fitted",
        "Joint coherence (fitted prior)",
        "Joint coherence of draws from a Gaussian mixture that was fitted to the latents of the training data.",
        better="higher",
    ),
    about="generation",
    kinds="VAEs",
    costly="fits a prior",
    beside=("classifier_accuracy", "joint_coherence"),
)
def latent_prior(context: Context) -> Iterator[Row]:
    """Joint coherence of samples from a prior fitted after training, beside that of the prior as trained.

    A copy of the model gets a mixture of 20 Gaussians, which :func:`mmvae.fit_prior` fits to the posteriors of the
    training data; private latents keep their prior. If this lifts joint coherence, the decoders can do it, and the
    latents of the data are not distributed as the model's prior.

    Extras: ``as_trained``, joint coherence with the model's own prior; ``components``.

    Source: fitting after training follows Dai and Wipf 2019, "Diagnosing and enhancing VAE models"; with Gaussian
    mixtures, Ghosh et al. 2020, "From variational to deterministic autoencoders". Departure: maximum likelihood by Adam
    on draws, started from k-means, and diagonal components.
    """
    generator_of(context)
    if not isinstance(context.model, MultimodalVAE):
        raise OtherKind(f"{type(context.model).__name__} is no VAE, whose prior could be fitted")
    if len(judged_names(context)) < 2:
        raise Unavailable("with fewer than two classifiers there is nothing to agree on")
    if context.train is None:
        raise Unavailable("there is no training data to fit a prior to; pass train=")
    names = [name for name in context.model.names if name in context.train.names]
    if not names:
        raise Unavailable("the training data has no modality of the model; pass another train=")
    train = context.train.restrict(tuple(names))
    train = train[rows_with_any(train, names).to(train.device)]
    fitted = copy.deepcopy(context.model)
    with torch.enable_grad():
        fit_prior(fitted, train, GaussianMixture(_COMPONENTS), seed=context.derived_seed("latent prior"))
    agree = agreement(read(context.classifiers, from_prior(context, fitted)))
    as_trained = float(agreement(readings(context, None)).double().mean())
    share = float(agree.double().mean())
    yield make_row(
        "joint_coherence_fitted",
        share,
        stderr=share_error(share, len(agree)),
        n=len(agree),
        as_trained=as_trained,
        components=_COMPONENTS,
    )
