"""What programs around the library may have switched: gradients, inference mode, precision, Pyro's JIT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, JitTraceMeanField_ELBO, Trace_ELBO

import mmvae
from mmvae import Modality, likelihoods, models

DATA = {name: torch.linspace(-1, 1, 24).reshape(6, 4) for name in "ab"}
KINDS = ["MVAE", "MoPoE", "IterativeVAE"]


def make(kind: str) -> Any:
    torch.manual_seed(0)
    return getattr(models, kind)([Modality(name, (4,), likelihoods.Normal()) for name in "ab"], latent_dim=2)


def fit(model: Any) -> Any:
    return torch.tensor(mmvae.fit(model, DATA, epochs=1, progress=False).metrics[-1]["loss"])


CALLS: dict[str, Callable[[Any], Any]] = {
    "model.infer": lambda model: model.infer(DATA).mean,
    "infer": lambda model: mmvae.infer(model, DATA).mean,
    "refine": lambda model: mmvae.infer(model, DATA, refine="gradient", steps=2).mean,
    "elbo": lambda model: model.elbo(DATA),
    "log_likelihood": lambda model: model.log_likelihood(DATA, num_samples=3),
    "generate": lambda model: model.generate(model.infer(DATA))["a"],
    "gaps": lambda model: torch.tensor(
        [row["value"] for row in mmvae.evaluate(model, DATA, ["inference_gaps"], num_samples=3, progress=False).rows]
    ),
    "fit": fit,
}


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_the_same_without_gradients_and_in_inference_mode(call: str, kind: str) -> None:
    found = []
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        model = make(kind)
        with context():
            torch.manual_seed(1)
            found.append(CALLS[call](model).detach().clone())
            assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
            assert torch.is_grad_enabled() == (context is torch.enable_grad)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_model_and_data_made_in_inference_mode_can_be_used_and_trained(call: str) -> None:
    with torch.inference_mode():
        model = make("IterativeVAE")
        assert CALLS[call](model).isfinite().all()
    with torch.inference_mode():
        data = {name: value.clone() for name, value in DATA.items()}
        other = make("MVAE")
    run = mmvae.fit(other, data, epochs=1, progress=False)
    assert torch.tensor(run.metrics[-1]["loss"]).isfinite()


@pytest.mark.parametrize("elbo", [JitTrace_ELBO, JitTraceMeanField_ELBO])
@pytest.mark.parametrize("kind", ["MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE", "IterativeVAE"])
def test_pyros_jit_is_refused_with_the_reason(elbo: Any, kind: str) -> None:
    vae = make(kind)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), elbo(ignore_jit_warnings=True))
    with pytest.raises(NotImplementedError, match=r"Pyro's JIT .* Take Trace_ELBO"):
        svi.step(DATA)
    with pytest.raises(NotImplementedError, match="Pyro's JIT"):
        elbo(ignore_jit_warnings=True).loss_and_grads(vae.model, vae.guide, DATA)
    assert SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(DATA) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("call", ["infer", "elbo", "fit", "generate"])
def test_other_precisions_are_refused_with_the_remedy(dtype: torch.dtype, call: str) -> None:
    model = make("MVAE").to(dtype)
    with pytest.raises(ValueError, match=rf"^a: the weights of this MVAE are {dtype}.* call model.float\(\)"):
        CALLS[call](model)
    assert CALLS[call](model.float()).isfinite().all()


def test_data_in_other_precisions_is_cast() -> None:
    model = make("MVAE")
    expected = model.infer(DATA).mean
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        found = model.infer({name: value.to(dtype) for name, value in DATA.items()}).mean
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
        assert found.dtype == torch.float32


def test_a_default_of_double_precision_is_named() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match="a: "):
            make("MVAE").infer(DATA)
    finally:
        torch.set_default_dtype(torch.float32)
