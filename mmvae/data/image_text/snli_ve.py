"""SNLI-VE: does a picture entail a sentence, contradict it, or neither?"""

from __future__ import annotations

from pathlib import Path

import torch

from mmvae.data.image_text.pictures_with_texts import ImageText
from mmvae.data.images import data_root
from mmvae.data.reading import Split, checked_split, data_folder, first_that_exists, read_json_lines, require_files

NAME = "SNLI-VE"
CLASSES = ("entailment", "neutral", "contradiction")

_FILES = {"train": "snli_ve_train.jsonl", "validation": "snli_ve_dev.jsonl", "test": "snli_ve_test.jsonl"}
_FOLDERS = ("flickr30k_images", "flickr30k-images", "images")
_IDS = ("Flickr30K_ID", "Flikr30kID")
"""The field of the files, and its name in their description."""


def snli_ve(root: Path | str | None = None, split: Split = "train") -> ImageText:
    """SNLI-VE: a picture as premise, a sentence as hypothesis, and one of three relations.

    Expects ``snli_ve_{train,dev,test}.jsonl``, objects with ``Flickr30K_ID``, ``sentence2`` and ``gold_label``, in the
    root or in ``SNLI-VE`` or ``snli_ve`` below it, and the pictures of Flickr30K, ``flickr30k_images/<id>.jpg``,
    beside these files or in the root. Sentences on which the annotators did not agree are left out; the notes say how
    many.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: which part; no picture is in two of them.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if one is damaged.

    Source: Xie et al. 2019 (Visual Entailment).
    """
    checked_split(split)
    folder = data_folder(NAME, root, ("SNLI-VE", "snli_ve", "SNLI-VE/data"), _FILES[split])
    places = [place for place in dict.fromkeys((folder, data_root(root))) if place is not None]
    pictures = first_that_exists(NAME, [place / name for place in places for name in _FOLDERS])
    images, texts, labels, undecided = [], [], [], 0
    for item in read_json_lines(NAME, folder / _FILES[split], ("sentence2", "gold_label")):
        if item["gold_label"] not in CLASSES:
            undecided += 1
            continue
        number = next((str(item[field]) for field in _IDS if field in item), None)
        if number is None:
            raise ValueError(f"{NAME}: {folder / _FILES[split]} should say which picture, as {_IDS[0]}.")
        images.append(pictures / f"{number.removesuffix('.jpg')}.jpg")
        texts.append(item["sentence2"])
        labels.append(CLASSES.index(item["gold_label"]))
    require_files(NAME, images)
    return ImageText(
        NAME,
        tuple(images),
        tuple(texts),
        torch.tensor(labels),
        CLASSES,
        torch.arange(len(labels)),
        (f"{NAME}: {undecided} sentences without an agreed label are left out.",) if undecided else (),
    )
