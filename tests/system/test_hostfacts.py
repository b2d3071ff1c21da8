"""What is said of a process that is the host: each question on its own, each silence a sentence."""

import os
import shutil
import subprocess
import sys

import pytest

from mcpguard.identity.facts import HostFacts, PeerFacts, Program
from mcpguard.system.hostfacts import alone, looked
from mcpguard.system.kernel import Kernel
from mcpguard.system.pidinfo import ForeignError
from mcpguard.system.processes import Process
from tests.system.kernels import Labelled, NoProc, Old, Strict

KNOWN = HostFacts(shim=PeerFacts(5, os.geteuid(), 0, pinned=True), stdin="socket", doubts=("before",))


@pytest.fixture
def asked():
    """Ask about a child; everything is closed and ended."""

    def ask(*words, kernel=None, cwd=None):
        before = len(os.listdir("/proc/self/fd"))
        with subprocess.Popen(words, cwd=cwd, stdin=subprocess.PIPE) as child:
            process = Process.find(kernel or Kernel(), child.pid)
            while child.poll() is None and b"libc" not in Kernel().content(
                f"/proc/{child.pid}/maps", 1 << 20
            ):
                pass
            try:
                facts, files = looked(process, KNOWN, 0)
                for fd in files.values():
                    os.close(fd)
                return facts, sorted(files), child.pid
            finally:
                process.close()
                child.kill()
                child.stdin.close()
                child.wait()
                assert len(os.listdir("/proc/self/fd")) == before

    return ask


def test_program_of_the_system(asked):
    facts, files, pid = asked("cat")
    assert (facts.pid, facts.uid, facts.name, facts.alone) == (pid, os.geteuid(), "cat", True)
    assert facts.executable.path == os.path.realpath(shutil.which("cat"))
    assert (facts.program, facts.script, files) == (Program.NATIVE, None, ["executable"])
    assert facts.doubts == ("before",)
    assert facts.shim is KNOWN.shim
    assert facts.instance


def test_interpreter_and_its_script(asked, tmp_path):
    (tmp_path / "tool.py").write_text("input()")
    facts, files, _ = asked(sys.executable, "-I", "tool.py", cwd=tmp_path)
    assert facts.program is Program.INTERPRETER
    assert facts.script.path == str(tmp_path / "tool.py")
    assert files == ["executable", "script"]


@pytest.mark.parametrize(
    ("words", "doubt"),
    [
        (("-c", "input()"), "is not known: its code was given on the command line"),
        (("-",), "is not known"),
        (("-c", "input()", "x.py"), "is not known"),
    ],
)
def test_interpreter_whose_script_is_not_known(asked, words, doubt):
    facts, files, _ = asked(sys.executable, "-I", *words)
    assert (facts.script, files) == (None, ["executable"])
    assert doubt in facts.doubts[1]


def test_script_that_is_gone(asked, tmp_path):
    (tmp_path / "tool.py").write_text("import os; os.unlink('tool.py'); input()")

    class Later(Kernel):
        def open(self, path, flags, at=None):
            while path.startswith("cwd/") and (tmp_path / "tool.py").exists():
                pass
            return super().open(path, flags, at)

    facts, _, _ = asked(sys.executable, "-I", "tool.py", cwd=tmp_path, kernel=Later())
    assert facts.script is None
    assert facts.doubts[1] == "the script of the host, 'tool.py', cannot be opened"


@pytest.mark.parametrize("kernel", [NoProc(), Strict()])
def test_silence_is_said_and_is_worth_nothing(asked, kernel):
    facts, files, _ = asked("cat", kernel=kernel)
    assert (facts.executable, facts.program, files) == (None, None, [])
    assert facts.injected == ("not to be seen",)
    assert len(facts.doubts) > 2
    assert all("\n" not in doubt for doubt in facts.doubts)
    if isinstance(kernel, NoProc):
        assert facts.tracer == -1


def test_process_of_nobody_is_refused(asked):
    class Unmapped(Old):
        def read(self, fd, limit):
            return (
                super()
                .read(fd, limit)
                .replace(b"Uid:\t%d\t%d" % (os.getuid(), os.geteuid()), b"Uid:\t0\t65534")
            )

    with pytest.raises(ForeignError):
        asked("cat", kernel=Unmapped())


def test_label_must_be_the_one_with_which_stdin_was_made(asked):
    class Confined(Labelled):
        now = b"snap.acme.acme (enforce)"

        def open(self, path, flags, at=None):
            if path == "attr/current":
                fd = os.memfd_create("label")
                os.write(fd, self.now + b"\n")
                return fd
            return super().open(path, flags, at)

    facts, _, _ = asked("cat", kernel=Confined())
    assert (facts.label, facts.confined) == ("snap.acme.acme (enforce)", True)

    class Changed(Confined):
        now = b"snap.other.other (enforce)"

    facts, _, _ = asked("cat", kernel=Changed())
    assert (facts.label, facts.confined) == ("snap.other.other (enforce)", False)
    assert facts.doubts[-1] == "the host's label is another one than when it made stdin"


def test_where_a_process_lives():
    own = Process.find(Kernel(), os.getpid())
    assert alone(own) is True
    own.close()
    blind = Process.find(Strict(), os.getpid())
    assert alone(blind) is None
    blind.close()


@pytest.mark.parametrize(("kind", "told"), [("user", None), ("pid", None), ("mnt", False)])
def test_another_namespace(kind, told):
    class Elsewhere(Kernel):
        def namespace(self, pidfd, asked):
            found = super().namespace(pidfd, asked)
            return type(found)(found.device, found.inode + 1) if asked == kind else found

    process = Process.find(Elsewhere(), os.getpid())
    if told is None:
        with pytest.raises(ForeignError):
            alone(process)
    else:
        assert alone(process) is told
    process.close()
