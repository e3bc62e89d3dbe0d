"""MM-IMDb: posters and plots of films, and their genres."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from mmvae.choices import check_choice
from mmvae.data.image_text.pictures_with_texts import ImageText
from mmvae.data.reading import Split, checked_split, data_folder, first_that_exists, read_json, read_part, require_files

NAME = "MM-IMDb"
GENRES = (
    "Drama", "Comedy", "Romance", "Thriller", "Crime", "Action", "Adventure", "Horror", "Documentary", "Mystery",
    "Sci-Fi", "Fantasy", "Family", "Biography", "War", "History", "Music", "Animation", "Musical", "Western", "Sport",
    "Short", "Film-Noir",
)  # fmt: skip
"""The 23 genres that are predicted, the most frequent one first."""

Plots = Literal["all", "first"]
"""Each plot of a film a data point of its own, with the film's poster; or the first one alone."""

_PARTS = {"train": ("train",), "validation": ("dev", "val", "validation"), "test": ("test",)}


def mm_imdb(root: Path | str | None = None, split: Split = "train", *, plots: Plots = "all") -> ImageText:
    """MM-IMDb: a poster, a plot, and any number of 23 genres; groups are films.

    Expects ``split.json``, which lists the films of ``train``, ``dev`` and ``test``, and for each film
    ``dataset/<film>.json`` with a list ``"plot"`` and a list ``"genres"``, and ``dataset/<film>.jpeg``; in the root, or
    in ``mmimdb`` or ``MM-IMDb`` below it. Other genres than the 23 count for nothing. Films without a plot are left
    out; the notes say how many.

    Args:
        root: the folder of data sets; the environment variable ``MMVAE_DATA`` by default.
        split: 15,552 films to train on, 2,608 to validate with, 7,799 to test with.
        plots: each of a film's plots, as in the protocol of missing-aware prompts, or the first.

    Raises:
        SourceNotFound: if a file is absent.
        ValueError: if one is damaged.

    Source: Arevalo et al. 2017 (Gated Multimodal Units).
    """
    checked_split(split)
    check_choice("plots", plots, get_args(Plots))
    folder = data_folder(NAME, root, ("mmimdb", "MM-IMDb"), "split.json")
    films = read_part(NAME, folder / "split.json", _PARTS[split], "films")
    facts = first_that_exists(NAME, [folder / "dataset", folder / "labels"])
    posters = facts if facts.name == "dataset" else folder / "images"  # the layout in which some mirrors have it
    require_files(NAME, [facts / f"{film}.json" for film in films])
    images: list[Path] = []
    texts: list[str] = []
    labels: list[list[int]] = []
    groups: list[int] = []
    plotless = 0
    for film in films:
        told, genres = _told(facts / f"{film}.json")
        if not told:
            plotless += 1
            continue
        kept = told if plots == "all" else told[:1]
        group = groups[-1] + 1 if groups else 0
        images += [posters / f"{film}.jpeg"] * len(kept)
        texts += kept
        labels += [[int(genre in genres) for genre in GENRES]] * len(kept)
        groups += [group] * len(kept)
    require_files(NAME, images)
    notes = (f"{NAME}: {plotless} of {len(films)} films have no plot and are left out.",) if plotless else ()
    return ImageText(
        NAME, tuple(images), tuple(texts), torch.tensor(labels), GENRES, torch.tensor(groups, dtype=torch.int64), notes
    )


def _told(path: Path) -> tuple[list[str], set[str]]:
    """The plots and the genres of a film."""
    facts: Any = read_json(NAME, path)
    if not isinstance(facts, dict) or not isinstance(facts.get("genres"), list):
        raise ValueError(f'{NAME}: {path} should be an object with a list "plot" and a list "genres".')
    plots = facts.get("plot") or []
    plots = [plots] if isinstance(plots, str) else plots
    return [str(plot).strip() for plot in plots if str(plot).strip()], set(facts["genres"])
