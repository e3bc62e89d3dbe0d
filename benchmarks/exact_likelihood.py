"""Estimates of the joint log-likelihood beside the exact value, of this library and of MultiVae.

On linear-Gaussian models log p(x) is known in closed form. Both libraries get the true decoders and the same encoders:
exact posteriors, a little too wide and a little off, as encoders that were trained would be. With more samples every
estimate should come nearer to the truth, without end.

    python benchmarks/exact_likelihood.py --out docs/results/exact_likelihood.md
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from peers import make_peer, peer_data
from results import conditions, table, write_section
from torch import Tensor

from mmvae import models
from mmvae.testing import LinearGaussian, exact_model
from mmvae.testing.exact_models import Kind
from mmvae.vaes.base import MultimodalVAE

Estimator = Callable[[dict[str, Tensor], int], float]
"""From one datum and a number of samples to log p(x), in nats."""

TITLE = "Estimates of an exact likelihood"

FINDINGS = """\
Both libraries estimate log p(x) by importance sampling from their joint posterior, with the same weights.

- This library converges for every model: the error of a datum falls with the square root of the number of draws.
- MultiVae 1.0.3 converges for MVAE, JMVAE and MVTCAE.
- For MMVAE and MoPoE its `compute_joint_nll` does not converge. All draws come from one component of the mixture (one
  modality at random for MMVAE; the component that the row's place in the batch decides for MoPoE, here the last), while
  the weights divide by the density of the whole mixture. More draws leave the error as it is, and the estimate can lie
  above the truth, where no lower bound may lie. This library draws from every component its share.
- Its methods `compute_joint_nll_paper` converge: that of MMVAE takes K draws from every expert (K times the number of
  modalities in all), that of MoPoE draws from the product of all experts and divides by its density; that product is
  too narrow here, hence the larger error."""


@dataclass(frozen=True)
class Config:
    """What is estimated, and where the tables go."""

    models: tuple[Kind, ...] = ("MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE")
    modalities: tuple[int, ...] = (2, 3)
    samples: tuple[int, ...] = (100, 1_000, 10_000, 50_000)
    seeds: int = 10
    data: int = 4
    """Data points; each is estimated by itself."""
    latent_dim: int = 3
    size: int = 4
    """Numbers of a datum in each modality."""
    widening: float = 0.3
    """Added to the exact log-variances of the encoders."""
    noise: float = 0.05
    """Deviation of what is added to the weights of their means."""
    out: Path | None = None


def make_model(yardstick: LinearGaussian, kind: Kind, widening: float, noise: float) -> MultimodalVAE:
    """A model of this library with the true decoders, and encoders that are nearly exact."""
    if kind == "MoPoE":  # MultiVae's product of all modalities alone has the prior among its experts
        model: MultimodalVAE = models.MoPoE(yardstick.modalities(), yardstick.latent_dim)
        model.experts.load_state_dict(exact_model(yardstick, "MMVAE").experts.state_dict())
    else:
        model = exact_model(yardstick, kind)
    heads = [head.linear for head in model.experts.heads.values()]
    if kind == "JMVAE":
        heads.append(model.joint_posterior.head.linear)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for linear in heads:
            loc, log_variance = linear.weight.chunk(2), linear.bias.chunk(2)
            loc[0].add_(noise * torch.randn(loc[0].shape, generator=generator) * (loc[0] != 0))
            log_variance[1].add_(widening)
    return model.eval()


def our_estimator(model: MultimodalVAE) -> Estimator:
    """``log_likelihood`` of this library."""

    def estimate(data: dict[str, Tensor], num_samples: int) -> float:
        return model.log_likelihood(data, num_samples=num_samples).item()

    return estimate


def peer_estimator(model: MultimodalVAE, method: str = "compute_joint_nll") -> Estimator:
    """A method of MultiVae's counterpart."""
    peer: Any = make_peer(model).eval()

    def estimate(data: dict[str, Tensor], num_samples: int) -> float:
        with torch.no_grad():
            chunk = min(num_samples, 1_000)
            return -float(getattr(peer, method)(peer_data(model, data), num_samples, chunk))

    return estimate


def errors(
    estimator: Estimator, data: dict[str, Tensor], exact: Tensor, num_samples: int, seeds: int
) -> tuple[float, float, float]:
    """Mean estimate over data and seeds, its standard error, and the root-mean-square error of a single datum."""
    estimates = np.empty((seeds, len(exact)))
    for seed in range(seeds):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (what the peer draws its expert from)
        for row in range(len(exact)):
            datum = {name: value[row : row + 1] for name, value in data.items()}
            estimates[seed, row] = estimator(datum, num_samples)
    root_mean_square = float(np.sqrt(np.square(estimates - exact.numpy()).mean()))
    by_seed = estimates.mean(1)
    return float(by_seed.mean()), float(by_seed.std(ddof=1) / np.sqrt(seeds)), root_mean_square


def section(config: Config, modalities: int) -> str:
    """The table for so many modalities."""
    names = [f"x{index + 1}" for index in range(modalities)]
    yardstick = LinearGaussian.orthogonal(dict.fromkeys(names, config.size), config.latent_dim, seed=modalities)
    data = yardstick.sample(config.data, seed=3)
    exact = yardstick.log_likelihood(data)
    rows = []
    for kind in config.models:
        model = make_model(yardstick, kind, config.widening, config.noise)
        sides = {"mmvae": our_estimator(copy.deepcopy(model)), "MultiVae": peer_estimator(model)}
        if kind in ("MMVAE", "MoPoE"):
            sides["MultiVae, `_paper`"] = peer_estimator(model, "compute_joint_nll_paper")
        for side, estimator in sides.items():
            found = [errors(estimator, data, exact, count, config.seeds) for count in config.samples]
            mean, error, _ = found[-1]
            rows.append(
                [kind, side, f"{mean:.3f} ± {error:.3f}", f"{mean - float(exact.mean()):+.3f}"]
                + [f"{each[2]:.3f}" for each in found]
            )
            print(*rows[-1], flush=True)
    header = ["model", "library", f"estimate, K = {config.samples[-1]:,}", "minus exact"]
    return (
        f"Exact: {float(exact.mean()):.3f} nats per datum (mean of {config.data} data points). The last columns are "
        f"the root-mean-square errors of a datum's estimate over {config.seeds} seeds.\n\n"
        + table(header + [f"error, K = {count:,}" for count in config.samples], rows)
    )


def main(config: Config) -> None:
    torch.set_num_threads(1)
    if config.out is not None:
        write_section(config.out, TITLE, "What the tables show", FINDINGS)
    for count in config.modalities:
        body = section(config, count) + "\n\n" + conditions()
        print("\n" + body + "\n")
        if config.out is not None:
            write_section(config.out, TITLE, f"{count} modalities", body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
