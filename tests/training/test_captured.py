"""Steps that are captured: buffers, what does not fit, what must be as it was, and what is said. Without a GPU, a
recorder that does the work again stands for CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training.catalogue import CASES, ROWS

from mmvae import Batch, models
from mmvae.training import fit
from mmvae.training.captured import CudaGraphs
from mmvae.training.engine import Engine
from mmvae.training.learning_rate import warmup_cosine
from mmvae.training.settings import Settings

RATE = 2.0**-10
"""The same number in float32, in which captured steps read it, and in float64."""


class Again:
    """Does the work again, and counts how often."""

    repeats_host_draws = True

    def __init__(self) -> None:
        self.replays = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        work()
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()

        def replay() -> None:
            self.replays += 1
            work()

        return replay


class Idle(Again):
    """Replays nothing: what a capture would do that took the batch for a constant."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        super().record(work)
        return lambda: None


class Fixed(Again):
    """Draws on the CPU are constants of what it records, as those of a CUDA graph are."""

    repeats_host_draws = False


class Failing(Again):
    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Again:
    """Let ``fit`` capture on the CPU."""
    again = Again()
    monkeypatch.setattr("mmvae.training.engine.standing_obstacle", lambda *facts: None)
    monkeypatch.setattr("mmvae.training.engine.CudaGraphs", lambda: again)
    return again


def engine_of(model: Any, recorder: Any, said: list[str] | None = None, **settings: Any) -> Engine:
    engine = Engine("cpu", Settings(1, lr=RATE, **settings))
    engine.setup(model, None)
    engine.accelerate([].append if said is None else said.append, recorder)
    return engine


quiet = partial(fit, progress=False, batch_size=8, device="cpu", lr=RATE, epochs=3)


@pytest.mark.parametrize("recipe", [models.MVAE, models.MMVAE, models.JMVAE])
def test_a_captured_run_is_the_plain_run(
    recorder: Again, new_model: Any, data: Any, weights_of: Any, recipe: Any
) -> None:
    settings = {"schedule": warmup_cosine(0.25), "max_grad_norm": 0.5, "validation": 0.25}
    plain = quiet(new_model(recipe), data, acceleration="none", **settings)
    captured = quiet(new_model(recipe), data, acceleration="graph", **settings)
    assert recorder.replays == 3 * 3 - 1  # 30 rows: of four steps an epoch the last is smaller; the first is plain
    for name, value in weights_of(plain.model).items():
        torch.testing.assert_close(weights_of(captured.model)[name], value, rtol=1e-5, atol=1e-6, msg=name)
    for one, other in zip(captured.metrics, plain.metrics, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["MoPoE", "DCID", "FCID", "MaskedReconstruction"])
def test_capturing_leaves_all_as_it_was(name: str) -> None:
    """Step by step, from the same draws; codebooks and what is fitted on the side as well."""
    case = CASES[name]
    plain, captured = case.model(), case.model()
    recorder = Again()
    engines = [engine_of(plain, Again(), acceleration="none"), engine_of(captured, recorder, acceleration="graph")]
    random = torch.get_rng_state()
    states = [random, random]
    for step in range(5):
        results = []
        for index, (engine, model) in enumerate(zip(engines, (plain, captured), strict=True)):
            batch = case.batch(model, step)
            torch.set_rng_state(states[index])
            results.append(engine.step(batch)[0])
            states[index] = torch.get_rng_state()
        torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=0)
        assert torch.equal(*states)
        torch.testing.assert_close(captured.state_dict(), plain.state_dict(), rtol=1e-6, atol=1e-7)
    assert recorder.replays == 4


def test_results_are_not_overwritten_by_the_next_step(model: Any, data: Any) -> None:
    engine = engine_of(model, Again(), acceleration="graph")
    whole = model.prepare(Batch(data))
    results = [engine.step(whole[torch.arange(start, start + 8)]) for start in range(0, 32, 8)]
    assert len({float(loss) for loss, _ in results}) == len({float(terms["kl"]) for _, terms in results}) == 4


def test_a_schedule_of_the_learning_rate_reaches_replays(model: Any, data: Any) -> None:
    engine = Engine("cpu", Settings(1, lr=RATE, acceleration="graph"))
    engine.setup(model, None, lambda done: 1.0 if done < 0.5 else 0.0)
    engine.accelerate([].append, Again())
    whole = model.prepare(Batch(data))
    for _ in range(4):
        engine.step(whole, 0.0)
    before = [each.clone() for each in model.parameters()]
    engine.step(whole, 0.75)
    assert all(map(torch.equal, before, model.parameters()))


