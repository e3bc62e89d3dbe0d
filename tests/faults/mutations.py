"""Files that are changed at random: what reads them must notice, or give the same as before."""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import resource
import shutil
import signal
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from faults.harness import (
    Experiment,
    empty_folder,
    end_of,
    in_child,
    make_data,
    make_model,
    print_of,
    timeless,
    train,
    undisturbed,
)
from PIL import Image

import mmvae
from mmvae import Batch, likelihoods
from mmvae.data import Missingness, mapped, write_mapped
from mmvae.data.birds.cub_words import CaptionVocabulary
from mmvae.data.clips.clip_files import by_chunks, opened_h5
from mmvae.data.digits.digit_files import _read_idx
from mmvae.data.image_text.image_files import ImageFiles
from mmvae.data.reading import read_array, read_json_lines, read_records
from mmvae.evaluation import Evaluation
from mmvae.evaluation.judges import train_classifiers
from mmvae.storage import read_tensors
from mmvae.training.config_file import description_digest, read_configuration
from mmvae.training.journal import read_metrics
from mmvae.training.saving import write_weights

REFUSED = "refused by an error that names the file"
SAME = "read as before"
AGAIN = "noticed, and made again"
OTHER = "read as other values, which the format does not tell"
CHECKED = "refused by an error that names modality and row"

# Changes of bytes.


def flip(random_: random.Random, content: bytearray) -> bytearray:
    place = random_.randrange(len(content))
    content[place] ^= 1 << random_.randrange(8)
    return content


def replace(random_: random.Random, content: bytearray) -> bytearray:
    start = random_.randrange(len(content))
    stop = min(len(content), start + random_.choice([1, 4, 64, 1000]))
    content[start:stop] = bytes(stop - start) if random_.random() < 0.5 else random_.randbytes(stop - start)
    return content


def cut(random_: random.Random, content: bytearray) -> bytearray:
    return content[: random_.randrange(len(content))]


def leave_out(random_: random.Random, content: bytearray) -> bytearray:
    start = random_.randrange(len(content))
    del content[start : start + random_.choice([1, 8, 100])]
    return content


def repeat(random_: random.Random, content: bytearray) -> bytearray:
    start = random_.randrange(len(content))
    part = content[start : start + random_.choice([1, 8, 100])]
    return content[:start] + part + content[start:]


def lie_about_length(random_: random.Random, content: bytearray) -> bytearray:
    """A safetensors header of another length, or a number of an .npy or .json file with more digits."""
    if random_.random() < 0.5:
        content[:8] = struct.pack("<Q", random_.choice([0, 1, 2**20, 2**40, 2**63]))
        return content
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    place = random_.choice(digits) if digits else 0
    return content[:place] + b"9" * random_.choice([1, 6, 12, 5000]) + content[place:]


def nest(random_: random.Random, content: bytearray) -> bytearray:
    place = random_.randrange(len(content))
    return content[:place] + random_.choice([b"[", b'{"a":', b"("]) * random_.choice([10, 100_000]) + content[place:]


BYTES = (flip, replace, cut, leave_out, repeat, lie_about_length, nest)

# Changes of JSON, which stays JSON.

STRANGE = [None, True, -1, 0, 1e308, float("nan"), 10**30, 10**9, "", "x" * 1000, [], {}, [[]], {"class": "nn.ViT"}]


def change_json(random_: random.Random, value: Any) -> Any:
    """JSON with one entry changed, left out, or put in."""
    value = copy.deepcopy(value)
    places = list(containers(value))
    container = random_.choice(places)
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not keys or random_.random() < 0.1:
        strange = random_.choice(STRANGE)
        container.append(strange) if isinstance(container, list) else container.update(later=strange)
        return value
    key = random_.choice(keys)
    kind = random_.random()
    if kind < 0.25:
        del container[key]
    elif kind < 0.5 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        container[key] = random_.choice([container[key] + 1, container[key] * 1000, -container[key], 10**9])
    else:
        container[key] = random_.choice(STRANGE)
    return value


