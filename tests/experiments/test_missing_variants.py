"""Variants of MoLT and CMPT: what is missing reaches nothing, stand-ins are what they say, saved runs come back."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from classifiers.test_molt import (
    SETTINGS,
    SMALL_BATCHES,
    assert_a_subset_is_the_whole_path_without_the_rest,
    assert_padding_and_what_is_missing_reach_no_logit,
    data_of,
    encoders,
    small,
)
from torch import Tensor

from mmvae import Batch
from mmvae.models import CMPT, MoLT
from mmvae.nn import Precomputed

OF_MOLT = (
    "WithoutAttention",
    "Concatenated",
    "PlainMean",
    "Frobenius",
    "Squared",
    "BeforeAttention",
    "ZeroFeatures",
    "DummyInput",
)
OF_CMPT = ("Isolated", "Detached", "Cosine", "SmoothL1")


@pytest.fixture
def variants(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("missing.variants")


@pytest.fixture
def stand_in(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("missing.stand_in")


@pytest.mark.parametrize("name", OF_MOLT)
def test_padding_and_what_is_missing_reach_no_logit(name: str, variants: ModuleType) -> None:
    assert_padding_and_what_is_missing_reach_no_logit(small(getattr(variants, name)).eval())


@pytest.mark.parametrize("subset", ["image", "text"])
@pytest.mark.parametrize("name", OF_MOLT)
def test_a_subset_is_the_whole_path_without_the_rest(name: str, subset: str, variants: ModuleType) -> None:
    assert_a_subset_is_the_whole_path_without_the_rest(small(getattr(variants, name)).eval(), subset)


@SMALL_BATCHES
@pytest.mark.parametrize("name", OF_MOLT)
def test_every_weight_of_a_variant_is_trained_on_data_and_on_features(name: str, variants: ModuleType) -> None:
    model, batch = small(getattr(variants, name)), Batch(data_of(40), labels=torch.arange(40) % 3)
    features = model.features(batch, progress=False)
    assert isinstance(model.on_features(), type(model))
    for trainee, data in ((model, batch), (model.on_features(), features)):
        model.zero_grad()
        loss = trainee.train().loss(data)
        torch.testing.assert_close(loss.total, loss.terms["task"] + 0.1 * loss.terms["cca"])
        loss.total.backward()
        for name, parameter in model.named_parameters():
            assert not parameter.requires_grad or parameter.grad is not None, name


@pytest.mark.parametrize("name", OF_MOLT)
def test_a_variant_on_features_infers_what_the_model_infers_from_data(name: str, variants: ModuleType) -> None:
    model, batch = small(getattr(variants, name)).eval(), Batch(data_of())
    features, on_features = model.features(batch, progress=False), model.on_features().eval()
    for subset in (None, "image", "text"):
        expected = model.infer(batch, subset).mean
        torch.testing.assert_close(on_features.infer(features, subset).mean, expected)


def test_a_dummy_is_what_the_encoder_says_of_a_white_image_or_an_empty_text(variants: ModuleType) -> None:
    model, data = small(variants.DummyInput, fusion="none").eval(), data_of()
    white, empty = torch.ones(6, 1, 8, 8), torch.zeros(6, 5, dtype=torch.int64)
    torch.testing.assert_close(model.infer(data, "text").mean, model.infer({"image": white, "text": data["text"]}).mean)
    torch.testing.assert_close(
        model.infer(data, "image").mean, model.infer({"image": data["image"], "text": empty}).mean
    )


def test_zeros_stand_at_every_hidden_state(variants: ModuleType) -> None:
    pair = {"a": Precomputed(6, 2), "b": Precomputed(4, 2)}
    model = variants.ZeroFeatures(pair, 3, fusion="none", **SETTINGS).eval()
    data = {"a": torch.randn(5, 4, 3, 6), "b": torch.randn(5, 3, 3, 4)}
    torch.testing.assert_close(
        model.infer(data, "b").mean, model.infer({"a": torch.zeros(5, 4, 3, 6), "b": data["b"]}).mean
    )


def test_a_dummy_may_be_given_and_needs_the_length_of_the_data(stand_in: ModuleType) -> None:
    encoder = encoders()["text"]
    torch.testing.assert_close(stand_in.dummy_datum("text", encoder, [3, 1, 0, 0, 0]), torch.tensor([3, 1, 0, 0, 0]))
    with pytest.raises(ValueError, match="the encoder of 'a' does not know the shape of its data"):
        stand_in.dummy_datum("a", Precomputed(6, 2), None)
    states = stand_in.StandIn(torch.zeros(2, 7, 4), torch.ones(7, dtype=torch.bool))
    tokens, own = [torch.zeros(5, 3, 4)] * 2, [torch.zeros(7, 4)] * 2
    with pytest.raises(ValueError, match="dummy: it has 7 tokens, but the data 3"):
        states.fill(tokens, own, torch.ones(5, 3, dtype=torch.bool), torch.ones(5, dtype=torch.bool))


def alignment(model: CMPT) -> Tensor:
    return model.loss(Batch(data_of(), labels=torch.arange(6) % 3)).terms["alignment"]


def cmpt(kind: type[CMPT], **options: Any) -> CMPT:
    torch.manual_seed(0)
    return kind(encoders(), 3, modality_dropout=False, **options)


@pytest.mark.parametrize("name", OF_CMPT)
def test_variants_of_cmpt_train_and_differ_as_they_say(name: str, variants: ModuleType) -> None:
    one, other = cmpt(CMPT), cmpt(getattr(variants, name))
    value, varied = alignment(one), alignment(other)
    value.backward()
    varied.backward()
    assert torch.equal(value, varied) == (name == "Detached")
    maps = [next(model.class_maps["text"].parameters()).grad for model in (one, other)]  # of targets, and of the head
    if name == "Detached":
        assert maps[0] is not None
        assert maps[1] is None


def test_methods_of_the_ablation_are_variants_of_the_right_kind(script: Callable[[str], ModuleType]) -> None:
    methods = script("missing.methods").METHODS
    for name, method in methods.items():
        if name.startswith("MoLT"):
            assert issubclass(method.make.func, MoLT)
            assert method.suits(["mnist", "usps"])
            assert not method.suits(["mnist", "usps", "text"])
        if name.startswith("CMPT, ") and name != "CMPT, proxy outside":
            assert issubclass(method.make.func, CMPT)
