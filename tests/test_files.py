from __future__ import annotations

import os
import time

import pytest

from mmvae.files import write_folder_whole, write_whole


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


def test_what_a_killed_process_left_is_removed_by_a_later_write(tmp_path):
    path = tmp_path / "file[1]"
    long_ago = time.time() - 7200
    names = (".file[1].0123.tmp", ".file[1].4567.tmp", ".other.0123.tmp")
    abandoned, written_now, of_another = (tmp_path / name for name in names)
    for left in (abandoned, written_now, of_another):
        left.write_text("half")
    for left in (abandoned, of_another):
        os.utime(left, (long_ago, long_ago))
    write_whole(path, lambda temporary: temporary.write_text("whole"))
    assert {each.name for each in tmp_path.iterdir()} == {path.name, written_now.name, of_another.name}


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


def test_a_folder_that_was_left_is_removed_unless_someone_still_writes_to_it(tmp_path):
    long_ago = time.time() - 7200
    abandoned, growing = tmp_path / ".folder.0123.tmp", tmp_path / ".folder.4567.tmp"
    for left in (abandoned, growing):
        left.mkdir()
        (left / "file").write_text("half")
    os.utime(abandoned / "file", (long_ago, long_ago))
    for left in (abandoned, growing):
        os.utime(left, (long_ago, long_ago))
    write_folder_whole(tmp_path / "folder", lambda temporary: (temporary / "file").write_text("whole"))
    assert {each.name for each in tmp_path.iterdir()} == {"folder", growing.name}
