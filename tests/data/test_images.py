import ast
from pathlib import Path

import pytest
import torch

import mmvae.data
from mmvae.data import LabelledImages, data_root


def deck(num: int = 100, groups: torch.Tensor | None = None) -> LabelledImages:
    images = torch.arange(num, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    return LabelledImages(images, torch.arange(num) % 4, "deck", groups)


def numbers(part: LabelledImages) -> set[int]:
    return set(part.images.flatten().tolist())


def test_shares_are_disjoint_and_cover_everything():
    first, second, third = (deck().share(*cut, seed=3) for cut in ((0, 0.3), (0.3, 0.55), (0.55, 1)))
    assert not numbers(first) & numbers(second)
    assert not numbers(second) & numbers(third)
    assert numbers(first) | numbers(second) | numbers(third) == set(range(100))


def test_a_share_keeps_the_proportions_of_the_classes_and_the_labels_of_the_images():
    part = deck().share(0.2, 0.6)
    assert torch.bincount(part.labels).tolist() == [10, 10, 10, 10]
    assert torch.equal(part.labels, part.images.flatten().long() % 4)


def test_another_seed_cuts_elsewhere():
    assert numbers(deck().share(0, 0.5, seed=0)) == numbers(deck().share(0, 0.5, seed=0))
    assert numbers(deck().share(0, 0.5, seed=0)) != numbers(deck().share(0, 0.5, seed=1))


def test_groups_are_never_split():
    images = deck(groups=torch.arange(100) // 7)
    first, second = images.share(0, 0.6), images.share(0.6, 1)
    assert not set(first.groups.tolist()) & set(second.groups.tolist())
    assert len(first) + len(second) == 100


@pytest.mark.parametrize("cut", [(0.5, 0.5), (-0.1, 1), (0, 1.1), (0.7, 0.2)])
def test_a_share_must_be_a_share(cut):
    with pytest.raises(ValueError, match="share"):
        deck().share(*cut)


def test_an_empty_share_is_an_error():
    with pytest.raises(ValueError, match="no image lies between"):
        deck(4).share(0, 0.1)


def test_images_and_labels_must_fit():
    with pytest.raises(ValueError, match="3 images need as many labels"):
        LabelledImages(torch.zeros(3, 1, 2, 2), torch.zeros(2, dtype=torch.int64), "x")
    with pytest.raises(ValueError, match="N, C, H, W"):
        LabelledImages(torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.int64), "x")
    with pytest.raises(TypeError, match="uint8"):
        LabelledImages(torch.zeros(3, 1, 2, 2).double(), torch.zeros(3, dtype=torch.int64), "x")
    with pytest.raises(TypeError, match="int64"):
        LabelledImages(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int32), "x")


def test_the_folder_given_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MMVAE_DATA", "elsewhere")
    assert data_root(tmp_path) == tmp_path
    assert str(data_root()) == "elsewhere"
    monkeypatch.delenv("MMVAE_DATA")
    assert data_root() is None


def test_heavy_packages_are_loaded_where_they_are_used():
    heavy = {"torchvision", "sklearn", "scipy", "matplotlib"}
    for path in Path(mmvae.data.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:  # the top level alone
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not heavy & {name.split(".")[0] for name in names}
