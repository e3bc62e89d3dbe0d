"""Training: fit, checkpoints, resumption, and saving and loading of models."""

from mmvae.training.fitting import fit
from mmvae.training.learning_rate import warmup_cosine, warmup_polynomial
from mmvae.training.prior_fitting import fit_prior
from mmvae.training.run import Run
from mmvae.training.saving import load, save

__all__ = ["Run", "fit", "fit_prior", "load", "save", "warmup_cosine", "warmup_polynomial"]
