from __future__ import annotations

import pytest
import torch
from objectives.parts import make

from mmvae.objectives import LinearWarmup
from mmvae.objectives.schedules import weight_at


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.5), (2.5, 1.0), (5, 1.5), (10, 2.5), (99, 2.5)])
def test_linear_warmup(epoch: float, weight: float) -> None:
    warmup = LinearWarmup(end=2.5, epochs=10, start=0.5)
    torch.testing.assert_close(weight_at(warmup, torch.tensor(float(epoch))), torch.tensor(weight))


def test_plain_weights_stay() -> None:
    assert weight_at(0.3, torch.tensor(7.0)) == 0.3


def test_no_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs"):
        LinearWarmup(epochs=0)


@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE"])
def test_models_read_their_epoch(kind: str) -> None:
    """The same draws, other weights: the loss changes with the epoch, its terms do not."""
    model, data = make(kind, beta=LinearWarmup(epochs=4))
    totals, elbos = [], []
    for epoch in (0.0, 1.0, 4.0, 9.0):
        model.epoch.fill_(epoch)
        torch.manual_seed(5)
        loss = model.loss(data)
        totals.append(loss.total.item())
        elbos.append(loss.terms["elbo"].item())
    assert len({round(total, 4) for total in totals[:3]}) == 3
    assert totals[2] == totals[3]
    assert elbos == pytest.approx([elbos[0]] * 4)
