"""What VAEs and deterministic autoencoders share: modalities, networks, transforms, scores, generation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.autoencoders.forms import ModalityForm, make_forms
from mmvae.autoencoders.parts import (
    check_libraries,
    checked_names,
    make_decoders,
    make_likelihoods,
    make_transforms,
    resolve_weights,
)
from mmvae.autoencoders.prediction import central_intervals, conformal_margins
from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.covariates import Covariates
from mmvae.distributions import InDataUnits, seen_and_slopes
from mmvae.intervals import DRAWS, WithIntervals, check_interval
from mmvae.latents import Latents, check_latents
from mmvae.layout import Layout
from mmvae.likelihoods import Likelihood
from mmvae.likelihoods.count_data import OBSERVED
from mmvae.modality import Modality
from mmvae.modes import in_evaluation_mode
from mmvae.multimodal import MultimodalModel
from mmvae.sources import Data
from mmvae.subsets import Subset, canonical
from mmvae.transforms import Transform, Units, spread

Weights = Literal["balanced", "auto"] | Mapping[str, float] | None
"""Likelihood weights of a model: the modalities' own, balanced by size, chosen by ``fit``, or by name."""

PrivateDim = int | Mapping[str, int] | None
"""Sizes of the private latents: one for all modalities, by name, or none."""

CovariateLevels = Mapping[str, int | None] | None
"""Covariates of a model: levels of a category, or ``None`` for a number, by name."""

_LEAST_TOTAL = 1e-4
"""Smallest usual total that size factors are relative to."""

_CACHED_ROWS = 1024
"""Latents that a CPU decodes at a time, so that the activations of small networks stay in its cache."""


