"""What tests share: types and shapes checked, Pyro's validation on, a fixed seed, real data where there is any."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

jaxtyping.install_import_hook("mmvae", "beartyped.checked")  # before anything imports mmvae

import pyro  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # tensors in tests are small: threads would spend their time waiting for each other

# Property tests draw the same cases at every run, so that the same code gets the same verdict; `pytest
# --hypothesis-profile default` draws new ones.
settings.register_profile("same_cases", derandomize=True, deadline=None)
settings.load_profile("same_cases")


@pytest.fixture(autouse=True)
def _validated_and_seeded() -> Iterator[None]:
    """Each test starts from the same random state, with distributions that check their arguments."""
    torch.manual_seed(0)
    with pyro.validation_enabled(True):
        yield


@pytest.fixture(autouse=True)
def _types_checked_unless_they_are_the_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test of an error hands over what no annotation allows: the library must refuse it, not the checker."""
    function = getattr(request.node, "function", None)
    expects_errors = function is not None and "raises(" in inspect.getsource(inspect.unwrap(function))
    jaxtyping.config.update("jaxtyping_disable", expects_errors)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def mmvae_data() -> Path:
    """The folder of real data that MMVAE_DATA names; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("MMVAE_DATA")
    if not folder:
        pytest.skip("MMVAE_DATA is not set")
    return Path(folder)
