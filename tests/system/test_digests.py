"""Digests that hold: who could write is asked of the kernel, and what cannot be told is not remembered."""

import hashlib
import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from mcpguard.system import digests as room
from mcpguard.system.digests import BURST, Digests
from mcpguard.system.electron import MARKER
from mcpguard.system.executables import describe
from mcpguard.system.kernel import Kernel


class Counting(Kernel):
    """Counts what is read by counting leases, and can be another file system."""

    measured = b""

    def __init__(self):
        self.leases = 0
        self.asked = 0

    def lease(self, fd):
        self.leases += 1
        super().lease(fd)

    def verity(self, fd):
        self.asked += 1
        return self.measured or super().verity(fd)


@pytest.fixture
def place(tmp_path):
    """A file, and its facts as of somebody's own: `take` takes its digest."""

    class Place:
        path = tmp_path / "claude"
        kernel = Counting()

        def __init__(self):
            self.path.write_bytes(b"one" * 1000)
            self.now = 0.0
            self.digests = Digests(self.kernel, lambda: self.now)

        def take(self, user=1000, instance=7, **changes):
            fd = os.open(self.path, os.O_PATH)
            try:
                facts = msgspec.structs.replace(describe(self.kernel, fd), **{"writable": True, **changes})
                return self.digests.take(fd, facts, user, instance)
            finally:
                os.close(fd)

        @property
        def truth(self):
            return hashlib.sha256(self.path.read_bytes()).hexdigest()

    before = len(os.listdir("/proc/self/fd"))
    yield Place()
    assert len(os.listdir("/proc/self/fd")) == before


def test_digest_of_a_file_of_a_users(place):
    found = place.take()
    assert (found.sha256, found.doubt) == (place.truth, "")
    assert place.kernel.leases == 1


def test_it_is_remembered_for_the_same_process_only(place):
    place.take()
    place.take()
    assert place.kernel.leases == 1
    place.take(instance=8)
    assert place.kernel.leases == 2
    place.take(instance=0)
    place.take(instance=0)
    assert place.kernel.leases == 4


def test_changed_file_is_read_again(place):
    place.take()
    place.path.write_bytes(b"two" * 1000)
    assert place.take().sha256 == place.truth
    assert place.kernel.leases == 2


@pytest.mark.root
def test_file_of_the_system_is_remembered_for_all_and_needs_no_lease(place):
    first = place.take(writable=False)
    assert first.sha256 == place.truth
    assert place.kernel.leases == 0
    assert place.take(writable=False, instance=8) is first
    os.utime(place.path, (0, 0))  # ctime tells
    assert place.take(writable=False) is not first


@pytest.mark.root
@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.chown(path, 65533, 0),
        lambda path: path.chmod(0o666),
        lambda path: path.chmod(0o664),
    ],
)
def test_what_others_can_write_by_now_needs_a_lease_whatever_was_said_before(place, change):
    change(place.path)
    assert place.take(writable=False).sha256 == place.truth
    assert place.kernel.leases == 1


def test_file_that_does_not_last_needs_a_lease(place):
    place.take(writable=False, lasting=False)
    assert place.kernel.leases == 1


def test_verified_file_is_remembered_by_its_measurement(place):
    place.kernel.measured = b"\1\0\x20\0" + b"m" * 32
    first = place.take()
    assert first.sha256 == place.truth
    assert place.take(instance=99) is first
    assert place.kernel.leases == 0
    place.kernel.measured = b"\1\0\x20\0" + b"n" * 32
    assert place.take() is not first


def test_file_that_is_open_for_writing_has_no_digest(place):
    with place.path.open("r+b"):
        assert place.take() == room.Fingerprint(doubt="somebody has it open for writing")
    assert place.take().sha256 == place.truth


def test_file_that_is_mapped_for_writing_has_no_digest(place):
    """A store through such a mapping changes neither mtime nor ctime: the lease is what sees it."""
    with place.path.open("r+b") as file:
        view = mmap.mmap(file.fileno(), 0)
    assert place.take().doubt == "somebody has it open for writing"
    view.close()
    assert place.take().sha256 == place.truth


def test_who_opens_it_for_writing_meanwhile_is_noticed_waits_and_ends_nobody(place):
    class Slow(Counting):
        def leased(self, fd):
            writer.append(subprocess.Popen(["/bin/sh", "-c", 'echo y >>"$0"', place.path]))
            while super().leased(fd):
                assert writer[0].poll() is None
            return False

    writer = []
    place.digests = Digests(Slow())
    assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL
    before = place.truth
    assert place.take() == room.Fingerprint(doubt="somebody opened it for writing while it was read")
    assert writer[0].wait(10) == 0
    assert place.truth != before
    place.digests = Digests(place.kernel)
    assert place.take().sha256 == place.truth  # nothing wrong was remembered