def containers(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


# What is read.


def outcome_of(read: Callable[[], Any], path: Path, before: Any, other: bool = False) -> str:
    """Reads a changed file.

    Args:
        read: Gives something that can be compared.
        path: Of the file, or of the folder that holds it.
        before: What it gave of the file as it was written.
        other: Whether other values may come of a file that cannot tell.
    """
    try:
        found = read()
    except (ValueError, OSError) as error:
        if str(path) in str(error):
            return REFUSED
        names_the_data = str(error).partition(":")[0] in make_data()
        return CHECKED if names_the_data else f"{type(error).__name__} without the file: {error}"[:200]
    except Exception as error:
        return f"raw {type(error).__name__}: {error}"[:200]
    if found == before:
        return SAME
    return OTHER if other else "other values, without a word"


def mutated(random_: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random_.choice([1, 1, 1, 2, 5])):
        if content:
            content = random_.choice(BYTES)(random_, content)
    path.write_bytes(content)


@cache
def written() -> dict[str, dict[str, bytes]]:
    """The files of each kind, as they were written: ``{kind: {relative path: content}}``."""
    kinds: dict[str, Callable[[Path], object]] = {
        "model": lambda folder: mmvae.save(make_model(), folder),
        "run": lambda folder: train(folder, validation=True, epochs=2),
        "evaluation": lambda folder: Evaluation(
            [{"metric": "elbo", "given": "a", "target": "b", "value": 1.5, "stderr": 0.1, "n": 10}],
            ["a note"],
            {"k": 1},
        ).save(folder),
        "classifiers": lambda folder: judges(folder),
        "features": lambda folder: features(folder),
        "mapped": lambda folder: write_mapped(folder / "data", [make_data()]),
        "missingness": lambda folder: Missingness.draw(50, {"a": 0.3, "b": 0.2}).save(folder / "table.npz"),
        "vocabulary": lambda folder: CaptionVocabulary(["red", "bird"], 5).save(folder / "words.json"),
        "clip": lambda folder: np.save(folder / "clip.npy", np.arange(12.0).reshape(3, 4)),
        "idx": lambda folder: (folder / "digits-idx3-ubyte.gz").write_bytes(gzip.compress(IDX)),
        "picture": lambda folder: Image.fromarray(PIXELS).save(folder / "a.png"),
        "hdf5": write_hdf5,
        "list": lambda folder: (folder / "list.csv").write_text(TABLE),
        "lines": lambda folder: (folder / "lines.jsonl").write_text('{"img": "a", "text": "b"}\n' * 5),
    }
    found = {}
    for kind, write in kinds.items():
        with empty_folder() as folder:
            write(folder)
            files = [path for path in folder.rglob("*") if path.is_file() and path.name != "evaluation.csv"]
            files = [path for path in files if "tensorboard" not in path.parts]
            found[kind] = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return found


PIXELS = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
IDX = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in (4, 5, 5)) + bytes(range(100))

TABLE = "video_id\tcategory\n" + "".join(f"clip_{number}\tclass {number % 3}\n" for number in range(15))


def put(kind: str, folder: Path) -> None:
    for name, content in written()[kind].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def judges(folder: Path) -> Any:
    data = Batch({"a": torch.eye(3).repeat(10, 1)}, labels=torch.arange(30) % 3)
    modalities = [mmvae.Modality("a", (3,), likelihoods.Normal())]
    (judge,) = train_classifiers(data, modalities, steps=3, batch_size=10, cache=folder).values()
    return print_of(judge.state_dict())


def features(folder: Path) -> Any:
    torch.manual_seed(0)
    vit = mmvae.nn.ViT((1, 4, 4), patch=2, dim=4, depth=1, heads=2)
    model = mmvae.models.LateFusion({"image": vit}, 3)
    found = model.features({"image": torch.linspace(0, 1, 64).reshape(4, 1, 4, 4)}, cache=folder)
    return found.data["image"].clone().numpy().tobytes()


