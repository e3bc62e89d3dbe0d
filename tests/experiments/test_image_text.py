"""The experiment with images and texts runs end to end, on data and encoders that the test makes."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import tyro
from data.image_text.made import write_hateful_memes, write_mm_imdb

import mmvae
from mmvae.data import ImageText, Missingness
from mmvae.evaluation import Evaluation, classification_scores

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
SCRIPT = EXPERIMENTS / "image_text.py"

pytestmark = pytest.mark.filterwarnings("ignore:canonical correlations")  # of so few rows


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("image_text")


@pytest.fixture(scope="module")
def memes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memes")
    write_hateful_memes(folder, memes=24)
    return folder


@pytest.fixture(scope="module")
def finished(experiment: ModuleType, memes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The arguments of a finished run of all methods, with the library's own encoders."""
    arguments = experiment.Arguments(
        dataset="hateful_memes",
        preset="smoke",
        data=memes,
        out=tmp_path_factory.mktemp("out"),
        curves=True,
        noise=True,
        size=16,
        length=6,
        batch_size=16,
        device="cpu",
    )
    assert experiment.main(arguments) == arguments.out / "hateful_memes-both.md"
    return arguments


@pytest.mark.parametrize("method", ["molt", "cmpt", "late_fusion"])
def test_a_method_is_measured_under_every_condition(experiment: ModuleType, finished: Any, method: str) -> None:
    run = finished.out / f"hateful_memes-{method}-both"
    evaluation = Evaluation.load(run)
    measured = [row for row in evaluation.rows if row["metric"] == "auroc"]
    whole = {row["given"]: row["value"] for row in measured if "type" not in row and "noise" not in row}
    assert set(whole) == {"image", "text", "image+text"}
    tables = {(row["type"], row["rate"]): row["value"] for row in measured if "type" in row}
    rates = {"text": experiment.RATES, "image": experiment.RATES, "both": (0.5, 0.7, 0.9)}
    assert set(tables) == {(kind, rate) for kind, each in rates.items() for rate in each}
    assert tables["text", 0.0] == tables["image", 0.0] == whole["image+text"]
    assert tables["text", 1.0] == whole["image"]
    assert tables["image", 1.0] == whole["text"]
    noise = {(row["noise"], row.get("sigma"), row.get("share")): row["value"] for row in measured if "noise" in row}
    assert len(noise) == 15
    for unharmed in (("image", 0.0, None), ("text", None, 0.0), ("image+text", 0.0, 0.0)):
        assert noise[unharmed] == whole["image+text"]
    assert any(note.startswith("image encoder: ViT ") for note in evaluation.notes)
    assert any("pretrained here (labels)" in note for note in evaluation.notes)
    model = mmvae.load(run)
    assert model.names == ("image", "text")
    assert type(model).__name__ == {"molt": "MoLT", "cmpt": "CMPT", "late_fusion": "LateFusion"}[method]


def test_three_predictions_are_enough_for_any_table(experiment: ModuleType, finished: Any) -> None:
    """What is scored under a table is what the model says of the data with these holes."""
    splits = experiment.read(finished, experiment.PRESETS["smoke"])
    vocabulary = mmvae.data.CaptionVocabulary.load(finished.out / "hateful_memes-vocabulary.json")
    data = splits.test.dataset(mmvae.data.Tokenizer.of_words(vocabulary), 16, normalisation="none")
    model = mmvae.load(finished.out / "hateful_memes-cmpt-both").eval()
    masks = splits.test.masks(experiment.table(splits.test, "test", "both", 0.7, finished))
    with torch.no_grad():
        logits = model.predict(mmvae.infer(model, data.with_observed(masks)))
    expected, _ = classification_scores(logits, splits.test.labels)["auroc"]
    evaluation = Evaluation.load(finished.out / "hateful_memes-cmpt-both")
    (row,) = [row for row in evaluation.select("auroc") if row.get("type") == "both" and row["rate"] == 0.7]
    assert row["value"] == pytest.approx(expected)


def test_tables_of_what_is_missing_are_kept_and_shared(experiment: ModuleType, finished: Any) -> None:
    kept = sorted((finished.out / "tables").glob("*.npz"))
    assert len([path for path in kept if "-test-" in path.name]) == 11 + 11 + 3
    assert len([path for path in kept if "-train-" in path.name]) == 1
    table = Missingness.load(finished.out / "tables" / "hateful_memes-train-24-both-70-seed0.npz")
    assert {name: int((~mask).sum()) for name, mask in table.observed.items()} == {"image": 8, "text": 8}


def test_tables_name_the_shares_that_have_an_image_and_a_text(finished: Any) -> None:
    page = (finished.out / "hateful_memes-both.md").read_text()
    assert "### auroc, in percent" in page
    assert "| image % / text % | molt | cmpt | late_fusion |" in page
    for condition in (
        "100 / 100",
        "100 / 30",
        "30 / 100",
        "65 / 65",
        "100 / 0",
        "0 / 100",
        "image with noise, 0.2",
        "image+text with noise, 1 and 0.5",
    ):
        line = next(line for line in page.splitlines() if line.startswith(f"| {condition} |"))
        assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d", line)) == 3


