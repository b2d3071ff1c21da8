"""Attacks on the evidence about a host, each by real processes. Numbers are those of the list of abuse cases.

Limit tests show what cannot be known, and that nothing is claimed of it.
"""

import array
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from mcpguard.errors import PeerError
from mcpguard.identity.facts import Program
from mcpguard.identity.grading import appraise
from mcpguard.model import Grade
from mcpguard.system import peercred
from mcpguard.system.descriptors import close_all, receive
from mcpguard.system.digests import Digests
from mcpguard.system.hostprocess import attest_host
from mcpguard.system.kernel import Kernel
from tests.system.kernels import Old
from tests.system.stage import (
    NODE_HOST,
    PAIRS_HOST,
    PYTHON,
    PYTHON_HOST,
    arrival,
    needs_node,
    reachable,
    shim_command,
)

CAT = os.path.realpath(shutil.which("cat"))


def attested(here, kernel=None):
    host = attest_host(here.peer, here.stdin, here.stdout, kernel or Kernel())
    facts = host.digest(Digests())
    host.close()
    return facts, appraise(facts)


@pytest.fixture
def listening(tmp_path):
    """A socket that asks for credentials, as run.sock does."""
    reachable(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        for option in (16, 76):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o777)
        listener.listen()
        listener.settimeout(20)
        before = len(os.listdir("/proc/self/fd"))
        yield listener
        assert len(os.listdir("/proc/self/fd")) == before


def python(code, *words, **more):
    return subprocess.Popen([sys.executable, "-I", "-c", code, *words], **more)


# --- 49: numbers that are used again --------------------------------------------------------------------


def with_number(pid, *words):
    """A process that gets the number of one that is gone."""
    for _ in range(200):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        if child.pid == pid:
            return child
        child.kill()
        child.wait()
    pytest.skip("the machine is too busy to give a number away")
    return None


CONNECT_AND_DIE = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
if os.fork() == 0:
    s.recv(1); s.recv(1)  # a child keeps the connection open
