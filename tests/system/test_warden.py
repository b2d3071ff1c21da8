"""The warden's protocol, spoken by hand to a real one, and its view of the process table."""

import array
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpguard.system import warden

SOURCE = Path(warden.__file__)
GRACES = ("0.4", "0.2", "0.3")
"""EOF, TERM, drain: seconds."""
WITHOUT_LIBFFI = f"""
import sys
sys.modules["_ctypes"] = None
sys.argv[0] = {str(SOURCE)!r}
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


class Zygote:
    """The daemon's part, without asyncio."""

    def __init__(self, *program: str) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(10)
        argv = [
            sys.executable,
            "-I",
            "-S",
            *(program or (str(SOURCE),)),
            str(theirs.fileno()),
            *GRACES,
            str(2**60),
        ]
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env={})
        theirs.close()
        self.lines = self.sock.makefile("r")
        self.ready = self.lines.readline()

    def session(
        self, *argv: str, spec: bytes | None = None, env: tuple[str, ...] = (), stdout: int = 1
    ) -> "Session":
        ours, theirs = socket.socketpair()
        fds = array.array("i", [theirs.fileno(), 0, stdout, 2])
        self.sock.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        theirs.close()
        if spec is None:
            spec = "\0".join(["/", "18 -1 0", str(len(argv)), *argv, "PATH=/usr/bin:/bin", *env]).encode()
        return Session(ours, len(spec).to_bytes(4, "big") + spec)

    def close(self) -> None:
        self.lines.close()
        self.sock.close()
        assert self.process.wait(10) == 0


class Session:
    def __init__(self, sock: socket.socket, spec: bytes) -> None:
        self.sock = sock
        self.sock.settimeout(10)
        self.lines = sock.makefile("r")
        verb, pid = self.read()
        assert verb == "warden"
        self.warden = int(pid)
        self.sock.sendall(spec)

    def read(self) -> list[str]:
        return self.lines.readline().split()

    def rest(self) -> list[str]:
        """All lines to the end."""
        with self.lines, self.sock:
            return [line.rstrip() for line in self.lines]


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    assert made.ready == "ready 1\n"
    yield made
    made.close()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- what it is made of ---------------------------------------------------------------------------------


def test_program_imports_c_modules_only() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.argv[1:] = []\n"
        f"exec(compile(open({str(SOURCE)!r}).read(), 'warden', 'exec'), {{'__name__': 'warden'}})\n"
        "prctl = warden = None\n"
        "import _ctypes\n"
        "for name in sorted(set(sys.modules) - before):\n"
        "    print(name, getattr(sys.modules[name], '__file__', 'builtin'))"
    )
    lines = subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True).splitlines()
    assert {line.split()[0] for line in lines} == {"_ctypes", "_socket", "gc", "resource", "select"}
    assert all(line.endswith((" builtin", ".so")) for line in lines)


def test_running_zygote_and_warden_hold_nothing_but_their_own(zygote: Zygote) -> None:
    session = zygote.session("sleep", "60")
    assert session.read()[0] == "started"
    for pid, sockets in ((zygote.process.pid, 1), (session.warden, 1)):
        folder = Path(f"/proc/{pid}/fd")
        kept = {int(fd.name): os.readlink(fd) for fd in folder.iterdir()}
        assert kept.pop(0) == kept.pop(1) == "/dev/null"
        kept.pop(2)
        assert sorted(link.split(":")[0] for link in kept.values()) == ["pipe", "pipe", *["socket"] * sockets]
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert "Threads:\t1\n" in Path(f"/proc/{pid}/status").read_text()
    session.sock.sendall(b"kill\n")
    assert session.rest() == ["exit 137", "gone"]


# --- the protocol ---------------------------------------------------------------------------------------


def test_session_from_start_to_gone(zygote: Zygote) -> None:
    session = zygote.session("sh", "-c", "exit 7")
    assert session.read()[0] == "started"
    assert session.rest() == ["exit 7", "gone"]
    assert zygote.lines.readline() == f"ended {session.warden}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["nope"], "failed exec 2"), (["/"], "failed exec 13"), ([""], "failed exec 2")],
)
def test_failed_exec_names_stage_and_errno(zygote: Zygote, argv: list[str], said: str) -> None:
    assert zygote.session(*argv).rest() == [said, "gone"]