def write_hdf5(folder: Path) -> None:
    with h5py.File(folder / "audio.h5", "w") as file:
        file["array"] = np.arange(60.0).reshape(5, 4, 3)


def clips_of(folder: Path) -> Any:
    with opened_h5("clips", folder / "audio.h5", "array") as array:
        return by_chunks(array, [3, 0, 4], lambda values: torch.from_numpy(values.astype(np.float32))).tolist()


def data_of(folder: Path) -> Any:
    batch = mapped(folder / "data").everything()
    return {name: value.numpy().tobytes() for name, value in batch.data.items()}


READERS: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "model": (lambda folder: print_of(mmvae.load(folder).state_dict()), False),
    "evaluation": (lambda folder: vars(Evaluation.load(folder)), True),
    "classifiers": (judges, False),
    "features": (features, False),
    "mapped": (data_of, True),
    "missingness": (lambda folder: Missingness.load(folder / "table.npz").hash, False),
    "vocabulary": (lambda folder: vars(CaptionVocabulary.load(folder / "words.json")), True),
    "clip": (lambda folder: read_array("clips", folder / "clip.npy").tolist(), True),
    "idx": (lambda folder: _read_idx(folder / "digits-idx3-ubyte.gz", 3).tolist(), False),
    "picture": (lambda folder: ImageFiles([folder / "a.png"], 8)._picture(0).tolist(), True),
    "hdf5": (clips_of, True),
    "list": (lambda folder: read_records("clips", folder / "list.csv", "\t"), True),
    "lines": (lambda folder: list(read_json_lines("memes", folder / "lines.jsonl", ["img"])), True),
}
"""What reads the files of a kind, and whether their format cannot tell other values."""


def of_kind(kind: str) -> Callable[[random.Random, Path], str]:
    read, other = READERS[kind]

    def trial(random_: random.Random, folder: Path) -> str:
        put(kind, folder)
        before = known(kind)
        path = folder / random_.choice(sorted(written()[kind]))
        mutated(random_, path)
        return outcome_of(lambda: read(folder), folder, before, other)

    return trial


@cache
def known(kind: str) -> Any:
    with empty_folder() as folder:
        put(kind, folder)
        return READERS[kind][0](folder)


def checkpoint(random_: random.Random, folder: Path) -> str:
    put("run", folder)
    mutated(random_, folder / "checkpoints" / "last.safetensors")
    known = undisturbed(True)

    def read() -> Any:
        run = train(folder, validation=True)
        return print_of(run.model.state_dict()), timeless(run.metrics)

    return outcome_of(read, folder, (known.end, known.metrics))


def metrics(random_: random.Random, folder: Path) -> str:
    put("run", folder)
    path = folder / "metrics.csv"
    before = read_metrics(path)
    mutated(random_, path)
    return outcome_of(lambda: read_metrics(path), path, before, other=True)


def configuration(random_: random.Random, folder: Path) -> str:
    """A description that is still JSON."""
    put("model", folder)
    path = folder / "config.json"
    path.write_text(json.dumps(change_json(random_, json.loads(path.read_text()))))
    return outcome_of(lambda: print_of(mmvae.load(folder).state_dict()), folder, known("model"))


LOADED = "loaded with the same weights"


