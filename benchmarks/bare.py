"""A training step of this library beside the same one by hand in plain PyTorch, and beside MultiVae, on tables.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from protocol import LATENT_DIM, RECIPES, Case
from results import conditions, table, write_section
from sides import LEARNING_RATE, peer_training_step, train_peer, training_step
from timing import Step, in_turn
from torch import Tensor, nn

import mmvae
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


def bare_training(model: Bare, data: Mapping[str, Tensor], epochs: int, batch_size: int, seed: int = 0) -> list[float]:
    """A training by hand: shuffled batches of tables in memory; the mean loss of each epoch."""
    tables, order = list(data.values()), torch.Generator().manual_seed(seed)
    size = len(tables[0])
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    history = []
    for _ in range(epochs):
        total = torch.zeros(())
        for rows in torch.randperm(size, generator=order).split(batch_size):
            loss = model([x[rows] for x in tables])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
        history.append(float(total / size))
    return history


@dataclass(frozen=True)
class Config:
    """What is timed, and where the section goes."""

    models: tuple[Case, ...] = tuple(RECIPES)
    columns: tuple[int, ...] = (200, 100, 30)
    """Of each table."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the layers of encoders, and in reverse of decoders."""
    batch_size: int = 128
    steps: int = 20
    """Training steps that a side takes before the next one has its turn."""
    rows: int = 8192
    epochs: int = 3
    """Length of a training by each library's trainer."""
    turns: tuple[int, int] = (21, 7)
    """Turns of each side, at training steps and at trainings."""
    peer: bool = True
    """Time MultiVae too."""
    out: Path | None = None
    """Markdown file into which the section goes; printed in any case."""
    note: str = ""
    """On the circumstances, such as what else the machine does."""


def table_modalities(columns: Sequence[int], hidden: Sequence[int]) -> list[Modality]:
    """Tables taken as they are, with Normal likelihoods of scale one, and fully connected networks."""

    def modality(name: str, size: int) -> Modality:
        decoder = functools.partial(MLPDecoder, shape=(size,), hidden=tuple(reversed(hidden)))
        return Modality(name, (size,), likelihoods.Normal(), MLPEncoder((size,), hidden), decoder, transform=None)

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
    """Training steps of each side on one batch: loss, gradient and optimiser."""
    model, data = make_model(case, config.columns, config.hidden), make_data(config.columns, config.batch_size)
    sides: dict[Side, Step] = {"bare": bare_step(BARE[case](model), data)}
    if config.peer:
        sides["MultiVae"] = peer_training_step(model, data)
    sides["mmvae"] = training_step(model.train(), data)
    return {name: repeated(step, config.steps) for name, step in sides.items()}


def trainings(config: Config, case: Case) -> dict[Side, Step]:
    """A training by each side: the loop by hand, ``fit``, and MultiVae's trainer."""
    data, budget = make_data(config.columns, config.rows), {"epochs": config.epochs, "batch_size": config.batch_size}
    make = functools.partial(make_model, case, config.columns, config.hidden)
    sides: dict[Side, Step] = {
        "bare": lambda: bare_training(BARE[case](make()), data, **budget),
        "mmvae": lambda: mmvae.fit(make(), data, lr=LEARNING_RATE, device="cpu", progress=False, **budget),
    }
    if config.peer:
        from peers import make_peer, peer_data

        theirs = peer_data(make(), data)
        sides["MultiVae"] = lambda: train_peer(make_peer(make()), theirs, device="cpu", **budget)
    return sides


def repeated(step: Step, times: int) -> Step:
    """Several steps as one."""

    def several() -> None:
        for _ in range(times):
            step()

    return several


