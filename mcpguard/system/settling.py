"""What follows a sync: the tree takes in what was written; key, head and checkpoint move up to it.

The writer hands over what it has written (`wrote`), which costs it two stores, and has the tree take it in
(`prepare`) before the data is synced; both in its own thread. `settle` belongs to the sync, in whatever thread that
runs, one at a time.

Decided: *the writer's thread hashes, in one piece before each sync*: 200 lines take 0.3 ms there. Rejected: hashing
beside the sync, in its thread. Both threads want the interpreter, and handing it over cost more than the hashing:
12 us of a call's 77 (2-core virtual machine under load, 64 calls outstanding).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from mcpguard import limits
from mcpguard.audit.tree import Tree
from mcpguard.system.journalseal import Head, Seals


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
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes of them
        self._signed = seals.head.seq
        self._signed_at = self._synced_at = time.monotonic()
        self._settled = seals.head.seq
        self.point = point

    @property
    def unsigned(self) -> int:
        """Records that no checkpoint covers yet."""
        return self.point.seq - self._signed

    def wrote(self, data: bytes, point: Point) -> None:
        """These lines are in the file, up to this point."""
        self._chunks.append(data)
        self.point = point
        self._waiting += len(data)
        if self._waiting > limits.AUDIT_UNHASHED_BYTES:
            self._grow()

    def prepare(self) -> Prepared:
        """Where the writer is now, and the tree up to there."""
        self._grow()
        return Prepared(self.point, self._tree.frontier(), self._tree.root())

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
        if (fresh > 0 and (due or checkpoint)) or segment:
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

    def _grow(self) -> None:
        """Take in what was written."""
        if self._chunks:
            self._tree.grow(b"".join(self._chunks))
            self._chunks.clear()
            self._waiting = 0
