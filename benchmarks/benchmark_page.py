"""The sections of the page that puts this library beside MultiVae, and the sentences that follow from the numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from measures import MEASURES
from presets import Preset
from protocol import Case
from quality import LIBRARIES, Scores, difference, mean_and_spread
from results import table
from timing import Timing, geometric_mean

Timings = Mapping[Case, Mapping[str, Timing]]


def speed_section(
    preset: Preset, source: str, timings: Timings, profiles: Mapping[Case, Mapping[str, list[float]]], under: str
) -> str:
    """A table of geometric means, one for each measure, and what is behind."""
    memory = {case: found["memory"] for case, found in profiles.items()}
    parts = [
        f"{preset.says} {source}; {preset.modalities} modalities, networks of {preset.timed.width} channels in the "
        f"first layer, batches of {preset.timed.batch_size}. Ratios are MultiVae / mmvae, above 1 where this library "
        "is ahead: medians over pairs of calls in turn, with the quartiles in brackets.",
        _overview(timings, memory),
        _behind(timings),
    ]
    for name, measure in MEASURES.items():
        of_models = {case: found[name] for case, found in timings.items()}
        parts += [f"### {measure.title}", _says(name, preset), _timings(of_models, _per_datum(name, preset))]
    parts += ["### Memory of a training step", _MEMORY, _memory(memory)]
    busy = {case: found["busy"] for case, found in profiles.items() if "busy" in found}
    if busy:
        parts += ["### Share of a training step that the GPU is busy", _busy(busy)]
    network = {case: found["network"] for case, found in profiles.items() if "network" in found}
    if network:
        parts += ["### Share of a training step that networks take", _NETWORK, _network(network, timings)]
    return "\n\n".join([*filter(None, parts), under])


_MEMORY = (
    "MiB of tensors that a step holds at most beyond what is there when it begins. On CUDA as PyTorch's allocator "
    "counts (`torch.cuda.max_memory_allocated`); on the CPU the sum of the allocations and releases that "
    "`torch.profiler` reports within the step."
)


def _overview(timings: Timings, memory: Mapping[Case, Sequence[float]]) -> str:
    rows = []
    for name, measure in MEASURES.items():
        ratios = {case: found[name].ratio for case, found in timings.items()}
        rows.append([measure.title, *_means(ratios)])
    rows.append(["Memory of a training step", *_means({case: peer / own for case, (own, peer) in memory.items()})])
    return table(["MultiVae / mmvae", "geometric mean", "lowest", "of"], rows)


def _means(ratios: Mapping[Case, float]) -> list[str]:
    lowest = min(ratios, key=lambda case: ratios[case])
    return [f"{geometric_mean(ratios.values()):.2f}", f"{ratios[lowest]:.2f}", lowest]


def _behind(timings: Timings) -> str:
    """Where three quarters of the pairs, or the median at least, say that this library is slower."""
    clear, within = [], []
    for case, found in timings.items():
        for name, timing in found.items():
            if timing.ratio < 1:
                (clear if timing.spread[1] < 1 else within).append(f"{MEASURES[name].title.lower()} of {case}")
    return " ".join(
        [
            f"Behind MultiVae in three of four pairs or more: {', '.join(clear) or 'nothing'}.",
            f"Behind by the median, within the quartiles: {', '.join(within) or 'nothing'}.",
        ]
    )


def _says(name: str, preset: Preset) -> str:
    return {
        "step": "",
        "epoch": f"{preset.epoch_rows} data points, with data loading, and with the files that each trainer writes.",
        "inference": "Posterior means: `mmvae.infer` beside `encode(..., return_mean=True)`.",
        "likelihood": f"{preset.likelihood_rows} data points, K = {preset.num_samples}: `log_likelihood` beside "
        "`compute_joint_nll`. Time alone: for MMVAE and MoPoE the latter [does not converge](exact_likelihood.md).",
        "coherence": f"{preset.test_rows} data points: all modalities from every proper subset, and as many draws from "
        "the prior; `mmvae.evaluate` beside `CoherenceEvaluator`, with the same classifiers.",
    }[name]


def _per_datum(name: str, preset: Preset) -> int | None:
    """How many data points a call handles, where the table gives data per second."""
    return {"inference": preset.timed.batch_size, "likelihood": preset.likelihood_rows}.get(name)


def _timings(timings: Mapping[Case, Timing], data: int | None) -> str:
    unit = "s" if data is None else "data / s"
    rows = []
    for case, timing in timings.items():
        seconds = [statistics.median(each) for each in (timing.ours, timing.peer)]
        cells = [f"{each:.3f}" if data is None else f"{data / each:,.0f}" for each in seconds]
        low, high = timing.spread
        rows.append([case, *cells, f"{timing.ratio:.2f} [{low:.2f}, {high:.2f}]", str(len(timing.ours))])
    return table(["model", f"mmvae, {unit}", f"MultiVae, {unit}", "MultiVae / mmvae", "pairs"], rows)


def _memory(memory: Mapping[Case, Sequence[float]]) -> str:
    rows = [[case, f"{own:.1f}", f"{peer:.1f}", f"{peer / own:.2f}"] for case, (own, peer) in memory.items()]
    return table(["model", "mmvae, MiB", "MultiVae, MiB", "MultiVae / mmvae"], rows)


def _busy(busy: Mapping[Case, Sequence[float]]) -> str:
    rows = [[case, *(f"{share:.2f}" for share in shares)] for case, shares in busy.items()]
    return table(["model", "mmvae, not captured", "mmvae", "MultiVae"], rows)


_NETWORK = (
    "Of the processor's time, the share of convolutions and products of matrices, forward and backward. The last "
    "column is what MultiVae / mmvae could come to at most on these networks: as if all else in this library's step "
    "took no time."
)


def _network(shares: Mapping[Case, Sequence[float]], timings: Timings) -> str:
    rows = []
    for case, (own, peer) in shares.items():
        ratio = timings[case]["step"].ratio
        rows.append([case, f"{own:.2f}", f"{peer:.2f}", f"{ratio:.2f}", f"{ratio / own:.2f}"])
    return table(["model", "mmvae", "MultiVae", "MultiVae / mmvae, measured", "at most"], rows)


def quality_section(
    preset: Preset, source: str, scores: Mapping[Case, Sequence[Mapping[str, Scores]]], ceiling: float, under: str
) -> str:
    """A table with a line for each model and library, and the differences that the spread does not explain."""
    columns = list(next(iter(scores.values()))[0][LIBRARIES[0]])
    rows = [
        [case, library, *(mean_and_spread([seed[library].get(column) for seed in seeds]) for column in columns)]
        for case, seeds in scores.items()
        for library in LIBRARIES
    ]
    return "\n\n".join(
        [
            f"{source}; {preset.train_rows:,} data points, {preset.epochs} epochs in batches of "
            f"{preset.trained.batch_size}, networks of {preset.trained.width} channels in the first layer; mean ± "
            f"standard deviation over seeds {', '.join(map(str, preset.seeds))}. For each seed both libraries start "
            "from the same weights; the order of batches and the noise are their own. Lines mmvae and MultiVae: what "
            "each trained, scored by this library, MultiVae's parameters having been carried over. The last line of a "
            "model: MultiVae's parameters under its own rule of inference, by its own `CoherenceEvaluator`. Coherence "
            "given n: mean over subsets of n modalities and targets outside them; probe: linear, on posterior means; "
            "log-likelihood of all modalities, in nats, by this library's estimator for both "
            f"(K = {preset.num_samples}, {preset.scored_rows} data points). The judges read {ceiling:.1%} of the real "
            "test images aright.",
            table(["model", "library", *columns], rows),
            _differences(scores, columns),
            under,
        ]
    )


def _differences(scores: Mapping[Case, Sequence[Mapping[str, Scores]]], columns: Sequence[str]) -> str:
    """Where the trainings differ by more than both standard deviations together, and where by the same sign always.

    For a seed both start from the same weights, which decide much: so seeds are also looked at one by one.
    """
    beyond, alike = [], []
    for case, seeds in scores.items():
        if len(seeds) < 2:
            return "With one seed there is no spread to hold differences against."
        for column in columns:
            ours, peer = ([seed[library][column] for seed in seeds] for library in LIBRARIES[:2])
            apart, is_beyond = difference(ours, peer)
            says = f"{column} of {case} ({apart:+.3g})"
            if is_beyond:
                beyond.append(says)
            if len({own > other for own, other in zip(ours, peer, strict=True)}) == 1:
                alike.append(says)
    count = len(scores) * len(columns)
    by_chance = count * 2.0 ** (1 - len(next(iter(scores.values()))))
    return (
        "Differences (mmvae - MultiVae, both scored by this library) larger than both standard deviations together: "
        f"{', '.join(beyond) or 'none'}. Of {count} comparisons.\n\nDifferences of one sign for every seed: "
        f"{', '.join(alike) or 'none'}. {len(alike)} of {count}; chance alone would give {by_chance:.1f}."
    )
