"""The journal as sessions see it: written before anything travels, synced a moment later.

A record reaches the kernel with the write that precedes its call, so no crash of mcpguard loses it. It reaches
stable storage at most `limits.SYNC_SECONDS` later, or before its call where policy says `durable`.
"""

from __future__ import annotations

import asyncio
import logging

from mcpguard import limits
from mcpguard.daemon.recent import Recent
from mcpguard.errors import JournalError
from mcpguard.system.journal import Journal

_log = logging.getLogger("mcpguard")
_FINDING = b'"type":"finding"'


class Recorder:
    """Appends records and syncs them in the background. Owns the journal.

    Attributes:
        recent: The newest records.
        failure: Why nothing can be recorded now; empty if something can.
        failures: How often something could not be written or synced.
        findings: Records of findings so far.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.recent = Recent()
        self._timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.failure = ""
        self.failures = 0
        self.findings = 0

    @property
    def key(self) -> bytes:
        """Key of argument digests."""
        return self._journal.key

    def append(self, bodies: list[bytes], *, durable: bool = False) -> None:
        """Write records now; with `durable`, to stable storage.

        Raises:
            JournalError: They are not written.
        """
        try:
            self._journal.append(bodies)
            if durable:
                self._journal.sync()
        except (JournalError, OSError) as error:
            self._fail(_sentence(error))
            raise JournalError(self.failure) from error
        self.failure = ""
        self._note(bodies)

    def later(self, bodies: list[bytes]) -> None:
        """Keep records for the next write."""
        self._journal.append_later(bodies)
        self._note(bodies)

    def _note(self, bodies: list[bytes]) -> None:
        for body in bodies:
            if body.startswith(_FINDING):
                self.findings += 1
        self.recent.add(bodies)
        self._schedule()

    def _fail(self, sentence: str) -> None:
        """Remember why nothing can be recorded; the same reason is logged once."""
        if sentence != self.failure:
            _log.error("%s", sentence)
        self.failure = sentence
        self.failures += 1

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(limits.SYNC_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            self._journal.flush()
        except JournalError as error:
            self._fail(error.sentence())
            self._schedule()
            return
        self.failure = ""
        if self._syncing is None and self._journal.dirty:
            self._syncing = self._loop.run_in_executor(None, self._journal.sync)
            self._syncing.add_done_callback(self._synced)
        elif self._journal.dirty:
            self._schedule()

    def _synced(self, future: asyncio.Future[None]) -> None:
        self._syncing = None
        error = future.exception()
        if error is not None:
            self._fail(_sentence(error))
        if self._journal.dirty:
            self._schedule()

    async def close(self) -> None:
        """Write and sync everything, then close the journal."""
        if self._timer is not None:
            self._timer.cancel()
        if self._syncing is not None:
            await asyncio.wait((self._syncing,))
        try:
            self._journal.flush()
            self._journal.sync()
        except (JournalError, OSError) as error:
            _log.error("records are lost: %s", error)
        self._journal.close()


def _sentence(error: BaseException) -> str:
    return error.sentence() if isinstance(error, JournalError) else f"cannot sync the audit log: {error}"
