"""Start MCP servers through the wardens, so that nothing of them outlives its session.

The daemon never forks a server. It hands descriptors to a zygote (`mcpguard.system.warden`), a small process
started once, which forks one warden for each session; from then on daemon and warden talk over a socket of
their own. Who dies first decides who cleans up: see rule 1 there.

Decided: a zygote that is hung is replaced, not waited for; its wardens come to the daemon and go on. It is
killed first, then the request either has a warden's answer or meets the end of file, so that trying again
never starts a server twice. Rejected: to send the specification only after that answer (two more switches).
"""

# ruff: noqa: SLF001  # Spawner and Child are two halves of one thing; what is private is so to others

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from mcpguard import limits
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import UpstreamError
from mcpguard.system import subreaper, warden

ZYGOTE_SECONDS: Final = 5.0
"""A zygote that has not started, or not forked, after this time is hung. It takes a millisecond."""
START_SECONDS: Final = 15.0
"""From fork to exec, seconds: a working directory may be on a slow network."""
CLOSE_SECONDS: Final = 2.0
"""All sessions, and then the zygote, each get this long when the daemon ends."""
ASKING: Final = 16
"""Requests given to the zygote at a time, so that ZYGOTE_SECONDS is plenty for the last of them."""
ATTEMPTS: Final = 3
"""Zygotes tried for one spawn."""
SHOWN_CHARS: Final = 200
"""Longest command or directory quoted in a sentence."""
LOST_CODE: Final = 128 + signal.SIGKILL
"""Exit code of a server whose warden was killed: the parent-death signal is SIGKILL."""

_GUARD_FAILED: Final = 125
_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127

_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

_MISSING_NAME: Final = ("not found in the server's PATH", "install it, or give its absolute path")
_MISSING_FILE: Final = (
    "no such file, or no such interpreter",
    "check the path, and the first line of a script",
)
_EXEC_ADVICE: Final = {
    errno.EACCES: ("it may not be executed", "check it with ls -l, and that its file system is not noexec"),
    errno.ENOEXEC: ("it is no program of this system", "let a script begin with #! and its interpreter"),
    errno.E2BIG: ("its arguments and environment are too large", "pass less"),
}
"""What to say of an errno of execve(2): what is wrong, what to do."""

_LIMITS_WHOLE: Final = (
    "if daemon, zygote and a session's warden are all killed at the same instant with SIGKILL, a descendant "
    "of the server that has detached itself (double fork) survives"
)
_LIMITS_GROUP: Final = (
    "this system has no subreaper and no parent-death signal: only the server's process group is ended, and "
    "a descendant that has left it survives"
)


class _Control:
    """The daemon's end of a line-based socket to a process of the warden."""

    def __init__(
        self, sock: socket.socket, take: Callable[[str, list[str]], None], end: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.open = True
        self._take = take
        self._end = end
        self._pending = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self.pump)

    def pump(self) -> None:
        """Take what has arrived."""
        if not self.open:
            return
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            verb, *words = line.decode("ascii").split()
            self._take(verb, words)

    def write(self, data: bytes) -> None:
        """Write all, in the background if there is no room now."""
        rest = data[self.send(data) :]
        if rest:
            _ = spawn_task(self._write(rest), name="specification")

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self.open:
            await asyncio.sleep(0.001)
            view = view[self.send(view) :]

    def send(self, data: bytes | memoryview) -> int:
        """Send what there is room for now, and say how much; to a process that is gone, nothing."""
        try:
            return self.sock.send(data)
        except OSError:
            return 0

    def finish(self) -> None:
        """Let the other end see the end of file, and still read what it says."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket, once, and tell so."""
        if self.open:
            self.open = False
            self._loop.remove_reader(self.sock.fileno())
            self.sock.close()
            self._end()


