"""The pages: everything inside, the right numbers, nothing from elsewhere, whole or not there."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import matplotlib.image
import numpy as np
import pytest

from mmvae import Batch, plot
from mmvae.evaluation import Evaluation, make_row
from mmvae.plotting.reports import run_report
from mmvae.vaes.base import MultimodalVAE

EVALUATION = Evaluation(
    [
        make_row("coherence", 0.8125, ("picture",), "codes", stderr=0.01),
        make_row("coherence", 0.99, ("picture",), "picture"),
        make_row("elbo", -123.4, ("picture", "codes"), stderr=0.5),
        make_row("joint_coherence", 0.375),
    ],
    ["fid: left out, since <b>no weights</b> were given."],
)
METRICS = [
    {"epoch": epoch, "split": split, "loss": 50.0 / epoch, "elbo": -40.0 / epoch, "seconds": 1.0}
    for epoch in (1, 2)
    for split in ("train", "validation")
]


class Reader(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[dict[str, Any]] = []
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "img":
            self.images.append(found)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(model: MultimodalVAE, batch: Batch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in full."""
    folder = tmp_path_factory.mktemp("run")
    run = SimpleNamespace(path=folder, metrics=METRICS)
    path = plot.report(run, model, batch, evaluation=EVALUATION, notes=["rendered street digits"], title="A < B")
    assert path == folder / "report.html"
    return path