def test_new_buffers_are_put_into_the_old_ones(data: Any, new_model: Any) -> None:
    model = new_model(models.MVAE)
    model.register_buffer("steps", torch.zeros(()))
    steps, loss = model.steps, model.loss

    def counted(*batch: Any) -> Any:
        model.steps = model.steps + 1
        return loss(*batch)

    model.loss = counted
    engine = engine_of(model, Again(), acceleration="graph")
    whole = model.prepare(Batch(data))
    for _ in range(5):
        engine.step(whole)
    assert model.steps is steps
    assert float(steps) == 5


def test_a_run_goes_on_plainly_and_back(
    recorder: Again, new_model: Any, data: Any, weights_of: Any, tmp_path: Any
) -> None:
    whole = quiet(new_model(), data, acceleration="none")
    for name, kinds in (("to_plain", ("graph", "none")), ("to_captured", ("none", "graph"))):
        quiet(new_model(), data, out=tmp_path / name, acceleration=kinds[0], epochs=2)
        resumed = quiet(new_model(), data, out=tmp_path / name, acceleration=kinds[1], epochs=3, resume=True)
        for key, value in weights_of(whole.model).items():
            torch.testing.assert_close(weights_of(resumed.model)[key], value, rtol=1e-5, atol=1e-6, msg=key)
    assert recorder.replays > 0


def test_a_capture_that_fails_changes_nothing(new_model: Any, data: Any, weights_of: Any) -> None:
    said: list[str] = []
    plain, captured = new_model(), new_model()
    engines = [
        engine_of(plain, Again(), acceleration="none"),
        engine_of(captured, Failing(), said, acceleration="auto"),
    ]
    for engine, model in zip(engines, (plain, captured), strict=True):
        torch.manual_seed(3)
        whole = model.prepare(Batch(data))
        for start in range(4):
            engine.step(whole[torch.arange(start, start + 8)])
    assert said == [
        "training steps are not captured as a CUDA graph: capturing failed (operation not permitted when stream is "
        "capturing)"
    ]
    for name, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(captured)[name], value, rtol=1e-6, atol=1e-7, msg=name)


def test_a_replay_that_does_something_else_is_noticed(model: Any, data: Any, weights_of: Any) -> None:
    said: list[str] = []
    engine = engine_of(model, Idle(), said, acceleration="auto")
    whole = model.prepare(Batch(data))
    for _ in range(3):  # the first is plain, the second replayed, and the third held against a plain step
        engine.step(whole)
    assert len(said) == 1
    assert "a replay did not do what the step does" in said[0]
    before = weights_of(model)
    engine.step(whole)
    assert not torch.equal(
        weights_of(model)["decoders.image.layers.0.weight"], before["decoders.image.layers.0.weight"]
    )


@pytest.mark.parametrize("recorder", [Idle(), Failing()])
def test_what_goes_wrong_is_an_error_where_capturing_is_demanded(model: Any, data: Any, recorder: Any) -> None:
    engine = engine_of(model, recorder, acceleration="graph")
    whole = model.prepare(Batch(data))

    def train() -> None:
        for _ in range(3):
            engine.step(whole)

    with pytest.raises(RuntimeError, match="acceleration: training steps cannot be captured"):
        train()


@pytest.mark.parametrize("name", ["MVAE, random subsets", "MVAE"])
def test_a_step_that_draws_on_the_cpu_is_not_replayed(name: str) -> None:
    """A graph repeats the draws of the GPU alone. That is said once, and changes nothing."""
    case, said = CASES[name], []
    recorder = Fixed()
    models = [case.model(), case.model()]
    engines = [
        engine_of(models[0], Again(), acceleration="none"),
        engine_of(models[1], recorder, said, acceleration="auto"),
    ]
    for engine, model in zip(engines, models, strict=True):
        torch.manual_seed(3)
        for step in range(4):
            engine.step(case.batch(model, step))
    assert said == [
        "training steps are not captured as a CUDA graph: a step draws on the CPU, which a replay would not do again"
    ]
    assert recorder.replays == 0
    torch.testing.assert_close(models[1].state_dict(), models[0].state_dict(), rtol=1e-6, atol=1e-7)
    demanding = engine_of(case.model(), Fixed(), acceleration="graph")
    with pytest.raises(RuntimeError, match="a step draws on the CPU"):
        [demanding.step(case.batch(models[0], step)) for step in range(2)]


