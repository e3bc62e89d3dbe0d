from __future__ import annotations

import csv
import math
import os
import random
from functools import partial

import jaxtyping
import numpy as np
import pyro
import pytest
import torch
from torch.distributions import Distribution

import mmvae
from mmvae import Batch, models
from mmvae.objectives import LinearWarmup
from mmvae.seeds import derive_seed
from mmvae.sources import as_source
from mmvae.training import Run, fit
from mmvae.training.feed import RowFeed
from mmvae.training.fitting import _NOISE
from mmvae.training.randomness import seed_generators

quiet = partial(fit, progress=False, batch_size=16, device="cpu")


def test_training_lowers_the_loss(model, data):
    data["text"][:] = 2  # there is something to learn
    run = quiet(model, data, epochs=6, lr=0.05)
    assert run.model is model
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"] - 5
    assert [row["epoch"] for row in run.metrics] == list(range(1, 7))


def test_training_is_a_plain_loop(new_model, data):
    """All that is learned, on the same batches with the same draws: nothing is done besides, and nothing left out."""
    model, plain = new_model(), new_model()
    plain.fit_transforms(Batch(data))
    quiet(model, data, epochs=3, lr=0.01, seed=5)
    feed = RowFeed(as_source(data), torch.arange(40), batch_size=16, seed=5)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    seed_generators(derive_seed(5, _NOISE, 0))
    for epoch in range(3):
        for batch in feed.shuffled(epoch):
            optimizer.zero_grad()
            plain.loss(batch).total.backward()
            optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_same_seed_same_weights_other_seed_other_weights(new_model, data, assert_same):
    runs = [quiet(new_model(), data, epochs=2, seed=seed) for seed in (3, 3, 4)]
    assert_same(runs[0].model, runs[1].model)
    with pytest.raises(AssertionError):
        assert_same(runs[0].model, runs[2].model)


def test_global_state_is_left_as_it_was(model, data, tmp_path):
    jaxtyping.config.update("jaxtyping_disable", True)  # the checker draws from Python's generator
    model.decoders["image"].eval()
    modes = [part.training for part in model.modules()]
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    Distribution.set_default_validate_args(False)  # differs from Pyro's own switch
    environment = dict(os.environ)
    seen = []
    model.objective = _spy(model.objective, lambda: seen.append(pyro.distributions.util.is_validation_enabled()))
    try:
        quiet(model, data, epochs=1, validation=0.25, out=tmp_path / "run")
        assert Distribution._validate_args is False
    finally:
        Distribution.set_default_validate_args(True)
    assert not any(seen)
    assert pyro.distributions.util.is_validation_enabled()
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert [part.training for part in model.modules()] == modes
    assert dict(os.environ) == environment


def _spy(objective, note):
    def call(model, batch):
        note()
        return objective(model, batch)

    return call


def test_distributions_are_checked_if_asked_for(model, data):
    seen = []
    model.objective = _spy(model.objective, lambda: seen.append(Distribution._validate_args))
    quiet(model, data, epochs=1, validate_args=True)
    assert all(seen)


