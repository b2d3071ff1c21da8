"""Keeps a process that brings the audit log to its sinks (`mcpguard audit ship`), while there are sinks.

Rule 1. Nothing is shared with it but files, so it holds up no call, whatever becomes of it.
Rule 2. It ends with the daemon, however that ends: its standard input is a pipe whose other end only the daemon has.
Rule 3. One that ends is started again, after a time that doubles with each end in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject
from mcpguard.system.sinkfile import Sink, SinkFile
from mcpguard.system.sinkstate import described

_log: Final = logging.getLogger("mcpguard")
_STEADY_SECONDS: Final = 60.0
"""One that has run for so long has not failed at once."""
_END_SECONDS: Final = 4.0
_FOREIGN: Final = ("OTEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT", "REQUESTS_CA", "CURL_CA")


class Exporter:
    """The process, and what is known of the sinks.

    Args:
        file: Where the sinks are named.
        audit: The log.
    """

    def __init__(self, file: SinkFile, audit: Path) -> None:
        self._file = file
        self._audit = audit
        self._child: subprocess.Popen[bytes] | None = None
        self._stamp: tuple[int, int, int] = (-1, 0, 0)
        self._sinks: tuple[Sink, ...] = ()
        self._fault = ""
        self._began = 0.0
        self._rest = 1.0
        self._not_before = 0.0

    @property
    def pid(self) -> int:
        """The process; 0 if none runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else 0

    def tick(self, now: float) -> None:
        """Look at the file and at the process; `now` is the loop's time."""
        self._look()
        if self._child is not None and self._child.poll() is not None:
            self._ended(now)
        if self._child is None and self._sinks and now >= self._not_before:
            self._start(now)

    def status(self) -> JsonObject:
        """The sinks, as `status` and metrics have them."""
        self._look()
        return {
            "pid": self.pid,
            "error": self._fault,
            "sinks": [described(sink, self._audit, self._file.directory) for sink in self._sinks],
        }

    async def close(self) -> None:
        """End the process, which sends the last records for a moment."""
        child, self._child = self._child, None
        if child is None:
            return
        self._sinks = ()
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        try:
            await asyncio.get_running_loop().run_in_executor(None, child.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            await asyncio.get_running_loop().run_in_executor(None, child.wait)

    def _look(self) -> None:
        """Read the file if it has changed. While it is not valid nothing is sent, and that is said."""
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._sinks, self._fault = self._file.load(), ""
        except GuardError as error:
            self._sinks, self._fault = (), error.sentence()
            _log.error("the audit log goes to no sink: %s", self._fault)
        self._not_before = 0.0

    def _start(self, now: float) -> None:
        env = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-m", "mcpguard", "audit", "ship", "--supervised"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=env,
            )
        except OSError as error:
            _log.error("the audit log goes to no sink: %s", error)
            self._again(now)
            return
        self._began = now

    def _ended(self, now: float) -> None:
        child, self._child = self._child, None
        code = child.returncode if child is not None else 0
        if child is not None and child.stdin is not None:
            child.stdin.close()
        if now - self._began > _STEADY_SECONDS:
            self._rest = 1.0
        _log.warning("what sends the audit log to its sinks ended with %s; again in %.0f s", code, self._rest)
        self._again(now)

    def _again(self, now: float) -> None:
        self._not_before = now + self._rest
        self._rest = min(self._rest * 2, limits.EXPORTER_BACK_OFF_SECONDS)
