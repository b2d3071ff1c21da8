"""The shim: light, quiet, and gone when it should be."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.cli import shim
from tests.lifecycle.stage import MCPGUARD, PYTHON, House, gone, house, until

SCRIPT = str(Path(sys.executable).with_name("mcpguard"))


def imported(argv: list[str], env: dict[str, str]) -> set[str]:
    """Every module that a process imports, as the interpreter itself reports."""
    told = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", *argv], env=env, stdin=subprocess.PIPE,
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return set(re.findall(r"^import time:.*\|\s+(\S+)$", told.stderr, re.MULTILINE))


def test_normal_path_imports_nothing_but_c_modules_and_our_own() -> None:
    with house() as place:
        bare = imported(["-c", "import sys"], place.env)
        assert "encodings" in bare
        extra = imported([SCRIPT, "run", "--", "true"], place.env) - bare
    assert "mcpguard.cli.shim" in extra
    theirs = {name for name in extra if name != "mcpguard" and not name.startswith("mcpguard.")}
    for name in theirs - set(sys.builtin_module_names):
        spec = importlib.util.find_spec(name)
        assert spec
        assert isinstance(spec.loader, importlib.machinery.ExtensionFileLoader), name
    assert extra - theirs == {
        "mcpguard",
        "mcpguard.cli",
        "mcpguard.cli.shim",
        "mcpguard.system",
        "mcpguard.system.rundir",
    }


def test_refusing_imports_nothing_more() -> None:
    code = (
        "import sys; from mcpguard.cli import shim; code = shim.main(['x', '-y']); before = set(sys.modules);"
        'shim._request_id(\'{"id":1,"method":"x"}\'); shim._request_id(\'{"id":\'); print(set(sys.modules) - before)'
    )
    told = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_help_goes_to_stdout_and_exits_0() -> None:
    for word in ("-h", "--help"):
        told = subprocess.run([*MCPGUARD, "run", word, "--", "x"], capture_output=True, text=True, check=True)
        assert told.stdout == shim.USAGE


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["--", "cat", "-u"], (b"command", b"", [b"cat", b"-u"])),
        (["--name", "n", "--", "cat"], (b"command", b"n", [b"cat"])),
        (["--name=n", "--", "cat", "--name=m"], (b"command", b"n", [b"cat", b"--name=m"])),
        (["--connect", "/s"], (b"connect", b"", [b"/s"])),
        (["--connect=/s", "--name", "n"], (b"connect", b"n", [b"/s"])),
        (["--", "--", "-h"], (b"command", b"", [b"--", b"-h"])),
        (["files"], (b"name", b"", [b"files"])),
        (["--", "caf\udcff"], (b"command", b"", [b"caf\xff"])),
    ],
)
def test_command_line(words: list[str], request_: object) -> None:
    assert shim._parse(words) == request_


def test_request_id_is_read_from_requests_only() -> None:
    assert shim._request_id('{"id":12,"method":"x"}') == "12"
    assert shim._request_id(' {"method":"x","id":"a\\"b"}\r') == '"a\\"b"'
    for line in ("", "null", "[]", '"x"', '{"id":1}', '{"id":true,"method":"x"}', '{"id":1,"method":"x"} x'):
        assert shim._request_id(line) == ""
    with pytest.raises(ValueError, match="int"):
        shim._request_id('{"method":"x","id":' + "1" * 5000 + "}")


def test_environment_and_arguments_reach_the_server_unchanged_but_for_what_is_ours() -> None:
    with house() as place:
        given = {"A": "ü\n=x", "EMPTY": "", "CLAUDE_CODE_MESSAGING_TOKEN": "t", "BYTES": "\udcff"}
        host = place.play("a b", "", "\udcff", env=given).greet()
        where = json.loads(host.call("where")["result"]["content"][0]["text"])
        assert where["argv"][2:] == ["a b", "", "\udcff"]
        assert where["environ"] == {
            "PATH": place.env["PATH"], "HOME": place.env["HOME"], "A": "ü\n=x", "EMPTY": "", "BYTES": "\udcff",
            **{k: v for k, v in where["environ"].items() if k == "LC_CTYPE"},
        }  # fmt: skip
        host.close_stdin()
        assert host.wait() == 0


def test_servers_stderr_is_the_hosts() -> None:
    with house() as place:
        host = place.host("--", PYTHON, "-c", "import sys; print('to a person', file=sys.stderr)")
        assert host.wait() == 0
        assert "to a person" in host.errors()


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
def test_descriptors_of_the_host_stay_blocking_and_the_shim_lets_go_of_them(kind: str) -> None:
    with house() as place:
        if kind == "pipes":
            (theirs_in, stdin), (stdout, theirs_out) = os.pipe(), os.pipe()
        else:
            (one, two), (three, four) = socket.socketpair(), socket.socketpair()
            theirs_in, stdin, stdout, theirs_out = one.detach(), two.detach(), three.detach(), four.detach()
        host = place.play(stdin=theirs_in, stdout=theirs_out)
        host.stdin, host.stdout = stdin, stdout
        host.greet()
        assert [os.get_blocking(fd) for fd in (theirs_in, stdin, stdout, theirs_out)] == [True] * 4
        os.close(theirs_in)
        os.close(theirs_out)
        held = {
            os.readlink(f"/proc/{host.process.pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{host.process.pid}/fd")
        }
        assert not held & {os.readlink(f"/proc/self/fd/{fd}") for fd in (stdin, stdout)}
        (connection,) = place.status()["connections"]
        assert connection["host"]["stdin"] == ("socket" if kind == "sockets" else "pipe")
        assert connection["host"]["pid"] == os.getpid()
        os.close(stdin)
        assert host.line() == b""
        assert host.wait() == 0
        os.close(stdout)


def test_ten_shims_at_once_without_a_daemon_give_one_daemon() -> None:
    with House() as place:
        hosts = [place.play() for _ in range(10)]
        for host in hosts:
            host.greet()
        pids = {place.pid()}
        for host in hosts:
            assert "result" in host.call("echo", x=1)
        status = place.status()
        assert len(status["connections"]) == 10
        assert status["on_demand"] is True
        for host in hosts:
            host.close_stdin()
        for host in hosts:
            assert host.wait() == 0
        assert {place.pid()} == pids
        stopped = place.mcpguard("daemon", "stop")
        assert (stopped.returncode, stopped.stdout) == (0, "stopped; closed 0 connections\n")
        assert until(lambda: all(gone(pid) for pid in pids))
        assert not (place.run_dir / "run.sock").exists()


def test_daemon_belongs_to_no_host() -> None:
    with House() as place:
        host = place.play(start_new_session=True).greet()
        pid = place.pid()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        parent, group, session = map(int, stat[1:4])
        assert parent != host.process.pid
        assert host.process.pid not in (group, session)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        os.killpg(host.process.pid, 9)
        assert until(lambda: not place.status()["connections"])
        assert place.pid() == pid


def test_shim_that_meets_a_daemon_that_ends_gets_the_next_one() -> None:
    with House() as place:
        for _ in range(4):
            place.play().greet()
            ending = subprocess.Popen([*MCPGUARD, "daemon", "stop"], env=place.env, stdout=subprocess.DEVNULL)
            hosts = [place.play() for _ in range(3)]
            for host in hosts:
                try:
                    ident = host.send("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
                except BrokenPipeError:  # the old daemon has ended it before it was spoken to
                    assert host.wait() in (0, 143, 137, 125)
                    continue
                answer = json.loads(host.line() or "{}")
                assert not answer or answer["id"] == ident
                # served by the old daemon until it ended, or by the next one; never left without a word
                assert "result" in answer or host.wait() in (0, 143, 137, 125)
            assert ending.wait(20) == 0


@pytest.mark.root
def test_shim_hands_nothing_to_a_listener_of_another_user(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])\n"
        "os.setgid(65533); os.setuid(65533); s.listen()\n"
        "print(flush=True); c, _ = s.accept(); c.settimeout(5); print(c.recv(4096))\n"
    )
    with (
        House() as place,
        subprocess.Popen(
            [sys.executable, "-I", "-c", code, str(tmp_path / "run.sock")], stdout=subprocess.PIPE
        ) as other,
    ):
        assert other.stdout
        other.stdout.readline()
        host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": str(tmp_path)})
        assert host.wait() == 125
        (sentence,) = host.errors()
        assert "belongs to uid 65533, not to you: not handing anything over" in sentence
        assert other.stdout.read() == b"b''\n"


@pytest.mark.root
def test_shim_of_another_user_does_not_reach_the_sockets() -> None:
    with house() as place:
        place.root.chmod(0o755)
        become = "import os, socket, sys; os.setgroups([]); os.setgid(65533); os.setuid(65533)\n"
        direct = subprocess.run(
            [sys.executable, "-c", f"{become}os.listdir(sys.argv[1])", str(place.run_dir)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Permission denied" in direct.stderr
        place.run_dir.chmod(0o755)
        (place.run_dir / "run.sock").chmod(0o777)
        (place.run_dir / "admin.sock").chmod(0o777)
        code = (
            f"{become}s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
            "print(s.recv(4096).decode(), end='')\n"
        )
        for name, said in (
            ("run.sock", "refuse 5 uid 65533 may not use"),
            ("admin.sock", '"code":"refused"'),
        ):
            told = subprocess.run(
                [sys.executable, "-c", code, str(place.run_dir / name)],
                capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
            assert said in told.stdout, told
            assert "pid" not in told.stdout


def test_case_54_whoever_listens_there_without_the_lock_gets_nothing() -> None:
    """Somebody of the same user takes the place of the socket while the daemon lives."""
    with house() as place:
        (place.run_dir / "run.sock").unlink()
        with socket.socket(socket.AF_UNIX) as squatter:
            squatter.bind(str(place.run_dir / "run.sock"))
            squatter.listen()
            host = place.host("--", "true")
            assert host.wait() == 70
            (sentence,) = host.errors()
            assert "is not the mcpguard daemon that holds the lock" in sentence
            with squatter.accept()[0] as caught:
                assert caught.recv(1) == b""


@pytest.mark.parametrize("room", [0, 1000])
def test_case_54_whoever_listens_there_is_not_asked_without_end(room: int) -> None:
    """It may be a service manager that has yet to start a daemon: its queue is neither filled nor waited for."""
    with house() as place:
        (place.run_dir / "run.sock").unlink()
        with socket.socket(socket.AF_UNIX) as squatter:
            squatter.bind(str(place.run_dir / "run.sock"))
            squatter.listen(room)
            host = place.host("--", "true")
            assert host.wait() == 70
            squatter.setblocking(False)
            asked = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    squatter.accept()[0].close()
                    asked += 1
            assert asked == 1 if room == 0 else 2 < asked < 40


def test_case_54_after_the_daemon_has_gone() -> None:
    with house() as place:
        pid = place.pid()
        place.mcpguard("daemon", "stop")
        with socket.socket(socket.AF_UNIX) as squatter:
            squatter.bind(str(place.run_dir / "run.sock"))
            squatter.listen()
            (place.run_dir / "lock").write_text(
                f"{os.getpid()}\n"
            )  # it names the squatter, and nobody holds it
            host = place.host("--", "true")
            assert host.wait() == 70
        (place.run_dir / "run.sock").unlink()
        assert until(lambda: gone(pid))


WALLS = [["unshare", "--pid", "--fork"], ["unshare", "--user", "--map-root-user"]]
if shutil.which("bwrap"):  # the same walls, as a sandbox of an agent builds them
    WALLS += [["bwrap", "--dev-bind", "/", "/", f"--unshare-{kind}"] for kind in ("pid", "user")]


@pytest.mark.root
@pytest.mark.parametrize(
    "wall",
    WALLS,
)
def test_shim_in_a_namespace_of_its_own_is_refused(wall: list[str]) -> None:
    with house() as place:
        walled = subprocess.run(
            [*wall, *MCPGUARD, "run", "--", "true"], env=place.env, stdin=subprocess.PIPE,
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert walled.returncode == 5, walled
        (sentence,) = walled.stderr.splitlines()
        assert sentence == (
            "mcpguard: the caller lives in another namespace: run it outside the sandbox or container"
        )
        asked = subprocess.run(
            [*wall, *MCPGUARD, "status"],
            env=place.env,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert asked.returncode == 5, asked
        assert "the caller lives in another namespace" in asked.stderr
        assert place.status()["connections"] == []
