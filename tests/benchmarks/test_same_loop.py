"""One loop for both libraries: the same batches, and what is scored is what it trained."""

from __future__ import annotations

import pytest

pytest.importorskip("multivae", reason="MultiVae is not installed; see the extra 'peers'")

import same_loop
import torch
from presets import PRESETS
from same_loop import train_by_loop


@pytest.mark.usefixtures("threads_kept")
def test_a_call_writes_its_section_and_trains_once(tmp_path, monkeypatch):
    config = same_loop.Config(
        preset="smoke", models=("MVAE",), device="cpu", data=tmp_path, work=tmp_path / "work", out=tmp_path / "page.md"
    )
    same_loop.main(config)
    page = config.out.read_text()
    assert "## Quality after training by one loop" in page
    assert all(f"| MVAE | {name} |" in page for name in (*same_loop.LIBRARIES, "mmvae - MultiVae, by seed"))

    def again(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(same_loop, "both_trained", again)
    same_loop.main(config)
    assert config.out.read_text() == page


def test_the_loop_takes_the_same_batches_each_time_and_each_row_once_an_epoch():
    data = {"a": torch.arange(10.0)}

    def run(seed):
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)
        batches = []

        def loss(batch):
            batches.append(batch["a"].tolist())
            return model(batch["a"][:, None]).square().mean()

        before = model.weight.detach().clone()
        train_by_loop(model, data, loss, epochs=2, batch_size=4, seed=seed)
        assert not torch.equal(before, model.weight)
        return batches

    first, again, other = run(1), run(1), run(2)
    assert first == again != other
    assert [len(batch) for batch in first] == [4, 4, 2] * 2
    seen = [row for batch in first for row in batch]
    assert sorted(seen[:10]) == sorted(seen[10:]) == data["a"].tolist()
    assert seen[:10] != seen[10:]


def test_both_libraries_models_are_trained_and_scored_apart(tmp_path, monkeypatch):
    """MultiVae's parameters are carried over: nothing of its model stays as it began."""
    scored = []
    monkeypatch.setattr(same_loop, "scores", lambda model, *arguments, **settings: scored.append(model) or {"a": 1.0})
    run = same_loop.Run(PRESETS["smoke"], "cpu", tmp_path, tmp_path)
    task = run.task(run.preset.trained)
    same_loop.both_trained(run, task, {}, "MVTCAE", 0)
    began = task.make_model("MVTCAE", 0)
    for model in scored:
        moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), began.parameters(), strict=True)]
        assert all(moved)
    ours, theirs = scored
    assert ours is not theirs