def test_nothing_is_written_without_out(model, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quiet(model, data, epochs=1, validation=0.25)
    assert run.path is None
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_run(model, data, tmp_path, assert_same):
    run = quiet(model, data, epochs=2, validation=0.25, out=tmp_path / "a" / "run")
    assert {path.name for path in run.path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
    }
    with open(run.path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "split", "loss", "image", "text", "kl", "elbo", "seconds"]
    assert [float(row["elbo"]) for row in rows] == [row["elbo"] for row in run.metrics]
    assert_same(mmvae.load(run.path), model)
    again = Run.load(run.path)
    assert (again.metrics, again.best_epoch) == (run.metrics, run.best_epoch)


def test_tensorboard_gets_the_rows(model, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = quiet(model, data, epochs=2, validation=0.25, out=tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    elbo = [row["elbo"] for row in run.metrics if row["split"] == "validation"]
    assert [event.value for event in events.Scalars("elbo/validation")] == pytest.approx(elbo)


def test_metrics_are_means_over_the_data(new_model, data):
    """With a learning rate of next to nothing the mean over steps is that of the whole, up to the noise of z."""
    model = new_model()
    run = quiet(model, data, epochs=1, lr=1e-12, batch_size=16)  # 16, 16 and 8 rows
    row = run.metrics[0]
    assert row["elbo"] == pytest.approx(row["image"] + row["text"] - row["kl"], rel=1e-5)
    exact = model.loss(data).terms["kl"].item()
    assert row["kl"] == pytest.approx(exact, rel=1e-4)


def test_the_epoch_of_the_model_advances(new_model, data):
    model = new_model(beta=LinearWarmup(epochs=4.0))
    seen = []
    model.objective = _spy(model.objective, lambda: seen.append(model.epoch.item()))
    quiet(model, data, epochs=2, batch_size=20)
    assert seen == [0.0, 0.5, 1.0, 1.5]
    assert model.epoch.item() == 2.0
    quiet(model, data, epochs=1, batch_size=20)
    assert model.epoch.item() == 3.0


def test_validation_does_not_change_training(new_model, data, new_data, timeless):
    plain = quiet(new_model(), data, epochs=3)
    validated = quiet(new_model(), data, epochs=3, validation=new_data(10, seed=5))
    assert timeless(plain) == [row for row in timeless(validated) if row["split"] == "train"]


def test_a_fraction_holds_out_rows(new_model, data):
    seen = {True: set(), False: set()}
    model = new_model()
    inner = model.objective

    def spy(owner, batch):
        seen[owner.training] |= set(batch.labels.tolist())
        return inner(owner, batch)

    model.objective = spy
    quiet(model, data, labels=torch.arange(40), epochs=2, validation=0.25)
    assert len(seen[False]) == 10
    assert seen[True] | seen[False] == set(range(40))
    assert not seen[True] & seen[False]


def test_the_best_weights_are_kept(new_model, data, peaking, assert_same, tmp_path):
    model = peaking(new_model(), at=2)
    run = quiet(model, data, epochs=4, validation=0.25, out=tmp_path)
    assert run.best_epoch == 2
    assert model.epoch.item() == 2.0
    assert_same(model, quiet(new_model(), data, epochs=2, validation=0.25).model)
    assert_same(model, mmvae.load(tmp_path))


def test_the_latest_weights_are_kept_if_asked_for(new_model, data, peaking, assert_same, tmp_path):
    model = peaking(new_model(), at=2)
    run = quiet(model, data, epochs=4, validation=0.25, restore_best=False, out=tmp_path)
    assert run.best_epoch == 2
    assert model.epoch.item() == 4.0
    assert_same(model, quiet(new_model(), data, epochs=4, validation=0.25, restore_best=False).model)
    assert_same(model, mmvae.load(tmp_path))


def test_early_stopping(new_model, data, peaking):
    run = quiet(peaking(new_model(), at=2), data, epochs=100, validation=0.25, patience=3)
    assert run.best_epoch == 2
    assert run.metrics[-1]["epoch"] == 5


def test_values_under_the_mask_do_not_matter(new_model, data, assert_same):
    missing = torch.arange(40) % 3 == 0
    runs = []
    for value in (0.0, 7.0, math.nan):
        padded = {**data, "image": data["image"].clone()}
        padded["image"][missing] = value
        runs.append(quiet(new_model(), padded, observed={"image": ~missing}, epochs=2, validation=0.25))
    assert_same(runs[0].model, runs[1].model)
    assert_same(runs[0].model, runs[2].model)


@pytest.mark.parametrize("recipe", [models.MVAE, models.MMVAE, models.MoPoE, models.JMVAE, models.MVTCAE])
def test_all_models_train(new_model, data, recipe):
    run = quiet(new_model(recipe), data, epochs=2, validation=0.25)
    assert all(math.isfinite(row["elbo"]) for row in run.metrics)


def test_data_as_batch_arrays_and_dataset_is_the_same(new_model, data, assert_same):
    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, row):
            return {name: value[row] for name, value in data.items()}

    arrays = {name: value.numpy() for name, value in data.items()}
    runs = [quiet(new_model(), each, epochs=2) for each in (data, Batch(data), arrays, Items())]
    for run in runs[1:]:
        assert_same(runs[0].model, run.model)


def test_gradients_are_clipped(new_model, data):
    sgd = partial(torch.optim.SGD, lr=1.0)
    model = new_model()
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    quiet(model, data, epochs=1, batch_size=40, optimizer=sgd, max_grad_norm=0.01)
    after = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-2)


def test_weight_decay_is_decoupled(new_model, data):
    """With no learning from the loss of a matrix, each step multiplies it by 1 - lr * decay; vectors do not decay."""
    model = new_model()
    model.register_parameter("idle", torch.nn.Parameter(torch.ones(3, 1)))
    model.register_parameter("idle_vector", torch.nn.Parameter(torch.ones(3)))
    inner = model.objective

    def with_idle(owner, batch):
        loss = inner(owner, batch)
        return type(loss)(loss.total + 0.0 * (owner.idle.sum() + owner.idle_vector.sum()), loss.terms)

    model.objective = with_idle
    quiet(model, data, epochs=1, batch_size=20, lr=0.1, weight_decay=0.5)
    torch.testing.assert_close(model.idle.detach(), torch.full((3, 1), 0.95**2))
    assert torch.equal(model.idle_vector.detach(), torch.ones(3))


def test_frozen_weights_stay(model, data):
    model.decoders["image"].requires_grad_(False)
    frozen = [parameter.clone() for parameter in model.decoders["image"].parameters()]
    quiet(model, data, epochs=1)
    assert all(torch.equal(*pair) for pair in zip(frozen, model.decoders["image"].parameters(), strict=True))


def test_mixed_precision_trains_and_leaves_float32(model, data):
    run = quiet(model, data, epochs=2, precision="bf16-mixed")
    assert math.isfinite(run.metrics[-1]["elbo"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_line_for_each_epoch_where_there_is_no_terminal(model, data, capsys):
    fit(model, data, epochs=2, device="cpu")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert "elbo" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": -1.0}, "lr"),
        ({"precision": "8-true"}, "precision: expected one of"),
        ({"patience": 2}, "patience: early stopping looks at validation"),
        ({"validation": 1.5}, "validation: a fraction"),
        ({"validation": 0.001}, "validation: a fraction"),
        ({"resume": True}, "resume: .* pass out="),
        ({"device": "abacus"}, "device: expected"),
        ({"device": "cuda:99"}, "GPUs are there"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings(model, data, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(model, data, **{"epochs": 1, "progress": False, **arguments})


def test_bad_data_is_named_before_anything_is_written(model, data, tmp_path):
    with pytest.raises(ValueError, match=r"image: expected"):
        quiet(model, {"image": torch.zeros(4, 3, 2), "text": data["text"][:4]}, epochs=1, out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"no modality of this model"):
        quiet(model, {**data, "sound": torch.zeros(40, 2)}, epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_train_on_incomplete_data_says_so(new_model, data):
    observed = {"image": torch.arange(40) > 3}
    with pytest.raises(ValueError, match=r"incomplete"):
        quiet(new_model(models.JMVAE), data, observed=observed, epochs=1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(new_model, data, tmp_path):
    run = fit(new_model(), data, epochs=2, validation=0.25, out=tmp_path, progress=False)
    assert run.model.device.type == "cuda"
    more = fit(new_model(), data, epochs=4, validation=0.25, out=tmp_path, progress=False, resume=True)
    assert more.metrics[-1]["epoch"] == 4
    half = fit(new_model(), data, epochs=2, precision="16-mixed", max_grad_norm=1.0, progress=False)
    assert math.isfinite(half.metrics[-1]["elbo"])
