"""What happens at each step, read off latents by a linear map: any number of events at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmvae.evaluation import classification_scores

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse weights of the penalty to choose among; of several that are as good, the first."""
_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of one modality, of all clips: features ``[n, D]``, and what happens, bool ``[n, C]``."""

    features: Tensor
    events: Tensor


@dataclass(frozen=True)
class Fitted:
    """A linear map that was fitted: from features to logits; what was chosen for it, and its micro F1 at home."""

    logits: Callable[[Tensor], Tensor]
    setting: str
    validation: float


def f1(fitted: Fitted, steps: Steps) -> float:
    """Micro F1, of all events at all steps."""
    return classification_scores(fitted.logits(steps.features), steps.events.long())["f1_micro"][0]


def constant_f1(train: Steps, steps: Steps) -> float:
    """Micro F1 of naming the most frequent event of the training data at every step."""
    most = nn.functional.one_hot(train.events.sum(0).argmax(), train.events.shape[1])
    return classification_scores((most - 0.5).expand(steps.events.shape), steps.events.long())["f1_micro"][0]


def fit(train: Steps, validation: Steps) -> Fitted:
    """Logistic regression of each event, with the penalty that is best on ``validation``."""
    scale = float(train.features.double().square().mean().sqrt()) or 1.0
    found = []
    for strength in STRENGTHS:
        linear = _fitted(train.features / scale, train.events, strength)

        @torch.no_grad()
        def logits(features: Tensor, linear: nn.Linear = linear) -> Tensor:
            return linear(features / scale)

        fitted = Fitted(logits, f"C = {strength:g}", 0.0)
        found.append(replace(fitted, validation=f1(fitted, validation)))
    return max(found, key=lambda each: each.validation)


def _fitted(features: Tensor, events: Tensor, strength: float) -> nn.Linear:
    linear = nn.Linear(features.shape[1], events.shape[1])
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
    target = events.to(features.dtype)

    def closure() -> Tensor:
        optimiser.zero_grad()
        error = nn.functional.binary_cross_entropy_with_logits(linear(features), target, reduction="sum")
        loss = (error + linear.weight.square().sum() / (2 * strength)) / len(features)
        loss.backward()
        return loss

    optimiser.step(closure)
    return linear
