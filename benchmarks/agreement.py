"""Whether the two libraries compute the same loss and the same gradient, from the same weights, data and noise.

A check of both, and of the comparison: times of different computations could not be compared.

    python benchmarks/agreement.py --out docs/results/speed.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from peers import make_peer, parameter_pairs, peer_data
from protocol import LATENT_DIM, RECIPES, Case, make_model, synthetic_digits
from results import conditions, table, write_section
from torch import Tensor, nn
from torch.distributions import Laplace, Normal


@dataclass(frozen=True)
class Config:
    """What is compared, and where the table goes."""

    models: tuple[Case, ...] = tuple(RECIPES)
    batch_size: int = 126
    """A multiple of seven: only then do both libraries cut a batch for MoPoE's seven components at the same rows."""
    out: Path | None = None


@dataclass(frozen=True)
class Agreement:
    """The two losses per datum, and how far apart the gradients are, as a share of their length: all, and decoders'."""

    ours: float
    peer: float
    gradient: float
    decoders: float


@contextlib.contextmanager
def fixed_noise() -> Iterator[None]:
    """Normal and Laplace draws take one noise vector for each of the draws of a sample shape, the same for all rows."""

    def rsample(self: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        shape = (*sample_shape, *(1,) * (len(self.batch_shape) - 1), LATENT_DIM)
        return self.loc + self.scale * torch.randn(shape, generator=generator)

    before = Normal.rsample, Laplace.rsample
    Normal.rsample = Laplace.rsample = rsample
    try:
        yield
    finally:
        Normal.rsample, Laplace.rsample = before


def compare(case: Case, batch_size: int) -> Agreement:
    """One loss and its gradient by both libraries."""
    ours = make_model(case)
    peer = make_peer(ours)
    data = synthetic_digits(batch_size)
    with fixed_noise():
        our_loss = ours.loss(data).total
        peer_loss = peer(peer_data(ours, data), epoch=1).loss
    if case.startswith("MMVAE"):  # there a sum over the batch, here as everywhere else the mean
        peer_loss = peer_loss / batch_size
    our_loss.backward()
    peer_loss.backward()
    decoders = set(ours.decoders.parameters())
    pairs = list(parameter_pairs(ours, peer))
    return Agreement(
        our_loss.item(), peer_loss.item(), _apart(pairs), _apart([pair for pair in pairs if pair[0] in decoders])
    )


def _apart(pairs: list[tuple[nn.Parameter, nn.Parameter]]) -> float:
    """The distance of the gradients of many parameters, as a share of the length of the first."""
    differences, lengths = zip(*(_distance(own, other) for own, other in pairs), strict=True)
    return (sum(differences) / sum(lengths)) ** 0.5


def _distance(own: nn.Parameter, other: nn.Parameter) -> tuple[float, float]:
    """The squared distance of two gradients, and the squared length of the first."""
    assert own.grad is not None
    assert other.grad is not None
    return float((own.grad - other.grad).square().sum()), float(own.grad.square().sum())


def main(config: Config) -> None:
    rows = []
    for case in config.models:
        found = compare(case, config.batch_size)
        rows.append([case, f"{found.ours:.3f}", f"{found.peer:.3f}", f"{found.gradient:.1e}"])
        print(*rows[-1], flush=True)
    body = "\n\n".join(
        [
            "One loss per datum and its gradient, by both libraries, from the same weights, data and noise.",
            table(["model", "mmvae, nats", "MultiVae, nats", "distance of the gradients / their length"], rows),
            "MMVAE: MultiVae's loss is the sum over the batch (divided by its size here), and with K > 1 its value is "
            "the importance-weighted mean of the log-weights, a surrogate; this library reports "
            "the bound itself. Its gradient with K > 1 is the estimator of the paper's code, which is biased for the "
            "encoders of a mixture; this library's is corrected, so the two differ.",
            conditions(),
        ]
    )
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, "Speed and memory beside MultiVae", "Agreement of losses and gradients", body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
