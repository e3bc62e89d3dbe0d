"""MaskedReconstruction: an encoder of tokens learns from data without labels, by what it cannot see of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional

from mmvae.batch import Batch
from mmvae.classifiers.classifier import EncoderInputs
from mmvae.classifiers.tokens.base import joined_mask
from mmvae.classifiers.tokens.blocks import Transformer, attention_mask
from mmvae.classifiers.tokens.own import OwnEncoder, learned_vectors
from mmvae.classifiers.tokens.vit import ViT
from mmvae.collectives import mean_over
from mmvae.distributions import point_mass
from mmvae.latents import Latents
from mmvae.modality import checked_modality_names
from mmvae.multimodal import MultimodalModel
from mmvae.networks.masked import in_random_order
from mmvae.objectives import Loss
from mmvae.words import Words, declare_terms


@dataclass(frozen=True, eq=False)
class Places:
    """Some of the tokens of each datum: k of them, whatever is drawn and whatever is missing.

    Attributes:
        index: where they are.
        valid: which of them count; ``None`` for all.
    """

    index: Int64[Tensor, "N k"]
    valid: Bool[Tensor, "N k"] | None = None

    def of(self, values: Shaped[Tensor, "N n *d"]) -> Shaped[Tensor, "N k *d"]:
        """What stands there."""
        return values.take_along_dim(self.index.reshape(*self.index.shape, *(1,) * (values.ndim - 2)), 1)

    @property
    def behind_class_token(self) -> Bool[Tensor, "N S"] | None:
        """Which tokens count where the class token, which always does, comes first, ``[N, 1 + k]``."""
        return None if self.valid is None else nn.functional.pad(self.valid, (1, 0), value=True)


def hide(tokens: Shaped[Tensor, "N n *d"], valid: Bool[Tensor, "N n"] | None, ratio: float) -> tuple[Places, Places]:
    """A random choice of the valid tokens of each row, this share of them, rounded, but one at least; and the others.

    Args:
        tokens: of which no value is looked at.
        valid: which of them there are; ``None`` for all.
        ratio: the share.

    Returns:
        The places that are hidden, and those that show: as many as in a row of which all tokens are valid, which has
        the most of both.
    """
    length = tokens.shape[1]
    most = max(1, round(ratio * length))
    if valid is None:
        order = in_random_order(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
        return Places(order[:, :most]), Places(order[:, most:])
    order, counts = in_random_order(valid), valid.sum(1, keepdim=True)
    wanted = (ratio * counts.double()).round().long().clamp_min(1).minimum(counts)
    return _between(order, torch.zeros_like(wanted), wanted, most), _between(order, wanted, counts, length - most)


def _between(order: Tensor, start: Tensor, stop: Tensor, most: int) -> Places:
    """Of the order of the tokens of each row those from start to stop, ``[N, 1]`` each."""
    position = start + torch.arange(most, device=order.device)
    return Places(order.gather(1, position.clamp_max(order.shape[1] - 1)), position < stop)


declare_terms(Words("reconstruction", "Reconstruction", "Of what is hidden or decoded.", "mean error", better="lower"))


class MaskedReconstruction(MultimodalModel):
    """Pretrains one of the library's own token encoders: hidden patches or ids are predicted from those that show.

    The encoder runs on the tokens that show and on no other. A small decoder then reads its class token, with a learned
    mask token at each place that is hidden, and predicts the pixels or the id there. Nothing else of the encoder
    reaches it, so that the class token, which classifiers read, learns to sum a datum up.

    Training needs no labels. Afterwards :attr:`encoder` goes, frozen, into a classifier.

    Args:
        encoders: ``{name: encoder}``, of exactly one modality: an ``nn.ViT`` or ``nn.TextTransformer``. Copied.
        ratio: the share of the valid tokens of each datum that is hidden, at least one of them.
        decoder_depth: blocks of the decoder, which is thrown away.

    Attributes:
        latent_dim: D, the width of the class token.

    Raises:
        ValueError: for another number of modalities, or a ratio that hides nothing or everything.
        TypeError: for an encoder that is none of the library's own.

    Source: He et al. 2022, "Masked autoencoders are scalable vision learners", which encodes what shows alone; Devlin
    et al. 2019 for ids. That the decoder reads the class token alone is this library's.
    """

    takes_steps = True

    def __init__(self, encoders: Mapping[str, nn.Module], *, ratio: float = 0.5, decoder_depth: int = 1) -> None:
        super().__init__(checked_modality_names(encoders, "encoders"))
        if len(self.names) != 1:
            raise ValueError(
                f"encoders: one encoder is pretrained at a time, got {', '.join(map(repr, self.names))}; make a model "
                f"for each."
            )
        (given,) = encoders.values()
        if not isinstance(given, OwnEncoder):
            raise TypeError(
                f"{self.names[0]}: expected one of the library's own encoders, nn.ViT or nn.TextTransformer, got "
                f"{type(given).__name__}."
            )
        if not 0 < ratio < 1:
            raise ValueError(f"ratio: expected a share between 0 and 1, got {ratio}.")
        self.ratio = ratio
        encoder = copy.deepcopy(given)
        self.encoders = nn.ModuleDict({self.names[0]: encoder})
        self._forms = {self.names[0]: EncoderInputs(encoder)}
        self.latent_dim = dim = encoder.dim
        length, outputs = _sizes(encoder)
        self.mask_token = learned_vectors(dim)
        self.positions = learned_vectors(1 + length, dim)
        self.decoder = Transformer(dim, decoder_depth, encoder.settings()["heads"], 2.0, 0.0)
        self.head = nn.Linear(dim, outputs)

    @property
    def encoder(self) -> OwnEncoder:
        """What is pretrained."""
        (encoder,) = self.encoders.values()
        assert isinstance(encoder, OwnEncoder)
        return encoder

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Of one row."""
        return {self.names[0]: self.encoder.shape}

    @property
    def forms(self) -> Mapping[str, EncoderInputs]:
        """The encoder's inputs."""
        return self._forms

    def latents(self, batch: Batch) -> Latents:
        """A point mass at the class token of each datum, of which nothing is hidden."""
        (name,) = self.names
        output = self.encoder(batch.data[name], batch.steps.get(name))
        return Latents(point_mass(output.cls), batch.names)

    def loss(self, batch: Batch | Mapping[str, Any], observed: Mapping[str, Any] | None = None) -> Loss:
        """The error of what is predicted of the hidden tokens, which are drawn anew at each call.

        Args:
            batch: N data points.
            observed: ``{name: bool [N, T]}``, which tokens there are, beside the data or in the batch.

        Returns:
            ``.total``, a scalar to call ``backward()`` on; ``.terms``: ``"reconstruction"``, the same: the mean squared
            error of a number of a hidden patch, or the cross-entropy of a hidden id in nats.
        """
        batch = self.prepare(batch, observed)
        (name,) = self.names
        data = batch.data[name]
        tokens = self.encoder.patches(data) if isinstance(self.encoder, ViT) else data
        hidden, showing = hide(tokens, self._valid(data, batch.steps.get(name)), self.ratio)
        predicted = self.head(self._decode(self._encode(data, showing), hidden))
        error = mean_over(_errors(predicted, hidden.of(tokens)), hidden.valid)
        return Loss(error, {"reconstruction": error})

    def _valid(self, data: Tensor, steps: Tensor | None) -> Bool[Tensor, "N n"] | None:
        """Which tokens of each datum there are; ``None`` for all."""
        size = (len(data), len(self.positions) - 1)
        return joined_mask(self.encoder.name, steps, self.encoder.valid(data), size)

    def _encode(self, data: Tensor, showing: Places) -> Float[Tensor, "N d"]:
        """The class token that the encoder makes of the tokens that show."""
        embedded = self.encoder.embedding(data)
        tokens = torch.cat([embedded[:, :1], showing.of(embedded[:, 1:])], 1)
        return self.encoder.run(tokens, showing.behind_class_token)[0][:, 0]

    def _decode(self, class_token: Float[Tensor, "N d"], hidden: Places) -> Float[Tensor, "N k d"]:
        """What the decoder makes of the class token at each place that is hidden."""
        first, others = self.positions[:1], self.positions[1:]
        masks = self.mask_token + hidden.of(others.expand(len(class_token), -1, -1))
        valid = hidden.behind_class_token
        tokens = torch.cat([class_token[:, None] + first, masks], 1)
        return self.decoder(tokens, None if valid is None else attention_mask(valid))[0][:, 1:]


def _errors(predicted: Float[Tensor, "N k P"], hidden: Shaped[Tensor, "N k *d"]) -> Float[Tensor, "N k"]:
    """How far each prediction is from what is hidden, a patch or an id."""
    if hidden.is_floating_point():
        return functional.mse_loss(predicted, hidden, reduction="none").mean(-1)
    return functional.cross_entropy(predicted.flatten(0, 1), hidden.flatten(), reduction="none").view_as(hidden)


def _sizes(encoder: OwnEncoder) -> tuple[int, int]:
    """How many tokens a datum has, and how many numbers are predicted of each."""
    if isinstance(encoder, ViT):
        return encoder.embedding.steps.length, encoder.embedding.steps.width
    assert encoder.shape is not None
    return encoder.shape[0], encoder.settings()["vocabulary"]
