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
from mmvae.vaes import JMVAE, MMVAE, MVAE, MVTCAE, IterativeVAE, MoPoE, MultimodalVAE

__all__ = [
    "CMPT",
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
    "MaskedReconstruction",
    "MoLT",
    "MoPoE",
    "MultimodalClassifier",
    "MultimodalModel",
    "MultimodalVAE",
]