def malicious(random_: random.Random, folder: Path) -> str:
    """A description that is still JSON, with weights that claim to belong to it; within limits of time and memory."""
    put("model", folder)
    path = folder / "config.json"
    tensors, _ = read_tensors(folder / "model.safetensors")
    config = json.loads(path.read_text())
    for _ in range(random_.choice([1, 2, 4])):
        config["model"] = change_json(random_, config["model"])
    path.write_text(json.dumps(config))
    try:
        write_weights(folder, tensors, description_digest(read_configuration(folder)))
    except ValueError as error:
        return REFUSED if str(path) in str(error) else f"{error}"

    def work() -> int:
        signal.alarm(20)
        resource.setrlimit(resource.RLIMIT_AS, (in_use() + 2**30, resource.RLIM_INFINITY))
        outcome = outcome_of(lambda: print_of(mmvae.load(folder).state_dict()), folder, known("model"))
        return {REFUSED: 10, SAME: 11}.get(outcome, 12)

    code = end_of(in_child(work))
    return {10: REFUSED, 11: LOADED}.get(code, f"ended with {code} for {json.dumps(config['model'])[:300]}")


def in_use() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def quotes(random_: random.Random, folder: Path) -> str:
    """Quotes put anywhere into a list: rows must not be lost."""
    lines = TABLE.splitlines()
    for _ in range(random_.randint(1, 3)):
        row = random_.randrange(len(lines))
        place = random_.choice([0, lines[row].index("\t") + 1, len(lines[row])])
        lines[row] = f'{lines[row][:place]}"{lines[row][place:]}'
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return outcome_of(lambda: len(read_records("clips", path, "\t")), path, len(lines))


def reader_beside_writer(random_: random.Random, folder: Path) -> str:
    """A hundred readings of a checkpoint that another process replaces all the while."""
    from mmvae.storage import read_state, write_state

    path, parent = folder / "state.safetensors", os.getpid()

    def state(number: int) -> dict[str, Any]:
        return {"number": number, "text": "x" * (number % 40), "x": torch.full((20_000,), float(number))}

    def work() -> None:
        number = 0
        while os.getppid() == parent:
            number += 1
            write_state(path, state(number))

    write_state(path, state(0))
    child = in_child(work)
    try:
        for _ in range(100):
            found = read_state(path)
            if not bool((found["x"] == found["number"]).all()):
                return "torn: tensors of another state than the rest"
    except (ValueError, OSError) as error:
        return f"torn: {error}"[:200]
    finally:
        os.kill(child, signal.SIGKILL)
        end_of(child)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return "100 readings, none torn"


def fuzz(title: str, kind: str, short: int, *allowed: str) -> Experiment:
    return Experiment(title, of_kind(kind), (SAME, REFUSED, *allowed), short)


EXPERIMENTS = [
    fuzz("changed bytes: model (config.json, model.safetensors)", "model", 25),
    Experiment("changed bytes: checkpoint, then resumed", checkpoint, (SAME, REFUSED), 8),
    Experiment("changed entries of config.json", configuration, (SAME, REFUSED), 15),
    Experiment("changed entries of config.json, digests made to fit", malicious, (LOADED, REFUSED), 6),
    Experiment("changed bytes: metrics.csv", metrics, (SAME, REFUSED, OTHER), 10),
    fuzz("changed bytes: evaluation.json", "evaluation", 10, OTHER),
    fuzz("changed bytes: cache of classifiers", "classifiers", 6),
    fuzz("changed bytes: cache of features", "features", 6),
    fuzz("changed bytes: data on disk (.npy)", "mapped", 10, OTHER, CHECKED),
    fuzz("changed bytes: clip (.npy)", "clip", 10, OTHER),
    fuzz("changed bytes: digits (.gz)", "idx", 10),
    fuzz("changed bytes: picture (.png)", "picture", 10, OTHER),
    fuzz("changed bytes: clips (.h5)", "hdf5", 10, OTHER),
    fuzz("changed bytes: table of missingness (.npz)", "missingness", 10),
    fuzz("changed bytes: vocabulary (.json)", "vocabulary", 10, OTHER),
    fuzz("changed bytes: list of clips (.csv)", "list", 10, OTHER),
    fuzz("changed bytes: lines of JSON", "lines", 10, OTHER),
    Experiment("stray quotes in a list of clips", quotes, (SAME, REFUSED), 20),
    Experiment("reader beside a writer", reader_beside_writer, ("100 readings, none torn",), 1),
]
