"""Objectives: what training maximises, as plain functions of a model and a batch."""

from mmvae.objectives.alignment import AlignedELBO
from mmvae.objectives.base import Loss, Objective
from mmvae.objectives.coordination import CoordinatedELBO
from mmvae.objectives.cross_subsets import CrossSubsetELBO
from mmvae.objectives.elbo import ELBO
from mmvae.objectives.judging import Judge
from mmvae.objectives.masked_bound import MaskedBound
from mmvae.objectives.mixture_elbo import MixtureELBO
from mmvae.objectives.sampled_alignment import SampledAlignment
from mmvae.objectives.schedules import LinearWarmup
from mmvae.objectives.stages import Stage
from mmvae.objectives.stratified import StratifiedDReG, StratifiedELBO, StratifiedIWAE
from mmvae.objectives.subset_elbo import SubsetELBO
from mmvae.objectives.total_correlation import TotalCorrelation
from mmvae.objectives.triple_elbo import TripleELBO

__all__ = [
    "ELBO",
    "AlignedELBO",
    "CoordinatedELBO",
    "CrossSubsetELBO",
    "Judge",
    "LinearWarmup",
    "Loss",
    "MaskedBound",
    "MixtureELBO",
    "Objective",
    "SampledAlignment",
    "Stage",
    "StratifiedDReG",
    "StratifiedELBO",
    "StratifiedIWAE",
    "SubsetELBO",
    "TotalCorrelation",
    "TripleELBO",
]