@pytest.mark.parametrize(
    "spec",
    [
        b"",
        b"/",
        b"/\x00",
        b"/\x0018 0 0\x000",
        b"/\x0018 0 0\x002\0a",
        b"/\x0018 0 0\x00-1\0a",
        b"/\x0018 0 0\x001\0a\0b",
        b"/\x0018 0 0\x001\0a\0=b",
        b"/\x0018 0 0\x001\0a\0A=\0A=",
        b"/\x00\x001\0a",
        b"/\x0018 0\x001\0a",
        b"/\x0018 0 x\x001\0a",
    ],
)
def test_malformed_specification_starts_nothing(zygote: Zygote, spec: bytes) -> None:
    with pytest.raises(ValueError):
        warden.parse_spec(spec)
    session = zygote.session(spec=spec)
    assert session.rest() == ["failed spec 22"]
    assert zygote.lines.readline() == f"ended {session.warden}\n"


def test_specification_is_parsed() -> None:
    spec = b"/tmp\x0018 1024 -1\x002\0a\0\0A=1\0B=="
    assert warden.parse_spec(spec) == (b"/tmp", [18, 1024, -1], [b"a", b""], {b"A": b"1", b"B": b"="})
    assert warden.parse_spec(b"\x0063 0 0\x001\0a") == (b"", [63, 0, 0], [b"a"], {})


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09/", b"\xff\xff\xff\xff", b"\0\x90\0\0"])
def test_specification_cut_short_or_too_long_starts_nothing(zygote: Zygote, sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    fds = array.array("i", [theirs.fileno(), 0, 1, 2])
    zygote.sock.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    theirs.close()
    session = Session(ours, sent)
    session.sock.shutdown(socket.SHUT_WR)
    assert session.rest() == ["failed spec 22"]


def test_request_without_four_descriptors_is_dropped(zygote: Zygote) -> None:
    zygote.sock.send(b"+")
    fds = array.array("i", [0, 1])
    zygote.sock.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    assert zygote.session("true").rest()[1:] == ["exit 0", "gone"]
    assert len(os.listdir(f"/proc/{zygote.process.pid}/fd")) == 6


def test_commands_may_arrive_in_pieces_and_unknown_ones_end_the_session(zygote: Zygote) -> None:
    session = zygote.session("sleep", "60")
    assert session.read()[0] == "started"
    session.sock.sendall(b"sig")
    time.sleep(0.02)
    session.sock.sendall(b"nal 0\nsignal 10")
    time.sleep(0.02)
    assert Path(f"/proc/{session.warden}").exists()
    session.sock.sendall(b"\n")
    assert session.rest() == ["exit 138", "gone"]
    session = zygote.session("sleep", "60")
    session.sock.sendall(b"what\n")
    assert session.rest()[1:] == ["exit 143", "gone"]


@pytest.mark.parametrize(
    ("command", "least", "most", "code"),
    [("end", 0.6, 1.2, 137), ("term", 0.2, 0.8, 137), ("kill", 0.0, 0.6, 137)],
)
def test_graces_are_kept(zygote: Zygote, command: str, least: float, most: float, code: int) -> None:
    session = zygote.session("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    assert session.read()[0] == "started"
    time.sleep(0.1)
    began = time.monotonic()
    session.sock.sendall(f"{command}\n".encode())
    assert session.rest() == [f"exit {code}", "gone"]
    assert least <= time.monotonic() - began < most


def test_descendants_may_drain_are_then_asked_and_then_killed(zygote: Zygote, tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = f"trap 'echo asked > {told}' TERM; while :; do sleep 0.01; done"
    session = zygote.session(
        "sh", "-c", f"setsid sh -c '{code.replace(chr(39), chr(34))}' & sleep 0.1; exit 3"
    )
    assert session.read()[0] == "started"
    assert session.read() == ["exit", "3"]
    began = time.monotonic()
    assert session.rest() == ["gone"]
    assert 0.5 <= time.monotonic() - began < 1.2
    assert told.read_text() == "asked\n"


def test_descendants_that_end_in_time_are_not_disturbed(zygote: Zygote) -> None:
    read, write = os.pipe()
    session = zygote.session("sh", "-c", "(sleep 0.1; echo drained) & exit 0", stdout=write)
    os.close(write)
    assert session.rest()[1:] == ["exit 0", "gone"]
    assert os.read(read, 99) == b"drained\n"
    os.close(read)


def test_zygote_ends_with_its_daemon_and_takes_a_hung_warden_along() -> None:
    zygote = Zygote()
    session = zygote.session("sleep", "60")
    server = int(session.read()[1])
    os.kill(session.warden, signal.SIGSTOP)
    began = time.monotonic()
    zygote.close()
    assert time.monotonic() - began < 2
    assert not Path(f"/proc/{server}").exists()
    assert session.rest() == []


def test_without_subreaper_the_group_is_ended() -> None:
    zygote = Zygote("-c", WITHOUT_LIBFFI)
    assert zygote.ready == "ready 0\n"
    read, write = os.pipe()
    session = zygote.session("sh", "-c", "trap '' TERM; (trap '' TERM; sleep 60) & exit 5", stdout=write)
    os.close(write)
    assert session.rest()[1:] == ["exit 5", "gone"]
    assert os.read(read, 1) == b"", "who holds it is gone"
    os.close(read)
    zygote.close()


# --- the process table ----------------------------------------------------------------------------------


TREE = "import os, time, threading\nopen('/proc/self/comm', 'w').write(') S 1 (')\n{}\nprint('ready', flush=True)\ntime.sleep(60)"
IN_THREAD = "t = threading.Thread(target=lambda: (__import__('subprocess').Popen(['sleep', '60']), time.sleep(60)), daemon=True); t.start(); time.sleep(0.3)"


def test_both_ways_to_list_children_agree() -> None:
    with subprocess.Popen([sys.executable, "-c", TREE.format(IN_THREAD)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        scan = warden.scanned()
        assert warden.LISTS
        assert warden.children(parent.pid) == scan(parent.pid)
        assert len(scan(parent.pid)) == 1
        assert parent.pid in scan(os.getpid())
        for pid in (*scan(parent.pid), parent.pid):
            os.kill(pid, signal.SIGKILL)
    assert warden.children(parent.pid) == []


COMET = """
import os, signal, sys
print(os.getpid(), flush=True)
if os.fork() == 0:
    os.setsid()
    while True:
        if os.fork():
            os._exit(0)
        {}
while True: signal.pause()
"""


@pytest.mark.parametrize(
    ("lists", "escape"),
    [
        (True, ""),
        (True, "os.setpgid(0, 0)"),
        (True, "os.setsid()"),
        (False, ""),  # one that also leaves its group each time may be ahead of a scan
    ],
)
def test_cull_beats_what_forks_and_exits_without_end(
    monkeypatch: pytest.MonkeyPatch, lists: bool, escape: str
) -> None:
    monkeypatch.setattr(warden, "LISTS", lists)
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 1)

    def emptied() -> bool:
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return True
        return False

    def culled() -> bool:
        warden.cull(lambda: [] if emptied() else warden.children(os.getpid()))
        return emptied()

    assert emptied()
    try:
        comet = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", COMET.format(escape)], stdout=subprocess.PIPE
        )
        assert comet.stdout
        comet.stdout.readline()
        comet.stdout.close()
        time.sleep(0.1)
        wait_for(culled)
        comet.returncode = 0  # for its destructor
    finally:
        monkeypatch.undo()
        wait_for(culled)
        warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)


def test_signal_to_nobody_is_no_error() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert not warden.send(child.pid, 0)
    assert not warden.send(-child.pid, 0)
    assert warden.send(os.getpid(), 0)
    warden.strike(child.pid, signal.SIGKILL)
    assert warden.slurp("/nonexistent") == b""
    assert warden.names("/nonexistent") == []
