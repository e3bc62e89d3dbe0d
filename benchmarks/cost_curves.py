"""How the cost of training and inference grows: with modalities, draws, latent size, batch and steps of refinement.

Seconds stand beside the multiplications in matrix products, which PyTorch counts, each in relation to the first point
of its curve. The points of a curve take turns, so that what else the machine does slows all alike. Networks are small
(a hidden layer between a modality's numbers and the latent), so that what is not matrix products shows.

    python benchmarks/cost_curves.py --preset quick --out docs/results/cost_curves.md
"""

from __future__ import annotations

import functools
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from results import conditions, table, write_section
from sides import training_step
from timing import Step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import mmvae
from mmvae import Batch, Modality, likelihoods, models, nn
from mmvae.nn import MLPDecoder, MLPEncoder
from mmvae.subsets import label

VAES = ("MVAE", "MMVAE", "MoPoE", "JMVAE", "MVTCAE")
SETTINGS: dict[str, dict[str, Any]] = {"MMVAE": {"num_samples": 1}}


@dataclass(frozen=True)
class Preset:
    """The points of the curves, and how often each is timed."""

    modalities: tuple[int, ...]
    draws: tuple[int, ...]
    latent_dims: tuple[int, ...]
    batches: tuple[int, ...]
    steps: tuple[int, ...]
    width: int
    """Numbers of a datum of a modality, and units of the hidden layers."""
    rows: int
    """Data points of a call of inference."""
    repeats: int