def test_films_without_labels_to_pretrain_on_and_with_kept_features(experiment: ModuleType, tmp_path: Path) -> None:
    write_mm_imdb(tmp_path, films=24)
    arguments = experiment.Arguments(
        dataset="mm_imdb",
        method="molt",
        pretraining="reconstruction",
        preset="smoke",
        training="complete",
        data=tmp_path,
        out=tmp_path / "out",
        features=True,
        rates=(0.5,),
        size=16,
        length=6,
        device="cpu",
    )
    page = experiment.main(arguments).read_text()
    assert "### f1_macro, in percent" in page
    assert "MM-IMDb: 2 of 8 films have no plot and are left out." in page
    assert len(list((tmp_path / "out" / "features").iterdir())) == 4  # of two modalities, in two parts
    again = mmvae.load(tmp_path / "out" / "mm_imdb-molt-complete")
    assert again.task == "multi-label"
    assert again.num_classes == 23


def write_clip(folder: Path) -> None:
    """A tiny CLIP of random weights, with a tokenizer of letters."""
    transformers = pytest.importorskip("transformers")
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    ids = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(ids)}
    transformers.CLIPTokenizer(vocabulary, []).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"bos_token_id": len(ids) - 2, "eos_token_id": len(ids) - 1, "pad_token_id": len(ids) - 1}
    text = {**size, **special, "vocab_size": len(ids), "max_position_embeddings": 20}
    vision = {**size, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.48145466, 0.4578275, 0.40821073]}))


def write_vit_and_bert(folder: Path) -> tuple[Path, Path]:
    """A tiny ViT and a tiny BERT of random weights, with a tokenizer of a few words."""
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    transformers.ViTModel(transformers.ViTConfig(**size, image_size=16, patch_size=8)).save_pretrained(folder / "vit")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "meme", "number"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    config = transformers.BertConfig(**size, vocab_size=len(words), max_position_embeddings=12)
    transformers.BertModel(config).save_pretrained(folder / "bert")
    return folder / "vit", folder / "bert"


def test_encoders_from_a_folder_of_clip(experiment: ModuleType, memes: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip")
    arguments = experiment.Arguments(
        dataset="hateful_memes",
        method="cmpt",
        encoders=(str(tmp_path / "clip"),),
        preset="smoke",
        training="text",
        data=memes,
        out=tmp_path / "out",
        rates=(0.7,),
        device="cpu",
    )
    page = experiment.main(arguments).read_text()
    assert "image encoder: CLIPVisionModel" in page or "image encoder: CLIPVisionTransformer" in page
    assert "proxy tokens inside the encoder" in page
    encoders = sys.modules["image_text_encoders"].from_folders((tmp_path / "clip",), 128)
    assert (encoders.size, encoders.normalisation, encoders.tokenizer.length) == (16, "clip", 20)


def test_encoders_from_a_folder_each(experiment: ModuleType, memes: Path, tmp_path: Path) -> None:
    folders = write_vit_and_bert(tmp_path)
    arguments = experiment.Arguments(
        dataset="hateful_memes",
        method="late_fusion",
        encoders=tuple(map(str, folders)),
        preset="smoke",
        data=memes,
        out=tmp_path / "out",
        rates=(0.7,),
        length=8,
        device="cpu",
    )
    page = experiment.main(arguments).read_text()
    assert "image encoder: ViTModel" in page
    assert "text encoder: BertModel" in page
    encoders = sys.modules["image_text_encoders"]
    assert encoders.from_folders(folders, 128).tokenizer.length == 12
    assert encoders.from_folders(folders, 8).normalisation == "half"
    with pytest.raises(ValueError, match=r"the first folder should hold an encoder of images"):
        encoders.from_folders(folders[::-1], 8)
    with pytest.raises(ValueError, match=r"expected a folder of CLIP, or one for images and one for texts, got 3"):
        encoders.from_folders((*folders, tmp_path), 8)
    (folders[0] / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.9, 0.9, 0.9]}))
    with pytest.raises(ValueError, match=r"has a mean colour"):
        encoders.from_folders(folders, 8)


def test_some_of_the_data_keeps_films_together(experiment: ModuleType, tmp_path: Path) -> None:
    write_mm_imdb(tmp_path, films=36)
    films: ImageText = mmvae.data.mm_imdb(tmp_path)
    some = experiment.some_of(films, len(films) // 2)
    assert 0 < len(some) < len(films)
    for image in set(some.images):
        assert some.images.count(image) == films.images.count(image)
    assert experiment.some_of(films, None) is films
    assert experiment.some_of(films, 1_000) is films


def test_without_the_files_a_line_says_what_was_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert isinstance(stopped.value.code, str)
    assert stopped.value.code.startswith("MM-IMDb: looked for split.json in ")
    assert not (tmp_path / "out").exists()


def test_commands_and_presets_on_the_page_are_those_of_the_script(experiment: ModuleType) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    commands = re.findall(r"experiments/image_text\.py( --[^\n`]*)", page + SCRIPT.read_text(encoding="utf-8"))
    assert len(commands) >= 3
    for words in commands:
        tyro.cli(experiment.Arguments, args=shlex.split(words))
    for name, preset in experiment.PRESETS.items():
        sizes = ["all" if size is None else size for size in (preset.train_size, preset.test_size)]
        assert f"| `{name}` | {sizes[0]} | {sizes[1]} | {preset.pretraining_epochs} | {preset.epochs} |" in page
