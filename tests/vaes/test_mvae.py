from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import MVAE
from mmvae.testing import ModelContract


class TestMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MVAE:
        return MVAE(modalities, latent_dim=2)
