"""The code on the pages runs as it stands, with fewer epochs, draws and data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from docs.blocks import ROOT, code_blocks, run_blocks

from mmvae.evaluation import METRICS

DOCS = ROOT / "docs"
FEWER_EPOCHS = {r"\bepochs=\d+": "epochs=1"}
NOTEBOOKS: dict[str, dict[str, str]] = {
    "quickstart.md": {
        **FEWER_EPOCHS,
        r"\(1200,\)": "(120,)",
        r"\b1000\b": "100",
        r"\b1008\b": "108",
        r"steps=100": "steps=2",
        r"num_samples=50": "num_samples=4",
    },
    "tutorials/missing_data.md": {**FEWER_EPOCHS, r"1 \* 20 // steps": "1"},
    "private_latents.md": FEWER_EPOCHS,
    "priors.md": {**FEWER_EPOCHS, r"(train, priors\.GaussianMixture\(5\))": r"\1, steps=5", r"steps=300": "steps=5"},
    "covariates.md": FEWER_EPOCHS,
    "composing.md": FEWER_EPOCHS,
    "tables.md": FEWER_EPOCHS,
    "frames.md": {r"epochs=\d+": "epochs=1", r"rows = 600": "rows = 120"},
    "time_series.md": FEWER_EPOCHS,
    "own_batches.md": FEWER_EPOCHS,
    "label_modality.md": FEWER_EPOCHS,
    "absurd_numbers.md": {r"epochs=30": "epochs=1"},
    "omics.md": {**FEWER_EPOCHS, r"cells, sizes = 1500": "cells, sizes = 300"},
    "normative.md": {r"epochs=80": "epochs=8", r"epochs=15": "epochs=1"},  # columns must differ between rows
    "tutorials/own_networks.md": FEWER_EPOCHS,
    "tutorials/measuring.md": {
        **FEWER_EPOCHS,
        r"repeat\(300\)": "repeat(20)",
        r"\b3000\b": "200",
        r"-500": "-100",
        r"steps=150": "steps=2",
        r"num_samples=(20|200|500)\b": "num_samples=8",
        r"likelihood_rows=100": "likelihood_rows=8",
    },
    "tutorials/iterative.md": {
        **FEWER_EPOCHS,
        r"\b4200\b": "240",
        r"\b200\b": "40",
        r"steps=60": "steps=3",
        r"steps=1[05]0": "steps=4",
        r"\[\[0, 10, 30, 60\]\]": "[[0, 3]]",
        r"num_samples=2000": "num_samples=8",
    },
    "tutorials/classification.md": {**FEWER_EPOCHS, r"\b5000\b": "400", r"\b3000\b": "200", r"\b4000\b": "300"},
    "tutorials/codebooks.md": {**FEWER_EPOCHS, r"\b1500\b": "150", r"\b300\b": "60", r"\b500\b": "80"},
    "tutorials/new_model.md": FEWER_EPOCHS,
    "tutorials/new_prior.md": {**FEWER_EPOCHS, r"steps=300": "steps=5"},
    "tutorials/new_likelihood.md": FEWER_EPOCHS,
    "tutorials/new_metric.md": FEWER_EPOCHS,
    "tutorials/pyro.md": {
        r"range\(1, 21\)": "range(1, 2)",
        r"num_particles=\d+": "num_particles=2",
        r"num_samples=150, warmup_steps=100": "num_samples=2, warmup_steps=2",
    },
}
OTHERS = {
    "stages.md": {**FEWER_EPOCHS, '"joint": 20, "students": 10': '"joint": 1, "students": 1'},
    "watchers.md": {**FEWER_EPOCHS, "every=5": "every=1"},
}
"""What to replace on pages that are not notebooks, where there is more than epochs."""
NEEDS = {"watchers.md": ("mlflow", "optuna")}
"""Packages without which a page is skipped."""
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts and page.parent.name != "results"]


@pytest.fixture(autouse=True)
def _in_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # which a page sets; it goes after the test


@pytest.fixture(autouse=True)
def _without_metrics_of_pages() -> Iterator[None]:
    """Metrics that a page makes known leave the table of the library again, for the tests that follow."""
    yield
    for name, each in list(METRICS.items()):
        if not each.measure.__module__.startswith("mmvae."):
            del METRICS[name]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name: str) -> None:
    run_blocks(DOCS / name, NOTEBOOKS[name])


@pytest.mark.parametrize("page", [page for page in PAGES if code_blocks(page)], ids=lambda page: page.name)
def test_every_page_with_code_is_run(page: Path) -> None:
    name = page.relative_to(DOCS).as_posix()
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    if name not in NOTEBOOKS:
        default = FEWER_EPOCHS if "epochs=" in page.read_text(encoding="utf-8") else {}
        run_blocks(page, OTHERS.get(name, default), _given())


def test_quick_start_of_the_readme_runs() -> None:
    readme = ROOT / "README.md"
    if code_blocks(readme):
        run_blocks(
            readme,
            {**FEWER_EPOCHS, r"\b2000\b": "100", r"num_samples=1000": "num_samples=10", r"steps=20": "steps=2"},
            _given(),
        )


def _given() -> dict[str, object]:
    """The data that pages take for the reader's own."""
    images, codes = torch.rand(64, 1, 28, 28), torch.randint(0, 71, (64, 8))
    return {"images": images, "codes": codes, "new_images": images[:5]}
