"""Draws scored in chunks: the same loss and gradients, and memory that does not grow with their number."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from live_memory import LiveMemory
from objectives.parts import Parts, make
from torch import Tensor, nn

from mmvae import Modality, likelihoods, models
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.objectives.chunks import ChunkSize, kept_by_an_entry


def gradients(model: Any, data: Any, observed: Any, chunk_size: ChunkSize) -> tuple[Any, Tensor]:
    model.objective.chunk_size = chunk_size
    model.zero_grad()
    torch.manual_seed(1)
    loss = model.loss(data, observed)
    loss.total.backward()
    return loss, torch.cat([each.grad.flatten() for each in model.parameters()])


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("family", ["laplace", "normal"])
@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_gradients_are_those_of_all_at_once(objective: str, family: str, missing: bool) -> None:
    """In relation to their length, for chunks that divide the draws and such that do not."""
    model, data = make("MMVAE", num_samples=7, objective=objective, family=family, weights={"bits": 0.5}, beta=0.7)
    sizes = (1, 3 * 6 * 2, 3 * 6 * 7, 10_000)  # one, two and all draws from each of three experts
    assert_same_gradients(model, data, missing, sizes)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("num_random_subsets", [0, 3])
def test_gradients_of_subsets_are_those_of_all_at_once(num_random_subsets: int, missing: bool) -> None:
    """The rows of a batch are cut, as each modality is a member of subsets of its own."""
    model, data = make("MVAE", num_random_subsets=num_random_subsets, weights={"bits": 0.5}, beta=0.7)
    subsets = 4 + num_random_subsets
    assert_same_gradients(model, data, missing, (1, 2 * subsets, 4 * subsets + 1, 6 * subsets, 10_000))


def assert_same_gradients(model: Any, data: Any, missing: bool, chunk_sizes: Sequence[ChunkSize]) -> None:
    observed = Parts().make_observed() if missing else None
    whole, expected = gradients(model, data, observed, None)
    assert expected.norm() > 0
    for chunk_size in chunk_sizes:
        loss, found = gradients(model, data, observed, chunk_size)
        assert (found - expected).norm() <= 1e-6 * expected.norm()
        torch.testing.assert_close(loss.total, whole.total, rtol=1e-6, atol=0)
        assert loss.terms.keys() == whole.terms.keys()
        for name, term in loss.terms.items():
            torch.testing.assert_close(term, whole.terms[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_memory_does_not_grow_with_the_draws(objective: str) -> None:
    """But by the draws themselves, and a few numbers for each; without chunks it does."""
    rows = 8

    def peak(num_samples: int, chunk_size: int | None) -> int:
        model = models.MMVAE(wide("ab"), 2, num_samples=num_samples, objective=objective, chunk_size=chunk_size)  # type: ignore[arg-type]
        return peak_of_a_step(model, rows)

    few, many = peak(8, 4 * 2 * rows), peak(64, 4 * 2 * rows)
    each_draw = 2 * rows * 4 * 40  # bytes of a draw from both experts, some forty numbers per row
    assert many - few <= (64 - 8) * each_draw
    assert peak(64, None) > 4 * many


def test_memory_does_not_grow_with_the_subsets() -> None:
    """But by the draws themselves, and a few numbers for each; without chunks it does."""
    rows, names = 32, "abc"

    def peak(num_random_subsets: int, chunk_size: int | None) -> int:
        model = models.MVAE(wide(names), 2, num_random_subsets=num_random_subsets, chunk_size=chunk_size)
        return peak_of_a_step(model, rows)

    few, many = peak(4, 64), peak(60, 64)
    each_subset = rows * 4 * 40  # bytes, some forty numbers per row
    assert many - few <= (60 - 4) * each_subset
    assert peak(60, None) > 4 * many


def test_what_an_entry_keeps_is_counted() -> None:
    weights, draws = torch.ones(4, 10, requires_grad=True), torch.ones(5, 3, 4)

    def score(some: slice) -> dict[str, Tensor]:
        return {"a": (draws[some] @ weights).exp().square().sum(-1)}  # the exponentials are kept, by two operations

    assert kept_by_an_entry(score) == 3 * 10 * 4


def free(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    monkeypatch.setattr("mmvae.objectives.chunks.free_memory", lambda device: number)


@pytest.mark.parametrize(("kind", "arguments"), [("MMVAE", {"num_samples": 6, "objective": "dreg"}), ("MVAE", {})])
@pytest.mark.parametrize("bytes_free", [0, 40_000, None])
def test_chunks_that_follow_free_memory(kind: str, arguments: Any, bytes_free: int | None, monkeypatch) -> None:
    model, data = make(kind, **arguments)
    free(monkeypatch, bytes_free)
    assert_same_gradients(model, data, False, ["auto"])


def test_the_less_is_free_the_smaller_are_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 8

    def peak_and_passes(share: int) -> tuple[int, int]:
        """Of a step of 64 draws, where a quarter of what is free has room for this many."""
        model = models.MMVAE(wide("ab"), 2, num_samples=64, objective="elbo", chunk_size="auto")
        score, passes = model.score, []
        monkeypatch.setattr(model, "score", lambda *given: passes.append(1) or score(*given))
        kept_by_a_draw = 2 * 2 * rows * 4 * (50 + 200)  # bytes: from two experts, by two decoders
        free(monkeypatch, 4 * share * 2 * kept_by_a_draw)
        return peak_of_a_step(model, rows), len(passes)

    (least, most_passes), (some, some_passes), (most, least_passes) = map(peak_and_passes, (0, 4, 64))
    assert least < some < most
    assert most_passes == 2 + 2 * 64  # one draw at a time, decoded twice; and twice to see what that keeps
    assert least_passes == 2 + 1
    assert least_passes < some_passes < most_passes


def test_measuring_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 2**40)
    modality = Modality(
        "a", (3,), likelihoods.Normal(), decoder=lambda size: nn.Sequential(nn.Linear(size, 3), nn.Dropout())
    )
    model = models.MMVAE([modality], 2, num_samples=4, objective="elbo")
    losses = []
    for chunk_size in (None, "auto"):
        model.objective.chunk_size = chunk_size
        torch.manual_seed(0)
        losses.append(model.loss({"a": torch.zeros(5, 3)}).total)
    assert torch.equal(*losses)


def wide(names: str) -> list[Modality]:
    """Modalities whose decoders make much more than their encoders keep."""
    encoder = functools.partial(MLPEncoder, (200,), hidden=(5,))
    decoder = functools.partial(MLPDecoder, shape=(200,), hidden=(50,))
    return [Modality(name, (200,), likelihoods.Normal(), encoder, decoder) for name in names]


def peak_of_a_step(model: Any, rows: int) -> int:
    batch = model.prepare({name: torch.randn(rows, 200) for name in model.names})
    with LiveMemory() as memory:
        model.loss(batch).total.backward()
    return memory.peak


def test_dropout_is_the_same_in_both_passes() -> None:
    """Otherwise the gradient of a decoder would be that of another loss than the one reported."""

    def decoder(size: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(size, 3), torch.nn.Dropout(0.5))

    modality = Modality("a", (3,), likelihoods.Normal(), decoder=decoder)
    model = models.MMVAE([modality], 2, num_samples=4, objective="elbo", chunk_size=2)
    loss = model.loss({"a": torch.zeros(1, 3)}).total
    loss.backward()
    bias = model.decoders["a"][0].bias  # type: ignore[index,union-attr]
    step = bias.grad.sign() * 1e-3

    def at(sign: int) -> Tensor:
        with torch.no_grad():
            bias.add_(sign * step)
            torch.manual_seed(3)
            value = model.loss({"a": torch.zeros(1, 3)}).total
            bias.sub_(sign * step)
        return value

    torch.manual_seed(3)
    model.zero_grad()
    model.loss({"a": torch.zeros(1, 3)}).total.backward()
    slope = (bias.grad * step).sum()
    torch.testing.assert_close((at(1) - at(-1)) / 2, slope, rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize("kind", ["MMVAE", "MVAE"])
def test_empty_chunks_are_refused(kind: str) -> None:
    with pytest.raises(
        ValueError, match=r'chunk_size: .* "auto" for what free memory allows, or None for all; got 0\.'
    ):
        make(kind, chunk_size=0)
    with pytest.raises(ValueError, match="got 'all'"):
        make(kind, chunk_size="all")
