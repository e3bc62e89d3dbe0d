"""The experiment with codebooks runs end to end, on data it makes, and does not repeat what is done."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

import mmvae
from mmvae.distributions import point_mass
from mmvae.evaluation import Evaluation, make_row

pytestmark = pytest.mark.filterwarnings("ignore:canonical correlations")  # of so few rows


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("cross_modal_generalization")


def ran(experiment: ModuleType, tmp_path_factory: pytest.TempPathFactory, task: str, names: tuple[str, ...]) -> Any:
    """The tables of a smoke run of some arms, and its arguments."""
    some = {name: arm for name, arm in experiment.ARMS.items() if name in names}
    arguments = experiment.Arguments(
        task=task,
        preset="smoke",
        seeds=(0,),
        data=tmp_path_factory.mktemp("nothing"),
        out=tmp_path_factory.mktemp("runs"),
        device="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "ARMS", some)
        for module in ("generalization.keeping", "generalization.reporting"):
            patch.setattr(importlib.import_module(module), "SHARES", (1.0, 0.25))
            patch.setattr(importlib.import_module(module), "RANDOM_DRAWS", 2)
        text = experiment.main(arguments).read_text()
        written = {file: file.stat().st_mtime_ns for file in arguments.out.rglob("evaluation.json")}
        assert experiment.main(arguments).read_text() == text
        assert {file: file.stat().st_mtime_ns for file in arguments.out.rglob("evaluation.json")} == written
    return text, arguments.out / task


@pytest.mark.slow
def test_digits(experiment: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> None:
    text, root = ran(experiment, tmp_path_factory, "usps", ("FCID", "MVTCAE"))
    assert "rendered small digits" in text  # what stands for the files that are not there
    for heading in (
        "Transfer: logistic head",
        "Retrieval of the class, R@1",
        "Zero-shot generation",
        "TOC on FCID",
        "Controls",
    ):
        assert heading in text
    assert "| MVTCAE |" in text
    for picture in ("transfer.png", "fcid/seed0/toc.png", "fcid/seed0/code_usage.png"):
        assert (root / picture).stat().st_size > 1000
    assert mmvae.load(root / "fcid" / "seed0").names == ("mnist", "usps", "text")


@pytest.mark.slow
def test_sequences(experiment: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> None:
    text, _ = ran(experiment, tmp_path_factory, "sequences", ("FCID", "MoPoE"))
    assert "Event of each step" in text
    assert text.count("| MoPoE |") > 4


def test_every_arm_builds(experiment: ModuleType) -> None:
    tasks = importlib.import_module("generalization.tasks")
    splits = tasks.sequences(tasks.Size(20, 20, 20), seed=0)
    for name, arm in experiment.ARMS.items():
        assert arm.make("sequences", splits).names == ("audio", "video", "text"), name


def test_random_dimensions_keep_what_they_name(experiment: ModuleType) -> None:
    keeping = importlib.import_module("generalization.keeping")
    codebook = torch.randn(8, 6)
    latents = mmvae.Latents(point_mass(codebook[[3, 1]]), ("a",), codes=torch.tensor([3, 1]))
    readers = keeping.kept_dimensions(codebook, 0.5, seed=0)
    for name in ("both", "lowest", "random 2"):
        read = readers[name]
        torch.testing.assert_close(read(latents), codebook[[3, 1]][:, read.dims])
    everything = keeping.kept_dimensions(codebook, 1.0, seed=0)["principal components"](latents)
    torch.testing.assert_close(torch.dist(*everything), torch.dist(*codebook[[3, 1]]))  # a rotation


def test_a_source_chooses_by_what_it_sees_at_home(experiment: ModuleType) -> None:
    """Its own validation data, whatever the targets' would say; the smaller of shares that are as good."""
    keeping = importlib.import_module("generalization.keeping")
    reporting = importlib.import_module("generalization.reporting")
    home = {"a": {0.5: 0.9, 0.25: 0.9, 1.0: 0.8}, "b": {0.5: 0.3, 0.25: 0.2, 1.0: 0.7}}
    rows = [
        make_row("toc_validation", value, (source,), kept=f"both {share:g}")
        for source, shares in home.items()
        for share, value in shares.items()
    ]
    rows.append(make_row("toc_validation", 1.0, ("a",), kept="variance 0.5"))
    rows += [make_row("toc", 0.6, ("a",), "b", kept="everything"), make_row("toc", 0.4, ("b",), "a", kept="everything")]
    rows += [make_row("toc", 0.8, ("a",), "b", kept="both 0.25"), make_row("toc", 0.3, ("b",), "a", kept="both 1")]
    found = Evaluation(rows)
    assert keeping.best_shares(found) == {"a": 0.25, "b": 1.0}
    assert reporting.choice([found]) == ["0.500", "0.550", "+0.050", "0.62"]


def test_controls_read_codes_as_indicators_and_vectors_before_quantisation(experiment: ModuleType) -> None:
    controls = importlib.import_module("generalization.controls")
    features = torch.randn(2, 3, 4)
    latents = mmvae.Latents(
        point_mass(torch.zeros(2, 3, 4)),
        ("a",),
        codes=torch.tensor([[0, 2, -1], [1, 1, 0]]),
        diagnostics={"features": features},
    )
    read = controls.indices(3)(latents)
    assert read.argmax(-1).tolist() == [[0, 2, 0], [1, 1, 0]]
    assert read.sum(-1).tolist() == [[1, 1, 0], [1, 1, 1]]  # nothing where there is no step
    assert controls.continuous(latents) is features


def test_retrieval_by_what_the_source_reads(experiment: ModuleType) -> None:
    """Each query by the eyes of its source: the modality that looks at noise finds nothing."""
    controls = importlib.import_module("generalization.controls")
    labels = torch.arange(20) % 2
    vectors = torch.stack([labels * 2.0 - 1, torch.ones(20)], 1)
    latents = {name: mmvae.Latents(point_mass(vectors), (name,), codes=labels) for name in ("a", "b")}
    reads = {"a": lambda each: each.mean[..., :1], "b": lambda each: each.mean[..., 1:]}
    rows = list(controls.retrieved(latents, labels, reads, "some"))
    scores = {(row["metric"], row["given"]): row["value"] for row in rows}
    assert scores["retrieval_r1", "a"] == 1
    assert scores["retrieval_r1", "b"] == pytest.approx(0.5)
    assert {row["kept"] for row in rows} == {"some"}
