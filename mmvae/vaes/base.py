"""What all multimodal VAEs share: the generative program, inference, draws of the prior, bounds and likelihoods."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from mmvae.autoencoders.base import CovariateLevels, PrivateDim, Weights, lay_out_images
from mmvae.autoencoders.parts import make_encoders
from mmvae.autoencoders.sampling import SamplesPrior
from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.distributions import (
    MixtureOfExperts,
    divergence,
    stratified_draws,
    stratified_parts,
)
from mmvae.distributions.mixture_of_experts import Family
from mmvae.free_memory import latents_at_a_time
from mmvae.latents import Latents
from mmvae.layout import Layout
from mmvae.modality import Modality
from mmvae.modes import in_evaluation_mode
from mmvae.objectives import Loss, Objective
from mmvae.objectives.base import check_pair
from mmvae.objectives.further_terms import FurtherTerms, Once
from mmvae.posteriors import JointPosterior, UnimodalExperts
from mmvae.priors import Prior, WithPrivate, prior_of_layout
from mmvae.subsets import Subset
from mmvae.vaes.parameters import expose_parameters
from mmvae.vaes.pseudo_inputs import PseudoEncoder

_ROWS = 1024
"""Rows whose posteriors are held at a time in importance sampling. Fixed, because another value would change the random
draws."""

_DRAWN = 2**22
"""Numbers, over all components, of the draws that are held at a time; fixed for the same reason."""


class MultimodalVAE(SamplesPrior):
    """Modalities, a joint posterior, a prior and an objective; the models of the literature are recipes over these.

    Inference, generation, bounds and likelihoods run in evaluation mode, whatever mode the model is in, and may run in
    several threads at a time; only :meth:`loss` looks at the mode.

    The generative program is p(z) Π_m p(x_m | z) with one latent ``"z"``, a vector of D columns. With private latents
    decoder m reads the shared columns and its own. With covariates c it is p(z | c) Π_m p(x_m | z, c).

    Args:
        modalities: What the model sees, at least one, with distinct names.
        latent_dim: Number of shared latent columns, or a :class:`~mmvae.Layout`.
        joint_posterior: How the members of a subset come together.
        objective: What training maximises.
        prior: One of :mod:`mmvae.priors`, over the shared columns; by default the standard one of ``family``.
        private_dim: Number of private columns: one for all modalities, by name, or none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities' log-likelihoods in the objective: ``None`` for those of the modalities,
            ``"balanced"`` (largest size / size), ``"auto"`` (:func:`mmvae.fit` chooses them by short runs, once), or by
            name.
        contrast: Weight of InfoNCE between the shared means of modalities, see
            :class:`~mmvae.objectives.further_terms.FurtherTerms`.
        augmentation: Weight of the term that exchanges private latents between rows; needs some.
        family: Family of the unimodal posteriors, ``pyro.distributions.Normal`` or ``Laplace``.

    Attributes:
        modalities: As given.
        names: Names of the modalities, in the model's order.
        latent_dim: D, number of all latent columns.
        layout: Which of them are shared, and which private.
        covariates: The covariates, see :class:`~mmvae.covariates.Covariates`.
        weights: ``{name: weight}``.
        transforms: ``{name: transform}`` of the modalities that have one (see :mod:`mmvae.transforms`).
        epoch: Number of epochs the model was trained for (a scalar buffer); schedules of weights read it.
        arguments: Arguments of the recipe's constructor by name, as saved in the configuration.

    Raises:
        ValueError: For no modality, duplicate names, a latent size below one, networks that do not fit, or a joint
            posterior and an objective or family that cannot go together.
        TypeError: For parts of the wrong kind, or a size that is not a whole number.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int | Layout,
        *,
        joint_posterior: JointPosterior,
        objective: Objective,
        prior: Prior | None = None,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
        contrast: float = 0.0,
        augmentation: float = 0.0,
        family: Family = dist.Normal,
    ) -> None:
        super().__init__(modalities, latent_dim, private_dim=private_dim, covariates=covariates, weights=weights)
        _check_family(joint_posterior, family)
        check_pair(joint_posterior, objective)
        self.objective = objective
        self.further_terms = FurtherTerms(contrast, augmentation)
        self.further_terms.check(self.layout)
        encoders, features = make_encoders(self.modalities, {name: self._likelihood(name) for name in self.names})
        self.experts = UnimodalExperts(encoders, features, self.layout, family, self.covariates.size)
        self.joint_posterior = joint_posterior
        self.add_decoders(encoders)
        self.prior = self.prior_for(prior)
        lay_out_images(self)

    def prior_for(self, prior: Prior | None) -> Prior | WithPrivate:
        """A prior made for the latent of this model; the model itself keeps the one it has.

        Args:
            prior: One of :mod:`mmvae.priors`, over the shared columns; by default the standard one of the family.

        Raises:
            TypeError: For something that is not a prior.
            ValueError: For a prior that cannot serve this model.
        """
        whole = prior_of_layout(prior, self.layout, self.experts.family, self.covariates.size)
        shared = whole.shared if isinstance(whole, WithPrivate) else whole
        shared.is_weighed = self.objective.weighs_draws
        shared.attach(PseudoEncoder(self.shapes, self._forms, self.experts, self.joint_posterior))
        return whole

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

    def generative(self, batch: Batch) -> Tensor:
        """:meth:`model` for a batch that conforms.

        A ``"z"`` that is conditioned on may have leading dimensions; the sites of the modalities then have them too.

        Args:
            batch: N rows.
        """
        with pyro.plate("data", batch.size, dim=-1):
            z = pyro.sample("z", self.prior(batch.context))
            for name in batch.names:
                with poutine.mask(mask=True if batch.complete else batch.observed[name]):
                    observation = self._observation(name, z, batch.context, batch.covariates, batch)
                    pyro.sample(name, observation, obs=batch.data[name])
            for name in batch.drawn:
                pyro.sample(name, self._observation(name, z, batch.context, batch.covariates))
        return z

    # Training.

    def loss(
        self,
        batch: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Loss:
        """The training loss of a batch.

        Args:
            batch: N data points.
            observed: ``{name: bool [N]}``, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on, mean per datum; ``.terms``, by name, in nats.

        Raises:
            ValueError: for data that does not fit, or is incomplete where the model cannot train on that.
        """
        prepared = self.prepare(batch, observed, covariates)
        if self.joint_posterior.needs_complete_data:
            self._require_complete(prepared)
        if not self.further_terms:
            return self.objective(self, prepared)
        experts = self.experts(prepared)
        once: Any = Once(self, experts, prepared)
        return self.further_terms.added(self.objective(once, prepared), self, prepared, experts)

    def _require_complete(self, batch: Batch) -> None:
        """Raise ``ValueError`` with the names of what is missing, unless every row has every modality."""
        missing = [
            name for name in self.names if name not in batch.data or not (batch.complete or batch.observed[name].all())
        ]
        if missing:
            raise ValueError(
                f"{type(self).__name__} cannot train on incomplete data: its joint posterior, "
                f"{type(self.joint_posterior).__name__}, needs every modality, and {', '.join(map(repr, missing))} is "
                f"missing here. Leave incomplete rows out, or use MVAE, MMVAE, MoPoE or MVTCAE."
            )

    # Inference.

    def latents(self, batch: Batch) -> Latents:
        """q(z | x) given all that a batch holds, which must conform; what :meth:`infer` gives."""
        return Latents(self.posterior(batch), batch.names, layout=self.layout, covariates=batch.covariates)

    def posterior(self, batch: Batch) -> Distribution:
        """q(z | x) given all that a batch holds, which must conform; what inference, guide and bounds have in common.

        Args:
            batch: N data points, restricted to the subset; every row has a modality observed.

        Returns:
            A reparameterised distribution of batch shape ``[N]`` and event shape ``[D]``.
        """
        return self.joint_posterior(batch, self.experts)

    # Bounds and likelihoods, in honest nats.

    @in_evaluation_mode
    @numbers_checked
    def elbo(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        observed: Mapping[str, Any] | None = None,
        num_samples: int = 1,
        covariates: Mapping[str, Any] | None = None,
    ) -> Float[Tensor, "N"]:
        """E_q(z|x_S)[log p(x_S | z)] - KL(q(z|x_S) || p(z)), in nats, without any training weight.

        Args:
            batch: N rows.
            subset: S; only its members are scored. By default all that is observed.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            num_samples: Draws per row, stratified over the components of a mixture. The KL is exact where it has a
                closed form, and estimated from the draws where not.
            covariates: ``{name: numbers [N]}``, beside the data or in the batch.
        """
        batch = self.prepare(batch, observed, covariates).restrict(self._members(subset))
        posterior, prior = self.posterior(batch), self.prior(batch.context)
        z = stratified_draws(posterior, num_samples)
        return self._log_joint(batch, z).mean(0) - divergence(posterior, prior, z)

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def log_weights(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        num_samples: int = 1000,
        observed: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
        covariates: Mapping[str, Any] | None = None,
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
            covariates: ``{name: numbers [N]}``, beside the data or in the batch.

        Raises:
            ValueError: for a number of samples or a chunk below one.
        """
        batch = self.prepare(batch, observed, covariates).restrict(self._members(subset))
        parts = [torch.cat(list(self._weights(rows, num_samples, chunk_size))) for rows in _in_rows(batch)]
        return torch.cat(parts, 1)

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def log_likelihood(
        self,
        batch: Batch | Mapping[str, Any],
        subset: Subset = None,
        num_samples: int = 1000,
        observed: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Float[Tensor, "N"]:
        """log p(x_S) by importance sampling from q(z | x_S), in nats; a lower bound that tightens with the samples.

        The sum over samples is taken as they come, from the draws of :meth:`log_weights`: memory does not grow with K.

        Args:
            batch: N data points.
            subset: S; its members alone are scored. By default all that is observed.
            num_samples: K, draws per datum.
            observed: ``{name: bool [N]}``, beside the data or in the batch.
            chunk_size: latents decoded at a time, out of the K N; by default what free memory allows.
            covariates: ``{name: numbers [N]}``, beside the data or in the batch.

        Raises:
            ValueError: for a number of samples or a chunk below one.

        Source: Burda et al. 2016, the bound L_K; stratified over the components of a mixture.
        """
        batch = self.prepare(batch, observed, covariates).restrict(self._members(subset))
        sums = []
        for rows in _in_rows(batch):
            parts = (weights.logsumexp(0) for weights in self._weights(rows, num_samples, chunk_size))
            sums.append(functools.reduce(torch.logaddexp, parts))
        return torch.cat(sums) - math.log(num_samples)

    # Help for the above.

    def _log_joint(self, batch: Batch, z: Float[Tensor, "*K N D"]) -> Float[Tensor, "*K N"]:
        """log p(x_S | z) of all modalities together."""
        return sum(self.score(batch, z).values(), start=torch.zeros_like(z[..., 0]))

    def _weights(self, batch: Batch, num_samples: int, chunk_size: int | None) -> Iterator[Float[Tensor, "k N"]]:
        """The importance weights of a few rows, some samples after others."""
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size: expected at least 1 latent at a time, got {chunk_size}.")
        sizes = [math.prod(self._likelihood(name).parameter_shape(self.shapes[name])) for name in batch.names]
        decoded = chunk_size or latents_at_a_time(max(sizes), self.device)
        posterior, prior = self.posterior(batch), self.prior(batch.context)
        components = posterior.num_components if isinstance(posterior, MixtureOfExperts) else 1
        drawn = max(1, _DRAWN // (batch.size * components * self.latent_dim))
        for z in stratified_parts(posterior, num_samples, drawn):
            yield self._scored(batch, z, decoded) + prior.log_prob(z) - posterior.log_prob(z)

    def _scored(self, batch: Batch, z: Float[Tensor, "k N D"], chunk_size: int) -> Float[Tensor, "k N"]:
        """log p(x_S | z), a few latents at a time: some samples of all rows, or of one sample some rows."""
        if chunk_size >= batch.size:
            return torch.cat([self._log_joint(batch, part) for part in z.split(chunk_size // batch.size)])
        columns = []
        for start in range(0, batch.size, chunk_size):
            rows = slice(start, start + chunk_size)
            some = batch[rows]
            columns.append(torch.cat([self._log_joint(some, part) for part in z[:, rows].split(1)]))
        return torch.cat(columns, 1)


def _in_rows(batch: Batch) -> list[Batch]:
    """The batch in parts, the posteriors of which are there at a time."""
    if batch.size <= _ROWS:
        return [batch]
    return [batch[start : start + _ROWS] for start in range(0, batch.size, _ROWS)]


def _check_family(joint_posterior: JointPosterior, family: Family) -> None:
    """Refuse experts of a family that a joint posterior cannot fuse."""
    if not isinstance(joint_posterior, JointPosterior):
        raise TypeError(f"joint_posterior: expected one of mmvae.posteriors, got {type(joint_posterior).__name__}.")
    if family not in joint_posterior.families:
        names = " or ".join(each.__name__ for each in joint_posterior.families)
        raise ValueError(
            f"family: {type(joint_posterior).__name__} fuses {names} experts, got {family.__name__}; take that family, "
            f"or Mixture as the joint posterior."
        )
