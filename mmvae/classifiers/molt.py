"""MoLT: the layers of two frozen encoders read by each other, and a latent that either modality can stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.classifiers.classifier import Shown
from mmvae.classifiers.frozen_classifier import FrozenEncoderClassifier
from mmvae.classifiers.fusion.bilinear import BilinearPooling
from mmvae.classifiers.fusion.latent_fusion import Fusion, TransformerFusion, make_latent_fusion
from mmvae.classifiers.fusion.latent_tuning import LatentTuning, LayerTokens, Pool, TunedLatents, paired_layers
from mmvae.classifiers.fusion.layer_mean import LayerMean, Mix
from mmvae.classifiers.fusion.stand_in import StandIn, dummy_datum
from mmvae.classifiers.task import Task
from mmvae.classifiers.tokens import EncoderOutput, Precomputed
from mmvae.networks.cca import CCALoss, CCANorm, cca_loss

Missing = Literal["null_token", "dummy", "zeros"]
"""What the blocks see of a modality that is missing."""

CCAOn = Literal["post", "pre", "both"]
"""Which latents are correlated: those after the attention, the projections before it, or both."""

_CORRELATED: dict[CCAOn, tuple[str, ...]] = {"post": ("after",), "pre": ("before",), "both": ("after", "before")}
"""By which latents the loss is on, before or after the attention."""

Join = Literal["fbp", "concat"]
"""How the latents of the two modalities come together at each layer."""


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
    tokens, modality dropout, the fusion and every number. Every choice is an argument.

    Args:
        encoders: ``{name: module}``, two of them; copied and frozen. One that gives its final tokens alone is paired at
            the last layer only.
        num_classes: C.
        task: ``"single-label"`` (one class each) or ``"multi-label"`` (any number of labels each).
        modality_dropout: in training, show of each row a random non-empty subset of the modalities that it has.
        common_dim: d, the common width.
        max_layers: L is no more than this; by default as many as the shallower encoder has.
        share_projections: one projection of each modality for all layers.
        share_blocks: one attention block for all layers.
        heads: of the cross-attention.
        cross_attention: let the modalities read each other.
        pool: of the tokens of a layer, their ``"mean"`` or the class token (``"cls"``).
        join: of the two latents at a layer, ``"fbp"`` (factorised bilinear pooling) or ``"concat"``.
        fbp_window: s, features of a group.
        fbp_expand: outputs of the expanded form of the pooling; ``None`` for the plain one, which has d / s.
        fbp_power_norm: signed root and length one for the pooled products.
        mix: of the layers before their mean: ``"matrix"``, ``"vector"``, ``"mean"`` (none) or ``"feature"``, see
            :class:`~mmvae.nn.LayerMean`.
        mix_dim: features of the robust representation with ``mix="feature"``; by default as many as there were.
        fusion: ``"transformer"`` (a layer over three tokens), ``"concat"`` (an MLP) or ``"none"``.
        fusion_dim: width of its tokens.
        fusion_heads: of its attention.
        dropout: in the fusion, and of the products of the expanded pooling.
        missing: what the blocks see of a missing modality: a learned ``"null_token"``, the hidden states of a
            ``"dummy"`` datum, or ``"zeros"`` in their place. The fusion never looks at its class token.
        dummy: by modality, the number that fills the dummy datum, or the datum itself as nested lists; by default 1.0
            for numbers (a white image) and 0 for ids, which is an empty text if 0 is the id of padding.
        cca: weight of the correlation loss, which is normalised to [-1, 0].
        cca_on: latents ``"post"`` (after the attention), ``"pre"`` (the projections), or ``"both"`` (their mean).
        cca_norm: ``"nuclear"``, ``"frobenius"`` or ``"squared"``, see :func:`~mmvae.nn.cca_loss`.
        cca_top_k: count the largest so many correlations alone, by default all d.
        cca_ridge: r, added to the diagonals of the covariances.

    Raises:
        ValueError: for another number of modalities than two, or settings out of their range.

    Source: Sun and Song 2024, "Robust latent representation tuning for image-text classification", arXiv 2406.06048
    (reconstruction). Bilinear pooling of Yu et al. 2017; correlation loss of Andrew et al. 2013.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        *,
        task: Task = "single-label",
        modality_dropout: bool = True,
        common_dim: int = 64,
        max_layers: int | None = None,
        share_projections: bool = False,
        share_blocks: bool = False,
        heads: int = 1,
        cross_attention: bool = True,
        pool: Pool = "mean",
        join: Join = "fbp",
        fbp_window: int = 2,
        fbp_expand: int | None = None,
        fbp_power_norm: bool = False,
        mix: Mix = "matrix",
        mix_dim: int | None = None,
        fusion: Fusion = "transformer",
        fusion_dim: int = 128,
        fusion_heads: int = 4,
        dropout: float = 0.1,
        missing: Missing = "null_token",
        dummy: Mapping[str, Any] | None = None,
        cca: float = 0.1,
        cca_on: CCAOn = "post",
        cca_norm: CCANorm = "nuclear",
        cca_top_k: int | None = None,
        cca_ridge: float = 1e-3,
    ) -> None:
        super().__init__(encoders, num_classes, task=task, modality_dropout=modality_dropout)
        if len(self.names) != 2:
            raise ValueError(
                f"MoLT pairs the layers of exactly two encoders, got {len(self.names)}: "
                f"{', '.join(map(repr, self.names))}; for another number take CMPT or LateFusion."
            )
        check_choice("missing", missing, get_args(Missing))
        check_choice("cca_on", cca_on, get_args(CCAOn))
        check_choice("join", join, get_args(Join))
        if cca < 0:
            raise ValueError(f"cca: expected a weight of at least 0, got {cca}.")
        if common_dim < 1:
            raise ValueError(f"common_dim: expected at least 1, got {common_dim}.")
        if cca_top_k is not None and cca_top_k > common_dim:
            raise ValueError(f"cca_top_k: expected at most common_dim, {common_dim}, or None for all; got {cca_top_k}.")
        self.max_layers, self.missing = max_layers, missing
        self.cca, self.cca_on = cca, cca_on
        first, second = (self.encoder(name).dim for name in self.names)
        layers = len(self.read_layers[self.names[0]])
        self.tuning = LatentTuning(
            (first, second),
            layers,
            common_dim,
            share_projections=share_projections,
            share_blocks=share_blocks,
            heads=heads,
            cross_attention=cross_attention,
            pool=pool,
            null_tokens=missing == "null_token",
        )
        self.stand_ins = nn.ModuleDict(self._make_stand_ins(dummy or {}))
        self.cca_loss = CCALoss(cca_ridge, cca_norm, cca_top_k)
        pooled = (
            None if join == "concat" else BilinearPooling(common_dim, fbp_window, fbp_expand, fbp_power_norm, dropout)
        )
        self.pooling = pooled
        self.mean = LayerMean(layers, 2 * common_dim if pooled is None else pooled.dim, mix, mix_dim)
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

    def feature_arguments(self) -> dict[str, Any]:
        """Encoders whose data are features, of as many tokens as the dummies have where these stand in."""
        if self.missing != "dummy":
            return super().feature_arguments()
        encoders = {}
        for name in self.names:
            layers, tokens, dim = self._stand_in(name).states.shape
            encoders[name] = Precomputed(dim, layers, tokens - 1)
        return {"encoders": encoders, "dummy": None}  # what stands in is shared, and saved with the weights

    # From a batch to a latent.

    def encode(self, batch: Batch) -> dict[str, EncoderOutput]:
        """What each encoder says of the rows that have its modality; zeros for the others."""
        return _Encodings(super().encode(batch))

    def represent(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Float[Tensor, "N D"]:
        """The robust representation, fused with the class tokens that are shown."""
        inputs, tuned = self._first_pass(encodings, shown)
        if isinstance(encodings, _Encodings):
            encodings.first = inputs, tuned
        pooled = torch.cat(tuned.after, -1) if self.pooling is None else self.pooling(*tuned.after)  # [L, N, *]
        robust = self.mean(pooled)
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
        losses = {stage: self.cca_loss(*stages[stage]) for stage in _CORRELATED[self.cca_on]} if self.cca else {}
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

    def capture_obstacle(self, batch: Batch) -> str | None:
        """As of all classifiers; and single correlations are waited for."""
        if self.cca and self.cca_loss.top_k is not None:
            return "the largest canonical correlations are waited for (cca_top_k)"
        return super().capture_obstacle(batch)

    def _inputs(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> _Inputs:
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
        return _Inputs(self.tuning.project((states[0], states[1])), (valid[0], valid[1]))

    def _tune(self, inputs: _Inputs, shown: Shown) -> TunedLatents:
        """The latents of both modalities, with what stands in for them in the rows that are not shown one."""
        first, second = self.names
        if self.stand_ins:
            one, other = self._stand_in(first), self._stand_in(second)
            own = self.tuning.project((one.states.unbind(), other.states.unbind()))
            a, valid_a = one.fill(inputs.tokens[0], own[0], inputs.valid[0], shown[first])
            b, valid_b = other.fill(inputs.tokens[1], own[1], inputs.valid[1], shown[second])
            inputs = _Inputs((a, b), (valid_a, valid_b))
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

    def _first_pass(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> tuple[_Inputs, TunedLatents]:
        inputs = self._inputs(encodings, shown)
        return inputs, self._tune(inputs, shown)

    def _complete_rows(self, batch: Batch) -> slice | Int[Tensor, "P"]:
        """The rows that have both modalities; a slice where that is known without looking at masks."""
        if set(batch.names) != set(self.names):
            return slice(0)
        if batch.complete:
            return slice(None)
        return torch.stack([batch.observed[name] for name in self.names]).all(0).nonzero().flatten()

    # What it is made of.

    def _stand_in(self, name: str) -> StandIn:
        stand_in = self.stand_ins[name]
        assert isinstance(stand_in, StandIn)
        return stand_in

    def _make_stand_ins(self, dummy: Mapping[str, Any]) -> dict[str, StandIn]:
        """By modality, the states that stand in for a missing one; none where null tokens do."""
        if dummy and self.missing != "dummy":
            raise ValueError(f'dummy: given, but missing is {self.missing!r}; set missing="dummy", or leave it out.')
        for name in dummy:
            if name not in self.names:
                known = ", ".join(map(repr, self.names))
                raise ValueError(f"dummy: {name!r} is no modality of this model, which has {known}.")
        if self.missing == "null_token":
            return {}
        if self.missing == "zeros":
            return {name: StandIn.of_zeros(len(ls), self.encoder(name).dim) for name, ls in self.read_layers.items()}
        return {
            name: StandIn.of_datum(self.encoder(name), dummy_datum(name, self.encoder(name), dummy.get(name)), layers)
            for name, layers in self.read_layers.items()
        }


class _Encodings(dict[str, EncoderOutput]):
    """What the encoders say of a batch, and the first pass over it, so that a second one need not start anew."""

    first: tuple[_Inputs, TunedLatents] | None = None


@dataclass(frozen=True, eq=False)
class _Inputs:
    """The projected hidden states of both modalities at the paired layers, and which of their tokens are valid."""

    tokens: LayerTokens
    valid: tuple[Tensor, Tensor]

    def rows(self, chosen: slice | Tensor) -> _Inputs:
        """Those of the chosen rows."""
        first, second = (tuple(layer[chosen] for layer in layers) for layers in self.tokens)
        return _Inputs((first, second), (self.valid[0][chosen], self.valid[1][chosen]))