def test_lease_is_given_up_afterwards(place):
    place.take()
    began = time.monotonic()
    subprocess.run(["/bin/sh", "-c", 'echo y >>"$0"', place.path], check=True)
    assert time.monotonic() - began < 5


def test_file_that_changes_while_it_is_read_has_no_digest(place):
    class Growing(Counting):
        """A file system without leases that count: the file grows under the reader."""

        def lease(self, fd):
            self.seen = 0

        def leased(self, fd):
            return True

        def release(self, fd):
            pass

        def fstat(self, fd):
            info = super().fstat(fd)
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 1:
                with place.path.open("ab") as file:
                    file.write(b"more")
            return info

    place.digests = Digests(Growing())
    assert place.take().doubt == "it changed while it was read"


@pytest.mark.root
def test_file_of_another_user_cannot_be_held_still_by_us(place):
    place.path.chmod(0o644)
    for above in [place.path.parent, *place.path.parents[1:-1]]:
        above.chmod(above.stat().st_mode | 0o011)
    code = (
        "import os,sys\n"
        "os.setgid(65533); os.setuid(65533)\n"
        "from mcpguard.system.digests import Digests\n"
        "from mcpguard.system.executables import describe\n"
        "from mcpguard.system.kernel import Kernel\n"
        "fd = os.open(sys.argv[1], os.O_PATH)\n"
        "print(Digests().take(fd, describe(Kernel(), fd), 1, 1).doubt)\n"
    )
    from_root = subprocess.run(
        [sys.executable, "-c", "import mcpguard.system.digests, mcpguard.system.executables\n" + code, place.path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert from_root.stdout == "it belongs to uid 0, so it cannot be held still while it is read\n"


def test_descriptor_of_another_file_is_not_read(place):
    assert place.take(inode=1).doubt == "it is another file by now"


def test_file_without_a_right_to_read_it(place):
    class Closed(Counting):
        def open(self, path, flags, at=None):
            if path.startswith("/proc/self/fd/"):
                raise PermissionError(13, "Permission denied")
            return super().open(path, flags, at)

    place.digests = Digests(Closed())
    assert place.take().doubt == "it cannot be read: Permission denied"


def test_file_system_without_leases(place):
    class Without(Counting):
        def lease(self, fd):
            raise OSError(22, "Invalid argument")

    place.digests = Digests(Without())
    assert place.take().doubt == "it cannot be held still while it is read: Invalid argument"


def test_huge_file_is_not_read(place):
    os.truncate(place.path, room.FILE_BYTES + 1)
    assert place.take().doubt == "it is larger than 512 MiB"


def test_each_user_has_a_budget_that_fills_again(place):
    for n in range(BURST):
        assert place.take(instance=n + 1).sha256
    assert place.take(instance=99).doubt == "too many programs were read for uid 1000 just now"
    assert place.take(instance=1).sha256  # what is remembered costs nothing
    assert place.take(user=1001, instance=99).sha256
    place.now = 1.9
    assert place.take(instance=100).doubt
    place.now = 4.0
    assert place.take(instance=100).sha256


def test_two_are_read_at_once_and_one_host_is_read_once(place):
    most, now, lock = 0, 0, threading.Lock()

    class Watched(Counting):
        def lease(self, fd):
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.05)
            super().lease(fd)

        def release(self, fd):
            nonlocal now
            with lock:
                now -= 1
            super().release(fd)

    kernel = Watched()
    place.digests = Digests(kernel)
    found = []

    def one(n):
        found.append(place.take(instance=1 + n % 3))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.sha256 for one in found} == {place.truth}
    assert most == 2
    assert kernel.leases <= 6  # three hosts; two of one may have begun together


def test_memory_has_an_end(place):
    for n in range(1, room.REMEMBERED + 10):
        place.take(user=n, instance=n)
    assert len(place.digests._known) == room.REMEMBERED


def test_fuses_are_found_on_the_way(place):
    place.path.write_bytes(b"x" * ((1 << 20) - 20) + MARKER + b"\x01\x04" + b"1000" + b"y" * 100)
    found = place.take()
    assert (found.sha256, found.fuses) == (place.truth, ("RunAsNode",))