class MultimodalAutoencoder(MultimodalModel):
    """Modalities whose data a latent explains: decoders, likelihoods and transforms, and what they are good for.

    What stands before the latent is the matter of subclasses: they make the networks that infer, and then call
    :meth:`add_decoders`.

    Args:
        modalities: What the model sees, at least one, with distinct names.
        latent_dim: Number of shared latent columns, or a :class:`~mmvae.Layout`.
        private_dim: Number of private columns: one for all modalities, by name, or none.
        covariates: ``{name: levels}`` for categories, ``{name: None}`` for numbers, known for every row.
        weights: Weights of the modalities' log-likelihoods in the loss: ``None`` for those of the modalities,
            ``"balanced"`` (largest size / size), ``"auto"`` (:func:`mmvae.fit` chooses them by short runs, once), or by
            name.

    Attributes:
        modalities: As given.
        names: Names of the modalities, in the model's order.
        latent_dim: D, number of all latent columns.
        layout: Which of them are shared, and which private.
        covariates: The covariates, see :class:`~mmvae.covariates.Covariates`.
        weights: ``{name: weight}``.
        weights_are_open: Whether ``fit`` is to choose the weights.
        likelihoods: ``{name: likelihood}``.
        decoders: ``{name: network}``.
        transforms: ``{name: transform}`` of the modalities that have one (see :mod:`mmvae.transforms`).

    Raises:
        ValueError: For no modality, duplicate names, a latent size below one, or networks that do not fit.
        TypeError: For parts of the wrong kind, or a size that is not a whole number.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        latent_dim: int | Layout,
        *,
        private_dim: PrivateDim = None,
        covariates: CovariateLevels = None,
        weights: Weights = None,
    ) -> None:
        names = checked_names(modalities)
        super().__init__(names, Covariates(covariates))
        self.modalities: Sequence[Modality] = tuple(modalities)
        self.layout = Layout.of(names, latent_dim, private_dim)
        self.latent_dim = self.layout.size
        self.weights = resolve_weights(self.modalities, weights)
        self.weights_are_open = weights == "auto"
        self.likelihoods = nn.ModuleDict(make_likelihoods(self.modalities))

    def add_decoders(self, encoders: Mapping[str, nn.Module]) -> None:
        """Make decoders and transforms, the last that a constructor makes but for what reads them.

        Args:
            encoders: Encoders by modality: which of them read through a transform depends on whose they are.
        """
        context = self.covariates.size
        likelihoods = {name: self._likelihood(name) for name in self.names}
        inputs = {name: self.read_width(name) + context for name in self.names}
        decoders = make_decoders(self.modalities, likelihoods, inputs)
        self.decoders = nn.ModuleDict(decoders)
        transforms, read = make_transforms(self.modalities, likelihoods, encoders, decoders)
        self.transforms = nn.ModuleDict(transforms)
        self._forms = make_forms(self.modalities, likelihoods, transforms, read)
        check_libraries(likelihoods, self.covariates)

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

    # What decoders read.

    def read(self, z: Float[Tensor, "*P D"], name: str) -> Float[Tensor, "*P W"]:
        """The columns of latents that the decoder of a modality reads: the shared ones and its own."""
        return self.layout.read(z, name)

    def read_width(self, name: str) -> int:
        """W, their number."""
        return self.layout.width(name)

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

    def decoded(self, name: str, z: Float[Tensor, "N D"], batch: Batch) -> Tensor | None:
        """The mean of a modality at latents of the rows of a batch, in the data's units, with gradients.

        Returns:
            ``[N, *shape]``; ``None`` for a modality of codes, which have no mean.
        """
        if not self._likelihood(name).data_dtype.is_floating_point:
            return None
        return self._point(name, self._observation(name, z, batch.context, batch.covariates))

    # Generation.

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def generate(
        self,
        latents: Latents,
        num_samples: int | None = None,
        covariates: Mapping[str, Any] | None = None,
        *,
        interval: float | None = None,
        conformal: Data | None = None,
    ) -> WithIntervals:
        """Data of every modality: those that were missing, and those that were given; without gradients.

        Args:
            latents: Latents of N rows.
            num_samples: Number of latents to draw from each posterior; by default its mean is taken, without chance.
            covariates: ``{name: value or values [N]}`` in the place of those that the latents were inferred with: "as
                if from batch 0". By default theirs.
            interval: Share of the predictive distribution that intervals around each number hold, between 0 and 1;
                noise of the data included, from ``num_samples`` or 200 draws. By default there are no intervals.
            conformal: Held-out data of every modality, like that which is generated for but not trained on. Intervals
                are then moved by what they miss there, given the same subset without refinement, so that each number
                of a new row lies inside with a probability of at least ``interval``, however good the model is
                (split conformal prediction).

        Returns:
            ``{name: [N, *shape]}``, or ``[num_samples, N, *shape]``: the mean of each likelihood, or its most
            probable code. Rows that are NaN in the latents are NaN here, and -1 where they are codes. With intervals,
            ``.lower`` and ``.upper`` are such dicts too, of ``[N, *shape]``.

        Raises:
            TypeError: For something that is not latents, such as a tensor.
            ValueError: For covariates that the model does not have, or that are missing; an interval outside of (0, 1);
                calibration data without an interval, or with too few rows or modalities.

        Source: Romano, Patterson and Candès 2019, "Conformalized quantile regression".
        """
        check_latents(latents, "decode(z) takes a tensor")
        check_interval(interval)
        if conformal is not None and interval is None:
            raise ValueError("conformal: it calibrates intervals; pass interval= too, such as 0.9.")
        known = self.covariates.of_rows(len(latents), latents.covariates, covariates)
        of = latents.without_gaps()
        z = of.mean if num_samples is None else of.sample(num_samples)
        if of is not latents:
            known = {name: value[latents.known.to(value.device)] for name, value in known.items()}
        axis = 0 if num_samples is None else 1
        values = {name: latents.spread(value, axis) for name, value in self._points(z, known).items()}
        if interval is None:
            return WithIntervals(values)
        draws = num_samples or DRAWS
        ends = central_intervals(self, of, known, draws, interval)
        if conformal is not None:
            margins = conformal_margins(self, conformal, latents.subset, draws, interval)
            ends |= {name: (ends[name][0] - margin, ends[name][1] + margin) for name, margin in margins.items()}
        lower, upper = ({name: latents.spread(pair[end]) for name, pair in ends.items()} for end in (0, 1))
        return WithIntervals(values, lower, upper)

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

    # Help for the above.

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of each modality."""
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
        read = self.read(z, name)
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

    def _likelihood(self, name: str) -> Likelihood:
        return cast("Likelihood", self.likelihoods[name])

    def _transform(self, name: str) -> Transform | None:
        return cast("Transform", self.transforms[name]) if name in self.transforms else None

    def _scored_units(self, name: str) -> Units | None:
        """What of the transform changes the data that the likelihood scores."""
        transform = self._transform(name)
        return None if transform is None else self._likelihood(name).scored(transform)


def lay_out_images(model: nn.Module) -> None:
    """Put the weights of convolutions channels last, where those of images are faster, on the CPU as on the GPU."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


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
