"""What every likelihood must do: inherit, implement the factory methods, and let pytest run it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

import pyro
import torch
from torch import Tensor

from mmvae.likelihoods import Likelihood


class LikelihoodContract(ABC):
    """Tests of one likelihood, for data of shape :attr:`shape`.

    Example:
        .. code-block:: python

            class TestMyLikelihood(LikelihoodContract):
                def make_likelihood(self):
                    return MyLikelihood()
                ...
    """

    shape: tuple[int, ...] = (2, 3)
    """Of one datum in the tests."""
    normalised: bool = True
    """False for a score that is not a density."""
    reach: float = 30.0
    """Size of the largest decoder outputs that must be scored as exactly in float32 as in float64."""

    @abstractmethod
    def make_likelihood(self) -> Likelihood:
        """A likelihood to test."""

    @abstractmethod
    def make_data(self, size: int) -> Tensor:
        """Data that it can score, ``[size, *shape]``, of any type that it takes."""

    @abstractmethod
    def make_support(self) -> tuple[Tensor, float]:
        """Values that cover its support (or all but a negligible part), and the volume of each: 1 for what is counted,
        the distance between neighbours for what is integrated."""

    def make_unscorable(self) -> Sequence[Tensor]:
        """Data that it must refuse with a ``ValueError`` or ``TypeError``, each ``[size, *shape]``."""
        return []

    def make_parameters(self, size: int) -> Tensor:
        """Decoder output, ``[size, *parameter_shape]``."""
        shape = self.make_likelihood().parameter_shape(self.shape)
        return torch.randn(size, *shape, generator=torch.Generator().manual_seed(2))

    def test_distribution_covers_the_datum(self) -> None:
        """Batch and event shape together are ``[N, *shape]``, and every number has a finite log-density."""
        likelihood = self.make_likelihood()
        distribution = likelihood(self.make_parameters(4))
        assert (*distribution.batch_shape, *distribution.event_shape) == (4, *self.shape)
        data = likelihood.conform("x", self.make_data(4))
        assert data.dtype == likelihood.data_dtype
        log_prob = distribution.log_prob(data)
        assert log_prob.isfinite().all()
        assert log_prob.shape == distribution.batch_shape

    def test_leading_dimensions_are_batch_dimensions(self) -> None:
        """Parameters of two leading dimensions score data of one, each by itself."""
        likelihood = self.make_likelihood()
        data = likelihood.conform("x", self.make_data(4))
        parameters = self.make_parameters(12).unflatten(0, (3, 4))
        together = likelihood(parameters).log_prob(data)
        one_by_one = torch.stack([likelihood(each).log_prob(data) for each in parameters])
        torch.testing.assert_close(together, one_by_one)

    def test_data_is_scored_as_by_the_distribution(self) -> None:
        """``log_prob`` gives the numbers and gradients of the distribution, whether arguments are checked or not."""
        likelihood = self.make_likelihood()
        data = likelihood.conform("x", self.make_data(4))
        for given in (self.make_parameters(4), self.make_parameters(12).unflatten(0, (3, 4))):
            parameters = given.requires_grad_()
            distribution = likelihood(parameters)
            expected = distribution.to_event(len(self.shape) - len(distribution.event_shape)).log_prob(data)
            inputs = [parameters, *likelihood.parameters()]
            slopes = torch.autograd.grad(expected.square().sum(), inputs)
            for checked in (True, False):
                with pyro.validation_enabled(checked):
                    found = likelihood.log_prob(parameters, data)
                torch.testing.assert_close(found, expected)
                torch.testing.assert_close(torch.autograd.grad(found.square().sum(), inputs), slopes)

    def test_total_probability_is_one(self) -> None:
        """The density integrates, or the probabilities sum, to one."""
        if not self.normalised:
            return
        likelihood = self.make_likelihood()
        distribution = likelihood(self.make_parameters(2))
        values, volume = self.make_support()
        dims = len(distribution.batch_shape) + len(distribution.event_shape)
        values = values.reshape(-1, *(1,) * dims).expand(-1, *distribution.batch_shape, *distribution.event_shape)
        total = distribution.log_prob(values.to(likelihood.data_dtype)).double().exp().sum(0) * volume
        torch.testing.assert_close(total, torch.ones_like(total), atol=2e-3, rtol=0)

    def make_wide_parameters(self, size: int) -> Tensor:
        """Decoder output of sizes from :attr:`reach` / 1000 to :attr:`reach`, ``[size, *parameter_shape]``."""
        shape = self.make_likelihood().parameter_shape(self.shape)
        generator = torch.Generator().manual_seed(3)
        sizes = self.reach * 10 ** (-3 * torch.rand(size, *shape, generator=generator))
        return sizes * torch.randint(0, 2, sizes.shape, generator=generator).mul(2).sub(1)

    def test_float32_scores_as_float64_does(self) -> None:
        """Log-densities within 1e-3 of their size of those in float64, and gradients too, for decoder outputs of any
        size up to :attr:`reach`."""
        likelihood, size = self.make_likelihood(), 64
        data = likelihood.conform("x", self.make_data(size))
        narrow = self.make_wide_parameters(size).requires_grad_()
        wide = narrow.detach().double().requires_grad_()
        found = likelihood(narrow).log_prob(data)
        exact = copy.deepcopy(likelihood).double()(wide).log_prob(data.double() if data.is_floating_point() else data)
        assert exact.dtype == torch.float64
        torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4)
        found.sum().backward()
        exact.sum().backward()
        assert narrow.grad is not None
        assert wide.grad is not None
        torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=1e-3, atol=1e-4)

    def test_half_precision_ends_where_densities_begin(self) -> None:
        """Under autocast, and from a decoder's output of bfloat16, densities are those of the same numbers in
        float32."""
        likelihood = self.make_likelihood()
        parameters = self.make_parameters(16).bfloat16()
        data = likelihood.conform("x", self.make_data(16))
        expected = likelihood(parameters.float()).log_prob(data)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, summed = likelihood(parameters).log_prob(data), likelihood.log_prob(parameters, data)
        assert found.dtype == summed.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(summed, expected.flatten(1).sum(1), rtol=1e-5, atol=1e-5)

    def test_large_events_are_summed_without_loss(self) -> None:
        """The log-density of an event of 120,000 numbers is the sum of theirs, to 1e-5 of its size."""
        likelihood, size = self.make_likelihood(), 20_000
        data, parameters = likelihood.conform("x", self.make_data(size)), self.make_parameters(size)
        each, event = likelihood(parameters), likelihood(parameters)
        event = event.to_event(len(event.batch_shape))
        with torch.no_grad():
            parts, whole = each.log_prob(data).double(), event.log_prob(data).double()
        assert float((whole - parts.sum()).abs()) < 1e-5 * float(parts.abs().sum())

    def test_gradients_reach_parameters(self) -> None:
        """The log-density is differentiable in the decoder's output and in the likelihood's own parameters."""
        likelihood = self.make_likelihood()
        parameters = self.make_parameters(4).requires_grad_()
        data = likelihood.conform("x", self.make_data(4))
        likelihood(parameters).log_prob(data).sum().backward()
        for tensor in (parameters, *likelihood.parameters()):
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()
            assert tensor.grad.any()

    def test_point_is_a_datum(self) -> None:
        """The best single guess has the shape and type of data."""
        likelihood = self.make_likelihood()
        point = likelihood.point(likelihood(self.make_parameters(4)))
        assert point.shape == (4, *self.shape)
        assert point.dtype == likelihood.data_dtype
        assert point.isfinite().all()

    def test_draws_can_be_scored(self) -> None:
        """What it draws, it accepts as data."""
        likelihood = self.make_likelihood()
        draws = likelihood(self.make_parameters(4)).sample()
        assert draws.shape == (4, *self.shape)
        likelihood.conform("x", draws)

    def test_data_is_not_changed(self) -> None:
        """Checking and casting leave the caller's tensor as it was."""
        data = self.make_data(4)
        before = data.clone()
        self.make_likelihood().conform("x", data)
        assert torch.equal(data, before)

    def test_unscorable_data_is_refused_by_name(self) -> None:
        """The error names the modality."""
        import pytest

        for data in self.make_unscorable():
            with pytest.raises((TypeError, ValueError), match="somename"):
                self.make_likelihood().conform("somename", data)

    def test_a_hole_can_be_scored(self) -> None:
        """What stands where data is missing has a finite density and finite gradients, though they are masked."""
        likelihood = self.make_likelihood()
        parameters = self.make_parameters(4).requires_grad_()
        data = self.make_data(4)
        hole = data[:1] if likelihood.hole is None else torch.as_tensor(likelihood.hole, dtype=data.dtype)
        filling = hole.expand_as(data)
        holes = likelihood.conform("x", filling)
        log_prob = likelihood(parameters).log_prob(holes)
        log_prob.sum().backward()
        assert log_prob.isfinite().all()
        assert parameters.grad is not None
        assert parameters.grad.isfinite().all()

    def test_copies_and_reloads(self) -> None:
        """A copy, and another instance with its weights, give the same densities."""
        likelihood, other = self.make_likelihood(), self.make_likelihood()
        for parameter in likelihood.parameters():
            torch.nn.init.uniform_(parameter)
        other.load_state_dict(likelihood.state_dict())
        parameters, data = self.make_parameters(4), likelihood.conform("x", self.make_data(4))
        expected = likelihood(parameters).log_prob(data)
        for same in (other, copy.deepcopy(likelihood)):
            assert torch.equal(same(parameters).log_prob(data), expected)
