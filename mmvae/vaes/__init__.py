"""Variational autoencoders: short recipes of modalities x joint posterior x objective."""

from mmvae.vaes.base import MultimodalVAE
from mmvae.vaes.codevae import CoDEVAE
from mmvae.vaes.crmvae import CRMVAE
from mmvae.vaes.cvae import CVAE
from mmvae.vaes.dmvae import DMVAE
from mmvae.vaes.dvcca import DVCCA
from mmvae.vaes.hoelder import HELVAE, HoelderVAE
from mmvae.vaes.iterative import IterativeVAE
from mmvae.vaes.jmvae import JMVAE
from mmvae.vaes.mcvae import MCVAE
from mmvae.vaes.mhvae import MHVAE
from mmvae.vaes.mmjsd import MMJSD
from mmvae.vaes.mmvae import MMVAE
from mmvae.vaes.mmvae_plus import CMVAE, IDMVAE, MMVAEPlus
from mmvae.vaes.mmvm import MMVM
from mmvae.vaes.mopoe import MoPoE
from mmvae.vaes.mvae import MVAE
from mmvae.vaes.mvtcae import MVTCAE
from mmvae.vaes.setvae import SetVAE
from mmvae.vaes.two_stage import JNF, TELBO
from mmvae.vaes.weighted_mvae import WeightedMVAE

__all__ = [
    "CMVAE",
    "CRMVAE",
    "CVAE",
    "DMVAE",
    "DVCCA",
    "HELVAE",
    "IDMVAE",
    "JMVAE",
    "JNF",
    "MCVAE",
    "MHVAE",
    "MMJSD",
    "MMVAE",
    "MMVM",
    "MVAE",
    "MVTCAE",
    "TELBO",
    "CoDEVAE",
    "HoelderVAE",
    "IterativeVAE",
    "MMVAEPlus",
    "MoPoE",
    "MultimodalVAE",
    "SetVAE",
    "WeightedMVAE",
]
