"""A training step of this library beside one written by hand in plain PyTorch, and beside MultiVae, on tables.

The models of this file are what a researcher writes for one paper: layers and formulas, without distributions, batches,
masks or names. They get copies of this library's layers and compute the same loss from the same random numbers. All
sides take turns in one process.

    python benchmarks/bare.py --out docs/results/benchmark.md
"""

from __future__ import annotations

import copy
import functools
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from protocol import RECIPES, Case
from sides import LEARNING_RATE, epoch, peer_epoch, peer_training_step, training_step
from timing import Clock, Step, in_turn
from torch import Tensor, nn

from mmvae import Modality, likelihoods
from mmvae.networks.mlp import MLPDecoder, MLPEncoder
from mmvae.training.switches import environment
from mmvae.vaes.base import MultimodalVAE

TITLE = "Beside MultiVae"
HEADING = "Beside bare PyTorch"
Side = Literal["bare", "mmvae", "MultiVae"]
"""Who takes a step, as the table calls it."""

_LOG_2_PI = math.log(2 * math.pi)


class Bare(nn.Module, ABC):
    """A model of M tables x_m with Normal likelihoods of scale one, written by hand.

    Args:
        ours: Model of this library, whose layers are copied.
    """

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__()
        ours = copy.deepcopy(ours)
        self.encoders = nn.ModuleList(
            nn.Sequential(*ours.experts.encoders[name].layers, ours.experts.heads[name].linear) for name in ours.names
        )
        self.decoders = nn.ModuleList(ours.decoders[name].layers for name in ours.names)

    @abstractmethod
    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        """The loss of a batch of tables ``[N, columns]``, a scalar."""

    def encode(self, data: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What encoders say of each table, ``[M, N, D]``: locations, and log-variances or raw scales."""
        outputs = [encoder(x) for encoder, x in zip(self.encoders, data, strict=True)]
        return torch.stack(outputs).chunk(2, -1)

    def log_likelihood(self, data: Sequence[Tensor], z: Tensor) -> Tensor:
        """log p(x_1, ..., x_M | z), ``[*P, N]``, for latents ``[*P, N, D]``."""
        return sum(normal(x, decoder(z)) for x, decoder in zip(data, self.decoders, strict=True))


def normal(x: Tensor, loc: Tensor) -> Tensor:
    """log N(x; loc, 1) of rows."""
    return -0.5 * (x - loc).square().sum(-1) - 0.5 * x.shape[-1] * _LOG_2_PI


def draw(loc: Tensor, log_variance: Tensor) -> Tensor:
    """Draws of Normals."""
    return loc + (0.5 * log_variance).exp() * torch.randn_like(loc)


def kl_to_standard(loc: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(loc, exp(log_variance)) || N(0, 1)) of rows."""
    return 0.5 * (loc.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def kl(loc: Tensor, log_variance: Tensor, other_loc: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL between Normals, of rows."""
    apart = (loc - other_loc).square() + log_variance.exp()
    return 0.5 * (other_log_variance - log_variance + apart / other_log_variance.exp() - 1).sum(-1)


def product(
    loc: Tensor, log_variance: Tensor, members: Tensor | None = None, prior: float | Tensor = 0.0
) -> tuple[Tensor, Tensor]:
    """Products of experts ``[M, N, D]``, over all or over the members ``[S, M]`` of several subsets."""
    precision = (-log_variance).exp()
    weighted = precision * loc
    if members is None:
        total, weighted = precision.sum(0), weighted.sum(0)
    else:
        total = (members @ precision.flatten(1)).view(-1, *loc.shape[1:])
        weighted = (members @ weighted.flatten(1)).view(-1, *loc.shape[1:])
    total = total + prior
    return weighted / total, -total.log()


class BareMVTCAE(Bare):
    """The total correlation of a product of experts."""

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__(ours)
        self.alpha = ours.objective.alpha

    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        loc, log_variance = self.encode(data)
        joint = product(loc, log_variance)
        count, alpha = len(data), self.alpha
        reconstruction = (count - alpha) / count * self.log_likelihood(data, draw(*joint))
        conditional = kl(*joint, loc, log_variance).mean(0)
        return (-reconstruction + (1 - alpha) * kl_to_standard(*joint) + alpha * conditional).mean()


class BareMVAE(Bare):
    """The ELBOs of the product of all experts and of each expert, the prior being one of them."""

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__(ours)
        count = len(ours.names)
        self.register_buffer("members", torch.cat([torch.ones(1, count), torch.eye(count)]))

    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        subsets = product(*self.encode(data), self.members, prior=1.0)
        z = draw(*subsets)  # [1 + M, N, D]
        reconstruction = sum(
            normal(x, decoder(z[[0, 1 + m]])).sum(0)
            for m, (x, decoder) in enumerate(zip(data, self.decoders, strict=True))
        )
        return (kl_to_standard(*subsets).sum(0) - reconstruction).mean()


class BareMoPoE(Bare):
    """The ELBO of the mixture of all products; rows are dealt out among the products at random."""

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__(ours)
        count = len(ours.names)
        subsets = [[float(bits >> m & 1) for m in range(count)] for bits in range(1, 2**count)]
        members = torch.tensor(sorted(subsets, key=lambda each: (sum(each), [-one for one in each])))
        self.register_buffer("members", members)
        self.register_buffer("prior", (members.sum(1) == count).float().view(-1, 1, 1))

    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        loc, log_variance = product(*self.encode(data), self.members, self.prior)  # [C, N, D]
        count, size, _ = loc.shape
        divergence = kl_to_standard(loc, log_variance).mean(0)
        component = ((torch.rand(size).argsort() + torch.rand(())) / size * count).long()
        rows = torch.arange(size)
        z = draw(loc[component, rows], log_variance[component, rows])
        return (divergence - self.log_likelihood(data, z)).mean()


class BareJMVAE(Bare):
    """A joint encoder, and one for each table that is pulled towards it."""

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__(ours)
        joint = copy.deepcopy(ours.joint_posterior)
        self.trunks = nn.ModuleList(
            nn.Sequential(encoder.layers, *layers) for encoder, *layers in joint.trunks.values()
        )
        self.joint = nn.Sequential(joint.hidden, joint.head.linear)
        self.alpha = ours.objective.alpha

    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        features = torch.cat([trunk(x) for trunk, x in zip(self.trunks, data, strict=True)], -1)
        joint = self.joint(features).chunk(2, -1)
        alignment = kl(*joint, *self.encode(data)).sum(0)
        divergence = kl_to_standard(*joint) + self.alpha * alignment
        return (divergence - self.log_likelihood(data, draw(*joint))).mean()


class BareMMVAE(Bare):
    """The importance-weighted bound of a mixture of Laplace experts, with its doubly reparameterised gradient."""

    def __init__(self, ours: MultimodalVAE) -> None:
        super().__init__(ours)
        self.raw_prior_scale = copy.deepcopy(ours.prior.raw_scale)
        self.num_samples = ours.objective.num_samples

    def forward(self, data: Sequence[Tensor]) -> Tensor:
        """The loss of a batch."""
        loc, raw = self.encode(data)
        scale = softmax_scale(raw)
        count, samples = len(data), self.num_samples
        uniform = torch.empty(samples, *loc.shape).uniform_(torch.finfo().eps - 1, 1)
        draws = loc - scale * uniform.sign() * torch.log1p(-uniform.abs())  # [K, M, N, D]
        z = draws.view_as(draws)
        fixed = laplace(z.unsqueeze(2), loc.detach(), scale.detach())  # [K, M, M, N]: of expert j for draws from m
        log_prior = laplace(z, torch.zeros(()), softmax_scale(self.raw_prior_scale))
        log_w = self.log_likelihood(data, z) + log_prior - fixed.logsumexp(2) + math.log(count)
        bound = log_w.logsumexp(0) - math.log(samples)
        if samples == 1:
            return -bound.mean()
        omega = log_w.softmax(0).detach()
        responsibility = laplace(draws.unsqueeze(2), loc.detach(), scale.detach()).softmax(2)
        own = responsibility.diagonal(dim1=1, dim2=2).movedim(-1, 1)
        others = responsibility.detach() * (1 - torch.eye(count)).unsqueeze(-1)
        score = (others * laplace(draws.detach().unsqueeze(2), loc, scale)).sum(2)
        path = (1 - (1 - omega) * own.detach()).unsqueeze(-1)
        z.register_hook(lambda gradient: path * gradient)
        surrogate = (omega * log_w - (omega - 1 / samples) * (own + score)).sum(0)
        return -(surrogate + (bound - surrogate).detach()).mean()


def softmax_scale(raw: Tensor) -> Tensor:
    """Scales of a mean of one."""
    return raw.shape[-1] * raw.softmax(-1) + 1e-6


def laplace(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The log-density of rows."""
    return -((z - loc).abs() / scale + (2 * scale).log()).sum(-1)


BARE: dict[Case, type[Bare]] = {
    "MVAE": BareMVAE,
    "MMVAE K=1": BareMMVAE,
    "MMVAE K=10": BareMMVAE,
    "MoPoE": BareMoPoE,
    "JMVAE": BareJMVAE,
    "MVTCAE": BareMVTCAE,
}


def bare_step(model: Bare, data: Mapping[str, Tensor]) -> Step:
    """A training step by hand: loss, gradient and the fused kernel of Adam, as in this library's trainer."""
    tables = list(data.values())
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)

    def step() -> None:
        loss = model(tables)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def bare_epoch(make_model: Callable[[], Bare], data: Mapping[str, Tensor], batch_size: int) -> Step:
    """An epoch by hand: shuffled batches of tables in memory, and the mean of the loss at the end."""
    tables = list(data.values())

    def run() -> None:
        model = make_model()
        optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
        total = torch.zeros(())
        for rows in torch.randperm(len(tables[0])).split(batch_size):
            loss = model([x[rows] for x in tables])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
        float(total / len(tables[0]))

    return run


@dataclass(frozen=True)
class Config:
    """What is timed, and where the section goes."""

    models: tuple[Case, ...] = tuple(RECIPES)
    columns: tuple[int, ...] = (200, 100, 30)
    """Of each table."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the layers of encoders, and in reverse of decoders."""
    batch_size: int = 128
    rows: int = 8192
    """Of an epoch."""
    steps: int = 20
    """Taken by a side before the next one has its turn."""
    repeats: int = 15
    """Turns of each side."""
    epochs: int = 5
    """Epochs of each side; 0 for none."""
    peer: bool = True
    """Time MultiVae too."""
    clock: Clock = "processor"
    out: Path | None = None
    """Markdown file into which the section goes; printed in any case."""


def table_modalities(columns: Sequence[int], hidden: Sequence[int]) -> list[Modality]:
    """Tables with Normal likelihoods of scale one, and fully connected networks."""

    def modality(name: str, size: int) -> Modality:
        decoder = functools.partial(MLPDecoder, shape=(size,), hidden=tuple(reversed(hidden)))
        return Modality(name, (size,), likelihoods.Normal(), MLPEncoder((size,), hidden), decoder)

    return [modality(f"table{place}", size) for place, size in enumerate(columns)]


def make_model(case: Case, columns: Sequence[int], hidden: Sequence[int]) -> MultimodalVAE:
    """A model of this library for tables, always with the same weights."""
    torch.manual_seed(0)
    return RECIPES[case](table_modalities(columns, hidden))


def make_data(columns: Sequence[int], rows: int) -> dict[str, Tensor]:
    """Tables of noise."""
    generator = torch.Generator().manual_seed(0)
    return {f"table{place}": torch.randn(rows, size, generator=generator) for place, size in enumerate(columns)}


def steps(config: Config, case: Case) -> dict[Side, Step]:
    """Some training steps of each side: loss, gradient and optimiser, on one batch."""
    model, data = make_model(case, config.columns, config.hidden), make_data(config.columns, config.batch_size)
    sides: dict[Side, Step] = {"bare": bare_step(BARE[case](model), data)}
    if config.peer:
        sides["MultiVae"] = peer_training_step(model, data)
    sides["mmvae"] = training_step(model.train(), data)
    return {name: repeated(step, config.steps) for name, step in sides.items()}


def epochs(config: Config, case: Case) -> dict[Side, Step]:
    """An epoch of each side: the loop by hand, ``fit``, and MultiVae's trainer."""
    make = functools.partial(make_model, case, config.columns, config.hidden)
    data = make_data(config.columns, config.rows)
    sides: dict[Side, Step] = {"bare": bare_epoch(lambda: BARE[case](make()), data, config.batch_size)}
    sides["mmvae"] = epoch(make, data, config.batch_size, "cpu")
    if config.peer:
        sides["MultiVae"] = peer_epoch(make(), data, config.batch_size, "cpu")
    return sides


def repeated(step: Step, times: int) -> Step:
    """Several steps as one."""

    def several() -> None:
        for _ in range(times):
            step()

    return several


def main(config: Config) -> None:
    torch.set_num_threads(1)
    with environment():  # one variable of which makes every step of an optimiser ask the GPU driver
        import lightning.fabric  # noqa: F401
    for case in config.models:
        found = in_turn(steps(config, case), config.repeats, warmup=1, clock=config.clock)
        print(
            case,
            {k: f"{statistics.median(v) / config.steps * 1e3:.2f}" for k, v in found.items()},
            f"{statistics.median([a / b for a, b in zip(found['mmvae'], found['bare'], strict=True)]):.3f}",
            *[
                f"{statistics.median([a / b for a, b in zip(found['MultiVae'], found['mmvae'], strict=True)]):.3f}"
                for _ in range(config.peer)
            ],
            flush=True,
        )
        if config.epochs:
            n = math.ceil(config.rows / config.batch_size)
            found = in_turn(epochs(config, case), config.epochs, warmup=1, clock=config.clock)
            print(
                case,
                "epoch",
                {k: f"{statistics.median(v) / n * 1e3:.2f}" for k, v in found.items()},
                f"{statistics.median([a / b for a, b in zip(found['mmvae'], found['bare'], strict=True)]):.3f}",
                *[
                    f"{statistics.median([a / b for a, b in zip(found['MultiVae'], found['mmvae'], strict=True)]):.3f}"
                    for _ in range(config.peer)
                ],
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
