"""The host behind a shim: real hosts of each kind, what is said of them, and whether it still holds."""

import hashlib
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mcpguard.errors import PeerError
from mcpguard.identity.facts import HostFacts, Program
from mcpguard.identity.grading import appraise
from mcpguard.model import Grade
from mcpguard.system.digests import Digests
from mcpguard.system.hostprocess import Host, attest_host
from mcpguard.system.kernel import Kernel
from mcpguard.system.peercred import Peer
from tests.system.kernels import Hidden, Labelled, Middle, NoPidfds, NoProc, Old, Strict
from tests.system.stage import NODE_HOST, PAIRS_HOST, PYTHON_HOST, arrival, needs_node, shim_command
from tests.system.test_stdioholder import HOSTS, SHELL


def attested(here, kernel=None):
    """The facts and their worth; the host is let go."""
    host = attest_host(here.peer, here.stdin, here.stdout, kernel or Kernel())
    try:
        assert host.recheck() == ""
        return host.facts, appraise(host.facts)
    finally:
        host.close()


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_host_that_starts_the_shim_itself_is_g2(tmp_path, host, kind):
    with arrival(tmp_path, host) as here:
        facts, worth = attested(here)
        assert worth.grade is Grade.G2
        assert (facts.pid, facts.uid, facts.stdin) == (here.host.pid, os.geteuid(), kind)
        assert facts.instance > 0
        assert facts.executable.path == os.path.realpath(shutil.which(host[0]))
        assert facts.program is Program.INTERPRETER
        assert facts.chain[0] == facts.executable.path
        assert facts.doubts == (
            "the script of the host is not known: its code was given on the command line or by the name of a module",
        )
        assert (facts.tracer, facts.label, facts.confined) == (0, "", False)


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_host_behind_a_shell_is_named_and_g1(tmp_path, host, kind):
    with arrival(tmp_path, host, *SHELL) as here:
        facts, worth = attested(here)
        assert worth.grade is Grade.G1
        assert worth.reasons[0] == "it did not start mcpguard itself: something stands between them"
        assert (facts.pid, facts.holds_both, facts.is_parent) == (here.host.pid, True, False)
        assert facts.chain[0] == os.path.realpath("/bin/sh")
        assert facts.chain[1] == facts.executable.path


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_shell_that_executes_the_shim_stands_between_nobody(tmp_path, host, kind):
    with arrival(tmp_path, host, "sh", "-c", 'exec "$@"', "sh") as here:
        assert attested(here)[1].grade is Grade.G2


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_pipeline_of_an_agents_shell_is_worth_nothing(tmp_path, host, kind):
    def command(path):
        return [*host, "bash", "-c", f"printf x | {shlex.join(shim_command(path))}; exit"]

    with arrival(tmp_path, host, command=command) as here:
        facts, worth = attested(here)
        assert worth.grade is Grade.G0
        assert facts.pid == 0
        assert facts.executable is None
        assert facts.chain[0].endswith("/bash")  # who started it can still be refused by name
        assert "no process was found to hold the far end of stdin" in worth.reasons[0]


def test_script_of_an_interpreter_is_found(tmp_path):
    script = tmp_path / "host.py"
    script.write_text(
        "import subprocess as s, sys\ns.Popen(sys.argv[1:], stdin=s.PIPE, stdout=s.PIPE).wait()\n"
    )

    def command(path):
        return [sys.executable, "-IW", "ignore", "host.py", *shim_command(path)]

    where = os.getcwd()
    os.chdir(tmp_path)
    try:
        with arrival(tmp_path, [], command=command) as here:
            host = attest_host(here.peer, here.stdin, here.stdout)
            assert host.facts.script.path == str(script)
            assert host.facts.script.writable or os.geteuid()
            facts = host.digest(Digests())
            assert facts.script.digest == hashlib.sha256(script.read_bytes()).hexdigest()
            assert facts.executable.digest
            assert facts is host.facts
            assert appraise(facts).grade is Grade.G2
            host.close()
    finally:
        os.chdir(where)


