"""MoLT: the layers of two frozen encoders read by each other, and a latent that either modality can stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.classifiers.classifier import Shown
from mmvae.classifiers.frozen_classifier import FrozenEncoderClassifier
from mmvae.classifiers.fusion.bilinear import BilinearPooling
from mmvae.classifiers.fusion.latent_fusion import Fusion, TransformerFusion, make_latent_fusion
from mmvae.classifiers.fusion.latent_tuning import LatentTuning, LayerTokens, TunedLatents, paired_layers
from mmvae.classifiers.fusion.layer_mean import LayerMean
from mmvae.classifiers.task import Task
from mmvae.classifiers.tokens import EncoderOutput
from mmvae.networks.cca import CCALoss, cca_loss
from mmvae.words import Words, declare_terms

declare_terms(
    Words("cca", "CCA loss", "Of the rows that have both modalities.", "minus the mean correlation", better="lower"),
    Words(
        "correlation_before", "Before the attention", "Of the projections of both modalities.", "canonical correlation"
    ),
    Words("correlation_after", "After the attention", "Of the latents of both modalities.", "canonical correlation"),
)


Stage = Literal["before", "after"]
"""Latents before the attention (the projections), or after it."""


class MoLT(FrozenEncoderClassifier):
    """Two frozen encoders, and beside them a small path that keeps what the two modalities share.

    Trains on incomplete data: a row that lacks a modality trains the task, complete pairs train the correlation too.

    At each of L pairs of layers, tokens of both encoders are projected to a common width, read each other by
    cross-attention, and are pooled to one latent for each modality. A loss makes the two latents correlate, so that
    either can stand for the pair. Their products, summed over groups of features (factorised bilinear pooling) and
    averaged over the layers, are the robust representation; it is fused with the class tokens of both encoders, and
    a head reads the result. For exactly two modalities.

    A reconstruction: of the paper, title, abstract and first paragraph could be read, and its equations at second hand;
    there is no public code, and no number of it is reproduced. Known from the authors themselves: frozen foundation
    models, and a latent path between them that maximises correlation. Known at second hand: a block for each pair of
    layers, linear projections, cross-attention with a residual and a norm, the loss -trace(F'F)^{1/2}, factorised
    bilinear pooling, mixed and averaged layers, some fusion. Choices of this library: the rest, above all pooling, null
    tokens, modality dropout, the fusion and every number. What made no difference where it was measured is no argument;
    a subclass makes other parts (:meth:`make_tuning`, :meth:`make_join`, :meth:`make_mean`, :meth:`make_correlation`).

    Args:
        encoders: ``{name: module}``, two of them; copied and frozen. One that gives its final tokens alone is paired at
            the last layer only.
        num_classes: C.
        task: ``"single-label"`` (one class each) or ``"multi-label"`` (any number of labels each).
        modality_dropout: in training, show of each row a random non-empty subset of the modalities that it has.
        common_dim: d, the common width.
        max_layers: L is no more than this; by default as many as the shallower encoder has.
        fbp_window: s, features of a group.
        fusion: ``"transformer"`` (a layer over three tokens), ``"concat"`` (an MLP) or ``"none"``.
        fusion_dim: width of its tokens.
        fusion_heads: of its attention.
        dropout: in the fusion.
        cca: weight of the correlation loss, which is normalised to [-1, 0].

    Attributes:
        correlated: the latents that the loss correlates.

    Raises:
        ValueError: for another number of modalities than two, or settings out of their range.

    Source: Sun and Song 2024, "Robust latent representation tuning for image-text classification", arXiv 2406.06048
    (reconstruction). Bilinear pooling of Yu et al. 2017; correlation loss of Andrew et al. 2013.
    """

    correlated: tuple[Stage, ...] = ("after",)

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        *,
        task: Task = "single-label",
        modality_dropout: bool = True,
        common_dim: int = 64,
        max_layers: int | None = None,
        fbp_window: int = 2,
        fusion: Fusion = "transformer",
        fusion_dim: int = 128,
        fusion_heads: int = 4,
        dropout: float = 0.1,
        cca: float = 0.1,
    ) -> None:
        super().__init__(encoders, num_classes, task=task, modality_dropout=modality_dropout)
        if len(self.names) != 2:
            raise ValueError(
                f"MoLT pairs the layers of exactly two encoders, got {len(self.names)}: "
                f"{', '.join(map(repr, self.names))}; for another number take CMPT or LateFusion."
            )
        self.max_layers, self.cca = max_layers, cca
        first, second = (self.encoder(name).dim for name in self.names)
        layers = len(self.read_layers[self.names[0]])
        self.tuning = self.make_tuning((first, second), layers, common_dim)
        self.cca_loss = self.make_correlation()
        self.pooling = self.make_join(common_dim, fbp_window)
        self.mean = self.make_mean(layers, cast("int", self.pooling.dim))
        self.fusion = make_latent_fusion(fusion, self.mean.dim, (first, second), fusion_dim, fusion_heads, dropout)
        self.latent_dim = self.fusion.dim
        norm = [] if fusion == "concat" else [nn.LayerNorm(self.latent_dim)]
        self.head = nn.Sequential(*norm, nn.Linear(self.latent_dim, num_classes))

    @property
    def read_layers(self) -> dict[str, tuple[int, ...]]:
        """By modality, the layers of its encoder that are paired, see :func:`~mmvae.nn.paired_layers`."""
        depths = [self.encoder(name).depth for name in self.names]
        return dict(zip(self.names, paired_layers(depths, self.max_layers), strict=True))

    @property
    def note(self) -> str:
        """Which layers are paired, in words for a report."""
        return "; ".join(
            f"{name}: layers {', '.join(str(index + 1) for index in layers)} of {self.encoder(name).depth}"
            for name, layers in self.read_layers.items()
        )

    def token_parameters(self) -> Iterator[nn.Parameter]:
        """What tells the inputs of the fusion apart, which weight decay leaves alone, as it does null tokens."""
        if isinstance(self.fusion, TransformerFusion):
            yield self.fusion.types

    # Its parts.

    def make_tuning(self, dims: tuple[int, int], layers: int, common_dim: int) -> LatentTuning:
        """What reads the hidden states of both encoders.

        Args:
            dims: widths of the encoders' tokens.
            layers: L, pairs of layers.
            common_dim: d, the common width.
        """
        return LatentTuning(dims, layers, common_dim)

    def make_join(self, common_dim: int, window: int) -> nn.Module:
        """What makes one vector, of width ``dim``, of the latents of both modalities at a layer."""
        return BilinearPooling(common_dim, window)

    def make_mean(self, layers: int, dim: int) -> LayerMean:
        """What makes one vector of those of all layers."""
        return LayerMean(layers, dim)

    def make_correlation(self) -> CCALoss:
        """The correlation loss."""
        return CCALoss()

    # From a batch to a latent.

    def encode(self, batch: Batch) -> dict[str, EncoderOutput]:
        """What each encoder says of the rows that have its modality; zeros for the others."""
        return _Encodings(super().encode(batch))

    def represent(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Float[Tensor, "N D"]:
        """The robust representation, fused with the class tokens that are shown."""
        inputs, tuned = self._first_pass(encodings, shown)
        if isinstance(encodings, _Encodings):
            encodings.first = inputs, tuned
        robust = self.mean(self.pooling(*tuned.after))
        empty = [robust.new_zeros(robust.shape[0], self.encoder(name).dim) for name in self.names]
        tokens = [
            encodings[name].cls if name in encodings else zeros for name, zeros in zip(self.names, empty, strict=True)
        ]
        return self.fusion(robust, tokens, [shown[name] for name in self.names])

    def regularisers(
        self, encodings: Mapping[str, EncoderOutput], batch: Batch, shown: Shown
    ) -> dict[str, tuple[float, Tensor]]:
        """``"cca"`` of the rows that have both modalities, whatever is shown; and the mean canonical correlations.

        ``"correlation_before"`` and ``"correlation_after"`` the attention are no part of the loss. Before it, the
        modalities have not met; after it, a high one may be had by copying.
        """
        pairs = self._pairs(encodings, batch, shown).gathered()
        rows, width = pairs.after[0].shape[1:]
        stages = {"before": pairs.before, "after": pairs.after}
        losses = {stage: self.cca_loss(*stages[stage]) for stage in self.correlated} if self.cca else {}
        terms: dict[str, tuple[float, Tensor]] = {}
        if losses:
            terms["cca"] = (self.cca, torch.stack(list(losses.values())).mean())
        if CCALoss.is_defined(rows, width):
            for stage, views in stages.items():
                if stage in losses and self.cca_loss.is_mean_correlation:
                    correlation = -losses[stage].detach()
                else:
                    with torch.no_grad():
                        correlation = -cca_loss(*views, self.cca_loss.ridge)
                terms[f"correlation_{stage}"] = (0.0, correlation)
        return terms

    def _inputs(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Inputs:
        """The projected hidden states of the paired layers; of a modality that no row has, a token of zeros."""
        states, valid = [], []
        for name, layers in self.read_layers.items():
            if name in encodings:
                every = encodings[name].layers
                states.append([every[index] for index in layers])
                valid.append(encodings[name].valid)
            else:
                one = shown[name][:, None]
                states.append([torch.zeros(*one.shape, self.encoder(name).dim, device=one.device)] * len(layers))
                valid.append(torch.ones_like(one))
        return Inputs(self.tuning.project((states[0], states[1])), (valid[0], valid[1]))

    def _tune(self, inputs: Inputs, shown: Shown) -> TunedLatents:
        """The latents of both modalities, null tokens standing in for a modality in the rows that are not shown it."""
        first, second = self.names
        return self.tuning.read(inputs.tokens, inputs.valid, (shown[first], shown[second]))

    def _pairs(self, encodings: Mapping[str, EncoderOutput], batch: Batch, shown: Shown) -> TunedLatents:
        """The latents, given both modalities, of the rows that have both.

        They are there already if all that is observed was shown; otherwise the blocks run again, on the same tokens.
        """
        first = encodings.first if isinstance(encodings, _Encodings) else None
        inputs, tuned = first or self._first_pass(encodings, shown)
        rows = self._complete_rows(batch)
        everyone = torch.ones(batch.size, dtype=torch.bool, device=batch.device)[rows]
        is_all_shown = all(shown[name] is batch.observed.get(name) for name in self.names)  # no mask is looked at
        if is_all_shown or not len(everyone):
            return tuned.rows(rows)
        return self._tune(inputs.rows(rows), dict.fromkeys(self.names, everyone))

    def _first_pass(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> tuple[Inputs, TunedLatents]:
        inputs = self._inputs(encodings, shown)
        return inputs, self._tune(inputs, shown)

    def _complete_rows(self, batch: Batch) -> slice | Int[Tensor, "P"]:
        """The rows that have both modalities; a slice where that is known without looking at masks."""
        if set(batch.names) != set(self.names):
            return slice(0)
        if batch.complete:
            return slice(None)
        return torch.stack([batch.observed[name] for name in self.names]).all(0).nonzero().flatten()


class _Encodings(dict[str, EncoderOutput]):
    """What the encoders say of a batch, and the first pass over it, so that a second one need not start anew."""

    first: tuple[Inputs, TunedLatents] | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """The projected hidden states of both modalities at the paired layers, and which of their tokens are valid."""

    tokens: LayerTokens
    valid: tuple[Tensor, Tensor]

    def rows(self, chosen: slice | Tensor) -> Inputs:
        """Those of the chosen rows."""
        first, second = (tuple(layer[chosen] for layer in layers) for layers in self.tokens)
        return Inputs((first, second), (self.valid[0][chosen], self.valid[1][chosen]))
