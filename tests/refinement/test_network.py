"""One step of the refinement network, against the formulas written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from refinement.parts import gaussian
from torch import Tensor

from mmvae.refinement import Gaussian, RefinementNetwork
from mmvae.refinement.bound import Slope, Terms

FEATURES = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
Q = gaussian(5, 3)


def slope(length: float = 1.0, seed: int = 1) -> Slope:
    generator = torch.Generator().manual_seed(seed)
    loc, log_variance = (length * torch.randn(5, 3, generator=generator) for _ in range(2))
    return Slope(Terms({}, torch.zeros(5)), torch.zeros(5), loc, log_variance)


def make(**options: Any) -> RefinementNetwork:
    torch.manual_seed(2)
    network = RefinementNetwork(4, 3, **{"hidden": 6, **options})
    with torch.no_grad():
        for parameter in network.parameters():  # so that no bias is zero by chance
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def normalised(vector: list[float]) -> list[float]:
    mean = sum(vector) / len(vector)
    deviation = (sum((each - mean) ** 2 for each in vector) / len(vector)) ** 0.5
    return [(each - mean) / (deviation + 1e-5) for each in vector]


def linear(layer: Any, x: Tensor) -> Tensor:
    return torch.stack([(row * x).sum() + bias for row, bias in zip(layer.weight, layer.bias, strict=True)])


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def elu(x: Tensor) -> Tensor:
    return torch.stack([each if each > 0 else each.exp() - 1 for each in x])


def by_hand(network: Any, row: int, given: Slope, lengths: bool) -> tuple[Tensor, Tensor]:
    """The next location and log-variance of one datum."""
    present = [*Q.loc[row].tolist(), *(2 * Q.scale[row].log()).tolist()]
    inputs = [*FEATURES[row].tolist(), *normalised(given.loc[row].tolist())]
    inputs += [*normalised(given.log_variance[row].tolist()), *present]
    if lengths:
        inputs += [float((each[row].square().sum().sqrt() + 1e-5).log()) for each in (given.loc, given.log_variance)]
    h = torch.tensor(inputs)
    for index, layer in enumerate(network.layers):
        gate = sigmoid(linear(layer.gate, h))
        carried = linear(layer.carry, h) if index == 0 else h
        h = gate * carried + (1 - gate) * elu(linear(layer.transform, h))
    gate, proposal = sigmoid(linear(network.gates, h)), linear(network.proposals, h)
    following = gate * torch.tensor(present) + (1 - gate) * proposal
    return following[:3], following[3:]


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gates_and_highway_layers(layers: int, lengths: bool) -> None:
    network, given = make(layers=layers, slope_lengths=lengths), slope(2.0)
    found = network(FEATURES, Q, given)
    for row in range(5):
        loc, log_variance = by_hand(network, row, given, lengths)
        torch.testing.assert_close(found.loc[row], loc, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.log_variance[row], log_variance, rtol=1e-4, atol=1e-5)


def test_first_updates_are_small() -> None:
    """Fresh gates stand near sigmoid(2) = 0.88, so at most an eighth or so of the way is gone."""
    network = RefinementNetwork(4, 3)
    with torch.no_grad():
        assert network.gates.bias.eq(2.0).all()
        network.proposals.weight.zero_()
        network.proposals.bias.fill_(10.0)
        found = network(FEATURES, Q, slope())
    way = (found.loc - Q.loc) / (10 - Q.loc)
    assert ((way > 0.06) & (way < 0.22)).all()


@pytest.mark.parametrize("factor", [0.1, 10.0, 1e4])
def test_slopes_count_by_their_directions(factor: float) -> None:
    """Their lengths are no matter, unless they are asked for."""
    plain, informed = make(), make(slope_lengths=True)
    for network, same in ((plain, True), (informed, False)):
        first, second = network(FEATURES, Q, slope(1.0)), network(FEATURES, Q, slope(factor))
        assert torch.allclose(first.loc, second.loc, atol=1e-3) == same
        assert torch.allclose(first.log_variance, second.log_variance, atol=1e-3) == same
    turned = plain(FEATURES, Q, slope(-1.0))
    assert (turned.loc - plain(FEATURES, Q, slope(1.0)).loc).abs().max() > 0.01


def test_each_slope_has_a_length_of_its_own() -> None:
    network, given = make(slope_lengths=True), slope()
    found = [
        network(FEATURES, Q, given._replace(loc=first * given.loc, log_variance=second * given.log_variance)).loc
        for first, second in ((1.0, 1.0), (5.0, 1.0), (1.0, 5.0))
    ]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(found[first], found[second], atol=1e-3)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_level_bound_is_no_trouble(lengths: bool) -> None:
    """Slopes of zero, of one number, or huge: finite values and gradients."""
    for given, dimensions in ((slope(0.0), 3), (slope(1e15), 3), (slope(), 1)):
        network = RefinementNetwork(4, dimensions, hidden=6, slope_lengths=lengths)
        part = given._replace(loc=given.loc[:, :dimensions], log_variance=given.log_variance[:, :dimensions])
        found = network(FEATURES, Gaussian(Q.loc[:, :dimensions], Q.scale[:, :dimensions]), part)
        (found.loc.sum() + found.log_variance.sum()).backward()
        assert found.loc.isfinite().all()
        assert found.scale.isfinite().all()
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


def test_log_variances_stay_within_soft_bounds() -> None:
    network = make()
    for bias, expected in ((1e4, 24.0), (-1e4, -24.0)):
        with torch.no_grad():
            network.proposals.bias[3:].fill_(bias)
            network.proposals.bias[:3].fill_(1e4)
            found = network(FEATURES, Q, slope())
        torch.testing.assert_close(found.log_variance, torch.full((5, 3), expected), rtol=5e-3, atol=0)
        assert (found.loc > 15).all()


def test_rows_are_independent() -> None:
    network, given = make(), slope()
    whole = network(FEATURES, Q, given)
    part = Slope(Terms({}, torch.zeros(2)), torch.zeros(2), given.loc[1:3], given.log_variance[1:3])
    found = network(FEATURES[1:3], Gaussian(Q.loc[1:3], Q.scale[1:3]), part)
    torch.testing.assert_close(found.loc, whole.loc[1:3])
    torch.testing.assert_close(found.scale, whole.scale[1:3])


def test_layers_are_needed() -> None:
    with pytest.raises(ValueError, match="layers: expected at least 1, got 0"):
        RefinementNetwork(4, 3, layers=0)
