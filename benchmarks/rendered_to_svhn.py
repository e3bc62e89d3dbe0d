"""How well a small network that saw rendered street digits alone reads real ones.

Renders a training set with ``rendered_digits(..., "street")``, trains a convolutional network on it, and lets it read
the first 1,083 digits of SVHN's training set. Those are split by house into a half that the looks were tuned on and a
half that had no part in it.

    python benchmarks/rendered_to_svhn.py --data DATA --out docs/results/rendered_to_svhn.md
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from mmvae.data.digits.rendered import rendered_digits


@dataclass(frozen=True)
class Config:
    """What is rendered, how long it is trained on, and where things lie."""

    data: Path | None = None
    """Folder that holds SVHN/svhn_train_first1083.npz; by default the environment variable MMVAE_DATA."""
    out: Path = Path("docs/results/rendered_to_svhn.md")
    cache: Path | None = None
    """Folder that keeps the rendered images."""
    images: int = 60_000
    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 2e-3
    width: int = 32
    """Channels of the first layer."""
    seed: int = 0


def normalise(images: Tensor) -> Tensor:
    """Grey levels as floats, each image with mean 0 and deviation 1, so that contrast tells nothing."""
    floats = images.float() / 255
    mean = floats.mean((1, 2, 3), keepdim=True)
    return (floats - mean) / (floats.std((1, 2, 3), keepdim=True) + 0.02)


def network(width: int) -> nn.Sequential:
    """Images [N, 3, 32, 32] to logits [N, 10]."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.1),
        ]

    return nn.Sequential(
        nn.Conv2d(3, width // 2, 3, padding=1, bias=False),
        nn.BatchNorm2d(width // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *block(width // 2, width),
        *block(width, 2 * width),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(256, 10),
    )


def train(model: nn.Module, images: Tensor, labels: Tensor, config: Config) -> None:
    """Fit in place, with a learning rate that rises and falls once."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    steps = config.epochs * (len(images) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=steps)
    model.train()
    for epoch in range(config.epochs):
        hits = total = 0
        for rows in torch.randperm(len(images))[: steps // config.epochs * config.batch_size].split(config.batch_size):
            logits = model(normalise(images[rows]))
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            hits, total = hits + int((logits.argmax(1) == labels[rows]).sum()), total + len(rows)
        print(f"epoch {epoch + 1}: {hits / total:.1%} of the rendered digits read while training", flush=True)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The digit that is read in each image."""
    model.eval()
    return torch.cat([model(normalise(part)).argmax(1) for part in images.split(500)])


def real_digits(data: Path | None) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels, and whether the house belongs to the development half (an even number)."""
    folder = data or (Path(os.environ["MMVAE_DATA"]) if "MMVAE_DATA" in os.environ else None)
    if folder is None:
        raise SystemExit("no data: give --data FOLDER or set MMVAE_DATA to the folder that holds SVHN/.")
    with np.load(folder / "SVHN" / "svhn_train_first1083.npz", allow_pickle=False) as archive:
        images = torch.from_numpy(archive["X"]).movedim(-1, 1).contiguous()
        return images, torch.from_numpy(archive["digit"]).long(), torch.from_numpy(archive["house"]) % 2 == 0


def table(config: Config, right: Tensor, labels: Tensor, development: Tensor, seconds: tuple[float, float]) -> str:
    """The results as markdown."""

    def share(rows: Tensor) -> str:
        return f"{right[rows].float().mean():.1%} of {int(rows.sum())}"

    lines = [
        "# A network trained on rendered street digits, reading real ones",
        "",
        f"Command: `python benchmarks/rendered_to_svhn.py {shown_arguments()}`",
        "",
        "The network saw rendered digits alone. It reads the first 1,083 SVHN training digits (not the SVHN test set),",
        "split by house: the looks were tuned on the development half, and the held-out half had no part in it.",
        "",
        "| part | read rightly |",
        "| --- | --- |",
        f"| development (houses of even number) | {share(development)} |",
        f"| held out (houses of odd number) | {share(~development)} |",
        f"| all | {share(torch.ones_like(development))} |",
        *(f"| all, digit {digit} | {share(labels == digit)} |" for digit in range(10)),
        "",
        f"{config.images:,} images rendered in {seconds[0]:.0f} s, {config.epochs} epochs of training in "
        f"{seconds[1]:.0f} s, on {platform.machine()} with {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__.split('+')[0]}, seed {config.seed}.",
        "",
    ]
    return "\n".join(lines)


def shown_arguments() -> str:
    """The command line, without the folders of the machine it ran on."""
    return shlex.join(Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:])


def main(config: Config) -> None:
    real, digits, development = real_digits(config.data)
    torch.manual_seed(config.seed)
    labels = torch.randint(10, (config.images,))
    start = time.perf_counter()
    images = rendered_digits(labels, "street", seed=config.seed, cache=config.cache)
    rendered = time.perf_counter()
    model = network(config.width)
    train(model, images, labels, config)
    seconds = (rendered - start, time.perf_counter() - rendered)
    text = table(config, predict(model, real) == digits, digits, development, seconds)
    print(text)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Config))
