"""Models: short recipes of modalities x joint posterior x objective, classifiers, and codebooks.

The public names of models of all families.
"""

from mmvae.classifiers import (
    CMPT,
    FrozenEncoderClassifier,
    LateFusion,
    MaskedReconstruction,
    MoLT,
    MultimodalClassifier,
)
from mmvae.codebooks import DCID, FCID, CodebookModel
from mmvae.multimodal import MultimodalModel
from mmvae.vaes import CMVAE, JMVAE, MMVAE, MVAE, MVTCAE, IterativeVAE, MMVAEPlus, MoPoE, MultimodalVAE

__all__ = [
    "CMPT",
    "CMVAE",
    "DCID",
    "FCID",
    "JMVAE",
    "MMVAE",
    "MVAE",
    "MVTCAE",
    "CodebookModel",
    "FrozenEncoderClassifier",
    "IterativeVAE",
    "LateFusion",
    "MMVAEPlus",
    "MaskedReconstruction",
    "MoLT",
    "MoPoE",
    "MultimodalClassifier",
    "MultimodalModel",
    "MultimodalVAE",
]