"""


@pytest.mark.root
def test_case_49_pid_reuse(listening):
    with python(CONNECT_AND_DIE, listening.getsockname()) as attacker:
        sock, _ = listening.accept()
        attacker.wait()
    with with_number(attacker.pid, "sleep", "60") as victim, sock:
        assert Kernel().peer_credentials(sock.fileno())[0] == victim.pid
        peer = peercred.attest(sock)
        assert not peer.alive()
        with pytest.raises(PeerError, match="is gone"):
            peercred.require_namespaces(peer)
        with pytest.raises(OSError, match="not to be seen"):
            peer.process.readlink("exe")  # nothing is said of the one who has the number now
        peer.close()
        second_hand = peercred.attest(sock, Old())
        assert second_hand.alive()
        assert not second_hand.facts.pinned  # at most G1: an old kernel cannot tell the two apart
        second_hand.close()
        victim.kill()


@pytest.mark.root
def test_case_49_pid_reuse_of_the_maker_of_a_socketpair(tmp_path):
    ours, theirs = socket.socketpair()
    code = (
        "import array,socket,sys\n"
        "s = socket.socket(fileno=int(sys.argv[1])); a, b = socket.socketpair()\n"
        "s.sendmsg([b'x'], [(1, 1, array.array('i', [a.fileno(), b.fileno()]))])\n"
    )
    with python(code, str(theirs.fileno()), pass_fds=[theirs.fileno()]) as maker, ours, theirs:
        _, ends, _, _ = socket.recv_fds(ours, 1, 2)
    with with_number(maker.pid, "sleep", "60") as victim, arrival(tmp_path, PYTHON_HOST) as here:
        assert Kernel().peer_credentials(ends[0])[0] == victim.pid
        host = attest_host(here.peer, ends[0], ends[0])
        assert host.facts.pid == 0
        assert host.facts.doubts[0] == "the process that made stdin has ended"
        host.close()
        victim.kill()
    close_all(list(ends))


# --- 50: connections that change hands ------------------------------------------------------------------


def refused_sender(sock, peer):
    sock.setblocking(True)
    sock.settimeout(20)
    _, found, sender = receive(sock, 100)
    close_all(found)
    try:
        with pytest.raises(PeerError, match="sent by another process"):
            peercred.require_sender(peer, sender)
    finally:
        sender.close()


def test_case_50_connected_socket_passed_to_another_process(listening):
    code = (
        "import array, os, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "a, b = socket.socketpair()\n"
        "if os.fork() == 0:\n"
        "    s.close(); a.close()\n"
        "    _, (fd,), _, _ = socket.recv_fds(b, 1, 1)\n"
        "    t = socket.socket(fileno=fd); t.recv(1); t.send(b'hello'); t.recv(1); os._exit(0)\n"
        "a.sendmsg([b'x'], [(1, 1, array.array('i', [s.fileno()]))]); s.close(); time.sleep(60)\n"
    )
    with python(code, listening.getsockname()) as courier, listening.accept()[0] as sock:
        peer = peercred.attest(sock)
        assert peer.facts.pid == courier.pid
        sock.send(b"x")
        refused_sender(sock, peer)
        peer.close()
        courier.kill()


def test_case_50_exec_of_a_trusted_program_over_the_one_that_connected(listening):
    """Connect, leave the socket to a child, become /bin/sleep: the peer is sleep, whoever speaks is not."""
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    while 'sleep' not in open(f'/proc/{parent}/comm').read(): pass\n"
        "    s.send(b'ready'); s.recv(1); s.send(b'hello'); s.recv(1); os._exit(0)\n"
        "os.execv('/bin/sleep', ['sleep', '60'])\n"
    )
    with python(code, listening.getsockname()) as trusted, listening.accept()[0] as sock:
        sock.settimeout(20)
        _, _, sender = receive(sock, 5)
        sender.close()
        peer = peercred.attest(sock)
        assert peer.process.readlink("exe").endswith(("/sleep", "/coreutils"))
        assert peer.facts.pid == trusted.pid
        sock.send(b"x")
        refused_sender(sock, peer)
        peer.close()
        trusted.kill()


def test_case_50_exec_after_the_look_is_seen(listening):
    """A message may have been queued before exec: its credentials are right, the program that sent it is gone."""
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1); s.send(b'hello')\n"
        "os.set_inheritable(s.fileno(), True); os.execv('/bin/sleep', ['sleep', '60'])\n"
    )
    with python(code, listening.getsockname()) as child, listening.accept()[0] as sock:
        peer = peercred.attest(sock)
        assert peer.changed() == ""
        sock.send(b"x")
        sock.settimeout(20)
        _, _, sender = receive(sock, 100)
        peercred.require_sender(peer, sender)
        sender.close()
        while not (why := peer.changed()):
            time.sleep(0.01)
        assert why == "it runs another program than before"
        peer.close()
        child.kill()


# --- 55: descriptors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [4, 8, 64, 253])
def test_case_55_descriptors_in_numbers(listening, number):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listening.getsockname())
        with listening.accept()[0] as sock:
            client.sendmsg([b"x"], [(1, 1, array.array("i", [0] * number))])
            before = len(os.listdir("/proc/self/fd"))
            with pytest.raises(PeerError, match="too many descriptors"):
                receive(sock, 10)
            assert len(os.listdir("/proc/self/fd")) == before


# --- 51, 56: programs that are not what they seem -------------------------------------------------------

FORGE = (
    r"""
import ctypes, os, struct, sys
c = ctypes.PyDLL(None, use_errno=True)  # the helper runs in our memory and on our lock
c.mmap.restype = c.mremap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
c.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
c.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
c.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
target, keep, *rest = sys.argv[1:]
own = os.readlink("/proc/self/exe")
for line in open("/proc/self/maps").read().splitlines():
    fields = line.split(None, 5)
    if len(fields) == 6 and fields[5] == own:
        start, end = (int(part, 16) for part in fields[0].split("-"))
        size = end - start
        prot = sum(bit for bit, flag in ((1, "r"), (2, "w"), (4, "x")) if flag in fields[1])
        copy = c.mmap(None, size, 3, 0x22, -1, 0)
        ctypes.memmove(copy, start, size)
        c.mprotect(copy, size, prot)
        assert c.mremap(copy, size, size, 3, start) == start
fd = os.open(target, os.O_RDONLY)
if keep == "mapped":
    c.mmap(None, 4096, 5, 2, fd, 0)
text = open("/proc/self/stat").read().rpartition(")")[2].split()
at = lambda n: int(text[n - 3])
c.sbrk.restype = ctypes.c_void_p
raw = struct.pack("12QII", *map(at, (26, 27, 45, 46, 47)), c.sbrk(0), *map(at, (28, 48, 49, 50, 51)), 0, 0, fd)
buffer = ctypes.create_string_buffer(raw, len(raw))
@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
def helper(_):
    c.prctl(35, 14, ctypes.addressof(buffer), len(raw), 0)  # PR_SET_MM, PR_SET_MM_MAP
    return 0
