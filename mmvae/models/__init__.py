"""Models: short recipes of modalities x joint posterior x objective."""

from mmvae.models.base import MultimodalVAE
from mmvae.models.iterative import IterativeVAE
from mmvae.models.jmvae import JMVAE
from mmvae.models.mmvae import MMVAE
from mmvae.models.mopoe import MoPoE
from mmvae.models.mvae import MVAE
from mmvae.models.mvtcae import MVTCAE

__all__ = ["JMVAE", "MMVAE", "MVAE", "MVTCAE", "IterativeVAE", "MoPoE", "MultimodalVAE"]
