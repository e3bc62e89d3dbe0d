"""Variational autoencoders: short recipes of modalities x joint posterior x objective."""

from mmvae.vaes.base import MultimodalVAE
from mmvae.vaes.iterative import IterativeVAE
from mmvae.vaes.jmvae import JMVAE
from mmvae.vaes.mmvae import MMVAE
from mmvae.vaes.mmvae_plus import CMVAE, MMVAEPlus
from mmvae.vaes.mopoe import MoPoE
from mmvae.vaes.mvae import MVAE
from mmvae.vaes.mvtcae import MVTCAE

__all__ = ["CMVAE", "JMVAE", "MMVAE", "MVAE", "MVTCAE", "IterativeVAE", "MMVAEPlus", "MoPoE", "MultimodalVAE"]
