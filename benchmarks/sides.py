"""What each library does with a model and data in memory, as its users would have it done: to be timed and compared."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyro
import torch
from timing import Step
from torch import Tensor, nn

import mmvae
from mmvae import Batch
from mmvae.models import MultimodalVAE
from mmvae.training.engine import Engine
from mmvae.training.settings import Acceleration, Settings

LEARNING_RATE = 1e-3


def training_step(model: MultimodalVAE, data: Mapping[str, Tensor], acceleration: Acceleration = "auto") -> Step:
    """A training step of a model of this library, as its trainer takes it; on a GPU captured from the third call on."""
    batch = model.prepare(Batch(dict(data)))
    engine = Engine(model.device, Settings(epochs=1, lr=LEARNING_RATE, acceleration=acceleration))
    engine.setup(model, None)
    engine.accelerate(print)

    def step() -> None:
        with pyro.validation_enabled(False):
            engine.step(batch)

    return step


def peer_training_step(
    ours: MultimodalVAE, data: Mapping[str, Tensor], device: str = "cpu", validate: bool = True
) -> Step:
    """A training step of MultiVae's counterpart of a model, as its trainer takes it."""
    from multivae.data.utils import set_inputs_to_device
    from peers import make_peer, peer_data

    model = make_peer(ours).to(device).train()
    rows = len(next(iter(data.values())))
    inputs = {"data": peer_data(ours, data).data}
    batch = set_inputs_to_device(inputs, device="cuda" if device.startswith("cuda") else "cpu")
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def step() -> None:
        with pyro.validation_enabled(validate):
            loss = model(batch, epoch=1, dataset_size=rows, uses_ddp=False, batch_ratio=0.0).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return step


def train(
    model: MultimodalVAE,
    data: Mapping[str, Tensor],
    *,
    epochs: int,
    batch_size: int,
    device: str,
    seed: int = 0,
    **settings: Any,
) -> None:
    """Trains a model of this library by ``fit``, with a run folder; further settings are those of ``fit``."""
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stderr(io.StringIO()):
        mmvae.fit(
            model,
            dict(data),
            epochs=epochs,
            batch_size=batch_size,
            lr=LEARNING_RATE,
            seed=seed,
            out=out,
            device=device,
            progress=False,
            **settings,
        )


def train_peer(peer: nn.Module, data: Any, *, epochs: int, batch_size: int, device: str, seed: int = 0) -> None:
    """Trains a model of MultiVae by its ``BaseTrainer``, which always writes a folder."""
    from multivae.trainers import BaseTrainer, BaseTrainerConfig

    with tempfile.TemporaryDirectory() as out, quiet():
        config = BaseTrainerConfig(
            output_dir=out,
            per_device_train_batch_size=batch_size,
            num_epochs=epochs,
            learning_rate=LEARNING_RATE,
            seed=seed,
            no_cuda=not device.startswith("cuda"),
        )
        BaseTrainer(peer, data, training_config=config).train()


def epoch(make_model: Callable[[], MultimodalVAE], data: Mapping[str, Tensor], batch_size: int, device: str) -> Step:
    """An epoch by this library's trainer, which is made anew each time."""
    return lambda: train(make_model(), data, epochs=1, batch_size=batch_size, device=device)


def peer_epoch(ours: MultimodalVAE, data: Mapping[str, Tensor], batch_size: int, device: str) -> Step:
    """An epoch by MultiVae's trainer, which is made anew each time."""
    from peers import make_peer, peer_data

    converted = peer_data(ours, data)
    return lambda: train_peer(make_peer(ours), converted, epochs=1, batch_size=batch_size, device=device)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines and bars of the peer."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
