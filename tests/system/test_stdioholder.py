"""Who holds the far ends: hosts with socketpairs and with pipes, directly and through shells; and those who do not."""

import os
import shlex
import socket
import subprocess
import sys

import pytest

from mcpguard.system import stdioholder
from mcpguard.system.ancestry import parent
from mcpguard.system.kernel import Kernel
from mcpguard.system.pidinfo import ForeignError
from tests.system.kernels import Hidden, Middle, NoPidfds, NoProc, Old
from tests.system.stage import NODE_HOST, PAIRS_HOST, PYTHON_HOST, arrival, needs_node, shim_command

HOSTS = [
    pytest.param(NODE_HOST, "socket", id="node", marks=needs_node),
    pytest.param(PAIRS_HOST, "socket", id="pairs"),
    pytest.param(PYTHON_HOST, "pipe", id="python"),
]
SHELL = ["sh", "-c", '"$@"; exit', "sh"]


def found(here, kernel=None):
    """What is told of an arrival; everything is let go before it is returned."""
    kernel = kernel or Kernel()
    above = parent(here.peer.process)
    held = stdioholder.find(kernel, here.stdin, here.stdout, here.peer.process, above)
    told = (
        held.kind,
        held.stdin and held.stdin.pid,
        held.stdout and held.stdout.pid,
        held.both,
        held.stdin is not None and held.stdin.same(above),
    )
    held.close()
    if above is not None:
        above.close()
    return told, held.doubts


@pytest.mark.parametrize("kernel", [Kernel(), Old(), Middle()])
@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_host_is_its_direct_parent(tmp_path, host, kind, kernel):
    with arrival(tmp_path, host, kernel=kernel) as here:
        pid = here.host.pid
        assert found(here, kernel) == ((kind, pid, pid, True, True), [])


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_host_is_named_through_a_shell_and_is_then_no_parent(tmp_path, host, kind):
    with arrival(tmp_path, host, *SHELL) as here:
        pid = here.host.pid
        assert found(here) == ((kind, pid, pid, True, False), [])


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_host_that_is_gone_is_not_named(tmp_path, host, kind):
    with arrival(tmp_path, host, *SHELL) as here:
        here.host.kill()
        here.host.wait()
        (seen, stdin, _, both, _), doubts = found(here)
        assert (seen, stdin, both) == (kind, None, False)
        assert doubts[0] in (
            "the process that made stdin has ended",
            "nobody was found who can write to stdin",
        )


@pytest.mark.parametrize(
    "line",
    [
        "printf x | {}",
        "shopt -s lastpipe; printf x | exec {}",
        "sleep 60 | {}",
        "{} < /dev/zero | cat",
        "coproc {{ sleep 60; }}; {} <&${{COPROC[0]}}",
    ],
)
@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_shell_of_an_agent_is_not_its_host(tmp_path, host, kind, line):
    """The host runs a shell over its own pipes; the shell's child runs the shim in a pipeline."""

    def command(path):
        return [*host, "bash", "-c", line.format(shlex.join(shim_command(path)))]

    with arrival(tmp_path, host, command=command) as here:
        (_, _, _, both, bound), _ = found(here)
        assert not (both and bound)


def test_second_writer_is_a_doubt(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        here.say(
            "other = subprocess.Popen(['sleep', '60'], pass_fds=[child.stdin.fileno()]); print(flush=True)"
        )
        before = found(here)
        while before[0][3]:
            before = found(here)
        told, doubts = before
        assert told == ("pipe", here.host.pid, here.host.pid, False, True)
        assert doubts == ["2 processes can write to stdin"]
        here.say("other.kill()")


def test_connection_to_a_listening_socket_is_not_the_listeners(tmp_path):
    """A host listens somewhere; its child connects there and passes the connection as stdio."""
    code = (
        "import os, socket, subprocess, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '.host'); s.listen()\n"
        "child = subprocess.Popen([sys.executable, '-I', '-c', sys.argv[2], *sys.argv[1:]])\n"
        "time.sleep(60)\n"
    )
    caught = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1] + '.host')\n"
        "os.dup2(s.fileno(), 0); os.dup2(s.fileno(), 1)\n"
        "os.execv(sys.argv[3], sys.argv[3:])\n"
    )

    def command(path):
        return [sys.executable, "-I", "-c", code, str(path), caught, *shim_command(path)]

    with arrival(tmp_path, [], command=command) as here:
        with socket.socket(fileno=os.dup(here.stdin)) as view:
            pid = Kernel().peer_credentials(view.fileno())[0]
        assert pid == here.host.pid  # the kernel names the listener, which passed nothing to anybody
        (_, stdin, stdout, both, _), doubts = found(here)
        assert (stdin, stdout, both) == (None, None, False)
        assert doubts[0] == "stdin is a connection to a listening socket, not one end of a pair"


