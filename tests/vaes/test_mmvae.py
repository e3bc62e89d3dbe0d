from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import MMVAE
from mmvae.testing import ModelContract


class TestMMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MMVAE:
        return MMVAE(modalities, latent_dim=2)
