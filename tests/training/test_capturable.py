"""Which models' steps can be captured, proven without a GPU: nothing waits, and nothing of a batch is baked in.

On the meta device there are no values: whatever looks at one fails there, and copies from the CPU can be seen. A tape
of the operations of a step on one batch is a capture: played on another batch it must do what the step does.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pyro
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from training.catalogue import CASES

from mmvae import Batch, models
from mmvae.abilities import HasInnerSteps
from mmvae.training.captured import _tensors

COMPLETE_ALONE = (
    "JMVAE",
    "IterativeVAE",
    "JNF",
    "TELBO",
    "DCCAE",
    "MoLT",
    "MoLT, dropout",
    "MoLT, Frobenius",
    "CMPT",
    "CMPT, dropout",
    "LateFusion",
    "LateFusion, mean",
)
NEVER = ("MVAE, random subsets",)
OF_ONE_MODALITY = tuple(name for name in CASES if name.startswith("MaskedReconstruction"))  # no row can lack it
CAPTURED = [name for name in CASES if name not in NEVER]
CAPTURED_INCOMPLETE = [name for name in CAPTURED if name not in (*COMPLETE_ALONE, *OF_ONE_MODALITY)]


@pytest.fixture(autouse=True)
def _as_in_fit(monkeypatch: pytest.MonkeyPatch) -> Any:
    # What is looked at on the CPU alone: tapes are made there, of what a GPU does.
    monkeypatch.setattr("mmvae.classifiers.classifier.checked_labels", lambda labels, *task: labels)
    monkeypatch.setattr("mmvae.classifiers.tokens.text_transformer.IdEmbedding.check", lambda *ids: None)
    monkeypatch.setattr("mmvae.codebooks.cross_cpc._steps_to_read", lambda now, last: last + 1)
    autocast = torch.autocast
    not_on_meta: Any = lambda device, **rest: nullcontext() if device == "meta" else autocast(device, **rest)  # noqa: E731
    monkeypatch.setattr(torch, "autocast", not_on_meta)
    with pyro.validation_enabled(False):
        yield


WAITS = ("nonzero", "_local_scalar", "unique", "masked_select", "linalg_svd", "linalg_eig", "_linalg_check_errors")
"""Operations whose results a GPU has to look at; decompositions look whether they converged."""


class Watched(TorchDispatchMode):
    """Notes what a graph on a GPU could not hold: looks at values, copies from the CPU, draws on it."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)}
        draws = torch.Tag.nondeterministic_seeded in func.tags and "cpu" in devices
        moves = "copy" in str(func) and len(devices) > 1
        if draws or moves or any(word in str(func) for word in WAITS):
            self.faults.append(str(func))
        return result


class Tape(TorchDispatchMode):
    """Notes operations, and does them again on other inputs, as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))  # which keeps the tensors, and so their places
        return result

    def play(self, inputs: Any, others: Any, outputs: Any) -> Any:
        """What the outputs come to with other inputs; all else is as it was."""
        now = {_place(old): new for old, new in zip(tree_leaves(inputs), tree_leaves(others), strict=True)}

        def latest(value: Any) -> Any:
            return now.get(_place(value), value) if isinstance(value, torch.Tensor) else value

        for func, args, kwargs, result in self.calls:
            again = func(*tree_map(latest, args), **tree_map(latest, kwargs))
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    now[_place(old)] = new
        return tree_map(latest, outputs)


def _place(tensor: torch.Tensor) -> Any:
    """Which numbers in memory a tensor is of; autograd hands some on as other objects."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def without_values(model: Any, batch: Batch) -> Batch:
    """Moves a model to the meta device; the batch there."""
    model.to("meta")
    return batch.map(lambda each: each.to("meta"))


def test_every_model_is_in_the_catalogue() -> None:
    bases = {
        *("CodebookModel", "DeterministicAutoencoder", "FrozenEncoderClassifier", "MultimodalAutoencoder"),
        *("MultimodalClassifier", "MultimodalModel", "MultimodalVAE"),
    }
    assert {name.split(",")[0] for name in CASES} == set(models.__all__) - bases


def holes(batch: Batch) -> dict[str, torch.Tensor]:
    masks = {name: torch.ones(batch.size, dtype=torch.bool) for name in batch.names}
    for row, mask in enumerate(masks.values()):
        mask[row] = False
    return masks


def of(name: str, seed: int, is_complete: bool) -> tuple[Any, Batch]:
    model = CASES[name].model()
    batch = CASES[name].batch(model, seed)
    return model, batch if is_complete else CASES[name].batch(model, seed, holes(batch))


