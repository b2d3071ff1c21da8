"""The contract with macOS, on a layer that answers as xnu documents it. Nothing here has run on macOS.

The layer is a small kernel: processes with a pid, a version that fork and exec change, a parent, open pipes, and
code-signing state; sockets whose far end is whoever used it last, looked up at the moment of asking.
"""

import dataclasses
import os
import socket
import struct

import pytest

from mcpguard.errors import PeerError
from mcpguard.identity.facts import PeerFacts, Program
from mcpguard.system.digests import Digests
from mcpguard.system.macos import Token, attest_host, peer_token, require_same
from mcpguard.system.macoscalls import Parentage, Signature

HARDENED = 0x1 | 0x20000000 | 0x10000 | 0x2000
VENDOR = Signature("TEAM123456", "com.vendor.app", frozenset())
UID = 501


@dataclasses.dataclass
class Process:
    version: int = 1
    parent: int = 1
    began: int = 100
    uid: int = UID
    flags: int = HARDENED
    signature: Signature | None = VENDOR
    path: str = "/Applications/App.app/Contents/MacOS/App"
    pipes: dict = dataclasses.field(default_factory=dict)


class Kernel:
    """Implements `macos.Layer`."""

    def __init__(self):
        self.processes = {}
        self.last_user = {}
        self.connected = {}
        self.on_status = None

    def token(self, fd):
        pid = self.last_user.get(os.fstat(fd).st_ino)
        if pid not in self.processes:
            raise OSError(3, "no such process")
        process = self.processes[pid]
        return struct.pack("8I", 0, process.uid, 20, process.uid, 20, pid, 1, process.version)

    def uid(self, fd):
        return self.connected[os.fstat(fd).st_ino]

    def status(self, pid, token):
        if self.on_status:
            self.on_status()
        return self._of(token).flags

    def signature(self, token):
        signature = self._of(token).signature
        if signature is None:
            raise OSError(-67062, "code object is not signed at all")
        return signature

    def path(self, token):
        return self._of(token).path

    def parentage(self, pid):
        process = self.processes.get(pid)
        if process is None:
            raise OSError(3, "no such process")
        return Parentage(process.parent, process.began)

    def descriptors(self, pid):
        return list(self.processes[pid].pipes)

    def pipe(self, pid, fd):
        if pid == os.getpid():
            return 1, os.fstat(fd).st_ino
        return self.processes[pid].pipes[fd], 0

    def watch(self, pid):
        return os.eventfd(0)

    def _of(self, token):
        pid, version = struct.unpack_from("I", token, 20)[0], struct.unpack_from("I", token, 28)[0]
        process = self.processes.get(pid)
        if process is None or process.version != version:
            raise OSError(3, "no such process")
        return process


class Stage:
    """A host (pid 50) that started a shim (pid 60) over a socketpair."""

    def __init__(self):
        self.kernel = Kernel()
        self.kernel.processes = {50: Process(), 60: Process(parent=50, began=200, path="/usr/bin/python3")}
        self.ours, self.theirs = socket.socketpair()
        self.use(50)
        self.shim = PeerFacts(60, UID, 20, pinned=False)

    def use(self, pid, uid=UID):
        node = os.fstat(self.ours.fileno()).st_ino
        self.kernel.last_user[node] = pid
        self.kernel.connected[node] = uid

    def attest(self):
        return attest_host(self.shim, self.ours.fileno(), self.ours.fileno(), self.kernel)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.ours.close()
    stage.theirs.close()


def test_a_hardened_host_over_a_socketpair_is_known_by_team_and_identifier(stage):
    host = stage.attest()
    facts = host.facts
    assert (facts.pid, facts.team, facts.signing) == (50, "TEAM123456", "com.vendor.app")
    assert facts.holds_both
    assert facts.is_parent
    assert facts.confined
    assert facts.label == "TEAM123456/com.vendor.app"
    assert host.digest(Digests()) is facts
    host.close()
    host.close()


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (HARDENED & ~0x1, "not validly signed"),
        (HARDENED & ~0x10000, "not validly signed"),
        (HARDENED & ~0x20000000, "not validly signed"),
        (HARDENED & ~0x2000, "libraries are not validated"),
        (HARDENED | 0x4, "debuggers"),
        (HARDENED | 0x10000000, "debugged"),
        (HARDENED | 0x2, "ad hoc"),
        (HARDENED | 0x20000, "linker"),
    ],
)
def test_a_signature_that_lets_others_in_names_nobody(stage, flags, what):
    stage.kernel.processes[50].flags = flags
    host = stage.attest()
    assert (host.facts.team, host.facts.label, host.facts.confined) == ("", "", False)
    assert any(what in doubt for doubt in host.facts.doubts)
    host.close()


