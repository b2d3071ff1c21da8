"""The directory of an audit log as its writer enters it: the lock, the digest key, and where the last writer stopped.

Rule. Nothing wrong is repaired silently. A last line cut by a crash is moved to `torn-NNNNNN-OFFSET` and a record
commits to it; anything else that is wrong is a JournalError, and the log stays as it was found. A log that ends
before its head or its sealing key was cut, by no crash: both are written after the records (`journalseal`).

A log without seals, of version 1, is verified whole, once, and goes on in version 2.

Every file is opened below the descriptor of the directory, follows no link, and is ours alone. `OSError` passes: the
journal makes the sentence.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.chain import START, Chain, State, Verifier, hash_line, sealed
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError, PeerError
from mcpguard.system import journalfiles
from mcpguard.system.files import private_directory
from mcpguard.system.journalseal import Head, Seals, brought_forward
from mcpguard.system.ownfile import open_own, read_own, replace_own, write_own

KEY_BYTES: Final = 32
"""Size of the digest key, bytes."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LOCK, _KEY = "lock", "digest.key"


def boot_id() -> bytes:
    """Which run of the kernel this is, 32 hex digits; random where the kernel does not say."""
    try:
        found = _BOOT_ID.read_bytes().strip().replace(b"-", b"")
    except OSError:
        found = b""
    return found if re.fullmatch(rb"[0-9a-f]{32}", found) else os.urandom(16).hex().encode()


def rotated(number: int, size: int, chain: Chain, root: bytes) -> bytes:
    """The first record of the segment after `number`, which ended with `size` bytes and this chain.

    `root` is that of the tree over all lines until then, of which there are `last`.
    """
    return record.log(
        "rotated",
        segment=journalfiles.segment_name(number),
        size=size,
        last=chain.seq,
        hash=chain.prev.decode(),
        root=root.hex(),
    )


class End(NamedTuple):
    """Where a log goes on.

    Attributes:
        number: Of the segment to write.
        fd: Open for appending; the receiver closes it.
        size: Good bytes of that segment.
        chain: The last record, with the key of the next.
        header: Body of the record that an empty segment must begin with; None for the first one.
        recovered: Bodies of records that commit to what was torn.
        tree: Over all records.
        seals: Keys, head and checkpoints; the receiver closes them.
    """

    number: int
    fd: int
    size: int
    chain: Chain
    header: bytes | None
    recovered: list[bytes]
    tree: Tree
    seals: Seals


