import os

import pytest

from mcpguard.errors import JournalError
from mcpguard.system.ownfile import open_own, read_own, replace_own, write_own


@pytest.fixture
def place(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_what_is_written_is_read_and_private(tmp_path, place):
    write_own(place, tmp_path, "a", b"one", os.O_EXCL)
    assert read_own(place, tmp_path, "a") == b"one"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_own(place, tmp_path, "a", b"two", os.O_EXCL)
    replace_own(place, tmp_path, "a", b"three")
    assert os.listdir(tmp_path) == ["a"]
    assert read_own(place, tmp_path, "a") == b"three"


def test_links_directories_pipes_and_open_files_are_refused(tmp_path, place):
    (tmp_path / "open").write_bytes(b"x")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("open", "pipe"):
        with pytest.raises(JournalError, match="not a file of this user alone"):
            open_own(place, tmp_path, name, os.O_RDONLY)
    with pytest.raises(OSError, match="symbolic links"):
        open_own(place, tmp_path, "link", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        read_own(place, tmp_path, "none")
