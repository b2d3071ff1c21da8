"""A folder's own file: found, read, or an error; never followed elsewhere."""

import os
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system.projectfile import NAME, folders_with_one, read


def test_the_file_of_a_folder_is_read(tmp_path: Path) -> None:
    assert read(str(tmp_path)) is None
    (tmp_path / NAME).write_bytes(b"version = 1\n")
    assert read(str(tmp_path)) == b"version = 1\n"


def test_no_more_is_read_than_a_policy_may_have(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"#" * (3 * limits.PROJECT_BYTES))
    assert len(read(str(tmp_path)) or b"") == limits.PROJECT_BYTES + 1


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    for make in (Path.mkdir, os.mkfifo, lambda place: place.symlink_to("/etc/passwd")):
        place = tmp_path / str(len(os.listdir(tmp_path)))
        place.mkdir()
        make(place / NAME)
        with pytest.raises(ConfigError, match=r"regular file|cannot be read"):
            read(str(place))
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        read(str(tmp_path / "none"))


def test_folders_above_are_found_nearest_first(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    for folder in (tmp_path, below):
        (folder / NAME).write_text("x")
    found = folders_with_one(str(below))
    assert found[:2] == [str(below), str(tmp_path)]
    assert folders_with_one("") == folders_with_one("relative/path") == []