stack = ctypes.create_string_buffer(1 << 20)
top = (ctypes.addressof(stack) + (1 << 20)) & ~15
c.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
flags = 0x100 | 0x4000 | 0x10000000 | 17  # CLONE_VM, CLONE_VFORK, CLONE_NEWUSER, SIGCHLD
pid = c.clone(ctypes.cast(helper, ctypes.c_void_p), top, flags, None)
if pid > 0:
    os.waitpid(pid, 0)
sys.argv = ["cat", *rest]
"""
    + PYTHON
)


needs_library = pytest.mark.skipif(
    "libpython" not in Path("/proc/self/maps").read_text(),
    reason="the forger replaces the executable under its own feet: a Python whose code is in a library survives that",
)


def _executable(pid):
    """What the link says; empty if the forger did not survive it."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def as_of_a_user(facts):
    """Tests may run as root, whose programs are never worth G3: what the same facts are worth of somebody else."""
    shim = msgspec.structs.replace(facts.shim, uid=1000)
    return appraise(msgspec.structs.replace(facts, uid=1000, shim=shim))


@needs_library
@pytest.mark.parametrize("keep", ["unmapped", "mapped"])
def test_case_51_limit_forged_executable(tmp_path, keep):
    """A helper that shares the memory, in a user namespace of its own, sets another file as the executable.

    The process itself never left our namespaces, and its link reads as the other file. Forged plainly, this is seen
    because that file is not in memory. Forged with care it is not seen by anybody: the grade then says in words that
    it is no proof against a program of the same user.
    """

    def command(path):
        return [sys.executable, "-I", "-c", FORGE, CAT, keep, *shim_command(path)]

    with arrival(tmp_path, [], command=command) as here:
        if _executable(here.host.pid) != CAT:
            pytest.skip("this kernel does not let the executable be forged")
        facts, worth = attested(here)
        assert facts.pid == here.host.pid
        assert facts.alone
        assert facts.executable.path == CAT
        assert facts.executable.digest
        assert facts.program is Program.NATIVE
        assert worth.grade <= Grade.G2 or os.geteuid() != 0
        worth = as_of_a_user(facts)
        if keep == "unmapped":
            assert "its executable is not in its memory" in facts.injected
            assert worth.grade is Grade.G2
        else:
            assert worth.grade <= Grade.G3
            assert worth.reasons[-1].endswith("so a program of the same user can pass for it")


@needs_library
def test_case_51_executable_forged_after_the_look_is_seen(tmp_path):
    """The same, later: the image is not what it was."""
    late = "import sys\ncat, keep, *sys.argv[1:] = sys.argv[1:]\n" + PYTHON

    def command(path):
        return [sys.executable, "-I", "-c", late, CAT, "mapped", *shim_command(path)]

    with arrival(tmp_path, [], command=command) as here:
        host = attest_host(here.peer, here.stdin, here.stdout)
        assert host.recheck() == ""
        here.say(f"sys.argv = ['cat', cat, keep]; exec({FORGE.removesuffix(PYTHON)!r})")
        deadline = time.monotonic() + 10
        while (now := _executable(here.host.pid)) != CAT:
            if time.monotonic() > deadline or not now:
                host.close()
                pytest.skip("this kernel does not let the executable be forged")
        assert host.recheck() == "the host is not what it was: it runs another program than before"
        host.close()


def test_case_56_memfd_is_no_file_of_the_system(tmp_path):
    code = (
        "import os, sys\n"
        "fd = os.memfd_create('/usr/bin/claude', 0); os.write(fd, open('/proc/self/exe', 'rb').read())\n"
        "os.execve(fd, [sys.executable, *sys.argv[1:]], dict(os.environ))\n"
    )
    with arrival(tmp_path, [sys.executable, "-I", "-c", code, *PAIRS_HOST[1:]]) as here:
        facts, _ = attested(here)
        assert facts.executable.path == "/memfd:/usr/bin/claude"
        assert not facts.executable.lasting
        assert facts.executable.deleted
        worth = as_of_a_user(facts)
        assert worth.grade <= Grade.G2
        assert "its executable is on no disk" in worth.reasons


@needs_node
def test_case_56_deleted_executable_still_has_its_digest(tmp_path):
    copy = tmp_path / "acme"
    shutil.copy(os.path.realpath(shutil.which("node")), copy)
    with arrival(tmp_path, [str(copy), *NODE_HOST[1:]]) as here:
        copy.unlink()
        (tmp_path / "acme (deleted)").write_text("planted")
        facts, _ = attested(here)
        assert (facts.executable.path, facts.executable.deleted) == (str(copy), True)
        assert facts.executable.digest
        assert (
            facts.program is Program.NATIVE
        )  # a copy under another name; it is the user's, so never above G2
        assert as_of_a_user(facts).grade <= Grade.G2


