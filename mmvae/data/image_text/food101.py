"""UPMC Food-101: photographs of dishes, and the titles of the pages that they were found on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch

from mmvae.data.image_text.pictures_with_texts import ImageText
from mmvae.data.reading import Split, checked_split, data_folder, read_part, read_records, require_files

NAME = "UPMC Food-101"

_PARTS = {"train": ("train",), "validation": ("val", "dev", "validation"), "test": ("test",)}
_VALIDATION = 0.1
_SUFFIXES = (".jpg", ".jpeg", ".png")


def food101(root: Path | str | None = None, split: Split = "train") -> ImageText:
    """UPMC Food-101: a photograph, a title, and one of 101 dishes.

    Expects ``texts/train_titles.csv`` and ``texts/test_titles.csv``, with lines ``<file>,<title>,<dish>``, and the
    photographs ``images/{train,test}/<dish>/<file>``; in the root, or in ``food101`` or ``UPMC_Food101`` below it.
    Photographs without a title are left out; the notes say how many.

    Training and validation data come from the same list. If there is a ``split.json`` with lists of files
    ``train`` and ``val``, it says which are which; otherwise a tenth of each dish, always the same, is for validation.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: which part.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if one is damaged.

    Source: Wang et al. 2015 (recipe recognition with a large multimodal food data set).
    """
    checked_split(split)
    folder = data_folder(NAME, root, ("food101", "UPMC_Food101", "UPMC-Food-101"), "texts/train_titles.csv")
    part = "test" if split == "test" else "train"
    listed = _read(folder / "texts" / f"{part}_titles.csv")
    dishes = tuple(sorted({dish for _, _, dish in _read(folder / "texts" / "train_titles.csv")}))
    unknown = sorted({dish for _, _, dish in listed} - set(dishes))
    if unknown:
        raise ValueError(f"{NAME}: {unknown[0]!r} of {part}_titles.csv is no dish of train_titles.csv.")
    chosen = _listed_in_split(folder / "split.json", split)
    rows = [row for row in listed if (chosen is None or row[0] in chosen) and row[1]]
    untitled = sum((chosen is None or file in chosen) and not title for file, title, _ in listed)
    images = tuple(folder / "images" / part / dish / file for file, _, dish in rows)
    require_files(NAME, images)
    data = ImageText(
        NAME,
        images,
        tuple(title for _, title, _ in rows),
        torch.tensor([dishes.index(dish) for _, _, dish in rows]),
        dishes,
        torch.arange(len(rows)),
        (f"{NAME}: {untitled} photographs of {part}_titles.csv have no title and are left out.",) if untitled else (),
    )
    if chosen is not None or split == "test":
        return data
    return data.share(0, 1 - _VALIDATION) if split == "train" else data.share(1 - _VALIDATION, 1)


def _read(path: Path) -> list[tuple[str, str, str]]:
    """File, title and dish of each line; a heading is passed over."""
    require_files(NAME, [path])
    listed = []
    for number, cells in read_records(NAME, path, begins_record=_begins_with_a_file):
        name = PurePosixPath(cells[0].strip()).name
        if not name.lower().endswith(_SUFFIXES):
            if number == 1:
                continue
            raise ValueError(f"{NAME}: line {number} of {path} should begin with a file name, got {cells[0]!r}.")
        if len(cells) < 2:
            raise ValueError(f"{NAME}: line {number} of {path} should be <file>,<title>,<dish>.")
        dish = cells[2].strip() if len(cells) > 2 else name.rpartition("_")[0]
        listed.append((name, cells[1].strip(), dish))
    if not listed:
        raise ValueError(f"{NAME}: {path} lists no photograph; fetch it again.")
    return listed


def _begins_with_a_file(line: str) -> bool:
    return line.partition(",")[0].strip().lower().endswith(_SUFFIXES)


def _listed_in_split(path: Path, split: Split) -> set[str] | None:
    """The files of a part, if there is a file that says so."""
    if not path.is_file():
        return None
    return {PurePosixPath(file).name for file in read_part(NAME, path, _PARTS[split], "files")}
