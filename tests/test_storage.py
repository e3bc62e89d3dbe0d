from __future__ import annotations

import os

import pytest
import torch

from mmvae.storage import read_json, read_state, read_tensors, write_json, write_state, write_tensors


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
    with pytest.raises(ValueError, match=r"text is damaged: it is not JSON"):
        read_json(tmp_path / "text")
