"""One codebook for several modalities: quantisation, the losses that align them over it, and its best dimensions."""

from mmvae.nn.codebook.club import CLUB
from mmvae.nn.codebook.contrast import code_matching, info_nce
from mmvae.nn.codebook.cross_cpc import CrossCPC
from mmvae.nn.codebook.dimensions import Kept, toc
from mmvae.nn.codebook.quantiser import Quantised, Quantiser
from mmvae.nn.codebook.statistics import code_histogram, owners, perplexity, sharing, usage

__all__ = [
    "CLUB",
    "CrossCPC",
    "Kept",
    "Quantised",
    "Quantiser",
    "code_histogram",
    "code_matching",
    "info_nce",
    "owners",
    "perplexity",
    "sharing",
    "toc",
    "usage",
]
