"""Training: fit, checkpoints, resumption, and saving and loading of models."""

from mmvae.training.fitting import fit
from mmvae.training.learning_rate import warmup_cosine, warmup_polynomial
from mmvae.training.prior_fitting import fit_prior
from mmvae.training.run import Run
from mmvae.training.saving import load, save
from mmvae.training.watchers import Watcher

__all__ = ["Run", "Watcher", "fit", "fit_prior", "load", "save", "warmup_cosine", "warmup_polynomial"]