class Home:
    """The directory, held by its one writer until `leave`."""

    def __init__(self, path: Path, directory: int, lock: int) -> None:
        self.path = path
        self._directory = directory
        self._lock = lock
        self.key = b""

    @classmethod
    def enter(cls, path: Path) -> Self:
        """Make the directory if it is not there, and become its writer.

        Raises:
            JournalError: Somebody else writes there, or could; or the digest key is damaged.
        """
        try:
            private_directory(path)
        except PeerError as error:
            raise JournalError(
                f"the audit log is not safe there: {error.message}", hint=error.hint
            ) from error
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | _SAFE, 0o600, dir_fd=directory)
        except OSError:
            os.close(directory)
            raise
        home = cls(path, directory, lock)
        try:
            home._take_lock()
            home.key = home._digest_key()
        except BaseException:
            home.leave()
            raise
        return home

    def leave(self) -> None:
        """Let another writer in."""
        os.close(self._lock)
        os.close(self._directory)

    def key_id(self) -> str:
        """What tells one digest key from another without saying anything of it."""
        return hashlib.blake2b(self.key, digest_size=8, person=b"mcpguard-key-id").hexdigest()

    def segment(self, number: int, *, empty: bool = False) -> int:
        """Open a segment for appending, made if it is not there; the caller closes the descriptor.

        Raises:
            JournalError: It is not a file of ours alone, or holds something although it must be `empty`.
        """
        name = journalfiles.segment_name(number)
        fd = self._own(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            if empty and os.fstat(fd).st_size:
                raise JournalError(f"{self.path / name} holds records before it was begun")
            os.fsync(self._directory)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def resume(self) -> End:
        """Find the end of the log; move a torn last line aside.

        Raises:
            JournalError: The end is not as a writer of ours leaves it, not even one that was killed.
        """
        numbers = sorted(filter(None, map(journalfiles.segment_number, self._names())))
        number = numbers[-1] if numbers else 1
        seals = Seals.found(self.path, self._directory)
        try:
            if seals is not None and (seals.head.segment > number or (seals.head.seq and not numbers)):
                raise self._cut(seals.head, "its segment is not there")
            fd = self.segment(number)
            try:
                return self._resume(number, fd, seals)
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            if seals is not None:
                seals.close()
            raise

    def _resume(self, number: int, fd: int, seals: Seals | None) -> End:
        name = journalfiles.segment_name(number)
        tail = journalfiles.tail(fd)
        if seals is not None and seals.head.segment == number and seals.head.offset > tail.size:
            raise self._cut(seals.head, f"{name} ends after {tail.size} bytes")
        size_before = -1
        if tail.before:
            chain = self._after(name, tail.before)
        elif number > 1:
            chain, size_before = self._end_before(number)
        else:
            chain = Chain(0, START)
        chain = self._checked(name, chain, [line for line in (tail.last, tail.torn) if line])
        if seals is None:
            tree = self._unsealed(name, number, tail, chain)
            seals = self._seal(number, tail.size, chain, tree)
        else:
            tree = self._since_head(seals, number, tail.size, chain)
        chain.key = brought_forward(seals.key, chain.seq + 1)
        header = rotated(number - 1, size_before, chain, tree.root()) if size_before >= 0 else None
        if tail.torn:
            self._set_aside(number, tail.size, tail.torn)
            os.ftruncate(fd, tail.size)
            os.fsync(fd)
        return End(number, fd, tail.size, chain, header, self._torn_at(number, tail.size), tree, seals)

    def _unsealed(self, name: str, number: int, tail: journalfiles.Tail, chain: Chain) -> Tree:
        """The tree over a log that has no seals yet, all of which is verified."""
        if sealed(tail.last) or sealed(tail.torn):
            raise self._wrong(name, "the head of the log is missing")
        tree = Tree()
        verifier = Verifier(tree=tree)
        for each in range(1, number + 1):
            lines = self._lines(each, 0, tail.size if each == number else -1)
            verifier.segment(lines, journalfiles.segment_name(each))
        self._good(verifier, chain)
        return tree

    def _seal(self, number: int, size: int, chain: Chain, tree: Tree) -> Seals:
        frontier = tuple(node.hex() for node in tree.frontier())
        head = Head(chain.seq, number, size, chain.prev.decode(), frontier)
        return Seals.made(self.path, self._directory, head)

    def _since_head(self, seals: Seals, number: int, size: int, chain: Chain) -> Tree:
        """Check that the log goes on from its head to where it ends, seals included; the tree over all of it."""
        head = seals.head
        if seals.key.seq > chain.seq + 1:
            raise self._cut(head, f"the sealing key is that of record {seals.key.seq}")
        tree = head.tree()
        at_head = journalfiles.segment_name(head.segment)
        if head.offset and hash_line(self._line_before(head)).decode() != head.hash:
            raise self._wrong(at_head, f"record {head.seq} is not the one that the head of the log names")
        verifier = Verifier(head.seq, head.hash.encode(), tree=tree, key=seals.key)
        for each in range(head.segment, number + 1):
            start = head.offset if each == head.segment else 0
            lines = self._lines(each, start, size if each == number else -1)
            verifier.segment(lines, journalfiles.segment_name(each), start)
        self._good(verifier, chain)
        return tree

    def _good(self, verifier: Verifier, chain: Chain) -> None:
        """The verification was good, and ended where the log does."""
        report = verifier.finish()
        if report.state is not State.OK:
            raise self._wrong(report.file, f"record {report.bad_seq}: {report.problem}")
        if (verifier.chain.seq, verifier.chain.prev) != (chain.seq, chain.prev):
            raise self._wrong("", "the records behind its head are not those at its end")

    def _lines(self, number: int, start: int, end: int) -> Iterator[bytes]:
        """Lines of a segment from one offset to another; `end` -1: all."""
        name = journalfiles.segment_name(number)
        try:
            fd = self._own(name, os.O_RDONLY)
        except FileNotFoundError as error:
            raise self._wrong(name, "the segment is missing") from error
        with os.fdopen(fd, "rb") as file:
            file.seek(start)
            while end < 0 or start < end:
                line = file.readline(limits.RECORD_BYTES + 1)
                if not line:
                    return
                start += len(line)
                yield line

    def _line_before(self, head: Head) -> bytes:
        """The line that ends where the head says."""
        fd = self._own(journalfiles.segment_name(head.segment), os.O_RDONLY)
        try:
            start = max(0, head.offset - limits.RECORD_BYTES - 1)
            data = os.pread(fd, head.offset - start, start)
        finally:
            os.close(fd)
        return data[data.rfind(b"\n", 0, -1) + 1 :]

    def _cut(self, head: Head, how: str) -> JournalError:
        """The sentence for a log that ends before its head."""
        return JournalError(
            f"the audit log at {self.path} was cut: record {head.seq} was on stable storage, and {how}; "
            "no crash does that",
            hint=f"see mcpguard audit verify; to begin a new log, move {self.path} away and keep it as evidence",
        )

    def _end_before(self, number: int) -> tuple[Chain, int]:
        """End and size of the segment before one; it was complete when the next was begun."""
        name = journalfiles.segment_name(number - 1)
        try:
            fd = self._own(name, os.O_RDONLY)
        except FileNotFoundError as error:
            raise self._wrong(name, "the segment is missing") from error
        try:
            tail = journalfiles.tail(fd)
        finally:
            os.close(fd)
        if tail.torn or not tail.last:
            raise self._wrong(name, "a newer segment exists, but this one has no complete end")
        return self._after(name, tail.last), tail.size

    def _after(self, name: str, line: bytes) -> Chain:
        """The chain behind one line, whose own link is not checked."""
        try:
            return Chain(record.parse_line(line[:-1]).seq, hash_line(line))
        except JournalError as error:
            raise self._wrong(name, error.message) from error

    def _checked(self, name: str, chain: Chain, lines: list[bytes]) -> Chain:
        verifier = Verifier(chain.seq, chain.prev)
        verifier.segment(lines, name)
        report = verifier.finish()
        if report.state is State.TAMPERED:
            raise self._wrong(name, f"record {report.bad_seq}: {report.problem}")
        return verifier.chain

    def _wrong(self, name: str, problem: str) -> JournalError:
        return JournalError(
            f"the audit log does not end as it was written: {self.path / name}: {problem}",
            hint=f"see mcpguard audit verify; to begin a new log, move {self.path} away and keep it as evidence",
        )

    def _set_aside(self, number: int, offset: int, torn: bytes) -> None:
        """Keep a torn line in a file of its own, on stable storage, before it is cut from the segment."""
        base = _torn_name(number, offset)
        count = 1
        name = base
        while name in self._names():
            if self._content(name) == torn:
                return
            count += 1
            name = f"{base}-{count}"
        self._create(name, torn, os.O_EXCL)

    def _torn_at(self, number: int, offset: int) -> list[bytes]:
        """Records that commit to torn lines found where the log ends, so that nothing was recorded after them."""
        base = _torn_name(number, offset)
        bodies = []
        for name in self._names():
            if name == base or name.startswith(f"{base}-"):
                torn = self._content(name)
                digest = hashlib.sha256(torn).hexdigest()
                bodies.append(record.log("recovered", file=name, torn_sha256=digest, torn_bytes=len(torn)))
        return bodies

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            who = f"another mcpguard daemon (pid {holder})" if holder.isdigit() else "another mcpguard daemon"
            raise JournalError(
                f"the audit log at {self.path} is written by {who}", hint="stop it with mcpguard daemon stop"
            ) from error
        _told(lambda: os.pwrite(self._lock, b"%-19d\n" % os.getpid(), 0))

    def _digest_key(self) -> bytes:
        """Read the key, or make it once; it appears whole or not at all."""
        try:
            key = self._content(_KEY)
        except FileNotFoundError:
            key = os.urandom(KEY_BYTES)
            replace_own(self._directory, self.path, _KEY, key)
        if len(key) != KEY_BYTES:
            raise JournalError(
                f"the digest key {self.path / _KEY} is damaged",
                hint="restore it, or remove it to begin with a new one; older digests then match nothing",
            )
        return key

    def _own(self, name: str, flags: int) -> int:
        """Open a file that is a regular file of ours alone."""
        return open_own(self._directory, self.path, name, flags)

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._directory))  # noqa: PTH208 (pathlib takes no descriptor)

    def _content(self, name: str) -> bytes:
        return read_own(self._directory, self.path, name)

    def _create(self, name: str, content: bytes, flag: int) -> None:
        write_own(self._directory, self.path, name, content, flag)


def _torn_name(number: int, offset: int) -> str:
    return f"torn-{number:06d}-{offset}"


def _told(hint: Callable[[], object]) -> None:
    """Leave a hint for others; a full disk does not matter here."""
    try:
        hint()
    except OSError:
        return
