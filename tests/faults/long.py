"""Does the experiments with faults for a while, and writes what came of them into the page on reliability.

python tests/faults/long.py --minutes 5 --out docs/reliability.md
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from faults import kills, mutations
from faults.harness import Count, Experiment, do, undisturbed

import mmvae

BEGIN, END = "<!-- begin of what was measured -->", "<!-- end of what was measured -->"


def measure(experiments: list[Experiment], minutes: float, first_seed: int) -> dict[str, Count]:
    """Does all experiments in turn, each with its share of the time of processors."""
    counts = {experiment.title: Count() for experiment in experiments}
    undisturbed(False), undisturbed(True)  # what is loaded and known first is not of any experiment
    started = time.monotonic()
    while sum(count.seconds for count in counts.values()) < 60 * minutes:
        experiment = min(experiments, key=lambda each: counts[each.title].seconds / each.weight)
        count = counts[experiment.title]
        do(experiment, count, first_seed + count.trials)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return counts


def table(counts: dict[str, Count]) -> str:
    lines = ["| what was done | trials | what came of it |", "|---|---:|---|"]
    for title, count in counts.items():
        outcomes = "; ".join(f"{number:,} {outcome}" for outcome, number in count.outcomes.most_common())
        lines.append(f"| {title} | {count.trials:,} | {outcomes} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time in all")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="page to write the table into")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = measure([*kills.EXPERIMENTS, *mutations.EXPERIMENTS], arguments.minutes, arguments.first_seed)
    faults = [fault for count in counts.values() for fault in count.faults]
    trials = sum(count.trials for count in counts.values())
    versions = f"mmvae {mmvae.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"
    text = (
        f"{trials:,} trials, {len(faults)} faults, {arguments.minutes:g} minutes of processor time, "
        f"{platform.system()}, {versions}.\n\n{table(counts)}\n"
    )
    print(text, *faults, sep="\n")
    if arguments.out is not None:
        page = arguments.out.read_text(encoding="utf-8")
        new = re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{text}\n{END}".replace("\\", r"\\"), page, flags=re.DOTALL)
        arguments.out.write_text(new, encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
