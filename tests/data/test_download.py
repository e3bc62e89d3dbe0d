"""Absent files are fetched by torchvision, and only if that is asked for; no test reaches the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets

from mmvae.data import SourceNotFound, mnist, mnist_svhn_text, svhn

Calls = list[tuple[str, str, bool]]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, write_mnist: Callable[..., Path]) -> Calls:
    """What torchvision is asked to fetch; in its place, a few images are written where it would put them."""
    calls: Calls = []
    digits = np.arange(20, dtype=np.uint8) % 10

    def fetch_mnist(root: str, train: bool, download: bool) -> None:
        calls.append(("MNIST", root, download))
        write_mnist(Path(root), np.full((20, 28, 28), 7, np.uint8), digits, train=train)

    class FetchSVHN:
        def __init__(self, root: str, split: str, download: bool) -> None:
            calls.append(("SVHN", root, download))
            self.data, self.labels = np.full((20, 3, 32, 32), 9, np.uint8), digits.astype(np.int64)

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch_mnist)
    monkeypatch.setattr(torchvision.datasets, "SVHN", FetchSVHN)
    return calls


def test_nothing_is_fetched_unasked(fetched: Calls, tmp_path: Path) -> None:
    for read in (mnist, svhn):
        with pytest.raises(SourceNotFound, match="looked for"):
            read(tmp_path, True)
    assert fetched == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("train", [True, False])
def test_absent_files_are_fetched_if_asked_for(fetched: Calls, tmp_path: Path, train: bool) -> None:
    assert len(mnist(tmp_path, train, download=True)) == 20
    assert len(svhn(tmp_path, train, download=True)) == 20
    assert fetched == [("MNIST", str(tmp_path), True), ("SVHN", str(tmp_path / "SVHN"), True)]


def test_files_that_are_there_are_not_fetched(fetched: Calls, tmp_path: Path, write_mnist: Callable[..., Path]) -> None:
    write_mnist(tmp_path, np.zeros((3, 28, 28), np.uint8), np.arange(3))
    assert len(mnist(tmp_path, True, download=True)) == 3
    assert fetched == []


@pytest.mark.parametrize("download", [True, False])
def test_the_task_hands_the_wish_on(
    fetched: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    def rendered(labels: Any, style: str, **_: Any) -> Any:
        return labels.new_zeros(len(labels), *((1, 28, 28) if style == "plain" else (3, 32, 32))).byte()

    monkeypatch.setattr("mmvae.data.digits.rendered_digits", rendered)
    dataset = mnist_svhn_text(tmp_path, repeats=1, size=20, download=download)
    assert [name for name, *_ in fetched] == (["MNIST", "SVHN"] if download else [])
    assert dataset.name == ("MNIST-SVHN-Text" if download else "rendered plain digits-rendered street digits-Text")
    assert len(dataset.notes) == (0 if download else 2)
