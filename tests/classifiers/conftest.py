"""Fixtures that tests of metrics and figures share with those of the core."""

from evaluation.conftest import exact_model, known, linear_data
from plotting.conftest import _settings_stay, batch, classifier, codebook, model, pair

__all__ = ["_settings_stay", "batch", "classifier", "codebook", "exact_model", "known", "linear_data", "model", "pair"]
