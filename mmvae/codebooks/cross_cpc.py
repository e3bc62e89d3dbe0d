"""Contrastive predictive coding across modalities: what one has shown so far tells what another shows next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.choices import numbers_checked
from mmvae.codebooks.contrast import inner_products, matching_loss
from mmvae.codebooks.vectors import masked
from mmvae.collectives import gathered, of_first

_LEAST_CONTEXT = 1
"""The context is steps 0 to t, with t at least this."""


@numbers_checked
class CrossCPC(nn.Module):
    """The loss of predicting, from each modality's past, the next steps of every modality among those of other rows.

    An LSTM per modality reads its steps 0 to t; a linear layer per modality and step k = 1, ..., K says what it expects
    at t + k; its inner products with what the rows of each modality show there should single out the row itself. One
    t is drawn a batch, uniform over 1, ..., T - K - 1, from torch's global generator of the device.

    Args:
        names: the modalities.
        dim: D, the width of the features.
        hidden: width of the LSTMs; by default D.
        layers: of the LSTMs.
        horizon: K, steps that are predicted.
        softmax: ``"over_predictions"`` of all rows, for the target of one, as in the authors' code;
            ``"over_targets"`` of all rows, for the prediction of one, as in the paper.
        own_weight: of a modality that predicts itself; one that predicts another weighs 1.

    Raises:
        ValueError: for another softmax, or a horizon below 1.

    Source: van den Oord et al. 2018; Xia et al. 2023, equation 6, with the two layers and the weights of the code.
    """

    def __init__(
        self,
        names: Iterable[str],
        dim: int,
        *,
        hidden: int | None = None,
        layers: int = 2,
        horizon: int = 1,
        softmax: Literal["over_predictions", "over_targets"] = "over_predictions",
        own_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if softmax not in ("over_predictions", "over_targets"):
            raise ValueError(f"softmax: expected 'over_predictions' or 'over_targets', got {softmax!r}.")
        hidden = dim if hidden is None else hidden
        self.names, self.horizon, self.softmax, self.own_weight = tuple(names), horizon, softmax, own_weight
        self.readers = nn.ModuleList(nn.LSTM(dim, hidden, layers, batch_first=True) for _ in self.names)
        self.heads = nn.ModuleList(nn.Linear(hidden, horizon * dim) for _ in self.names)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "N T D"]],
        valid: Mapping[str, Bool[Tensor, "N T"]] | None = None,
        *,
        t: int | None = None,
    ) -> Float[Tensor, ""]:
        """The loss, in nats: summed over pairs of modalities with their weights, mean over rows and predicted steps.

        Args:
            features: of each modality, step by step, at the same T steps.
            valid: where there is a step; names left out are valid throughout. A row counts where step t of the one
                modality and step t + k of the other are there.
            t: the last step of the context; by default drawn.

        Raises:
            ValueError: for sequences too short for a context and a prediction, modalities whose steps differ, or a t
                out of its range.
        """
        length = self._length(features)
        last, device = length - self.horizon - 1, features[self.names[0]].device
        if t is None:
            now = of_first(torch.randint(_LEAST_CONTEXT, last + 1, (1,), device=device))
        elif 0 <= t <= last:
            now = torch.full((1,), t, device=device)
        else:
            raise ValueError(f"t: expected 0 to {last} with {length} steps and a horizon of {self.horizon}, got {t}.")
        ahead = now + torch.arange(1, self.horizon + 1, device=device)
        seen, there = masked({name: features[name] for name in self.names}, valid)
        loss = seen[self.names[0]].new_zeros(())
        rows = {
            name: gathered(
                seen[name].index_select(1, ahead),
                there[name].index_select(1, ahead),
                expected,
                there[name].index_select(1, now)[:, 0],
            )
            for name, expected in self._predictions(seen, now, last).items()
        }
        for step in range(self.horizon):
            for source in self.names:
                for target in self.names:
                    (targets, shown, _, _), (_, _, predictions, said) = rows[target], rows[source]
                    shown = shown[:, step]
                    # Targets in rows, predictions in columns.
                    scores = inner_products(targets[:, step], predictions[:, step])
                    if self.softmax == "over_predictions":
                        term = matching_loss(scores, shown & said, said)
                    else:
                        term = matching_loss(scores.T, shown & said, shown)
                    loss = loss + (self.own_weight if source == target else 1.0) * term
        return loss / self.horizon

    def _length(self, features: Mapping[str, Tensor]) -> int:
        """T, of which is known that it suffices."""
        lengths = {name: features[name].shape[1] for name in self.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"unequal steps: {lengths}; one modality can only predict another at the same steps.")
        length = next(iter(lengths.values()))
        least = _LEAST_CONTEXT + self.horizon + 1
        if length < least:
            raise ValueError(
                f"{', '.join(map(repr, self.names))}: expected at least {least} steps, a context of "
                f"{_LEAST_CONTEXT + 1} and {self.horizon} to predict, got {length}. Take a shorter horizon or finer "
                f"steps; for data that are no sequences, take info_nce."
            )
        return length

    def _predictions(self, features: Mapping[str, Tensor], now: Tensor, last: int) -> dict[str, Tensor]:
        """What each modality expects at the steps after t, ``[N, K, D]``; t is at most ``last``."""
        read, expected = _steps_to_read(now, last), {}
        for name, reader, head in zip(self.names, self.readers, self.heads, strict=True):
            context = reader(features[name][:, :read])[0].index_select(1, now)[:, 0]  # [N, hidden]
            expected[name] = head(context).reshape(len(context), self.horizon, -1)
        return expected


def _steps_to_read(now: Tensor, last: int) -> int:
    """How many: to t, where it is known at once. No GPU is waited for; what it reads of later steps reaches nothing."""
    return (int(now) if now.device.type == "cpu" else last) + 1
