"""Models: short recipes of modalities x joint posterior x objective."""

from mmvae.models.base import MultimodalVAE
from mmvae.models.classifier import MultimodalClassifier
from mmvae.models.cmpt import CMPT
from mmvae.models.codebook import CodebookModel
from mmvae.models.dcid import DCID
from mmvae.models.fcid import FCID
from mmvae.models.frozen_classifier import FrozenEncoderClassifier
from mmvae.models.iterative import IterativeVAE
from mmvae.models.jmvae import JMVAE
from mmvae.models.late_fusion import LateFusion
from mmvae.models.masked_reconstruction import MaskedReconstruction
from mmvae.models.mmvae import MMVAE
from mmvae.models.molt import MoLT
from mmvae.models.mopoe import MoPoE
from mmvae.models.multimodal import MultimodalModel
from mmvae.models.mvae import MVAE
from mmvae.models.mvtcae import MVTCAE

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
