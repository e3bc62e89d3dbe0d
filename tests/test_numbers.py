"""Every public constructor, and every call with numbers, refuses nonsense by the name of the argument."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import mmvae
from mmvae import (
    Layout,
    Modality,
    data,
    evaluation,
    likelihoods,
    models,
    nn,
    objectives,
    posteriors,
    priors,
    refinement,
)
from mmvae.choices import check_count, check_number, numbers_checked

VECTORS = [Modality(name, (4,), likelihoods.Normal()) for name in "ab"]
TEXTS = {name: nn.TextTransformer(5, 4, dim=8, depth=1, heads=2) for name in "ab"}
PICTURES = {"a": nn.ViT((1, 8, 8), patch=4, dim=8, depth=1, heads=2)}
VAE: dict[str, Any] = {"modalities": VECTORS, "latent_dim": 2}
CODEBOOK: dict[str, Any] = {"num_codes": 4, "code_dim": 8, "layers": 1, "heads": 2, "max_steps": 8}

VAES = [
    each
    for each in vars(models).values()
    if inspect.isclass(each) and issubclass(each, models.MultimodalVAE) and each is not models.MultimodalVAE
]
POINTS = [models.DCCAE, models.MAAE, models.MWAE]


def required(kind: Any) -> dict[str, Any]:
    """What a VAE cannot be made without."""
    known = {**VAE, "private_dim": 2, "num_clusters": 3}
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: known[each.name] for each in parameters if each.default is each.empty}


VALID: dict[Any, dict[str, Any]] = {
    **{kind: required(kind) for kind in (*VAES, *POINTS)},
    models.DCID: {"modalities": {"a": 3, "b": 3}, **CODEBOOK},
    models.FCID: {"fine": {"a": 3, "b": 3}, "coarse": {"c": 3, "d": 3}, **CODEBOOK},
    **{part: {"encoders": TEXTS, "num_classes": 3} for part in (models.CMPT, models.MoLT, models.LateFusion)},
    models.MaskedReconstruction: {"encoders": PICTURES},
    nn.CLUB: {"condition_dim": 3, "target_dim": 3, "hidden": 4},
    nn.BilinearPooling: {"dim": 4},
    nn.CCALoss: {},
    nn.CodeSteps: {"num_categories": 4},
    nn.CodesEncoder: {"shape": (4,), "num_categories": 5},
    nn.ConvDecoder: {"latent_dim": 2, "shape": (1, 8, 8)},
    nn.ConvEncoder: {"shape": (1, 8, 8)},
    nn.CrossCPC: {"names": ("a", "b"), "dim": 4},
    nn.FeatureSteps: {"width": 3},
    nn.LaplaceHead: {"features": 3, "latent_dim": 2},
    nn.NormalHead: {"features": 3, "latent_dim": 2},
    nn.LayerMean: {"layers": 2, "dim": 4},
    nn.MLPDecoder: {"latent_dim": 2, "shape": (4,)},
    **{part: {"latent_dim": 2} for part in (nn.MNISTDecoder, nn.SVHNDecoder, nn.TextDecoder)},
    nn.PatchSteps: {"shape": (1, 8, 8), "patch": 4},
    nn.Precomputed: {"dim": 4, "depth": 2},
    nn.ProxyHead: {"dim": 4, "count": 2},
    nn.Quantiser: {"num_codes": 4, "dim": 3},
    **{part: {"shape": (8, 2)} for part in (nn.SeriesConvEncoder, nn.SeriesGRUEncoder, nn.SeriesTransformerEncoder)},
    **{
        key: {"latent_dim": 2, "shape": (8, 2)}
        for key in (nn.SeriesConvDecoder, nn.SeriesGRUDecoder, nn.SeriesTransformerDecoder)
    },
    nn.SequenceEncoder: {"width": 3, "dim": 4, "layers": 1, "heads": 2},
    nn.TextTransformer: {"vocabulary": 5, "length": 4, "dim": 8, "depth": 1, "heads": 2},
    nn.ViT: {"shape": (1, 8, 8), "patch": 4, "dim": 8, "depth": 1, "heads": 2},
    **{part: {"shared": 4, "widths": (4, 4), "dim": 4} for part in (nn.TransformerFusion, nn.ConcatFusion)},
    nn.LatentTuningBlock: {"dim": 4, "heads": 2},
    likelihoods.Categorical: {"num_categories": 4},
    **{part: {} for part in (likelihoods.Normal, likelihoods.Laplace)},
    **{part: {} for part in (objectives.ELBO, objectives.AlignedELBO, objectives.MixtureELBO, objectives.SubsetELBO)},
    **{part: {} for part in (objectives.StratifiedELBO, objectives.StratifiedIWAE, objectives.StratifiedDReG)},
    **{part: {} for part in (objectives.CrossSubsetELBO, objectives.TotalCorrelation, objectives.TripleELBO)},
    **{part: {} for part in (objectives.CoordinatedELBO, objectives.MaskedBound, objectives.SampledAlignment)},
    objectives.LinearWarmup: {"end": 1.0, "epochs": 2.0},
    posteriors.MixtureOfProducts: {"num_modalities": 2},
    posteriors.DependentProduct: {"correlation": 0.4},
    posteriors.GeometricPool: {"num_modalities": 2, "latent_dim": 2},
    posteriors.SetPooling: {"latent_dim": 2},
    **{part: {} for part in (refinement.HMC, refinement.Amortized, refinement.Gradient, refinement.RefinedELBO)},
    refinement.RefinementNetwork: {"num_features": 4, "latent_dim": 2},
    **{part: {} for part in (priors.Flow, priors.Diffusion, priors.ConditionalNormal)},
    **{key: {"num_components": 3} for key in (priors.GaussianMixture, priors.Vamp)},
    evaluation.StepHead: {},
    data.Blocks: {"rows": 3},
    Layout: {"shared": 2},
    Modality: {"name": "a", "shape": (4,), "likelihood": likelihoods.Normal()},
}
"""Arguments with which each of the library's parts can be made."""

