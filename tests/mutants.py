"""Changes the code in a sample of places, one after another, and counts the changes that the tests notice.

The changes are those of cosmic-ray (`pip install cosmic-ray`) in the modules that hold the mathematics. They are made
in a copy of what is committed. Each costs from seconds to minutes: a change is noticed by the first test that fails.

    python tests/mutants.py --number 40
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "mmvae/distributions": ["tests/distributions", "tests/posteriors", "tests/objectives", *(
        f"tests/test_{name}.py" for name in ("likelihoods", "likelihood_densities"))],
    "mmvae/posteriors": ["tests/posteriors", "tests/objectives", *(
        f"tests/vaes/test_{name}.py" for name in ("flow_posterior", "mopoe", "mmvae", "ways_of_saying_missing"))],
    "mmvae/objectives": ["tests/objectives", "tests/vaes/test_grid.py"],
    "mmvae/likelihoods": [
        "tests/test_likelihoods.py", "tests/test_likelihood_densities.py", "tests/vaes/test_tables.py"],
    "mmvae/evaluation/importance.py": ["tests/evaluation/test_importance.py", "tests/evaluation/test_pareto.py"],
    "mmvae/evaluation/pareto.py": ["tests/evaluation/test_pareto.py", "tests/evaluation/test_importance.py"],
}  # fmt: skip
"""Tests that hold each module; a change is not looked for elsewhere."""

KINDS = re.compile(
    r"NumberReplacer|AddNot|Binary\w*_(Sub_Add|Add_Sub|Mul_Div|Div_Mul|Pow_Mul)$|Delete_USub|Delete_Not"
    r"|Comparison\w*_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Eq_NotEq|NotEq_Eq|Lt_Gt|Gt_Lt|LtE_GtE|GtE_LtE|Is_IsNot|IsNot_Is)$"
    r"|TrueFalse|ReplaceAndWithOr|ReplaceOrWithAnd|ZeroIteration"
)
"""Changes that could be a slip of a person; annotations and docstrings have none of them."""


def keep_sample(session: Path, number: int, seed: int) -> None:
    """Leave so many changes in a session of cosmic-ray, of each module its share."""
    with sqlite3.connect(session) as database:
        found = database.execute("select job_id, module_path, operator_name from mutation_specs").fetchall()
        chosen = [job for job, _, kind in found if KINDS.search(kind)]
        kept = set(random.Random(seed).sample(sorted(chosen), min(number, len(chosen))))
        for job, _, _ in found:
            if job not in kept:
                database.execute("delete from mutation_specs where job_id = ?", (job,))
                database.execute("delete from work_items where job_id = ?", (job,))
    print(f"{len(kept)} of {len(chosen)} changes")


def notice() -> int:
    """Run the tests of the module that is changed, those first that speak of it; 0 if all pass."""
    (changed,) = subprocess.run(
        ["git", "diff", "--name-only"], capture_output=True, text=True, check=True
    ).stdout.split()
    folders = next(tests for module, tests in TESTS.items() if changed.startswith(module))
    files = [
        each for path in map(Path, folders) for each in (sorted(path.glob("test_*.py")) if path.is_dir() else [path])
    ]
    names = re.findall(r"^(?:class|def) (\w+)", Path(changed).read_text(encoding="utf-8"), re.M)

    def nearness(file: Path) -> int:
        text = file.read_text(encoding="utf-8")
        return 4 * (Path(changed).stem in file.stem) + sum(bool(re.search(rf"\b{name}\b", text)) for name in names)

    files.sort(key=nearness, reverse=True)
    for part in (files[:3], files[3:]):
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, part)]
        if part and (failed := subprocess.run(command).returncode):
            return failed
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=40, help="changes to make")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--notice", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.notice:
        return notice()
    with tempfile.TemporaryDirectory() as folder:
        copy, session, config = (Path(folder) / name for name in ("copy", "session.sqlite", "config.toml"))
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
        paths = ", ".join(f'"{module}"' for module in TESTS)
        config.write_text(
            f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = 1800.0\nexcluded-modules = []\n"
            f'test-command = "{sys.executable} tests/mutants.py --notice"\n\n'
            f'[cosmic-ray.distributor]\nname = "local"\n',
            encoding="utf-8",
        )
        within = {"cwd": copy, "env": {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}}
        tool = [sys.executable, "-m", "cosmic_ray.cli"]
        subprocess.run([*tool, "init", str(config), str(session)], check=True, **within)
        keep_sample(session, arguments.number, arguments.seed)
        subprocess.run([*tool, "exec", str(config), str(session)], check=True, **within)
        with sqlite3.connect(session) as database:
            found = database.execute("select test_outcome, diff from work_results").fetchall()
    survived = [diff for outcome, diff in found if outcome == "SURVIVED"]
    print("\n".join(survived))
    print(f"{len(found) - len(survived)} of {len(found)} changes were noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
