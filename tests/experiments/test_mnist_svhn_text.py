"""The main job runs end to end with every model, on data it makes."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

import mmvae

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run of all models, in which no file of real data is to be found."""
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        import mnist_svhn_text as experiment
    finally:
        sys.path.remove(str(EXPERIMENTS))
    folder = tmp_path_factory.mktemp("smoke")
    nothing = tmp_path_factory.mktemp("nothing")
    report = experiment.main(experiment.Arguments(model="all", preset="smoke", data=nothing, out=folder))
    assert report == folder / "report.html"
    return folder


@pytest.mark.parametrize("name", ["mvae", "mmvae", "mopoe", "jmvae", "mvtcae", "iterative"])
def test_every_model_leaves_a_complete_run(finished: Path, name: str) -> None:
    run = finished / name
    vae = mmvae.load(run)
    assert vae.names == ("mnist", "svhn", "text")
    assert vae.weights == {"mnist": pytest.approx(3072 / 784), "svhn": 1.0, "text": 384.0}
    with (run / "metrics.csv").open() as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    assert splits == ["train", "validation"]
    evaluation = mmvae.evaluation.Evaluation.load(run)
    for subset in ("mnist", "svhn+text", "mnist+svhn+text"):
        assert 0 <= evaluation.value("linear_probe", subset) <= 1
    assert 0 <= evaluation.value("coherence", "text", "mnist") <= 1
    page = (run / "report.html").read_text()
    assert "rendered street digits" in page
    assert "data:image/png;base64" in page


def test_the_comparison_names_what_stands_for_the_data(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    for name in ("mvae", "mmvae", "mopoe", "jmvae", "mvtcae", "iterative"):
        assert f"{name}/report.html" in page
    assert "rendered" in page
    assert (finished / "comparison.csv").read_text().count("\n") > 10


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_gaps_of_iterative_inference_are_measured_on_request(tmp_path: Path) -> None:
    import mnist_svhn_text as experiment

    out = tmp_path / "runs"
    experiment.main(experiment.Arguments(model="iterative", preset="smoke", data=tmp_path, out=out, gaps=True))
    vae = mmvae.load(out / "iterative")
    assert vae.num_steps == 5
    evaluation = mmvae.evaluation.Evaluation.load(out / "iterative")
    assert evaluation.select("amortization_gap", "mnist+svhn+text")
    assert evaluation.select("student_kl", "text")
    assert "Refinement" in (out / "iterative" / "report.html").read_text()


def test_a_second_call_must_be_told_to_resume(finished: Path, tmp_path: Path) -> None:
    import mnist_svhn_text as experiment

    again = experiment.Arguments(model="mvae", preset="smoke", data=tmp_path, out=finished)
    with pytest.raises(ValueError, match="resume"):
        experiment.main(again)