class _Losses(nn.Module):
    """What a step follows downhill, and the buffers that it leaves: those of the model, and the inner loss if any."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        total = torch.zeros((), device=batch.device)
        if isinstance(self.model, HasInnerSteps) and list(self.model.inner_parameters()):
            with torch.no_grad():
                inputs = self.model.inner_inputs(batch)
            total = total + self.model.inner_loss(inputs)
        loss = self.model.loss(batch)
        logged = torch.stack([term.detach().float() for term in loss.terms.values()])
        return total + loss.total, {**dict(self.named_buffers()), "logged": logged}


@pytest.mark.parametrize(
    ("name", "is_complete"), [*((name, True) for name in CAPTURED), *((name, False) for name in CAPTURED_INCOMPLETE)]
)
def test_nothing_in_a_step_waits_for_the_device(name: str, is_complete: bool) -> None:
    model, batch = of(name, 1, is_complete)
    batch = without_values(model, batch)
    losses = _Losses(model)
    losses(batch)  # tables that are kept go to the device at the first step, which is a plain one
    with Watched() as watched:
        losses(batch)[0].backward()
    assert watched.faults == []


def test_what_waits_is_noticed() -> None:
    model, batch = of("MVAE, random subsets", 1, True)
    batch = without_values(model, batch)
    with Watched() as watched:
        model.loss(batch)
    assert {"aten.rand.default", "aten.nonzero.default", "aten._to_copy.default"} <= set(watched.faults)


@pytest.mark.parametrize("wait", [torch.linalg.svdvals, torch.linalg.eigvalsh, torch.linalg.cholesky])
def test_decompositions_that_are_waited_for_are_noticed(wait: Any) -> None:
    with Watched() as watched:
        wait(torch.eye(3, device="meta"))
    assert len(watched.faults) == 1


def test_a_tape_shows_what_is_baked_in() -> None:
    def step(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        drawn = values + torch.randn(3)
        kept = torch.zeros(3)
        kept += drawn.exp()
        (gradient,) = torch.autograd.grad(kept.sum(), values)
        return gradient, values * float(values.detach().sum())

    first, other = torch.ones(3, requires_grad=True), torch.arange(3.0, requires_grad=True)
    with Tape() as tape:
        outputs = step(first)
    torch.manual_seed(5)
    gradient, baked_in = tape.play(first, other, outputs)
    torch.manual_seed(5)
    torch.testing.assert_close(gradient, step(other)[0])
    torch.testing.assert_close(baked_in, 3 * other)  # which ones sum to


@pytest.mark.parametrize(
    ("name", "is_complete"), [*((name, True) for name in CAPTURED), *((name, False) for name in CAPTURED_INCOMPLETE)]
)
def test_nothing_of_a_batch_is_baked_in(name: str, is_complete: bool) -> None:
    """Noted at a first step, done again at a second: of another batch, and in another state of what is no parameter."""
    model, batch = of(name, 1, is_complete)
    other = CASES[name].batch(model, 2)
    if not is_complete:
        masks = {each: mask.roll(3) for each, mask in holes(other).items()}
        other = CASES[name].batch(model, 2, masks)
    module = _Losses(model)
    learned = {key: value for key, value in module.named_parameters() if value.requires_grad}
    buffers = {key: value.clone() for key, value in module.named_buffers()}

    def step(learned: Any, buffers: Any, values: list[torch.Tensor]) -> Any:
        remaining = iter(values)
        loss, left = functional_call(module, {**learned, **buffers}, (batch.map(lambda _: next(remaining)),))
        return loss.detach(), torch.autograd.grad(loss, list(learned.values()), allow_unused=True), left

    def at(batch: Batch, epoch: float, buffers: Any) -> tuple[Any, Any, list[torch.Tensor]]:
        before = {key: value.clone() for key, value in buffers.items()}
        before["model.epoch"].fill_(epoch)
        return learned, before, _tensors(batch)

    *_, later = step(*at(batch, 0.5, buffers))  # what is kept is kept from here on
    del later["logged"]
    inputs = at(batch, 0.5, buffers)
    with Tape() as tape:
        outputs = step(*inputs)
    torch.manual_seed(5)
    loss, gradients, left = step(*at(other, 1.5, later))
    torch.manual_seed(5)
    again_loss, again_gradients, again_left = tape.play(inputs, at(other, 1.5, later), outputs)
    torch.testing.assert_close(again_loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again_left, left, rtol=1e-5, atol=1e-6)
    for one, gradient in zip(again_gradients, gradients, strict=True):
        assert (one is None) == (gradient is None)
        if gradient is not None:
            torch.testing.assert_close(one, gradient, rtol=1e-4, atol=1e-6)
    assert not torch.equal(loss, step(*at(batch, 0.5, buffers))[0])  # the batches do differ
