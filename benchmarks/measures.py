"""What is timed of both libraries: a function from a model and data to the two steps that do the same work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from polymnist_task import Task
from protocol import Case
from sides import epoch, peer_epoch, peer_training_step, quiet, training_step
from timing import Step
from torch import nn

import mmvae
from mmvae import Batch
from mmvae.subsets import powerset
from mmvae.training.settings import Acceleration
from mmvae.vaes.base import MultimodalVAE


@dataclass(frozen=True)
class Bench:
    """One model on one task.

    Attributes:
        case: the model.
        task: its data.
        device: ``"cpu"`` or ``"cuda"``.
        batch_size: of training, and of inference.
        epoch_rows: of an epoch.
        likelihood_rows: of which likelihoods are estimated.
        num_samples: K, importance samples.
        judges: classifiers by modality.
    """

    case: Case
    task: Task
    device: str
    batch_size: int
    epoch_rows: int
    likelihood_rows: int
    num_samples: int
    judges: Mapping[str, nn.Module]

    def ours(self) -> MultimodalVAE:
        """This library's model, on the device."""
        return self.task.make_model(self.case).to(self.device)

    def peer(self) -> Any:
        """MultiVae's, with the same weights."""
        from peers import make_peer

        peer = make_peer(self.task.make_model(self.case)).to(self.device).eval()
        peer.device = self.device  # where it puts draws from the prior
        return peer


Sides = tuple[Step, Step]
"""This library's step and MultiVae's."""


def training(bench: Bench, acceleration: Acceleration = "auto") -> Sides:
    """Loss, gradient and Adam's update on one batch."""
    data = bench.task.train[: bench.batch_size].data
    ours = training_step(bench.ours().train(), data, acceleration)
    return ours, peer_training_step(bench.task.make_model(bench.case), data, bench.device)


def whole_epoch(bench: Bench) -> Sides:
    """Once through the data by each library's trainer: loading, and the files that it writes, included."""
    data = bench.task.train[: bench.epoch_rows].data
    make_model = functools.partial(bench.task.make_model, bench.case)
    ours = epoch(make_model, data, bench.batch_size, bench.device)
    return ours, peer_epoch(make_model(), data, bench.batch_size, bench.device)


def inference(bench: Bench) -> Sides:
    """Posterior means of a batch, given all modalities but the last."""
    ours, peer = bench.ours().eval(), bench.peer()
    batch = bench.task.test[: bench.batch_size].to(bench.device)
    subset = batch.names[:-1]
    data = _peer_data(bench, bench.batch_size)

    @torch.no_grad()
    def encode() -> None:
        peer.encode(data, list(subset), return_mean=True)

    return lambda: mmvae.infer(ours, batch, subset, progress=False).mean, encode


def likelihood(bench: Bench) -> Sides:
    """Importance-weighted estimates of the joint log-likelihood, from the same number of draws."""
    ours, peer = bench.ours().eval(), bench.peer()
    batch = bench.task.test[: bench.likelihood_rows].to(bench.device)
    data = _peer_data(bench, bench.likelihood_rows)

    @torch.no_grad()
    def estimate() -> None:
        ours.log_likelihood(batch, num_samples=bench.num_samples)

    @torch.no_grad()  # which some of MultiVae's models leave to the caller
    def peer_estimate() -> None:
        peer.compute_joint_nll(data, bench.num_samples, min(bench.num_samples, 100))

    return estimate, peer_estimate


def coherence(bench: Bench) -> Sides:
    """Coherence of every modality given every proper subset, and joint coherence, by the same classifiers."""
    ours, peer = bench.ours().eval(), bench.peer()
    test = bench.task.test
    subsets = [subset for subset in powerset(test.names) if len(subset) < len(test.names)]

    def evaluate() -> None:
        mmvae.evaluate(
            ours,
            test,
            ["coherence", "joint_coherence"],
            classifiers=bench.judges,
            subsets=subsets,
            max_data=len(test),
            progress=False,
        )

    return evaluate, lambda: peer_coherence(peer, test, bench.judges, bench.device, reconstructions=True)


def peer_coherence(
    peer: Any, test: Batch, judges: Mapping[str, nn.Module], device: str, *, reconstructions: bool
) -> dict[str, float]:
    """What MultiVae's own evaluator says of a model: coherence by the number of modalities given, and joint coherence.

    Args:
        peer: MultiVae's model.
        test: labelled data.
        judges: classifiers by modality.
        device: of all of them.
        reconstructions: count modalities that were given among those that are generated.
    """
    from multivae.data.datasets import MultimodalBaseDataset
    from multivae.metrics import CoherenceEvaluator, CoherenceEvaluatorConfig

    config = CoherenceEvaluatorConfig(
        batch_size=1024, include_recon=reconstructions, nb_samples_for_joint=len(test), num_classes=10
    )
    with quiet():
        data = MultimodalBaseDataset(test.data, test.labels)
        evaluator = CoherenceEvaluator(peer, dict(judges), data, eval_config=config)
        evaluator.device = peer.device = device  # it takes CUDA wherever there is one
        for module in (peer, *judges.values()):
            module.to(device)
        found = evaluator.eval()
        evaluator.finish()
    return {key: float(value) for key, value in found.items() if key.startswith(("mean_", "joint_"))}


def _peer_data(bench: Bench, rows: int) -> Any:
    from peers import peer_data

    return peer_data(bench.task.make_model(bench.case), bench.task.test[:rows].to(bench.device).data)


@dataclass(frozen=True)
class Measure:
    """Something that is timed: what the page calls it, its two steps on a bench, and how often they run untimed."""

    title: str
    sides: Callable[[Bench], Sides]
    warmup: int


MEASURES = {
    "step": Measure("Training step", training, 3),
    "epoch": Measure("Epoch by each library's trainer", whole_epoch, 1),
    "inference": Measure("Inference given all modalities but the last", inference, 3),
    "likelihood": Measure("Importance-weighted likelihood", likelihood, 1),
    "coherence": Measure("Evaluation of coherence", coherence, 1),
}
