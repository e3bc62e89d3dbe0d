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
from mmvae.vaes import (
    CMVAE,
    CRMVAE,
    CVAE,
    DMVAE,
    HELVAE,
    IDMVAE,
    JMVAE,
    JNF,
    MCVAE,
    MMJSD,
    MMVAE,
    MMVM,
    MVAE,
    MVTCAE,
    TELBO,
    CoDEVAE,
    HoelderVAE,
    IterativeVAE,
    MMVAEPlus,
    MoPoE,
    MultimodalVAE,
    WeightedMVAE,
)

__all__ = [
    "CMPT",
    "CMVAE",
    "CRMVAE",
    "CVAE",
    "DCID",
    "DMVAE",
    "FCID",
    "HELVAE",
    "IDMVAE",
    "JMVAE",
    "JNF",
    "MCVAE",
    "MMJSD",
    "MMVAE",
    "MMVM",
    "MVAE",
    "MVTCAE",
    "TELBO",
    "CoDEVAE",
    "CodebookModel",
    "FrozenEncoderClassifier",
    "HoelderVAE",
    "IterativeVAE",
    "LateFusion",
    "MMVAEPlus",
    "MaskedReconstruction",
    "MoLT",
    "MoPoE",
    "MultimodalClassifier",
    "MultimodalModel",
    "MultimodalVAE",
    "WeightedMVAE",
]
