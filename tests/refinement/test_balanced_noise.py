from __future__ import annotations

import pytest
import torch

from mmvae.refinement.balanced_noise import balanced_noise

LIKE = torch.zeros((), dtype=torch.float64)


def draw(num_samples: int, latent_dim: int, seed: int = 0) -> torch.Tensor:
    return balanced_noise(num_samples, latent_dim, torch.Generator().manual_seed(seed), LIKE)


@pytest.mark.parametrize(("num_samples", "latent_dim"), [(2, 3), (4, 3), (6, 3), (8, 1), (40, 20)])
def test_even_numbers_come_in_pairs(num_samples: int, latent_dim: int) -> None:
    noise = draw(num_samples, latent_dim)
    assert noise.shape == (num_samples, 1, latent_dim)
    assert torch.equal(noise[: num_samples // 2], -noise[num_samples // 2 :])
    assert len(noise.unique(dim=0)) == num_samples


@pytest.mark.parametrize(("num_samples", "latent_dim"), [(2, 1), (6, 3), (8, 3), (40, 20), (64, 20)])
def test_from_twice_the_dimensions_on_second_moments_are_exact(num_samples: int, latent_dim: int) -> None:
    noise = draw(num_samples, latent_dim)[:, 0]
    torch.testing.assert_close(noise.T @ noise / num_samples, torch.eye(latent_dim, dtype=torch.float64))


def test_with_fewer_they_are_those_of_chance() -> None:
    noise = draw(4, 3)[:, 0]
    assert not torch.allclose(noise.T @ noise / 4, torch.eye(3, dtype=torch.float64), atol=0.1)


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_few_draws_are_standard_normal(num_samples: int) -> None:
    """One by one: 4,000 seeds, to within five standard errors."""
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([balanced_noise(num_samples, 2, generator, LIKE)[0, 0] for _ in range(4000)])
    for values, expected in ((first, 0.0), (first**2, 1.0), (first**4, 3.0), (first.prod(-1), 0.0)):
        assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / 4000**0.5).all()


def test_odd_numbers_have_no_partner() -> None:
    noise = draw(3, 2)
    assert noise.shape == (3, 1, 2)
    assert noise.sum().abs() > 1e-3
    assert torch.equal(noise[0], draw(1, 2)[0])


def test_only_the_generator_is_drawn_from() -> None:
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = (balanced_noise(8, 2, generator, LIKE) for _ in range(2))
    assert torch.equal(first, draw(8, 2, seed=3))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_has_the_type_asked_for() -> None:
    noise = balanced_noise(8, 2, torch.Generator().manual_seed(0), torch.zeros(1))
    assert noise.dtype == torch.float32
    assert torch.equal(noise, draw(8, 2).float())
