from __future__ import annotations

import ast
import errno
import os
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmvae
from mmvae.files import reading, temporary_beside, write_folder_whole, write_whole

ROOT = Path(mmvae.__file__).parent


def test_a_file_is_written_with_the_folders_above_it(tmp_path):
    path = tmp_path / "deep" / "down" / "file.txt"
    write_whole(path, lambda temporary: temporary.write_text("content"))
    assert path.read_text() == "content"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a name of the same file system can be moved in one step
        temporary.write_text("new")

    write_whole(path, write)
    assert path.read_text() == "new"


@pytest.mark.parametrize("wrote_something", [True, False])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, wrote_something):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        if wrote_something:
            temporary.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"

    def write(temporary):
        temporary.write_text("outer")
        write_whole(path, lambda other: other.write_text("inner"))
        assert temporary.read_text() == "outer"

    write_whole(path, write)
    assert path.read_text() == "outer"
    assert list(tmp_path.iterdir()) == [path]


FOREIGN = [
    ".my_backup.tmp",
    ".notes.tmp",
    ".file.0123456789abcdef.tmp",
    "file.0123456789abcdef0123456789abcdef.mmvae.tmp",
    ".file.0123456789abcdef0123456789abcdef.tmp",
    ".file.0123456789ABCDEF0123456789ABCDEF.mmvae.tmp",
    ".file.0123456789abcdef0123456789abcdef.mmvae.tmp.bak",
]
"""Names that others could give, which look like those of temporary files."""


@pytest.mark.parametrize("write", ["file", "folder"])
def test_a_later_write_removes_what_a_killed_process_left_and_nothing_else(tmp_path, write):
    long_ago = time.time() - 7200
    abandoned, written_now = temporary_beside(tmp_path / "file[1]"), temporary_beside(tmp_path / "file[1]")
    left_folder, growing = temporary_beside(tmp_path / "folder"), temporary_beside(tmp_path / "folder")
    foreign = [tmp_path / name for name in FOREIGN]
    for left in (abandoned, written_now, *foreign):
        left.write_text("half")
    (tmp_path / ".trees.tmp").mkdir()
    for left in (left_folder, growing, tmp_path / ".trees.tmp"):
        left.mkdir(exist_ok=True)
        (left / "part").write_text("half")
    for left in (abandoned, left_folder / "part", left_folder, *foreign, tmp_path / ".trees.tmp/part", growing):
        os.utime(left, (long_ago, long_ago))
    if write == "file":
        write_whole(tmp_path / "new", lambda temporary: temporary.write_text("whole"))
    else:
        write_folder_whole(tmp_path / "new", lambda temporary: (temporary / "part").write_text("whole"))
    expected = {"new", ".trees.tmp", written_now.name, growing.name, *FOREIGN}
    assert {each.name for each in tmp_path.iterdir()} == expected


def test_an_error_of_the_system_names_the_file(tmp_path):
    def full(temporary):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for write, name in ((write_whole, "file"), (write_folder_whole, "folder")):
        with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/{name}'") as info:
            write(tmp_path / name, full)
        assert info.value.errno == errno.ENOSPC
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not what it should be"),
        RecursionError("maximum recursion depth exceeded"),
        MemoryError("Unable to allocate 8 EiB"),
        zlib.error("Error -3 while decompressing"),
        zipfile.BadZipFile("File is not a zip file"),
        KeyError("rows"),
        tokenize.TokenError("EOF in multi-line statement"),
        struct.error("unpack requires a buffer of 4 bytes"),
        OSError("image file is truncated"),
        EOFError(),
        OverflowError("int too big to convert"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_in_reading_names_the_file(error, tmp_path):
    with (
        pytest.raises(ValueError, match=rf"digits: {tmp_path}/a.npz is damaged.*{type(error).__name__}.*Fetch it") as e,
        reading(tmp_path / "a.npz", "digits", "Fetch it again."),
    ):
        raise error
    assert e.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "none"), PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "bad disk")],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_system_stay_what_they_are_and_name_the_file(error, tmp_path):
    with pytest.raises(type(error)) as info, reading(tmp_path / "a"):
        raise error
    assert info.value.filename == str(tmp_path / "a")


def test_an_error_that_names_the_file_already_stays():
    with pytest.raises(ValueError, match=r"^line 3 of x.csv has no rows$"), reading("x.csv"):
        raise ValueError("line 3 of x.csv has no rows")


TAKES_APART = {
    *("json.loads", "json.load", "np.load", "np.memmap", "csv.reader", "csv.DictReader", "Image.open", "h5py.File"),
    *("gzip.decompress", "torch.load", "load_file", "safe_open", "zipfile.ZipFile", "pickle.load"),
}
"""Functions that take files of others apart, and raise what they like."""

LOCKS = ROOT / "training" / "lock.py"
"""A lock that cannot be read is one that nobody has."""


CALLED_INSIDE = {"_head"}
"""Functions that are only called inside."""


def calls_outside_the_door(node: ast.AST, inside: bool = False) -> Iterator[ast.Call]:
    inside = inside or (isinstance(node, ast.FunctionDef) and node.name in CALLED_INSIDE)
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        inside = inside or any(ast.unparse(call.func) == "reading" for call in calls)
    if isinstance(node, ast.Call) and ast.unparse(node.func) in TAKES_APART and not inside:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from calls_outside_the_door(child, inside)


@pytest.mark.parametrize("path", sorted({*ROOT.rglob("*.py")} - {LOCKS}), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_read_through_the_one_door(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"line {call.lineno}: {ast.unparse(call)}" for call in calls_outside_the_door(tree)] == []


def test_a_missing_package_and_an_interrupt_are_not_damage():
    for error in (ImportError("no h5py"), KeyboardInterrupt()):
        with pytest.raises(type(error)), reading("x.csv"):
            raise error


def test_a_folder_appears_when_it_is_whole(tmp_path):
    folder = tmp_path / "deep" / "folder"

    def write(temporary):
        (temporary / "file").write_text("content")
        assert not folder.exists()

    write_folder_whole(folder, write)
    assert (folder / "file").read_text() == "content"
    assert list(folder.parent.iterdir()) == [folder]
    with pytest.raises(FileExistsError, match="is there already"):
        write_folder_whole(folder, write)


def test_a_folder_that_failed_is_not_there(tmp_path):
    def write(temporary):
        (temporary / "file").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_folder_whole(tmp_path / "folder", write)
    assert list(tmp_path.iterdir()) == []