def test_case_56_name_that_looks_like_fields(tmp_path):
    with arrival(tmp_path, PYTHON_HOST) as here:
        here.say("import ctypes; ctypes.CDLL(None).prctl(15, b'x) R 1 1\\n')")
        while b"R 1 1" not in Path(f"/proc/{here.host.pid}/comm").read_bytes():
            time.sleep(0.01)
        facts, worth = attested(here)
        assert facts.name.startswith("x) R 1 1")
        assert (facts.is_parent, worth.grade) == (True, Grade.G2)


@needs_node
@pytest.mark.parametrize(
    ("variable", "value"),
    [("NODE_OPTIONS", "--no-warnings"), ("LD_LIBRARY_PATH", "/nowhere"), ("PYTHONPATH", "/x")],
)
def test_case_56_variables_that_load_code_are_signs(tmp_path, variable, value):
    with arrival(tmp_path, NODE_HOST, env={**os.environ, variable: value}) as here:
        facts, _ = attested(here)
        assert variable in facts.injected
        assert any(variable in reason for reason in as_of_a_user(facts).reasons)


def test_case_56_preloaded_library_is_a_sign_even_if_the_environment_was_cleaned(tmp_path):
    """The library is in memory, whatever the environment says by now."""
    origin = next(
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so" in line
    )
    evil = tmp_path / "evil.so"
    shutil.copy(Path(origin).with_name("libm.so.6"), evil)
    code = "import ctypes, sys; ctypes.CDLL(sys.argv.pop(1))\n" + PYTHON
    with arrival(
        tmp_path, [sys.executable, "-I", "-c", code, str(evil)], env={"PATH": os.environ["PATH"]}
    ) as here:
        facts, _ = attested(here)
        assert (str(evil) in facts.injected) == str(evil).startswith("/tmp/")


def test_case_56_tracer_is_named(tmp_path):
    code = (
        "import ctypes, os, sys\n"
        "c = ctypes.CDLL(None, use_errno=True); c.ptrace.argtypes = [ctypes.c_long] * 4\n"
        "if c.ptrace(0x4206, int(sys.argv[1]), 0, 0): sys.exit(77)\n"  # PTRACE_SEIZE: it runs on
        "print('traced', flush=True); sys.stdin.read()\n"
    )
    with (
        arrival(tmp_path, PAIRS_HOST) as here,
        python(code, str(here.host.pid), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer,
    ):
        if not tracer.stdout.readline():
            pytest.skip("tracing is not allowed here")
        facts, worth = attested(here)
        assert facts.tracer == tracer.pid
        assert "another process traces it" in worth.reasons
        tracer.stdin.close()


# --- 57: processes that stand still ---------------------------------------------------------------------


def test_case_57_stopped_shim_and_host_are_who_they_were(tmp_path):
    with arrival(tmp_path, PAIRS_HOST) as here:
        for pid in (here.host.pid, here.peer.facts.pid):
            os.kill(pid, signal.SIGSTOP)
        host = attest_host(here.peer, here.stdin, here.stdout)
        assert appraise(host.facts).grade is Grade.G2
        assert host.recheck() == ""
        for pid in (here.host.pid, here.peer.facts.pid):
            os.kill(pid, signal.SIGCONT)
        assert host.recheck() == ""
        host.close()


# --- 62, 63: other users, other namespaces --------------------------------------------------------------

CONNECT = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b'x'); s.recv(1)"
)
_OTHER = "/usr/bin/python3"
needs_python_of_all = pytest.mark.skipif(
    not os.access(_OTHER, os.X_OK), reason="needs a Python that others may run"
)


@pytest.mark.root
@needs_python_of_all
def test_case_62_directory_keeps_other_users_out_and_the_kernel_names_them(listening, tmp_path):
    as_other = [
        "setpriv",
        "--reuid",
        "65533",
        "--regid",
        "65533",
        "--clear-groups",
        _OTHER,
        "-I",
        "-c",
        CONNECT,
    ]
    tmp_path.chmod(0o700)
    refused = subprocess.run(
        [*as_other, listening.getsockname()], capture_output=True, text=True, check=False
    )
    assert "PermissionError" in refused.stderr
    tmp_path.chmod(0o711)
    with subprocess.Popen([*as_other, listening.getsockname()]), listening.accept()[0] as sock:
        with pytest.raises(PeerError, match="belongs to uid 65533"):
            peercred.require_user(sock, os.geteuid())
        peer = peercred.attest(sock)
        assert peer.facts.uid == 65533
        peer.close()