# --- does it still hold ---------------------------------------------------------------------------------


def test_host_that_grows_is_the_same_one(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        here.say("import threading, mmap; kept = [bytearray(10**7) for _ in range(9)]; import ssl")
        here.say("threading.Thread(target=threading.Event().wait, daemon=True).start()")
        for _ in range(20):
            assert host.recheck() == ""
            time.sleep(0.01)
        host.close()


@pytest.mark.parametrize("target", ["['sleep', '60']", "[sys.executable, '-I', '-c', 'input()']"])
def test_host_that_executes_another_program_is_not_what_it_was(tmp_path, target):
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        here.say(f"import os, shutil; words = {target}; os.execv(shutil.which(words[0]), words)")
        deadline = time.monotonic() + 10
        while not (why := host.recheck()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert why == "the host is not what it was: it runs another program than before"
        assert not select.select([host.pidfd], [], [], 0)[0]
        host.close()


def test_host_that_ends_is_seen_by_its_handle(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        here.host.kill()
        assert select.select([host.pidfd], [], [], 10)[0]
        assert host.recheck() == "the host is not what it was: it has ended"
        host.close()


def test_shim_that_ends_is_seen_as_well(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        os.kill(here.peer.facts.pid, 9)
        assert select.select([here.peer.pidfd], [], [], 10)[0]
        assert host.recheck() == "the shim is not what it was: it has ended"
        host.close()


def test_host_that_stops_is_still_the_same_one(tmp_path):
    with arrival(tmp_path, PAIRS_HOST) as here:
        os.kill(here.host.pid, 19)
        host = attest_host(here.peer, here.stdin, here.stdout)
        assert host.recheck() == ""
        assert appraise(host.facts).grade is Grade.G2
        os.kill(here.host.pid, 18)
        host.close()


def test_host_that_executes_while_it_is_looked_at_is_worth_nothing(tmp_path):
    class Slow(Kernel):
        """The answer about the host's mount namespace takes until it has become another program."""

        here = None
        asked = 0

        def namespace(self, pidfd, kind):
            self.asked += kind == "mnt"
            if kind == "mnt" and self.asked == 2:  # the shim was first
                self.here.say("import os; os.execv('/bin/sleep', ['sleep', '60'])")
                while "sleep" not in Path(f"/proc/{self.here.host.pid}/comm").read_text():
                    time.sleep(0.01)
            return super().namespace(pidfd, kind)

    kernel = Slow()
    with arrival(tmp_path, PYTHON_HOST, kernel=kernel) as kernel.here:
        here = kernel.here
        host = attest_host(here.peer, here.stdin, here.stdout, kernel)
        assert not host.facts.pinned
        assert host.facts.doubts[-1] == "while the host was looked at: it runs another program than before"
        assert appraise(host.facts).grade is Grade.G0
        host.close()


# --- kernels that tell less -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "socket", "pipe"),
    [
        (Old(), Grade.G1, Grade.G1),
        (Middle(), Grade.G2, Grade.G2),
        (NoPidfds(), Grade.G0, Grade.G0),
        (NoProc(), Grade.G0, Grade.G0),
        (Hidden(), Grade.G2, Grade.G0),
        (Strict(), Grade.G0, Grade.G0),
        (Labelled(), Grade.G2, Grade.G2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Kernel) else value.name,
)
def test_grade_drops_and_a_sentence_says_why(tmp_path, kernel, socket, pipe):
    for host, grade in ((PAIRS_HOST, socket), (PYTHON_HOST, pipe)):
        with arrival(tmp_path, host, kernel=kernel) as here:
            facts, worth = attested(here, kernel)
            assert worth.grade is grade, worth
            assert all(reason and "\n" not in reason for reason in worth.reasons)
            assert facts.doubts or grade >= Grade.G1


def test_caller_without_a_handle_is_still_described(tmp_path):
    with arrival(tmp_path, PAIRS_HOST) as here:
        bare = Host(HostFacts(shim=here.peer.facts), Peer(here.peer.facts))
        assert bare.recheck() == ""
        assert bare.pidfd == -1
        assert bare.digest(Digests()).executable is None
        bare.close()


# --- digests and closing --------------------------------------------------------------------------------


def test_digest_is_dropped_if_the_host_executes_meanwhile(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        here.say("import os; os.execv('/bin/sleep', ['sleep', '60'])")
        while not host.recheck():
            time.sleep(0.01)
        facts = host.digest(Digests())
        assert facts.executable.digest == ""
        assert facts.executable.doubt == "while it was read, of the host: it runs another program than before"
        host.close()


def test_closing_while_a_digest_is_taken_reads_no_other_file(tmp_path):
    """The numbers of closed descriptors are given to others at once: those must not be read in their place."""

    class Held(Digests):
        def take(self, fd, file, user, instance):
            started.set()
            closed.wait(10)
            return super().take(fd, file, user, instance)

    started, closed = threading.Event(), threading.Event()
    with arrival(tmp_path, PYTHON_HOST) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        found = []
        worker = threading.Thread(target=lambda: found.append(host.digest(Held())))
        worker.start()
        started.wait(10)
        host.close()
        others = [os.open(__file__, os.O_RDONLY) for _ in range(20)]
        closed.set()
        worker.join()
        assert found[0].executable.digest == ""  # nobody can say that it is still what the host runs
        assert found[0].script is None
        for fd in others:
            os.close(fd)


def test_host_is_closed_twice_without_harm(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        before = len(os.listdir("/proc/self/fd"))
        host = attest_host(here.peer, here.stdin, here.stdout)
        assert len(os.listdir("/proc/self/fd")) > before
        host.close()
        host.close()
        assert len(os.listdir("/proc/self/fd")) == before
        assert host.digest(Digests()).executable.doubt
        assert host.recheck()


# --- namespaces -----------------------------------------------------------------------------------------


@pytest.mark.root
def test_host_in_a_mount_namespace_of_its_own_is_g0(tmp_path):
    with arrival(tmp_path, ["unshare", "--mount", *PAIRS_HOST]) as here:
        facts, worth = attested(here)
        assert (facts.alone, worth.grade) == (False, Grade.G0)
        assert "mount namespace of its own" in worth.reasons[0]


@pytest.mark.root
def test_holder_in_a_pid_namespace_of_its_own_is_refused(tmp_path):
    """The shim lives with us; who holds its stdio does not."""
    ours, theirs = socket.socketpair()
    code = (
        "import socket, sys, array\n"
        "s = socket.socket(fileno=int(sys.argv[1])); a, b = socket.socketpair()\n"
        "s.sendmsg([b'x'], [(1, 1, array.array('i', [b.fileno()]))]); s.recv(1)\n"
    )
    words = ["unshare", "--pid", "--fork", sys.executable, "-I", "-c", code, str(theirs.fileno())]
    with subprocess.Popen(words, pass_fds=[theirs.fileno()]), ours:
        theirs.close()
        _, (end,), _, _ = socket.recv_fds(ours, 1, 1)
        with arrival(tmp_path, PYTHON_HOST) as here:
            before = len(os.listdir("/proc/self/fd"))
            with pytest.raises(PeerError, match="another namespace"):
                attest_host(here.peer, end, end)
            assert len(os.listdir("/proc/self/fd")) == before
        os.close(end)


@needs_node
def test_it_takes_no_time(tmp_path):
    with arrival(tmp_path, NODE_HOST) as here:
        times = []
        for _ in range(30):
            began = time.perf_counter()
            attest_host(here.peer, here.stdin, here.stdout).close()
            times.append(time.perf_counter() - began)
        assert sorted(times)[5] < 0.010
