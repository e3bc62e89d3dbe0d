"""The engine: devices, precision and processes, through Lightning Fabric; the loop knows none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmvae.abilities import HasInnerSteps, HasParts, HasTokens, Trains
from mmvae.batch import Batch
from mmvae.collectives import together
from mmvae.training.captured import (
    CapturedSteps,
    CudaGraphs,
    Recorder,
    rates_on_device,
    set_rate,
    standing_obstacle,
    with_plain_rates,
)
from mmvae.training.launch import Starter, launch, leave_at_exit
from mmvae.training.learning_rate import Schedule
from mmvae.training.process_guard import ProcessGuard, is_loss_of_process
from mmvae.training.settings import Settings

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimiser for parameters, as ``functools.partial(torch.optim.SGD, lr=0.1)`` does."""


class _InnerModule(nn.Module):
    """The inner loss of a model as a forward pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        return self.model.inner_loss(inputs)


class _LossModule(nn.Module):
    """The loss of a model as a forward pass, which is what distributed engines wrap.

    Args:
        model: Model that is trained.
        shared: Whether several processes train it.
    """

    def __init__(self, model: Any, shared: bool) -> None:
        super().__init__()
        self.model = model
        if shared:  # torch looks for unused parameters, as batches may lack a modality, and warns if it finds none
            self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            loss = self.model.loss(batch)
        except ValueError as error:
            if batch.size > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                f"data: a batch of 1 row has no statistics for the batch norm in a network of your own ({error}). Pass "
                f"batch_size= of 2 or more, drop_last=True to a DataLoader, or take another norm."
            ) from error
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

        started_by, per_machine, machines = launch(settings.devices)
        accelerator, devices = _accelerator(device, per_machine)
        # A modality that no row of a process's batch has leaves its networks without a gradient on that process.
        strategy: Any = DDPStrategy(find_unused_parameters=True) if per_machine * machines > 1 else "auto"
        self._fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=machines,
            strategy=strategy,
            precision=settings.precision,
            plugins=[_environment(started_by)],
        )
        self._fabric.launch()
        if per_machine * machines > 1:
            leave_at_exit()
        self._guard = ProcessGuard.over(getattr(self._fabric.strategy.launcher, "procs", []))
        self._settings = settings
        self._module: Any = None
        self._forward: Any = None
        self._optimizer: Any = None
        self._inner_module: Any = None
        self._inner_optimizer: Any = None
        self._schedule: Schedule | None = None
        self._base_rates: list[float] = []
        self._parts: list[list[nn.Parameter]] | None = None
        self._captured: CapturedSteps | None = None
        self._plain: nn.Module = nn.Identity()
        self.rank: int = self._fabric.global_rank
        self.world: int = self._fabric.world_size
        self.device: torch.device = self._fabric.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def setup(self, model: Trains, make_optimizer: MakeOptimizer | None, schedule: Schedule | None = None) -> None:
        """Moves a model to the device and makes its optimiser, by default AdamW (Adam where nothing decays).

        Call it again for each stage of a training: the optimiser is a fresh one, of what then requires gradients.

        Args:
            model: to train.
            make_optimizer: makes another optimiser from the parameters.
            schedule: of the learning rate.

        Raises:
            ValueError: if no parameter requires a gradient.
        """
        model.to(self.device)
        optimizer = self.fresh_optimizer(model, make_optimizer)
        inner = _inner_parameters(model)
        self._plain = _LossModule(model, shared=self.world > 1)
        loss = torch.compile(self._plain) if self._settings.acceleration == "compile" else self._plain
        self._module, self._optimizer = self._fabric.setup(loss, optimizer)
        # Fabric's wrapper joins processes and casts; with nothing to join and to cast it only takes time.
        self._forward = loss if self.world == 1 and self._settings.precision == "32-true" else self._module
        self._schedule = schedule
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._parts = None
        if isinstance(model, HasParts):
            self._parts = [[each for each in part if each.requires_grad] for part in model.gradient_parts()]
        self._inner_module = self._inner_optimizer = self._captured = None
        if inner and isinstance(model, HasInnerSteps):
            inner_optimizer = torch.optim.Adam(inner, model.inner_lr, fused=self.device.type in ("cpu", "cuda"))
            self._inner_module, self._inner_optimizer = self._fabric.setup(_InnerModule(model), inner_optimizer)

    def fresh_optimizer(self, model: Trains, make_optimizer: MakeOptimizer | None) -> Optimizer:
        """An optimiser of what requires gradients in a model, but for the networks that its inner steps fit.

        Args:
            model: to train.
            make_optimizer: makes another optimiser than the default from the parameters.

        Raises:
            ValueError: if no parameter requires a gradient.
        """
        ids = {id(parameter) for parameter in _inner_parameters(model)}
        parameters = [each for each in model.parameters() if each.requires_grad and id(each) not in ids]
        if not parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to train.")
        tokens = {id(each) for each in model.token_parameters()} if isinstance(model, HasTokens) else set()
        return make_optimizer(parameters) if make_optimizer else self._default_optimizer(parameters, tokens)

    def accelerate(self, say: Callable[[str], None], recorder: Recorder | None = None) -> None:
        """Captures the steps of the model that is set up, where that was asked for and can be.

        Args:
            say: takes a line that says why not.
            recorder: in the place of CUDA graphs.

        Raises:
            ValueError: if it was demanded and cannot be.
        """
        wish = self._settings.acceleration
        if wish not in ("auto", "graph"):
            return
        if recorder is None:
            obstacle = standing_obstacle(self.device, self.world, self._settings.precision)
            if obstacle is None:
                recorder = CudaGraphs()
            elif wish == "graph":
                raise ValueError(
                    f'acceleration: training steps cannot be captured as a CUDA graph: {obstacle}; take "auto".'
                )
            else:
                if self.device.type == "cuda":
                    say(f"training steps are not captured as a CUDA graph: {obstacle}")
                return
        optimizers = [each.optimizer for each in (self._optimizer, self._inner_optimizer) if each is not None]
        model: Any = self._plain.model
        self._captured = CapturedSteps(self._take_step, model, optimizers, recorder, demanded=wish == "graph", say=say)
        rates_on_device(self._optimizer.optimizer, self.device)

    def step(self, batch: Batch, done: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the optimiser on the loss of a batch; the loss and its terms, not waited for.

        Args:
            batch: to learn from.
            done: the share of the training that is done, for the schedule.
        """
        if self._schedule is not None:
            factor = self._schedule(done)
            for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
                set_rate(group, rate * factor)
        return self._take_step(batch) if self._captured is None else self._captured(batch)

    def _take_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The step, at the learning rates that are set."""
        if self._inner_module is not None:
            self._fit_inner(batch)
        self._optimizer.zero_grad(set_to_none=True)
        with together():
            loss, terms = self._forward(batch)
        self._fabric.backward(loss)
        if self._settings.max_grad_norm is not None:
            self._clip(self._settings.max_grad_norm)
        self._optimizer.step()
        return loss.detach(), terms

    def _fit_inner(self, batch: Batch) -> None:
        """The inner steps that go before a step on this batch."""
        model: Any = self._plain.model
        with torch.no_grad(), self._fabric.autocast():
            inputs = model.inner_inputs(batch)
        for _ in range(model.inner_steps):
            self._inner_optimizer.zero_grad(set_to_none=True)
            with together():
                loss = self._inner_module(inputs)
            self._fabric.backward(loss)
            self._inner_optimizer.step()

    def _clip(self, max_norm: float) -> None:
        """Scales the gradients down to a norm, those of each part by themselves where the model names parts."""
        if self._parts is None:
            self._fabric.clip_gradients(self._module, self._optimizer, max_norm=max_norm, error_if_nonfinite=False)
            return
        self._fabric.strategy.precision.unscale_gradients(self._optimizer.optimizer)  # of float16; Fabric does it above
        for part in self._parts:
            torch.nn.utils.clip_grad_norm_(part, max_norm)

    def _default_optimizer(self, parameters: list[nn.Parameter], tokens: Collection[int]) -> Optimizer:
        # The fused kernel unscales gradients itself, which Fabric's clipping in float16 cannot do.
        fused = self._settings.precision != "16-mixed" and self.device.type in ("cpu", "cuda")
        decay = self._settings.weight_decay
        if decay == 0:
            return torch.optim.AdamW(parameters, self._settings.lr, weight_decay=0.0, fused=fused)
        matrices = [each for each in parameters if each.ndim > 1 and id(each) not in tokens]
        vectors = [each for each in parameters if each.ndim <= 1 or id(each) in tokens]  # biases, norms, tokens
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW([group for group in groups if group["params"]], self._settings.lr, fused=fused)

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

    def agreed(self, value: Any) -> Any:
        """The value of the main process, which all processes follow."""
        return value if self.world == 1 else self._fabric.broadcast(value)

    @contextlib.contextmanager
    def losses_named(self, advice: str) -> Iterator[None]:
        """Says how to go on if another process ends before its time, and ends those that are left.

        Args:
            advice: a sentence.

        Raises:
            RuntimeError: in the place of what a collective raises then.
        """
        self._guard.advice = advice
        try:
            yield
        except RuntimeError as error:
            self._guard.end()
            if self.world == 1 or not is_loss_of_process(error):
                raise
            raise RuntimeError(
                f"process {self.rank} of {self.world}: another process of this run has ended, see what it said itself. "
                f"{advice}"
            ) from error

    def barrier(self) -> None:
        """Waits for all processes."""
        self._fabric.barrier()

    def state(self) -> dict[str, Any]:
        """The state of the optimisers, and that of the loss scale of float16."""
        inner = {} if self._inner_optimizer is None else {"inner": self._inner_optimizer.state_dict()}
        return {
            "optimizer": with_plain_rates(self._optimizer.state_dict()),
            "scale": dict(self._fabric.strategy.precision.state_dict()),
            **inner,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`state` gave."""
        self._optimizer.load_state_dict(state["optimizer"])
        if self._captured is not None:
            rates_on_device(self._optimizer.optimizer, self.device)
        if self._inner_optimizer is not None:
            self._inner_optimizer.load_state_dict(state["inner"])
        self._fabric.strategy.precision.load_state_dict(state["scale"])


def _inner_parameters(model: Trains) -> list[nn.Parameter]:
    """The weights that the inner steps of a model fit, if it has any and they learn."""
    inner = list(model.inner_parameters()) if isinstance(model, HasInnerSteps) else []
    return [each for each in inner if each.requires_grad]


def _environment(started_by: Starter) -> Any:
    """What tells Fabric of ranks and addresses. By itself it takes any job of SLURM for one of ``srun``, and waits."""
    from lightning.fabric.plugins import environments

    kinds: dict[Starter, Any] = {
        "fit": environments.LightningEnvironment,
        "torchrun": environments.TorchElasticEnvironment,
        "srun": environments.SLURMEnvironment,
    }
    return kinds[started_by]()


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
