"""Every part of the library comes back from words, at any depth; parts of the user's never come back as another's."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer import SVI, Trace_ELBO
from training.catalogue import CASES

import mmvae
from mmvae import Layout, Modality, likelihoods, models, nn, objectives, posteriors, priors
from mmvae.arguments import Remembers
from mmvae.models import MultimodalVAE
from mmvae.objectives import LinearWarmup, SubsetELBO, TotalCorrelation
from mmvae.posteriors import Product
from mmvae.training.configuration import called, describe, first_difference, from_format_1, rebuild, user_parts

FORMAT_1 = Path(__file__).parent / "format_1"
"""Folders that the version of format 1 wrote."""


def through_json(part: Any) -> Any:
    return json.loads(json.dumps(describe(part)))


def modalities() -> list[Modality]:
    return [Modality(name, (4,), likelihoods.Normal()) for name in "ab"]


def composed(objective: Any = None, posterior: Any = None) -> MultimodalVAE:
    torch.manual_seed(0)
    objective = TotalCorrelation(0.1) if objective is None else objective
    return MultimodalVAE(modalities(), 2, joint_posterior=posterior or Product(False), objective=objective)


# Parts that come back.


FACES = ("models", "posteriors", "priors", "objectives", "likelihoods", "nn", "transforms", "refinement", "codebooks")


def parts_of_the_library() -> list[type]:
    """Every class of a public module that remembers its arguments and can be made."""
    faces = [importlib.import_module(f"mmvae.{name}") for name in FACES if hasattr(mmvae, name)]
    found = [vars(face)[name] for face in faces for name in getattr(face, "__all__", dir(face))]
    parts = [each for each in found if isinstance(each, type) and issubclass(each, Remembers)]
    return [cls for cls in dict.fromkeys([mmvae.Modality, mmvae.Layout, *parts]) if not inspect.isabstract(cls)]


@pytest.mark.parametrize("cls", parts_of_the_library(), ids=lambda cls: cls.__name__)
def test_every_part_of_the_library_has_a_public_name(cls: type) -> None:
    if cls.__name__.startswith("_") or cls is Remembers:  # a module without __all__ has more than it makes public
        pytest.skip("not public")
    description = describe(cls)
    assert list(description) == ["class"]
    assert rebuild(description) is cls


PARTS = [
    Product(True),
    posteriors.MixtureOfProducts(3, "all", max_components=5, seed=2),
    posteriors.CorrectedProduct(),
    posteriors.JointEncoder({"a": nn.MLPEncoder((4,), (3,))}, {"a": 3}, 2, between=Product(True)),
    posteriors.Flow(Product(True), 2, hidden=4),
    priors.GaussianMixture(3, learned_scale=False),
    priors.Flow(hidden=4),
    priors.Diffusion(hidden=4),
    priors.ConditionalNormal(),
    Layout(3, {"a": 2}),
    TotalCorrelation(0.25, LinearWarmup(2.0, 3)),
    SubsetELBO(chunk_size="auto"),
    objectives.StratifiedDReG(3, beta=LinearWarmup(end=0.5, epochs=1, start=0.25)),
    likelihoods.Normal("learned"),
    likelihoods.Categorical(4),
    nn.PatchSteps((1, 8, 8), 4),
    nn.Frozen(nn.ViT((1, 8, 8), 4, dim=8, depth=1, heads=2)),
    nn.ConvDecoder(3, (1, 8, 8)),
    nn.MNISTEncoder(),
    Modality("a", [4], likelihoods.Laplace(0.5), nn.MLPEncoder((4,)), functools.partial(nn.MLPDecoder, shape=(4,))),
    {"weights": {"a": 1.5, "class": 2.0, "yours": 3.0}, "order": [1, "two", None, True, (0.5, [])]},
    {"values": torch.tensor([[1.5, float("-inf")]], dtype=torch.float64), "dtype": np.float32(0.5)},
    [dist.Normal, dist.Laplace, nn.SVHNDecoder],
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_part_comes_back_from_words(part: Any) -> None:
    description = through_json(part)
    again = rebuild(description)
    assert through_json(again) == description
    assert list(user_parts(description)) == []
    if isinstance(part, torch.nn.Module):
        assert str(again) == str(part)
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in part.state_dict().items()}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["class", "yours", "mapping", "tensor"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_plain_values_come_back_whatever_their_keys_are(value: Any) -> None:
    assert rebuild(through_json(value)) == value


def test_a_composed_model_is_loaded_without_passing_it(tmp_path: Path) -> None:
    vae = composed()
    again = mmvae.load(mmvae.save(vae, tmp_path))
    assert type(again) is MultimodalVAE
    assert (again.objective.alpha, again.joint_posterior.prior_expert) == (0.1, False)
    data = {name: torch.randn(3, 4) for name in "ab"}
    assert torch.equal(mmvae.infer(vae, data).mean, mmvae.infer(again, data).mean)


def test_a_model_with_a_layout_a_prior_and_covariates_is_loaded_without_passing_it(tmp_path: Path) -> None:
    vae = MultimodalVAE(
        modalities(),
        Layout(2, {"a": 1}),
        joint_posterior=Product(True),
        objective=objectives.ELBO(),
        prior=priors.GaussianMixture(3),
        covariates={"class": 2, "age": None},
    )
    again = mmvae.load(mmvae.save(vae, tmp_path))
    assert again.layout == vae.layout
    assert describe(again) == describe(vae)


@pytest.mark.parametrize("name", CASES)
def test_every_model_is_the_same_in_words_when_rebuilt(name: str) -> None:
    description = through_json(CASES[name].model())
    if "yours" in description:
        pytest.skip("a subclass of the tests' own")
    assert through_json(rebuild(description)) == description


# Parts of the user's.


class OwnWarmup(LinearWarmup):
    def at(self, epoch: Any) -> Any:
        return super().at(epoch) ** 2


class OwnLaplace(likelihoods.Laplace):
    pass


class OwnProduct(Product):
    pass


class OwnObjective(TotalCorrelation):
    pass


class OwnModality(Modality):
    pass


@dataclass(frozen=True)
class LinearWarmupOfTheSameName(LinearWarmup):
    pass


LinearWarmupOfTheSameName.__name__ = LinearWarmupOfTheSameName.__qualname__ = "LinearWarmup"


@pytest.mark.parametrize(
    "part",
    [
        OwnWarmup(2.0),
        LinearWarmupOfTheSameName(2.0),
        OwnLaplace(0.5),
        OwnProduct(False),
        OwnObjective(0.5),
        OwnModality("a", (4,), likelihoods.Normal()),
        likelihoods.Custom(lambda x: dist.Normal(x, 1.0)),
        torch.nn.Linear(2, 2),
        functools.partial(torch.nn.Linear, 2),
        torch.zeros(20_000),
        lambda: None,
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_part_of_the_users_is_named_and_never_rebuilt(part: Any) -> None:
    description = through_json({"a": {"b": [part]}})
    (found,) = user_parts(description)
    assert found.startswith("a.b.")


def test_a_subclass_of_a_part_differs_from_its_base() -> None:
    for own, base in [
        (OwnWarmup(2.0), LinearWarmup(2.0)),
        (LinearWarmupOfTheSameName(2.0), LinearWarmup(2.0)),
        (OwnProduct(False), Product(False)),
        (OwnObjective(0.5), TotalCorrelation(0.5)),
    ]:
        found = first_difference(describe(own), describe(base))
        assert found is not None
        assert "of your own there and a" in found


def test_arguments_of_a_part_of_the_users_are_compared() -> None:
    assert (
        first_difference(describe(OwnObjective(0.9)), describe(OwnObjective(0.1))) == "alpha is 0.9 there and 0.1 here"
    )
    one, other = (describe(functools.partial(own_noise, degrees=degrees)) for degrees in (3, 4))
    assert first_difference(one, other) == "degrees is 3 there and 4 here"


def own_noise(x: Any, degrees: int = 4) -> Any:
    return dist.StudentT(degrees, x, 1.0)


def other_noise(x: Any) -> Any:
    return dist.Cauchy(x, 1.0)


def test_a_likelihood_function_of_another_name_is_another() -> None:
    one, other = (describe(Modality("a", (4,), noise)) for noise in (own_noise, other_noise))
    assert (
        first_difference(one, other) == "likelihood is a own_noise of your own there and a other_noise of your own here"
    )


def test_arguments_that_the_caller_changes_later_are_remembered_as_they_were() -> None:
    hidden, both = [6], modalities()
    encoder, vae = nn.MLPEncoder((4,), hidden), models.MVAE(both, 2)
    hidden.append(7)
    both.pop()
    assert describe(encoder)["arguments"]["hidden"] == [6]
    assert len(describe(vae)["arguments"]["modalities"]) == 2


# What a file may name.


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "nn.functional",
        "nn.Module",
        "torch.nn.Linear",
        "nn.mode.Path",
        "training.Run",
        "data.Path",
        "testing.pytest",
        "likelihoods.Tensor",
        "likelihoods.SharedScaleLaplace",
        "likelihoods.Counts",
        "Batch",
        "fit.Any",
        "__builtins__",
        "nn.Steps.__subclasses__",
        "",
        None,
        3,
        ["nn", "ViT"],
    ],
)
def test_a_description_names_no_other_code(name: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        rebuild({"class": name, "arguments": {}})


@pytest.mark.parametrize("part", [Product(False), TotalCorrelation(), LinearWarmup(), Modality("a", (4,), own_noise)])
def test_a_missing_or_unknown_argument_is_an_error(part: Any) -> None:
    description = {key: value for key, value in through_json(part).items() if key != "yours"}
    for name in list(description["arguments"]):
        less = {**description, "arguments": {k: v for k, v in description["arguments"].items() if k != name}}
        with pytest.raises(ValueError, match=f"the argument {name!r} of .* is missing"):
            rebuild(less)
    more = {**description, "arguments": {**description["arguments"], "later": 1}}
    with pytest.raises(ValueError, match=r"has no argument 'later'"):
        rebuild(more, complete=False)


def test_a_description_of_an_earlier_version_may_lack_arguments_with_defaults() -> None:
    assert rebuild({"class": "objectives.TotalCorrelation", "arguments": {}}, complete=False).alpha == 0.9


def test_a_description_reads_as_the_call_that_makes_the_part() -> None:
    assert called(describe(likelihoods.Laplace(0.75))) == "Laplace(scale=0.75)"
    mixture = objectives.MixtureELBO(LinearWarmup())
    assert called(describe(mixture)) == "MixtureELBO(beta=LinearWarmup(end=1.0, epochs=10.0, start=0.0))"
    assert called(describe(functools.partial(nn.MLPEncoder, (4,)))) == "MLPEncoder([4])"
    assert called(describe({"a": [nn.MNISTEncoder, own_noise]})) == "{'a': [MNISTEncoder, own_noise]}"


# Format 1.


@pytest.mark.parametrize(("name", "kind"), [("mopoe", models.MoPoE), ("late_fusion", models.LateFusion)])
def test_a_folder_of_format_1_is_read(name: str, kind: type) -> None:
    model = mmvae.load(FORMAT_1 / name)
    assert type(model) is kind
    again = mmvae.load(FORMAT_1 / name, model=rebuild(describe(model)))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    if name == "mopoe":
        assert model.objective.beta == LinearWarmup(2.0, epochs=5)
        assert model.weights == {"image": 1.0, "text": 3.0}


def test_a_composed_model_of_format_1_takes_the_one_that_is_given() -> None:
    with pytest.raises(ValueError, match=r"joint_posterior \(mmvae.posteriors.product.Product\); objective"):
        mmvae.load(FORMAT_1 / "composed")
    both = [
        Modality(
            name,
            (2,),
            likelihoods.Normal(),
            functools.partial(nn.MLPEncoder, (2,), hidden=(3,)),
            functools.partial(nn.MLPDecoder, shape=(2,), hidden=(3,)),
            transform=None,
        )
        for name in "ab"
    ]
    parts: Any = {"joint_posterior": Product(False), "objective": TotalCorrelation()}
    other = MultimodalVAE([dataclasses.replace(each, transform="auto") for each in both], 2, **parts)
    with pytest.raises(ValueError, match=r"transforms.a.loc is missing there; .* transform=None"):
        mmvae.load(FORMAT_1 / "composed", model=other)
    vae = MultimodalVAE(both, 2, joint_posterior=Product(False), objective=TotalCorrelation())
    assert mmvae.load(FORMAT_1 / "composed", model=vae) is vae


def test_a_description_of_format_1_becomes_one_of_today() -> None:
    steps = {"network": "PatchSteps", "arguments": {"shape": [1, 8, 8], "patch": [4, 4]}}
    given = {"class": "FCID", "arguments": {"fine": {"image": steps, "audio": 3}, "beta": {"schedule": "LinearWarmup"}}}
    assert from_format_1(given) == {
        "class": "models.FCID",
        "arguments": {
            "fine": {"image": describe(nn.PatchSteps((1, 8, 8), 4)), "audio": 3},
            "beta": {"class": "objectives.LinearWarmup", "arguments": {}},
        },
    }
    own = {"class": {"yours": "my.VAE"}, "arguments": {}, "modalities": []}
    assert from_format_1(own) == {"yours": "my.VAE", "arguments": {"modalities": []}}


# Copies.


@pytest.mark.parametrize("name", CASES)
def test_every_model_is_pickled_and_copied(name: str) -> None:
    """Worker processes, clusters and searches of settings need that; files of this library never hold a pickle."""
    model = CASES[name].model()
    if any("<locals>" in type(part).__qualname__ for part in model.modules()):
        pytest.skip("pickle does not find a class that a function of the tests makes")
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for again in copies:
        assert list(again.state_dict()) == list(model.state_dict())
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
        assert describe(again) == describe(model)
        learns = [each.requires_grad for each in again.parameters()]
        assert learns == [each.requires_grad for each in model.parameters()]
    losses = []
    for each in (model, *copies):
        batch = CASES[name].batch(each, 0)
        torch.manual_seed(1)
        losses.append(each.loss(batch).total)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("part", PARTS[:-2], ids=lambda part: type(part).__name__)
def test_every_part_is_pickled_and_copied(part: Any) -> None:
    for again in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        assert type(again) is type(part)
        assert describe(again) == describe(part)


def test_a_model_that_pyro_trained_is_pickled() -> None:
    model = CASES["MVAE"].model()
    svi = SVI(model.model, model.guide, pyro.optim.Adam({}), Trace_ELBO())
    svi.step(CASES["MVAE"].batch(model, 0))
    again = pickle.loads(pickle.dumps(model))
    SVI(again.model, again.guide, pyro.optim.Adam({}), Trace_ELBO()).step(CASES["MVAE"].batch(again, 0))