WHOLE = [math.nan, math.inf, 2.5, "balanced", -1, True, [1], 1j]
REAL = [math.nan, math.inf, -math.inf, "balanced", True, [1.0], 1j]


def kinds_of(parameter: inspect.Parameter) -> set[str]:
    return {part.strip() for part in str(parameter.annotation).split("|")} - {"None"}


def numeric_arguments() -> Iterator[tuple[Any, str, Any]]:
    for part in VALID:
        for parameter in inspect.signature(part.__init__).parameters.values():
            kinds = kinds_of(parameter)
            if not kinds & {"int", "float", "Weight"}:
                continue
            others = kinds - {"int", "float"}  # a schedule, a word, a mapping
            for value in REAL if kinds & {"float", "Weight"} else WHOLE:
                is_any_seed = parameter.name == "seed" and value == -1
                if not is_any_seed and not (others and isinstance(value, str | list | complex)):
                    yield part, parameter.name, value


@pytest.mark.parametrize("part", VALID, ids=lambda part: part.__name__)
def test_the_arguments_here_are_valid(part: Any) -> None:
    part(**VALID[part])


@pytest.mark.parametrize(
    ("part", "name", "value"), list(numeric_arguments()), ids=lambda each: getattr(each, "__name__", repr(each))
)
def test_nonsense_is_refused_by_the_name_of_the_argument(part: Any, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        part(**{**VALID[part], name: value})


def public_parts() -> Iterator[Any]:
    for module in (models, nn, likelihoods, objectives, posteriors, priors, refinement):
        for name in module.__all__ if hasattr(module, "__all__") else dir(module):
            part = getattr(module, name)
            if (
                inspect.isclass(part)
                and not name.startswith("_")
                and part.__module__.startswith("mmvae")
                and not inspect.isabstract(part)
            ):
                yield part


NOT_BUILT_HERE = {
    *("CodesDecoder", "Flow", "FrozenEncoderClassifier", "HuggingFaceEncoder", "JointEncoder", "JointProduct"),
    *(
        "LatentTuning",
        "LowRank",
        "MLP",
        "MLPEncoder",
        "MultimodalVAE",
        "UnimodalExperts",
        "WrappedEncoder",
        "EncoderFacts",
    ),
    *(
        "Custom",
        "Bound",
        "SharedScaleLaplace",
        "SharedScaleNormal",
        "LogitContinuousBernoulli",
        "EncoderOutput",
        "Quantised",
    ),
}
"""Parts whose arguments are other parts, or tensors: what they are made of is checked."""


def test_no_public_part_with_numbers_is_left_out() -> None:
    left_out = set()
    for part in public_parts():
        numeric = any(
            kinds_of(each) & {"int", "float", "Weight"} for each in inspect.signature(part).parameters.values()
        )
        if numeric and part not in VALID and part.__name__ not in NOT_BUILT_HERE:
            left_out.add(part.__name__)
    assert left_out == set()


def vae(kind: str = "MMVAE") -> Any:
    torch.manual_seed(0)
    return getattr(models, kind)(VECTORS, latent_dim=2)


X = {name: torch.linspace(-1, 1, 24).reshape(6, 4) for name in "ab"}
CALLS: dict[str, Any] = {
    "sample num_samples": lambda value: vae().sample(value),
    "generate num_samples": lambda value: vae().generate(vae().infer(X), value),
    "elbo num_samples": lambda value: vae().elbo(X, num_samples=value),
    "log_likelihood num_samples": lambda value: vae().log_likelihood(X, num_samples=value),
    "log_weights chunk_size": lambda value: vae().log_weights(X, num_samples=2, chunk_size=value),
    "latents num_samples": lambda value: vae().infer(X).sample(value),
    "infer batch_size": lambda value: mmvae.infer(vae(), X, batch_size=value),
    "infer steps": lambda value: mmvae.infer(vae(), X, refine="gradient", steps=value),
    "evaluate num_samples": lambda value: mmvae.evaluate(vae(), X, ["cosine"], num_samples=value, progress=False),
    "evaluate batch_size": lambda value: mmvae.evaluate(vae(), X, ["cosine"], batch_size=value, progress=False),
    "fit epochs": lambda value: mmvae.fit(vae(), X, epochs=value, progress=False),
    "fit batch_size": lambda value: mmvae.fit(vae(), X, epochs=1, batch_size=value, progress=False),
    "fit patience": lambda value: mmvae.fit(vae(), X, epochs=1, validation=0.5, patience=value, progress=False),
}


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("value", [math.nan, 1.5, "two", -1, 0, True])
def test_calls_refuse_nonsense_by_the_name_of_the_argument(call: str, value: Any) -> None:
    if call == "infer steps" and value is not True and value == 0:  # which is no refinement
        return
    with pytest.raises((TypeError, ValueError), match=call.split()[1]):
        CALLS[call](value)


@pytest.mark.parametrize("call", sorted(CALLS))
def test_calls_take_whole_numbers_of_numpy(call: str) -> None:
    CALLS[call](np.int64(2))


@pytest.mark.parametrize("lr", [math.nan, math.inf, "fast", -0.1])
def test_learning_rates(lr: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="lr"):
        mmvae.fit(vae(), X, epochs=1, lr=lr, progress=False)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_counts(value: Any) -> None:
    assert type(check_count("n", value, 1)) is int
    assert check_count("n", value, 3) == 3
    with pytest.raises(ValueError, match=r"^n: expected at least 4, got 3\.$"):
        check_count("n", value, 4)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5)])
def test_real_numbers(value: Any) -> None:
    assert check_number("x", value) == 0.5
    assert type(check_number("x", value)) is float
    with pytest.raises(ValueError, match=r"^x: expected a number from 0 to 0.25, got "):
        check_number("x", value, 0, 0.25)
    with pytest.raises(ValueError, match=r"^x: expected a number of at least 1, got "):
        check_number("x", value, 1)


def test_a_decorated_function_keeps_its_signature_and_its_own_words() -> None:
    @numbers_checked
    def halves(count: int, *, of: float = 1.0) -> list[float]:
        """Say what it does."""
        return [of / 2] * count

    assert halves(np.int64(2), of=np.float32(4)) == [2.0, 2.0]
    assert list(inspect.signature(halves).parameters) == ["count", "of"]
    assert halves.__doc__ == "Say what it does."
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        halves()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"count: expected a whole number, got 2.5"):
        halves(2.5)  # type: ignore[arg-type]
