"""What all multimodal VAEs share: the generative program, inference, generation, bounds and likelihoods."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from mmvae.batch import Batch
from mmvae.distributions import MixtureOfExperts, stratified_draws, stratified_parts
from mmvae.distributions.mixture_of_experts import Family
from mmvae.free_memory import latents_at_a_time
from mmvae.latents import Latents, check_latents
from mmvae.likelihoods import Likelihood
from mmvae.modality import Modality
from mmvae.multimodal import MultimodalModel
from mmvae.objectives import Loss, Objective
from mmvae.objectives.traces import log_likelihoods
from mmvae.posteriors import JointPosterior, Prior, UnimodalExperts
from mmvae.subsets import Subset, canonical
from mmvae.vaes.parameters import expose_parameters
from mmvae.vaes.parts import checked_names, make_decoders, make_encoders, make_likelihoods, resolve_weights

Weights = Literal["balanced"] | Mapping[str, float] | None
"""Likelihood weights of a model: the modalities' own, balanced by size, or by name."""

_ROWS = 1024
"""Rows whose posteriors are there at a time in importance sampling. It is no setting, since draws depend on it."""

_DRAWN = 2**22
"""Numbers, over all components, of the draws that are there at a time; no setting either."""

_CACHED_ROWS = 256
"""How many latents a CPU decodes at a time, so that the activations of small networks stay in its cache."""


