"""The journal as sessions see it: written before anything travels, synced a moment later.

A record reaches the kernel with the write that precedes its call, so no crash of mcpguard loses it. It reaches
stable storage at most `limits.SYNC_SECONDS` later, or before its call where policy says `durable`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mcpguard import limits
from mcpguard.daemon.fresh import Fresh
from mcpguard.daemon.recent import Recent
from mcpguard.errors import JournalError
from mcpguard.system.journal import Journal

_log = logging.getLogger("mcpguard")


class Recorder:
    """Appends records and syncs them in the background. Owns the journal.

    Attributes:
        recent: The newest records.
        fresh: Records that detectors have not seen.
        noticed: Told, soon after, that there are some.
        failure: Why nothing can be recorded now; empty if something can.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.recent = Recent()
        self.fresh = Fresh()
        self.noticed: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.failure = ""

    @property
    def key(self) -> bytes:
        """Key of argument digests."""
        return self._journal.key

    @property
    def journal(self) -> Journal:
        """What is written to."""
        return self._journal

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
        self.fresh.add(self.recent.add(bodies), bodies, self._journal.last)
        self._schedule()

    def later(self, bodies: list[bytes]) -> None:
        """Keep records for the next write."""
        self._journal.append_later(bodies)
        self.fresh.add(self.recent.add(bodies), bodies)
        self._schedule()

    def _fail(self, sentence: str) -> None:
        """Remember why nothing can be recorded; the same reason is logged once."""
        if sentence != self.failure:
            _log.error("%s", sentence)
        self.failure = sentence

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
        self._tell()
        if self._syncing is None and self._journal.dirty:
            self._syncing = self._loop.run_in_executor(None, self._journal.sync)
            self._syncing.add_done_callback(self._synced)
        elif self._journal.dirty:
            self._schedule()

    def _tell(self) -> None:
        if self.noticed is not None and self.fresh:
            self.fresh.anchor(self._journal.last)
            self.noticed()

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
