from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import JMVAE
from mmvae.testing import ModelContract


class TestJMVAE(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> JMVAE:
        return JMVAE(modalities, latent_dim=2, trunk_width=8, hidden=16)
