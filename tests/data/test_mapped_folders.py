"""Arrays that stay in their files give what the same data gives in memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import Blocks, MappedRows, MultimodalDataset, Noisy, mapped, write_mapped

N = 30


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    vector = generator.normal(size=(N, 3)).astype(np.float32)
    vector[[4, 17]] = np.nan
    return {"image": generator.integers(0, 256, (N, 1, 4, 4), dtype=np.uint8), "vector": vector}


@pytest.fixture
def folder(tmp_path):
    for name, array in arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "labels.npy", np.arange(N) % 3)
    np.save(tmp_path / "image.observed.npy", np.arange(N) != 5)
    return tmp_path


def in_memory() -> MultimodalDataset:
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    return MultimodalDataset(tensors, labels=torch.arange(N) % 3, observed={"image": torch.arange(N) != 5})


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.names == other.names
    for name in one.names:
        assert torch.equal(one.data[name], other.data[name])
        assert torch.equal(one.observed[name], other.observed[name])
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("rows", [[3, 0, 29, 3], [5, 4, 17], list(range(N))])
def test_a_batch_is_that_of_the_data_in_memory(folder, rows):
    dataset = mapped(folder)
    assert dataset.shapes == {"image": (1, 4, 4), "vector": (3,)}
    assert_equal(dataset.batch(rows), in_memory().batch(rows))
    assert_equal(dataset.subset(rows).everything(), in_memory().subset(rows).everything())


def test_items_leave_out_what_is_missing(folder):
    items = [set(mapped(folder)[row][0]) for row in (3, 4, 5)]
    assert items == [{"image", "vector"}, {"image"}, {"vector"}]


def test_single_files_maps_and_tensors_go_together(folder):
    vector = np.load(folder / "vector.npy", mmap_mode="r")
    codes = torch.arange(N)
    sources = {"image": str(folder / "image.npy"), "vector": vector, "codes": codes}
    dataset = mapped(sources, labels=folder / "labels.npy", observed={"image": folder / "image.observed.npy"})
    batch = dataset.batch([29, 5, 4])
    assert batch.data["codes"].tolist() == [29, 5, 4]
    assert_equal(dataset.restrict(["image", "vector"]).batch([29, 5, 4]), in_memory().batch([29, 5, 4]))


def test_a_batch_is_a_copy_and_its_file_is_never_written_to(folder):
    before = (folder / "vector.npy").read_bytes()
    batch = mapped(folder).batch([0, 1])
    batch.data["vector"].zero_()
    assert (folder / "vector.npy").read_bytes() == before


def test_bytes_in_another_order_are_read_as_numbers(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4, dtype=">f4")[:, None])
    np.save(tmp_path / "labels.npy", np.arange(4, dtype=">i8"))
    batch = mapped(tmp_path).batch([3, 1])
    assert batch.data["a"].flatten().tolist() == [3, 1]
    assert batch.labels.tolist() == [3, 1]


def test_a_row_that_is_infinite_is_named_when_it_is_read(tmp_path):
    vector = np.zeros((N, 3), dtype=np.float32)
    vector[21, 1] = np.inf
    np.save(tmp_path / "vector.npy", vector)
    dataset = mapped(tmp_path)
    dataset.batch([20, 22])
    with pytest.raises(ValueError, match=r"vector: row 1 .*infinite.*data point 21"):
        dataset.batch([20, 21])
    hidden = mapped({"vector": tmp_path / "vector.npy", "b": torch.zeros(N)}, observed={"vector": np.arange(N) != 21})
    assert hidden.batch([21]).observed["vector"].tolist() == [False]


def test_single_numbers_that_are_nan_are_missing_when_they_are_read(tmp_path):
    vector = np.ones((N, 3), dtype=np.float32)
    vector[21, 1], vector[22] = np.nan, np.nan
    np.save(tmp_path / "vector.npy", vector)
    dataset = mapped({"vector": tmp_path / "vector.npy", "b": torch.zeros(N)})
    batch = dataset.batch([20, 21, 22])
    assert batch.cells["vector"].tolist() == [[True] * 3, [True, False, True], [False] * 3]
    assert batch.observed["vector"].tolist() == [True, True, False]
    assert batch.data["vector"].tolist() == [[1, 1, 1], [1, 0, 1], [0, 0, 0]]
    assert dataset.batch([20, 23]).cells == {}


def test_files_that_are_no_arrays(folder):
    np.save(folder / "objects.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects: .*is damaged.*Expected an .npy file of a plain array"):
        mapped(folder)
    whole = (folder / "vector.npy").read_bytes()
    for content in (b"", b"text", whole[:100], whole[:-4]):
        (folder / "vector.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"vector: .*vector\.npy is damaged"):
            MappedRows("vector", folder / "vector.npy")


def test_what_else_does_not_fit(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        mapped(folder / "absent")
    with pytest.raises(FileNotFoundError, match=r"image: .*no such file"):
        mapped({"image": folder / "absent.npy"})
    with pytest.raises(ValueError, match="unequal numbers of data points"):
        mapped({"image": folder / "image.npy", "other": torch.zeros(3)})
    np.save(folder / "fortran.npy", np.asfortranarray(np.zeros((4, 3))))
    with pytest.raises(ValueError, match=r"fortran: .*Fortran order"):
        MappedRows("fortran", folder / "fortran.npy")
    np.save(folder / "words.npy", np.array(["a", "b"]))
    with pytest.raises(TypeError, match="words: expected numbers"):
        MappedRows("words", folder / "words.npy")
    with pytest.raises(IndexError, match="image: row -1"):
        MappedRows("image", folder / "image.npy").take(torch.tensor([0, -1]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no <modality>"):
        mapped(tmp_path / "empty")


def test_another_process_opens_the_file_itself(folder):
    large = np.zeros((2**16, 16), dtype=np.uint8)
    np.save(folder / "large.npy", large)
    rows = MappedRows("large", folder / "large.npy")
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    assert pickle.loads(sent).take(torch.tensor([5])).shape == (1, 16)
    with pytest.raises(TypeError, match="give the path"):
        pickle.dumps(MappedRows("large", np.load(folder / "large.npy", mmap_mode="r")))


def test_blocks_by_default_are_of_a_mebibyte(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((4, 3, 64, 64), dtype=np.uint8))
    assert mapped(tmp_path).blocks == Blocks(rows=85, together=256)
    assert mapped(tmp_path, blocks=Blocks(7, 3)).subset([0, 1]).blocks == Blocks(7, 3)
    assert Noisy(mapped(tmp_path), {}).blocks == Blocks(85, 256)
    with pytest.raises(ValueError, match="rows: expected at least 1, got 0"):
        Blocks(0)


def pieces(*sizes):
    whole, start = arrays(), 0
    for size in sizes:
        part = {name: array[start : start + size] for name, array in whole.items()}
        yield part, torch.arange(start, start + size) % 3
        start += size


def test_what_was_written_in_pieces_is_read_as_a_whole(tmp_path):
    dataset = write_mapped(tmp_path / "deep" / "train", pieces(7, 1, 22))
    files = sorted(path.name for path in (tmp_path / "deep" / "train").iterdir())
    assert files == ["image.npy", "labels.npy", "vector.npy", "vector.observed.npy"]
    assert np.load(tmp_path / "deep" / "train" / "image.npy", allow_pickle=False).dtype == np.uint8
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    assert_equal(dataset.everything(), MultimodalDataset(tensors, labels=torch.arange(N) % 3).everything())


def test_batches_with_masks_are_written(tmp_path):
    one = Batch({"a": torch.ones(2, 3), "b": torch.arange(2)}, {"a": torch.tensor([True, False])})
    other = {"b": torch.arange(2), "a": torch.ones(2, 3)}
    batch = write_mapped(tmp_path / "out", [one, other]).everything()
    assert batch.observed["a"].tolist() == [True, False, True, True]
    assert batch.data["b"].tolist() == [0, 1, 0, 1]


def test_single_numbers_that_are_missing_are_written_as_nan(tmp_path):
    first = Batch({"a": torch.tensor([[1.0, torch.nan], [2.0, 3.0]]), "b": torch.arange(2)})
    batch = write_mapped(tmp_path / "out", [first, {"a": torch.ones(1, 2), "b": torch.arange(1)}]).everything()
    assert batch.cells["a"].tolist() == [[True, False], [True, True], [True, True]]
    assert batch.data["a"].tolist() == [[1, 0], [2, 3], [1, 1]]


@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        ({"a": torch.zeros(2, 3)}, ValueError, "batch 1: expected 'a', 'b'"),
        ({"a": torch.zeros(2, 4), "b": torch.zeros(2)}, ValueError, "a: batch 1: expected float32"),
        ({"a": torch.zeros(2, 3).double(), "b": torch.zeros(2)}, ValueError, "a: batch 1: .*got float64"),
        ({"a": torch.zeros(2, 3).bfloat16(), "b": torch.zeros(2)}, TypeError, "a: numpy has no torch.bfloat16"),
        ({"a": torch.full((2, 3), torch.nan), "b": torch.full((2,), torch.nan)}, ValueError, "batch 1: row 0 has no"),
        (torch.zeros(2, 3), TypeError, "expected batches that are dicts of tensors"),
    ],
)
def test_a_batch_that_does_not_fit_leaves_nothing_behind(tmp_path, second, error, message):
    with pytest.raises(error, match=message):
        write_mapped(tmp_path / "out", [{"a": torch.zeros(2, 3), "b": torch.zeros(2)}, second])
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="no batch to write"):
        write_mapped(tmp_path / "out", [])
    with pytest.raises(ValueError, match="'labels' is reserved"):
        write_mapped(tmp_path / "out", [{"labels": torch.zeros(2)}])
    steps = Batch({"a": torch.zeros(2, 3, dtype=torch.int64)}, {"a": torch.ones(2, 3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="'a' has a mask of what there is of a row"):
        write_mapped(tmp_path / "out", [steps])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FileExistsError, match="is there already"):
        write_mapped(tmp_path / "full", [{"a": torch.zeros(2)}])
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_inference_reads_a_batch_at_a_time(folder, monkeypatch):
    vae = models.MoPoE(
        [
            Modality("image", (1, 4, 4), likelihoods.Bernoulli(relaxed=True)),
            Modality("vector", (3,), likelihoods.Normal()),
        ],
        latent_dim=2,
    )
    sizes = []
    take = MappedRows.take
    monkeypatch.setattr(MappedRows, "take", lambda self, rows: (sizes.append(len(rows)), take(self, rows))[1])
    latents = mmvae.infer(vae, mapped(folder), batch_size=8)
    assert max(sizes) == 8
    torch.testing.assert_close(latents.mean, mmvae.infer(vae, in_memory()).mean)


@pytest.mark.parametrize("name", ["/tmp/escaped", "left/right", "..", "a\\b", "labels"])
def test_no_name_writes_outside_of_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="modality name"):
        write_mapped(tmp_path / "set", [{name: torch.rand(4, 2), "b": torch.rand(4, 2)}])
    assert list(tmp_path.iterdir()) == []


def test_names_that_only_capitals_tell_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match="batch 0: 'A', 'a' are one name on discs"):
        write_mapped(tmp_path / "set", [{"A": torch.rand(4, 2), "a": torch.rand(4, 2)}])