class _Zygote:
    """The zygote as the daemon knows it. `reaped`: it is gone, and what it had adopted is ours."""

    def __init__(self, mark: int, ended: Callable[[int], None], lost: Callable[[_Zygote], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.reaped = False
        self.whole = False
        self._on_ended = ended
        self._on_lost = lost
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = _start_zygote(theirs.fileno(), mark)
            except OSError:
                ours.close()
                raise
        self.control = _Control(ours, self._take, self._end)

    def _take(self, verb: str, words: list[str]) -> None:
        if verb == "ready":
            self.whole = words == ["1"]
            self.ready.set_result(None)
        elif verb == "ended":
            self._on_ended(int(words[0]))

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)  # still our child: only `Spawner._tidy` reaps it, later
        if not self.ready.done():
            self.ready.set_result(None)
        self.gone.set_result(None)
        self._on_lost(self)

    async def ask(self, descriptors: list[int]) -> None:
        """Request a session warden; its birth or its end of file is the answer."""
        while self.control.open:
            try:
                socket.send_fds(self.control.sock, [b"+"], descriptors)
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except (BrokenPipeError, ConnectionResetError):
                return
            else:
                return


class Child:
    """A server that was started, until no process of its tree is left. Made by `Spawner.spawn` only.

    Attributes:
        pid: The server's process, which is also its process group.
    """

    def __init__(
        self,
        control: socket.socket,
        zygote: _Zygote,
        on_born: Callable[[Child], None],
        on_parted: Callable[[Child], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self._warden = 0
        self._zygote = zygote
        self._on_born = on_born
        self._on_parted = on_parted
        self._born: asyncio.Future[bool] = loop.create_future()
        self._started: asyncio.Future[tuple[str, int]] = loop.create_future()
        self._exit: asyncio.Future[int] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._control = _Control(control, self._take, self._end)

    async def wait(self) -> int:
        """Wait for the server's exit: its code, or 128 + the signal that ended it, as shells say."""
        return await asyncio.shield(self._exit)

    async def gone(self) -> None:
        """Wait until no process of the server's tree is left."""
        await asyncio.shield(self._gone)

    def end(self) -> None:
        """Say that the server's stdin is closed: it may exit by itself, then `term`."""
        self._control.send(b"end\n")

    def term(self) -> None:
        """SIGTERM to the server's group now, SIGKILL to the whole tree after the grace."""
        self._control.send(b"term\n")

    def kill(self) -> None:
        """SIGKILL to the whole tree now."""
        self._control.send(b"kill\n")

    def signal(self, number: int) -> None:
        """Send a signal to the server's process, as a host would have done.

        Raises:
            ValueError: There is no such signal.
        """
        if number not in signal.valid_signals():
            raise ValueError(number)
        self._control.send(b"signal %d\n" % number)

    def release(self) -> None:
        """Let go of the session, as the daemon's death would: `term`."""
        self._control.finish()

    def _take(self, verb: str, words: list[str]) -> None:
        if verb == "warden":
            self._warden = int(words[0])
            self._born.set_result(True)
            self._on_born(self)
        elif verb == "started":
            self.pid = int(words[0])
            self._started.set_result(("", 0))
        elif verb == "failed":
            self._started.set_result((words[0], int(words[1])))
            if not self._born.done():  # the zygote could not fork
                self._born.set_result(True)
        elif verb == "exit":
            self._exit.set_result(int(words[0]))
        elif verb == "gone":
            self._gone.set_result(None)
            self._control.close()

    def _end(self) -> None:
        if not self._born.done():
            self._born.set_result(False)
        if not self._started.done():
            self._started.set_result(("warden", errno.ESRCH))
        if not self._exit.done():
            self._exit.set_result(LOST_CODE)
        self._on_parted(self)

    def _settle(self) -> None:
        """Take the last words of a warden that is reaped; its session is over."""
        for _ in range(3):
            self._control.pump()
        self._control.close()
        if not self._gone.done():
            self._gone.set_result(None)


PLAIN: Final = (0o022, -1, 0)
"""Habits of a server that inherits from nobody."""


class Spawner:
    """Starts servers; owns the zygote, and knows every session warden until it is gone."""

    def __init__(self) -> None:
        self._mark = subreaper.new_mark()
        self._adopts = False
        self._closed = False
        self._zygote: _Zygote | None = None
        self._dying: set[_Zygote] = set()
        self._unborn: set[Child] = set()
        self._children: dict[int, Child] = {}
        self._starting = asyncio.Lock()
        self._asking = asyncio.Semaphore(ASKING)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Become a subreaper and start the zygote: early, while the daemon is small.

        Raises:
            UpstreamError: The zygote does not start.
        """
        self._adopts = subreaper.adopt_orphans()
        await self._current()

    async def spawn(
        self, *, argv: Sequence[bytes], env: Sequence[bytes], cwd: bytes, stdin: int, stdout: int, stderr: int,
        habits: Sequence[int] = PLAIN, image: int = -1,
    ) -> Child:  # fmt: skip
        """Start a server with exactly this environment (`K=V`), in a process group of its own.

        `argv[0]` is looked up in the PATH of `env`, as a shell would; with a slash it is relative to `cwd`.
        `habits` are its umask, soft limit of open files and of core size in bytes (-1: as high as may be).
        `image` is the opened file to execute in place of what stands at `argv[0]`; no script, as its interpreter
        could not open it.
        Owner: the descriptors stay the caller's, who closes them afterwards.

        Raises:
            UpstreamError: 127: there is no such command. 126: it cannot be executed, or not in `cwd`.
                125: something failed before that.
            ValueError: `argv` is empty, a field has a NUL, or `env` an entry without name or the same twice.
        """
        passed = [stdin, stdout, stderr] if image < 0 else [stdin, stdout, stderr, image]
        child = await self._beget(passed, _encode(argv, env, cwd, habits))
        try:
            async with asyncio.timeout(START_SECONDS):
                stage, number = await asyncio.shield(child._started)
        except TimeoutError:
            stage, number = "start", errno.ETIMEDOUT
        except asyncio.CancelledError:
            child.kill()
            child.release()  # it may still be reading what to start
            raise
        if stage:
            child.kill()
            child.release()
            raise _refusal(stage, number, argv[0], cwd)
        return child

    async def close(self) -> None:
        """End all sessions, as `Child.term` does, then the zygote. Nothing is started any more."""
        self._closed = True
        children = [*self._children.values(), *self._unborn]
        for child in children:
            child.release()
        await _within(CLOSE_SECONDS, *(child._gone for child in children))
        for child in self._children.values():
            if child._zygote.reaped and child._control.open:  # its warden is our own child, and hangs
                os.kill(child._warden, signal.SIGKILL)
        zygote = self._zygote
        if zygote:
            zygote.control.finish()
            await _within(CLOSE_SECONDS, zygote.gone)
            zygote.control.close()
        if self._sweeper:
            await _within(CLOSE_SECONDS, self._sweeper)
            self._sweeper.cancel()

    def promise(self) -> dict[str, Any]:
        """Which mechanisms are in force, and one sentence on what they cannot do; for `status`."""
        whole = self._adopts and self._zygote is not None and self._zygote.whole
        return {
            "warden": self._zygote is not None,
            "process_group": True,
            "subreaper": whole,
            "parent_death_signal": whole,
            "limits": _LIMITS_WHOLE if whole else _LIMITS_GROUP,
        }

    async def _current(self) -> _Zygote:
        """The zygote; a new one if the last is gone."""
        async with self._starting:
            if self._closed:
                raise _failure("the daemon is stopping", "start it again")
            if self._zygote is None:
                self._zygote = await self._new_zygote()
            return self._zygote

    async def _new_zygote(self) -> _Zygote:
        try:
            zygote = _Zygote(self._mark, self._on_ended, self._on_lost)
        except OSError as error:
            raise _failure(
                f"cannot start {sys.executable}: {error.strerror}", "see mcpguard doctor"
            ) from error
        await _within(ZYGOTE_SECONDS, zygote.ready)
        if not zygote.ready.done() or not zygote.control.open:
            zygote.control.close()
            raise _failure("the process that starts servers does not start", "see mcpguard daemon logs")
        return zygote

    async def _beget(self, passed: list[int], spec: bytes) -> Child:
        """Get a session warden that has its specification, or is about to read it."""
        for _ in range(ATTEMPTS):
            async with self._asking:
                zygote = await self._current()
                ours, theirs = _socketpair()
                child = Child(ours, zygote, self._on_born, self._on_parted)
                self._unborn.add(child)
                child._control.write(spec)
                try:
                    if await self._born(child, theirs, passed):
                        return child
                except BaseException:
                    child._control.close()
                    raise
        raise _failure("the process that starts servers does not answer", "see mcpguard daemon logs")

    async def _born(self, child: Child, theirs: socket.socket, passed: list[int]) -> bool:
        """Ask for a warden; False if none has come of it and none will."""
        zygote = child._zygote
        with theirs, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ZYGOTE_SECONDS):
                await zygote.ask([theirs.fileno(), *passed])
        await _within(ZYGOTE_SECONDS, child._born)
        if child._born.done() and child._born.result():
            return True
        zygote.control.close()  # the request dies with it, or has been taken
        await _within(ZYGOTE_SECONDS, child._born)
        if not child._born.done():
            raise _failure("a session's warden does not answer", "see mcpguard daemon logs")
        return child._born.result()

    def _on_born(self, child: Child) -> None:
        self._unborn.discard(child)
        self._children[child._warden] = child

    def _on_parted(self, child: Child) -> None:
        self._unborn.discard(child)
        if not child._zygote.control.open:
            self._sweep()
        elif not child._gone.done() and child._warden:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._doubt, child)

    def _doubt(self, child: Child) -> None:
        """A zygote that does not report a warden's end hangs: without it, the orphans are ours."""
        if not child._gone.done():
            child._zygote.control.close()

    def _on_ended(self, pid: int) -> None:
        if pid not in self._children:  # its birth is unread
            for child in list(self._unborn):
                child._control.pump()
        ended = self._children.pop(pid, None)
        if ended:
            ended._settle()

    def _on_lost(self, zygote: _Zygote) -> None:
        if self._zygote is zygote:
            self._zygote = None
        self._dying.add(zygote)
        self._sweep()

    def _sweep(self) -> None:
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = spawn_task(self._sweeping(), name="sweep")

    async def _sweeping(self) -> None:
        pause = warden.FIRST_PAUSE
        while self._tidy():
            await asyncio.sleep(pause)
            pause = min(pause * 2, warden.LONGEST_PAUSE)

    def _tidy(self) -> bool:
        """Reap what a dead zygote left to us, and kill its orphans; True if something is still on its way."""
        for zygote in [zygote for zygote in self._dying if subreaper.reap(zygote.pid)]:
            zygote.reaped = True
            self._dying.remove(zygote)
        if self._dying:
            return True  # until then its children are not ours: the wardens among them go on
        for child in list(self._unborn):
            child._control.pump()
        spare = {pid for pid, child in self._children.items() if child._control.open}
        if self._zygote:
            spare.add(self._zygote.pid)
        parted = [child for pid, child in self._children.items() if pid not in spare]
        ours = [child for child in parted if not child._zygote.control.open]
        busy = subreaper.cull_orphans(self._mark, spare)
        lost = [child for child in ours if child._zygote.reaped and subreaper.reap(child._warden)]
        if busy or len(lost) < len(ours):
            return True
        for child in lost:
            del self._children[child._warden]
            child._settle()
        return False


def _start_zygote(descriptor: int, mark: int) -> int:
    """Start the zygote with one socket, as its stdin; everything else it closes itself.

    Not inherited: the daemon's environment, but for the path to libraries that the interpreter may need.
    """
    graces = (limits.EOF_GRACE_SECONDS, limits.TERM_GRACE_SECONDS, limits.DRAIN_SECONDS)
    argv = [sys.executable, "-I", "-S", _program(), "0", *map(str, graces), str(mark)]
    return os.posix_spawn(
        sys.executable,
        argv,
        {name: value for name, value in os.environ.items() if name in _LIBRARY_PATHS},
        file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, 0)],
    )


def _program() -> str:
    """The warden's bytecode if it is that of its source, which costs 2 MiB more memory to compile."""
    try:
        cached = importlib.util.cache_from_source(warden.__file__)
        source = Path(warden.__file__).stat()
        header = struct.pack("<4sLLL", importlib.util.MAGIC_NUMBER, 0, int(source.st_mtime), source.st_size)
        with Path(cached).open("rb") as file:
            return cached if file.read(16) == header else warden.__file__
    except (OSError, NotImplementedError, struct.error):
        return warden.__file__


def _socketpair() -> tuple[socket.socket, socket.socket]:
    try:
        return socket.socketpair()
    except OSError as error:
        raise _failure(f"cannot start a server: {error.strerror}", "raise the limit of open files") from error


async def _within(seconds: float, *futures: asyncio.Future[Any]) -> None:
    """Wait for all of the futures, but no longer than this; they are neither cancelled nor read."""
    if futures:
        await asyncio.wait(futures, timeout=seconds)


def _encode(argv: Sequence[bytes], env: Sequence[bytes], cwd: bytes, habits: Sequence[int]) -> bytes:
    """Encode a specification, with its length.

    Raises:
        ValueError: The warden would refuse it.
    """
    data = b"\0".join([cwd, b" ".join(b"%d" % habit for habit in habits), b"%d" % len(argv), *argv, *env])
    if data.count(b"\0") != 2 + len(argv) + len(env):
        raise ValueError("a field of a command contains a NUL")
    warden.parse_spec(data)
    return len(data).to_bytes(4, "big") + data


def _failure(message: str, hint: str) -> UpstreamError:
    return UpstreamError(message, code=_GUARD_FAILED, hint=hint)


def _refusal(stage: str, number: int, name: bytes, cwd: bytes) -> UpstreamError:
    """Say why a server did not start, and what to do."""
    command = f"cannot start {_shown(name)}"
    reason = os.strerror(number).lower()
    if stage == "chdir":
        hint = "create the directory, or give the server another one"
        return UpstreamError(f"{command} in {_shown(cwd)}: {reason}", code=_NOT_EXECUTABLE, hint=hint)
    if stage != "exec":
        return _failure(f"{command}: {stage}: {reason}", "see mcpguard daemon logs")
    if number == errno.ENOENT:
        where, hint = _MISSING_FILE if b"/" in name else _MISSING_NAME
        return UpstreamError(f"{command}: {where}", code=_NOT_FOUND, hint=hint)
    what, hint = _EXEC_ADVICE.get(number, (reason, "try to run it from a shell"))
    return UpstreamError(f"{command}: {what}", code=_NOT_EXECUTABLE, hint=hint)


def _shown(text: bytes) -> str:
    """Bytes of somebody else as one bounded, printable, quoted word."""
    plain = text.decode("utf-8", "backslashreplace")[:SHOWN_CHARS]
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain) + '"'
