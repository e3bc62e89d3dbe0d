"""Multimodal variational autoencoders in Pyro: infer from any subset of modalities, generate what is missing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmvae import distributions, likelihoods, models, nn, objectives, posteriors, priors, refinement, transforms
from mmvae.batch import Batch
from mmvae.codebooks import toc
from mmvae.exporting import export
from mmvae.imputing import impute
from mmvae.inference import infer
from mmvae.latents import Latents
from mmvae.layout import Layout
from mmvae.modality import Modality

if TYPE_CHECKING:
    from mmvae import data, evaluation, plot, sklearn, testing, training
    from mmvae.evaluation import cross_validate, deviation, evaluate
    from mmvae.plotting import report
    from mmvae.training import fit, fit_prior, load, save

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Latents",
    "Layout",
    "Modality",
    "cross_validate",
    "data",
    "deviation",
    "distributions",
    "evaluate",
    "evaluation",
    "export",
    "fit",
    "fit_prior",
    "impute",
    "infer",
    "likelihoods",
    "load",
    "models",
    "nn",
    "objectives",
    "plot",
    "posteriors",
    "priors",
    "refinement",
    "report",
    "save",
    "sklearn",
    "testing",
    "toc",
    "training",
    "transforms",
]

# The training engine, torchvision and matplotlib are slow to load and not always needed: they load where first used.
_LATE = {
    "cross_validate": "mmvae.evaluation:cross_validate",
    "data": "mmvae.data",
    "deviation": "mmvae.evaluation:deviation",
    "evaluate": "mmvae.evaluation:evaluate",
    "evaluation": "mmvae.evaluation",
    "fit": "mmvae.training:fit",
    "fit_prior": "mmvae.training:fit_prior",
    "load": "mmvae.training:load",
    "plot": "mmvae.plot",
    "report": "mmvae.plotting:report",
    "save": "mmvae.training:save",
    "sklearn": "mmvae.sklearn",
    "testing": "mmvae.testing",
    "training": "mmvae.training",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'mmvae' has no attribute {name!r}")
    module, _, attribute = _LATE[name].partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return sorted(__all__)