@pytest.fixture
def _without_plots_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are about something else."""
    for name in ("posterior_pictures", "generation_pictures"):
        monkeypatch.setattr(run_report, name, lambda *_: [])


def test_the_report_holds_its_plots_numbers_and_nothing_from_elsewhere(written: Path) -> None:
    page = Reader(written)
    files = sorted((written.parent / "plots").glob("*.png"))
    assert {file.stem for file in files} == {
        "aggregate_calibration",
        "coherence",
        "cross_generation",
        "elbo_curves",
        "kl_per_dimension",
        "latent_means",
        "posterior_of_datum",
        "prior_samples",
    }
    inlined = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in page.images]
    assert sorted(inlined) == sorted(file.read_bytes() for file in files)
    assert all(len(image["alt"]) > 20 for image in page.images)
    for file in files:
        assert np.ptp(matplotlib.image.imread(file)) > 0.5
    for expected in ("0.8125", "± 0.01", "\N{MINUS SIGN}123.4", "0.375", "rendered street digits", "A < B", "MVAE"):
        assert expected in page.text
    assert "<b>no weights</b>" in page.text  # shown as written, not as markup
    for expected in ("PyTorch", "Pyro", "Processor", "latent_dim", "Normal(scale=1.0)", "91.7%"):
        assert expected in page.text
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not [each for each in page.addresses if not each.startswith(("data:image/png;base64,", "#"))]
    assert {each[1:] for each in page.addresses if each.startswith("#")} == page.anchors
    assert not re.search(r"https?://|url\(|@import", written.read_text())


@pytest.mark.usefixtures("_without_plots_of_data")
def test_a_folder_is_enough(model: MultimodalVAE, batch: Batch, tmp_path: Path) -> None:
    EVALUATION.save(tmp_path)
    lines = ["epoch,split,loss,elbo,seconds", "1,train,7.25,-6.5,1.0"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    page = Reader(plot.report(str(tmp_path), model, batch))
    assert "0.8125" in page.text
    assert "7.25" in page.text


def test_a_run_without_a_folder_is_refused(model: MultimodalVAE, batch: Batch) -> None:
    with pytest.raises(ValueError, match="no folder; pass out= to fit"):
        plot.report(SimpleNamespace(path=None, metrics=[]), model, batch)


@pytest.mark.usefixtures("_without_plots_of_data")
def test_a_page_that_fails_leaves_the_old_one(
    model: MultimodalVAE, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            plot.report(tmp_path, model, batch)
    assert (tmp_path / "report.html").read_text() == "old"
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["report.html"]


def test_comparison_report(model: MultimodalVAE, batch: Batch, tmp_path: Path) -> None:
    better = Evaluation([{**row, "value": row["value"] + 0.001} for row in EVALUATION.rows])
    report = tmp_path / "one" / "report.html"
    path = plot.comparison_report(
        tmp_path / "all",
        {"one": EVALUATION, "two": better},
        models={"one": model, "two": model},
        data=batch,
        reports={"one": report},
    )
    page = Reader(path)
    assert "../one/report.html" in page.addresses
    assert sum("cross_generation" in file.stem for file in (path.parent / "plots").iterdir()) == 2
    html = path.read_text()
    assert re.search(r'<td class="number">0.8125 <small>.{,20}</td><td class="number best">0.8135', html)
    with pytest.raises(ValueError, match="'three' has no evaluation"):
        plot.comparison_report(tmp_path, {"one": EVALUATION}, reports={"three": report})
    with pytest.raises(ValueError, match="no evaluations"):
        plot.comparison_report(tmp_path, {})


def test_the_overview_has_a_few_metrics_to_a_table(tmp_path: Path) -> None:
    metrics = ("linear_probe", "linear_probe_all", "cosine", "canonical_correlation", "elbo", "coherence", "fid")
    evaluations = {
        name: Evaluation([make_row(metric, value, ("picture",)) for metric in metrics])
        for name, value in (("one", 0.25), ("two", 0.5))
    }
    html = plot.comparison_report(tmp_path, evaluations, reports={"one": tmp_path / "one.html"}).read_text()
    overview = html[html.index("<h2>Overview") : html.index("<h2>Main metrics")]
    tables = overview.split("<table>")[1:]
    heads = [re.findall(r'<th scope="col"[^>]*>([^<]*)', table)[1:] for table in tables]
    assert heads[0] == ["Linear probe (few labels)", "Linear probe", "Cosine", "Canonical correlation", "ELBO (nats)"]
    assert heads[1] == ["Coherence", "FID"]
    assert all('<a href="one.html">one</a>' in table for table in tables)
    assert [re.findall(r'best">([\d.]*)', table) for table in tables] == [["0.5"] * 5, ["0.25", "0.5"]]
    assert overview.count("The best is bold") == 1


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium executable is installed")

LOOK = """<script>addEventListener("load", () => {
  const seen = {images: [...document.images].map((each) => each.naturalWidth), text: document.body.innerText,
                wider: document.documentElement.scrollWidth - innerWidth};
  document.body.innerHTML = `<pre id="seen">${btoa(encodeURIComponent(JSON.stringify(seen)))}</pre>`;
});</script></body>"""
"""Put at the end of a page, it leaves a note of what the browser made of the page."""


def browse(page: Path, profile: Path, *flags: str) -> str:
    """What headless Chromium writes when it opens a page."""
    given = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    given += "--disable-component-update --disable-sync --hide-scrollbars --window-size=1200,1800"
    command = [str(CHROMIUM), *given.split(), f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=120, text=True).stdout


@in_a_browser
def test_a_browser_renders_the_report(written: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(written, tmp_path / "profile", f"--screenshot={picture}")
    shown = matplotlib.image.imread(picture)[..., :3]
    assert shown.shape[:2] == (1800, 1200)
    training = shown[700:1800, 330:1100]  # where the curves stand
    blue = (np.abs(training - np.array([0x3F, 0x90, 0xDA]) / 255).max(-1) < 0.05).sum()
    assert blue > 200  # the curve of the training loss


@in_a_browser
def test_a_browser_finds_the_plots_and_the_numbers(written: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(written.read_text(encoding="utf-8").replace("</body>", LOOK), encoding="utf-8")
    (note,) = re.findall(r'<pre id="seen">(.*?)</pre>', browse(page, tmp_path / "profile", "--dump-dom"))
    seen = json.loads(unquote(base64.b64decode(note).decode()))
    assert len(seen["images"]) == len(list((written.parent / "plots").glob("*.png")))
    assert min(seen["images"]) > 300  # a picture that cannot be read is 0 pixels wide
    for expected in ("A < B", "0.8125", "\N{MINUS SIGN}123.4", "0.375", "<b>no weights</b>", "rendered street digits"):
        assert expected in seen["text"]
    assert seen["wider"] <= 0


def test_a_figure_that_fails_is_a_sentence_and_costs_no_other(
    model: MultimodalVAE, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmvae.plotting.reports import pictures

    def breaks(*_: object) -> None:
        raise RuntimeError("no such <colour>")

    monkeypatch.setattr(pictures, "kl_per_dimension", breaks)
    monkeypatch.setattr(run_report, "write_data", breaks)
    path = plot.report(tmp_path, model, batch)
    page = path.read_text(encoding="utf-8")
    assert "Left out. RuntimeError: no such &lt;colour&gt;. (KL in each latent dimension)" in page
    assert "Left out. RuntimeError: no such &lt;colour&gt;. (data)" in page
    assert {"latent_means", "posterior_of_datum", "aggregate_calibration"} <= {
        file.stem for file in (tmp_path / "plots").glob("*.png")
    }


def test_ctrl_c_ends_a_report(
    model: MultimodalVAE, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_report, "write_data", stops)
    with pytest.raises(KeyboardInterrupt):
        plot.report(tmp_path, model, batch)
    assert not (tmp_path / "report.html").exists()
