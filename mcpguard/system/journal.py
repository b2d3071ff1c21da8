"""The audit log on disk: one writer, segments, and what to do when the disk says no.

Rule 1. What `append` returns from is in the file, whole; what it raises from is not in the file at all.
Rule 2. Nothing wrong is repaired silently. A last line cut by a crash is moved aside and a record commits to it;
anything else that is wrong stops the journal from opening.
Rule 3. The chain goes on over segments, restarts and failures; it moves only after a write has succeeded.
Rule 4. What may be written into the reserve is `flush`: outcomes of calls that were let through. `append` is refused
once the reserve cannot be restored, because a call whose outcome has no place must not begin.

Cost: tests/bench/audit.py measures an append and what a call pays for its two records.

Durability: what `append` returns from is in the kernel, and outlives a crash of ours. `sync_data` brings it to stable
storage; `sync` does so too, and then moves head, key and checkpoints up to it (`settling`).

Decided:
    *A rotated segment is synced before the next one is written*, in line: otherwise a power loss could keep the new
    segment and lose the end of the old one, which would look like tampering. Rejected: leaving it to the next sync.
    *A torn file that nothing commits to is committed to at the next open*: a crash between moving it and recording
    it is seen because the segment still ends where the torn part began.
    *After EIO of a sync, or when a segment was deleted under the writer, nothing more is accepted until the daemon
    starts again*: the kernel reports a lost page once, and a later sync would say that all is well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.chain import ENVELOPE_BYTES
from mcpguard.errors import JournalError
from mcpguard.system import reserve
from mcpguard.system.journalfiles import segment_name
from mcpguard.system.journalhome import End, Home, boot_id, rotated
from mcpguard.system.settling import Point, Prepared, Settler

BODY_BYTES: Final = limits.RECORD_BYTES - ENVELOPE_BYTES
"""Longest body of a record, bytes."""

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space; recording goes on by itself"),
    errno.EDQUOT: ("the disk quota is used up", "free some space; recording goes on by itself"),
    errno.EFBIG: ("the limit on the size of a file is reached", "raise it (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "mount it writable; recording goes on by itself"),
    errno.EACCES: ("permission denied", "check owner and mode of the directory"),
    errno.EPERM: ("permission denied", "check owner, mode and attributes (lsattr) of the directory"),
    errno.EIO: ("the disk reports an I/O error", "see dmesg, then restart the daemon"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n)"),
    errno.ELOOP: ("a symbolic link stands in its place", "remove the link"),
}
_SECOND: Final = 1_000_000_000
_CHUNK: Final = 256 * limits.KIB
_SMALL_CHUNK: Final = 4 * limits.KIB  # of the reserve all is used but so much
_STEP: Final = 256 * limits.KIB
"""How far the reserve runs ahead of what must be there, bytes: it is restored once in so much."""
_NO_RESERVE: Final = 1 << 62
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def explain(doing: str, error: OSError) -> JournalError:
    """The sentence for a failed operation on the log: what failed, why, and what to do."""
    known = _CAUSES.get(error.errno or 0)
    cause, hint = known or ((error.strerror or str(error)).lower(), "")
    return JournalError(f"cannot {doing} the audit log: {cause}", hint=hint)


class Sync(NamedTuple):
    """What one sync is of.

    Attributes:
        prepared: Where the writer was, and the tree up to there.
        before: How much the sync before it was of, bytes; what counts again if this one fails.
    """

    prepared: Prepared
    before: int


class Journal:
    """The one writer of a log. Everything belongs to one thread, but `finish` and `sync_data` may run in another.

    Attributes:
        key: Key of argument digests, 32 bytes; `audit.record.digest` takes it.
        directory: Where the log is.
        gaps: How many records were lost, as far as `gap` records say so.
        recovered: Bodies of the records that say what was torn when the log was opened.
    """

    def __init__(
        self,
        home: Home,
        end: End,
        *,
        clock: Callable[[], int],
        segment_bytes: int,
        backlog_bytes: int,
        reserve_bytes: int,
    ) -> None:
        self.key = home.key
        self.directory = home.path
        self._home = home
        self._chain = end.chain
        self._number, self._fd, self._size = end.number, end.fd, end.size
        self._header = end.header  # what an empty segment begins with
        self._segment_bytes = segment_bytes
        self._backlog_bytes = backlog_bytes
        self._clock = clock
        self._second = -_SECOND  # nanoseconds at which the second of `_stamp_head` began
        self._stamp_head = b""
        self._stamp_tail = b'Z","boot":"%b",' % boot_id()
        self._later: deque[bytes] = deque()
        self._later_bytes = 0
        self._lost = 0
        self.gaps = 0
        self.recovered = end.recovered
        self._torn = False  # a failed write could not be taken back yet
        self._dead = ""  # why nothing is accepted any more
        self._written = 0
        self._marked = 0  # value of `_written` when the last sync was prepared
        self._swap = threading.Lock()  # held while `_fd` is replaced or duplicated
        self._syncing = threading.Lock()  # held by whoever moves head, key and checkpoints
        self._settler = Settler(end.seals, end.tree, self._point())
        self._reserve = reserve_bytes
        self._low = -1 if reserve_bytes else _NO_RESERVE  # beyond this size the reserve is to be restored
        self._full: OSError | None = None  # why it could not be

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        clock: Callable[[], int] = time.time_ns,
        segment_bytes: int = limits.JOURNAL_BYTES,
        backlog_bytes: int = limits.AUDIT_BACKLOG_BYTES,
        reserve_bytes: int = limits.AUDIT_RESERVE_BYTES,
    ) -> Self:
        """Become the writer of a log, made if it is not there, and record that. `clock` gives nanoseconds, UTC.

        Checks the last record against the one before it; the whole log is checked by `mcpguard audit verify`.

        Raises:
            JournalError: Somebody else writes it, it cannot be written, or its end is not as we left it.
        """
        try:
            home = Home.enter(directory)
            try:
                end = home.resume()
            except BaseException:
                home.leave()
                raise
        except OSError as error:
            raise explain("open", error) from error
        journal = cls(
            home,
            end,
            clock=clock,
            segment_bytes=segment_bytes,
            backlog_bytes=backlog_bytes,
            reserve_bytes=reserve_bytes,
        )
        try:
            opened = record.log(
                "opened",
                pid=os.getpid(),
                segment=segment_name(end.number),
                key=home.key_id(),
                checkpoint_key=end.seals.log_key.text(),
                **({"pruned": end.seals.pruned} if end.seals.pruned else {}),
            )
            journal.append_later([*end.recovered, opened])
            journal.flush()
            journal.sync()
        except BaseException:
            journal.close()
            raise
        return journal

    def append(self, bodies: Sequence[bytes]) -> None:
        """Write records, those kept for later in front of them, with one write.

        Order: a call is forwarded after this has returned. Not here: stable storage; see `sync`.

        Raises:
            JournalError: None of `bodies` is in the log. The next call tries afresh.
        """
        if bodies and (longest := max(map(len, bodies))) > BODY_BYTES:
            raise JournalError(f"a record of {longest} bytes is longer than the audit log takes")
        if self._size > self._low:
            self._restore_reserve()
            if self._full is not None and bodies:
                with contextlib.suppress(JournalError):
                    self._write_backlog(())
                raise explain("write", self._full)
        if self._later or self._lost:
            self._write_backlog(bodies)
        elif bodies:
            self._write(bodies)

    def append_later(self, bodies: Sequence[bytes]) -> None:
        """Keep records for the next `append` or `flush`; their time is that of the writing.

        Beyond the bound on what is kept, the oldest are dropped, and a `gap` record says how many.
        """
        fitting = [body for body in bodies if len(body) <= BODY_BYTES]
        self._lost += len(bodies) - len(fitting)
        self._later.extend(fitting)
        self._later_bytes += sum(map(len, fitting))
        while self._later_bytes > self._backlog_bytes:
            self._later_bytes -= len(self._later.popleft())
            self._lost += 1

    def flush(self) -> None:
        """Write what was kept for later, into the reserve if the disk is full.

        Raises:
            JournalError: It cannot be written, and is still kept.
        """
        self.append(())

    @property
    def kept(self) -> int:
        """Records that wait for the next write."""
        return len(self._later)

    @property
    def last(self) -> int:
        """Position of the last record that was written."""
        return self._chain.seq

    @property
    def dirty(self) -> int:
        """Bytes written since the last sync began."""
        return self._written - self._marked

    @property
    def unsigned(self) -> int:
        """Records that no checkpoint covers yet."""
        return self._settler.unsigned

    @property
    def refusing(self) -> str:
        """Why `append` refuses what `flush` still writes; empty if it does not."""
        return explain("write", self._full).sentence() if self._full is not None else ""

    def prepare(self) -> Sync:
        """What the next sync is of: everything that was written until now."""
        before, self._marked = self._marked, self._written
        return Sync(self._settler.prepare(), before)

    def sync(self, *, checkpoint: bool = False) -> None:
        """Wait until everything written before is on stable storage, then move head and key up to it.

        A checkpoint is signed if one is due, or with `checkpoint`.

        Raises:
            JournalError: It may not be there.
        """
        self.finish(self.prepare(), checkpoint=checkpoint)

    def finish(self, sync: Sync, *, checkpoint: bool = False) -> None:
        """Carry out a sync that was prepared. Any thread; `append` may go on meanwhile.

        Raises:
            JournalError: As `sync`.
        """
        with self._syncing:
            try:
                self.sync_data()
                self._settle(sync.prepared, checkpoint=checkpoint)
            except JournalError:
                self._marked = min(sync.before, self._marked)
                raise

    def sync_data(self) -> None:
        """Wait until everything written before is on stable storage; the head stays where it is. Any thread.

        Raises:
            JournalError: It may not be there.
        """
        with self._swap:
            self._alive()
            try:
                fd = os.dup(self._fd)  # a rotation may close the original
            except OSError as error:
                raise explain("sync", error) from error
        try:
            self._sync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Write and sync what can be, and let another writer in. Never fails; call `flush` first to know."""
        if self._fd < 0:
            return
        with contextlib.suppress(JournalError):
            self.flush()
            self.sync(checkpoint=True)
        with self._syncing, self._swap:
            if not self._dead:
                self._release()
            self._dead = "the journal is closed"
            os.close(self._fd)
            self._fd = -1
            self._settler.close()
        self._home.leave()

    def _release(self) -> None:
        """Give back what is reserved behind the end of the segment."""
        if self._low not in (-1, _NO_RESERVE):
            with contextlib.suppress(OSError):  # the space is lost until the next start, nothing else
                os.ftruncate(self._fd, self._size)
        self._low = -1 if self._reserve else _NO_RESERVE

    def _restore_reserve(self) -> None:
        """Have the disk keep the reserve behind the end; `_full` says why it does not."""
        self._alive()
        if self._torn:
            self._take_back()
        for ahead in (_STEP, 0):
            try:
                kept = reserve.keep(self._fd, self._size, self._reserve + ahead)
            except OSError as error:
                self._full = error
                if error.errno not in _FULL:
                    return
            else:
                self._full = None
                self._low = self._size + ahead if kept else _NO_RESERVE
                return

    def _settle(self, prepared: Prepared, *, checkpoint: bool, segment: str = "") -> None:
        try:
            self._settler.settle(prepared, checkpoint=checkpoint, segment=segment)
        except OSError as error:
            raise explain("sign", error) from error

    def _point(self) -> Point:
        chain = self._chain
        return Point(self._number, self._size, chain.seq, chain.prev, chain.key)

    def _write_backlog(self, bodies: Sequence[bytes]) -> None:
        """Write what was kept, in pieces so that a full disk costs little each time, the last one with `bodies`."""
        chunk = _CHUNK if self._full is None else _SMALL_CHUNK
        while self._later_bytes > chunk:
            piece, size = [], 0
            for body in self._later:
                size += len(body)
                piece.append(body)
                if size >= chunk:
                    break
            self._write([*self._gap(), *piece])
            self.gaps, self._lost = self.gaps + self._lost, 0
            self._forget(len(piece))
        kept = len(self._later)
        self._write([*self._gap(), *self._later, *bodies])
        self.gaps, self._lost = self.gaps + self._lost, 0
        self._forget(kept)

    def _forget(self, count: int) -> None:
        if count == len(self._later):
            self._later.clear()
            self._later_bytes = 0
            return
        for _ in range(count):
            self._later_bytes -= len(self._later.popleft())

    def _gap(self) -> list[bytes]:
        return [record.log("gap", lost=self._lost)] if self._lost else []

    def _write(self, bodies: Sequence[bytes]) -> None:
        """Seal and write, or leave file and chain as they were."""
        self._alive()
        if self._torn:
            self._take_back()
        if self._size >= self._segment_bytes and self._full is None:
            self._rotate()
        if not self._size and self._header is not None:
            bodies = [self._header, *bodies]
        chain = self._chain
        seq, prev, key = chain.seq, chain.prev, chain.key
        data = chain.seal(bodies, self._stamp())
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                self._write_rest(data[written:])
        except OSError as error:
            chain.seq, chain.prev, chain.key = seq, prev, key
            self._torn = True
            with contextlib.suppress(JournalError):
                self._take_back()
            raise explain("write", error) from error
        self._size += len(data)
        self._written += len(data)
        self._settler.wrote(data, self._point())

    def _write_rest(self, data: bytes) -> None:
        """After a short write: the kernel says why only when asked again."""
        while data:
            written = os.write(self._fd, data)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[written:]

    def _take_back(self) -> None:
        """Remove what a failed write left behind the last good record, and with it the reserve."""
        try:
            os.ftruncate(self._fd, self._size)
            self._low = min(self._low, self._size - 1) if self._reserve else _NO_RESERVE
        except OSError as error:
            raise explain("repair", error) from error
        self._torn = False

    def _stamp(self) -> bytes:
        """Members `t` and `boot`; the part down to the second is kept for a second."""
        now = self._clock()
        part = now - self._second
        if not 0 <= part < _SECOND:
            part = now % _SECOND
            self._second = now - part
            self._stamp_head = time.strftime('"t":"%Y-%m-%dT%H:%M:%S.', time.gmtime(now // _SECOND)).encode()
        return b"%b%06d%b" % (self._stamp_head, part // 1000, self._stamp_tail)

    def _rotate(self) -> None:
        """Go on in a new segment, whose first record names the end of this one. On failure nothing has changed."""
        with self._syncing:
            prepared = self._settler.prepare()
            self._sync(self._fd)
            self._settle(prepared, checkpoint=True, segment=segment_name(self._number))
            header = rotated(self._number, self._size, self._chain, prepared.root)
            try:
                fd = self._home.segment(self._number + 1, empty=True)
            except OSError as error:
                raise explain("rotate", error) from error
            self._release()
            with self._swap:
                old, self._fd = self._fd, fd
            os.close(old)
            self._header, self._number, self._size = header, self._number + 1, 0

    def _sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
            gone = os.fstat(fd).st_nlink == 0
        except OSError as error:
            failure = explain("sync", error)
            if error.errno == errno.EIO:
                self._dead = failure.sentence()
            raise failure from error
        if gone:
            self._dead = "a segment of the audit log was deleted while it was written; restart the daemon"
        self._alive()

    def _alive(self) -> None:
        if self._dead:
            raise JournalError(self._dead)
