from __future__ import annotations

from typing import Any

import pytest

from mmvae.refinement import HMC, Amortized, Gradient, chosen_refiner


def test_names_with_their_steps() -> None:
    gradient, hmc = chosen_refiner("gradient"), chosen_refiner("hmc")
    amortized = chosen_refiner("amortized")
    assert isinstance(gradient, Gradient)
    assert isinstance(hmc, HMC)
    assert isinstance(amortized, Amortized)
    assert (gradient.steps, hmc.steps, hmc.warmup, amortized.steps) == (100, 200, 200, None)
    for name in ("gradient", "amortized", "hmc"):
        assert vars(chosen_refiner(name, 7))["steps"] == 7
    assert vars(chosen_refiner("amortized", 0))["steps"] == 0


def test_a_refiner_is_itself() -> None:
    refiner = Gradient(3, lr=0.2)
    assert chosen_refiner(refiner) is refiner


@pytest.mark.parametrize("refine", ["adam", "Gradient", "", Gradient])
def test_unknown_names_are_refused(refine: Any) -> None:
    with pytest.raises(ValueError, match=r"refine: expected None, 'amortized', 'gradient', 'hmc' or a .*Refiner, got"):
        chosen_refiner(refine)


def test_a_refiner_has_its_own_steps() -> None:
    with pytest.raises(ValueError, match="steps: Gradient was given with its own"):
        chosen_refiner(Gradient(3), 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradient(-1), "steps: expected at least 0, got -1"),
        (lambda: Gradient(num_samples=0), "num_samples: expected at least 1, got 0"),
        (lambda: Amortized(-1), "steps: expected at least 0, got -1"),
        (lambda: HMC(3), "steps: HMC needs at least 4 draws .* got 3"),
        (lambda: HMC(chains=1), "chains: expected at least 2, .* got 1"),
        (lambda: chosen_refiner("gradient", -1), "steps"),
        (lambda: chosen_refiner("hmc", 0), "steps"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
