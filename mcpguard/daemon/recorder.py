"""The journal as sessions see it: written before anything travels, synced a moment later.

A record reaches the kernel with the write that precedes its call, so no crash of mcpguard loses it. It reaches
stable storage `limits.SYNC_SECONDS` and one sync later, or before its call where policy says `durable`. Syncs run
outside the loop, one at a time; with them move head, sealing key and checkpoints of the log.

Those who watch (consoles, detectors, metrics) are shown records with the next sync, or when they ask: doing it for
each call on its way cost a tenth of a guarded call.

On a full disk calls are refused, and outcomes of calls that were let through go on being recorded in the reserve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from mcpguard import limits
from mcpguard.daemon.fresh import Batch, Fresh
from mcpguard.daemon.recent import Recent
from mcpguard.errors import JournalError
from mcpguard.model import JsonObject
from mcpguard.system.journal import Journal

_log = logging.getLogger("mcpguard")
_RETRY_SECONDS: Final = 0.25
"""How long to wait for a disk that cannot be written."""
_FINDING = b'"type":"finding"'


class Recorder:
    """Appends records and syncs them in the background. Owns the journal.

    Attributes:
        noticed: Told, soon after, that there are some that detectors have not seen.
        failure: Why nothing can be recorded now; empty if something can.
        failures: How often something could not be written or synced.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._recent = Recent()
        self._fresh = Fresh()
        # What those who watch have not been shown, each with the position of its last record, 0 if not known.
        self._untold: list[tuple[int, list[bytes]]] = []
        self.noticed: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._signing: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.failure = ""
        self.failures = 0
        self._findings = 0

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
                self._journal.sync_data()
        except (JournalError, OSError) as error:
            self._fail(_sentence(error))
            raise JournalError(self.failure) from error
        self.failure = ""
        self._untold.append((self._journal.last, bodies))
        self._schedule()

    def later(self, bodies: list[bytes]) -> None:
        """Keep records for the next write."""
        self._journal.append_later(bodies)
        self._untold.append((0, bodies))
        self._schedule()

    def rest(self) -> None:
        """Nothing arrives just now: write what was kept, which the next call would wait for."""
        if self._journal.kept:
            with contextlib.suppress(JournalError):  # it is still kept, and `_due` says so
                self._journal.flush()

    @property
    def count(self) -> int:
        """Records so far."""
        self._catch_up()
        return self._recent.count

    @property
    def findings(self) -> int:
        """Records of findings so far."""
        self._catch_up()
        return self._findings

    async def since(self, seen: int, seconds: float) -> JsonObject:
        """The newest records after the first `seen`, as `Recent.since`."""
        self._catch_up()
        return await self._recent.since(seen, seconds)

    def take(self) -> Batch:
        """What detectors have not seen; nothing of it is kept here."""
        self._catch_up()
        return self._fresh.take()

    def _catch_up(self) -> None:
        """Show what has come to those who watch."""
        untold, self._untold = self._untold, []
        bodies = [body for _, some in untold for body in some]
        if not bodies:
            return
        now = self._recent.add(bodies)
        for last, some in untold:
            self._fresh.add(now, some, last)
        self._findings += sum(body.startswith(_FINDING) for body in bodies)

    def _fail(self, sentence: str) -> None:
        """Remember why nothing can be recorded; the same reason is logged once."""
        if sentence != self.failure:
            _log.error("%s", sentence)
        self.failure = sentence
        self.failures += 1

    def _schedule(self, seconds: float = limits.SYNC_SECONDS) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self._catch_up()
        try:
            self._journal.flush()
        except JournalError as error:
            self._fail(error.sentence())
            self._schedule(_RETRY_SECONDS)
            return
        if self._journal.refusing:
            self._fail(self._journal.refusing)
            self._schedule(_RETRY_SECONDS)
        else:
            self.failure = ""
        self._tell()
        if self._syncing is None and self._journal.dirty:
            _ = self._sync()
        elif self._journal.dirty:
            self._schedule()

    def _sync(self, *, checkpoint: bool = False) -> asyncio.Future[None]:
        """Sync outside the loop."""
        finish = partial(self._journal.finish, self._journal.prepare(), checkpoint=checkpoint)
        syncing = self._loop.run_in_executor(None, finish)
        self._syncing = syncing
        syncing.add_done_callback(self._synced)
        return syncing

    async def sign(self) -> int:
        """Have a checkpoint cover everything that was recorded until now; the number of the last record in it.

        Raises:
            JournalError: It cannot be written, synced or signed.
        """
        self._journal.flush()
        while self._syncing is not None:
            await asyncio.wait((self._syncing,))
        last = self._journal.last
        if self._journal.unsigned:
            syncing = self._sync(checkpoint=True)
            await asyncio.wait((syncing,))
            syncing.result()
        return last

    def _tell(self) -> None:
        if self.noticed is not None and self._fresh:
            self._fresh.anchor(self._journal.last)
            self.noticed()

    def _synced(self, future: asyncio.Future[None]) -> None:
        self._syncing = None
        error = future.exception()
        if error is not None:
            self._fail(_sentence(error))
        if self._journal.dirty:
            self._schedule(_RETRY_SECONDS if error is not None else limits.SYNC_SECONDS)
        if self._journal.unsigned and self._signing is None:
            self._signing = self._loop.call_later(limits.CHECKPOINT_SECONDS, self._sign)

    def _sign(self) -> None:
        """Records that came in a while ago, and none after them, get their checkpoint."""
        self._signing = None
        if self._syncing is None and self._journal.unsigned:
            _ = self._sync(checkpoint=True)

    async def close(self) -> None:
        """Write and sync everything, then close the journal."""
        for timer in (self._timer, self._signing):
            if timer is not None:
                timer.cancel()
        if self._syncing is not None:
            await asyncio.wait((self._syncing,))
        try:
            self._journal.flush()
            self._journal.sync(checkpoint=True)
        except (JournalError, OSError) as error:
            _log.error("records are lost: %s", error)
        self._journal.close()


def _sentence(error: BaseException) -> str:
    return error.sentence() if isinstance(error, JournalError) else f"cannot sync the audit log: {error}"
