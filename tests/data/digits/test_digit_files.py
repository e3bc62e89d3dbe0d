import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from mmvae.data import SourceNotFound, mnist, svhn, svhn_sample, usps

REAL = Path(os.environ["MMVAE_DATA"]) if os.environ.get("MMVAE_DATA") else None


def needs(*files: str) -> pytest.MarkDecorator:
    there = REAL is not None and all((REAL / file).exists() for file in files)
    return pytest.mark.skipif(not there, reason=f"MMVAE_DATA names no folder with {', '.join(files)}")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_mnist_is_read_bit_for_bit(tmp_path, pixels, packed, train, write_mnist):
    write_mnist(tmp_path, pixels, np.arange(7), train=train, packed=packed)
    read = mnist(tmp_path, train)
    assert read.images.dtype == torch.uint8
    assert np.array_equal(read.images[:, 0].numpy(), pixels)
    assert read.labels.tolist() == list(range(7))
    assert read.name == "MNIST"
    with pytest.raises(SourceNotFound):
        mnist(tmp_path, not train)


def test_mnist_agrees_with_torchvision(tmp_path, pixels, write_mnist):
    write_mnist(tmp_path, pixels[:4], np.arange(4), train=True, packed=False)
    write_mnist(tmp_path, pixels[4:], np.arange(3), train=False, packed=False)
    for train in (True, False):
        theirs = torchvision.datasets.MNIST(str(tmp_path), train=train)
        ours = mnist(tmp_path, train)
        assert torch.equal(ours.images[:, 0], theirs.data)
        assert torch.equal(ours.labels, theirs.targets)


def test_absent_files_are_named_with_their_place(tmp_path):
    with pytest.raises(SourceNotFound, match=r"train-images-idx3-ubyte\[\.gz\] and .* in .*raw"):
        mnist(tmp_path, True)
    with pytest.raises(SourceNotFound, match="no folder of data sets is given"):
        mnist(None, True)
    with pytest.raises(SourceNotFound, match=r"test_32x32\.mat in .*SVHN"):
        svhn(tmp_path, False)
    with pytest.raises(SourceNotFound, match=r"usps\.npz in .*USPS"):
        usps(tmp_path, True)
    with pytest.raises(SourceNotFound, match="svhn_train_first1083"):
        svhn_sample(None, True)


def test_damaged_idx_files_are_told(tmp_path, pixels, write_mnist, idx):
    folder = write_mnist(tmp_path, pixels, np.arange(7))
    images = folder / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    for content, message in (
        (whole[:-40], "is damaged"),
        (b"nothing", "is damaged"),
        (gzip.compress(idx(pixels)[:-1]), "length does not fit"),
        (gzip.compress(b"12345"), "no idx file"),
    ):
        images.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            mnist(tmp_path, True)
    write_mnist(tmp_path, pixels, np.arange(6))
    with pytest.raises(ValueError, match=r"7 images, but .* 6 labels"):
        mnist(tmp_path, True)


def test_svhn_is_channels_first_and_ten_is_zero(tmp_path, write_svhn):
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    write_svhn(tmp_path, images, np.array([1, 10, 9, 10], dtype=np.uint8))
    read = svhn(tmp_path, True)
    assert read.images.shape == (4, 3, 32, 32)
    assert read.images.is_contiguous()
    assert np.array_equal(read.images.movedim(1, -1).numpy(), images)
    assert read.labels.tolist() == [1, 0, 9, 0]
    assert read.name == "SVHN"


def test_an_svhn_file_that_is_not_the_original_is_told(tmp_path, write_svhn):
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    path = write_svhn(tmp_path, images, np.array([1, 2], dtype=np.uint8))
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ValueError, match="md5"):
        svhn(tmp_path, True)


def test_the_svhn_sample_is_split_by_house(tmp_path, write_npz):
    houses = np.repeat(np.arange(50, dtype=np.int32), 3)
    images = np.random.default_rng(2).integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    labels = (np.arange(150) % 10 + 1).astype(np.uint8)
    write_npz(tmp_path / "SVHN" / "svhn_train_first1083.npz", X=images, label=labels, house=houses)
    train, test = svhn_sample(tmp_path, True), svhn_sample(tmp_path, False)
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    assert (len(train), len(test)) == (120, 30)
    assert set(torch.cat([train.labels, test.labels]).tolist()) == set(range(10))
    again = svhn_sample(tmp_path, False)
    assert torch.equal(test.images, again.images)
    assert not torch.equal(test.groups, svhn_sample(tmp_path, False, seed=1).groups)
    assert "first 1,083" in train.name


def test_usps_stays_in_floating_point(tmp_path, write_npz):
    images = (np.random.default_rng(3).integers(0, 2001, (5, 16, 16)) / 2000).astype(np.float32)
    digits = np.arange(5, dtype=np.uint8)
    write_npz(
        tmp_path / "USPS" / "usps.npz", train_image=images, train_digit=digits, test_image=images, test_digit=digits
    )
    read = usps(tmp_path, True)
    assert read.images.shape == (5, 1, 16, 16)
    assert np.array_equal(read.images[:, 0].numpy(), images)
    assert read.labels.dtype == torch.int64


def test_damaged_npz_files_are_told(tmp_path, write_npz):
    path = tmp_path / "USPS" / "usps.npz"
    write_npz(path, train_image=np.zeros((1, 16, 16)))
    with pytest.raises(ValueError, match="lacks train_digit"):
        usps(tmp_path, True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="damaged"):
        usps(tmp_path, True)


def test_nothing_is_unpickled(tmp_path, write_npz):
    write_npz(tmp_path / "USPS" / "usps.npz", train_image=np.array([{}], dtype=object), train_digit=np.zeros(1))
    with pytest.raises(ValueError, match="plain arrays"):
        usps(tmp_path, True)


@needs("MNIST/raw/train-images-idx3-ubyte.gz", "MNIST/raw/t10k-images-idx3-ubyte.gz")
def test_the_real_mnist():
    train, test = mnist(REAL, True), mnist(REAL, False)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@needs("USPS/usps.npz")
def test_the_real_usps():
    read = usps(REAL, True)
    assert torch.bincount(read.labels).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert (len(usps(REAL, False)), float(read.images.min()), float(read.images.max())) == (2007, 0.0, 1.0)


@needs("SVHN/svhn_train_first1083.npz")
def test_the_real_svhn_sample():
    train, test = svhn_sample(REAL, True), svhn_sample(REAL, False)
    counts = torch.bincount(torch.cat([train.labels, test.labels]))
    assert counts.tolist() == [66, 227, 141, 134, 110, 112, 78, 70, 78, 67]
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    assert 0.1 < len(test) / 1083 < 0.3
