"""Cross-modal prediction by hand, and what it may look at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmvae.codebooks import cross_cpc as module
from mmvae.nn import CrossCPC


class Echo(nn.Module):
    """Reads nothing but the last step, and remembers how long its context was."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        self.lengths.append(features.shape[1])
        return features, None


class Repeat(nn.Module):
    """Expects at step t + k what it was told, times k."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(self, context: Tensor) -> Tensor:
        return torch.cat([k * context for k in range(1, self.horizon + 1)], -1)


def echoing(names: str, **arguments: Any) -> CrossCPC:
    """Predictions known by hand: k times the features at t."""
    cpc = CrossCPC(names, 3, **arguments)
    cpc.readers = nn.ModuleList(Echo() for _ in names)
    cpc.heads = nn.ModuleList(Repeat(cpc.horizon) for _ in names)
    return cpc


def slow_loss(features: dict[str, Tensor], valid: dict[str, Tensor], t: int, horizon: int, softmax: str) -> float:
    """Pair by pair of rows, with the predictions of :func:`echoing`."""
    total, rows = 0.0, range(len(next(iter(features.values()))))
    for k in range(1, horizon + 1):
        for m in features:
            for n in features:
                losses = []
                for b in rows:
                    if not (valid[m][b, t] and valid[n][b, t + k]):
                        continue
                    if softmax == "over_predictions":
                        others = [j for j in rows if valid[m][j, t]]
                        scores = [features[n][b, t + k] @ (k * features[m][j, t]) for j in others]
                    else:
                        others = [i for i in rows if valid[n][i, t + k]]
                        scores = [features[n][i, t + k] @ (k * features[m][b, t]) for i in others]
                    losses.append(-float(torch.stack(scores).log_softmax(0)[others.index(b)]))
                weight = 0.1 if m == n else 1.0
                total += weight * sum(losses) / len(losses) / horizon
    return total


@pytest.mark.parametrize("softmax", ["over_predictions", "over_targets"])
@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("names", ["a", "av", "avt"])
@pytest.mark.parametrize("has_holes", [False, True])
def test_loss_pair_by_pair(softmax: Any, horizon: int, names: str, has_holes: bool) -> None:
    features = {name: torch.randn(4, 6, 3) for name in names}
    valid = {name: torch.ones(4, 6, dtype=torch.bool) for name in names}
    if has_holes:
        valid["a"][0, 3:] = False
        valid["a"][1] = False
        for name in names[1:]:
            valid[name][2, :3] = False
    cpc = echoing(names, horizon=horizon, softmax=softmax)
    hidden = {name: torch.where(valid[name].unsqueeze(-1), each, torch.nan) for name, each in features.items()}
    found = cpc(hidden, valid, t=2)
    assert float(found) == pytest.approx(slow_loss(features, valid, 2, horizon, softmax), rel=1e-4)


def test_a_modality_without_data_costs_nothing() -> None:
    cpc, features = CrossCPC("av", 3), {name: torch.randn(4, 5, 3, requires_grad=True) for name in "av"}
    alone = CrossCPC("a", 3)
    alone.readers[0], alone.heads[0] = cpc.readers[0], cpc.heads[0]
    loss = cpc(features, {"v": torch.zeros(4, 5, dtype=torch.bool)}, t=1)
    torch.testing.assert_close(loss, alone({"a": features["a"]}, t=1))
    loss.backward()
    assert not features["v"].grad.any()  # type: ignore[union-attr]
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in cpc.parameters())


@pytest.mark.parametrize(("steps", "horizon", "expected"), [(6, 1, {2, 3, 4, 5}), (6, 2, {2, 3, 4}), (3, 1, {2})])
def test_contexts_leave_room_for_the_prediction(steps: int, horizon: int, expected: set[int]) -> None:
    """Steps 0 to t, with t from 1 to T - K - 1, each sooner or later."""
    cpc = echoing("av", horizon=horizon)
    for _ in range(60):
        cpc({name: torch.randn(2, steps, 3) for name in "av"})
    lengths = cpc.readers[0].lengths
    assert set(lengths) == expected
    assert lengths == cpc.readers[1].lengths  # one t for all


def test_t_follows_the_global_generator() -> None:
    cpc, features = CrossCPC("av", 3), {name: torch.randn(4, 20, 3) for name in "av"}
    torch.manual_seed(4)
    first = [cpc(features) for _ in range(3)]
    torch.manual_seed(4)
    assert all(torch.equal(cpc(features), each) for each in first)


def test_what_a_gpu_reads_of_later_steps_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients are those of reading to t alone, whatever comes later."""
    cpc, features = CrossCPC("av", 3, horizon=2), {name: torch.randn(4, 9, 3) for name in "av"}
    features["v"][1, 5:] = 1e4
    expected = cpc(features, t=2)
    gradients = torch.autograd.grad(expected, list(cpc.parameters()))
    monkeypatch.setattr(module, "_steps_to_read", lambda now, last: last + 1)
    found = cpc(features, t=2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, list(cpc.parameters())), gradients)


