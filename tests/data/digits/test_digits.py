import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mmvae.data import decode, mnist_svhn_text, mnist_usps_text, polymnist_or_form
from mmvae.data.digits.digit_words import WORDS

REAL = os.environ.get("MMVAE_DATA")
SIZES = {"plain": (1, 28, 28), "street": (3, 32, 32)}


@pytest.fixture
def rendered(monkeypatch):
    """Rendered digits whose every pixel is the label, but the first two, which tell the seed; a record of the calls."""
    calls = []

    def stand_in(labels, style, seed=0, cache=None):
        calls.append((len(labels), style, seed, cache))
        images = labels.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, *SIZES[style]).clone()
        images[:, 0, 0, 0], images[:, 0, 0, 1] = seed % 256, seed // 256
        return images

    monkeypatch.setattr("mmvae.data.digits.digit_tasks.rendered_digits", stand_in)
    monkeypatch.delenv("MMVAE_DATA", raising=False)
    return calls


@pytest.fixture
def write_digits(write_mnist):
    """Writes MNIST files of images whose every pixel is the label, but for the first one, which is 255 in tests."""

    def write(root: Path) -> None:
        labels = np.arange(60) % 10
        for train in (True, False):
            images = np.broadcast_to(labels[:, None, None], (60, 28, 28)).astype(np.uint8)
            images[:, 0, 0] = 0 if train else 255
            write_mnist(root, images, labels, train=train)

    return write


def shown(images: torch.Tensor) -> list[int]:
    """The digits of images whose pixels are the label."""
    return (images[:, 0, 5, 5] * 255).round().long().tolist()


def test_without_any_files_everything_is_rendered_and_says_so(rendered, tmp_path):
    dataset = mnist_svhn_text(train=True, size=30, cache=tmp_path)
    assert dataset.names == ("mnist", "svhn", "text")
    assert dataset.shapes == {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8,)}
    assert dataset.sources_used == {
        "mnist": "rendered plain digits",
        "svhn": "rendered street digits",
        "text": "English digit words",
    }
    assert dataset.name == "rendered plain digits-rendered street digits-Text"
    assert len(dataset.notes) == 2
    assert "MNIST: looked for" in dataset.notes[0]
    assert "MMVAE_DATA" in dataset.notes[0]
    assert "Used instead: rendered street digits." in dataset.notes[1]
    assert all("\n" not in note for note in dataset.notes)
    assert [call[3] for call in rendered] == [tmp_path, tmp_path]


def test_the_modalities_of_a_row_show_the_same_digit(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    batch = mnist_svhn_text(tmp_path, repeats=3).everything()
    assert batch.size == 180
    assert shown(batch.data["mnist"]) == shown(batch.data["svhn"]) == batch.labels.tolist()
    assert [text.strip() for text in decode(batch.data["text"])] == [WORDS[label] for label in batch.labels.tolist()]


def test_files_are_used_where_they_are(rendered, tmp_path, write_digits, write_svhn):
    write_digits(tmp_path)
    images = np.zeros((40, 32, 32, 3), dtype=np.uint8)
    write_svhn(tmp_path, images, (np.arange(40) % 10 + 1).astype(np.uint8))
    dataset = mnist_svhn_text(tmp_path, repeats=2)
    assert dataset.name == "MNIST-SVHN-Text"
    assert dataset.notes == ()
    assert len(dataset) == 80
    assert rendered == []


def test_the_environment_names_the_folder(rendered, tmp_path, monkeypatch, write_digits):
    write_digits(tmp_path)
    monkeypatch.setenv("MMVAE_DATA", str(tmp_path))
    assert mnist_svhn_text().sources_used["mnist"] == "MNIST"


def test_as_many_street_digits_are_rendered_as_mnist_has(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    mnist_svhn_text(tmp_path)
    mnist_svhn_text(tmp_path, size=20)
    assert [call[:2] for call in rendered] == [(60, "street"), (20, "street")]


def test_training_and_test_images_differ(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    train, test = (mnist_svhn_text(tmp_path, part).everything() for part in (True, False))
    assert set(train.data["mnist"][:, 0, 0, 0].tolist()) == {0.0}
    assert set(test.data["mnist"][:, 0, 0, 0].tolist()) == {1.0}
    assert len({call[2] for call in rendered}) == 2


def test_shares_have_images_of_their_own(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    parts = [mnist_svhn_text(tmp_path, share=share, repeats=1) for share in ((0.0, 0.5), (0.5, 1.0))]
    assert [len(part) for part in parts] == [30, 30]
    assert len({call[2] for call in rendered}) == 2


def test_the_seed_pairs_anew_but_renders_the_same(rendered, tmp_path):
    first, second = mnist_svhn_text(seed=0, size=50), mnist_svhn_text(seed=1, size=50)
    assert not torch.equal(first.labels, second.labels)
    assert rendered[:2] == rendered[2:]


def test_usps_beside_mnist(rendered, tmp_path, write_digits, write_npz):
    write_digits(tmp_path)
    digits = (np.arange(30) % 10).astype(np.uint8)
    images = np.full((30, 16, 16), 0.25, dtype=np.float32)
    write_npz(
        tmp_path / "USPS" / "usps.npz", train_image=images, train_digit=digits, test_image=images, test_digit=digits
    )
    dataset = mnist_usps_text(tmp_path, repeats=2)
    assert dataset.name == "MNIST-USPS-Text"
    assert dataset.shapes["usps"] == (1, 16, 16)
    assert len(dataset) == 60
    assert dataset.notes == ()


def test_without_usps_small_digits_are_rendered_that_are_not_those_of_mnist(rendered):
    dataset = mnist_usps_text(size=20)
    assert dataset.shapes["usps"] == (1, 16, 16)
    assert dataset.sources_used["usps"] == "rendered small digits"
    assert len({call[2] for call in rendered}) == 2
    batch = dataset.everything()
    assert shown(batch.data["usps"]) == batch.labels.tolist()


def test_polymnist_falls_back_to_its_form(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    dataset = polymnist_or_form(tmp_path, size=25)
    assert dataset.name == "PolyMNIST-form (sklearn photographs)"
    assert len(dataset) == 25
    assert dataset.notes[0].endswith("Used instead: PolyMNIST-form (sklearn photographs).")
    dataset = polymnist_or_form(size=25)
    assert dataset.name == "PolyMNIST-form (rendered plain digits, sklearn photographs)"
    assert len(dataset.notes) == 2


def test_damaged_files_are_no_absent_files(rendered, tmp_path, write_digits):
    write_digits(tmp_path)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").write_bytes(b"?")
    with pytest.raises(ValueError, match="is damaged"):
        mnist_svhn_text(tmp_path)


@pytest.mark.skipif(not REAL or not (Path(REAL) / "USPS").exists(), reason="MMVAE_DATA names no folder with USPS")
def test_the_real_task_of_mnist_and_usps():
    dataset = mnist_usps_text(REAL, repeats=20)
    assert dataset.name == "MNIST-USPS-Text"
    assert len(dataset) == 20 * 7291
    batch = dataset.everything(2000)
    assert torch.bincount(batch.labels).min() > 100
    assert float(batch.data["mnist"].mean()) == pytest.approx(0.13, abs=0.02)
