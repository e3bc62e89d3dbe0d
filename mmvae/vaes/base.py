"""What all multimodal VAEs share: the generative program, inference, generation, bounds and likelihoods."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int64
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.covariates import Covariates
from mmvae.distributions import (
    InDataUnits,
    MixtureOfExperts,
    divergence,
    seen_and_slopes,
    stratified_draws,
    stratified_parts,
)
from mmvae.distributions.mixture_of_experts import Family
from mmvae.free_memory import latents_at_a_time
from mmvae.latents import Latents, check_latents
from mmvae.layout import Layout
from mmvae.likelihoods import OBSERVED, Likelihood
from mmvae.modality import Modality
from mmvae.modes import in_evaluation_mode
from mmvae.multimodal import MultimodalModel
from mmvae.objectives import Loss, Objective
from mmvae.objectives.base import check_pair
from mmvae.objectives.further_terms import FurtherTerms, Once
from mmvae.posteriors import JointPosterior, UnimodalExperts
from mmvae.priors import Prior, WithPrivate, prior_of_layout
from mmvae.subsets import Subset, canonical
from mmvae.transforms import Transform, Units, spread
from mmvae.vaes.forms import ModalityForm, make_forms
from mmvae.vaes.parameters import expose_parameters
from mmvae.vaes.parts import (
    check_libraries,
    checked_names,
    make_decoders,
    make_encoders,
    make_likelihoods,
    make_transforms,
    resolve_weights,
)
from mmvae.vaes.pseudo_inputs import PseudoEncoder

Weights = Literal["balanced", "auto"] | Mapping[str, float] | None
"""Likelihood weights of a model: the modalities' own, balanced by size, chosen by ``fit``, or by name."""

PrivateDim = int | Mapping[str, int] | None
"""Sizes of the private latents: one for all modalities, by name, or none."""

CovariateLevels = Mapping[str, int | None] | None
"""Covariates of a model: levels of a category, or ``None`` for a number, by name."""

_ROWS = 1024
"""Rows whose posteriors are held at a time in importance sampling. Fixed, because another value would change the random
draws."""

_DRAWN = 2**22
"""Numbers, over all components, of the draws that are held at a time; fixed for the same reason."""

_LEAST_TOTAL = 1e-4
"""Smallest usual total that size factors are relative to."""

_CACHED_ROWS = 1024
"""Latents that a CPU decodes at a time, so that the activations of small networks stay in its cache."""


