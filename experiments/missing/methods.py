"""The methods: a classifier over frozen encoders, and how it is trained."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from mmvae import models

CLASSES = 10
Group = Literal["methods", "molt", "cmpt"]
Encoders = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Method:
    """A classifier and its training."""

    group: Group
    make: functools.partial[models.MultimodalClassifier]
    lr: float = 1e-3
    batch_size: int = 64
    epochs: int = 1
    """Times those of the preset."""

    def suits(self, modalities: Sequence[str]) -> bool:
        """Whether the method is for this many modalities: MoLT is for two."""
        return len(modalities) == 2 or self.make.func is not models.MoLT

    def over(self, encoders: Encoders) -> models.MultimodalClassifier:
        """A new classifier."""
        return self.make(encoders, CLASSES)


def molt(group: Group = "methods", **options: Any) -> Method:
    """MoLT, in large batches (its correlations need them), which cached features make cheap; half as many steps."""
    return Method(group, functools.partial(models.MoLT, **options), batch_size=512, epochs=4)


def cmpt(group: Group = "methods", **options: Any) -> Method:
    """CMPT, as its specification trains it."""
    return Method(group, functools.partial(models.CMPT, **options))


def late_fusion(**options: Any) -> Method:
    """The features of frozen encoders side by side."""
    return Method("methods", functools.partial(models.LateFusion, **options))


def outside(encoders: Encoders, num_classes: int) -> models.CMPT:
    """CMPT over encoders that have no place for its tokens, so that they live behind them."""
    closed = {name: copy.deepcopy(encoder) for name, encoder in encoders.items()}
    for encoder in closed.values():
        encoder.takes_extra = False  # type: ignore[assignment]
    return models.CMPT(closed, num_classes)


MOLT_OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no CCA": {"cca": 0.0},
    "no cross-attention": {"cross_attention": False},
    "concatenation for FBP": {"join": "concat"},
    "last layer alone": {"max_layers": 1},
    "fixed mean of layers": {"mix": "mean"},
    "no fusion": {"fusion": "none"},
    "CCA by Frobenius": {"cca_norm": "frobenius"},
    "CCA by squares": {"cca_norm": "squared"},
    "CCA before attention": {"cca_on": "pre"},
    "CCA weight 0.01": {"cca": 0.01},
    "CCA weight 1": {"cca": 1.0},
    "width 32": {"common_dim": 32},
    "width 128": {"common_dim": 128},
    "width 256": {"common_dim": 256},
    "window 4": {"fbp_window": 4},
    "no modality dropout": {"modality_dropout": False},
    "dummy input": {"missing": "dummy"},
    "zero features": {"missing": "zeros"},
}
CMPT_OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    **{f"alignment {weight:g}": {"alignment": weight} for weight in (0.0, 0.05, 0.1, 0.5, 1.0)},
    **{f"rank {rank}": {"rank": rank} for rank in (0, 2, 4, 8)},
    "no modality dropout": {"modality_dropout": False},
    "target detached": {"detach_target": True},
    "proxy isolated": {"isolate_proxy": True},
    "gated fusion": {"fusion": "gated"},
    "concatenation": {"fusion": "concat"},
    "cosine": {"alignment_loss": "cosine"},
    "smooth L1": {"alignment_loss": "smooth_l1"},
}


METHODS: dict[str, Method] = {
    "MoLT": molt(),
    "MoLT without CCA": molt(cca=0.0),
    "CMPT": cmpt(),
    "CMPT without alignment": cmpt(alignment=0.0),
    "late fusion, zeros": late_fusion(missing="zeros"),
    "late fusion, mean": late_fusion(missing="mean"),
    "late fusion, modality dropout": late_fusion(missing="zeros", modality_dropout=True),
    **{f"MoLT, {name}": molt("molt", **options) for name, options in MOLT_OPTIONS.items()},
    **{f"CMPT, {name}": cmpt("cmpt", **options) for name, options in CMPT_OPTIONS.items()},
    "CMPT, proxy outside": Method("cmpt", functools.partial(outside)),
}
PROBE = "MoPoE and linear probe"
"""The one method without encoders of its own: a VAE of all images, labelled or not, whose latents are read linearly."""
