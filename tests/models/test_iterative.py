from __future__ import annotations

from collections.abc import Sequence

from mmvae import Modality
from mmvae.models import IterativeVAE
from mmvae.testing import ModelContract


class TestIterativeVAE(ModelContract):
    trains_on_incomplete_data = False

    def make_model(self, modalities: Sequence[Modality]) -> IterativeVAE:
        return IterativeVAE(modalities, latent_dim=2, num_steps=2, trunk_width=8, hidden=16, refinement_hidden=8)
