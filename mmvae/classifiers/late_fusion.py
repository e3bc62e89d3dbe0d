"""LateFusion: the baseline, class tokens side by side, and a filling where one is missing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.choices import check_choice
from mmvae.classifiers.classifier import Shown
from mmvae.classifiers.frozen_classifier import FrozenEncoderClassifier
from mmvae.classifiers.fusion.slots import make_fusion, of_width
from mmvae.classifiers.task import Task
from mmvae.classifiers.tokens import EncoderOutput, TokenEncoder
from mmvae.networks.running_mean import RunningMean


class LateFusion(FrozenEncoderClassifier):
    """Class tokens of all modalities, concatenated or added up, and a linear head; a filling for what is missing.

    Trains on incomplete data. The baseline for classifiers that do more about it; and, with a single modality and
    ``freeze=False``, the way to pretrain an encoder on labels: ``model.encoders["image"]`` then goes into another.

    Args:
        encoders: ``{name: module}``; copied.
        num_classes: C.
        task: ``"single-label"`` (one class each) or ``"multi-label"`` (any number of labels each).
        modality_dropout: in training, show of each row a random non-empty subset of the modalities that it has.
        missing: what stands for a class token that is missing: ``"zeros"``, or the ``"mean"`` of those of the training
            data, which is taken in training mode and saved with the weights.
        fusion: ``"concat"`` or ``"sum"`` (of tokens mapped to the largest width).
        freeze: keep the encoders as they are; otherwise they learn.

    Raises:
        ValueError: for an unknown setting.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        *,
        task: Task = "single-label",
        modality_dropout: bool = False,
        missing: Literal["zeros", "mean"] = "zeros",
        fusion: Literal["concat", "sum"] = "concat",
        freeze: bool = True,
    ) -> None:
        self.freeze = freeze  # looked at when the encoders are taken over
        super().__init__(encoders, num_classes, task=task, modality_dropout=modality_dropout)
        check_choice("missing", missing, ("zeros", "mean"))
        dims = {name: self.encoder(name).dim for name in self.names}
        width = max(dims.values())
        self.maps = nn.ModuleDict(
            {name: of_width(dim, width if fusion == "sum" else dim) for name, dim in dims.items()}
        )
        widths = [width if fusion == "sum" else dim for dim in dims.values()]
        self.fusion = make_fusion(fusion, widths, ("concat", "sum"))
        self.means = nn.ModuleDict({name: RunningMean(dim) for name, dim in dims.items()} if missing == "mean" else {})
        self.latent_dim = self.fusion.size
        self.head = nn.Linear(self.latent_dim, num_classes)

    def adopt(self, encoder: TokenEncoder) -> TokenEncoder:
        """A copy of the encoder, frozen if it is to be."""
        return super().adopt(encoder) if self.freeze else copy.deepcopy(encoder)

    def encode(self, batch: Batch) -> dict[str, EncoderOutput]:
        """What each encoder says of the rows that have its modality; in training mode the means take it in."""
        encodings = super().encode(batch)
        if self.training:
            for name in [name for name in self.means if name in encodings]:
                tokens = encodings[name].cls
                self._mean(name).update(tokens if batch.complete else tokens[batch.observed[name]])
        return encodings

    def represent(self, encodings: Mapping[str, EncoderOutput], shown: Shown) -> Float[Tensor, "N D"]:
        """The fused class tokens, with a filling where one is not shown."""
        return self.fusion([self._slot(name, encodings, shown[name]) for name in self.names])

    def _slot(self, name: str, encodings: Mapping[str, EncoderOutput], shown: Tensor) -> Float[Tensor, "N d"]:
        nothing = torch.zeros(shown.shape[0], self.encoder(name).dim, device=shown.device)
        tokens = encodings[name].cls if name in encodings else nothing
        if name in self.means:
            return self.maps[name](torch.where(shown[:, None], tokens, self._mean(name).mean))
        return torch.where(shown[:, None], self.maps[name](tokens), 0)

    def _mean(self, name: str) -> RunningMean:
        mean = self.means[name]
        assert isinstance(mean, RunningMean)
        return mean
