"""What models may be asked: each ability, and which models of the library have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from classifiers.test_molt import encoders
from codebooks.makers import dcid, fcid
from torch import nn

import mmvae
from mmvae import Modality, abilities, likelihoods, models
from mmvae.abilities import lack

MODALITIES = [Modality(name, (3,), likelihoods.Normal()) for name in ("a", "b")]
BASES = {
    *("CodebookModel", "DeterministicAutoencoder", "FrozenEncoderClassifier", "MultimodalAutoencoder"),
    *("MultimodalClassifier", "MultimodalModel", "MultimodalVAE"),
}
VAES = [
    name for name in models.__all__ if name not in BASES and issubclass(getattr(models, name), models.MultimodalVAE)
]

PRIVATE = ("IDMVAE", "DMVAE", "CMVAE", "MMVAEPlus")
"""Recipes that must be told how large private latents are."""


def vae(name: str) -> models.MultimodalAutoencoder:
    """A small model of a recipe."""
    private = {"private_dim": 1} if name in PRIVATE else {}
    return getattr(models, name)(MODALITIES, latent_dim=2, **private)


POINTS = ("DCCAE", "MAAE", "MWAE")
"""Autoencoders without a posterior."""

MAKERS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: vae(name) for name in (*VAES, *POINTS)},
    "MoLT": lambda: models.MoLT(encoders(), 3, common_dim=4),
    "CMPT": lambda: models.CMPT(encoders(), 3),
    "LateFusion": lambda: models.LateFusion(encoders(), 3),
    "MaskedReconstruction": lambda: models.MaskedReconstruction({"image": encoders()["image"]}),
    "DCID": dcid,
    "FCID": fcid,
}
PROBABILISTIC = (abilities.Weighs, abilities.HasPrior, abilities.Samples)
EXPECTED: dict[type, set[str]] = {
    abilities.Infers: set(MAKERS),
    abilities.Evaluated: set(MAKERS),
    abilities.Trains: set(MAKERS),
    abilities.Weighs: set(VAES),
    **{ability: {*VAES, "MAAE", "MWAE"} for ability in (abilities.HasPrior, abilities.Samples)},
    **{ability: {*VAES, *POINTS} for ability in (abilities.Describes, abilities.Imputes)},
    abilities.HasObjective: set(VAES),
    abilities.Generates: {*VAES, *POINTS, "DCID", "FCID"},
    abilities.Predicts: {"MoLT", "CMPT", "LateFusion"},
    abilities.ChecksLabels: {"MoLT", "CMPT", "LateFusion"},
    abilities.HasCodebook: {"DCID", "FCID"},
    abilities.HasInnerSteps: {"MAAE", "MWAE", "DCID", "FCID"},
}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    torch.manual_seed(0)
    return {name: make() for name, make in MAKERS.items()}


@pytest.mark.parametrize("ability", EXPECTED, ids=lambda ability: ability.__name__)
def test_models_of_the_library_have_the_abilities_of_their_family(ability: type, made: dict[str, Any]) -> None:
    assert {name for name, model in made.items() if isinstance(model, ability)} == EXPECTED[ability]


def test_every_public_recipe_was_asked() -> None:
    assert set(MAKERS) == set(models.__all__) - BASES


@pytest.mark.parametrize("ability", [*PROBABILISTIC, abilities.Generates, abilities.Predicts, abilities.HasCodebook])
def test_what_a_model_lacks_ends_a_sentence(ability: type) -> None:
    assert lack(ability).split()[0] in ("has", "does")


def test_what_is_no_model_is_not_trained() -> None:
    with pytest.raises(TypeError, match=r"model: expected a model of the library, .* got Linear\. Derive your model"):
        mmvae.fit(nn.Linear(2, 2), {"a": torch.zeros(3, 2)}, epochs=1)  # type: ignore[arg-type]
