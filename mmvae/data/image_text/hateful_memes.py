"""Hateful Memes: pictures with a line of text, hateful or not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from mmvae.choices import check_choice
from mmvae.data.image_text.pictures_with_texts import ImageText
from mmvae.data.reading import data_folder, first_that_exists, read_json_lines, require_files

NAME = "Hateful Memes"
CLASSES = ("not hateful", "hateful")

Part = Literal["train", "validation", "test", "validation_unseen", "test_unseen"]
"""The parts of the first phase of the challenge, and those of its second."""

_FILES = {
    "train": ("train",),
    "validation": ("dev_seen", "dev"),
    "test": ("test_seen", "test"),
    "validation_unseen": ("dev_unseen",),
    "test_unseen": ("test_unseen",),
}


def hateful_memes(root: Path | str | None = None, split: Part = "train") -> ImageText:
    """Hateful Memes: a picture, the line of text in it, and whether the two together are hateful (class 1).

    Expects ``train.jsonl``, ``dev_seen.jsonl``, ``test_seen.jsonl``, ``dev_unseen.jsonl`` and ``test_unseen.jsonl``,
    objects with ``id``, ``img`` (``img/<file>``), ``label`` and ``text``, and the folder ``img``; in the root, or in
    ``hateful_memes`` below it.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: ``"validation"`` and ``"test"`` are ``dev_seen`` and ``test_seen``, as in the literature.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if one is damaged, or has no labels, as the test files of the challenge had at first.

    Source: Kiela et al. 2020 (The Hateful Memes Challenge).
    """
    check_choice("split", split, get_args(Part))
    folder = data_folder(NAME, root, ("hateful_memes", "HatefulMemes"), "train.jsonl")
    path = first_that_exists(NAME, [folder / f"{name}.jsonl" for name in _FILES[split]])
    memes = list(read_json_lines(NAME, path, ("img", "text")))
    unlabelled = [meme for meme in memes if meme.get("label") not in (0, 1)]
    if unlabelled or not memes:
        raise ValueError(
            f"{NAME}: {len(unlabelled)} of {len(memes)} memes in {path} have no label 0 or 1; the file with labels was "
            f"published after the challenge."
        )
    images = tuple(folder / meme["img"] for meme in memes)
    require_files(NAME, images)
    return ImageText(
        NAME,
        images,
        tuple(meme["text"] for meme in memes),
        torch.tensor([int(meme["label"]) for meme in memes]),
        CLASSES,
        torch.arange(len(memes)),
    )
