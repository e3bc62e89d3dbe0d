"""Sources are what they are said to be, mixtures keep them, and the score tells whether they were found."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Laplace, Normal

from mmvae.data import identifiable_sources
from mmvae.data.identifiable import _well_conditioned
from mmvae.evaluation import mean_correlation


@pytest.mark.parametrize(("family", "kurtosis"), [("gaussian", 3.0), ("laplace", 6.0)])
def test_sources_within_a_segment(family, kurtosis) -> None:
    made = identifiable_sources(40_000, num_sources=3, segments=2, family=family)
    for segment in range(2):
        rows = made.sources[made.segments == segment].double()
        assert len(rows) == 20_000
        assert bool((rows.mean(0).abs() < 5.1).all())
        assert bool(((rows.std(0) > 0.45) & (rows.std(0) < 3.1)).all())
        standard = (rows - rows.mean(0)) / rows.std(0)
        assert standard.pow(4).mean(0).tolist() == pytest.approx([kurtosis] * 3, rel=0.12)
        assert float((standard.T @ standard / len(rows) - torch.eye(3)).abs().max()) < 0.03


def test_segments_move_and_scale_the_sources() -> None:
    made = identifiable_sources(4000, segments=20)
    moments = torch.stack(
        [
            torch.stack([made.sources[made.segments == each].mean(0), made.sources[made.segments == each].std(0)])
            for each in range(20)
        ]
    )
    assert float(moments[:, 0].std(0).min()) > 1  # of a uniform draw from -5 to 5 it is 2.9
    assert float(moments[:, 1].std(0).min()) > 0.3


def test_a_linear_mixture_without_noise_gives_the_sources_back() -> None:
    made = identifiable_sources(500, {"a": 4, "b": 7}, num_sources=4, layers=1, noise=0.0)
    for name in ("a", "b"):
        data = made.dataset.everything().data[name].double()
        design = torch.cat([data, torch.ones(500, 1, dtype=torch.float64)], 1)
        fitted = design @ torch.linalg.lstsq(design, made.sources.double()).solution
        torch.testing.assert_close(fitted, made.sources.double(), atol=1e-3, rtol=0)
        assert mean_correlation(made.sources, fitted) == pytest.approx(1, abs=1e-6)


def test_a_nonlinear_mixture_is_not_undone_by_a_linear_map_and_noise_is_relative() -> None:
    made = identifiable_sources(4000, {"a": 5}, noise=0.0)
    data = made.dataset.everything().data["a"]
    torch.testing.assert_close(data.std(0), torch.ones(5), atol=1e-4, rtol=0)
    design = torch.cat([data, torch.ones(4000, 1)], 1)
    left = made.sources - design @ torch.linalg.lstsq(design, made.sources).solution
    assert float((left.var(0) / made.sources.var(0)).max()) > 0.02
    noisy = identifiable_sources(4000, {"a": 5}, noise=0.5).dataset.everything().data["a"]
    assert (noisy - data).std(0).tolist() == pytest.approx([0.5] * 5, rel=0.05)


def test_matrices_are_well_conditioned_and_have_unit_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    made = torch.stack([_well_conditioned(4, 6, generator) for _ in range(8)])
    torch.testing.assert_close(made.norm(dim=1), torch.ones(8, 6))
    others = 2 * torch.rand(2000, 4, 6, generator=generator) - 1
    usual = torch.linalg.cond(others / others.norm(dim=1, keepdim=True)).median()
    assert float(torch.linalg.cond(made).max()) < float(usual)


def test_data_is_seeded_by_modality() -> None:
    one, other = identifiable_sources(50, {"a": 3, "b": 4}), identifiable_sources(50, {"b": 4})
    assert torch.equal(one.dataset.everything().data["b"], other.dataset.everything().data["b"])
    assert not torch.equal(one.sources, identifiable_sources(50, seed=1).sources)


def test_the_score_ignores_order_scale_and_sign_and_sees_mixtures() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = torch.randn(5000, 3, generator=generator)
    assert mean_correlation(sources, -3 * sources[:, [2, 0, 1]] + 7) == pytest.approx(1)
    angle = torch.tensor(0.5)
    turned = torch.stack([
        angle.cos() * sources[:, 0] + angle.sin() * sources[:, 1],
        angle.cos() * sources[:, 1] - angle.sin() * sources[:, 0],
        sources[:, 2],
    ], 1)  # fmt: skip
    assert mean_correlation(sources, turned) == pytest.approx((2 * float(angle.cos()) + 1) / 3, abs=0.02)
    assert mean_correlation(sources, torch.randn(5000, 4, generator=generator)) < 0.05
    assert mean_correlation(sources, torch.cat([sources[:, :2], torch.ones(5000, 1)], 1)) == pytest.approx(2 / 3)


def test_pairs_are_chosen_together_and_not_one_after_the_other() -> None:
    """Greedy pairs take 0.9 first, and then 0.1."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(100_000, 4, generator=generator)
    sources = z[:, :2]
    latents = torch.stack([0.9 * z[:, 0] + 0.4 * z[:, 1], 0.8 * z[:, 0] + 0.1 * z[:, 1] + 0.6 * z[:, 2]], 1)
    first, second = (each / each.std() for each in latents.T)
    expected = (float((first * z[:, 1]).mean()) + float((second * z[:, 0]).mean())) / 2
    assert mean_correlation(sources, latents) == pytest.approx(expected, abs=0.01)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="segments"):
        identifiable_sources(10, segments=0)
    with pytest.raises(ValueError, match="noise: expected a number from 0, got -1"):
        identifiable_sources(10, noise=-1)
    with pytest.raises(ValueError, match="family"):
        identifiable_sources(10, family="cauchy")
    with pytest.raises(ValueError, match="at least as many latents as sources"):
        mean_correlation(torch.randn(5, 3), torch.randn(5, 2))


def test_kinds_of_sources_are_those_of_torch() -> None:
    """Quantiles, not moments alone."""
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    for family, law in (("gaussian", Normal(0.0, 1.0)), ("laplace", Laplace(0.0, 2**-0.5))):
        made = identifiable_sources(60_000, num_sources=1, segments=1, family=family).sources[:, 0]
        standard = (made - made.mean()) / made.std()
        torch.testing.assert_close(standard.quantile(levels), law.icdf(levels), atol=0.03, rtol=0)
