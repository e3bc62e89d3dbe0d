"""The bound step by step: the numbers of closed forms, and curves that show them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from refinement.parts import WEIGHTS, YARDSTICK, exact_bound

from mmvae import Batch, models, plot
from mmvae.models import IterativeVAE
from mmvae.refinement import Gaussian

DATA = YARDSTICK.sample(6)


def iterative(**options: Any) -> IterativeVAE:
    torch.manual_seed(1)
    return IterativeVAE(
        YARDSTICK.modalities(), 3, num_steps=2, trunk_width=8, hidden=8, refinement_hidden=8, **options
    ).eval()


def exact(iterates: list[Gaussian], weights: dict[str, float] | None = None, beta: float = 1.0) -> np.ndarray:
    """The bound of Gaussians without any draw, ``[T + 1, N]``."""
    bounds = [
        exact_bound(YARDSTICK, DATA, each.loc.double(), each.log_variance.double(), weights, beta) for each in iterates
    ]
    return torch.stack(bounds).detach().numpy()


def test_ascent_ends_at_the_mean_field_optimum() -> None:
    model = models.MVAE(YARDSTICK.modalities(), 3)
    arrays = plot.RefinementTrace.of(model, DATA)
    assert arrays.network is None
    assert arrays.trained_steps is None
    assert not arrays.weighted
    assert arrays.gradient.shape == (51, 6)
    np.testing.assert_allclose(arrays.gradient[-1], YARDSTICK.mean_field_elbo(DATA), atol=1e-3)
    start = Gaussian.of(model.eval().posterior(model.prepare(DATA)))
    np.testing.assert_allclose(arrays.gradient[0], exact([start])[0], rtol=1e-4)


@pytest.mark.parametrize(("weights", "beta"), [(None, 1.0), (WEIGHTS, 2.5)])
def test_the_network_is_followed_beyond_its_training_on_the_bound_it_climbs(
    weights: dict[str, float] | None, beta: float
) -> None:
    model = iterative(weights=weights, beta=beta)
    arrays = plot.RefinementTrace.of(model, DATA, ascent_steps=4)
    _, path = model.refinement_path(model.prepare(DATA), 5)
    assert arrays.network is not None
    assert arrays.trained_steps == 2
    assert arrays.weighted == (weights is not None)
    np.testing.assert_allclose(arrays.network, exact(path.iterates, weights, beta), rtol=1e-4)
    assert arrays.gradient.shape == (5, 6)
    np.testing.assert_array_equal(arrays.gradient[0], arrays.network[0])  # both start at λ_0, with the same draws
    assert (arrays.gradient[-1] > arrays.gradient[0]).all()
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_only_data_with_every_modality_count() -> None:
    observed = {"a": torch.tensor([True, True, False, True, True, True])}
    arrays = plot.RefinementTrace.of(iterative(), Batch(DATA, observed), steps=1, ascent_steps=1)
    assert arrays.network is not None
    assert arrays.network.shape == (2, 5)
    with pytest.raises(ValueError, match="none of the 6 rows looked at has all of a, b, c"):
        plot.RefinementTrace.of(iterative(), Batch(DATA, {"a": torch.zeros(6, dtype=torch.bool)}))


def test_a_model_without_a_generative_program_is_refused() -> None:
    class Plain(torch.nn.Linear):
        names = YARDSTICK.names

    with pytest.raises(TypeError, match="Plain has no generative program"):
        plot.RefinementTrace.of(Plain(1, 1), DATA)


GRADIENT = np.array([[-9.0, -11.0, -40.0], [-8.0, -6.0, -39.0], [-7.0, -5.0, -38.0], [-6.0, -4.0, -30.0]])
NETWORK = np.array([[-9.0, -11.0, -40.0], [-8.5, -8.0, -42.0], [-8.0, -7.0, -37.0]])


def test_curves_are_gains_and_the_right_axis_has_the_mean_bound() -> None:
    ax = plot.refinement_trace(plot.RefinementTrace(GRADIENT, NETWORK, 1, True))
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    np.testing.assert_allclose(curves["network of the model: mean"], [0, 0.5, 8 / 3])
    np.testing.assert_allclose(curves["gradient ascent: mean"], [0, 7 / 3, 10 / 3])  # as far as the network goes
    assert any(len(y) == 2 and np.allclose(y, [10 / 3, 20 / 3]) for y in curves.values())  # and where it ends
    assert ax.get_xticklabels()[-1].get_text() == "3"
    assert [1, 1] in [list(line.get_xdata()) for line in ax.get_lines() if line.get_linestyle() == "--"]
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    low, high = ax.get_ylim()
    np.testing.assert_allclose(ax.child_axes[0].get_ylim(), (low - 20, high - 20))
    assert "training bound (nats" in ax.get_ylabel()


def test_without_a_network_the_whole_ascent_is_shown() -> None:
    ax = plot.refinement_trace(plot.RefinementTrace(GRADIENT, None, None, False))
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    np.testing.assert_allclose(curves["gradient ascent: mean"], [0, 7 / 3, 10 / 3, 20 / 3])
    assert "ELBO (nats" in ax.get_ylabel()
    assert not [line for line in ax.get_lines() if line.get_linestyle() == "--"]
