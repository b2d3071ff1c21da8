"""Private directories, and what is refused in their place."""

import os
import socket
import stat
from pathlib import Path

import pytest

from mcpguard.errors import PeerError
from mcpguard.system.files import (
    intruder,
    open_entry,
    private_directory,
    private_socket_path,
    public_directory,
    repair,
    replace_file,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_made_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert private_directory(tmp_path / "a") == tmp_path / "a"
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o700


def test_parents_are_made(tmp_path: Path) -> None:
    private_directory(tmp_path / "a" / "b" / "c")
    assert mode(tmp_path / "a" / "b" / "c") == 0o700


def test_own_directory_that_is_too_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)
    private_directory(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o700


def test_something_else_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "dangling"):
        with pytest.raises(PeerError, match="is not a directory"):
            private_directory(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("bits", "refused"),
    [(0o777, True), pytest.param(0o775, True, marks=pytest.mark.root), (0o1777, False), (0o755, False)],
)
def test_directory_above_that_others_may_write(tmp_path: Path, bits: int, refused: bool) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(bits)
    os.chown(above, -1, os.getegid() if bits != 0o775 else 65533)
    if refused:
        with pytest.raises(PeerError, match="is writable by others") as caught:
            private_directory(above / "a")
        assert caught.value.hint == f"chmod go-w {above}"
    else:
        private_directory(above / "a")


def test_group_of_the_user_alone_may_write_above(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o775)
    if os.getegid() == os.geteuid():
        private_directory(above / "a")


@pytest.mark.root
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65533, 65533)
    with pytest.raises(PeerError, match=r"belongs to another user \(uid 65533\)"):
        private_directory(theirs)
    with pytest.raises(PeerError, match=r"theirs belongs to another user \(uid 65533\)"):
        private_directory(theirs / "below")


@pytest.mark.root
def test_link_of_another_user_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    private_directory(tmp_path / "link" / "a")
    os.lchown(tmp_path / "link", 65533, 65533)
    with pytest.raises(PeerError, match="link belongs to another user"):
        private_directory(tmp_path / "link" / "a")


def test_directory_above_the_target_of_a_link_counts(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "real").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "real")
    with pytest.raises(PeerError, match="open is writable by others"):
        private_directory(tmp_path / "link" / "a")


def test_stale_socket_is_removed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    private_socket_path(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    private_socket_path(tmp_path / "s")


def test_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dir").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    (tmp_path / "link").symlink_to(tmp_path / "s")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "dir", "link", "pipe"):
        with pytest.raises(PeerError, match="is not a socket of ours"):
            private_socket_path(tmp_path / name)
        assert os.path.lexists(tmp_path / name)


@pytest.mark.root
def test_socket_of_another_user_is_not_removed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    os.chown(tmp_path / "s", 65533, 65533)
    with pytest.raises(PeerError, match="is not a socket of ours"):
        private_socket_path(tmp_path / "s")
    assert (tmp_path / "s").exists()


def test_replaced_file_is_whole_and_private(tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    before = os.umask(0)
    try:
        replace_file(directory, "a", b"one")
        replace_file(directory, "a", b"two")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    os.close(directory)


def test_replacing_follows_no_link_that_was_laid_for_it(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".new").symlink_to(victim)
    directory = os.open(folder, os.O_RDONLY)
    with pytest.raises(OSError):
        replace_file(directory, "a", b"one")
    assert victim.read_bytes() == b"precious"
    os.close(directory)


def test_entry_is_opened_without_links_and_without_waiting(tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    assert open_entry(directory, "absent") is None
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to("there")
    os.mkfifo(tmp_path / "pipe")
    found = [open_entry(directory, "there"), open_entry(directory, "pipe")]
    assert os.read(found[0], 9) == b"x"
    with pytest.raises(OSError):
        open_entry(directory, "link")
    for fd in (directory, *found):
        os.close(fd)


@pytest.mark.parametrize(
    ("uid", "mode", "said", "command"),
    [
        (os.geteuid(), 0o600, "", "chmod go-w '/a b'"),
        (0, 0o644, "", "chmod go-w '/a b'"),
        (12345, 0o600, "belongs to uid 12345", f"chown {os.geteuid()} '/a b'"),
        (os.geteuid(), 0o620, "is writable by others (mode 0620)", "chmod go-w '/a b'"),
        (os.geteuid(), 0o602, "is writable by others (mode 0602)", "chmod go-w '/a b'"),
    ],
)
def test_who_could_have_written_it(uid, mode, said, command):
    info = os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))
    assert intruder(info) == said
    assert repair(Path("/a b"), info) == command


def test_public_directory_is_entered_by_everybody_and_written_by_its_owner(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = public_directory(tmp_path / "made")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert public_directory(made) == made
    for mode in (0o775, 0o757, 0o1777):
        made.chmod(mode)
        with pytest.raises(PeerError, match="writable by others"):
            public_directory(made)
    made.rmdir()
    made.write_text("")
    with pytest.raises(PeerError, match="is not a directory of uid"):
        public_directory(made)
    made.unlink()
    made.symlink_to(tmp_path)
    with pytest.raises(PeerError, match="is not a directory of uid"):
        public_directory(made)


@pytest.mark.root
def test_public_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    os.chown(tmp_path / "made", 65533, -1)
    with pytest.raises(PeerError, match="is not a directory of uid"):
        public_directory(tmp_path / "made")
