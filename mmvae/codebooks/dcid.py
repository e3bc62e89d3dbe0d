"""DCID: what modalities share, step by step, as codes of one codebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.codebooks.club import CLUB
from mmvae.codebooks.codebook import CodebookModel, Terms
from mmvae.codebooks.contrast import code_matching
from mmvae.codebooks.cross_cpc import CrossCPC
from mmvae.codebooks.quantiser import Quantised
from mmvae.codebooks.sequences import EncoderSizes, StepDecoder, StepEncoder
from mmvae.codebooks.vectors import Pair, Valid, filled
from mmvae.networks.running_mean import RunningMean
from mmvae.networks.steps import Steps


class DCID(CodebookModel):
    """Modalities that run side by side, each step a code that all of them share and a vector that is their own.

    The general vectors of each modality are quantised; a specific vector holds what the others do not tell, and both
    together reconstruct the data. A term is built and computed only if its weight is above zero: with ``club=0``,
    ``cpc=0``, ``matching=0`` and ``cross=False`` this is a plain codebook that modalities happen to share.

    Latents are sequences: ``mean`` ``[N, T, D]`` and ``codes`` ``[N, T]``, zeros and -1 at steps that are not there.
    Trains on incomplete data and on sequences of different lengths.

    Args:
        modalities: ``{name: steps}``: the width of feature vectors ``[N, T, width]``, or the steps of other data. T is
            the same for all modalities, with masks for steps that are not there.
        num_codes: L.
        code_dim: D, of codes, features, and all networks.
        reconstruction: weight of the squared errors of the decoders.
        commitment: β, of the distance of general vectors to their codes.
        club: weight of the mutual information between general and specific vectors.
        cpc: weight of predicting the next steps of each modality from each (Cross-CPC).
        matching: weight of cross-modal code matching.
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
        feedforward: their hidden width; by default 4 D.
        dropout: of theirs.
        max_steps: how many positions are learned for sequences whose length is not known.

    Raises:
        ValueError: for no modality, modalities whose steps are known to differ, or a number or name out of its range.
        TypeError: for modalities that are no steps.

    Source: Xia, Huang, Zhu and Zhao 2023, "Achieving cross modal generalization with multimodal unified
    representation" (DCID with MM-EMA and code matching).

    Example:
        >>> import torch
        >>> from mmvae import models
        >>> model = models.DCID({"audio": 5, "video": 7}, num_codes=8, code_dim=4, heads=2)
        >>> model.infer({"audio": torch.randn(3, 6, 5)}).codes.shape
        torch.Size([3, 6])
    """

    def __init__(
        self,
        modalities: Mapping[str, int | Steps],
        *,
        num_codes: int = 400,
        code_dim: int = 256,
        reconstruction: float = 1.0,
        commitment: float = 0.25,
        club: float = 1.0,
        cpc: float = 1.0,
        matching: float = 1.0,
        cross: bool = True,
        reset_after: int | None = 100,
        club_hidden: int = 128,
        inner_steps: int = 5,
        inner_lr: float = 1e-3,
        cpc_horizon: int = 1,
        stem: Literal["linear", "conv"] = "linear",
        positions: bool = False,
        layers: int = 2,
        heads: int = 4,
        feedforward: int | None = None,
        dropout: float = 0.1,
        max_steps: int = 64,
    ) -> None:
        quantiser = self.make_quantiser(num_codes, code_dim, commitment, cross, reset_after)
        weights = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "club": club,
            "cpc": cpc,
            "matching": matching,
        }
        sizes = EncoderSizes(stem, layers, heads, feedforward, dropout, positions, max_steps)
        super().__init__(modalities, quantiser, sizes, weights, inner_steps, inner_lr)
        has_specific = self.names if reconstruction or club else ()
        decoded = self.names if reconstruction else ()
        self.specific = nn.ModuleDict({name: StepEncoder(self.token_width(name), code_dim) for name in has_specific})
        self.specific_means = nn.ModuleDict({name: RunningMean(code_dim) for name in decoded})
        self.decoders = nn.ModuleDict({name: StepDecoder(code_dim, self.step(name).width) for name in decoded})
        self.clubs = nn.ModuleDict({name: CLUB(code_dim, code_dim, club_hidden) for name in self.names if club})
        self.cpc = CrossCPC(sorted(self.names), code_dim, horizon=cpc_horizon) if cpc else None
        self._check_steps({name: self.step(name).length for name in self.names})

    def represent(self, name: str, batch: Batch) -> tuple[Float[Tensor, "N T D"], Valid]:
        """The general vector of each step of a modality, and which steps are there."""
        tokens, valid = self.tokens(name, batch)
        return self.encoders[name](tokens, valid), valid

    def terms(self, batch: Batch) -> tuple[Terms, dict[str, Quantised]]:
        """Reconstruction, commitment, mutual information, Cross-CPC and code matching."""
        general, specific, valid = self._encode(batch)
        quantised, commitment = self.quantise(general, valid)
        terms: Terms = {"commitment": (1.0, commitment)}  # it has its weight, β, already
        if self.weights["reconstruction"]:
            errors = [
                self.reconstruction_error(name, batch, self.decoders[name](quantised[name].vectors, own), valid[name])
                for name, own in specific.items()
            ]
            terms["reconstruction"] = self.weights["reconstruction"], torch.stack(errors).sum()
        if self.weights["club"]:
            bounds = [
                self.club(name).bound(quantised[name].vectors, own, valid[name]) for name, own in specific.items()
            ]
            terms["club"] = self.weights["club"], torch.stack(bounds).sum()
        vectors, masks = filled(general, valid, self.names)
        if self.cpc is not None:
            terms["cpc"] = self.weights["cpc"], self.cpc(vectors, masks)
        if self.weights["matching"]:
            before_it_moved = next(iter(quantised.values())).codebook
            terms["matching"] = self.weights["matching"], code_matching(vectors, before_it_moved, masks)
        if self.training:
            for name, mean in self.specific_means.items():
                if name in specific:
                    cast("RunningMean", mean).update(specific[name], valid[name])
        return terms, quantised

    def inner_inputs(self, batch: Batch | Mapping[str, Any]) -> dict[str, Pair]:
        """The quantised and the specific vectors of each modality."""
        batch = self.prepare(batch)
        general, specific, valid = self._encode(batch)
        codes = {name: self.quantiser.assign(each, valid[name]).vectors for name, each in general.items()}
        return {name: (codes[name], specific[name], valid[name]) for name in batch.names}

    def decode(self, vectors: Float[Tensor, "N T D"], valid: Valid) -> dict[str, Tensor]:
        """Data of the codes and, for what is a modality's own, the mean of its specific vectors in training."""
        if not self.weights["reconstruction"]:
            raise ValueError("generate: this model was built with reconstruction=0 and has no decoders.")
        data = {}
        for name in self.names:
            mean = cast("RunningMean", self.specific_means[name]).mean
            steps = self.decoders[name](vectors, mean.expand_as(vectors))
            data[name] = self.step(name).inverse(steps if valid is None else torch.where(valid.unsqueeze(-1), steps, 0))
        return data

    def parts(self) -> Iterator[Iterable[nn.Module | None]]:
        """Encoders, decoders, and the networks of Cross-CPC."""
        yield self.stems, self.encoders, self.specific
        yield (self.decoders,)
        yield (self.cpc,)

    def _encode(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Valid]]:
        """The general and the specific vectors of the modalities in a batch, and which steps are there."""
        general, specific, valid = {}, {}, {}
        for name in batch.names:
            tokens, valid[name] = self.tokens(name, batch)
            general[name] = self.encoders[name](tokens, valid[name])
            if name in self.specific:
                specific[name] = self.specific[name](tokens)
        self._check_steps({name: each.shape[1] for name, each in general.items()})
        return general, specific, valid

    def _check_steps(self, lengths: Mapping[str, int | None]) -> None:
        """Raises a ``ValueError`` for modalities whose steps differ, where they are compared step by step."""
        known = {name: length for name, length in lengths.items() if length is not None}
        if (self.quantiser.cross or self.cpc is not None) and len(set(known.values())) > 1:
            raise ValueError(
                f"DCID compares modalities step by step, but their steps differ: {known}. Pad the shorter ones and "
                f"pass a mask of their steps, observed={{name: bool [N, T]}}; or take FCID, which pools steps."
            )
