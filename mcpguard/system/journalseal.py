"""What stands beside the segments of a log: keys, the head, and signed checkpoints.

    seal.key            the key of the next record, twice; overwritten as the chain moves (`audit.seal`)
    first.key           the first key and the public checkpoint key, until `mcpguard audit key` has handed them over
    checkpoint.key      seed of the key that signs checkpoints
    checkpoints/        head, log.vkey, newest-0.note, newest-1.note, audit-NNNNNN.note, tombstone.note

Rule 1. Everything here is written after the records that it speaks of are on stable storage. So a head, a key or a
checkpoint that is ahead of the log is no crash: the log was cut.
Rule 2. Behind the log they may be, by what was not synced. A key is brought forward; it cannot be brought back.
Rule 3. While it runs, a log needs no new space for any of them (a checkpoint at the end of a segment excepted).

Forward security holds up to the key that was written last: `limits.SYNC_SECONDS` and one sync behind the newest
record, five seconds more if power fails. It begins when `first.key` is gone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

import msgspec

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.checkpoint import Checkpoint
from mcpguard.audit.seal import KEY_BYTES, FirstKey, evolve
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system import checkpointkey
from mcpguard.system.ownfile import open_own, read_own, replace_own, write_own
from mcpguard.system.slots import Slots, framed, whole

SEAL_KEY: Final = "seal.key"
"""File of the current key."""
FIRST_KEY: Final = "first.key"
"""File of the first key, until it is handed over."""
TAKEN_KEY: Final = "first.key.taken"
"""The same while it is handed over."""
CHECKPOINT_KEY: Final = "checkpoint.key"
"""File of the seed that signs checkpoints."""
CHECKPOINTS: Final = "checkpoints"
"""Directory of what says where the log stands."""
HEAD: Final = "head"
"""File of the head."""
PUBLIC_KEY: Final = "log.vkey"
"""File of the public checkpoint key."""
TOMBSTONE: Final = "tombstone.note"
"""File of the tombstone."""
NEWEST: Final = ("newest-0.note", "newest-1.note")
"""Files of the newest checkpoint, written in turn."""


class Head(msgspec.Struct, frozen=True):
    """The last record that was on stable storage, and the tree up to it.

    Attributes:
        seq: Its number; 0 for none.
        segment: Number of its segment.
        offset: Bytes of that segment up to its end.
        hash: SHA-256 of its line, hex.
        frontier: Of the tree, hex.
    """

    seq: int
    segment: int
    offset: int
    hash: str
    frontier: tuple[str, ...]

    def tree(self) -> Tree:
        """The tree up to the record.

        Raises:
            ValueError: The frontier is none of that size.
        """
        return Tree(self.seq, [bytes.fromhex(node) for node in self.frontier])


class _Key(msgspec.Struct, frozen=True):
    seq: int
    key: str


def newest_head(data: bytes) -> Head | None:
    """The newest whole copy in the content of a head file."""
    found = [msgspec.json.decode(value, type=Head) for value in whole(data)]
    return max(found, key=lambda head: head.seq, default=None)


def newest_key(data: bytes) -> FirstKey | None:
    """The newest whole copy in the content of a key file."""
    found = [msgspec.json.decode(value, type=_Key) for value in whole(data)]
    keys = [FirstKey(key.seq, bytes.fromhex(key.key)) for key in found]
    return max(keys, key=lambda key: key.seq, default=None)


class Seals:
    """Keys, head and checkpoints of a log, held by its writer until `close`.

    Attributes:
        head: As it was found, or made.
        key: Likewise: a key, and the record that it seals.
        log_key: Public half of the checkpoint key.
        pruned: Number of the last record that retention has deleted; 0 for none.
    """

    def __init__(self, place: Path, directory: int) -> None:
        self._place = place / CHECKPOINTS
        self._checkpoints = os.open(
            CHECKPOINTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory
        )
        self._open = [self._checkpoints]
        try:
            self._seed = read_own(directory, place, CHECKPOINT_KEY)
            head = newest_head(read_own(self._checkpoints, self._place, HEAD))
            key = newest_key(read_own(directory, place, SEAL_KEY))
            if head is None or key is None or len(self._seed) != KEY_BYTES or len(key.key) != KEY_BYTES:
                raise JournalError(f"a key or the head of the audit log at {place} is damaged")
            self.head, self.key = head, key
            self.log_key = notes.parse_key(read_own(self._checkpoints, self._place, PUBLIC_KEY).decode())
            self.pruned = self._pruned()
            self._heads = Slots(self._kept(self._checkpoints, self._place, HEAD))
            self._heads.spare(msgspec.json.encode(head))
            self._keys = Slots(self._kept(directory, place, SEAL_KEY))
            self._notes = [self._kept(self._checkpoints, self._place, name) for name in NEWEST]
            self._turn = self._older_note()
        except BaseException:
            self.close()
            raise

    @classmethod
    def found(cls, place: Path, directory: int) -> Self | None:
        """Those of the log in this open directory; None if the log never had any.

        Raises:
            JournalError: Some are there and others missing or damaged.
        """
        try:
            os.stat(f"{CHECKPOINTS}/{HEAD}", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        try:
            return cls(place, directory)
        except FileNotFoundError as error:
            raise JournalError(
                f"{place / str(error.filename)} of the audit log is missing", hint=_HINT % place
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            raise JournalError(
                f"the head or a key of the audit log at {place} is damaged", hint=_HINT % place
            ) from error

    @classmethod
    def made(cls, place: Path, directory: int, head: Head) -> Self:
        """Begin to seal a log that ends at `head`. The head is written last: without it none of this counts.

        Raises:
            OSError: They cannot be written.
        """
        if CHECKPOINTS not in os.listdir(directory):
            os.mkdir(CHECKPOINTS, 0o700, dir_fd=directory)
        inside = os.open(
            CHECKPOINTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory
        )
        try:
            seed, first = os.urandom(KEY_BYTES), FirstKey(head.seq + 1, os.urandom(KEY_BYTES))
            public = checkpointkey.log_key(seed)
            replace_own(directory, place, CHECKPOINT_KEY, seed)
            replace_own(directory, place, FIRST_KEY, f"{first.text()}\n{public.text()}\n".encode())
            replace_own(directory, place, SEAL_KEY, framed(_encoded(first)) * 2)
            there = place / CHECKPOINTS
            replace_own(inside, there, PUBLIC_KEY, f"{public.text()}\n".encode())
            note = Checkpoint(public.name, head.seq, head.tree().root())
            for name in NEWEST:
                replace_own(
                    inside, there, name, note.note(public, lambda text: checkpointkey.sign(seed, text))
                )
            replace_own(inside, there, HEAD, framed(msgspec.json.encode(head)) * 2)
        finally:
            os.close(inside)
        return cls(place, directory)

    def advance(self, head: Head, key: bytes) -> None:
        """Write that all records up to `head` are on stable storage, and the key of the next one over older keys.

        Raises:
            OSError: It is not written.
        """
        self._keys.write_both(_encoded(FirstKey(head.seq + 1, key)))
        self._heads.write(msgspec.json.encode(head))
        self.head = head

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Sign and write a checkpoint; the note.

        Raises:
            OSError: It is not written.
        """
        note = Checkpoint(self.log_key.name, size, root).note(
            self.log_key, lambda text: checkpointkey.sign(self._seed, text)
        )
        fd = self._notes[self._turn]
        os.pwrite(fd, note, 0)
        os.ftruncate(fd, len(note))
        self._turn ^= 1
        return note

    def keep(self, segment: str, note: bytes) -> None:
        """Keep the checkpoint at the end of a segment, for as long as the segment is kept.

        Raises:
            OSError: It is not written.
        """
        name = f"{segment.removesuffix('.jsonl')}.note"
        write_own(self._checkpoints, self._place, name, note, os.O_TRUNC)

    def sync(self) -> None:
        """Wait until all of it is on stable storage.

        Raises:
            OSError: It may not be there.
        """
        self._keys.sync()
        self._heads.sync()
        for fd in self._notes:
            os.fdatasync(fd)

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.pop())

    def _kept(self, directory: int, place: Path, name: str) -> int:
        fd = open_own(directory, place, name, os.O_RDWR)
        self._open.append(fd)
        return fd

    def _pruned(self) -> int:
        try:
            data = read_own(self._checkpoints, self._place, TOMBSTONE)
        except FileNotFoundError:
            return 0
        return notes.parse_note(data)[0].size

    def _older_note(self) -> int:
        """Which of the two to overwrite next: one that a crash has cut, or the smaller."""
        sizes = []
        for fd in self._notes:
            try:
                sizes.append(notes.parse_note(os.pread(fd, notes.NOTE_BYTES, 0))[0].size)
            except JournalError:
                sizes.append(-1)
        return int(sizes[1] < sizes[0])


_HINT: Final = "restore it; to begin a new log, move %s away and keep it as evidence"


def _encoded(key: FirstKey) -> bytes:
    return msgspec.json.encode(_Key(key.seq, key.key.hex()))


def brought_forward(key: FirstKey, seq: int) -> bytes:
    """The key that seals record `seq`, from one of the same or an earlier record."""
    return evolve(key.key, seq - key.seq)
