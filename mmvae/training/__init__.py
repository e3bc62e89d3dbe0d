"""Training: fit, checkpoints, resumption, and saving and loading of models."""

from mmvae.training.fitting import fit
from mmvae.training.run import Run
from mmvae.training.saving import load, save

__all__ = ["Run", "fit", "load", "save"]
