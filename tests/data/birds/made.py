"""Writes small sets of bird images and captions in the layouts of CUB-200-2011."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mmvae.data.birds.cub_files import TEST_SPECIES

SPECIES = {
    1: "001.Black_footed_Albatross",
    2: "002.Laysan_Albatross",
    4: "004.Groove_billed_Ani",
    5: "005.Crested_Auklet",
}
"""Of the classes, 1 and 4 are kept for testing where the split is by class."""


def colour(species: int, number: int) -> tuple[int, int, int]:
    """Of an image, which tells which one it is."""
    return 20 * species, 20 * number, 200


def captions(species: int, number: int) -> list[str]:
    """Ten captions, which tell the image that they are of."""
    return [f"This bird of class {species}, number {number}, has {line} wings." for line in range(10)]


def write_images(root: Path, per_species: int = 4) -> list[tuple[str, int, int]]:
    """Images of one colour, 80 x 60, but for their left quarter, which is white; the lists are not in their order.

    The official split trains on the images of even numbers. The boxes are 40 x 40, at the right edge.

    Returns:
        Path, class and number of each image, in the order of folders and names.
    """
    folder = root / "CUB_200_2011"
    birds = [
        (f"{name}/{name[4:]}_{number:04d}_{9000 - number}.jpg", species, number)
        for species, name in SPECIES.items()
        for number in range(per_species)
    ]
    for path, species, number in birds:
        file = folder / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (80, 60), colour(species, number))
        image.paste((255, 255, 255), (0, 0, 20, 60))
        image.save(file, quality=95)
    lists: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    for key, (path, species, number) in enumerate(reversed(birds), 1):
        lists["images"].append(f"{key} {path}")
        lists["image_class_labels"].append(f"{key} {species}")
        lists["train_test_split"].append(f"{key} {1 - number % 2}")
        lists["bounding_boxes"].append(f"{key} 40.0 10.0 40.0 40.0")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return birds


def write_caption_folder(root: Path, birds: list[tuple[str, int, int]], folder: str = "cvpr2016_cub/text_c10") -> None:
    """A file of ten captions for each image, as Reed et al. 2016 publish them."""
    for path, species, number in birds:
        file = (root / folder / path).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(captions(species, number)) + "\n")


def write_caption_files(root: Path, birds: list[tuple[str, int, int]]) -> None:
    """A file for the classes to train on and one for those to test on, as MMVAE ships them."""
    for name, train in (("trainval", True), ("test", False)):
        lines = [
            line
            for _, species, number in birds
            if (species not in TEST_SPECIES) is train
            for line in captions(species, number)
        ]
        root.mkdir(parents=True, exist_ok=True)
        (root / f"text_{name}classes.txt").write_text("\n".join(lines) + "\n")