PRESETS = {
    "tiny": Preset((2, 3), (1, 2), (2, 4), (2, 4), (0, 1), width=4, rows=4, repeats=1),
    "quick": Preset(
        (2, 4, 6, 8, 10, 12), (1, 3, 10, 30, 100), (4, 16, 64, 256), (16, 64, 256, 1024), (0, 1, 2, 4, 8), 128, 1024, 7
    ),
    "full": Preset(
        tuple(range(2, 13)), (1, 2, 5, 10, 20, 50, 100), (2, 4, 8, 16, 32, 64, 128, 256),
        (8, 16, 32, 64, 128, 256, 512, 1024, 2048), (0, 1, 2, 4, 8, 16), 512, 10_000, 25,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What is timed, and where the page goes."""

    preset: Literal["tiny", "quick", "full"] = "quick"
    threads: int = 1
    """Of PyTorch."""
    out: Path | None = None
    """Markdown file for the tables, with a picture of the same name beside it; printed in any case."""
    note: str = ""
    """On the machine, for the page."""


@dataclass(frozen=True)
class Point:
    """A point of a curve: seconds of each turn, and multiplications."""

    series: str
    x: int
    seconds: tuple[float, ...]
    operations: int

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def modalities(count: int, width: int) -> list[Modality]:
    """Vectors of real numbers, each with a hidden layer on the way to the latent and back."""
    encoder = functools.partial(MLPEncoder, (width,), hidden=(width,))
    decoder = functools.partial(MLPDecoder, shape=(width,), hidden=(width,))
    return [Modality(f"m{index}", (width,), likelihoods.Normal(), encoder, decoder) for index in range(count)]


def data_of(count: int, width: int, rows: int) -> dict[str, Tensor]:
    """Noise: what data holds changes no timing."""
    return {f"m{index}": torch.randn(rows, width) for index in range(count)}


def training(kind: str, width: int, count: int = 3, latent_dim: int = 16, rows: int = 128, **options: Any) -> Step:
    """A training step."""
    model = getattr(models, kind)(modalities(count, width), latent_dim, **{**SETTINGS.get(kind, {}), **options})
    return training_step(model, data_of(count, width, rows))


def likelihood(kind: str, width: int, draws: int) -> Step:
    """The likelihood of a batch by importance sampling."""
    model = getattr(models, kind)(modalities(3, width), 16)
    batch = model.prepare(Batch(data_of(3, width, 128)))
    return lambda: model.log_likelihood(batch, num_samples=draws)


def refined(refine: str, width: int, steps: int) -> Step:
    """Inference with so many steps of refinement."""
    model = models.IterativeVAE(modalities(3, width), 16)
    batch = model.prepare(Batch(data_of(3, width, 32)))
    return lambda: mmvae.infer(model, batch, refine=refine, steps=steps, progress=False)  # type: ignore[arg-type]


def measure(series: dict[str, Callable[[int], Step]], xs: Sequence[int], repeats: int) -> list[Point]:
    """All points of a curve, in turn."""
    steps: dict[tuple[str, int], Step] = {}
    for name, make in series.items():
        for x in xs:
            torch.manual_seed(0)
            steps[name, x] = make(x)
    operations = {}
    for key, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            step()
        operations[key] = counter.get_total_flops() // 2
        step()
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for _ in range(repeats):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[key].append(time.perf_counter() - start)
    return [Point(*key, tuple(each), operations[key]) for key, each in seconds.items()]


@dataclass(frozen=True)
class Curve:
    """What is on the axis, and by name how the step of a point is made."""

    axis: str
    xs: tuple[int, ...]
    series: dict[str, Callable[[int], Step]]


def curves(preset: Preset) -> dict[str, Curve]:
    """All curves by heading."""
    width = preset.width

    def step(kind: str, argument: str) -> Callable[[int], Step]:
        return lambda x: training(kind, width, **{argument: x})

    def each_vae(argument: str) -> dict[str, Callable[[int], Step]]:
        return {kind: step(kind, argument) for kind in VAES}

    draws: dict[str, Callable[[int], Step]] = {
        "MMVAE, a step": lambda x: training("MMVAE", width, num_samples=x),
        "MMVAE, a step, chunks of 4096": lambda x: training("MMVAE", width, num_samples=x, chunk_size=4096),
        "MVAE, likelihood": lambda x: likelihood("MVAE", width, x),
        "MoPoE, likelihood": lambda x: likelihood("MoPoE", width, x),
    }
    steps: dict[str, Callable[[int], Step]] = {
        "IterativeVAE, a step": step("IterativeVAE", "num_steps"),
        'refine="amortized"': lambda x: refined("amortized", width, x),
        'refine="gradient"': lambda x: refined("gradient", width, x),
    }
    return {
        "Modalities": Curve("M", preset.modalities, each_vae("count")),
        "Importance samples": Curve("K", preset.draws, draws),
        "Latent size": Curve("D", preset.latent_dims, each_vae("latent_dim")),
        "Batch": Curve("N", preset.batches, each_vae("rows")),
        "Refinement steps": Curve("T", preset.steps, steps),
    }


def curve_table(axis: str, points: Sequence[Point]) -> str:
    """A row for each point, with ratios to the first of its series; of modalities, how many subsets they have."""
    first: dict[str, Point] = {}
    rows = []
    for point in points:
        start = first.setdefault(point.series, point)
        subsets = [f"{2**point.x - 1:,}"] if axis == "M" else []
        rows.append(
            [
                point.series,
                str(point.x),
                *subsets,
                f"{1e3 * point.median:.2f}",
                spread(point.seconds),
                f"{point.median / start.median:.2f}",
                f"{point.operations / 1e6:.1f}",
                f"{point.operations / start.operations:.2f}",
            ]
        )
    subsets = ["subsets"] if axis == "M" else []
    header = ["", axis, *subsets, "ms", "quartiles", "to the first", "million multiplications", "to the first"]
    return table(header, rows)


def spread(seconds: Sequence[float]) -> str:
    """The quartiles in milliseconds."""
    if len(seconds) < 2:
        return "-"
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return f"{1e3 * low:.2f}-{1e3 * high:.2f}"


def inference_models(preset: Preset) -> dict[str, tuple[Any, dict[str, Tensor]]]:
    """Every model, and data for it."""
    width, rows = preset.width, preset.rows
    found: dict[str, tuple[Any, dict[str, Tensor]]] = {
        kind: (getattr(models, kind)(modalities(3, width), 16), data_of(3, width, rows))
        for kind in (
            *VAES,
            "MHVAE",
            "DCCAE",
            "MAAE",
            "MWAE",
            "DVCCA",
            "SetVAE",
            "CVAE",
            "JNF",
            "TELBO",
            "MMVM",
            "CRMVAE",
            "MCVAE",
            "MMJSD",
            "HELVAE",
            "HoelderVAE",
            "CoDEVAE",
            "WeightedMVAE",
            "IterativeVAE",
        )
    }
    for kind in ("IDMVAE", "DMVAE", "MMVAEPlus", "CMVAE"):
        found[kind] = (getattr(models, kind)(modalities(3, width), 16, 8), data_of(3, width, rows))
    image, text = nn.ViT((1, 28, 28), 7), nn.TextTransformer(32, 16)
    pair = {"image": torch.rand(rows, 1, 28, 28), "text": torch.randint(1, 32, (rows, 16))}
    for kind in ("LateFusion", "MoLT", "CMPT"):
        found[kind] = (getattr(models, kind)({"image": image, "text": text}, 10), pair)
    found["MaskedReconstruction"] = (models.MaskedReconstruction({"image": image}), {"image": pair["image"]})
    side_by_side = {"audio": torch.randn(rows, 4, width), "video": torch.randn(rows, 4, width)}
    found["DCID"] = (models.DCID({"audio": width, "video": width}, num_codes=64, code_dim=32), side_by_side)
    codes = nn.CodeSteps(32)
    fcid = models.FCID({"audio": width, "video": width}, {"text": codes}, num_codes=64, code_dim=32)
    found["FCID"] = (fcid, {**side_by_side, "text": pair["text"]})
    return found


def throughput(preset: Preset) -> str:
    """Data per second of each model, from its first modality and from as many as it takes."""
    rows = []
    for kind, (model, data) in inference_models(preset).items():
        whole = model.names[:2] if kind == "FCID" else model.names  # its coarse modality has steps of its own
        for subset in dict.fromkeys((model.names[:1], whole)):
            call = functools.partial(mmvae.infer, model, Batch(data), subset, progress=False)
            call()
            rates = []
            for _ in range(preset.repeats):
                start = time.perf_counter()
                call()
                rates.append(preset.rows / (time.perf_counter() - start))
            low, high = min(rates), max(rates)
            rows.append([kind, label(subset), f"{statistics.median(rates):,.0f}", f"{low:,.0f}-{high:,.0f}"])
    return table(["", "subset", "data per second", "range"], rows)


def draw(found: dict[str, tuple[str, list[Point]]], path: Path) -> None:
    """A panel for each curve: time and, dashed, multiplications in relation to the first point."""
    from mmvae.plotting.figures.style import new_figure, panels, tidy, to_png

    figure = new_figure(10.0, 6.4)
    for ax, (heading, (axis, points)) in zip(panels(figure, len(found), 3), found.items(), strict=False):
        for index, name in enumerate(dict.fromkeys(point.series for point in points)):
            mine = [point for point in points if point.series == name]
            xs, start = [point.x for point in mine], mine[0]
            ax.plot(xs, [point.median / start.median for point in mine], color=f"C{index}", marker="o", label=name)
            counted = [point.operations / start.operations for point in mine]
            ax.plot(xs, counted, color=f"C{index}", linestyle="--", linewidth=0.8)
        ax.set(title=heading, xlabel=axis, xscale="symlog" if axis == "T" else "log", yscale="log")
        ax.set_xticks(sorted({point.x for point in points}))
        for side in (ax.xaxis, ax.yaxis):
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter("")
        ax.legend(fontsize=6)
        tidy(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_png(figure))


def commit() -> str:
    """Of the working tree, if it is one."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "(not known)"


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    preset = PRESETS[config.preset]
    found = {
        heading: (curve.axis, measure(curve.series, curve.xs, preset.repeats))
        for heading, curve in curves(preset).items()
    }
    sections = {heading: curve_table(axis, points) for heading, (axis, points) in found.items()}
    sections["Throughput of inference"] = throughput(preset)
    facts = [conditions(), f"- commit: {commit()}"] + ([f"- {config.note}"] if config.note else [])
    sections["Conditions"] = "\n".join(
        [f"Medians of {preset.repeats} turns; vectors of {preset.width} numbers.\n", *facts]
    )
    for heading, body in sections.items():
        print(f"\n## {heading}\n\n{body}")
        if config.out is not None:
            write_section(config.out, "Cost curves", heading, body)
    if config.out is not None:
        draw(found, config.out.with_suffix(".png"))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
