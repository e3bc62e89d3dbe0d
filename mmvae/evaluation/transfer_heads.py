"""Small classifiers of latents, which are fitted on one modality and read others too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mmvae.evaluation.inferred import mean_over_steps
from mmvae.evaluation.linear_probe import fit_logistic


@dataclass(frozen=True, eq=False)
class Labelled:
    """Latents of one modality, and the classes of their data points.

    Attributes:
        features: ``[n, D]``, or ``[n, *T, D]`` for sequences.
        labels: classes, whole numbers from 0 on.
        there: which steps of a sequence are there; all of them, if ``None``.
    """

    features: Float[Tensor, "n *T D"]
    labels: Int64[Tensor, "n"]
    there: Bool[Tensor, "n *T"] | None = None

    def __getitem__(self, rows: Int64[Tensor, "k"]) -> Labelled:
        """Some of the data points."""
        there = None if self.there is None else self.there[rows]
        return Labelled(self.features[rows], self.labels[rows], there)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FittedHead:
    """A head that has been fitted.

    Attributes:
        predict: classes of latents, int64 ``[n]``; it looks at their features alone.
        setting: what was chosen on the validation part.
        validation: accuracy on it.
    """

    predict: Callable[[Labelled], Tensor]
    setting: str
    validation: float


@runtime_checkable
class Head(Protocol):
    """A way to read classes off latents."""

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """A head fitted on ``train``, whose settings are the best of some on ``validation``."""


def pooled(latents: Labelled) -> Float[Tensor, "n D"]:
    """The mean over the steps that are there."""
    return mean_over_steps(latents.features, _there(latents)).float()


def flattened(latents: Labelled) -> Float[Tensor, "n F"]:
    """The steps one after another, with zeros for those that are not there."""
    return (latents.features * _there(latents).unsqueeze(-1)).float().flatten(1)


@dataclass(frozen=True)
class LogisticHead:
    """Logistic regression.

    Latents are divided by their root mean square over the training part, one number, so that the strengths mean the
    same for latents of any scale.

    Args:
        read: what it sees of the latents: :func:`pooled`, :func:`flattened`, or a function of your own.
        strengths: inverse weights of the penalty to choose among, ascending; of several that are as good, the first.
    """

    read: Callable[[Labelled], Tensor] = pooled
    strengths: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """The regression of the strength that is best on ``validation``."""
        features = self.read(train)
        scale = _root_mean_square(features)
        fitted = []
        for strength in self.strengths:
            probe, _ = fit_logistic(features / scale, train.labels, seed, strength)

            def predict(latents: Labelled, probe: object = probe) -> Tensor:
                return torch.as_tensor(probe.predict((self.read(latents) / scale).numpy()))  # type: ignore[attr-defined]

            fitted.append(FittedHead(predict, f"C = {strength:g}", accuracy(predict(validation), validation)))
        return max(fitted, key=lambda head: head.validation)


@dataclass(frozen=True)
class StepHead:
    """A linear map of each step, the maximum over the steps, a linear map to the classes; trained by Adam.

    Latents are divided by their root mean square over the training part, one number.

    Args:
        rates: learning rates to choose among.
        epochs: of training with each; the best one is chosen too.
        batch_size: data points of a step of Adam.

    Source: Xia et al. 2023, the head of their code for classification.
    """

    rates: tuple[float, ...] = (4e-4, 4e-3)
    epochs: int = 30
    batch_size: int = 128

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> FittedHead:
        """The network of the rate and epoch that are best on ``validation``; the first of several as good."""
        classes = int(torch.cat([train.labels, validation.labels]).max()) + 1
        best: FittedHead | None = None
        for rate in self.rates:
            for epoch, network in enumerate(self._epochs(train, classes, rate, seed), 1):
                right = accuracy(network.classes(validation), validation)
                if best is None or right > best.validation:
                    best = FittedHead(copy.deepcopy(network).classes, f"rate {rate:g}, epoch {epoch}", right)
        assert best is not None  # there is a rate and an epoch
        return best

    def _epochs(self, train: Labelled, classes: int, rate: float, seed: int) -> Iterator[_Network]:
        """The network after each epoch, in evaluation mode; always the same object."""
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = _Network(train.features.shape[-1], classes, _root_mean_square(train.features[_there(train)]))
        optimiser = torch.optim.Adam(network.parameters(), rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(train), generator=generator).split(self.batch_size):
                some = train[rows]
                with torch.enable_grad():
                    loss = nn.functional.cross_entropy(network(some.features, _there(some)), some.labels)
                    optimiser.zero_grad()
                    loss.backward()
                optimiser.step()
            yield network


class _Network(nn.Module):
    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.each, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "n *T D"], there: Bool[Tensor, "n *T"]) -> Float[Tensor, "n C"]:
        steps = self.each(features / self.scale).masked_fill(~there.unsqueeze(-1), -torch.inf)
        return self.head(steps.reshape(len(steps), -1, steps.shape[-1]).amax(1))

    @torch.no_grad()
    def classes(self, latents: Labelled) -> Int64[Tensor, "n"]:
        """The most likely class of each."""
        return self(latents.features, _there(latents)).argmax(1)


def accuracy(predicted: Int64[Tensor, "n"], latents: Labelled) -> float:
    """The share of classes that are right."""
    return float((predicted == latents.labels).double().mean())


def _there(latents: Labelled) -> Tensor:
    if latents.there is not None:
        return latents.there
    return torch.ones(latents.features.shape[:-1], dtype=torch.bool, device=latents.features.device)


def _root_mean_square(features: Tensor) -> float:
    """Of all numbers; 1 if they are zero."""
    return float(features.double().square().mean().sqrt()) or 1.0
