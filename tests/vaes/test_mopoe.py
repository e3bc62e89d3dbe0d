from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import MoPoE
from mmvae.testing import ModelContract


class TestMoPoE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MoPoE:
        return MoPoE(modalities, latent_dim=2)
