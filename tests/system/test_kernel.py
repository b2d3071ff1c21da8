"""The calls, made for real: one that this kernel lacks says so."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.system.kernel import Kernel, place

KERNEL = Kernel()


def test_peer_of_a_socketpair_is_who_made_it():
    one, two = socket.socketpair()
    with one, two:
        assert KERNEL.peer_credentials(two.fileno()) == (os.getpid(), os.getuid(), os.getgid())
        pidfd = KERNEL.peer_pidfd(two.fileno())
        assert not os.get_inheritable(pidfd)
        mine = KERNEL.pidfd_open(os.getpid())
        assert place(os.fstat(pidfd)) == place(os.fstat(mine))
        assert KERNEL.numbered(mine)
        os.close(pidfd)
        os.close(mine)
        assert KERNEL.names(two.fileno()) == ("", "")
        os.fstat(two.fileno())  # nothing closed it


def test_names_of_a_connection_to_a_listener(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)
        server, _ = listener.accept()
        with server:
            assert KERNEL.names(client.fileno()) == ("", path)
            assert KERNEL.names(server.fileno()) == (path, "")


def test_what_is_no_socket_has_no_peer():
    with open("/dev/null") as file:
        for call in (KERNEL.peer_credentials, KERNEL.peer_pidfd, KERNEL.peer_label, KERNEL.names):
            with pytest.raises(OSError):
                call(file.fileno())
        os.fstat(file.fileno())


class Growing(Kernel):
    """A security module whose label is longer at each question than at the one before."""

    def __init__(self, tries):
        self.tries = tries
        self.asked = []

    def option(self, sock, number, size):
        self.asked.append((number, size))
        if len(self.asked) < self.tries:
            raise OSError(errno.ERANGE, "too long")
        return b"user:role:type\0"


def test_label_of_any_length_is_read():
    kernel = Growing(3)
    assert kernel.peer_label(0) == b"user:role:type"
    assert kernel.asked == [(31, 256), (31, 1024), (31, 4096)]


def test_label_that_grows_without_end_is_given_up():
    kernel = Growing(100)
    with pytest.raises(OSError) as caught:
        kernel.peer_label(0)
    assert caught.value.errno == errno.ERANGE
    assert len(kernel.asked) == 4


def test_label_without_a_security_module():
    one, two = socket.socketpair()
    with one, two:
        if Path("/sys/kernel/security/lsm").exists() or Path("/sys/fs/selinux").exists():
            pytest.skip("a security module may be there")
        with pytest.raises(OSError) as caught:
            KERNEL.peer_label(two.fileno())
        assert caught.value.errno == errno.ENOPROTOOPT


def test_information_about_a_process():
    pidfd = KERNEL.pidfd_open(os.getpid())
    answer = KERNEL.pidfd_info(pidfd)
    assert len(answer) == 64
    assert int.from_bytes(answer[:8], sys.byteorder) & 3 == 3
    assert int.from_bytes(answer[16:20], sys.byteorder) == os.getpid()
    for kind in ("mnt", "pid", "user"):
        assert KERNEL.namespace(pidfd, kind) == place(os.stat(f"/proc/self/ns/{kind}"))
    assert not KERNEL.exited(pidfd)
    os.close(pidfd)


def test_end_of_a_process_is_seen_and_nothing_is_said_of_it_afterwards():
    with subprocess.Popen(["sleep", "60"]) as child:
        pidfd = KERNEL.pidfd_open(child.pid)
        child.kill()
    assert KERNEL.exited(pidfd)
    with pytest.raises(ProcessLookupError):
        KERNEL.pidfd_info(pidfd)
    os.close(pidfd)


def test_files_are_read_up_to_a_limit_and_descriptors_are_not_inherited(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 10000)
    fd = KERNEL.open(str(tmp_path / "f"), os.O_RDONLY)
    assert not os.get_inheritable(fd)
    assert KERNEL.read(fd, 100) == b"x" * 100
    assert len(KERNEL.read(fd, 10**6)) == 10000
    os.close(fd)
    where = os.open(tmp_path, os.O_PATH)
    assert KERNEL.stat("f", where).st_size == 10000
    (tmp_path / "link").symlink_to("f")
    assert KERNEL.readlink("link", where) == "f"
    assert KERNEL.stat("link", where, follow=False).st_size == 1
    assert sorted(KERNEL.listdir(str(tmp_path))) == ["f", "link"]
    os.close(where)


def test_lease_is_refused_while_somebody_can_write(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    with path.open("ab"), pytest.raises(BlockingIOError):
        KERNEL.lease(fd)
    KERNEL.lease(fd)
    assert KERNEL.leased(fd)
    KERNEL.release(fd)
    assert not KERNEL.leased(fd)
    os.close(fd)


def test_who_wants_to_write_ends_the_lease_and_not_us(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    KERNEL.lease(fd)
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL  # which would end us
    with subprocess.Popen(["/bin/sh", "-c", 'echo y >>"$0"', path]) as writer:
        while KERNEL.leased(fd):
            assert writer.poll() is None
        assert path.read_bytes() == b"x"  # it has to wait
        KERNEL.release(fd)
        assert writer.wait(10) == 0
    assert path.read_bytes() == b"xy\n"
    os.close(fd)


def test_file_without_verity_has_no_measurement(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    with (tmp_path / "f").open("rb") as file, pytest.raises(OSError):
        KERNEL.verity(file.fileno())
