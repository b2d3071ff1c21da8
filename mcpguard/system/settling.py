"""What follows a sync: the tree takes in what was written; key, head and checkpoint move up to it.

The writer hands over what it has written (`wrote`), which costs it two stores. `prepare` and `settle` belong to the
sync, in whatever thread that runs: `prepare` before the data is synced, `settle` after, one sync at a time.

Decided: *hashing gives way every `_BURST` lines*: a thread that hashes keeps the interpreter, and calls would wait up
to 5 ms for it; 64 lines take 0.1 ms.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final, NamedTuple

from mcpguard import limits
from mcpguard.audit.tree import Tree
from mcpguard.system.journalseal import Head, Seals

_BURST: Final = 64


class Point(NamedTuple):
    """Where the writer is.

    Attributes:
        segment: Number of the segment.
        size: Its bytes.
        seq: Number of the last record.
        prev: Digest of its line, hex.
        key: Of the next record.
    """

    segment: int
    size: int
    seq: int
    prev: bytes
    key: bytes


class Prepared(NamedTuple):
    """A point, and the tree up to it."""

    point: Point
    frontier: tuple[bytes, ...]
    root: bytes


class Settler:
    """Keeps tree, key, head and checkpoints up with the log. Owns the seals."""

    def __init__(self, seals: Seals, tree: Tree, point: Point) -> None:
        self._seals = seals
        self._tree = tree
        self._growing = threading.Lock()
        self._chunks: deque[bytes] = deque()
        self._handed = 0  # bytes that came in; the writer's alone
        self._taken = 0  # bytes of them that are in the tree; of whoever holds `_growing`
        self._signed = seals.head.seq
        self._signed_at = self._synced_at = time.monotonic()
        self._settled = seals.head.seq
        self.point = point

    @property
    def unsigned(self) -> int:
        """Records that no checkpoint covers yet."""
        return self.point.seq - self._signed

    def wrote(self, data: bytes, point: Point) -> None:
        """These lines are in the file, up to this point. From the writer's thread."""
        self._chunks.append(data)
        self.point = point
        self._handed += len(data)
        if self._handed - self._taken > limits.AUDIT_UNHASHED_BYTES:
            with self._growing:
                self._grow(point.seq, gentle=False)

    def prepare(self, *, gentle: bool = True) -> Prepared:
        """Where the writer is now, and the tree up to there. `gentle`: let other threads run in between."""
        with self._growing:
            point = self.point
            self._grow(point.seq, gentle=gentle)
            return Prepared(point, self._tree.frontier(), self._tree.root())

    def settle(self, prepared: Prepared, *, checkpoint: bool, segment: str = "") -> None:
        """Everything up to `prepared` is on stable storage: say so on disk.

        With `checkpoint` one is signed now, otherwise when it is due; it is kept for `segment` if one ends here.

        Raises:
            OSError: Something cannot be written; the next call tries again.
        """
        point, now = prepared.point, time.monotonic()
        if point.seq > self._settled:
            frontier = tuple(node.hex() for node in prepared.frontier)
            head = Head(point.seq, point.segment, point.size, point.prev.decode(), frontier)
            self._seals.advance(head, point.key)
            self._settled = point.seq
        fresh = point.seq - self._signed
        due = fresh >= limits.CHECKPOINT_RECORDS or now - self._signed_at >= limits.CHECKPOINT_SECONDS
        if (fresh and (due or checkpoint)) or segment:
            note = self._seals.checkpoint(point.seq, prepared.root)
            if segment:
                self._seals.keep(segment, note)
            self._signed, self._signed_at = point.seq, now
        if checkpoint or now - self._synced_at >= limits.CHECKPOINT_SECONDS:
            self._seals.sync()
            self._synced_at = now

    def close(self) -> None:
        """Close the files."""
        self._seals.close()

    def _grow(self, seq: int, *, gentle: bool) -> None:
        """Take in what was written, up to a record at which a write ended."""
        tree, count = self._tree, 0
        while tree.size < seq:
            data = self._chunks.popleft()
            self._taken += len(data)
            for line in data.split(b"\n")[:-1]:
                tree.add(line + b"\n")
                count += 1
                if gentle and count % _BURST == 0:
                    time.sleep(0)
