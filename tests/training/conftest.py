"""Tiny models and data for the tests of training."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae import Modality, likelihoods, models, nn

ROWS = 40


def make_model(recipe: Any = models.MoPoE, seed: int = 0, **arguments: Any) -> Any:
    """Two modalities, a real one and codes, with networks of a few units."""
    torch.manual_seed(seed)
    small: dict[str, Any] = {"hidden": (6,)}
    modalities = [
        Modality(
            "image",
            shape=(2, 3),
            likelihood=likelihoods.Laplace(scale=0.75),
            encoder=functools.partial(nn.MLPEncoder, (2, 3), **small),
            decoder=functools.partial(nn.MLPDecoder, shape=(2, 3), **small),
        ),
        Modality(
            "text",
            shape=(5,),
            likelihood=likelihoods.Categorical(4),
            encoder=functools.partial(nn.CodesEncoder, (5,), 4, width=6),
            decoder=functools.partial(nn.CodesDecoder, shape=(5, 4), width=6),
            weight=2.0,
        ),
    ]
    return recipe(modalities, latent_dim=3, **arguments)


def make_data(rows: int = ROWS, seed: int = 1) -> dict[str, Tensor]:
    """Data of the two modalities."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(rows, 2, 3, generator=generator),
        "text": torch.randint(4, (rows, 5), generator=generator),
    }


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C interrupt, also where the parent of the tests ignores it, as a script in the background does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def model() -> Any:
    return make_model()


@pytest.fixture
def new_model() -> Callable[..., Any]:
    return make_model


@pytest.fixture
def data() -> dict[str, Tensor]:
    return make_data()


@pytest.fixture
def new_data() -> Callable[..., dict[str, Tensor]]:
    return make_data


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def weights_of() -> Callable[[Any], dict[str, Tensor]]:
    """A copy of all weights and buffers of a model."""
    return weights


@pytest.fixture
def assert_same() -> Callable[[Any, Any], None]:
    """Asserts that two models have the same weights bit for bit."""

    def check(one: Any, other: Any) -> None:
        left, right = weights(one), weights(other)
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []

    return check


@pytest.fixture
def timeless() -> Callable[[Any], list[dict[str, Any]]]:
    """The metrics of a run without the seconds."""
    return lambda run: [{name: value for name, value in row.items() if name != "seconds"} for row in run.metrics]


@pytest.fixture
def peaking() -> Callable[..., Any]:
    """Makes the validation ELBO of a model highest after a certain epoch."""

    def change(model: Any, at: int) -> Any:
        inner = model.objective

        def objective(owner: Any, batch: Any) -> Any:
            loss = inner(owner, batch)
            if owner.training:
                return loss
            return type(loss)(loss.total, {**loss.terms, "elbo": -((owner.epoch - at) ** 2)})

        model.objective = objective
        return model

    return change
