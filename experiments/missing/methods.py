"""The methods: a classifier over frozen encoders, and how it is trained."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from missing import variants
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
        kind = self.make.func
        return len(modalities) == 2 or not (inspect.isclass(kind) and issubclass(kind, models.MoLT))

    def over(self, encoders: Encoders) -> models.MultimodalClassifier:
        """A new classifier."""
        return self.make(encoders, CLASSES)


def molt(group: Group = "methods", kind: type[models.MoLT] = models.MoLT, **options: Any) -> Method:
    """MoLT, in large batches (its correlations need them), which cached features make cheap; half as many steps."""
    return Method(group, functools.partial(kind, **options), batch_size=512, epochs=4)


def cmpt(group: Group = "methods", kind: type[models.CMPT] = models.CMPT, **options: Any) -> Method:
    """CMPT, as its specification trains it."""
    return Method(group, functools.partial(kind, **options))


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
    "no cross-attention": {"kind": variants.WithoutAttention},
    "concatenation for FBP": {"kind": variants.Concatenated},
    "last layer alone": {"max_layers": 1},
    "fixed mean of layers": {"kind": variants.PlainMean},
    "no fusion": {"fusion": "none"},
    "CCA by Frobenius": {"kind": variants.Frobenius},
    "CCA by squares": {"kind": variants.Squared},
    "CCA before attention": {"kind": variants.BeforeAttention},
    "CCA weight 0.01": {"cca": 0.01},
    "CCA weight 1": {"cca": 1.0},
    "width 32": {"common_dim": 32},
    "width 128": {"common_dim": 128},
    "width 256": {"common_dim": 256},
    "window 4": {"fbp_window": 4},
    "no modality dropout": {"modality_dropout": False},
    "dummy input": {"kind": variants.DummyInput},
    "zero features": {"kind": variants.ZeroFeatures},
}
CMPT_OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    **{f"alignment {weight:g}": {"alignment": weight} for weight in (0.0, 0.05, 0.1, 0.5, 1.0)},
    **{f"rank {rank}": {"rank": rank} for rank in (0, 2, 4, 8)},
    "no modality dropout": {"modality_dropout": False},
    "target detached": {"kind": variants.Detached},
    "proxy isolated": {"kind": variants.Isolated},
    "gated fusion": {"fusion": "gated"},
    "concatenation": {"fusion": "concat"},
    "cosine": {"kind": variants.Cosine},
    "smooth L1": {"kind": variants.SmoothL1},
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
