"""Cross-modal generalisation on audio-visual clips: pretrained on VGGSound-AVEL, tested on AVE and AVVP.

    python experiments/audio_visual_features.py --model fcid --preset paper --out runs/fcid

A codebook is pretrained on features of paired clips, without labels. On AVE, the class of a clip is learned from the
codes of one modality and read off those of the other; on AVVP, the events of each second. The head, and how many
dimensions of the codebook TOC keeps, are chosen on validation clips of the source modality alone. The features have to
be there: docs/datasets.md says which files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import step_events
import torch
import tyro
from markdown_tables import markdown
from rich.console import Console
from step_events import Steps
from torch import Tensor

import mmvae
from mmvae import Latents, models
from mmvae.data import ClipFeatures, SourceNotFound, ave, avvp, vggsound_avel
from mmvae.evaluation import Evaluation, Labelled, Row, StepHead, make_row, transfer_matrix
from mmvae.models import DCID, FCID
from mmvae.storage import write_text

FINE = ("audio", "video")
SHARES = (0.875, 0.77, 0.66, 0.56, 0.5, 0.25)
"""Of the dimensions of the codebook, what TOC may keep, beside all of them."""
HELD_OUT = 0.2
"""Share of the annotated clips of AVVP that are not for testing, on which heads are chosen."""
LINES = {
    "ave": "AVE, accuracy",
    "ave_toc": "AVE, accuracy, TOC",
    "avvp": "AVVP, micro F1",
    "avvp_toc": "AVVP, micro F1, TOC",
}

Name = Literal["dcid", "fcid"]
Task = Literal["ave", "avvp"]
Read = Callable[[Latents], Tensor]
"""From latents to features, ``[N, T, D]``."""


@dataclass(frozen=True)
class Preset:
    """How much of the protocol is run."""

    says: str
    clips: int | None
    epochs: dict[Name, int]
    batch_size: int
    num_codes: int
    code_dim: int
    head_epochs: int


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: 64 clips, one epoch, 16 codes. It shows that everything runs; its numbers mean nothing.",
        clips=64,
        epochs={"dcid": 1, "fcid": 1},
        batch_size=16,
        num_codes=16,
        code_dim=16,
        head_epochs=2,
    ),
    "paper": Preset(
        says="Preset paper: all clips, 5 (DCID) or 4 (FCID) epochs of batches of 80, 400 codes of 256 numbers, as the "
        "authors train. They choose epochs, heads and dimensions on the target modality of the test data; here all "
        "that is chosen is chosen on validation data of the source modality, so expect lower numbers.",
        clips=None,
        epochs={"dcid": 5, "fcid": 4},
        batch_size=80,
        num_codes=400,
        code_dim=256,
        head_epochs=30,
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Pretrain a codebook on audio-visual clips, and measure what heads make of the modality they never saw."""

    model: Name = "dcid"
    """All modalities aligned step by step; or audio and video so, and text as a whole."""
    text: bool = False
    """Pretrain DCID on texts of the classes as well, as FCID always is."""
    preset: Literal["smoke", "paper"] = "paper"
    """How much of the protocol: seconds, or an hour or more on a GPU."""
    tasks: tuple[Task, ...] = ("ave", "avvp")
    """On which data sets transfer is measured."""
    data: Path | None = None
    """Folder of the data sets; by default the environment variable MMVAE_DATA."""
    space: Literal["mean", "sum"] = "mean"
    """What becomes of the places of a picture; the authors' code amounts to their sum."""
    out: Path = Path("runs/audio_visual_features")
    """Where the run and the tables are written."""
    seed: int = 0
    """Of weights, batches and heads."""
    resume: bool = False
    """Go on where an earlier call with the same folder stopped."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""


def build(name: Name, widths: Mapping[str, int], preset: Preset) -> DCID | FCID:
    """A model of the protocol."""
    if name == "dcid":
        return models.DCID(widths, num_codes=preset.num_codes, code_dim=preset.code_dim)
    coarse = {name: width for name, width in widths.items() if name not in FINE}
    fine = {name: widths[name] for name in FINE}
    return models.FCID(fine, coarse, num_codes=preset.num_codes, code_dim=preset.code_dim)


def pretrain(arguments: Arguments, preset: Preset) -> tuple[DCID | FCID, ClipFeatures]:
    """A model that has seen clips without labels, in evaluation mode and with a code for each step; and the clips."""
    modalities = (*FINE, "text") if arguments.text or arguments.model == "fcid" else FINE
    clips = vggsound_avel(arguments.data, "all", modalities=modalities, space=arguments.space)
    if preset.clips is not None:
        generator = torch.Generator().manual_seed(arguments.seed)
        clips = clips.subset(torch.randperm(len(clips), generator=generator)[: preset.clips])
    torch.manual_seed(arguments.seed)
    model = build(arguments.model, clips.widths, preset)
    mmvae.fit(
        model,
        mmvae.Batch(clips.batch.data, clips.batch.masks),
        epochs=preset.epochs[arguments.model],
        batch_size=preset.batch_size,
        lr=4e-4,
        max_grad_norm=0.5,
        seed=arguments.seed,
        device=arguments.device,
        out=arguments.out,
        resume=arguments.resume,
    )
    if isinstance(model, FCID):
        model.code_mode = "split"
    return model.cpu().eval(), clips


def readers(model: DCID | FCID) -> dict[str, Read]:
    """What is read of latents, by name: everything, or what TOC keeps of the dimensions that differ between codes."""
    width = model.latent_dim
    alive = int((model.codebook.var(0) >= 1e-8).sum())
    found: dict[str, Read] = {"everything": lambda latents: latents.mean}
    for share in SHARES:
        keep = round(share * width)
        if 1 <= keep <= alive:
            found[f"{keep} of {width} dimensions"] = mmvae.toc(model, keep=keep)
    return found


def inferred(model: DCID | FCID, clips: ClipFeatures) -> dict[str, Latents]:
    """The latents given each modality alone, of the clips that have it."""
    return {name: mmvae.infer(model, rows.batch, name) for name, rows in having(clips).items()}


def having(clips: ClipFeatures) -> dict[str, ClipFeatures]:
    """By modality, the clips that have it."""
    return {name: clips.subset(clips.batch.observed[name].nonzero().flatten()) for name in FINE}


def measured(metric: str, found: Mapping[str, Mapping[tuple[str, str], Row]]) -> Iterator[Row]:
    """Rows of a task: with everything that latents hold, and with what is best for each source at home.

    Args:
        metric: its name.
        found: by what is read of latents, by source and target, a row; it holds the score of its head on validation
            data of the source.
    """
    yield from found["everything"].values()
    for source in FINE:
        best = max(found, key=lambda read: found[read][source, source]["validation"])
        for target in FINE:
            yield {**found[best][source, target], "metric": f"{metric}_toc", "kept": best}


def on_ave(model: DCID | FCID, arguments: Arguments, preset: Preset) -> tuple[list[Row], list[str]]:
    """The class of each clip, and notes on the data."""
    parts = {split: ave(arguments.data, split, space=arguments.space) for split in ("train", "validation", "test")}
    latents = {split: inferred(model, clips) for split, clips in parts.items()}
    labels = {split: {name: each.labels for name, each in having(clips).items()} for split, clips in parts.items()}

    def part(split: str, read: Read) -> dict[str, Labelled]:
        return {name: Labelled(read(each), labels[split][name], _there(each)) for name, each in latents[split].items()}

    found = {}
    for name, read in readers(model).items():
        train, validation, test = (part(split, read) for split in parts)
        home = {f"{source}, validation": each for source, each in validation.items()}
        head = StepHead(epochs=preset.head_epochs)
        transfer = transfer_matrix(train, validation, {**test, **home}, head, seed=arguments.seed)
        rows = {(row["given"], row["target"]): {**row, "metric": "ave"} for row in transfer.rows() if row["target"]}
        found[name] = {
            (source, target): {**rows[source, target], "validation": rows[source, f"{source}, validation"]["value"]}
            for source in FINE
            for target in FINE
        }
    return list(measured("ave", found)), [note for clips in parts.values() for note in clips.notes]


def on_avvp(model: DCID | FCID, arguments: Arguments) -> tuple[list[Row], list[str]]:
    """The events of each second, and notes on the data."""
    annotated, test = (avvp(arguments.data, split, space=arguments.space) for split in ("validation", "test"))
    order = torch.randperm(len(annotated), generator=torch.Generator().manual_seed(arguments.seed))
    held_out = round(HELD_OUT * len(order))
    parts = {
        "train": annotated.subset(order[held_out:]),
        "validation": annotated.subset(order[:held_out]),
        "test": test,
    }
    latents = {split: inferred(model, clips) for split, clips in parts.items()}
    events = {
        split: {name: each.step_labels[name] for name, each in having(clips).items()} for split, clips in parts.items()
    }

    def part(split: str, read: Read) -> dict[str, Steps]:
        return {
            name: Steps(read(each)[_there(each)].float(), events[split][name][_there(each)])
            for name, each in latents[split].items()
        }

    found = {}
    for name, read in readers(model).items():
        train, validation, of_test = (part(split, read) for split in parts)
        heads = {source: step_events.fit(train[source], validation[source]) for source in FINE}
        found[name] = {
            (source, target): make_row(
                "avvp",
                step_events.f1(heads[source], of_test[target]),
                source,
                target,
                n=len(of_test[target].events),
                n_train=len(train[source].events),
                constant=step_events.constant_f1(train[source], of_test[target]),
                setting=heads[source].setting,
                validation=heads[source].validation,
            )
            for source in FINE
            for target in FINE
        }
    return list(measured("avvp", found)), [*annotated.notes, *test.notes]


def _there(latents: Latents) -> Tensor:
    """Which steps have a code."""
    assert latents.codes is not None  # the models here have a codebook
    return latents.codes >= 0


def table(evaluation: Evaluation, title: str) -> str:
    """Both directions, and the heads at home, in Markdown."""
    pairs = [("video", "audio"), ("audio", "video"), ("audio", "audio"), ("video", "video")]
    arrow = "\N{RIGHTWARDS ARROW}"
    columns = [f"{one} {arrow} {other}" if one != other else f"{one} at home" for one, other in pairs]
    lines = {}
    for metric, line in LINES.items():
        rows = [row for pair in pairs for row in evaluation.select(metric, *pair)]
        lines[line] = [f"{row['value']:.3f}" for row in rows]
    return markdown(title, "task", columns, lines)


def main(arguments: Arguments) -> Path:
    """Runs the experiment; prints the table and gives back the path of its file."""
    console, preset = Console(), PRESETS[arguments.preset]
    model, clips = pretrain(arguments, preset)
    rows: list[Row] = []
    notes = [preset.says, *clips.notes]
    measure = {"ave": partial(on_ave, model, arguments, preset), "avvp": partial(on_avvp, model, arguments)}
    for task in arguments.tasks:
        of_task, of_data = measure[task]()
        rows += of_task
        notes += of_data
    chosen = [f"{row['metric']}, given {row['given']}: {row['kept']}" for row in rows if "kept" in row]
    notes += dict.fromkeys(chosen)
    evaluation = Evaluation(rows, notes)
    evaluation.save(arguments.out)
    text = "".join(f"{note}\n\n" for note in notes)
    text += table(evaluation, f"{type(model).__name__}, pretrained on {clips.name} ({len(clips)} clips)")
    path = arguments.out / "tables.md"
    write_text(path, text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"tables: {path}")
    return path


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except SourceNotFound as missing:
        raise SystemExit(str(missing)) from None