class MultimodalVAE(MultimodalModel):
    """Modalities, a joint posterior and an objective; the models of the literature are recipes over these.

    The generative program is p(z) Π_m p(x_m | z) with one latent ``"z"`` of ``latent_dim`` numbers.

    Args:
        modalities: what the model sees, at least one, with distinct names.
        latent_dim: D.
        joint_posterior: how the members of a subset come together.
        objective: what training maximises.
        weights: of the modalities' log-likelihoods in the objective: ``None`` for those of the modalities,
            ``"balanced"`` (largest size / size), or by name.
        family: of the unimodal posteriors and the prior, ``pyro.distributions.Normal`` or ``Laplace``.
        learned_prior_scale: learn the scales of the prior.

    Attributes:
        modalities: as given.
        names: of the modalities, in the model's order.
        latent_dim: D.
        weights: ``{name: weight}``.
        epoch: how many epochs the model was trained for (a scalar buffer); schedules of weights read it.
        arguments: of the recipe's constructor by name, as saved in the configuration.

    Raises:
        ValueError: for no modality, duplicate names, a latent size below one, or networks that do not fit.
        TypeError: for parts of the wrong kind, or a latent size that is no whole number.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int,
        *,
        joint_posterior: JointPosterior,
        objective: Objective,
        weights: Weights = None,
        family: Family = dist.Normal,
        learned_prior_scale: bool = False,
    ) -> None:
        super().__init__(checked_names(modalities, latent_dim))
        self.modalities = tuple(modalities)
        self.latent_dim = latent_dim = int(latent_dim)
        self.weights = resolve_weights(self.modalities, weights)
        self.objective = objective
        likelihoods = make_likelihoods(self.modalities)
        encoders, features = make_encoders(self.modalities, likelihoods)
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.experts = UnimodalExperts(encoders, features, latent_dim, family)
        self.joint_posterior = joint_posterior
        self.decoders = nn.ModuleDict(make_decoders(self.modalities, likelihoods, latent_dim))
        self.prior = Prior(latent_dim, family, learned_prior_scale)
        self.to(memory_format=torch.channels_last)  # convolutions are faster on it, on the CPU as on the GPU

    # The Pyro programs.

    def model(self, batch: Batch | Mapping[str, Any], subset: Subset = None) -> Tensor:
        """The Pyro program p(z) Π_{m in S} p(x_m | z), for ``SVI``, ``Predictive``, ``NUTS`` and ``poutine``.

        Sites: ``"z"``, ``[N, D]``, and one of each modality's name in the plate ``"data"``: observed where the batch
        holds data, drawn where it holds ``None``. Modality and KL weights are no part of it.

        Args:
            batch: N data points.
            subset: the modalities to score; by default all that the batch holds.

        Returns:
            z, ``[N, D]``.
        """
        expose_parameters("mmvae", self)
        return self.generative(self.prepare(batch).restrict(subset))

    def guide(self, batch: Batch | Mapping[str, Any], subset: Subset = None) -> Tensor:
        """The Pyro program of q(z | x_S), the counterpart of :meth:`model`.

        Args:
            batch: N data points.
            subset: the modalities to look at; by default all that the batch holds.

        Returns:
            z, ``[N, D]``.
        """
        expose_parameters("mmvae", self)
        batch = self.prepare(batch).restrict(subset)
        posterior = self.posterior(batch)
        with pyro.plate("data", batch.size, dim=-1):
            return pyro.sample("z", posterior)

    def generative(self, batch: Batch, rows: Mapping[str, Tensor] | None = None) -> Tensor:
        """:meth:`model` for a batch that conforms, as objectives trace it.

        A ``"z"`` that is conditioned on may have leading dimensions; the sites of the modalities then have them too.

        Args:
            batch: N data points.
            rows: ``{name: indices}`` into the first axis of ``"z"``, for a modality that is scored at some only.
        """
        with pyro.plate("data", batch.size, dim=-1):
            z = pyro.sample("z", self.prior())
            for name in batch.names:
                distribution = self._observation(name, z if rows is None else z[rows[name]])
                with poutine.mask(mask=True if batch.complete else batch.observed[name]):
                    pyro.sample(name, distribution, obs=batch.data[name])
            for name in batch.drawn:
                pyro.sample(name, self._observation(name, z))
        return z

    # Training.

    def loss(self, batch: Batch | Mapping[str, Any], observed: Mapping[str, Any] | None = None) -> Loss:
        """The training loss of a batch.

        Args:
            batch: N data points.
            observed: ``{name: bool [N]}``, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on, mean per datum; ``.terms``, by name, in nats.

        Raises:
            ValueError: for data that does not fit, or is incomplete where the model cannot train on that.
        """
        return self.objective(self, self.prepare(batch, observed))

    def capture_obstacle(self, batch: Batch) -> str | None:
        """That of the objective."""
        return self.objective.capture_obstacle(batch)

    # Inference and generation.

    def latents(self, batch: Batch) -> Latents:
        """q(z | x) given all that a batch holds, which must conform; what :meth:`infer` gives."""
        return Latents(self.posterior(batch), batch.names)

    def posterior(self, batch: Batch) -> Distribution:
        """q(z | x) given all that a batch holds, which must conform; what inference, guide and bounds have in common.

        Args:
            batch: N data points, restricted to the subset; every row has a modality observed.

        Returns:
            A reparameterised distribution of batch shape ``[N]`` and event shape ``[D]``.
        """
        return self.joint_posterior(batch, self.experts)

    @torch.no_grad()
    def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
        """Data of every modality: those that were missing, and those that were given; without gradients.

        Args:
            latents: of N data points.
            num_samples: how many latents to draw from each posterior; by default its mean is taken, without chance.

        Returns:
            ``{name: [N, *shape]}``, or ``[num_samples, N, *shape]``: the mean of each likelihood, or its most
            probable code.

        Raises:
            TypeError: for something that is no latents, such as a tensor.
        """
        check_latents(latents, "decode(z) takes a tensor")
        return self._points(latents.mean if num_samples is None else latents.sample(num_samples))

    @torch.no_grad()
    def sample(self, num_samples: int) -> dict[str, Tensor]:
        """Data generated from ``num_samples`` draws of the prior, ``{name: [num_samples, *shape]}``."""
        return self._points(self.prior().sample((num_samples,)))

    def decode(self, z: Float[Tensor, "*P D"], subset: Subset = None) -> dict[str, Distribution]:
        """The likelihoods p(x_m | z), each of batch shape ``[*P]`` and of the modality's shape as event shape.

        Args:
            z: latents with any leading dimensions.
            subset: the modalities to decode; by default all.
        """
        return {name: self._observation(name, z) for name in canonical(subset, self.names)}

    # Bounds and likelihoods, in honest nats.

    def elbo(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        observed: Mapping[str, Any] | None = None,
        num_samples: int = 1,
    ) -> Float[Tensor, "N"]:
        """E_q(z|x_S)[log p(x_S | z)] - KL(q(z|x_S) || p(z)), in nats, without any training weight.

        Args:
            batch: N data points.
            subset: S; only its members are scored. By default all that is observed.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            num_samples: draws per datum, stratified over the components of a mixture. The KL of a Gaussian posterior
                is exact.
        """
        batch = self.prepare(batch, observed).restrict(self._members(subset))
        posterior, prior = self.posterior(batch), self.prior()
        z = stratified_draws(posterior, num_samples)
        log_p = sum(log_likelihoods(self, batch, z).values(), start=torch.zeros_like(z[0, :, 0])).mean(0)
        if isinstance(posterior, MixtureOfExperts) or self.prior.family is not dist.Normal:
            return log_p + (prior.log_prob(z) - posterior.log_prob(z)).mean(0)
        return log_p - kl_divergence(posterior, prior)

    @torch.no_grad()
    def log_weights(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        num_samples: int = 1000,
        observed: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
    ) -> Float[Tensor, "K N"]:
        """Importance weights log p(x_S, z_k) - log q(z_k | x_S), z_k drawn from q, in nats.

        Draws are stratified over the components of a mixture and divided by the density of the whole mixture: then
        their mean estimates p(x_S) without bias, which draws from one expert under that density would not. Draws are
        made and decoded in chunks, so that memory grows with the data and with the weights alone; the draws do not
        depend on ``chunk_size``.

        Args:
            batch: N data points.
            subset: S; only its members are scored. By default all that is observed.
            num_samples: K, draws per datum.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            chunk_size: latents decoded at a time, out of the K N; by default what free memory allows.

        Raises:
            ValueError: for a number of samples or a chunk below one.
        """
        batch = self.prepare(batch, observed).restrict(self._members(subset))
        parts = [torch.cat(list(self._weights(rows, num_samples, chunk_size))) for rows in _in_rows(batch)]
        return torch.cat(parts, 1)

    @torch.no_grad()
    def log_likelihood(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        num_samples: int = 1000,
        observed: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
    ) -> Float[Tensor, "N"]:
        """log p(x_S) by importance sampling from q(z | x_S), in nats; a lower bound that tightens with the samples.

        The sum over samples is taken as they come, from the draws of :meth:`log_weights`: memory does not grow with K.

        Args:
            batch: N data points.
            subset: S; its members alone are scored. By default all that is observed.
            num_samples: K, draws per datum.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            chunk_size: latents decoded at a time, out of the K N; by default what free memory allows.

        Raises:
            ValueError: for a number of samples or a chunk below one.

        Source: Burda et al. 2016, the bound L_K; stratified over the components of a mixture.
        """
        batch = self.prepare(batch, observed).restrict(self._members(subset))
        sums = []
        for rows in _in_rows(batch):
            parts = (weights.logsumexp(0) for weights in self._weights(rows, num_samples, chunk_size))
            sums.append(functools.reduce(torch.logaddexp, parts))
        return torch.cat(sums) - math.log(num_samples)

    # Help for the above.

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one datum of each modality."""
        return {modality.name: tuple(modality.shape) for modality in self.modalities}

    @property
    def forms(self) -> nn.ModuleDict:
        """The likelihoods check and cast what they are to score."""
        return self.likelihoods

    def _observation(self, name: str, z: Tensor) -> Distribution:
        """p(x_m | z); leading dimensions of ``z`` are flattened for the decoder and restored after it."""
        likelihood = self._likelihood(name)
        shape = likelihood.parameter_shape(self.shapes[name])
        parameters = self._decode(name, z).reshape(*z.shape[:-1], *shape)
        distribution = likelihood(parameters)
        return distribution.to_event(len(self.shapes[name]) - len(distribution.event_shape))

    def _decode(self, name: str, z: Float[Tensor, "*P D"]) -> Tensor:
        """The decoder's output, ``[prod(P), *parameter_shape]``; on the CPU a few batches at a time."""
        flat = z.reshape(-1, self.latent_dim)
        if z.device.type != "cpu" or z.ndim < 3 or len(flat) <= _CACHED_ROWS:
            return self.decoders[name](flat)
        batch = z.shape[-2]
        parts = flat.split(batch * max(1, _CACHED_ROWS // batch))
        return torch.cat([self.decoders[name](part) for part in parts])

    def _points(self, z: Tensor) -> dict[str, Tensor]:
        return {name: self._likelihood(name).point(each) for name, each in self.decode(z).items()}

    def _weights(self, batch: Batch, num_samples: int, chunk_size: int | None) -> Iterator[Float[Tensor, "k N"]]:
        """The importance weights of a few rows, some samples after others."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size: expected at least 1 latent at a time, got {chunk_size}.")
        sizes = [math.prod(self._likelihood(name).parameter_shape(self.shapes[name])) for name in batch.names]
        decoded = chunk_size or latents_at_a_time(max(sizes), self.device)
        posterior, prior = self.posterior(batch), self.prior()
        components = posterior.num_components if isinstance(posterior, MixtureOfExperts) else 1
        drawn = max(1, _DRAWN // (batch.size * components * self.latent_dim))
        for z in stratified_parts(posterior, num_samples, drawn):
            yield self._scored(batch, z, decoded) + prior.log_prob(z) - posterior.log_prob(z)

    def _scored(self, batch: Batch, z: Float[Tensor, "k N D"], chunk_size: int) -> Float[Tensor, "k N"]:
        """log p(x_S | z), a few latents at a time: some samples of all rows, or of one sample some rows."""

        def score(rows: Batch, part: Tensor) -> Tensor:
            return sum(log_likelihoods(self, rows, part).values(), start=torch.zeros_like(part[..., 0]))

        if chunk_size >= batch.size:
            return torch.cat([score(batch, part) for part in z.split(chunk_size // batch.size)])
        columns = []
        for start in range(0, batch.size, chunk_size):
            rows = slice(start, start + chunk_size)
            some = batch[rows]
            columns.append(torch.cat([score(some, part) for part in z[:, rows].split(1)]))
        return torch.cat(columns, 1)

    def _likelihood(self, name: str) -> Likelihood:
        return cast("Likelihood", self.likelihoods[name])


def _in_rows(batch: Batch) -> list[Batch]:
    """The batch in parts, the posteriors of which are there at a time."""
    if batch.size <= _ROWS:
        return [batch]
    return [batch[start : start + _ROWS] for start in range(0, batch.size, _ROWS)]