class MultimodalVAE(MultimodalModel):
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
        weights_are_open: Whether ``fit`` is to choose the weights.
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
        names = checked_names(modalities)
        super().__init__(names, Covariates(covariates))
        _check_family(joint_posterior, family)
        check_pair(joint_posterior, objective)
        self.modalities = tuple(modalities)
        self.layout = Layout.of(names, latent_dim, private_dim)
        self.latent_dim = self.layout.size
        self.weights = resolve_weights(self.modalities, weights)
        self.weights_are_open = weights == "auto"
        self.objective = objective
        self.further_terms = FurtherTerms(contrast, augmentation)
        self.further_terms.check(self.layout)
        context = self.covariates.size
        likelihoods = make_likelihoods(self.modalities)
        encoders, features = make_encoders(self.modalities, likelihoods)
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.experts = UnimodalExperts(encoders, features, self.layout, family, context)
        self.joint_posterior = joint_posterior
        inputs = {name: self.layout.width(name) + context for name in names}
        decoders = make_decoders(self.modalities, likelihoods, inputs)
        self.decoders = nn.ModuleDict(decoders)
        transforms, read = make_transforms(self.modalities, likelihoods, encoders, decoders)
        self.transforms = nn.ModuleDict(transforms)
        self._forms = make_forms(self.modalities, likelihoods, transforms, read)
        check_libraries(likelihoods, self.covariates)
        self.prior = self.prior_for(prior)
        for parameter in self.parameters():
            if parameter.ndim == 4:  # convolutions of images are faster on it, on the CPU as on the GPU
                parameter.data = parameter.data.to(memory_format=torch.channels_last)

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
        shared.attach(PseudoEncoder(self.shapes, self._forms, self.experts, self.joint_posterior))
        return whole

    def choose_weights(self, weights: Mapping[str, float]) -> None:
        """Take weights in the place of ``"auto"``; the model is then described, and saved, with these.

        Args:
            weights: ``{name: weight}`` of every modality.

        Raises:
            ValueError: For an unknown modality, or a weight not above zero.
        """
        self.weights = resolve_weights(self.modalities, dict(weights))
        self.weights_are_open = False
        if "weights" in self.arguments:
            self.arguments["weights"] = dict(self.weights)

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

    def score(
        self, batch: Batch, z: Float[Tensor, "*P N D"], rows: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "*Q N"]]:
        """log p(x_m | z) of every modality of a batch, in nats; zero where it is missing.

        The numbers are those of the Pyro program :meth:`model`, straight from decoders and likelihoods.

        Args:
            batch: N rows that conform.
            z: Latents, with any number of leading dimensions for particles, components or subsets.
            rows: ``{name: indices}`` into the first axis of ``z``, for a modality that is to be scored at some only.
        """
        scores = {}
        for name in batch.names:
            log_p = self._log_prob(name, z if rows is None else z.index_select(0, rows[name]), batch)
            scores[name] = log_p if batch.complete else torch.where(batch.observed[name], log_p, 0.0)
        return scores

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

    def decoded(self, name: str, z: Float[Tensor, "N D"], batch: Batch) -> Tensor | None:
        """The mean of a modality at latents of the rows of a batch, in the data's units, with gradients.

        Returns:
            ``[N, *shape]``; ``None`` for a modality of codes, which have no mean.
        """
        if not self._likelihood(name).data_dtype.is_floating_point:
            return None
        return self._point(name, self._observation(name, z, batch.context, batch.covariates))

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

    # Inference and generation.

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

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def generate(
        self, latents: Latents, num_samples: int | None = None, covariates: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Data of every modality: those that were missing, and those that were given; without gradients.

        Args:
            latents: Latents of N rows.
            num_samples: Number of latents to draw from each posterior; by default its mean is taken, without chance.
            covariates: ``{name: value or values [N]}`` in the place of those that the latents were inferred with: "as
                if from batch 0". By default theirs.

        Returns:
            ``{name: [N, *shape]}``, or ``[num_samples, N, *shape]``: the mean of each likelihood, or its most
            probable code. Rows that are NaN in the latents are NaN here, and -1 where they are codes.

        Raises:
            TypeError: For something that is not latents, such as a tensor.
            ValueError: For covariates that the model does not have, or that are missing.
        """
        check_latents(latents, "decode(z) takes a tensor")
        known = self.covariates.of_rows(len(latents), latents.covariates, covariates)
        of = latents.without_gaps()
        z = of.mean if num_samples is None else of.sample(num_samples)
        if of is not latents:
            known = {name: value[latents.known.to(value.device)] for name, value in known.items()}
        axis = 0 if num_samples is None else 1
        return {name: latents.spread(value, axis) for name, value in self._points(z, known).items()}

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def sample(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Data generated from ``num_samples`` draws of the prior, ``{name: [num_samples, *shape]}``.

        Args:
            num_samples: Number of draws.
            covariates: ``{name: value or values [num_samples]}``, for a model that has some.
        """
        known = self.covariates.of_rows(num_samples, {}, covariates)
        return self._points(self.sample_latents(num_samples, known), known)

    def sample_latents(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> Float[Tensor, "N D"]:
        """Draws of the prior, without their data.

        Args:
            num_samples: N.
            covariates: ``{name: value or values [N]}``, for a model that has some.
        """
        context = self._encoded(self.covariates.of_rows(num_samples, {}, covariates))
        prior = self.prior(context)
        return prior.sample(torch.Size((num_samples,)) if context is None or not prior.batch_shape else torch.Size())

    def decode(
        self, z: Float[Tensor, "*P D"], subset: Subset = None, covariates: Mapping[str, Any] | None = None
    ) -> dict[str, Distribution]:
        """The likelihoods p(x_m | z), each of batch shape ``[*P]`` and of the modality's shape as event shape.

        Args:
            z: Latents with any leading dimensions.
            subset: The modalities to decode; by default all.
            covariates: ``{name: value or values}``, one for each entry of the last leading dimension, for a model that
                has some.
        """
        rows = z.shape[-2] if z.ndim > 1 else 1
        known = self.covariates.of_rows(rows, {}, covariates)
        context = self._encoded(known)
        return {name: self._observation(name, z, context, known) for name in canonical(subset, self.names)}

    # What imputation asks.

    def predictive(self, batch: Batch, z: Float[Tensor, "*P N D"]) -> dict[str, Distribution]:
        """p(x_m | z, c) of every modality for the rows of a batch, which must conform, each of batch shape ``[*P, N]``.

        Beside :meth:`decode`: covariates and size factors are those of the rows.

        Args:
            batch: N rows.
            z: Latents.
        """
        made = {}
        for name in self.names:
            sizes = self._size_factors(name, batch, batch.covariates)
            made[name] = self._observation(name, z, batch.context, batch.covariates, sizes=sizes)
        return made

    def agreed(self, name: str, distribution: Distribution) -> Float[Tensor, "N *shape"] | Int64[Tensor, "N *shape"]:
        """The point that stands for a mixture over the first dimension: the mean, or the most probable code.

        Args:
            name: Modality.
            distribution: As of :meth:`predictive`, of batch shape ``[K, N]``.
        """
        base = distribution.base if isinstance(distribution, InDataUnits) else distribution
        return self._likelihood(name).agreed(self._point(name, distribution), base)

    def is_ordered(self, name: str) -> bool | Tensor:
        """Whether the values of a modality have an order, which codes lack; one for all, or by column, bool ``[P]``."""
        return self._likelihood(name).is_ordered

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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one datum of each modality."""
        return {modality.name: tuple(modality.shape) for modality in self.modalities}

    @property
    def forms(self) -> Mapping[str, ModalityForm]:
        """Likelihoods check and cast what they are to score, transforms say what encoders read."""
        return self._forms

    def takes_cells(self, name: str, batch: Batch) -> bool:
        """Whether the modality was made with ``missing="cells"``."""
        return self._forms[name].has_cells

    def encode_covariates(self, batch: Batch) -> Batch:
        """As of every model; size factors among the covariates must be above zero.

        Raises:
            ValueError: For a size factor of zero or less.
        """
        batch = super().encode_covariates(batch)
        for name in {self._likelihood(each).library for each in self.names} & set(batch.covariates):
            values = batch.covariates[cast("str", name)]
            if values.device.type == "cpu" and not bool((values > 0).all()):
                raise ValueError(
                    f"covariates: {name!r} is a size factor (library={name!r}) and must be above 0, got "
                    f"{float(values.min()):g}; leave such rows out."
                )
        return batch

    def fit_transforms(self, batch: Batch) -> None:
        """Fit the transforms of the modalities, and the scales of numeric covariates, that are not fitted yet.

        :func:`mmvae.fit` does so before training. Call it before a training loop of your own.

        Args:
            batch: Training data, or a sample of it.
        """
        super().fit_transforms(batch)
        data = batch.conform(self.shapes, self.forms)
        for name in data.names:
            transform = self._transform(name)
            if transform is not None and not transform.is_fitted:
                present = data.present(name)
                transform.fit(data.data[name].to(self.device), None if present is None else present.to(self.device))

    def _observation(
        self,
        name: str,
        z: Tensor,
        context: Tensor | None,
        covariates: Mapping[str, Tensor],
        batch: Batch | None = None,
        sizes: Float[Tensor, "N"] | None = None,
    ) -> Distribution:
        """p(x_m | z, c), of batch shape ``[*P]`` for latents ``[*P, D]``.

        Args:
            name: Modality m.
            z: Latents.
            context: Encoded covariates.
            covariates: The same as they are.
            batch: Rows that are to be scored, if any.
            sizes: Size factors of the rows, by default those of ``batch`` or of the covariates.
        """
        likelihood, scored = self._likelihood(name), self._scored_units(name)
        sizes = self._size_factors(name, batch, covariates) if sizes is None else sizes
        distribution = likelihood(_in_cache(lambda part: self._parameters_of(name, part, context, sizes), z))
        if batch is not None and name in batch.cells:  # of which the likelihood of a row leaves the others out
            distribution = distribution.mask(spread(batch.cells[name], batch.data[name]))
        distribution = distribution.to_event(len(self.shapes[name]) - len(distribution.event_shape))
        if scored is None:
            return distribution
        return InDataUnits(distribution, scored, None if batch is None else batch.present(name), likelihood.hole)

    def _log_prob(self, name: str, z: Float[Tensor, "*P N D"], batch: Batch) -> Float[Tensor, "*P N"]:
        """log p(x_m | z, c) of the rows of a batch, in nats: the sum over its numbers, or over its cells."""
        likelihood, scored, data = self._likelihood(name), self._scored_units(name), batch.data[name]
        sizes = self._size_factors(name, batch, batch.covariates)
        cells = (spread(batch.cells[name], data),) if name in batch.cells else ()
        jacobian: Tensor | float = 0.0
        if scored is not None:
            data, jacobian = seen_and_slopes(scored, data, batch.present(name), likelihood.hole, data.ndim - 1)
        log_p = _in_cache(
            lambda part: likelihood.log_prob(self._parameters_of(name, part, batch.context, sizes), data, *cells), z
        )
        return log_p + jacobian

    def _parameters_of(
        self, name: str, z: Float[Tensor, "*P D"], context: Tensor | None, sizes: Float[Tensor, "N"] | None
    ) -> Tensor:
        """Parameters of the likelihood, ``[*P, *parameter_shape]``; of counts relative to the usual ones of the row."""
        decoded, likelihood, transform = self._decode(name, z, context), self._likelihood(name), self._transform(name)
        if sizes is None and (transform is None or self._scored_units(name) is transform):
            return decoded
        centre = self._usual(name)
        return likelihood.around(decoded, centre if sizes is None else centre * _per_row(sizes, self.shapes[name]))

    def _usual(self, name: str) -> Tensor:
        """The counts that a decoder's zero stands for, by column."""
        transform = self._transform(name)
        if transform is None:
            return self.epoch.new_ones(self.shapes[name])
        return torch.where(transform.fitted, transform.centre, 1.0)

    def _size_factors(
        self, name: str, batch: Batch | None, covariates: Mapping[str, Tensor]
    ) -> Float[Tensor, "N"] | None:
        """By how much the expected counts of each row exceed the usual ones; ``None`` without size factors.

        Of a row of which only some counts are observed, their total is compared with the usual one of the same counts.
        """
        library = self._likelihood(name).library
        if library is None:
            return None
        if library != OBSERVED:
            return covariates[library] / self.covariates.usual(library)
        if batch is None or name not in batch.data:
            return None
        data = batch.data[name]
        usual = self._usual(name).expand_as(data[0]).expand_as(data)
        present = batch.present(name)
        if present is not None:
            here = spread(present, data)
            data, usual = torch.where(here, data, 0.0), torch.where(here, usual, 0.0)
        total, expected = (each.reshape(len(data), -1).sum(1) for each in (data, usual))
        return torch.where(expected > 0, total.clamp(min=1.0) / expected.clamp(min=_LEAST_TOTAL), 1.0)

    def _decode(self, name: str, z: Float[Tensor, "*P D"], context: Tensor | None) -> Tensor:
        """The decoder's output, ``[*P, *parameter_shape]``; leading dimensions are flattened for it and restored."""
        read = self.layout.read(z, name)
        if context is not None:
            read = torch.cat([read, context.expand(*z.shape[:-1], -1)], -1)
        if read.ndim == 2:
            return self.decoders[name](read)
        decoded = self.decoders[name](read.reshape(-1, read.shape[-1]))
        return decoded.reshape(*z.shape[:-1], *decoded.shape[1:])

    def _points(self, z: Tensor, covariates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._point(name, each) for name, each in self.decode(z, covariates=covariates).items()}

    def _point(self, name: str, distribution: Distribution) -> Tensor:
        """The point that stands for a likelihood; of a transformed one what its point stands for."""
        likelihood = self._likelihood(name)
        if isinstance(distribution, InDataUnits):
            return distribution.transform.inverse(likelihood.point(distribution.base))
        return likelihood.point(distribution)

    def _encoded(self, covariates: Mapping[str, Tensor]) -> Tensor | None:
        """Covariates as networks read them, on the model's device."""
        context = self.covariates.encode(covariates)
        return None if context is None else context.to(self.device)

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

    def _likelihood(self, name: str) -> Likelihood:
        return cast("Likelihood", self.likelihoods[name])

    def _transform(self, name: str) -> Transform | None:
        return cast("Transform", self.transforms[name]) if name in self.transforms else None

    def _scored_units(self, name: str) -> Units | None:
        """What of the transform changes the data that the likelihood scores."""
        transform = self._transform(name)
        return None if transform is None else self._likelihood(name).scored(transform)


def _per_row(factors: Float[Tensor, "N"], shape: tuple[int, ...]) -> Tensor:
    """A factor of each row, such that it broadcasts with data ``[N, *shape]``."""
    return factors.reshape(-1, *(1,) * len(shape))


def _in_cache(compute: Callable[[Tensor], Tensor], z: Float[Tensor, "*P N D"]) -> Tensor:
    """What ``compute`` makes of latents, ``[*P, N, ...]``; on the CPU of a few batches at a time, one after another."""
    if z.device.type != "cpu" or z.ndim < 3 or math.prod(z.shape[:-1]) <= _CACHED_ROWS:
        return compute(z)
    parts = z.flatten(0, -3).split(max(1, _CACHED_ROWS // z.shape[-2]))
    computed = torch.cat([compute(part) for part in parts])
    return computed.reshape(*z.shape[:-2], *computed.shape[1:])


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
