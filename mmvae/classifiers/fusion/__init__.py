"""How several encoders come together: latent tuning, bilinear pooling, means of layers, fusion of what is there."""

from mmvae.classifiers.fusion.bilinear import BilinearPooling
from mmvae.classifiers.fusion.latent_fusion import ConcatFusion, TransformerFusion
from mmvae.classifiers.fusion.latent_tuning import LatentTuning, LatentTuningBlock, TunedLatents, paired_layers
from mmvae.classifiers.fusion.layer_mean import LayerMean

__all__ = [
    "BilinearPooling",
    "ConcatFusion",
    "LatentTuning",
    "LatentTuningBlock",
    "LayerMean",
    "TransformerFusion",
    "TunedLatents",
    "paired_layers",
]