def test_forced_library_validation_is_as_good(stage):
    stage.kernel.processes[50].flags = HARDENED & ~0x2000 | 0x10
    host = stage.attest()
    assert host.facts.confined
    host.close()


@pytest.mark.parametrize(
    "name",
    [
        "com.apple.security.cs.disable-library-validation",
        "com.apple.security.cs.allow-dyld-environment-variables",
        "com.apple.security.get-task-allow",
    ],
)
def test_entitlements_that_open_a_process_name_nobody(stage, name):
    stage.kernel.processes[50].signature = Signature("TEAM123456", "com.vendor.app", frozenset({name}))
    host = stage.attest()
    assert not host.facts.team
    host.close()


@pytest.mark.parametrize("signature", [None, Signature("", "node", frozenset())])
def test_without_a_team_nobody_is_named(stage, signature):
    stage.kernel.processes[50].signature = signature
    host = stage.attest()
    assert (host.facts.team, host.facts.confined) == ("", False)
    host.close()


def test_exec_between_two_looks_is_refused(stage):
    """The pid stays, the pidversion does not: a host that becomes a signed program while it is looked at."""

    def execute():
        stage.kernel.processes[50].version += 1

    stage.kernel.on_status = execute
    with pytest.raises(PeerError, match="changed while"):
        stage.attest()


def test_a_reused_pid_is_refused(stage):
    before = peer_token(stage.ours.fileno(), stage.kernel)
    stage.kernel.processes[50] = Process(version=9)
    with pytest.raises(PeerError, match="changed while"):
        require_same(stage.ours.fileno(), before, stage.kernel)


def test_another_process_that_used_the_socket_last_is_another_peer(stage):
    host = stage.attest()
    assert host.recheck() == ""
    stage.kernel.processes[77] = Process(version=1)
    stage.use(77)
    assert "changed" in host.recheck()
    host.close()


def test_exec_after_the_session_began_is_seen(stage):
    host = stage.attest()
    stage.kernel.processes[50].version += 1
    assert "changed" in host.recheck()
    host.close()


def test_the_watch_tells_of_the_end(stage):
    reader, writer = os.pipe()
    stage.kernel.watch = lambda _pid: os.dup(reader)
    host = stage.attest()
    assert host.recheck() == ""
    os.write(writer, b"x")
    assert "ended" in host.recheck()
    host.close()
    os.close(reader)
    os.close(writer)


def test_the_last_user_must_be_of_the_user_that_connected(stage):
    stage.use(50, uid=502)
    with pytest.raises(PeerError, match="uid 502"):
        stage.attest()


def test_a_dead_last_user_is_nobody(stage):
    del stage.kernel.processes[50]
    with pytest.raises(PeerError, match="does not say"):
        stage.attest()


def test_a_token_of_another_size_is_refused():
    with pytest.raises(PeerError, match="unknown form"):
        Token.parse(b"short")


def test_a_parent_that_began_after_its_child_is_none(stage):
    stage.kernel.processes[50].began = 300
    host = stage.attest()
    assert not host.facts.is_parent
    host.close()


def test_a_pipe_names_the_parent_only_if_it_holds_the_far_end_and_pins_nobody(stage):
    reader, writer = os.pipe()
    stage.kernel.processes[50].pipes = {7: 1, 8: os.fstat(reader).st_ino}
    host = attest_host(stage.shim, reader, writer, stage.kernel)
    assert (host.facts.pid, host.facts.pinned, host.facts.team) == (50, False, "")
    assert "pins nobody" in host.facts.doubts[0]
    host.close()
    stage.kernel.processes[50].pipes = {7: 1}
    host = attest_host(stage.shim, reader, writer, stage.kernel)
    assert host.facts.pid == 0
    host.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/local/bin/node", Program.INTERPRETER),
        ("/usr/bin/python3.12", Program.INTERPRETER),
        ("/bin/zsh", Program.SHELL),
        ("/Applications/Zed.app/Contents/MacOS/zed", Program.NATIVE),
    ],
)
def test_interpreters_and_shells_are_told_apart(stage, path, kind):
    stage.kernel.processes[50].path = path
    host = stage.attest()
    assert host.facts.program is kind
    host.close()
