"""Who is at the other end: real processes, other users, other namespaces."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcpguard.errors import PeerError
from mcpguard.system import peercred
from mcpguard.system.descriptors import Sender
from mcpguard.system.kernel import Kernel
from tests.system.kernels import Another, Middle, NoPidfds, Old, Reaped, Remote

CONNECT = """
import os, socket, sys
path, *ids = sys.argv[1:]
if ids:
    os.setgid(int(ids[1]))
    os.setuid(int(ids[0]))
s = socket.socket(socket.AF_UNIX)
s.connect(path)
s.send(b"x")
s.recv(1)
"""


@contextmanager
def caller(
    tmp_path: Path, *before: str, ids: tuple[str, ...] = ()
) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """A connection from a process of its own, which stays until told."""
    path = str(tmp_path / "s")
    for above in [tmp_path, *tmp_path.parents[:-1]]:
        if above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o011)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o777)
        listener.listen()
        listener.settimeout(10)
        with subprocess.Popen([*before, sys.executable, "-I", "-c", CONNECT, path, *ids]) as child:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                yield sock, child


def test_process_is_named_and_held(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, child):
        peer = peercred.attest(sock)
        assert (peer.facts.pid, peer.facts.uid, peer.facts.gid) == (child.pid, os.geteuid(), os.getegid())
        assert peer.facts.pinned
        assert not os.get_inheritable(peer.pidfd)
        assert peer.alive()
        peercred.require_namespaces(peer)
        child.kill()
        child.wait()
        assert not peer.alive()
        with pytest.raises(PeerError):
            peercred.require_namespaces(peer)
        peer.close()
        peer.close()
        assert peer.alive()  # without a handle nobody can tell


def test_dead_peer_is_still_named(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, child):
        child.kill()
        child.wait()
        peer = peercred.attest(sock)
        assert peer.facts.pid == child.pid
        assert not peer.alive()
        peer.close()


def test_own_user_is_required(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, _):
        assert peercred.require_user(sock, os.geteuid()) == os.geteuid()
        with pytest.raises(PeerError, match=f"belongs to uid {os.geteuid()}, not 12345"):
            peercred.require_user(sock, 12345)


@pytest.mark.root
def test_another_user_is_seen(tmp_path: Path) -> None:
    with caller(tmp_path, ids=("65533", "65532")) as (sock, _):
        peer = peercred.attest(sock)
        assert (peer.facts.uid, peer.facts.gid) == (65533, 65532)
        peer.close()
        with pytest.raises(PeerError, match="belongs to uid 65533"):
            peercred.require_user(sock, os.geteuid())


@pytest.mark.root
@pytest.mark.parametrize(
    "wall",
    [
        ["unshare", "--pid", "--fork"],
        ["unshare", "--user", "--map-root-user"],
        *([["bwrap", "--dev-bind", "/", "/", "--unshare-pid"]] if shutil.which("bwrap") else []),
    ],
)
def test_caller_in_a_namespace_below_ours_is_refused(tmp_path: Path, wall: list[str]) -> None:
    with caller(tmp_path, *wall) as (sock, _):
        peer = peercred.attest(sock)  # the kernel translates its pid into ours: it looks like a neighbour
        assert peer.facts.pid > 0
        with pytest.raises(PeerError, match="lives in another namespace"):
            peercred.require_namespaces(peer)
        peer.close()


@pytest.mark.root
def test_caller_in_a_mount_namespace_of_its_own_is_not_refused(tmp_path: Path) -> None:
    with caller(tmp_path, "unshare", "--mount") as (sock, _):
        peer = peercred.attest(sock)
        peercred.require_namespaces(peer)
        peer.close()


@pytest.mark.root
def test_caller_from_outside_our_pid_namespace_is_refused(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "from mcpguard.errors import PeerError\n"
        "from mcpguard.system import peercred\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try: peercred.attest(s)\n"
        "except PeerError as error: print(error.sentence())\n"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        told = subprocess.run(
            ["unshare", "--pid", "--fork", sys.executable, "-I", "-c", code, str(tmp_path / "s")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert told.stdout == "the caller lives in another namespace: run it outside the sandbox or container\n"


def test_socket_without_a_peer_is_refused() -> None:
    with socket.socket(socket.AF_INET) as sock, pytest.raises(PeerError):
        peercred.attest(sock)


def test_listener_is_named_from_the_connecting_side(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sock:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        sock.connect(str(tmp_path / "s"))
        peer = peercred.attest(sock)
        assert peer.facts.pid == os.getpid()
        peer.close()


# --- what may have changed since ------------------------------------------------------------------------


def sender(credentials: tuple[int, int, int] | None, pidfd: int) -> Sender:
    said = Sender()
    said.credentials, said.pidfd = credentials, pidfd
    return said


def test_sender_must_be_the_peer_by_id_user_and_handle(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, child):
        peer = peercred.attest(sock)
        own, other = os.pidfd_open(child.pid), os.pidfd_open(os.getpid())
        ids = (child.pid, os.getuid(), os.getgid())
        peercred.require_sender(peer, sender(ids, own))
        for wrong in (
            sender((os.getpid(), *ids[1:]), own),
            sender((child.pid, ids[1] + 1, ids[2]), own),
            sender(ids, other),
            sender(ids, -1),
            sender(None, own),
        ):
            with pytest.raises(PeerError, match=r"another process|does not say who sent"):
                peercred.require_sender(peer, wrong)
        for fd in (own, other):
            os.close(fd)
        peer.close()


def test_older_kernels_compare_ids_and_say_that_the_handle_is_second_hand(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, child):
        peer = peercred.attest(sock, Old())
        assert not peer.facts.pinned
        assert peer.pidfd >= 0
        assert peer.alive()
        peercred.require_sender(peer, sender((child.pid, os.getuid(), 0), -1), Old())
        with pytest.raises(PeerError):
            peercred.require_sender(peer, sender((os.getpid(), os.getuid(), 0), -1), Old())
        peer.close()
        bare = peercred.attest(sock, NoPidfds())
        assert bare.pidfd == -1
        assert bare.changed() == ""
        peercred.require_sender(bare, sender((child.pid, os.getuid(), 0), -1))


def test_kernel_without_numbered_handles_compares_what_they_name(tmp_path: Path) -> None:
    with caller(tmp_path) as (sock, child):
        peer = peercred.attest(sock, Middle())
        assert peer.facts.pinned
        own, other = os.pidfd_open(child.pid), os.pidfd_open(os.getpid())
        ids = (child.pid, os.getuid(), os.getgid())
        peercred.require_sender(peer, sender(ids, own), Middle())
        with pytest.raises(PeerError):
            peercred.require_sender(peer, sender(ids, other), Middle())
        for fd in (own, other):
            os.close(fd)
        peer.close()


@pytest.mark.parametrize(
    ("kernel", "words"),
    [(Remote(), "another namespace"), (Reaped(), "is gone"), (Another(), "is not what it was")],
)
def test_handle_that_contradicts_the_credentials_is_refused(
    tmp_path: Path, kernel: Kernel, words: str
) -> None:
    with caller(tmp_path) as (sock, _):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(PeerError, match=words):
            peercred.attest(sock, kernel)
        assert len(os.listdir("/proc/self/fd")) == before


def test_peer_that_executes_another_program_is_seen(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    code = "import os,socket,sys;s=socket.socket(1);s.connect(sys.argv[1]);s.recv(1);os.execv('/bin/sleep',['sleep','60'])"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with subprocess.Popen([sys.executable, "-I", "-c", code, path]) as child:
            sock, _ = listener.accept()
            peer = peercred.attest(sock)
            assert peer.changed() == ""
            sock.send(b"x")
            sock.settimeout(10)
            assert sock.recv(1) == b""  # closed by exec
            assert peer.alive()
            assert peer.changed() == "it runs another program than before"
            child.kill()
            child.wait()
            assert peer.changed() == "it has ended"
            peer.close()
            sock.close()
