"""Writes small data sets of images with texts, in the layouts in which they are published."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> None:
    """An image of one colour, but for white bands at the left and the right, a sixth of its width each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (255, 255, 255))
    band = size[0] // 6
    image.paste(colour, (band, 0, size[0] - band, size[1]))
    image.save(path, quality=95)


def lines(path: Path, items: Sequence[Mapping[str, object]]) -> None:
    """An object in each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def write_mm_imdb(root: Path, films: int = 12, folder: str = "dataset") -> None:
    """Film n is of part n mod 3 (train, dev, test), has n mod 3 plots in the training set and one elsewhere.

    Films 0, 3, 6, ... are the training set: 0 has no plot, 3 one, 6 two, 9 three. Genres go by n mod 4.
    """
    genres = (["Drama"], ["Comedy", "Romance"], ["Film-Noir", "Reality-TV"], ["News"])
    parts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for number in range(films):
        film = f"{number:07d}"
        part = list(parts)[number % 3]
        parts[part].append(film)
        count = number // 3 % 4 if part == "train" else 1
        facts = {"plot": [f"Plot {each} of film {number}." for each in range(count)], "genres": genres[number % 4]}
        posters = root / (folder if folder == "dataset" else "images")
        picture(posters / f"{film}.jpeg", (20 * number, 100, 50))
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{film}.json").write_text(json.dumps(facts))
    (root / "split.json").write_text(json.dumps(parts))


DISHES = ("apple_pie", "baby_back_ribs", "pho")


def write_food101(root: Path, per_dish: int = 10) -> None:
    """The first training photograph of each dish has no title; half as many are for testing."""
    (root / "texts").mkdir(parents=True, exist_ok=True)
    for part, count in (("train", per_dish), ("test", per_dish // 2)):
        rows = []
        for place, dish in enumerate(DISHES):
            for number in range(count):
                file = f"{dish}_{number}.jpg"
                picture(root / "images" / part / dish / file, (80 * place, 10 * number, 90))
                title = "" if part == "train" and number == 0 else f"How to cook, {dish} number {number}"
                rows.append((file, title, dish))
        with (root / "texts" / f"{part}_titles.csv").open("w", newline="") as file_of_titles:
            csv.writer(file_of_titles).writerows(rows)


def write_hateful_memes(root: Path, memes: int = 8) -> None:
    """Memes of odd numbers are hateful; ``test_unseen`` has no labels."""
    for part, start in (("train", 0), ("dev_seen", 100), ("test_seen", 200), ("test_unseen", 300)):
        items: list[dict[str, object]] = []
        for number in range(start, start + memes):
            image = f"img/{number:05d}.png"
            picture(root / image, (number % 100 * 20, 30, 60))
            items.append({"id": number, "img": image, "text": f"meme number {number}", "label": number % 2})
        if part == "test_unseen":
            items = [{key: value for key, value in item.items() if key != "label"} for item in items]
        lines(root / f"{part}.jsonl", items)


def write_snli_ve(root: Path, folder: str = "flickr30k_images") -> None:
    """Three pictures in each part, with a sentence of each label, and one that was not agreed on."""
    for place, part in enumerate(("train", "dev", "test")):
        items: list[dict[str, object]] = []
        for number in range(3):
            picture(root / folder / f"{place}{number}.jpg", (60 * number, 60 * place, 20))
            items += [
                {"Flickr30K_ID": f"{place}{number}", "sentence2": f"{label} of {number}", "gold_label": label}
                for label in ("contradiction", "entailment", "neutral", "-")
            ]
        lines(root / f"snli_ve_{part}.jsonl", items)
