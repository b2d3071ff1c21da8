"""An authenticator that is a program of its own: one JSON object a line on its standard input, one on its output.

Rule 1. It gets `PATH` and the variables that configuration names, and no descriptor but the socket and `/dev/null`.
Rule 2. A question has a time limit. Who misses it, or prints what is no answer, or too much, is ended.
Rule 3. One that ended is started again when it is needed, after a pause that doubles with each end in a row.
Meanwhile it refuses.
Rule 4. A program that others may write to is not started.
Rule 5. It ends with us: the end of its input is our end.

A question has an `id` beside its members; so has the answer. Answers may come in any order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
import subprocess
from pathlib import Path
from typing import Final

from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import PeerError
from mcpguard.model import Json, JsonObject
from mcpguard.system.authfile import Plugin
from mcpguard.system.files import intruder

_log: Final = logging.getLogger("mcpguard")
LINE_BYTES: Final = 64 * 1024
"""Longest answer, bytes."""
PENDING: Final = 64
"""Questions that wait at a time."""
PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 60.0
_STEADY: Final = 20
"""One that has given so many answers has not failed at once."""
_END_SECONDS: Final = 1.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class PluginProcess:
    """The program that one `[plugin.NAME]` describes, running or not."""

    def __init__(self, settings: Plugin) -> None:
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._pause = PAUSE_SECONDS
        self._not_before = 0.0
        self._answers = 0
        self._closed = False
        self.starts = 0

    async def ask(self, question: JsonObject, seconds: float) -> Json:
        """The answer to a question, unchecked.

        Raises:
            PeerError: There is none.
        """
        name = self._settings.name
        if len(self._waiting) >= PENDING:
            raise PeerError(f"the authenticator {name} has too many questions waiting", hint="try again")
        try:
            async with asyncio.timeout(seconds):
                writer = await self._started()
                ident = next(self._ids)
                answer = asyncio.get_running_loop().create_future()
                self._waiting[ident] = answer
                try:
                    writer.write(json.dumps({"id": ident, **question}).encode() + b"\n")
                    return await answer
                finally:
                    self._waiting.pop(ident, None)
        except TimeoutError as error:
            self._fail("it did not answer in time")
            raise PeerError(f"the authenticator {name} does not answer") from error
        except OSError as error:
            self._fail(error.strerror or "it cannot be written to")
            raise PeerError(f"the authenticator {name} cannot be asked") from error

    async def close(self) -> None:
        """End it; it may finish for a moment."""
        self._closed = True
        child = self._child
        self._end("mcpguard asks no more")
        if child is not None:
            await asyncio.get_running_loop().run_in_executor(None, _ended, child)

    async def _started(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._writer is not None:
                return self._writer
            loop = asyncio.get_running_loop()
            if self._closed or loop.time() < self._not_before:
                raise PeerError(
                    f"the authenticator {self._settings.name} does not run",
                    hint="it failed, and is started again soon",
                )
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._child = await loop.run_in_executor(None, self._spawn, theirs)
                ours.setblocking(False)
                reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
            except (OSError, PeerError):
                ours.close()
                self._postpone()
                raise
            self.starts += 1
            self._answers = 0
            self._writer = writer
            _ = spawn_task(self._read(reader, self._child), name=f"the authenticator {self._settings.name}")
            return writer

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        if who := intruder(Path(self._settings.command[0]).stat()):
            raise PeerError(f"the authenticator {self._settings.name} is not started: its program {who}")
        passed = {name: os.environ[name] for name in self._settings.env if name in os.environ}
        return subprocess.Popen(  # noqa: S603 (configuration names it)
            self._settings.command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": _PATH, **passed},
            start_new_session=True,
        )

    async def _read(self, reader: asyncio.StreamReader, child: subprocess.Popen[bytes]) -> None:
        """Give answers to whoever waits for them, until the program ends or breaks the rules."""
        why = "it ended"
        try:
            while line := await reader.readline():
                if not self._take(line):
                    why = "it printed what is no answer"
                    break
        except (ValueError, OSError) as error:
            why = "it printed too much" if isinstance(error, ValueError) else "it ended"
        if self._child is child:
            self._fail(why)

    def _take(self, line: bytes) -> bool:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(answer, dict) or type(ident := answer.pop("id", None)) is not int:
            return False
        self._answers += 1
        if self._answers >= _STEADY:
            self._pause = PAUSE_SECONDS
        waiting = self._waiting.get(ident)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        return True

    def _fail(self, why: str) -> None:
        if self._child is None:
            return
        child = self._child
        self._end(why)
        self._postpone()
        _log.warning("the authenticator %s is ended: %s", self._settings.name, why)
        _ = asyncio.get_running_loop().run_in_executor(None, _killed, child)

    def _end(self, why: str) -> None:
        """Close our end; nobody who waits gets an answer."""
        writer, self._writer, self._child = self._writer, None, None
        if writer is not None:
            writer.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    PeerError(f"the authenticator {self._settings.name} gave no answer: {why}")
                )

    def _postpone(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


def _killed(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, 9)
    child.wait()


def _ended(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        _killed(child)
