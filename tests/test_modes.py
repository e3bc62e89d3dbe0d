"""Training and evaluation mode: switched and switched back, in one thread and in many."""

from __future__ import annotations

import contextlib
import copy
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.modes import in_evaluation_mode, mode


def test_each_part_gets_its_mode_back() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Dropout())
    network[0].eval()
    with mode(network, training=False):
        assert not network[1].training
    assert [part.training for part in network.modules()] == [True, False, True]


def test_what_is_changed_within_is_put_back() -> None:
    network = nn.Sequential(nn.Dropout()).eval()
    with mode(network, training=False):
        network[0].train()
    assert not network[0].training


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.lists(st.integers(0, 3), min_size=2, max_size=12))
@settings(max_examples=50)
def test_uses_that_overlap_in_any_order_end_in_the_mode_of_the_beginning(before: list[bool], order: list[int]) -> None:
    """Four users come and go as the order says; each finds evaluation mode from its coming to its going."""
    network = nn.Sequential(nn.Dropout(), nn.Dropout())
    for part, training in zip(network.modules(), before, strict=True):
        part.training = training
    inside: dict[int, Any] = {}
    for user in order:
        if user in inside:
            inside.pop(user).__exit__(None, None, None)
        else:
            inside[user] = mode(network, training=False)
            inside[user].__enter__()
        if inside:
            assert not any(part.training for part in network.modules())
        else:
            assert [part.training for part in network.modules()] == before
    for each in inside.values():
        each.__exit__(None, None, None)
    assert [part.training for part in network.modules()] == before


