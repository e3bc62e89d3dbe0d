"""One codebook for several modalities: models, quantisation, losses that align modalities, the best dimensions."""

from mmvae.codebooks.club import CLUB
from mmvae.codebooks.code_statistics import code_histogram, owners, perplexity, sharing, usage
from mmvae.codebooks.codebook import CodebookModel
from mmvae.codebooks.contrast import code_matching, info_nce
from mmvae.codebooks.cross_cpc import CrossCPC
from mmvae.codebooks.dcid import DCID
from mmvae.codebooks.dimensions import Kept, toc
from mmvae.codebooks.fcid import FCID
from mmvae.codebooks.quantiser import Quantised, Quantiser
from mmvae.families import register

__all__ = [
    "CLUB",
    "DCID",
    "FCID",
    "CodebookModel",
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

register(metrics="mmvae.codebooks.metrics", report="mmvae.codebooks.report")