def test_what_comes_later_is_not_looked_at() -> None:
    cpc, features = CrossCPC("av", 3, horizon=2), {name: torch.randn(4, 7, 3) for name in "av"}
    loss = cpc(features, t=2)
    later = {name: each.clone() for name, each in features.items()}
    for each in later.values():
        each[:, 5:] = 99.0
    assert torch.equal(cpc(later, t=2), loss)
    for each in later.values():
        each[:, 0] = 99.0
    assert not torch.equal(cpc(later, t=2), loss)


def test_it_learns_what_does_not_change() -> None:
    """Sequences that are constant, and orthogonal from row to row: who comes next is certain."""
    rows = 4 * torch.eye(4).unsqueeze(1).expand(4, 5, 4)
    features = {"a": rows, "v": -rows.flip(-1)}
    cpc = CrossCPC("av", 4, hidden=8, layers=1)
    adam = torch.optim.Adam(cpc.parameters(), lr=0.03)
    for _ in range(120):
        adam.zero_grad()
        cpc(features).backward()
        adam.step()
    assert cpc(features) < 0.02


def test_architecture() -> None:
    """As in the authors' code: two layers of the features' width, a head with bias per step."""
    cpc = CrossCPC(("a", "v"), 6, horizon=2)
    assert [(each.num_layers, each.hidden_size, each.input_size) for each in cpc.readers] == [(2, 6, 6)] * 2
    assert [(each.in_features, each.out_features) for each in cpc.heads] == [(6, 12)] * 2
    features = {name: torch.randn(3, 4, 6) for name in "av"}
    cpc(features).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cpc.parameters())


@pytest.mark.parametrize(("steps", "horizon", "least"), [(1, 1, 3), (2, 1, 3), (3, 2, 4)])
def test_sequences_too_short(steps: int, horizon: int, least: int) -> None:
    cpc = CrossCPC(("audio", "video"), 3, horizon=horizon)
    message = f"'audio', 'video': expected at least {least} steps, .* got {steps}. .* no sequences, take info_nce"
    with pytest.raises(ValueError, match=message):
        cpc({name: torch.randn(2, steps, 3) for name in ("audio", "video")})


def test_other_errors() -> None:
    with pytest.raises(ValueError, match="softmax: expected 'over_predictions' or 'over_targets', got 'rows'"):
        CrossCPC("av", 3, softmax="rows")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon: expected at least 1, got 0"):
        CrossCPC("av", 3, horizon=0)
    cpc = CrossCPC("av", 3)
    with pytest.raises(ValueError, match=r"unequal steps: \{'a': 5, 'v': 4\}"):
        cpc({"a": torch.randn(2, 5, 3), "v": torch.randn(2, 4, 3)})
    with pytest.raises(ValueError, match="t: expected 0 to 3 with 5 steps and a horizon of 1, got 4"):
        cpc({name: torch.randn(2, 5, 3) for name in "av"}, t=4)