def test_another_optimiser_is_not_captured(recorder: Again, model: Any, data: Any) -> None:
    make = partial(torch.optim.SGD, lr=0.1)
    with pytest.raises(ValueError, match="the optimiser is SGD"):
        quiet(model, data, optimizer=make, acceleration="graph")
    quiet(model, data, optimizer=make, acceleration="auto")
    assert recorder.replays == 0


def test_on_the_cpu_there_is_nothing_to_capture(model: Any, data: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match='they do not run on a GPU; take "auto"'):
        quiet(model, data, acceleration="graph")
    fit(model, data, epochs=1, device="cpu")
    assert "captured" not in capsys.readouterr().err


def test_the_loss_is_compiled_where_that_is_asked_for(model: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda module: (compiled.append(module), module)[1])
    quiet(model, data, acceleration="compile", epochs=1)
    assert [each.model for each in compiled] == [model]
    quiet(model, data, epochs=1)
    assert len(compiled) == 1


def test_an_unknown_acceleration_is_refused(model: Any, data: Any) -> None:
    with pytest.raises(ValueError, match="acceleration: expected"):
        quiet(model, data, acceleration="fast")


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_precision_of_matrix_products_is_set_and_given_back(data: Any, new_model: Any, precision: str) -> None:
    model, seen = new_model(), set()
    loss = model.loss
    model.loss = lambda batch: (seen.add(torch.get_float32_matmul_precision()), loss(batch))[1]
    quiet(model, data, matmul_precision=precision, epochs=1)
    assert seen == {precision}
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_precision_that_a_program_has_set_stays(data: Any, new_model: Any) -> None:
    model, seen = new_model(), set()
    loss = model.loss
    model.loss = lambda batch: (seen.add(torch.get_float32_matmul_precision()), loss(batch))[1]
    torch.set_float32_matmul_precision("high")
    try:
        quiet(model, data, epochs=1)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == {"high"}


def test_a_run_goes_on_with_the_precision_of_matrix_products_it_began_with(
    data: Any, new_model: Any, tmp_path: Path
) -> None:
    quiet(new_model(), data, matmul_precision="high", epochs=1, out=tmp_path)
    with pytest.raises(ValueError, match="matmul_precision"):
        quiet(new_model(), data, epochs=2, out=tmp_path, resume=True)
    quiet(new_model(), data, matmul_precision="high", epochs=2, out=tmp_path, resume=True)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ON_CUDA = ["MVAE", "MMVAE", "MMVAE, dreg", "MMVAE, iwae", "MoPoE", "JMVAE", "MVTCAE", "IterativeVAE"]
ON_CUDA += ["MoLT", "MoLT, dropout", "MoLT, Frobenius", "CMPT", "CMPT, dropout", "LateFusion", "LateFusion, mean"]
ON_CUDA += ["MaskedReconstruction", "MaskedReconstruction, text", "DCID", "DCID, lengths", "FCID"]


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("name", ON_CUDA)
def test_on_a_gpu_captured_and_plain_steps_agree(name: str) -> None:
    """From the same draws, step by step, to 1e-3 of the loss; gradients are added up in another order at each run."""
    losses = []
    for acceleration in ("none", "graph"):
        case = CASES[name]
        model = case.model()
        engine = Engine("cuda", Settings(1, lr=RATE, acceleration=acceleration))
        engine.setup(model, None)
        engine.accelerate([].append, CudaGraphs() if acceleration == "graph" else None)
        torch.manual_seed(3)
        batches = [case.batch(model, seed) for seed in range(6)]
        torch.manual_seed(4)
        losses.append(torch.stack([engine.step(batch)[0] for batch in batches]))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
@needs_cuda
def test_on_a_gpu_draws_differ_from_replay_to_replay() -> None:
    case = CASES["MVAE"]
    model = case.model()
    engine = Engine("cuda", Settings(1, lr=1e-12, acceleration="graph"))
    engine.setup(model, None)
    engine.accelerate([].append)
    batch = case.batch(model, 1)
    losses = [float(engine.step(batch)[0]) for _ in range(3 + ROWS)]
    assert len(set(losses)) == len(losses)


@pytest.mark.cuda
@needs_cuda
def test_on_a_gpu_what_waits_goes_on_plainly(new_model: Any, data: Any) -> None:
    model = new_model(models.MVAE)
    loss = model.loss
    model.loss = lambda batch: (bool(batch.data["image"].sum() > 0), loss(batch))[1]
    said: list[str] = []
    engine = Engine("cuda", Settings(1, acceleration="auto"))
    engine.setup(model, None)
    engine.accelerate(said.append)
    batch = model.prepare(Batch(data))
    assert all(bool(engine.step(batch)[0].isfinite()) for _ in range(4))
    assert len(said) == 1