@dataclass(frozen=True)
class Found:
    """Milliseconds of a training step of each side, turn by turn."""

    milliseconds: Mapping[Side, Sequence[float]]

    @classmethod
    def of(cls, seconds: Mapping[Side, Sequence[float]], steps: int) -> Found:
        """The milliseconds of turns of so many steps."""
        return cls({side: [each / steps * 1e3 for each in turns] for side, turns in seconds.items()})

    def median(self, side: Side) -> float:
        """The median of a side; ``nan`` where it was not timed."""
        return statistics.median(self.milliseconds.get(side, [math.nan]))

    def ratio(self, side: Side, other: Side) -> float:
        """The median of the ratios of two sides, turn by turn; ``nan`` where one was not timed."""
        pairs = zip(self.milliseconds.get(side, [math.nan]), self.milliseconds.get(other, [math.nan]), strict=False)
        return statistics.median(one / two for one, two in pairs)


def measured(config: Config, case: Case) -> tuple[Found, Found]:
    """A model's training steps, by themselves and within trainings."""
    alone, within = config.turns
    count = config.epochs * math.ceil(config.rows / config.batch_size)
    return (
        Found.of(in_turn(steps(config, case), alone, warmup=1, clock="processor"), config.steps),
        Found.of(in_turn(trainings(config, case), within, warmup=1, clock="processor"), count),
    )


def section(config: Config, found: Mapping[Case, tuple[Found, Found]], under: str) -> str:
    """The verdict, the table and how it was made."""
    rows = []
    for case, both in found.items():
        cells = [case]
        for each in both:
            cells += [f"{each.median(side):.2f}" for side in ("bare", "mmvae", "MultiVae")]
            cells += [f"{each.ratio('mmvae', 'bare'):.2f}", f"{each.ratio('MultiVae', 'mmvae'):.2f}"]
        rows.append(cells)
    header = ["model"]
    header += ["bare step, ms", "mmvae step, ms", "MultiVae step, ms", "mmvae / bare", "MultiVae / mmvae"]
    header += ["bare loop, ms", "`fit`, ms", "MultiVae's trainer, ms", "`fit` / loop", "trainer / `fit`"]
    return "\n\n".join(
        [
            f"A training step of this library takes {spread(found, 0, 'mmvae', 'bare')} as long as the same step "
            f"written by hand in PyTorch, and within `fit` {spread(found, 1, 'mmvae', 'bare')} as long as within a "
            f"loop by hand. MultiVae takes {spread(found, 0, 'MultiVae', 'mmvae')} as long as this library for a step, "
            f"and {spread(found, 1, 'MultiVae', 'mmvae')} as long for one within its trainer.",
            table(header, rows),
            f"Tables of {', '.join(map(str, config.columns))} columns, Normal likelihoods, networks with layers of "
            f"{', '.join(map(str, config.hidden))}, {LATENT_DIM} latent dimensions, batches of {config.batch_size}. "
            "Milliseconds of processor time for a step, on one thread: medians over turns that the sides take one "
            "after the other in one process; ratios are medians of the ratios within a turn. A step is loss, gradient "
            "and Adam's update by its fused kernel, in MultiVae by PyTorch's default one. The bare models "
            "(`benchmarks/bare.py`) have copies of this library's layers and give the same losses and gradients, which "
            "a test holds. A training is "
            f"{config.epochs} epochs over {config.rows} rows. The loop by hand and `fit` write no files; MultiVae's "
            "trainer always does.",
            under,
        ]
    )


def spread(found: Mapping[Case, tuple[Found, Found]], place: int, side: Side, other: Side) -> str:
    """The smallest and the largest of a ratio over the models, in words."""
    ratios = {case: both[place].ratio(side, other) for case, both in found.items()}
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    return f"{ratios[low]:.2f} ({low}) to {ratios[high]:.2f} ({high}) times"


def main(config: Config) -> None:
    """Measures all models and writes the section."""
    torch.set_num_threads(1)
    with environment():  # a variable of Lightning makes every step of every optimiser ask the driver of a GPU
        import lightning.fabric  # noqa: F401
    found = {}
    for case in config.models:
        found[case] = measured(config, case)
        for each in found[case]:
            print(case, {side: f"{each.median(side):.2f}" for side in each.milliseconds}, flush=True)
    under = conditions() + (f"\n- {config.note}" if config.note else "")
    body = section(config, found, under)
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, TITLE, HEADING, body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
