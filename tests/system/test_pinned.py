"""What is hashed is what is executed, whoever writes, renames or swaps meanwhile. Security cases 61 and 67."""

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.system.pinned import Shelf, digest_of
from tests.system.somebody import as_somebody

TRUE = shutil.which("true")
FALSE = shutil.which("false")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    shutil.copy(TRUE, path)
    return path


@pytest.fixture
def shelf():
    broken = []
    before = signal.signal(signal.SIGIO, lambda *_: broken.append(shelf.release_broken()))
    shelf = Shelf()
    yield shelf
    shelf.close()
    signal.signal(signal.SIGIO, before)


def run(fd):
    """The exit code of the program behind a descriptor."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            os.execve(fd, ["program"], {})
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_was_hashed_runs_although_its_name_leads_elsewhere_by_then(program, shelf, tmp_path):
    """Case 61: the binary is swapped between check and exec."""
    pinned = shelf.open(str(program), sha256(program))
    os.rename(program, tmp_path / "old")
    shutil.copy(FALSE, program)
    assert run(pinned.fd) == 0
    with pytest.raises(TrustError, match="has changed"):
        shelf.open(str(program), sha256(Path(TRUE)))


def test_a_swapped_symlink_is_another_file(program, shelf, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(program)
    digest = sha256(program)
    assert shelf.open(str(link), digest).holds()
    link.unlink()
    link.symlink_to(FALSE)
    with pytest.raises(TrustError, match="has changed"):
        shelf.open(str(link), digest)


def test_a_changed_executable_is_refused_with_both_digests(program, shelf):
    program.write_bytes(program.read_bytes() + b"x")
    with pytest.raises(TrustError) as refused:
        shelf.open(str(program), "0" * 64)
    assert sha256(program)[:12] in refused.value.sentence()
    assert "000000000000" in refused.value.sentence()
    assert "mcpguard server" in refused.value.hint


def test_a_writer_waits_until_the_lease_is_given_up_and_is_then_seen(program, shelf):
    digest = sha256(program)
    pinned = shelf.open(str(program), digest)
    assert pinned.leased
    done = threading.Event()

    def write():
        with open(program, "r+b") as file:
            file.write(b"\0\0\0\0")
        done.set()

    threading.Thread(target=write).start()
    until = time.monotonic() + 10
    while not done.is_set() and time.monotonic() < until:
        time.sleep(0.01)
    assert done.is_set()  # SIGIO came, and the lease was given up long before the kernel's 45 seconds
    with pytest.raises(TrustError, match="has changed"):
        shelf.open(str(program), digest)


def test_a_file_that_somebody_may_write_to_now_is_refused(program, shelf):
    with open(program, "r+b"), pytest.raises(TrustError, match="open for writing"):
        shelf.open(str(program), sha256(program))


def test_a_writable_mapping_counts_as_a_writer(program, shelf):
    with open(program, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        file.close()
        with pytest.raises(TrustError, match="open for writing"):
            shelf.open(str(program), sha256(program))
        assert len(mapped)


def test_the_second_look_does_not_hash_again(program, shelf):
    digest = sha256(program)
    first = shelf.open(str(program), digest)
    assert shelf.open(str(program), digest) is first


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda p: None, "cannot be opened"),
        (lambda p: p.mkdir(), "not a regular file"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p.name), "cannot be opened"),
        (
            lambda p: os.truncate(os.open(p, os.O_CREAT | os.O_WRONLY), limits.EXECUTABLE_BYTES + 1),
            "larger than",
        ),
    ],
)
def test_what_is_no_program_is_refused_in_a_sentence(make, what, shelf, tmp_path):
    path = tmp_path / "x\x1b[31m"
    make(path)
    with pytest.raises(TrustError, match=what) as refused:
        shelf.open(str(path), "0" * 64)
    assert refused.value.sentence().isprintable()


def test_nothing_is_left_open(program):
    before = len(os.listdir("/proc/self/fd"))
    shelf = Shelf()
    for _ in range(3):
        with contextlib.suppress(TrustError):
            shelf.open(str(program), "0" * 64)
    digest_of(str(program))
    shelf.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with open(program, "r+b") as file:  # no lease is left either
        assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def test_more_files_than_the_shelf_holds(tmp_path, shelf):
    for number in range(limits.SHELF_FILES + 5):
        path = tmp_path / f"p{number}"
        path.write_bytes(b"#!%d" % number)
        assert shelf.open(str(path), sha256(path)).script
    assert len(os.listdir("/proc/self/fd")) < limits.SHELF_FILES + 40


@pytest.mark.root
def test_without_a_lease_what_runs_is_a_sealed_copy():
    """A file of another user: the lease is refused, and its owner may write to it at any time."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "program"
        shutil.copy(TRUE, path)
        digest = sha256(path)
        os.chmod(path, 0o777)
        os.chown(path, 65532, 65532)

        def story() -> str:
            pinned = Shelf().open(str(path), digest)
            path.write_bytes(Path(FALSE).read_bytes())
            try:
                os.open(f"/proc/self/fd/{pinned.fd}", os.O_WRONLY | os.O_TRUNC)
                said = "written"
            except OSError:
                said = "refused"
            return f"{pinned.leased} {said} {run(pinned.fd)}"

        assert as_somebody(story) == "False refused 0"