@pytest.mark.root
@needs_python_of_all
def test_case_63_user_namespace_does_not_lend_a_user_id(listening):
    """Inside it is uid 0; the kernel tells us who it really is, and that it lives elsewhere."""
    as_other = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]
    inside = ["unshare", "--user", "--map-root-user", _OTHER, "-I", "-c", CONNECT, listening.getsockname()]
    with subprocess.Popen([*as_other, *inside]), listening.accept()[0] as sock:
        peer = peercred.attest(sock)
        assert peer.facts.uid == 65533
        with pytest.raises(PeerError, match="another namespace"):
            peercred.require_namespaces(peer)
        peer.close()


WALLS = [
    ["unshare", "--user", "--map-root-user"],
    ["unshare", "--pid", "--fork"],
    *([["bwrap", "--dev-bind", "/", "/", "--unshare-user"]] if shutil.which("bwrap") else []),
    *([["bwrap", "--dev-bind", "/", "/", "--unshare-pid"]] if shutil.which("bwrap") else []),
]


@pytest.mark.root
@pytest.mark.parametrize("wall", WALLS, ids=" ".join)
def test_case_63_shim_in_a_sandbox_is_refused(tmp_path, wall):
    """A sandboxed shell of an agent starts the shim: whoever the host is."""
    with arrival(tmp_path, PYTHON_HOST, *wall) as here:
        with pytest.raises(PeerError, match="another namespace"):
            attest_host(here.peer, here.stdin, here.stdout)


@pytest.mark.root
@pytest.mark.parametrize("wall", WALLS, ids=" ".join)
def test_case_63_host_in_a_sandbox_is_refused(tmp_path, wall):
    with arrival(tmp_path, [*wall, *PAIRS_HOST]) as here:
        with pytest.raises(PeerError, match="another namespace"):
            attest_host(here.peer, here.stdin, here.stdout)


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")
def test_host_in_a_mount_namespace_only_is_worth_nothing_but_its_user(tmp_path):
    with arrival(tmp_path, ["unshare", "--mount", *PAIRS_HOST]) as here:
        facts, worth = attested(here)
        assert (facts.alone, worth.grade) == (False, Grade.G0)


@pytest.mark.root
@needs_python_of_all
def test_host_of_another_user_than_the_shim_is_worth_nothing(tmp_path):
    """As with sudo: the host is one user's, what it started another's."""
    drop = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]

    def command(path):
        return [*PAIRS_HOST, *drop, _OTHER, *shim_command(path)[1:]]

    with arrival(tmp_path, [], command=command) as here:
        facts, worth = attested(here)
        assert (facts.uid, facts.shim.uid, worth.grade) == (0, 65533, Grade.G0)
        assert worth.reasons[0] == "it runs as uid 0, what it started as uid 65533"


# --- what the best host looks like ----------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("gcc"), reason="needs a compiler")
def test_native_host_of_the_system_is_g3_and_loses_it_with_each_sign(tmp_path):
    """Compiled, root's, in a directory of root's: the only kind that reaches G3."""
    where = Path("/opt/mcpguard-native")
    where.mkdir(exist_ok=True)
    source = (
        "#include <sys/socket.h>\n#include <unistd.h>\n"
        "int main(int c, char **v) { int p[2]; socketpair(1, 1, 0, p); if (!fork()) { dup2(p[1], 0); dup2(p[1], 1);"
        " close(p[0]); execvp(v[1], v + 1); } close(p[1]); pause(); }\n"
    )
    try:
        subprocess.run(["gcc", "-x", "c", "-", "-o", where / "acme"], input=source, text=True, check=True)
        for env, grade in (
            ({}, Grade.G3),
            ({"LD_AUDIT": "/nowhere"}, Grade.G2),
            ({"PYTHONPATH": "/x"}, Grade.G2),
        ):
            with arrival(tmp_path, [where / "acme"], env={"PATH": os.environ["PATH"], **env}) as here:
                facts, _ = attested(here)
                worth = as_of_a_user(facts)
                assert worth.grade is grade, worth
        (where / "acme").chmod(0o775)
        with arrival(tmp_path, [where / "acme"], env={"PATH": os.environ["PATH"]}) as here:
            assert as_of_a_user(attested(here)[0]).grade is Grade.G2
    finally:
        shutil.rmtree(where)
