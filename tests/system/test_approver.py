"""What is above a real caller."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mcpguard.errors import PeerError
from mcpguard.system import warden
from mcpguard.system.approver import Below, require_person
from mcpguard.system.kernel import Kernel
from mcpguard.system.peercred import Peer, attest

CALL = """
import os, socket, sys
if sys.argv[2] == "orphan":
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.recv(1)
"""


@pytest.fixture
def listener(tmp_path: object) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/s")
        sock.listen()
        sock.settimeout(10)
        yield sock


def call(listener: socket.socket, how: str) -> tuple[Peer, socket.socket, subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-I", "-c", CALL, listener.getsockname(), how])
    sock, _ = listener.accept()
    return attest(sock), sock, child


@pytest.mark.parametrize("how", ["child", "orphan"])
def test_who_is_above_a_caller(listener: socket.socket, how: str) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    peer, sock, child = call(listener, how)
    try:
        require_person(peer, {}, {})
        require_person(peer, {}, {bystander.pid: "a bystander"})
        if how == "child":
            require_person(peer, {bystander.pid: Below("a bystander")}, {})
            with pytest.raises(PeerError, match="this test may not change this"):
                require_person(peer, {os.getpid(): Below("this test")}, {})
            with pytest.raises(PeerError, match="this test may not change this"):
                require_person(peer, {}, {os.getpid(): "this test"})
        else:  # it has left us: nobody can tell whether the bystander has started it
            with pytest.raises(PeerError, match="may have started it"):
                require_person(peer, {bystander.pid: Below("a bystander")}, {})
            require_person(peer, {}, {os.getpid(): "this test"})
    finally:
        bystander.kill()
        bystander.wait()
        peer.close()
        sock.close()
        child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_what_a_reaper_that_nobody_knows_has_adopted(listener: socket.socket) -> None:
    """It counts if it is above the host: who says that something else adopts is not believed."""
    bystander = subprocess.Popen(["sleep", "60"])
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 1)
    peer, sock, child = call(listener, "orphan")
    try:
        require_person(peer, {bystander.pid: Below("a bystander")}, {})
        require_person(peer, {bystander.pid: Below("a bystander", child.pid)}, {})
        with pytest.raises(PeerError, match="may have started it"):
            require_person(peer, {bystander.pid: Below("a bystander", os.getpid())}, {})
    finally:
        warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)
        bystander.kill()
        bystander.wait()
        sock.close()
        child.wait()
        os.waitpid(peer.facts.pid, 0)
        peer.close()


def test_a_host_that_is_gone_is_no_hindrance(listener: socket.socket) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    peer, sock, child = call(listener, "child")
    require_person(peer, {ended.pid: Below("nobody")}, {})
    peer.close()
    sock.close()
    child.wait()


class Blind(Kernel):
    """A kernel that says nothing of processes."""

    def read(self, fd: int, size: int) -> bytes:
        raise PermissionError(fd, size)


def test_what_cannot_be_told_is_refused(listener: socket.socket) -> None:
    peer, sock, child = call(listener, "child")
    with pytest.raises(PeerError, match="what a connected host is cannot be told"):
        require_person(peer, {os.getpid(): Below("this test")}, {}, Blind())
    assert peer.process
    peer.process.kernel = Blind()
    with pytest.raises(PeerError, match="what the caller is below cannot be told"):
        require_person(peer, {}, {})
    peer.close()
    sock.close()
    child.wait()
