"""Absent files are fetched by torchvision, and only if that is asked for; no test reaches the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from mmvae.data import SourceNotFound, mnist, mnist_svhn_text, mnist_usps_text, polymnist_or_form, svhn

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


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Black images in the place of rendered digits, which take a while."""

    def black(labels: Any, style: str, **_: Any) -> Any:
        return labels.new_zeros(len(labels), *((1, 28, 28) if style == "plain" else (3, 32, 32))).byte()

    monkeypatch.setattr("mmvae.data.digits.digit_tasks.rendered_digits", black)


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


NO_NETWORK = "<urlopen error [Errno -2] Name or service not known>"


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a network, on which torchvision fails as it does there."""

    def fetch_mnist(*_: Any, **__: Any) -> None:
        mirrors = "".join(f"Tried https://mirror{each}.org/mnist/, got:\n{NO_NETWORK}\n" for each in (1, 2))
        raise RuntimeError(f"Error downloading train-images-idx3-ubyte.gz:\n{mirrors}")

    def fetch_svhn(*_: Any, download: bool, **__: Any) -> None:
        if not download:
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch_mnist)
    monkeypatch.setattr(torchvision.datasets, "SVHN", fetch_svhn)


@pytest.mark.usefixtures("unreachable")
def test_what_cannot_be_fetched_is_not_found(tmp_path: Path) -> None:
    """In one line, which says what was sought, where, and why it did not come."""
    for read, sought in ((mnist, "train-labels-idx1-ubyte[.gz] in "), (svhn, "SVHN: looked for train_32x32.mat in ")):
        with pytest.raises(SourceNotFound) as found:
            read(tmp_path, True, download=True)
        message = str(found.value)
        assert sought in message
        assert str(tmp_path) in message
        assert message.endswith(f", and could not fetch them ({NO_NETWORK}).")
        assert "\n" not in message


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), PermissionError(), TimeoutError()])
def test_other_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    """A file that does not come whole, a folder that cannot be written to, and errors that say nothing."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets, "SVHN", fail)
    reason = str(error) or type(error).__name__
    with pytest.raises(SourceNotFound, match=rf"could not fetch them \({reason}\)"):
        svhn(tmp_path, True, download=True)


@pytest.mark.usefixtures("unreachable")
def test_rendered_digits_stand_for_what_cannot_be_fetched(rendered: None, tmp_path: Path) -> None:
    dataset = mnist_svhn_text(tmp_path, repeats=1, size=20, download=True)
    assert dataset.name == "rendered plain digits-rendered street digits-Text"
    assert len(dataset.notes) == 2
    for note, name in zip(dataset.notes, ("plain", "street"), strict=True):
        assert note.endswith(f"could not fetch them ({NO_NETWORK}). Used instead: rendered {name} digits.")


def test_a_download_needs_a_folder(fetched: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMVAE_DATA", raising=False)
    for read in (mnist, svhn):
        with pytest.raises(ValueError, match=r"needs a folder to write to; pass root= \(--data\), or set MMVAE"):
            read(None, True, download=True)
    for task in (mnist_svhn_text, mnist_usps_text, polymnist_or_form):
        with pytest.raises(ValueError, match="MNIST: download needs a folder"):
            task(download=True)
    assert fetched == []


@pytest.mark.parametrize("download", [True, False])
def test_the_task_hands_the_wish_on(fetched: Calls, rendered: None, tmp_path: Path, download: bool) -> None:
    dataset = mnist_svhn_text(tmp_path, repeats=1, size=20, download=download)
    assert [name for name, *_ in fetched] == (["MNIST", "SVHN"] if download else [])
    assert dataset.name == ("MNIST-SVHN-Text" if download else "rendered plain digits-rendered street digits-Text")
    assert len(dataset.notes) == (0 if download else 2)
