"""Tables and figures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from generalization.keeping import RANDOM_DRAWS, SHARES, best_shares
from generalization.tasks import FINE, Task
from markdown_tables import markdown, mean_and_spread

import mmvae
from mmvae import Batch
from mmvae.evaluation import Evaluation

Found = Mapping[str, Sequence[Evaluation]]
"""By arm, an evaluation for each seed."""
ARROW = "\N{RIGHTWARDS ARROW}"


def values(found: Sequence[Evaluation], metric: str, given: str = "", target: str = "") -> list[float]:
    """One number of an arm, for each seed that has it."""
    rows = [row for each in found for row in each.select(metric, given, target)]
    return [row["value"] for row in rows]


def of_pairs(found: Found, metric: str, title: str, pairs: Sequence[tuple[str, str]]) -> str:
    """A column for each ordered pair, then their mean, seed by seed."""
    lines = {}
    for name, each in found.items():
        cells = [values(each, metric, *pair) for pair in pairs]
        known = [cell for cell in cells if cell]
        means = [float(np.mean(seed)) for seed in zip(*known, strict=True)] if known else []
        lines[name] = [*(mean_and_spread(cell) for cell in cells), mean_and_spread(means)]
    return markdown(title, "arm", [*(f"{a} {ARROW} {b}" for a, b in pairs), "mean"], lines)


def of_names(found: Found, title: str, columns: Mapping[str, tuple[str, str, str]], digits: int = 3) -> str:
    """A column for each metric."""
    lines = {
        name: [mean_and_spread(values(each, *column), digits) for column in columns.values()]
        for name, each in found.items()
    }
    return markdown(title, "arm", list(columns), lines)


def tables(task: Task, measured: Found, kept: Found, controls: Found) -> str:
    """All of them, in Markdown."""
    names = (*FINE[task], "text")
    across = [(one, other) for one in names for other in names if one != other]
    home = [(one, one) for one in names]
    text = of_pairs(measured, "transfer", "Transfer: logistic head, all labels", across)
    text += of_pairs(measured, "transfer", "The same head at home", home)
    text += of_pairs(measured, "transfer_10_labels", "Transfer: ten labels of each class", across)
    text += of_pairs(measured, "transfer_step_head", "Transfer: the head of the authors' code", across)
    fine = [(one, other) for one in FINE[task] for other in FINE[task]]
    text += of_pairs(measured, "transfer_steps", "Event of each step", fine)
    text += of_pairs(measured, "retrieval_r1", "Retrieval of the class, R@1, ties at their expectation", across)
    text += of_pairs(measured, "retrieval_map", "Retrieval of the class, mean average precision", across)
    text += of_pairs(measured, "coherence", "Zero-shot generation: the class that classifiers see", across)
    owners = {f"owned by {count}": (f"codebook_owned_by_{count}", "", "") for count in (1, 2, 3)}
    of_codebook = {
        "usage": ("codebook_usage", "", ""),
        "perplexity": ("codebook_perplexity", "", ""),
        **owners,
        "agreement of all": ("codebook_agreement", "+".join(names), ""),
        **{f"NMI, {name}": ("codebook_nmi", "", name) for name in names},
        "divergence, nats": ("codebook_divergence", "", ""),
    }
    text += of_names(measured, "The codebook, test data", of_codebook)
    cost = {"parameters": ("parameters", "", ""), "ms per step, median": ("milliseconds_per_step", "", "")}
    text += of_names(measured, "Cost", cost, digits=0) + toc_tables(kept)
    return text + control_tables(measured, controls, across)


def toc_tables(kept: Found) -> str:
    """Transfer at each number of kept dimensions, and the choice by validation at home."""
    text = ""
    chosen = {}
    for name, each in kept.items():
        if not each[0].rows:
            continue
        ways = dict.fromkeys(row["kept"].rpartition(" ")[0] for row in each[0].rows if " " in row["kept"])
        grouped = dict.fromkeys("random" if way.startswith("random") else way for way in ways)
        lines = {}
        for way in grouped:
            members = [one for one in ways if one == way or (way == "random" and one.startswith("random"))]
            lines[way] = [mean_and_spread(transfers(each, [f"{one} {share:g}" for one in members])) for share in SHARES]
        columns = [f"{share:.0%}" for share in SHARES]
        text += markdown(f"TOC on {name}: mean transfer by share of dimensions kept", "chosen by", columns, lines)
        chosen[name] = choice(each)
    columns = ["without TOC", "with TOC", "difference", "share chosen"]
    return text + markdown("TOC, its share chosen on each source's validation data alone", "arm", columns, chosen)


def control_tables(measured: Found, controls: Found, pairs: Sequence[tuple[str, str]]) -> str:
    """What heads and retrieval make of something else than the quantised vectors, means over ordered pairs."""
    heads, retrieval, others = {}, {}, {}
    for name, each in controls.items():
        if not each[0].rows:
            continue
        plain = pair_means(measured[name], "transfer", pairs)
        heads[name] = [plain, *(pair_means(each, f"transfer_{kind}", pairs) for kind in ("continuous", "indices"))]
        ways = ("everything", "both, chosen", "both", "variance", "random 0", "continuous")
        retrieval[name] = [pair_means(each, "retrieval_map", pairs, way) for way in ways]
        others[name] = [
            pair_means(of, metric, pairs, kept)
            for metric in ("transfer_10_labels", "transfer_step_head")
            for of, kept in ((measured[name], None), (each, "both, chosen"))
        ]
    text = markdown(
        "Controls: what the logistic head reads", "arm", ["quantised", "before quantisation", "which code"], heads
    )
    text += markdown(
        "Retrieval of the class, mean average precision, by what is compared",
        "arm",
        ["everything", "TOC, chosen at home", "TOC, half", "variance, half", "random half", "before quantisation"],
        retrieval,
    )
    columns = ["ten labels", "the same with TOC", "the authors' head", "the same with TOC"]
    return text + markdown(
        "TOC behind other heads, its share chosen at home with the logistic one", "arm", columns, others
    )


def pair_means(
    found: Sequence[Evaluation], metric: str, pairs: Sequence[tuple[str, str]], kept: str | None = None
) -> str:
    """For each seed the mean over ordered pairs of what was read so, as mean and spread."""
    by_seed = []
    for each in found:
        rows = [row for pair in pairs for row in each.select(metric, *pair) if row.get("kept") == kept]
        if rows:
            by_seed.append(float(np.mean([row["value"] for row in rows])))
    return mean_and_spread(by_seed)


def transfers(found: Sequence[Evaluation], kept: Sequence[str], source: str | None = None) -> list[float]:
    """For each seed that measured it, the mean over ordered pairs (or over those from one source) with what is kept."""
    by_seed = [[row["value"] for row in each.select("toc", source) if row["kept"] in kept] for each in found]
    return [float(np.mean(seed)) for seed in by_seed if seed]


def choice(found: Sequence[Evaluation]) -> list[str]:
    """What TOC gives if each source chooses its share at home, the smallest of shares that are as good."""
    given, shares = [], []
    for each in found:
        best = best_shares(each)
        chosen = [value for source, share in best.items() for value in transfers([each], [f"both {share:g}"], source)]
        given.append(float(np.mean(chosen)))
        shares.append(float(np.mean(list(best.values()))))
    without = transfers(found, ["everything"])
    gains = [one - other for one, other in zip(given, without, strict=True)]
    return [*map(mean_and_spread, (without, given)), mean_and_spread(gains, sign="+"), mean_and_spread(shares, 2)]


def curves(kept: Found, folders: Mapping[str, Path]) -> None:
    """TOC's curve of each arm, with the scores of the first seed's codebook."""
    for name, each in kept.items():
        if not each[0].rows:
            continue
        model = mmvae.load(folders[name])
        width = model.codebook.shape[1]
        accuracy: dict[str, dict[int, list[float]]] = {}
        for way in ("both", "similarity", "variance", "random", "lowest"):
            members = [f"random {draw}" for draw in range(RANDOM_DRAWS)] if way == "random" else [way]
            found = {
                round(share * width): [value for one in members for value in transfers(each, [f"{one} {share:g}"])]
                for share in SHARES
            }
            accuracy[way] = {keep: numbers for keep, numbers in found.items() if numbers}
        known = {way: numbers for way, numbers in accuracy.items() if numbers}
        figure = mmvae.plot.toc_curve(mmvae.plot.TOCCurve.of(model, known))
        figure.savefig(folders[name] / "toc.png", dpi=150)


def matrices(measured: Found, path: Path) -> None:
    """Source by target, means over the seeds, the arms side by side."""
    means = {name: mmvae.evaluation.across_seeds(each) for name, each in measured.items()}
    mmvae.plot.transfer_matrix(means).savefig(path, dpi=150)


def figures(model: Any, test: Batch, folder: Path) -> None:
    """How modalities use the codes."""
    if hasattr(model, "codebook"):
        mmvae.plot.code_usage(mmvae.plot.CodeUsage.of(model, test)).savefig(folder / "code_usage.png", dpi=150)
