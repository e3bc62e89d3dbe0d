"""The pages of classifiers and codebooks: what they have, and nothing of what they lack."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mmvae
from mmvae import Batch, models, nn, plot
from mmvae.classifiers import report as classifier_report
from mmvae.evaluation import Evaluation, make_row
from mmvae.plotting.reports import pictures, run_report
from mmvae.plotting.reports.page import Page
from mmvae.plotting.reports.training_tables import seconds_per_step, write_epochs
from mmvae.training.configuration import describe
from mmvae.training.saving import write_configuration
from mmvae.vaes.base import MultimodalVAE

TRAINED = [
    {"epoch": 1, "split": "train", "loss": 2.0, "task": 1.9, "accuracy": 0.25, "alignment": 0.5, "seconds": 3.0},
    {"epoch": 1, "split": "validation", "loss": 2.1, "task": 1.5, "accuracy": 0.875, "alignment": 0.4, "seconds": 0.5},
    {"epoch": 2, "split": "train", "loss": 1.5, "task": 1.4, "accuracy": 0.5, "alignment": 0.5, "seconds": 5.0},
    {"epoch": 2, "split": "validation", "loss": 2.5, "task": 1.8, "accuracy": 0.75, "alignment": 0.4, "seconds": 0.5},
]
SETTINGS = {"rows": 100, "batch_size": 30, "devices": 1}  # four steps an epoch


def sections(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def files(path: Path) -> set[str]:
    return {file.stem for file in (path.parent / "plots").iterdir()}


@pytest.fixture
def _without_maps_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds."""
    monkeypatch.setattr(pictures, "_FEWEST_MAPPED", math.inf)


def test_the_page_of_a_classifier(classifier: models.CMPT, pair: Batch, tmp_path: Path) -> None:
    write_configuration(tmp_path, describe(classifier), SETTINGS)
    path = plot.report(SimpleNamespace(path=tmp_path, metrics=TRAINED), classifier, pair)
    page = path.read_text()
    expected = ["Overview", "Encoders", "Training", "Classification", "Latents", "Configuration", "Reproduction"]
    assert sections(page) == expected
    assert files(path) == {"attention_maps", "confusion_matrix", "elbo_curves", "latent_map", "latent_means"}
    facts = nn.encoder_facts(classifier.encoder("picture"))
    learning = sum(each.numel() for each in classifier.parameters() if each.requires_grad)
    for text in ("ViT", facts.hash[:12], f"{facts.frozen:,}", f"{facts.trainable:,}", f"of which {learning:,} learn"):
        assert text in page
    assert "A step of training took 1000 ms" in page
    assert "best validation loss of the task" in page
    assert "best accuracy in validation" in page
    assert "matrices adapted at rank 1" in page  # the note of the model
    assert "91.7%" in page  # of the pictures are there
    assert "likelihood" not in page.split("Reproduction")[0].split("<body>")[1]
    accuracy = plot.ConfusionMatrix.of(classifier, pair).accuracy[1]
    assert re.search(rf'<th scope="row">codes</th><td class="number">{accuracy:.4g} <small>', page)
    assert "nats per datum." not in page


def test_the_table_of_epochs_follows_the_judge_of_the_run() -> None:
    page = Page("a run", "")
    page.section("Training")
    write_epochs(page, TRAINED, {"judge": {"term": "accuracy", "better": "lower"}})
    assert "The epoch of the best validation accuracy, and the last" in page.html()
    assert "0.875" not in page.html()  # of the first epoch; the second has the lower one


@pytest.mark.usefixtures("_without_maps_of_neighbours")
def test_what_was_evaluated_stands_once_and_labels_may_be_lacking(
    classifier: models.CMPT, pair: Batch, tmp_path: Path
) -> None:
    evaluation = Evaluation([make_row(metric, 0.4321, ("codes",)) for metric in ("accuracy", "f1_macro")])
    path = plot.report(tmp_path, classifier, Batch(pair.data, pair.observed), evaluation=evaluation)
    page = path.read_text()
    assert page.count("0.4321") == 4  # two tiles, two cells
    assert "The data looked at has no labels." in page
    assert "confusion_matrix" not in files(path)


@pytest.mark.usefixtures("_without_maps_of_neighbours")
def test_several_labels_have_a_table_and_no_confusion(classifier: models.CMPT, pair: Batch, tmp_path: Path) -> None:
    model = models.LateFusion(classifier.arguments["encoders"], 3, task="multi-label")
    labels = torch.nn.functional.one_hot(pair.labels, 3)
    path = plot.report(tmp_path, model, Batch(pair.data, pair.observed, labels))
    page = path.read_text()
    assert "confusion_matrix" not in files(path)
    assert {"F1 (micro)", "F1 (macro)", "AUROC"} <= set(re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page))


