"""Looks at records for what is unusual, in batches, a moment after they were written.

Rule 1: no call waits for this. Records are kept as bytes (`daemon.fresh`); they are decoded here, a few at a time,
and the loop serves calls in between.
Rule 2: more than is looked at in time is left out, calls that were allowed first, and a record says how many; calls
that are looked at then stand for those that are not.
Rule 3: what was learned is a help, not evidence: if it is lost or damaged it is learned again from the newest part of
the log, and that is said.

Not here: what is unusual (`audit.detectors`), what follows from it (`daemon.consequences`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from mcpguard.audit import record
from mcpguard.audit.breaks import UNWATCHED
from mcpguard.audit.detectors import Detectors, Memory
from mcpguard.audit.findings import Finding
from mcpguard.audit.seen import Seen
from mcpguard.daemon.fresh import Batch, Record
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import DaemonError, JournalError
from mcpguard.system import journalfiles
from mcpguard.system.memoryfile import MemoryFile

_log: Final = logging.getLogger("mcpguard")
SECONDS: Final = 0.25
"""Records are looked at so long after the first of them was written."""
_SLICE: Final = 64
"""Records that are looked at before calls have their turn."""
_SAVE_SECONDS: Final = 60.0
_REBUILD: Final = 10_000
"""Newest records that are learned from if what was learned is lost."""
_PASSED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Watch:
    """Feeds detectors with what a recorder writes.

    Args:
        recorder: Whose records.
        memory: Where what was learned outlives the daemon.
        act: Told of every finding.
        detectors: What looks.
    """

    def __init__(
        self, recorder: Recorder, memory: MemoryFile, act: Callable[[Finding], None], detectors: Detectors
    ) -> None:
        self._recorder = recorder
        self._memory = memory
        self._act = act
        self._detectors = detectors
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._gaps = 0
        self._saved = b""
        self._due = 0.0
        self._failed = ""
        recorder.noticed = self._soon

    def start(self) -> None:
        """Take up what the last daemon learned, and look at what the log says of its end."""
        try:
            memory = self._memory.load()
            if memory:
                self._detectors.load(msgspec.convert(memory, Memory))
            else:
                self._rebuild()
        except (DaemonError, msgspec.ValidationError) as error:
            why = error.sentence() if isinstance(error, DaemonError) else "it is damaged"
            _log.warning("what detectors have learned is lost, and is learned again: %s", why)
            self._rebuild()
        self._look([Record(time.time(), 0, body) for body in self._recorder.journal.recovered], 1.0)

    def tick(self) -> None:
        """A second has gone by."""
        lost, self._gaps = self._recorder.journal.gaps - self._gaps, self._recorder.journal.gaps
        if lost:
            self._look([Record(time.time(), 0, record.log("gap", lost=lost))], 1.0)
        for finding in self._detectors.tick(time.time(), time.clock_gettime(_PASSED)):
            self._act(finding)
        if time.monotonic() > self._due:
            self._due = time.monotonic() + _SAVE_SECONDS
            self._saving = spawn_task(
                asyncio.to_thread(self._save, self._encoded()), name="what detectors have learned"
            )

    async def close(self) -> None:
        """Look at what is left, and keep what was learned."""
        self._recorder.noticed = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))
        if self._saving is not None:
            await asyncio.wait((self._saving,))
        await self._batch(self._recorder.take())
        self._save(self._encoded())

    # --- records -------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._soon()  # the last batch is not through; what comes meanwhile is bounded
            return
        self._task = spawn_task(self._batch(self._recorder.take()), name="findings")

    async def _batch(self, batch: Batch) -> None:
        scale = 1.0
        if batch.skipped or batch.others:
            scale = 1.0 + batch.skipped / max(batch.allowed, 1)
            self._recorder.later([record.log(UNWATCHED, skipped=batch.skipped + batch.others)])
        for first in range(0, len(batch.records), _SLICE):
            self._look(batch.records[first : first + _SLICE], scale)
            await asyncio.sleep(0)

    def _look(self, records: list[Record], scale: float) -> None:
        """A few records; a bug of a detector is logged, and costs the record and nothing else."""
        east = time.localtime().tm_gmtoff
        for one in records:
            try:
                body = msgspec.json.decode(b"{%b}" % one.body)
                if one.count > 1:
                    body["args"] = {"size": one.size // one.count}
                stands = one.count * scale
                for finding in self._detectors.take(Seen(one.at, body, one.seq, east, stands)):
                    self._act(finding)
            except Exception as error:  # noqa: BLE001 (rule 1: nothing else may depend on this)
                self._broken(error)

    def _broken(self, error: Exception) -> None:
        sentence = f"a record could not be looked at for findings: {type(error).__name__}: {error}"
        if sentence != self._failed:
            _log.error("%s", sentence, exc_info=error)
        self._failed = sentence

    # --- what was learned ----------------------------------------------------------------------------------

    def _encoded(self) -> bytes:
        return msgspec.json.encode(self._detectors.dump())

    def _save(self, encoded: bytes) -> None:
        """Write it down if it has changed; what cannot be written is logged. Any thread."""
        if encoded == self._saved:
            return
        try:
            self._memory.save(msgspec.json.decode(encoded))
        except DaemonError as error:
            _log.warning("%s", error.sentence())
            return
        self._saved = encoded

    def _rebuild(self) -> None:
        """Learn from the newest records, which takes less than a second once."""
        try:
            lines, _, _ = journalfiles.last(self._recorder.journal.directory, _REBUILD)
        except JournalError as error:
            _log.warning("nothing is learned from the log: %s", error.sentence())
            return
        for line in lines:
            try:
                found = record.parse_line(line)
                at = datetime.fromisoformat(found.time).timestamp()
            except (JournalError, ValueError):
                continue  # `audit verify` names it
            self._detectors.learn(Seen(at, found.body, found.seq, time.localtime(at).tm_gmtoff))
