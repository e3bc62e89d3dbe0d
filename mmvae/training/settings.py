"""The settings of a training run, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mmvae.choices import check_choice

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Of the computation: weights stay in float32 in any case."""


Acceleration = Literal["auto", "graph", "compile", "none"]
"""How steps get faster: captured as CUDA graphs where they can be, always, compiled, or not at all."""

MatmulPrecision = Literal["highest", "high", "medium"]
"""Of products of float32 matrices on a GPU, as :func:`torch.set_float32_matmul_precision` has it."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained; plain values. :func:`mmvae.training.fit` says what each is.

    Raises:
        ValueError: for a value out of its range.
    """

    epochs: int | Mapping[str, int]
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "AdamW"
    schedule: str = "constant"
    max_grad_norm: float | None = None
    patience: int | None = None
    restore_best: bool = True
    seed: int = 0
    precision: Precision = "32-true"
    devices: int = 1
    checkpoint_seconds: float = 600.0
    acceleration: Acceleration = "none"
    matmul_precision: MatmulPrecision | None = None

    def __post_init__(self) -> None:
        counts = self.epochs if isinstance(self.epochs, Mapping) else {}
        for name, count in counts.items():
            _check_whole(f"epochs[{name!r}]", count, least=0)
        if counts and not any(counts.values()):
            raise ValueError("epochs: expected at least 1 in one of the stages, got 0 in all.")
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("devices", 1), ("seed", 0)):
            value = getattr(self, name)
            if (value is None and name == "patience") or value is counts:
                continue
            _check_whole(name, value, least)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr: expected a finite number above 0, got {self.lr}.")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay: expected a finite number from 0 on, got {self.weight_decay}.")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm: expected a number above 0, or None, got {self.max_grad_norm}.")
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("acceleration", self.acceleration, get_args(Acceleration))
        if self.matmul_precision is not None:
            check_choice("matmul_precision", self.matmul_precision, get_args(MatmulPrecision))
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds: expected a number from 0 on, got {self.checkpoint_seconds}.")

    def fixed(self) -> dict[str, Any]:
        """The settings that cannot change when a run is resumed, since its numbers depend on them.

        The number of processes goes with ``batch_size``: their product is what may not change.
        """
        names = ["batch_size", "lr", "weight_decay", "optimizer", "max_grad_norm", "seed", "precision"]
        if self.schedule != "constant":  # a schedule is one over all epochs
            names += ["schedule", "epochs"]
        if self.matmul_precision is not None:
            names.append("matmul_precision")
        return {name: getattr(self, name) for name in names}


def _check_whole(name: str, value: object, least: int) -> None:
    """Raises a ``TypeError`` or ``ValueError`` unless a setting is a whole number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}.")
