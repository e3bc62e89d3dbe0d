"""What refinement costs: a training step of IterativeVAE beside JMVAE, inference with refinement and without.

Steps and calls take turns, so that what else the machine does slows all alike. Decoder passes are counted as they are
made; iterative amortized inference by the book needs 2 T + 1 of them in a step, JMVAE one.

    python benchmarks/refinement_cost.py --out docs/results/speed.md
"""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from protocol import LATENT_DIM, digit_modalities, synthetic_digits
from results import conditions, table, write_section
from sides import training_step
from timing import Step, alternate

import mmvae
from mmvae import Batch, models
from mmvae.models import MultimodalVAE


@dataclass(frozen=True)
class Config:
    """What is timed, and where the tables go."""

    steps: tuple[int, ...] = (0, 1, 3, 5, 8)
    """T of the models."""
    batch_size: int = 128
    repeats: int = 9
    """Pairs of training steps, or of calls."""
    rows: int = 1024
    """Data points of a call of inference."""
    many: int = 10_000
    """Data points that are refined once, by the network, for the clock on the wall."""
    threads: int = 2
    """Of PyTorch, on the CPU."""
    device: str = "cpu"
    out: Path | None = None
    """Markdown file into which the tables go; printed in any case."""


def passes(model: MultimodalVAE, step: Step) -> dict[str, int]:
    """How often a step runs the decoder, the joint encoder's trunk and the unimodal encoder of the first modality."""
    name = model.names[0]
    watched = {
        "decoder": model.decoders[name],
        "trunk": model.joint_posterior.trunks[name],  # type: ignore[index,union-attr]
        "encoder": model.experts.encoders[name],
    }
    counts = dict.fromkeys(watched, 0)

    def count(part: str, *_: object) -> None:
        counts[part] += 1

    hooks = [module.register_forward_hook(functools.partial(count, part)) for part, module in watched.items()]
    step()
    for hook in hooks:
        hook.remove()
    return counts


def training(config: Config) -> str:
    """A row for each T."""
    rows = []
    for steps in config.steps:
        torch.manual_seed(0)
        plain = models.JMVAE(digit_modalities(), LATENT_DIM).to(config.device)
        refined = models.IterativeVAE(digit_modalities(), LATENT_DIM, num_steps=steps).to(config.device)
        batch = synthetic_digits(config.batch_size)
        one, other = training_step(plain, batch), training_step(refined, batch)
        counts = passes(refined, other)
        timing = alternate(one, other, config.repeats, device=config.device)
        ours, theirs = (statistics.median(each) * 1e3 for each in (timing.peer, timing.ours))
        rows.append(
            [
                str(steps),
                f"{ours:.0f}",
                f"{theirs:.0f}",
                f"{timing.ratio:.2f}",
                str(counts["decoder"]),
                str(2 * steps + 1),
                f"{timing.ratio / (2 * steps + 1):.2f}",
                f"{counts['trunk']}, {counts['encoder']}",
            ]
        )
        print(*rows[-1], flush=True)
    header = ["T", "IterativeVAE, ms", "JMVAE, ms", "ratio", "decoder passes", "2 T + 1", "ratio / (2 T + 1)"]
    return table([*header, "trunk, encoder passes"], rows)


def inference(config: Config) -> str:
    """A row for each way to infer, beside the plain one of JMVAE."""
    torch.manual_seed(0)
    plain = models.JMVAE(digit_modalities(), LATENT_DIM).to(config.device)
    model = models.IterativeVAE(digit_modalities(), LATENT_DIM).to(config.device)
    data = Batch(synthetic_digits(config.rows))
    ways = {
        "one modality, student": (model, {"subset": "svhn"}),
        "all, refined (T = 5)": (model, {}),
        'all, `refine="amortized"` (T = 5, with its trace)': (model, {"refine": "amortized"}),
        'all, `refine="gradient"`, 10 steps': (model, {"refine": "gradient", "steps": 10}),
    }
    rows = []
    for name, (vae, how) in ways.items():
        timing = alternate(
            lambda: mmvae.infer(plain, data, progress=False),
            lambda vae=vae, how=how: mmvae.infer(vae, data, progress=False, **how),  # type: ignore[misc]
            max(1, config.repeats // 3),
            warmup=1,
            device=config.device,
        )
        seconds = statistics.median(timing.peer)
        rows.append([name, f"{1e3 * seconds / config.rows:.2f}", f"{timing.ratio:.1f}"])
        print(*rows[-1], flush=True)
    started = time.perf_counter()
    mmvae.infer(model, Batch(synthetic_digits(config.many)), progress=False)
    whole = f"{config.many:,} data refined by 5 steps of the network: {time.perf_counter() - started:.0f} s."
    return table(["inference", "ms per datum", "beside JMVAE"], rows) + "\n\n" + whole


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    note = (
        f"Batches of {config.batch_size}, networks of MNIST-SVHN-Text; medians of {config.repeats} steps in turn. "
        "The slope of the bound at a Gaussian serves as the loss gradient of one step and as the input of the next, "
        "which saves T of the 2 T + 1 passes."
    )
    body = "\n\n".join([training(config), note, inference(config), conditions(config.device)])
    print("\n" + body)
    if config.out is not None:
        write_section(config.out, "Speed and memory beside MultiVae", "Refinement", body)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
