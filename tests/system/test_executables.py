"""What a process runs: opened by the kernel's own link, whoever names it differently."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.identity.facts import Program
from mcpguard.system.executables import describe, kind_of, open_executable, open_script, script_of
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from tests.system.kernels import NoProc, Strict

KERNEL = Kernel()
SLEEP = os.path.realpath(shutil.which("sleep"))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/bin/node", Program.INTERPRETER),
        ("/usr/bin/nodejs", Program.INTERPRETER),
        ("/opt/node-v22.1.0", Program.INTERPRETER),
        ("/usr/bin/python3.11", Program.INTERPRETER),
        ("/usr/bin/python3.11-dbg", Program.INTERPRETER),
        ("/usr/bin/python3.13d", Program.INTERPRETER),
        ("/usr/bin/python3 (deleted)", Program.INTERPRETER),
        ("/usr/bin/pypy3.10", Program.INTERPRETER),
        ("/usr/bin/bun", Program.INTERPRETER),
        ("/usr/bin/deno", Program.INTERPRETER),
        ("/usr/bin/perl5.36.0", Program.INTERPRETER),
        ("/usr/bin/qemu-aarch64", Program.INTERPRETER),
        ("/usr/bin/bash", Program.SHELL),
        ("/usr/bin/dash", Program.SHELL),
        ("/bin/busybox", Program.SHELL),
        ("/usr/bin/ksh93", Program.SHELL),
        ("/usr/bin/sudo", Program.SHELL),
        ("/lib64/ld-linux-x86-64.so.2", Program.LOADER),
        ("/lib/ld-linux-aarch64.so.1", Program.LOADER),
        ("/lib/ld-musl-x86_64.so.1", Program.LOADER),
        ("/lib/ld-2.31.so", Program.LOADER),
        ("/lib/ld.so.1", Program.LOADER),
        ("/usr/bin/claude", Program.NATIVE),
        ("/usr/share/code/code", Program.NATIVE),
        ("/usr/bin/nodepad", Program.NATIVE),
        ("/usr/bin/bashful", Program.NATIVE),
        ("/usr/bin/codex", Program.NATIVE),
    ],
)
def test_kinds(path, kind):
    assert kind_of(path) is kind


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("node server.js --x", "server.js"),
        ("node --inspect /a/b.js", "/a/b.js"),
        ("node -r ./hook.js --import x --max-old-space-size=99 cli.js", "cli.js"),
        ("node -- -odd.js", "-odd.js"),
        ("node inspect x.js", "x.js"),
        ("node -e code x.js", ""),
        ("node", ""),
        ("node -", ""),
        ("node --", ""),
        ("python3 -I -W error::x:mod -X dev tool.py -c", "tool.py"),
        ("python3 -IW error tool.py", "tool.py"),
        ("python3 -Wignore::m tool.py", "tool.py"),
        ("python3 -Xfrozen_modules=off tool.py", "tool.py"),
        ("python3 -Im http.server tool.py", ""),
        ("python3 -mhttp.server", ""),
        ("python3 -c code tool.py", ""),
        ("python3 --check-hash-based-pycs always tool.py", "tool.py"),
        ("bun run x.ts", "x.ts"),
        ("bun x.ts", "x.ts"),
        ("deno run -A main.ts", "main.ts"),
        ("ruby -I lib -r set app.rb", "app.rb"),
        ("perl -e code app.pl", ""),
        ("java -cp a:b -jar x.jar", "x.jar"),
    ],
)
def test_scripts_by_the_command_line(line, script):
    words = line.split()
    found, doubt = script_of(f"/usr/bin/{words[0]}", words)
    assert found == script
    assert bool(doubt) != bool(script)


def test_no_command_line_at_all():
    assert script_of("/usr/bin/node", []) == ("", "it was told to run nothing")


@pytest.fixture
def running():
    """Start something; it is held, and ended at the end."""
    children = []

    def start(*words, kernel=KERNEL, **more):
        child = subprocess.Popen(words, **more)
        children.append(child)
        return Process.find(kernel, child.pid)

    before = len(os.listdir("/proc/self/fd"))
    yield start
    for child in children:
        child.kill()
        child.wait()
    assert len(os.listdir("/proc/self/fd")) == before


def look(process):
    fd = open_executable(process)
    facts = describe(KERNEL, fd)
    os.close(fd)
    process.close()
    return facts


def test_file_of_the_system(running):
    info = os.stat(SLEEP)
    facts = look(running("sleep", "60"))
    assert (facts.path, facts.device, facts.inode, facts.size) == (
        SLEEP, info.st_dev, info.st_ino, info.st_size,
    )  # fmt: skip
    assert facts.owner == info.st_uid
    assert not facts.deleted
    assert facts.digest == ""


def copied(directory):
    directory.mkdir(exist_ok=True)
    shutil.copy(SLEEP, directory / "claude")
    return directory / "claude"


@pytest.mark.root
@pytest.mark.parametrize(
    ("change", "writable"),
    [
        (lambda _: None, False),
        (lambda path: path.chmod(0o775), True),
        (lambda path: path.chmod(0o757), True),
        (lambda path: os.chown(path, 65533, 0), True),
        (lambda path: path.parent.chmod(0o777), True),
        (lambda path: path.parent.chmod(0o1777), True),
        (lambda path: path.parent.parent.chmod(0o775), True),
        (lambda path: os.chown(path.parent, 65533, 0), True),
        (lambda path: os.chown(path.parent.parent, 65533, 0), True),
    ],
)
def test_who_could_change_it(running, roots, change, writable):
    path = copied(roots / "a")
    change(path)
    assert look(running(path, "60")).writable is writable


@pytest.fixture
def roots():
    """A directory in which only root can write, all the way up."""
    where = Path("/opt/mcpguard-test") / str(os.getpid())
    where.mkdir(mode=0o755, parents=True)
    yield where
    shutil.rmtree(where.parent)


@pytest.mark.root
def test_deleted_file_is_known_as_one_whose_name_is_gone(running, roots):
    path = copied(roots)
    process = running(path, "60")
    path.unlink()
    facts = look(process)
    assert (facts.path, facts.deleted, facts.writable) == (str(path), True, False)


def test_file_that_is_called_deleted_is_not(running, tmp_path):
    path = copied(tmp_path).rename(tmp_path / "claude (deleted)")
    facts = look(running(path, "60"))
    assert (facts.path, facts.deleted) == (str(path), False)


@pytest.mark.root
def test_another_file_in_its_place_does_not_count_as_it(running, roots):
    path = copied(roots)
    process = running(path, "60")
    os.link(path, roots / "second")
    path.unlink()
    shutil.copy("/bin/ls", path)
    facts = look(process)
    assert not facts.deleted
    assert facts.inode == os.stat(roots / "second").st_ino


def test_memory_is_no_lasting_place(running, tmp_path):
    code = (
        "import os,sys\n"
        "fd = os.memfd_create('/usr/bin/claude', 0)\n"
        "os.write(fd, open(sys.argv[1], 'rb').read())\n"
        "os.execve(fd, ['claude', '60'], {})\n"
    )
    process = running(sys.executable, "-I", "-c", code, SLEEP)
    while "claude" not in process.readlink("exe"):
        pass
    facts = look(process)
    assert facts.path == "/memfd:/usr/bin/claude"
    assert facts.deleted
    assert not facts.lasting


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a file system in memory")
def test_file_system_in_memory_is_no_lasting_place(running):
    path = copied(Path("/dev/shm/mcpguard-test"))
    try:
        assert not look(running(path, "60")).lasting
    finally:
        shutil.rmtree(path.parent)


@pytest.mark.root
def test_mount_over_the_name_is_seen_through(running, tmp_path):
    """In a mount namespace of its own, another file is at /usr/bin/sleep: the text lies, the inode does not."""
    path = copied(tmp_path)
    code = f"mount --bind {path} {SLEEP} && exec {SLEEP} 60"
    process = running("unshare", "--mount", "sh", "-c", code)
    while not process.readlink("exe").endswith("sleep"):
        pass
    assert process.readlink("exe") == SLEEP
    facts = look(process)
    assert facts.inode == os.stat(path).st_ino
    assert facts.writable  # what is at that path for us is another file
    assert not facts.lasting  # it is on no mount of ours


@pytest.mark.parametrize("kernel", [Strict(), NoProc()])
def test_file_that_may_not_be_known(running, kernel):
    process = running("sleep", "60", kernel=kernel)
    with pytest.raises(OSError):
        open_executable(process)
    process.close()


def test_script_is_looked_up_where_the_host_is(running, tmp_path):
    (tmp_path / "tool.py").write_text("import time; time.sleep(60)")
    process = running(sys.executable, "-I", "tool.py", cwd=tmp_path)
    for name in ("tool.py", str(tmp_path / "tool.py")):
        fd = open_script(process, name)
        assert describe(KERNEL, fd).path == str(tmp_path / "tool.py")
        with pytest.raises(OSError):
            os.read(fd, 1)  # a place only
        os.close(fd)
    process.close()


def test_script_that_is_none(running, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    process = running("sleep", "60", cwd=tmp_path)
    for name in ("pipe", ".", "missing", "/dev/null", "\0"):
        with pytest.raises((OSError, ValueError)):
            open_script(process, name)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    process.close()
