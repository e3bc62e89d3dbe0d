"""How much the comparison with MultiVae times and trains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Channels of the networks' first layer, and rows of a batch."""

    width: int
    batch_size: int


@dataclass(frozen=True)
class Preset:
    """Sizes of everything.

    Attributes:
        says: what the page says of it.
        modalities: how many of PolyMNIST's.
        train_rows: that models and judges learn from.
        test_rows: that they are scored on.
        timed: sizes of what is timed.
        trained: sizes of what is trained and scored.
        repeats: by measure, how many pairs are timed.
        epoch_rows: of an epoch that is timed.
        likelihood_rows: of which likelihoods are estimated.
        scored_rows: whose likelihood is estimated after training.
        num_samples: K, importance samples.
        epochs: of training.
        judge_steps: of the classifiers.
        seeds: of training.
        threads: of PyTorch, on the CPU.
    """

    says: str
    modalities: int
    train_rows: int
    test_rows: int
    timed: Sizes
    trained: Sizes
    repeats: dict[str, int]
    epoch_rows: int
    likelihood_rows: int
    scored_rows: int
    num_samples: int
    epochs: int
    judge_steps: int
    seeds: tuple[int, ...]
    threads: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: it shows that everything runs; its numbers mean nothing.",
        modalities=2,
        train_rows=40,
        test_rows=20,
        timed=Sizes(width=2, batch_size=20),
        trained=Sizes(width=2, batch_size=20),
        repeats={"step": 2, "epoch": 1, "inference": 2, "likelihood": 1, "coherence": 1},
        epoch_rows=40,
        likelihood_rows=4,
        scored_rows=20,
        num_samples=4,
        epochs=1,
        judge_steps=2,
        seeds=(0, 1),
        threads=1,
    ),
    "laptop": Preset(
        says="Preset laptop: three modalities, small networks and budgets of training. Its quality compares the "
        "libraries with each other, not with papers.",
        modalities=3,
        train_rows=8_000,
        test_rows=1_000,
        timed=Sizes(width=32, batch_size=128),
        trained=Sizes(width=8, batch_size=64),
        repeats={"step": 9, "epoch": 5, "inference": 21, "likelihood": 5, "coherence": 3},
        epoch_rows=768,
        likelihood_rows=16,
        scored_rows=100,
        num_samples=100,
        epochs=10,
        judge_steps=1_000,
        seeds=(0, 1, 2),
        threads=1,
    ),
    "full": Preset(
        says="Preset full: five modalities, training to where papers train.",
        modalities=5,
        train_rows=60_000,
        test_rows=10_000,
        timed=Sizes(width=32, batch_size=256),
        trained=Sizes(width=32, batch_size=256),
        repeats={"step": 60, "epoch": 5, "inference": 60, "likelihood": 10, "coherence": 5},
        epoch_rows=20_000,
        likelihood_rows=64,
        scored_rows=500,
        num_samples=1_000,
        epochs=50,
        judge_steps=4_000,
        seeds=(0, 1, 2),
        threads=4,
    ),
}
