from __future__ import annotations

import contextlib
import io
import os

import pytest
import torch
from safetensors.torch import save_file

from mmvae.storage import (
    read_json,
    read_metadata,
    read_state,
    read_tensors,
    write_json,
    write_state,
    write_tensors,
)


def test_a_nested_state_comes_back(tmp_path):
    state = {
        "tensors": {"a.b": torch.arange(3), "a": {"b": torch.eye(2)}},
        "numbered": {0: {"step": torch.tensor(2.0)}, 1: {}},
        "tuple": (1, (2.5, None), [True, "x"]),
        "half": torch.ones(2, dtype=torch.float16),
        "empty": torch.zeros(0, 3),
        "bytes": torch.tensor([1, 255], dtype=torch.uint8),
    }
    write_state(tmp_path / "state", state)
    again = read_state(tmp_path / "state")
    assert torch.equal(again["tensors"]["a.b"], torch.arange(3))
    assert torch.equal(again["tensors"]["a"]["b"], torch.eye(2))
    assert again["numbered"][0]["step"] == 2.0
    assert again["numbered"][1] == {}
    assert again["tuple"] == state["tuple"]
    assert again["half"].dtype == torch.float16
    assert again["empty"].shape == (0, 3)
    assert again["bytes"].tolist() == [1, 255]


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"source.rng: a object cannot be kept"):
        write_state(tmp_path / "state", {"source": {"rng": object()}})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.ones(1)})
    write_json(tmp_path / "json", [1])

    def fail(*_):
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"killed"):
        write_tensors(path, {"a": torch.zeros(1)})
    with pytest.raises(OSError, match=r"killed"):
        write_json(tmp_path / "json", [2])
    assert read_tensors(path)[0]["a"] == 1
    assert read_json(tmp_path / "json") == [1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_is_no_state(tmp_path):
    write_tensors(tmp_path / "file", {"a": torch.ones(1)})
    with pytest.raises(ValueError, match=r"its state is incomplete"):
        read_state(tmp_path / "file")
    (tmp_path / "text").write_text("{")
    with pytest.raises(ValueError, match=r"text is damaged, or not what was expected \(JSONDecodeError"):
        read_json(tmp_path / "text")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\xff", "", "nul"])
def test_json_that_is_none_names_the_file(tmp_path, text):
    (tmp_path / "text").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{tmp_path}/text is damaged"):
        read_json(tmp_path / "text")


def test_no_changed_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "file"
    write_state(path, {"epoch": 3, "x": torch.arange(5.0), "y": torch.tensor([True, False])}, {"epoch": "3"})
    whole = path.read_bytes()
    silent = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            read_state(path)
            silent.append(place)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
    assert silent == []


def test_no_changed_bit_of_the_metadata_gives_other_metadata(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, {"x": torch.arange(100.0)}, {"epoch": "13"})
    assert read_metadata(path) == {"epoch": "13"}
    whole = path.read_bytes()
    for place in range(8 + int.from_bytes(whole[:8], "little")):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            assert read_metadata(path) in ({"epoch": "13"}, None)


@pytest.mark.parametrize("size", [0, 4, 8, 50, -1])
def test_a_file_that_was_cut_off_names_itself(tmp_path, size):
    path = tmp_path / "file"
    write_tensors(path, {"x": torch.arange(5.0)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"{path} is damaged, or not what was expected"):
        read_tensors(path)


def test_a_file_of_another_program_is_read_where_no_digest_is_needed(tmp_path):
    path = tmp_path / "file"
    save_file({"x": torch.arange(5.0)}, path)
    assert read_metadata(path) is None
    with pytest.raises(ValueError, match=rf"{path} has no digest: it was written by another program"):
        read_tensors(path)
    assert torch.equal(read_tensors(path, sealed=False)[0]["x"], torch.arange(5.0))


def test_files_of_tensors_are_as_readable_as_other_files(tmp_path):
    write_json(tmp_path / "json", [1])
    write_tensors(tmp_path / "tensors", {"a": torch.ones(1)})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_tensors_that_share_memory_are_written(tmp_path):
    base = torch.arange(12.0)
    tensors = {"all": base, "again": base, "part": base[3:7], "turned": base.view(3, 4).T, "none": base[:0]}
    write_tensors(tmp_path / "file", tensors)
    read = read_tensors(tmp_path / "file")[0]
    assert all(torch.equal(read[name], value) for name, value in tensors.items())


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    """A second opening could meet another file, which a writer has put in the place of the first."""
    path = tmp_path / "file"
    write_state(path, {"x": torch.ones(3)})
    opened, whole = [], io.open
    monkeypatch.setattr(io, "open", lambda file, *args, **kwargs: opened.append(file) or whole(file, *args, **kwargs))
    read_state(path)
    assert opened == [path]
