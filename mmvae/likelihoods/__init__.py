"""Likelihoods: from decoder output to a Pyro distribution over the data of one modality.

Where a distribution has several parameters for each number of the data (the logits of a category, say), they stand on
the last axis of the decoder's output: ``parameter_shape = (*shape, how_many)``.
"""

from mmvae.likelihoods.base import Likelihood
from mmvae.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from mmvae.likelihoods.categorical import Categorical
from mmvae.likelihoods.count_data import NegativeBinomial, Poisson, ZeroInflated
from mmvae.likelihoods.custom import Custom, as_likelihood
from mmvae.likelihoods.real_numbers import Laplace, Normal
from mmvae.likelihoods.table import Columns

__all__ = [
    "Bernoulli",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "Custom",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "ZeroInflated",
    "as_likelihood",
]
