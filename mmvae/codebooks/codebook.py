"""What models with a codebook share: steps and their encoders, inference of codes, generation, the sum of losses."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import numbers_checked
from mmvae.codebooks.club import CLUB
from mmvae.codebooks.code_statistics import code_histogram, perplexity, sharing, usage
from mmvae.codebooks.quantiser import Quantised, Quantiser
from mmvae.codebooks.sequences import EncoderSizes, make_stems, make_step_encoders, width_of
from mmvae.codebooks.vectors import Pair, Valid, averaged, filled, mean_square
from mmvae.collectives import summed
from mmvae.distributions import point_mass
from mmvae.latents import Latents, check_latents
from mmvae.modality import checked_modality_names
from mmvae.modes import in_evaluation_mode
from mmvae.multimodal import MultimodalModel
from mmvae.networks.steps import Steps, as_steps
from mmvae.objectives import Loss
from mmvae.words import Words, declare_terms, modalities

Terms = dict[str, tuple[float, Tensor]]
"""The terms of a loss by name, each a weight and a scalar."""


declare_terms(
    Words("commitment", "Commitment", "Of general vectors to their codes.", "mean squared error", better="lower"),
    Words("reconstruction", "Reconstruction", "Of the steps of the data.", "mean squared error", better="lower"),
    Words("club", "CLUB bound", "On the information that general and specific vectors share.", "nats"),
    Words("cpc", "Cross-CPC", "Contrast of predicted steps, or of their means.", "nats", better="lower"),
    Words("matching", "Code matching", "Of the codes that the modalities of a row are near.", "nats"),
    Words("perplexity", "Perplexity of the codes", "Of a batch.", "codes in equal use"),
    Words("usage", "Codes in use", "In a batch.", "share of the codebook"),
    Words("used_by_*", "Used by {}", "In a batch.", "share of the codes in use", fill=modalities),
)


class CodebookModel(MultimodalModel):
    """Modalities as steps, an encoder for each, and one codebook for all; models are recipes over these.

    A recipe says which vectors are quantised (:meth:`represent`), what training makes small (:meth:`terms`), and how
    data is made of codes (:meth:`decode`).

    Args:
        modalities: ``{name: steps}``; a width stands for feature vectors.
        quantiser: the codebook.
        sizes: of the encoders.
        weights: of the terms of the loss, by the names of the arguments.
        inner_steps: fits of the CLUB networks before each step of training.
        inner_lr: learning rate of these.

    Attributes:
        steps: by modality.
        stems: by modality, from data to what its encoders read.
        encoders: by modality, to the general vector of each step.
        quantiser: as given.
        latent_dim: D, the width of a code.
        weights: as given.
        clubs: networks that estimate mutual information, by name; the inner steps train them, and the loss does not.

    Raises:
        ValueError: for no modality, a name that is reserved, or a number out of its range.
        TypeError: for modalities that are no steps.
    """

    takes_steps = True
    clubs: nn.ModuleDict

    def __init__(
        self,
        modalities: Mapping[str, int | Steps],
        quantiser: Quantiser,
        sizes: EncoderSizes,
        weights: Mapping[str, float],
        inner_steps: int,
        inner_lr: float,
    ) -> None:
        super().__init__(checked_modality_names(modalities, "modalities"))
        check_weights(weights)
        self.quantiser, self.latent_dim = quantiser, quantiser.dim
        self.weights = dict(weights)
        self.inner_steps, self.inner_lr = inner_steps, inner_lr
        self._sizes = sizes
        self.steps = nn.ModuleDict({name: as_steps(name, each) for name, each in modalities.items()})
        steps = {name: self.step(name) for name in self.names}
        stems = make_stems(steps, sizes)
        self.stems = nn.ModuleDict(stems)
        self.encoders = nn.ModuleDict(make_step_encoders(steps, stems, self.latent_dim, sizes))

    # What a recipe may say otherwise.

    def make_quantiser(
        self, num_codes: int, code_dim: int, commitment: float, cross: bool, reset_after: int | None
    ) -> Quantiser:
        """The codebook of the arguments; override it for another update, as :class:`~mmvae.nn.Quantiser` has."""
        return Quantiser(num_codes, code_dim, commitment=commitment, cross=cross, reset_after=reset_after)

    # What a recipe must say.

    @abstractmethod
    def represent(self, name: str, batch: Batch) -> tuple[Float[Tensor, "N *T D"], Valid]:
        """The vectors of a modality that are quantised, and where they are; no other modality is looked at."""

    @abstractmethod
    def terms(self, batch: Batch) -> tuple[Terms, dict[str, Quantised]]:
        """The terms of the loss of a batch that conforms, and what became of its vectors."""

    @abstractmethod
    def inner_inputs(self, batch: Batch | Mapping[str, Any]) -> dict[str, Pair]:
        """What each of the CLUB networks is fitted to on a batch, by its name; run without gradients."""

    @abstractmethod
    def decode(self, vectors: Float[Tensor, "N *T D"], valid: Valid) -> dict[str, Tensor]:
        """Data of every modality made of quantised vectors."""

    @abstractmethod
    def parts(self) -> Iterator[Iterable[nn.Module | None]]:
        """The networks beside :attr:`clubs`, in groups whose gradients are clipped by themselves."""

    # What it then can do.

    def loss(self, batch: Batch | Mapping[str, Any], observed: Mapping[str, Any] | None = None) -> Loss:
        """The training loss of a batch; in training mode the codebook moves as well.

        Rows that lack a modality take part in all terms that do not need it.

        Args:
            batch: N data points.
            observed: ``{name: bool [N]}``, or ``[N, T]`` for the steps of sequences, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on; ``.terms``: those of the model, without their weights, and
            of the codes of the batch their ``"perplexity"``, the ``"usage"`` (share of the codebook) and, as
            ``"used_by_1"``, ``"used_by_2"``, ..., the shares of the codes in use that so many modalities use.

        Raises:
            ValueError: for data that does not fit.
        """
        terms, quantised = self.terms(self.prepare(batch, observed))
        logged = {name: value for name, (_, value) in terms.items()}
        total = self.total(weight * value for weight, value in terms.values())
        return Loss(total, {**logged, **self._statistics(quantised)})

    def latents(self, batch: Batch) -> Latents:
        """A point mass at the codes of each row, given all that a batch holds, which must conform.

        Vectors of several modalities are averaged, over those that are there, and then quantised.
        """
        each = {name: self.represent(name, batch) for name in batch.names}
        features, valid = averaged(
            {name: vectors for name, (vectors, _) in each.items()}, {name: mask for name, (_, mask) in each.items()}
        )
        quantised = self.quantiser.assign(features, valid)
        diagnostics = {"features": features}
        return Latents(point_mass(quantised.vectors), batch.names, diagnostics=diagnostics, codes=quantised.codes)

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
        """Data of every modality, made of the codes alone; without gradients.

        Args:
            latents: of N data points.
            num_samples: how often to repeat the result, since draws from a point mass are alike.

        Returns:
            ``{name: [N, ...]}``, or ``[num_samples, N, ...]``, in the form of the data.

        Raises:
            TypeError: for something that is no latents, such as a tensor.
            ValueError: for latents of another width or of steps that a modality cannot have, or a model without the
                networks for it.
        """
        check_latents(latents)
        if not bool(latents.known.all()):
            data = self.generate(latents.without_gaps(), num_samples)
            return {name: latents.spread(value, 0 if num_samples is None else 1) for name, value in data.items()}
        vectors = latents.mean
        if vectors.shape[-1] != self.latent_dim:
            raise ValueError(f"latents: expected codes of width {self.latent_dim}, got {vectors.shape[-1]}.")
        data = self.decode(vectors, None if latents.codes is None else latents.codes >= 0)
        if num_samples is None:
            return data
        return {name: value.expand(num_samples, *value.shape).clone() for name, value in data.items()}

    @property
    def codebook(self) -> Float[Tensor, "L D"]:
        """The codes."""
        return self.quantiser.codebook

    # What training asks.

    def inner_parameters(self) -> Iterator[nn.Parameter]:
        """The weights of the CLUB networks."""
        return self.clubs.parameters()

    def inner_loss(self, inputs: Mapping[str, Pair]) -> Float[Tensor, ""]:
        """What the inner steps make small: the negative log-likelihoods of the CLUB networks, summed, in nats."""
        return -torch.stack([self.club(name).log_likelihood(*pair) for name, pair in inputs.items()]).sum()

    def gradient_parts(self) -> Iterator[list[nn.Parameter]]:
        """The parameters that the loss reaches, in the groups in which gradients are clipped."""
        for part in self.parts():
            parameters = [each for network in part if network is not None for each in network.parameters()]
            if parameters:
                yield parameters

    # Help for recipes, and for the above.

    def prepare(
        self,
        data: Batch | Mapping[str, Any],
        observed: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Data as a batch in this model's order and types, checked, on the model's device.

        Raises:
            ValueError: for anything that the model cannot compute with; the message names the modality.
            TypeError: for data of the wrong kind.
        """
        batch = super().prepare(data, observed, covariates)
        for name in batch.steps:
            if not self.step(name).is_sequence:
                raise ValueError(
                    f"observed: the mask of {name!r} is one of steps, but an image is there as a whole or not at all; "
                    f"give a mask of rows, bool [N]."
                )
        if self._sizes.positions:
            self.check_positions(batch)
        return batch

    def check_positions(self, batch: Batch) -> None:
        """Raises a ``ValueError`` for sequences with more steps than there are learned positions."""
        for name in batch.names:
            length = batch.data[name].shape[1]
            if self.step(name).is_sequence and length > self.most_steps(name):
                raise ValueError(
                    f"{name}: got {length} steps, but positions are learned for {self.most_steps(name)}; build the "
                    f"model with max_steps={length}."
                )

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Of one datum of each modality; ``None`` for sequences of any length."""
        return {name: self.step(name).shape for name in self.names}

    @property
    def forms(self) -> nn.ModuleDict:
        """The steps check and cast what they are made of."""
        return self.steps

    def step(self, name: str) -> Steps:
        """The steps of a modality."""
        return cast("Steps", self.steps[name])

    def club(self, name: str) -> CLUB:
        """One of the CLUB networks."""
        return cast("CLUB", self.clubs[name])

    def most_steps(self, name: str) -> int:
        """For how many steps of a modality positions are learned, where they are."""
        return self._sizes.positions_of(self.step(name))

    def token_width(self, name: str) -> int:
        """The width of what the encoders of a modality read."""
        return width_of(self.stems[name])

    def tokens(self, name: str, batch: Batch) -> tuple[Float[Tensor, "N T W"], Bool[Tensor, "N T"] | None]:
        """What the encoders of a modality read, and which steps of it are there (``None``: all)."""
        tokens = self.stems[name](batch.data[name])
        rows = batch.observed[name].unsqueeze(-1)
        if name in batch.steps:
            return tokens, batch.steps[name] & rows
        return tokens, None if batch.complete else rows.expand(-1, tokens.shape[1])

    def reconstruction_error(
        self, name: str, batch: Batch, output: Float[Tensor, "N T W"], valid: Valid
    ) -> Float[Tensor, ""]:
        """The mean squared difference between what a decoder gives and the steps of the data."""
        return mean_square(output, self.step(name)(batch.data[name]), valid)

    def total(self, values: Iterable[Tensor]) -> Float[Tensor, ""]:
        """The sum of scalars, 0 for none."""
        return sum(values, start=self.codebook.new_zeros(()))

    def quantise(
        self, features: Mapping[str, Tensor], valid: Mapping[str, Valid]
    ) -> tuple[dict[str, Quantised], Float[Tensor, ""]]:
        """What became of the vectors of each modality, and the commitment loss; in training mode the codebook moves."""
        return self.quantiser(*filled(features, valid, self.names))

    @torch.no_grad()
    def _statistics(self, quantised: Mapping[str, Quantised]) -> dict[str, Tensor]:
        """Of the codes of a batch: how many are in use, and by how many modalities."""
        histograms = {name: code_histogram(each.codes, self.quantiser.num_codes) for name, each in quantised.items()}
        counts = summed(torch.stack(list(histograms.values())))
        histograms = dict(zip(histograms, counts, strict=True))
        pooled = counts.sum(0)
        shares = sharing(histograms)
        values = {"perplexity": perplexity(pooled), "usage": usage(pooled)}
        values |= {f"used_by_{count}": share for count, share in enumerate(shares, start=1)}
        return {name: value.to(self.codebook.dtype) for name, value in values.items()}


def check_weights(weights: Mapping[str, float]) -> None:
    """Raises a ``ValueError`` for a weight below zero, or one that is not finite."""
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name}: a weight must be a finite number of at least 0, got {weight!r}.")
