"""What a daemon remembers of the one before: whole, or an error that says what to do."""

import os

import pytest

from mcpguard import limits
from mcpguard.errors import DaemonError
from mcpguard.system.memoryfile import MemoryFile


@pytest.fixture
def memory(tmp_path):
    return MemoryFile(tmp_path / "memory")


def test_nothing_is_remembered_before_anything_was_saved(memory):
    assert memory.load() == {}
    memory.directory.mkdir(mode=0o700)
    assert memory.load() == {}


def test_what_was_saved_is_remembered_by_its_owner_alone(memory):
    memory.save({"labels": {"a": ["untrusted"]}})
    memory.save({"labels": {"b": []}})
    assert memory.load() == {"labels": {"b": []}}
    assert (memory.directory / "memory.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(memory.directory) == ["memory.json"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"7", b"\xff", b'{"a":1}x', b"{}" + b" " * limits.MEMORY_BYTES]
)
def test_a_damaged_memory_is_an_error_and_not_an_empty_one(memory, data):
    memory.save({})
    (memory.directory / "memory.json").write_bytes(data)
    with pytest.raises(DaemonError, match="cannot be relied on") as caught:
        memory.load()
    assert "rm " in caught.value.hint


def test_a_memory_that_others_may_write_to_is_not_believed(memory):
    memory.save({})
    (memory.directory / "memory.json").chmod(0o622)
    with pytest.raises(DaemonError, match="writable by others"):
        memory.load()


def test_a_link_or_a_pipe_in_its_place_is_refused(memory):
    memory.save({})
    place = memory.directory / "memory.json"
    place.unlink()
    place.symlink_to("/etc/hostname")
    with pytest.raises(DaemonError):
        memory.load()
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(DaemonError, match="not a regular file"):
        memory.load()


def test_a_directory_in_the_place_of_the_new_file_is_an_error(memory):
    memory.save({})
    (memory.directory / ".new").mkdir()
    with pytest.raises(DaemonError):
        memory.save({"a": 1})
    assert memory.load() == {}
