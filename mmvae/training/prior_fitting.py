"""Fitting a prior to a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmvae.choices import check_count, numbers_checked
from mmvae.inference import infer
from mmvae.modes import mode
from mmvae.priors import Prior, WithPrivate
from mmvae.sources import Data, as_source
from mmvae.training.randomness import randomness_kept
from mmvae.vaes.base import MultimodalVAE


@numbers_checked
def fit_prior(
    vae: MultimodalVAE,
    data: Data,
    prior: Prior,
    *,
    observed: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
    steps: int = 1000,
    batch_size: int = 512,
    lr: float = 1e-2,
    seed: int = 0,
) -> list[float]:
    """Fit a prior to the aggregate posterior of a trained model, and put it in place.

    The aggregate posterior is the mixture of the posteriors of all rows, each given everything that is observed. The
    prior maximises the mean of log p(z) over draws from it, new ones at every step. The model is otherwise left as it
    is: encoders and decoders do not change. ``sample``, ``elbo`` and ``log_likelihood`` then use the prior, and it is
    saved with the model. Of a latent with private columns it covers the shared ones.

    Args:
        vae: Trained model; its prior is replaced in place.
        data: Training data, as :func:`mmvae.fit` takes it in memory or as a dataset.
        prior: One of :mod:`mmvae.priors`, such as ``priors.GaussianMixture(20)``.
        observed: ``{name: bool [N]}``, beside data in memory.
        covariates: ``{name: numbers [N]}``, beside data in memory.
        steps: Number of steps of Adam, at least 1.
        batch_size: Number of draws per step, each of another row where there are enough, at least 1.
        lr: Learning rate at the start; it falls to zero along a cosine.
        seed: Seed of all draws; global generators are left as they were.

    Returns:
        The mean of log p(z) at every step, in nats.

    Raises:
        TypeError: For a model without a prior over a continuous latent, or something that is not a prior.
        ValueError: For a prior without parameters, or data that does not fit the model.

    Source: fitting after training follows Dai and Wipf 2019, "Diagnosing and enhancing VAE models" (their second stage
    is another VAE); MultiVae's samplers are of this kind.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models, priors
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> data = {"a": torch.randn(64, 4), "b": torch.randn(64, 4)}
        >>> densities = mmvae.fit_prior(vae, data, priors.GaussianMixture(3), steps=5)
        >>> vae.prior().batch_shape, len(densities)
        (torch.Size([]), 5)
    """
    if not isinstance(vae, MultimodalVAE):
        raise TypeError(f"vae: expected a VAE of mmvae.models, got {type(vae).__name__}, which has no prior.")
    check_count("steps", steps, 1)
    check_count("batch_size", batch_size, 1)
    with randomness_kept():
        torch.manual_seed(seed)
        whole = vae.prior_for(prior).to(vae.device)
        fitted = whole.shared if isinstance(whole, WithPrivate) else whole
        parameters = [each for each in fitted.parameters() if each.requires_grad]
        if not parameters:
            raise ValueError(
                f"prior: {type(prior).__name__} has no parameters to fit; pass for example priors.GaussianMixture(20)."
            )
        latents = infer(vae, data, observed=observed, covariates=covariates, progress=False)
        context = vae.covariates.encode(latents.covariates)
        columns = vae.layout.columns()
        generator = torch.Generator().manual_seed(seed)
        fitted.start_from(latents.sample()[:, columns], generator)
        with mode(vae, training=False):  # a prior may be made of the model's posteriors
            if fitted.num_start_rows:
                source = as_source(data, observed, covariates=covariates)
                rows = torch.randperm(len(source), generator=generator)[: fitted.num_start_rows]
                fitted.start_from_rows(vae.prepare(source.batch(rows)))
            densities = _maximise(fitted, parameters, latents, context, columns, steps, batch_size, lr)
    vae.prior = whole.eval()
    vae.arguments["prior"] = prior
    return densities


def _maximise(
    prior: Prior,
    parameters: list[torch.nn.Parameter],
    latents: Any,
    context: Float[Tensor, "N C"] | None,
    columns: slice,
    steps: int,
    batch_size: int,
    lr: float,
) -> list[float]:
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    found: list[Tensor] = []
    order: list[Tensor] = []
    for _ in range(steps):
        if not order:  # every row once, at a new draw, before any comes again
            z = latents.sample()[:, columns]
            order = list(torch.randperm(len(z), device=z.device).split(batch_size))
        rows = order.pop()
        log_p = prior(None if context is None else context[rows]).log_prob(z[rows]).mean()
        for parameter, slope in zip(parameters, torch.autograd.grad(-log_p, parameters), strict=True):
            parameter.grad = slope  # and none for encoders, which a prior may read
        optimizer.step()
        schedule.step()
        found.append(log_p.detach())
    return torch.stack(found).tolist()