@pytest.mark.usefixtures("_without_maps_of_neighbours")
def test_labels_that_do_not_fit_are_said_to(classifier: models.CMPT, pair: Batch, tmp_path: Path) -> None:
    page = plot.report(tmp_path, classifier, Batch(pair.data, labels=pair.labels + 7)).read_text()
    assert "Left out, since the labels are no classes from 0 to 2" in page


def test_the_page_of_a_codebook(codebook: models.DCID, pair: Batch, tmp_path: Path) -> None:
    rows = [make_row("transfer", 0.125, ("picture",), "codes"), make_row("transfer", 0.75, ("picture",), "picture")]
    path = plot.report(tmp_path, codebook, pair, evaluation=Evaluation(rows))
    page = path.read_text()
    expected = ["Overview", "Evaluation", "Codebook", "Latents", "Generation", "Configuration", "Reproduction"]
    assert sections(page) == expected
    assert files(path) == {"code_usage", "cross_generation", "latent_map", "latent_means", "transfer"}
    usage = plot.CodeUsage.of(codebook, pair)
    assert f"Of 6 codes, {int((usage.counts.sum(0) > 0).sum())} are in use" in page
    assert f"{usage.owned[1]:.1%}" in page
    assert "PatchSteps(shape=(1, 8, 8), patch=(4, 4))" in page


@pytest.mark.usefixtures("_without_maps_of_neighbours")
def test_a_codebook_without_decoders_says_so(codebook: models.DCID, pair: Batch, tmp_path: Path) -> None:
    steps = {name: codebook.step(name) for name in codebook.names}
    model = models.DCID(steps, num_codes=6, code_dim=4, heads=2, reconstruction=0.0, club=0.0)
    page = plot.report(tmp_path, model, pair).read_text()
    assert "Left out. generate: this model was built with reconstruction=0" in page


@pytest.mark.usefixtures("_without_maps_of_neighbours")
def test_the_pages_of_other_models_that_are_no_vaes(classifier: models.CMPT, pair: Batch, tmp_path: Path) -> None:
    late = models.LateFusion(copy.deepcopy(classifier.arguments["encoders"]), 3)
    features = late.features(pair)
    page = plot.report(tmp_path / "features", late.on_features(), features).read_text()
    assert "Precomputed" in page
    assert "attention" not in page.lower().split("<body>")[1].split("configuration</h2>")[0]
    encoder = classifier.arguments["encoders"]["picture"]
    pretraining = models.MaskedReconstruction({"picture": encoder})
    whole = pair[[0, 1, 3, 4]].restrict("picture")
    path = plot.report(tmp_path / "pretraining", pretraining, whole)
    assert sections(path.read_text()) == ["Overview", "Encoders", "Latents", "Configuration", "Reproduction"]


def test_models_of_different_families_side_by_side(
    model: MultimodalVAE, classifier: models.CMPT, codebook: models.DCID, pair: Batch, tmp_path: Path
) -> None:
    evaluations = {
        "vae": Evaluation([make_row("coherence", 0.5, ("picture",), "codes"), make_row("elbo", -3.0, ("picture",))]),
        "classifier": Evaluation([make_row("accuracy", 0.75, ("picture",)), make_row("accuracy", 0.875, ("codes",))]),
        "codebook": Evaluation([make_row("transfer", 0.25, ("picture",), "codes")]),
    }
    small = models.MVAE([each for each in model.modalities if each.name in pair.names], 2)
    given = {"vae": small, "classifier": classifier, "codebook": codebook}
    path = plot.comparison_report(tmp_path, evaluations, models=given, data=pair)
    page = path.read_text()
    assert {"comparison_accuracy", "coherence_1", "transfer", "cross_generation_1", "cross_generation_3"} <= files(path)
    assert "CMPT does not generate." in page
    assert re.search(r">vae</th><td>MVAE</td>.*?<td>no</td><td>yes</td><td>yes</td>", page)
    assert re.search(r">classifier</th><td>CMPT</td>.*?<td>yes</td><td>no</td><td>no</td>", page)
    assert re.search(r">codebook</th><td>DCID</td>.*?<td>no</td><td>yes</td><td>no</td>", page)


def test_seconds_of_a_step() -> None:
    assert seconds_per_step(TRAINED, SETTINGS) == 1.0  # 8 s, two epochs, four steps each
    assert seconds_per_step(TRAINED, SETTINGS | {"devices": 2}) == 2.0  # fifty rows on each
    assert seconds_per_step(TRAINED, {}) is None
    assert seconds_per_step([], SETTINGS) is None


def test_a_real_run(classifier: models.CMPT, pair: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (run_report, "latent_pictures"),
        (run_report, "training_pictures"),
        (classifier_report, "classification_pictures"),
        (classifier_report, "attention_pictures"),
    ):
        monkeypatch.setattr(module, name, lambda *_: [])
    run: Any = mmvae.fit(copy.deepcopy(classifier), pair, epochs=1, out=tmp_path, device="cpu", progress=False)
    page = plot.report(run, run.model, pair).read_text()
    assert re.search(r"A step of training took [\d,.e+-]+ ms", page)
    assert "CMPT" in page
