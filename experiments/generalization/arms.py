"""The arms: codebooks with and without their parts, and the continuous latents of VAEs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from generalization.tasks import FINE, STEPS, Splits, Task, modalities

from mmvae import models
from mmvae.models import MultimodalModel
from mmvae.nn import Quantiser

Group = Literal["arms", "parts"]
CODES: dict[str, Any] = {"num_codes": 64, "code_dim": 64}
SMALL: dict[str, Any] = {"layers": 1, "club_hidden": 64, "inner_steps": 3, "feedforward": 128, "dropout": 0.0}


@dataclass(frozen=True)
class Arm:
    """A model and its training."""

    group: Group
    make: Callable[[Task, Splits], MultimodalModel]
    lr: float = 1e-3
    max_grad_norm: float | None = 0.5
    whole: bool = False
    """Whether the model takes each datum as a whole, and knows no steps."""


def sizes(task: Task) -> dict[str, Any]:
    """Of all codebooks; images need a place for each patch, and convolutions, features neither."""
    of_images = {} if task == "sequences" else {"positions": True, "stem": "conv"}
    return {**CODES, **SMALL, **of_images}


class ReferenceDCID(models.DCID):
    """With the codebook of the authors' code: one modality after the other moves it, from counts of zero."""

    def make_quantiser(
        self, num_codes: int, code_dim: int, commitment: float, cross: bool, reset_after: int | None
    ) -> Quantiser:
        """The codebook."""
        return Quantiser(
            num_codes, code_dim, update="reference", commitment=commitment, cross=cross, reset_after=reset_after
        )


def dcid(task: Task, splits: Splits, kind: type[models.DCID] = models.DCID, **options: Any) -> MultimodalModel:
    """All modalities aligned step by step."""
    return kind(STEPS[task], **sizes(task), **options)


def fcid(task: Task, splits: Splits, **options: Any) -> MultimodalModel:
    """The two of a kind aligned step by step, the text as a whole."""
    fine = {name: STEPS[task][name] for name in FINE[task]}
    return models.FCID(fine, {"text": STEPS[task]["text"]}, **sizes(task), **options)


def vae(task: Task, splits: Splits, recipe: str) -> MultimodalModel:
    """A VAE with a latent as wide as a code."""
    return getattr(models, recipe)(modalities(task, splits.test), latent_dim=CODES["code_dim"], weights="balanced")


def of_dcid(group: Group, **options: Any) -> Arm:
    """An arm of DCID's."""
    return Arm(group, functools.partial(dcid, **options))


def of_fcid(group: Group, **options: Any) -> Arm:
    """An arm of FCID's."""
    return Arm(group, functools.partial(fcid, **options))


UNALIGNED: dict[str, Any] = {"club": 0.0, "cpc": 0.0, "matching": 0.0, "cross": False}
ARMS: dict[str, Arm] = {
    "shared codebook": of_dcid("arms", **UNALIGNED),
    "DCID": of_dcid("arms"),
    "FAC": of_fcid("arms", club=0.0),
    "FCID": of_fcid("arms"),
    "FCID, uniform": of_fcid("arms", fine_alignment="info_nce"),
    "MoPoE": Arm("arms", functools.partial(vae, recipe="MoPoE"), max_grad_norm=None, whole=True),
    "MVTCAE": Arm("arms", functools.partial(vae, recipe="MVTCAE"), max_grad_norm=None, whole=True),
    "shared codebook, matching": of_dcid("parts", **{**UNALIGNED, "matching": 1.0}),
    "DCID without CLUB": of_dcid("parts", club=0.0),
    "DCID without CPC": of_dcid("parts", cpc=0.0),
    "DCID without MM-EMA": of_dcid("parts", cross=False),
    "DCID without reset": of_dcid("parts", reset_after=None),
    "DCID, reference codebook": of_dcid("parts", kind=ReferenceDCID),
}
