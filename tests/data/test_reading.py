"""What readers of data sets share: every file is opened once, checked and named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmvae.data.reading import map_npy, read_array, read_json, read_json_lines, read_npz, read_records


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """An .npy file that says that it holds an array of this shape, and holds eight bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(8)


DAMAGED = {
    "empty": b"",
    "cut off": header((2,))[:20],
    "asks for 4 EB": header((10**18,)),
    "asks for 40 GB": header((10**10,)),
    "negative": header((2,)).replace(b"(2,)", b"(-2,)"),
    "no literal": header((2,)).replace(b"(2,)", b"(2(,"),
    "nested": header((2,)).replace(b"{", b"{" + b"(" * 50),
    "other magic": b"X" + header((2,))[1:],
    "objects": header((1,), "|O"),
    "no such type": header((2,)).replace(b"<f4", b"<Q9"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_arrays_are_named_and_take_no_memory(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(DAMAGED[what])
    for read in (read_array, map_npy):
        with pytest.raises(ValueError, match=rf"clips: {path} is damaged"):
            read("clips", path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_as_they_were_written(tmp_path: Path, order: Any) -> None:
    values = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    np.save(tmp_path / "a.npy", values)
    mapped = map_npy("a", tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert (mapped == values).all()
    assert mapped.flags.f_contiguous == (order == "F")
    assert (read_array("a", tmp_path / "a.npy") == values).all()
    assert read_array("a", tmp_path / "a.npy").flags.writeable


def test_a_file_of_an_array_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    opened, whole = [], io.open
    monkeypatch.setattr(io, "open", lambda file, *args, **kwargs: opened.append(file) or whole(file, *args, **kwargs))
    monkeypatch.setattr("builtins.open", io.open)
    map_npy("a", tmp_path / "a.npy")
    assert opened == [tmp_path / "a.npy"]


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b"\xff", b"nul"])
def test_json_that_is_none_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"memes: {tmp_path}/a.json is damaged.*Fetch it again"):
        read_json("memes", tmp_path / "a.json")
    if content:
        (tmp_path / "b.jsonl").write_bytes(b'{"a": 1}\n' + content)
        with pytest.raises(ValueError, match=rf"memes: line 2 of {tmp_path}/b.jsonl is damaged"):
            list(read_json_lines("memes", tmp_path / "b.jsonl", ["a"]))


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_archives_that_are_damaged_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(1000.0))
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    path.write_bytes({"cut": whole[:middle], "flipped": flipped, "text": b"hello"}[damage])
    with pytest.raises(ValueError, match=rf"digits: {path} is damaged.*Expected an .npz file"):
        read_npz("digits", path)


# Lists of separated values.


def rows(count: int = 15) -> list[str]:
    return [f"clip_{number:02},class {number % 3},train" for number in range(count)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["video_id,category,split", *lines]) + "\n")
    return path


def test_records_know_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", ["a,b,c", "", 'd,"e, f",g', 'h,"i ""j""",k'])
    assert read_records("clips", path)[1:] == [
        (2, ["a", "b", "c"]),
        (4, ["d", "e, f", "g"]),
        (5, ["h", 'i "j"', "k"]),
    ]


@pytest.mark.parametrize("first", range(0, 15, 3))
@pytest.mark.parametrize("second", [None, 1, 5])
def test_an_unclosed_quote_never_hides_rows(tmp_path: Path, first: int, second: int | None) -> None:
    """Neither one alone, nor one that a later stray quote closes."""
    lines = rows()
    lines[first] = lines[first].replace("class", '"class')
    if second is not None and first + second < len(lines):
        lines[first + second] = lines[first + second].replace(",train", '",train')
    with pytest.raises(ValueError, match=rf"clips: {tmp_path}/list.csv is damaged.*(line {first + 2}|unexpected end)"):
        read_records("clips", write(tmp_path / "list.csv", lines))


def names_a_file(line: str) -> bool:
    return line.partition(",")[0].endswith(".jpg")


def test_free_text_may_hold_quotes_and_run_over_lines(tmp_path: Path) -> None:
    lines = ['a.jpg,"A pie,\nwith apples",pie', 'b.jpg,The "best" pie,pie', 'c.jpg,"Best" pie,pie']
    (tmp_path / "titles.csv").write_text("\n".join(lines))
    found = read_records("food", tmp_path / "titles.csv", begins_record=names_a_file)
    assert [fields[1] for _, fields in found] == ["A pie,\nwith apples", 'The "best" pie', "Best pie"]


def test_free_text_that_hides_a_record_is_refused(tmp_path: Path) -> None:
    lines = ["a.jpg,pie,pie", 'b.jpg,"best pie,pie', "c.jpg,pie,pie", 'd.jpg,pie",pie']
    (tmp_path / "titles.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"titles.csv is damaged.*the quote in line 2 is not closed in it"):
        read_records("food", tmp_path / "titles.csv", begins_record=names_a_file)
