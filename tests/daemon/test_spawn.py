"""Real servers of every bad kind, ended in every way: nothing of them is left.

All servers of `ROGUES` run at the same time in each story; each process of theirs has the story's marker in
its command line, however it has detached itself.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from mcpguard.daemon import spawn
from mcpguard.daemon.spawn import Child, Spawner
from mcpguard.errors import UpstreamError
from mcpguard.system import warden

WITHIN = 2.0
"""Seconds after which nothing may be left. The grace of `end` alone is 1.3."""

ROOT = Path(__file__).parents[2]
PYTHON = os.path.realpath(sys.executable).encode()
PATH = b"PATH=" + os.environ["PATH"].encode()

ROGUE = r"""
import os, signal, sys, time
kind, marker = sys.argv[1:]
def deaf():
    for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(n, signal.SIG_IGN)
def ready():
    os.write(1, b"ready\n")
def read():
    while os.read(0, 4096):
        pass
    os._exit(0)
if kind == "polite":
    ready(); read()
elif kind == "ignores-eof":
    ready(); time.sleep(60)
elif kind == "ignores-term":
    deaf(); ready(); time.sleep(60)
elif kind == "detached":
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid(); deaf()
        if os.fork():
            os._exit(0)
        os.set_inheritable(w, True)
        code = "import os, time; os.write(%d, b'x'); os.closerange(0, 99); time.sleep(60)" % w
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code, marker], {})
    os.read(r, 1); ready(); read()
elif kind == "closes-all":
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, b"x"); os.closerange(0, 99); time.sleep(60)
    os.read(r, 1); ready(); read()
elif kind == "holds-stdout":
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        ready(); time.sleep(60)
    read()
elif kind == "forks":
    if os.fork() == 0:
        os.setsid(); deaf(); ready()
        while True:
            if os.fork():
                os._exit(0)
            time.sleep(0.0005)
    read()
"""
ROGUES = ["polite", "ignores-eof", "ignores-term", "detached", "closes-all", "holds-stdout", "forks"]

SHOWS = r"""
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "argv": sys.argv[1:],
    "environ": open("/proc/self/environ", "rb").read().decode(),
    "fds": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "group": os.getpgid(0), "pid": os.getpid(), "cwd": os.getcwd(),
    "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16),
}), flush=True)
"""


def marked(marker: str) -> list[int]:
    """Living processes with the marker in their command line."""
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and marker.encode() in warden.slurp(f"/proc/{name}/cmdline")
    ]


def left(pids: set[int]) -> list[int]:
    """Which of these processes are there, zombies included."""
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def state(pid: int) -> bytes:
    """The letter of proc(5); nothing if the process is gone."""
    stat = warden.slurp(f"/proc/{pid}/stat")
    return stat[stat.rfind(b")") + 1 :].split()[0] if stat else b""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def eventually(what: Callable[[], object], seconds: float = WITHIN) -> object:
    """Wait until something is empty or false, and give it."""
    deadline = time.monotonic() + seconds
    while (seen := what()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return seen


class Server:
    """A started server with the test's ends of its pipes."""

    def __init__(self, child: Child, stdin: int, stdout: int) -> None:
        self.child = child
        self.stdin = stdin
        self.stdout = stdout

    async def read(self) -> bytes:
        """One piece of its output; empty at the end."""
        loop = asyncio.get_running_loop()
        seen = loop.create_future()
        loop.add_reader(self.stdout, lambda: seen.done() or seen.set_result(None))
        try:
            await asyncio.wait_for(seen, 10)
        finally:
            loop.remove_reader(self.stdout)
        return os.read(self.stdout, 65536)

    async def output(self) -> bytes:
        """All its output."""
        text = b""
        while piece := await self.read():
            text += piece
        return text

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        self.close_stdin()
        os.close(self.stdout)


async def start(spawner: Spawner, *argv: bytes, env: list[bytes] | None = None, cwd: bytes = b"/") -> Server:
    stdin, ours_in = os.pipe()
    ours_out, stdout = os.pipe()
    try:
        child = await spawner.spawn(
            argv=argv, env=[PATH] if env is None else env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=2
        )
    except BaseException:
        os.close(ours_in)
        os.close(ours_out)
        raise
    finally:
        os.close(stdin)
        os.close(stdout)
    return Server(child, ours_in, ours_out)


def python(code: str, *words: str) -> list[bytes]:
    return [PYTHON, b"-I", b"-S", b"-c", code.encode(), *(word.encode() for word in words)]


