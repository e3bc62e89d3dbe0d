from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import MVTCAE
from mmvae.testing import ModelContract


class TestMVTCAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MVTCAE:
        return MVTCAE(modalities, latent_dim=2)
