"""FCID: modalities that run side by side are aligned step by step, and with the others as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.codebooks.club import CLUB
from mmvae.codebooks.codebook import CodebookModel, Terms
from mmvae.codebooks.contrast import code_matching, info_nce
from mmvae.codebooks.cross_cpc import CrossCPC
from mmvae.codebooks.quantiser import Quantised
from mmvae.codebooks.sequences import CoarseEncoder, EncoderSizes, StepDecoder, StepEncoder, StepReadout
from mmvae.codebooks.vectors import Pair, Valid, both_valid, filled, mean_square
from mmvae.modality import checked_modality_names
from mmvae.networks.masked import masked_mean
from mmvae.networks.steps import Steps
from mmvae.words import Words, declare_terms

declare_terms(
    Words("reconstruction_fine", "Reconstruction, fine", "Of the steps of the data.", "mean squared error", "lower"),
    Words("reconstruction_coarse", "Reconstruction, coarse", "Of pooled vectors.", "mean squared error", "lower"),
    Words("coarse_alignment", "Coarse alignment", "Contrast of pooled vectors of two modalities.", "nats", "lower"),
    Words("readout", "Readout", "Of data made of codes alone.", "mean squared error", "lower"),
)


@dataclass(frozen=True, eq=False)
class CoarseView:
    """The vectors of a modality: of each step, and of all of them pooled.

    Attributes:
        steps: general vectors of the steps.
        own: specific vectors of the steps of a fine modality, where the model has them.
        valid: which steps are there; ``None`` for all of them.
        pooled: what the coarse encoders read.
        general: of each row.
        specific: of each row, where the model has them.
        rows: which rows are there; ``None`` for all of them.
    """

    steps: Float[Tensor, "N T D"]
    own: Float[Tensor, "N T D"] | None
    valid: Bool[Tensor, "N T"] | None
    pooled: Float[Tensor, "N D"]
    general: Float[Tensor, "N D"]
    specific: Float[Tensor, "N D"] | None
    rows: Bool[Tensor, "N"] | None


def club_pairs(views: Mapping[str, CoarseView], fine: Collection[str]) -> dict[str, Pair]:
    """What is to be kept apart, by CLUB network: in each fine modality, in each coarse one, in all fine ones pooled.

    Args:
        views: of the modalities in a batch, all with specific vectors.
        fine: the fine ones of the model.
    """
    pairs: dict[str, Pair] = {}
    for name, view in views.items():
        if name in fine:
            pairs[f"fine_{name}"] = view.steps, cast("Tensor", view.own), view.valid
        else:
            pairs[f"coarse_{name}"] = view.general, cast("Tensor", view.specific), view.rows
    pooled = [view for name, view in views.items() if name in fine]
    if pooled:
        rows = [view.rows for view in pooled if view.rows is not None]
        general = torch.cat([view.general for view in pooled])
        specific = torch.cat([cast("Tensor", view.specific) for view in pooled])
        pairs["coarse"] = general, specific, torch.cat(rows) if rows else None
    return pairs


class FCID(CodebookModel):
    """Fine modalities, aligned with each other step by step, and coarse ones, aligned with them as a whole.

    Fine modalities (audio and video, say) run side by side. Their general vectors are pooled over the steps, by one
    network for all of them, and so are those of each coarse modality (text); what is pooled is split into a general
    and a specific vector once more, and the general one is quantised: one code a row, of a codebook that all modalities
    share. A term is built and computed only if its weight is above zero; with ``club=0`` this is FAC.

    Latents are ``mean`` ``[N, D]`` and ``codes`` ``[N]``. With ``code_mode="split"`` each step is pooled alone and has
    a code of its own, ``[N, T, D]`` and ``[N, T]``; training pools in either case. ``model.code_mode`` may be changed
    after training; a saved model has that of the constructor.

    Trains on incomplete data and on sequences of different lengths.

    Args:
        fine: ``{name: steps}``: the width of feature vectors ``[N, T, width]``, or the steps of other data.
        coarse: ``{name: steps}``, whose number of steps is their own matter.
        num_codes: L.
        code_dim: D, of codes, features, and all networks.
        reconstruction: weight of the squared errors of the fine and the coarse decoders.
        commitment: β, of the distance of general vectors to their codes.
        club: weight of the mutual information between general and specific vectors.
        cpc: weight of the alignment of the fine modalities.
        matching: weight of cross-modal code matching.
        coarse_alignment: weight of InfoNCE between each fine and each coarse modality.
        readout: weight of the networks that generate, which reach no other part of the model.
        fine_alignment: ``"cpc"`` (Cross-CPC), or ``"info_nce"`` between the means over the steps, for fine modalities
            whose steps do not go together.
        temperature: τ of InfoNCE.
        code_mode: one code a row (``"pooled"``) or a step (``"split"``).
        cross: mix modalities in the update of the codebook and in the commitment.
        reset_after: batches without use after which a code starts again; ``None`` for never.
        club_hidden: width of the networks that estimate mutual information.
        inner_steps: how often these are fitted before each step of training.
        inner_lr: their learning rate.
        cpc_horizon: K, how many steps ahead are predicted.
        stem: what reads images: ``"linear"``, their raw patches, or ``"conv"``, three convolutions.
        positions: learn a vector for each step; without it, encoders see steps as a set.
        layers: of the transformers.
        heads: of their attention.
        feedforward: their hidden width, and that of the readouts; by default 4 D.
        dropout: of the transformers.
        max_steps: how many positions are learned for sequences whose length is not known.

    Raises:
        ValueError: for a group without a modality, a name in both, or a number or name out of its range.
        TypeError: for modalities that are no steps.

    Source: Huang et al. 2025, "Enhancing multimodal unified representations for cross modal generalization", as in the
    authors' code; several modalities in each group, missing data, ``info_nce`` and readouts are this library's.

    Example:
        >>> import torch
        >>> from mmvae import models
        >>> model = models.FCID({"audio": 5, "video": 7}, {"text": 3}, num_codes=8, code_dim=4, heads=2)
        >>> model.infer({"text": torch.randn(3, 6, 3)}).codes.shape
        torch.Size([3])
    """

    def __init__(
        self,
        fine: Mapping[str, int | Steps],
        coarse: Mapping[str, int | Steps],
        *,
        num_codes: int = 400,
        code_dim: int = 256,
        reconstruction: float = 1.0,
        commitment: float = 0.25,
        club: float = 1.0,
        cpc: float = 1.0,
        matching: float = 1.0,
        coarse_alignment: float = 1.0,
        readout: float = 1.0,
        fine_alignment: Literal["cpc", "info_nce"] = "cpc",
        temperature: float = 0.1,
        code_mode: Literal["pooled", "split"] = "pooled",
        cross: bool = True,
        reset_after: int | None = 100,
        club_hidden: int = 128,
        inner_steps: int = 5,
        inner_lr: float = 1e-3,
        cpc_horizon: int = 1,
        stem: Literal["linear", "conv"] = "linear",
        positions: bool = False,
        layers: int = 1,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.1,
        max_steps: int = 64,
    ) -> None:
        _check_groups(fine, coarse)
        _check_options(fine_alignment, temperature)
        quantiser = self.make_quantiser(num_codes, code_dim, commitment, cross, reset_after)
        weights = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "club": club,
            "cpc": cpc,
            "matching": matching,
            "coarse_alignment": coarse_alignment,
            "readout": readout,
        }
        sizes = EncoderSizes(stem, layers, heads, feedforward, dropout, positions, max_steps)
        super().__init__({**fine, **coarse}, quantiser, sizes, weights, inner_steps, inner_lr)
        self.fine, self.coarse, self.code_mode = tuple(fine), tuple(coarse), code_mode
        self.temperature = temperature
        has_own = bool(reconstruction or club)
        own = self.fine if has_own else ()
        self.specific = nn.ModuleDict({name: StepEncoder(self.token_width(name), code_dim) for name in own})
        self.fine_pooling = CoarseEncoder(code_dim, has_own)
        self.coarse_poolings = nn.ModuleDict({name: CoarseEncoder(code_dim, has_own) for name in self.coarse})
        self.decoders, self.coarse_decoders = nn.ModuleDict(), nn.ModuleDict()
        if reconstruction:
            for name in self.fine:
                self.decoders[name] = StepDecoder(code_dim, self.step(name).width)
            for name in self.names:
                self.coarse_decoders[name] = StepDecoder(code_dim, code_dim)
        told = [*(f"fine_{name}" for name in fine), *(f"coarse_{name}" for name in coarse), "coarse"] if club else []
        self.clubs = nn.ModuleDict({name: CLUB(code_dim, code_dim, club_hidden) for name in told})
        predicts = cpc and fine_alignment == "cpc"
        self.cpc = CrossCPC(sorted(fine), code_dim, horizon=cpc_horizon) if predicts else None
        self.readouts = nn.ModuleDict()
        if readout:
            hidden = 4 * code_dim if feedforward is None else feedforward
            for name in self.names:
                steps = self.step(name)
                most = self.most_steps(name)
                self.readouts[name] = StepReadout(code_dim, steps.width, most, hidden, steps.length)

    @property
    def code_mode(self) -> Literal["pooled", "split"]:
        """One code a row, or one a step."""
        return self._code_mode

    @code_mode.setter
    def code_mode(self, code_mode: Literal["pooled", "split"]) -> None:
        if code_mode not in ("pooled", "split"):
            raise ValueError(f"code_mode: expected 'pooled' or 'split', got {code_mode!r}.")
        self._code_mode = code_mode

    def pooling(self, name: str) -> CoarseEncoder:
        """What pools the steps of a modality: one module for all fine ones, one for each coarse one."""
        return self.fine_pooling if name in self.fine else cast("CoarseEncoder", self.coarse_poolings[name])

    def represent(self, name: str, batch: Batch) -> tuple[Float[Tensor, "N *T D"], Valid]:
        """The general vector of each row of a modality, or of each step, and which of them are there."""
        tokens, valid = self.tokens(name, batch)
        features = self.encoders[name](tokens, valid)
        if self.code_mode == "split":
            return self.pooling(name).split(features), valid
        return self.pooling(name)(features, valid), None if batch.complete else batch.observed[name]

    def terms(self, batch: Batch) -> tuple[Terms, dict[str, Quantised]]:
        """Reconstruction and mutual information at both levels, commitment, alignments, code matching, readouts."""
        views = {name: self._view(name, batch) for name in batch.names}
        fine, coarse = [name for name in views if name in self.fine], [name for name in views if name in self.coarse]
        general, rows = {k: view.general for k, view in views.items()}, {k: view.rows for k, view in views.items()}
        steps, valid = {k: views[k].steps for k in fine}, {k: views[k].valid for k in fine}
        quantised, commitment = self.quantise(general, rows)
        weights = self.weights
        terms: Terms = {"commitment": (1.0, commitment)}  # it has its weight, β, already
        if weights["reconstruction"]:
            errors = [self._fine_error(name, views[name], batch) for name in fine]
            terms["reconstruction_fine"] = weights["reconstruction"], self.total(errors)
            errors = [self._coarse_error(name, view, quantised[name].vectors) for name, view in views.items()]
            terms["reconstruction_coarse"] = weights["reconstruction"], self.total(errors)
        if weights["club"]:
            pairs = club_pairs(views, fine)
            bounds = [self.club(name).bound(*pair) for name, pair in pairs.items()]
            terms["club"] = weights["club"], self.total(bounds)
        if self.cpc is not None:
            loss = self.cpc(*filled(steps, valid, self.fine)) if fine else self.total(())
            terms["cpc"] = weights["cpc"], loss
        elif weights["cpc"]:
            means = {name: masked_mean(steps[name], valid[name]) for name in fine}
            terms["cpc"] = weights["cpc"], self._contrast(means, rows, permutations(fine, 2))
        if weights["matching"]:
            vectors, masks = filled(general, rows, self.names)
            before_it_moved = next(iter(quantised.values())).codebook
            terms["matching"] = weights["matching"], code_matching(vectors, before_it_moved, masks)
        if weights["coarse_alignment"]:
            loss = self._contrast(general, rows, product(fine, coarse))
            terms["coarse_alignment"] = weights["coarse_alignment"], loss
        if weights["readout"]:
            terms["readout"] = weights["readout"], self._readout_error(quantised, views, batch)
        return terms, quantised

    def inner_inputs(self, batch: Batch | Mapping[str, Any]) -> dict[str, Pair]:
        """General and specific vectors of the steps of each fine modality, and of what is pooled."""
        batch = self.prepare(batch)
        return club_pairs({name: self._view(name, batch) for name in batch.names}, self.fine)

    def decode(self, vectors: Float[Tensor, "N *T D"], valid: Valid) -> dict[str, Tensor]:
        """Data of the codes alone, by the readouts; the codes of several steps are averaged first."""
        if not self.readouts:
            raise ValueError("generate: this model was built with readout=0 and has no networks to generate with.")
        if vectors.ndim == 3:
            vectors = masked_mean(vectors, valid)
        return {name: self.step(name).inverse(self.readouts[name](vectors)) for name in self.names}

    def parts(self) -> Iterator[Iterable[nn.Module | None]]:
        """Encoders, decoders, the networks of Cross-CPC, and readouts."""
        yield self.stems, self.encoders, self.specific, self.fine_pooling, self.coarse_poolings
        yield self.decoders, self.coarse_decoders
        yield (self.cpc,)
        yield (self.readouts,)

    def _view(self, name: str, batch: Batch) -> CoarseView:
        tokens, valid = self.tokens(name, batch)
        steps = self.encoders[name](tokens, valid)
        pooling = self.pooling(name)
        pooled = pooling.pool(steps, valid)
        return CoarseView(
            steps=steps,
            own=self.specific[name](tokens) if name in self.specific else None,
            valid=valid,
            pooled=pooled,
            general=pooling.general(pooled),
            specific=None if pooling.specific is None else pooling.specific(pooled),
            rows=None if batch.complete else batch.observed[name],
        )

    def _fine_error(self, name: str, view: CoarseView, batch: Batch) -> Float[Tensor, ""]:
        output = self.decoders[name](view.steps, view.own)
        return self.reconstruction_error(name, batch, output, view.valid)

    def _coarse_error(self, name: str, view: CoarseView, codes: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
        return mean_square(self.coarse_decoders[name](codes, view.specific), view.pooled, view.rows)

    def _contrast(
        self, vectors: Mapping[str, Tensor], rows: Mapping[str, Valid], pairs: Iterable[tuple[str, str]]
    ) -> Tensor:
        """InfoNCE of each pair's first modality among the second's rows, summed."""
        return self.total(
            info_nce(vectors[one], vectors[other], self.temperature, valid=both_valid(rows[one], rows[other]))
            for one, other in pairs
        )

    def _readout_error(
        self, quantised: Mapping[str, Quantised], views: Mapping[str, CoarseView], batch: Batch
    ) -> Float[Tensor, ""]:
        """The errors of each modality's data, made of the code of every modality of its row; codes get no gradients."""
        self.check_positions(batch)
        count = len(views)
        codes = torch.cat([quantised[name].vectors.detach() for name in views])  # [count * N, D]
        rows = None if batch.complete else torch.cat([batch.observed[name] for name in views]).unsqueeze(-1)
        errors = []
        for name, view in views.items():
            output = self.readouts[name](codes, view.steps.shape[1])
            target = self.step(name)(batch.data[name]).repeat(count, 1, 1)
            valid = None if view.valid is None else view.valid.repeat(count, 1)
            errors.append(mean_square(output, target, valid if rows is None or valid is None else valid & rows))
        return self.total(errors)


def _check_groups(fine: object, coarse: object) -> None:
    """Raises a ``TypeError`` or ``ValueError`` unless there are two groups of modalities without a name in common."""
    for argument, group in (("fine", fine), ("coarse", coarse)):
        checked_modality_names(cast("Mapping[str, Any]", group), argument)
    both = sorted({*cast("Mapping[str, Any]", fine)} & {*cast("Mapping[str, Any]", coarse)})
    if both:
        raise ValueError(f"{both[0]}: a modality is fine or coarse, and this one is both; leave it out of one group.")


def _check_options(fine_alignment: str, temperature: float) -> None:
    if fine_alignment not in ("cpc", "info_nce"):
        raise ValueError(f"fine_alignment: expected 'cpc' or 'info_nce', got {fine_alignment!r}.")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature!r}.")