def test_pair_that_the_shim_made_itself_has_no_holder(tmp_path):
    code = (
        "import os, socket, sys\n"
        "a, b = socket.socketpair(); os.dup2(a.fileno(), 0); os.dup2(a.fileno(), 1); os.set_inheritable(b.fileno(), True)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    with arrival(tmp_path, [sys.executable, "-I", "-c", code]) as here:
        (kind, stdin, _, both, _), doubts = found(here)
        assert (kind, stdin, both) == ("socket", None, False)
        assert doubts[0] == "stdin was made by the shim itself"


def test_pipe_that_only_the_shim_holds_has_no_holder(tmp_path):
    os.mkfifo(tmp_path / "p")
    code = f'exec 0<>{tmp_path / "p"} 1>&0; exec "$@"'
    with arrival(tmp_path, ["bash", "-c", code, "bash"]) as here:
        (_, stdin, stdout, both, _), doubts = found(here)
        assert (stdin, stdout, both) == (None, None, False)
        assert doubts == ["nobody was found who can write to stdin", "nobody was found who can read stdout"]


def test_named_pipes_are_followed_like_others(tmp_path):
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    code = 'exec 3<>"$0" 4<>"$1"; a=$0; b=$1; shift; "$@" <"$a" >"$b" 3>&- 4>&-; exit'
    with arrival(tmp_path, ["bash", "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]) as here:
        pid = here.host.pid
        assert found(here)[0] == ("pipe", pid, pid, True, True)


@pytest.mark.parametrize("kernel", [NoProc(), Hidden()])
def test_without_proc_a_socket_still_names_its_maker_and_a_pipe_nobody(tmp_path, kernel):
    with arrival(tmp_path, PAIRS_HOST) as here:
        assert found(here, kernel)[0][1] == here.host.pid
    with arrival(tmp_path, PYTHON_HOST) as here:
        told, doubts = found(here, kernel)
        assert told[:4] == ("pipe", None, None, False)
        assert doubts == ["nobody was found who can write to stdin", "nobody was found who can read stdout"]


def test_kernel_without_handles_names_nobody(tmp_path):
    for host in (PAIRS_HOST, PYTHON_HOST):
        with arrival(tmp_path, host) as here:
            told, doubts = found(here, NoPidfds())
            assert told[1:4] == (None, None, False)
            assert doubts


def test_holder_whose_credentials_are_foreign_is_refused(tmp_path):
    class Outside(Kernel):
        def peer_credentials(self, sock):
            return 0, 65534, 65534

    with arrival(tmp_path, PAIRS_HOST) as here:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ForeignError):
            stdioholder.find(Outside(), here.stdin, here.stdout, here.peer.process, None)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("host", [PAIRS_HOST, PYTHON_HOST])
def test_holder_out_of_reach_is_refused_and_nothing_stays_open(tmp_path, host):
    class Beyond(Kernel):
        def pidfd_info(self, pidfd):
            raise OSError(66, "EREMOTE")

    with arrival(tmp_path, host) as here:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ForeignError):
            stdioholder.find(Beyond(), here.stdin, here.stdout, here.peer.process, None)
        assert len(os.listdir("/proc/self/fd")) == before


def test_search_has_an_end(tmp_path):
    class Crowded(Kernel):
        """Every process seems to have ten thousand files open."""

        def listdir(self, path):
            names = super().listdir(path)
            return names if isinstance(path, str) else names + [str(n) for n in range(10**6, 10**6 + 10_000)]

    with arrival(tmp_path, PYTHON_HOST) as here:
        told, doubts = found(here, Crowded())
        assert told == ("pipe", here.host.pid, here.host.pid, False, True)  # the parent is asked first
        assert doubts == ["so many files are open that not all could be looked at"]


def test_what_is_neither_pipe_nor_socket(tmp_path):
    with arrival(tmp_path, PAIRS_HOST) as here, open("/dev/null") as null:
        held = stdioholder.find(Kernel(), null.fileno(), null.fileno(), here.peer.process, None)
        assert (held.kind, held.stdin, held.both) == ("other", None, False)


def test_process_with_a_reused_number_does_not_hold_the_pipe():
    """What was found by number is looked at again once it is held."""
    reader, writer = os.pipe()
    with subprocess.Popen(["sleep", "60"]) as stranger, subprocess.Popen(["sleep", "60"]) as shim:

        class Reused(Kernel):
            def open(self, path, flags, at=None):
                if path == f"/proc/{stranger.pid}/fd":
                    return os.open("/proc/self/fd", flags | os.O_CLOEXEC)  # as it was a moment ago
                return super().open(path, flags, at)

        process = stdioholder.Process.find(Kernel(), shim.pid)
        held = stdioholder.find(Reused(), reader, reader, process, None)
        assert held.stdin is None
        held.close()
        process.close()
        stranger.kill()
        shim.kill()
    os.close(reader)
    os.close(writer)