class Slow(nn.Module):
    """Gives other threads time to interfere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.002)
        return x


def encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), Slow(), nn.Dropout(0.5), nn.Linear(16, 8))


def decoder(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 8), nn.BatchNorm1d(8), Slow(), nn.Dropout(0.5), nn.Linear(8, 4))


def noisy_model(kind: str = "MVTCAE") -> Any:
    torch.manual_seed(0)
    modalities = [Modality(n, (4,), likelihoods.Normal(), encoder=encoder, decoder=decoder) for n in "ab"]
    return getattr(models, kind)(modalities, latent_dim=2)


DATA = {name: torch.linspace(-1, 1, 32).reshape(8, 4) for name in "ab"}
ONE = {name: value[:1] for name, value in DATA.items()}


def seeded(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(model: Any, data: Any) -> Any:
        torch.manual_seed(0)
        return call(model, data)

    return run


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "infer": lambda model, data: model.infer(data).mean,
    "mmvae.infer": lambda model, data: mmvae.infer(model, data).mean,
    "generate": lambda model, data: model.generate(model.infer(data))["a"],
    "sample": seeded(lambda model, data: model.sample(4)["b"]),
    "elbo": seeded(lambda model, data: model.elbo(data)),
    "log_likelihood": seeded(lambda model, data: model.log_likelihood(data, num_samples=3)),
    "log_weights": seeded(lambda model, data: model.log_weights(data, num_samples=3)),
}


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("kind", ["MVTCAE", "MMVAE", "MoPoE"])
def test_inference_is_the_same_in_every_mode_and_changes_nothing(call: str, kind: str) -> None:
    model = noisy_model(kind)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = [CALLS[call](each, DATA) for each in (model.eval(), model.train(), model)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])
    assert all(part.training for part in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert CALLS[call](model, ONE).isfinite().all()  # of which batch norm has no statistics


def test_bounds_keep_their_gradients() -> None:
    model = noisy_model()
    model.elbo(DATA).mean().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_training_mode_is_what_the_loss_looks_at() -> None:
    model = noisy_model()
    before = model.decoders["a"][1].running_mean.clone()
    model.loss(DATA)
    assert not torch.equal(before, model.decoders["a"][1].running_mean)


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("call", ["infer", "mmvae.infer", "generate"])
def test_threads_agree_on_a_model_in_training_mode(call: str) -> None:
    model = noisy_model()
    want = CALLS[call](model, DATA)
    answers: list[bool] = []

    def work(number: int) -> None:
        time.sleep(0.001 * number)
        for _ in range(6):
            answers.append(torch.equal(CALLS[call](model, DATA), want))

    assert in_threads(8, work) == []
    assert answers == [True] * 48
    assert all(part.training for part in model.modules())


def test_training_in_two_threads_is_refused() -> None:
    model = noisy_model()
    started, over = threading.Event(), threading.Event()
    found: list[BaseException] = []

    class Waits:
        def epoch(self, rows: Any, model: Any) -> None:
            started.set()
            over.wait(30)

    def train() -> None:
        mmvae.fit(model, DATA, epochs=1, batch_size=4, progress=False, watch=[Waits()])

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert started.wait(30)
        for call in (lambda: mmvae.fit(model, DATA, epochs=1, progress=False), lambda: model.infer(DATA)):
            try:
                call()
            except RuntimeError as error:
                found.append(error)
        copied = copy.deepcopy(model)
        assert copied.infer(DATA).mean.isfinite().all()
    finally:
        over.set()
        thread.join()
    assert "is trained at the moment; train a copy" in str(found[0])
    assert "is trained by another thread at the moment; use a copy" in str(found[1])
    assert model.infer(DATA).mean.isfinite().all()


def test_training_while_another_thread_infers_is_refused() -> None:
    model = noisy_model()
    with mode(model, training=False), pytest.raises(RuntimeError, match="is used for inference at the moment"):
        mmvae.fit(model, DATA, epochs=1, progress=False)
    mmvae.fit(model, DATA, epochs=1, batch_size=4, progress=False)


def test_the_thread_that_trains_may_look_at_the_model() -> None:
    found = []

    class Looks:
        def epoch(self, rows: Any, model: Any) -> None:
            found.append(mmvae.infer(model, DATA).mean)

    model = noisy_model().eval()
    mmvae.fit(model, DATA, epochs=2, batch_size=4, validation=0.5, progress=False, watch=[Looks()])
    assert len(found) == 2
    assert not model.training


@pytest.mark.parametrize("microseconds", range(0, 3000, 60))
def test_ctrl_c_leaves_every_mode_as_it_was(microseconds: int) -> None:
    model = noisy_model()
    model.decoders.eval()
    before = [part.training for part in model.modules()]

    handlers = {
        signal.SIGALRM: lambda number, frame: signal.raise_signal(signal.SIGINT),  # at any instruction
        signal.SIGINT: signal.default_int_handler,
    }
    installed = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (microseconds + 1))
            while True:
                with mode(model, training=False):
                    assert not model.training
    finally:
        for number, handler in installed.items():
            signal.signal(number, handler)
    assert [part.training for part in model.modules()] == before


def test_a_method_in_evaluation_mode_keeps_its_name_and_result() -> None:
    class Model(nn.Module):
        @in_evaluation_mode
        def answer(self, number: int, *, plus: int = 0) -> tuple[bool, int]:
            """An answer."""
            return self.training, number + plus

    model = Model()
    assert model.answer(1, plus=2) == (False, 3)
    assert (Model.answer.__name__, Model.answer.__doc__) == ("answer", "An answer.")
    assert model.training


def test_what_was_loaded_is_in_evaluation_mode(tmp_path: Any) -> None:
    vae = models.MVAE([Modality(n, (4,), likelihoods.Normal()) for n in "ab"], latent_dim=2)
    mmvae.save(vae, tmp_path)
    assert vae.training
    assert not mmvae.load(tmp_path).training
    with pytest.raises(TypeError, match=r"model: expected an instance .* got the class MVAE; make one"):
        mmvae.load(tmp_path, models.MVAE)


def test_classifiers_and_codebooks_answer_in_evaluation_mode() -> None:
    encoders = {n: mmvae.nn.TextTransformer(5, 4, dim=8, depth=1, heads=2, dropout=0.5) for n in "ab"}
    classifier = models.CMPT(encoders, num_classes=3).train()
    codes = {name: torch.randint(5, (4, 4)) for name in "ab"}
    latents = classifier.infer(codes)
    assert torch.equal(classifier.predict(latents), classifier.predict(classifier.infer(codes)))
    codebook = models.DCID({"a": 3, "b": 3}, num_codes=4, code_dim=8, layers=1, heads=2).train()
    batch = Batch({name: torch.randn(5, 4, 3) for name in "ab"})
    assert torch.equal(codebook.generate(codebook.infer(batch))["a"], codebook.generate(codebook.infer(batch))["a"])
    assert classifier.training
    assert codebook.training
