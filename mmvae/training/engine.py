"""The engine: devices, precision and processes, through Lightning Fabric; the loop knows none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmvae.batch import Batch
from mmvae.training.settings import Settings

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimiser for parameters, as ``functools.partial(torch.optim.SGD, lr=0.1)`` does."""


class _LossModule(nn.Module):
    """The loss of a model as a forward pass, which is what distributed engines wrap."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.model.loss(batch)
        return loss.total, {name: term.detach() for name, term in loss.terms.items()}


class Engine:
    """Steps of an optimiser on the devices asked for.

    Args:
        device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a ``torch.device``.
        settings: of the run.

    Attributes:
        rank: of this process.
        world: how many processes there are.
        device: of this process.

    Raises:
        ValueError: for a device that is not there.
    """

    def __init__(self, device: str | torch.device, settings: Settings) -> None:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies import DDPStrategy

        accelerator, devices = _accelerator(device, settings.devices)
        # A modality that no row of a process's batch has leaves its networks without a gradient on that process.
        strategy: Any = DDPStrategy(find_unused_parameters=True) if settings.devices > 1 else "auto"
        self._fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=settings.precision)
        self._fabric.launch()
        self._settings = settings
        self._module: Any = None
        self._optimizer: Any = None
        self._plain: nn.Module = nn.Identity()
        self.rank: int = self._fabric.global_rank
        self.world: int = self._fabric.world_size
        self.device: torch.device = self._fabric.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def setup(self, model: Any, make_optimizer: MakeOptimizer | None) -> None:
        """Moves a model to the device and makes its optimiser, by default AdamW (Adam where nothing decays)."""
        model.to(self.device)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to train.")
        if make_optimizer is None:
            # The fused kernel unscales gradients itself, which Fabric's clipping in float16 cannot do.
            fused = self._settings.precision != "16-mixed" and self.device.type in ("cpu", "cuda")
            optimizer: Optimizer = torch.optim.AdamW(
                parameters, self._settings.lr, weight_decay=self._settings.weight_decay, fused=fused
            )
        else:
            optimizer = make_optimizer(parameters)
        self._plain = _LossModule(model)
        self._module, self._optimizer = self._fabric.setup(self._plain, optimizer)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the optimiser on the loss of a batch; the loss and its terms, not waited for."""
        self._optimizer.zero_grad(set_to_none=True)
        loss, terms = self._module(batch)
        self._fabric.backward(loss)
        if self._settings.max_grad_norm is not None:
            self._fabric.clip_gradients(
                self._module, self._optimizer, max_norm=self._settings.max_grad_norm, error_if_nonfinite=False
            )
        self._optimizer.step()
        return loss.detach(), terms

    def evaluate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and its terms, without gradients; no other process is waited for."""
        with torch.no_grad(), self._fabric.autocast():
            loss, terms = self._plain(batch)
        return loss, terms

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def agreed(self, wish: bool) -> bool:
        """The wish of the main process, which all processes follow."""
        return wish if self.world == 1 else bool(self._fabric.broadcast(wish))

    def barrier(self) -> None:
        """Waits for all processes."""
        self._fabric.barrier()

    def state(self) -> dict[str, Any]:
        """The state of the optimiser, and that of the loss scale of float16."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "scale": dict(self._fabric.strategy.precision.state_dict()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`state` gave."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._fabric.strategy.precision.load_state_dict(state["scale"])


def _accelerator(device: str | torch.device, devices: int) -> tuple[str, int | list[int]]:
    """What Fabric calls the device, and how many or which."""
    if device == "auto":
        return ("cuda" if torch.cuda.is_available() else "cpu"), devices
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device: expected "auto", "cpu", "cuda" or "cuda:<index>", got {device!r}.') from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        needed = devices if chosen.index is None else chosen.index + 1
        if needed > count:
            raise ValueError(f"device: {device} with devices={devices} was asked for, but {count} GPUs are there.")
    elif chosen.type != "cpu":
        raise ValueError(f"device: training runs on the CPU and on CUDA GPUs, got {device!r}.")
    if chosen.index is not None and chosen.type == "cuda":
        if devices > 1:
            raise ValueError(f'device: with devices={devices} name no single GPU; use "cuda", not {device!r}.')
        return "cuda", [chosen.index]
    return chosen.type, devices