async def crew(spawner: Spawner, marker: str) -> list[Server]:
    """All rogues, up to their mischief."""
    servers = await asyncio.gather(*(start(spawner, *python(ROGUE, kind, marker)) for kind in ROGUES))
    for server in servers:
        assert await server.read() == b"ready\n"
    return list(servers)


@contextlib.asynccontextmanager
async def spawning() -> AsyncIterator[Spawner]:
    spawner = Spawner()
    await spawner.start()
    try:
        yield spawner
    finally:
        await spawner.close()


@pytest.fixture(scope="module", autouse=True)
def _first_uvloop() -> None:
    """The first loop of libuv opens two descriptors that stay."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def _no_subreaper_after() -> Iterator[None]:
    yield
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)


def run(story: Callable[[], Awaitable[None]], loop: str = "asyncio") -> None:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())


# --- the matrix -----------------------------------------------------------------------------------------


async def end(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        server.close_stdin()
        server.child.end()


async def term(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        server.child.term()


async def kill(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        server.child.kill()


async def control_closed(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        server.child.release()


async def server_killed(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        os.kill(server.child.pid, signal.SIGKILL)


async def warden_killed(_: Spawner, servers: list[Server]) -> None:
    for server in servers:
        os.kill(server.child._warden, signal.SIGKILL)


async def zygote_killed_then_term(spawner: Spawner, servers: list[Server]) -> None:
    zygote = spawner._zygote
    assert zygote
    os.kill(zygote.pid, signal.SIGKILL)
    assert not await eventually(lambda: not zygote.reaped)
    await asyncio.sleep(0.1)
    assert all(os.path.exists(f"/proc/{server.child.pid}") for server in servers), "sessions go on"
    await term(spawner, servers)


async def zygote_and_warden_killed(spawner: Spawner, servers: list[Server]) -> None:
    assert spawner._zygote
    os.kill(spawner._zygote.pid, signal.SIGKILL)
    await warden_killed(spawner, servers)


async def warden_killed_zygote_hung(spawner: Spawner, servers: list[Server]) -> None:
    assert spawner._zygote
    os.kill(spawner._zygote.pid, signal.SIGSTOP)
    await warden_killed(spawner, servers)


ENDS = [
    end, term, kill, control_closed, server_killed, warden_killed, zygote_killed_then_term, zygote_and_warden_killed,
]  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "loop"),
    [(ending, "asyncio") for ending in ENDS] + [(ending, "uvloop") for ending in (end, kill, *ENDS[5:])],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_nothing_of_any_server_is_left(
    ending: Callable[[Spawner, list[Server]], Awaitable[None]], loop: str
) -> None:
    marker = secrets.token_hex(12)
    before = descriptors()
    others = warden.children(os.getpid())

    async def story() -> None:
        async with spawning() as spawner:
            servers = await crew(spawner, marker)
            seen = set(marked(marker)) | {server.child._warden for server in servers}
            assert len(seen) > len(ROGUES) * 2
            await ending(spawner, servers)
            began = time.monotonic()
            async with asyncio.timeout(10):
                await asyncio.gather(*(server.child.gone() for server in servers))
            assert marked(marker) == []
            assert time.monotonic() - began < WITHIN
            assert not await eventually(lambda: left(seen))
            for server in servers:
                assert 0 <= await server.child.wait() < 256
                server.close()
            again = await start(spawner, b"echo", b"still here")
            assert await again.output() == b"still here\n"
            again.close()
            await again.child.gone()
            assert not await eventually(lambda: spawner._children)

    run(story, loop)
    assert descriptors() == before
    assert b"Z" not in [state(pid) for pid in warden.children(os.getpid()) if pid not in others]


def be_daemon() -> None:
    """Body of the process that stands for the daemon: start the crew, say who they are, wait to be killed."""

    async def story() -> None:
        async with spawning() as spawner:
            servers = await crew(spawner, sys.stdin.readline().strip())
            assert spawner._zygote
            print(
                json.dumps([spawner._zygote.pid, *(server.child._warden for server in servers)]), flush=True
            )
            await asyncio.sleep(60)

    run(story)


@pytest.mark.parametrize("with_wardens", [False, True])
def test_nothing_is_left_when_the_daemon_is_killed(with_wardens: bool) -> None:
    marker = secrets.token_hex(12)
    code = "from tests.daemon.test_spawn import be_daemon; be_daemon()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdin
        assert daemon.stdout
        print(marker, file=daemon.stdin, flush=True)
        zygote, *wardens = json.loads(daemon.stdout.readline())
        seen = {zygote, *wardens, *marked(marker)}
        daemon.kill()
        for pid in wardens if with_wardens else ():
            with contextlib.suppress(ProcessLookupError):  # it has seen the end of file already
                os.kill(pid, signal.SIGKILL)
        daemon.wait()
    # init reaps them, in its own time
    assert not asyncio.run(
        eventually(lambda: marked(marker) + [pid for pid in seen if state(pid) not in b"Z"])
    )


def test_hung_zygote_is_not_waited_for_when_a_warden_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "CLOSE_SECONDS", 0.5)
    marker = secrets.token_hex(12)

    async def story() -> None:
        async with spawning() as spawner:
            servers = await crew(spawner, marker)
            await warden_killed_zygote_hung(spawner, servers)
            async with asyncio.timeout(10):
                await asyncio.gather(*(server.child.gone() for server in servers))
            assert marked(marker) == []
            for server in servers:
                server.close()

    run(story)


# --- what a server finds --------------------------------------------------------------------------------


def test_server_gets_exactly_what_was_given(tmp_path: Path) -> None:
    env = [b"A=1", b"EMPTY=", b"HOME=/nowhere", "LIGHT=ü=\n".encode(), b"RAW=\xff"]

    async def story() -> None:
        stray = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(stray, True)
        async with spawning() as spawner:
            server = await start(
                spawner,
                *python(SHOWS.replace(".decode()", ".hex()"), "x y", ""),
                env=env,
                cwd=bytes(tmp_path),
            )
            seen = json.loads(await server.output())
            server.close()
        os.close(stray)
        assert bytes.fromhex(seen["environ"]).split(b"\0")[:-1] == env
        assert seen["argv"] == ["x y", ""]
        assert seen["fds"] == [0, 1, 2]
        assert seen["group"] == seen["pid"] == server.child.pid != os.getpgid(0)
        assert seen["cwd"] == str(tmp_path)
        assert seen["blocked"] == 0

    run(story)


def test_server_has_default_signals() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, b"cat", b"/proc/self/status")
            lines = [
                line
                for line in (await server.output()).decode().split("\n")
                if line[:6] in ("SigBlk", "SigIgn")
            ]
            server.close()
        libc = 1 << 31 | 1 << 32  # its own two signals, which nobody else can set
        assert [int(line.split()[1], 16) & ~libc for line in lines] == [0, 0]

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        run(story)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ],
)
def test_exit_code_is_what_a_shell_gives(code: str, status: int) -> None:
    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, *python(code))
            assert await server.child.wait() == status
            assert await server.child.wait() == status
            await server.child.gone()
            server.close()

    run(story)


def test_signals_reach_the_server_alone() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, b"sleep", b"60")
            with pytest.raises(ValueError, match="9999"):
                server.child.signal(9999)
            server.child.signal(signal.SIGUSR1)
            assert await server.child.wait() == 128 + signal.SIGUSR1
            server.child.signal(signal.SIGUSR1)
            server.child.kill()
            await server.child.gone()
            server.child.kill()
            server.close()

    run(story)


def test_stopped_server_hears_term() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, b"sleep", b"60")
            server.child.signal(signal.SIGSTOP)
            server.child.term()
            assert await server.child.wait() == 128 + signal.SIGTERM
            server.close()

    run(story)


# --- finding the command --------------------------------------------------------------------------------


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_command_is_looked_up_as_a_shell_does(tmp_path: Path) -> None:
    script(tmp_path / "closed" / "tool", "#!/bin/sh\necho closed", 0o644)
    script(tmp_path / "open" / "tool", "#!/bin/sh\necho open")
    script(tmp_path / "here", "#!/bin/sh\necho here")
    (tmp_path / "file").write_text("")
    cases = [
        (b"tool", "PATH={0}/none:{0}/file:{0}/closed:{0}/open:/bin", b"open\n"),
        (b"here", "PATH=/bin::/none", b"here\n"),
        (b"./here", "PATH=/none", b"here\n"),
        (b"open/tool", "PATH=/none", b"open\n"),
        (b"echo", "NO_PATH=1", b"\n"),
    ]

    async def story() -> None:
        async with spawning() as spawner:
            for name, env, said in cases:
                server = await start(spawner, name, env=[env.format(tmp_path).encode()], cwd=bytes(tmp_path))
                assert await server.output() == said, name
                server.close()

    run(story)


def test_failure_says_which_command_and_what_to_do(tmp_path: Path) -> None:
    script(tmp_path / "closed" / "tool", "#!/bin/sh\n", 0o644)
    script(tmp_path / "bare", "no interpreter line\n")
    here = f"PATH={tmp_path}:{tmp_path}/closed:/none".encode()
    cases = [
        ([b"nope"], here, bytes(tmp_path), 127, '"nope"', "not found in the server's PATH"),
        ([b""], here, bytes(tmp_path), 127, '""', "not found"),
        ([b"./nope"], here, bytes(tmp_path), 127, '"./nope"', "no such file"),
        ([b"tool"], here, bytes(tmp_path), 126, '"tool"', "may not be executed"),
        ([b"/"], here, bytes(tmp_path), 126, '"/"', "may not be executed"),
        ([b"bare"], here, bytes(tmp_path), 126, '"bare"', "no program"),
        ([b"./bare/x"], here, bytes(tmp_path), 126, '"./bare/x"', "not a directory"),
        ([b"true", b"x" * 200_000], b"PATH=/bin", b"/", 126, '"true"', "too large"),
        (
            [b"true"],
            b"PATH=/bin",
            bytes(tmp_path / "gone"),
            126,
            '"true"',
            f'in "{tmp_path}/gone": no such file',
        ),
        ([b"true"], b"PATH=/bin", bytes(tmp_path / "bare"), 126, '"true"', "not a directory"),
        ([b"\x1b[31m\xff\n"], here, bytes(tmp_path), 127, r'"\x1b[31m\xff\n"', "not found"),
    ]

    async def story() -> None:
        async with spawning() as spawner:
            for argv, env, cwd, code, name, reason in cases:
                with pytest.raises(UpstreamError) as caught:
                    await start(spawner, *argv, env=[env], cwd=cwd)
                assert caught.value.code == code, argv
                assert name in caught.value.message
                assert reason in caught.value.message
                assert caught.value.hint
                assert "\n" not in caught.value.sentence()
            assert not await eventually(lambda: spawner._children)

    before = descriptors()
    run(story)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("argv", "env", "cwd"),
    [
        ([], [], b"/"),
        ([b"a\0b"], [], b"/"),
        ([b"a"], [b"no-value"], b"/"),
        ([b"a"], [b"=x"], b"/"),
        ([b"a"], [b"A=1", b"A=2"], b"/"),
        ([b"a"], [], b"/\0"),
    ],
)
def test_what_cannot_be_passed_exactly_is_refused(argv: list[bytes], env: list[bytes], cwd: bytes) -> None:
    async def story() -> None:
        with pytest.raises(ValueError):
            await Spawner().spawn(argv=argv, env=env, cwd=cwd, stdin=0, stdout=1, stderr=2)

    run(story)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_large_command_line_passes(loop: str) -> None:
    words = ["y" * 100_000] * 12

    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, *python("import sys; print(sum(map(len, sys.argv[1:])))", *words))
            assert await server.output() == b"1200000\n"
            server.close()

    run(story, loop)


# --- the zygote -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_hung_zygote_is_replaced_and_its_sessions_go_on(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    monkeypatch.setattr(spawn, "ZYGOTE_SECONDS", 0.5)

    async def story() -> None:
        async with spawning() as spawner:
            first = await start(spawner, b"cat")
            assert spawner._zygote
            hung = spawner._zygote.pid
            os.kill(hung, signal.SIGSTOP)
            several = await asyncio.gather(*(start(spawner, b"cat") for _ in range(40)))
            assert spawner._zygote.pid != hung
            assert not await eventually(lambda: os.path.exists(f"/proc/{hung}"))
            for server in (first, *several):
                os.write(server.stdin, b"hello")
                assert await server.read() == b"hello"
                server.close_stdin()
                assert await server.child.wait() == 0
                await server.child.gone()
                server.close()
            assert not await eventually(lambda: spawner._children)

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


def test_children_started_by_other_means_are_left_alone() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            own = subprocess.Popen(["sleep", "60"])
            orphan = int(subprocess.check_output(["sh", "-c", "sleep 60 >/dev/null & echo $!"]))
            assert not await eventually(lambda: orphan not in warden.children(os.getpid()))
            server = await start(spawner, *python(ROGUE, "detached", marker))
            await server.read()
            await zygote_and_warden_killed(spawner, [server])
            await server.child.gone()
            server.close()
            assert marked(marker) == []
            assert own.poll() is None
            assert os.waitpid(orphan, os.WNOHANG) == (0, 0)
            own.kill()
            own.wait()
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)

    marker = secrets.token_hex(12)
    run(story)


def test_wardens_ignore_what_a_terminal_sends() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            server = await start(spawner, b"cat")
            assert spawner._zygote
            wardens = [spawner._zygote.pid, server.child._warden]
            assert len({os.getsid(pid) for pid in [0, *wardens]}) == 3
            for pid in wardens:
                for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
                    os.kill(pid, number)
            os.write(server.stdin, b"hello")
            assert await server.read() == b"hello"
            assert len(left(set(wardens))) == 2
            server.close()

    run(story)


def test_many_at_once_all_start_and_all_end() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            servers = await asyncio.gather(*(start(spawner, b"cat") for _ in range(60)))
            wardens = set(spawner._children)
            assert len(wardens) == 60
            for server in servers:
                server.close()
        assert left(wardens) == []

    before = descriptors()
    run(story)
    assert descriptors() == before


def test_cancelled_spawn_leaves_nothing() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.006):
                for _ in range(3):
                    task = asyncio.get_running_loop().create_task(
                        start(spawner, *python(ROGUE, "polite", marker))
                    )
                    await asyncio.sleep(delay)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        server = await task
                        server.child.kill()
                        server.close()
            assert await eventually(lambda: marked(marker)) == []
            assert not await eventually(lambda: spawner._children or spawner._unborn)

    marker = secrets.token_hex(12)
    before = descriptors()
    run(story)
    assert descriptors() == before


def test_closed_spawner_starts_nothing() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            assert spawner._zygote
            zygote = spawner._zygote.pid
            server = await start(spawner, *python(ROGUE, "ignores-term", "x"))
            await server.read()
        assert left({zygote, server.child.pid, server.child._warden}) == []
        assert await server.child.wait() == 137
        server.close()
        with pytest.raises(UpstreamError, match="stopping") as caught:
            await start(spawner, b"true")
        assert caught.value.code == 125
        await spawner.close()

    run(story)


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "/bin/cat"])
def test_interpreter_that_does_not_start_is_an_error_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.setattr(spawn, "ZYGOTE_SECONDS", 0.3)

    async def story() -> None:
        spawner = Spawner()
        with pytest.raises(UpstreamError) as caught:
            await spawner.start()
        assert caught.value.code == 125
        assert not spawner.promise()["warden"]
        await spawner.close()

    before = descriptors()
    run(story)
    assert descriptors() == before


def test_promise_names_what_is_in_force_and_what_is_not_promised() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            promise = spawner.promise()
        assert promise.pop("limits").startswith("if daemon, zygote and a session's warden are all killed")
        assert promise == {
            "warden": True,
            "process_group": True,
            "subreaper": True,
            "parent_death_signal": True,
        }

    run(story)


def test_server_has_the_umask_and_limits_of_its_host() -> None:
    async def story() -> None:
        async with spawning() as spawner:
            source, sink = os.pipe()
            child = await spawner.spawn(
                argv=[b"sh", b"-c", b"umask; ulimit -S -n; ulimit -S -c; exec sleep 60"],
                env=[b"PATH=/usr/bin:/bin"],
                cwd=b"/",
                stdin=source,
                stdout=sink,
                stderr=2,
                habits=(0o027, 77, 1024),
            )
            os.close(sink)
            server = Server(child, os.dup(source), source)
            text = b""
            while text.count(b"\n") < 3:
                text += await server.read()
            child.kill()
            await child.gone()
            server.close()
        assert text.split() == [b"0027", b"77", b"2"]  # core size in blocks of 512 bytes

    run(story)


def test_the_passed_image_runs_although_its_name_leads_elsewhere_by_then(tmp_path):
    """Security case 61: what is executed is what was opened."""
    name = tmp_path / "program"
    name.symlink_to(shutil.which("true"))
    image = os.open(name, os.O_RDONLY)
    name.unlink()
    name.symlink_to(shutil.which("false"))
    null = os.open("/dev/null", os.O_RDWR)
    codes = []

    async def story() -> None:
        spawner = Spawner()
        await spawner.start()
        for passed in (image, -1):
            child = await spawner.spawn(
                argv=[os.fsencode(name)],
                env=[PATH],
                cwd=b"/",
                stdin=null,
                stdout=null,
                stderr=null,
                image=passed,
            )
            codes.append(await child.wait())
            await child.gone()
        await spawner.close()

    run(story)
    os.close(image)
    os.close(null)
    assert codes == [0, 1]
