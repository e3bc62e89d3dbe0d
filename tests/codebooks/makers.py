"""Small models with a codebook, data for them, and what holds for both kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmvae.models import DCID, FCID
from mmvae.nn import CodeSteps, PatchSteps

SMALL: dict[str, Any] = {"num_codes": 6, "code_dim": 4, "heads": 2, "club_hidden": 5}


def dcid(**options: Any) -> DCID:
    """Features, images and codes, of four steps each; the same weights at each call."""
    modalities = {"audio": 3, "video": PatchSteps((1, 3, 4), 2), "text": CodeSteps(5)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DCID(modalities, **{**SMALL, **options})


def fcid(**options: Any) -> FCID:
    """Features and images of four steps, and codes of five; the same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FCID(
            {"audio": 3, "video": PatchSteps((1, 3, 4), 2)}, {"text": CodeSteps(5)}, **{**SMALL, "layers": 1, **options}
        )


MAKERS = {"DCID": dcid, "FCID": fcid}
TEXT_STEPS = {"DCID": 4, "FCID": 5}


def make_data(kind: str, size: int = 6, seed: int = 1) -> dict[str, Tensor]:
    """Complete data, the same at each call."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "audio": torch.randn(size, 4, 3, generator=generator),
        "video": torch.rand(size, 1, 3, 4, generator=generator),
        "text": torch.randint(0, 5, (size, TEXT_STEPS[kind]), generator=generator),
    }


def make_steps() -> dict[str, Tensor]:
    """Masks of the steps of six rows, among which one has none."""
    audio = torch.ones(6, 4, dtype=torch.bool)
    audio[0, 2:], audio[3], audio[5, 1] = False, False, False
    return {"audio": audio, "text": torch.tensor([True, False, True, True, True, True])}


def without_dropout(model: Any) -> Any:
    """In training mode, and yet without chance in the encoders."""
    model.train()
    model.encoders.eval()
    return model
