"""The hash chain: every record names its position and the SHA-256 of the line before it, and is sealed.

Law: seq rises by one, and prev is the digest of the previous line's bytes with its LF, over all segments of a log.
What that proves: no record before the last was changed, removed, added or moved by someone who did not rewrite
everything after it. It says nothing of the tail, nor of a change inside the last record until another follows: that
takes the head and the checkpoints. Records of version 2 end with a MAC under a key that moves
on (`seal`), so that a rewrite needs a key that is no longer there; those of version 1 do not, and none follows one of
version 2. A verifier also grows the Merkle tree (`tree`), for whatever is to be compared with checkpoints.

Cost: see tests/bench/audit.py, which measures sealing and verifying. Copying an empty hash object is 0.2 us cheaper
than asking hashlib for a new one.

Decided: *a last line without LF is torn only if it can be the beginning of the next record*, or of it and NUL bytes,
which file systems leave after a power loss; anything else there is tampering. Rejected: trusting the missing LF
alone, which would let anything be written after the end and called a crash.
"""

from __future__ import annotations

import enum
import hashlib
from binascii import hexlify
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.audit.record import Record, parse_line
from mcpguard.audit.seal import FirstKey, close, evolve
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError

START: Final = b"0" * 64
"""What the very first record names as its predecessor."""
ENVELOPE_BYTES: Final = 384
"""Most bytes that the envelope adds to a body."""
SEAL_BYTES: Final = 75
"""Bytes of `,"mac":"..."}` and LF at the end of a sealed line."""
PROMISE: Final = "records {first}..{seq} form one unbroken chain"
"""What a good verification of lines has checked; `first` and `seq` are numbers of records."""

_SEALED: Final = b'{"v":2,'
_fresh = hashlib.sha256().copy


def hash_line(line: bytes) -> bytes:
    """SHA-256 of a line with its LF, hex."""
    state = _fresh()
    state.update(line)
    return state.hexdigest().encode()


class Chain:
    """The end of a chain: the last record's number and the digest of its line. `Chain()` has no record yet.

    Attributes:
        seq: Number of the last record, 0 for none.
        prev: Digest of its line, hex.
        key: What seals the next record; None writes records of version 1, as old logs have them.
    """

    __slots__ = ("key", "prev", "seq")

    def __init__(self, seq: int = 0, prev: bytes = START, key: bytes = b"") -> None:
        self.seq = seq
        self.prev = prev
        self.key = key

    def seal(self, bodies: Sequence[bytes], stamp: bytes) -> bytes:
        """Lines for all bodies, and move the end behind them. To roll back, set `seq`, `prev` and `key` again.

        `stamp` is the run of members `"t":"...","boot":"...",` that all of them share.

        Raises:
            ValueError: A body holds a LF, which would make two lines of it. The end has not moved.
        """
        seq, prev, key = self.seq, self.prev, self.key
        lines = []
        for body in bodies:
            seq += 1
            if not key:
                line = b'{"v":1,"seq":%d,"prev":"%b",%b%b}\n' % (seq, prev, stamp, body)
            else:
                line, key = close(b'{"v":2,"seq":%d,"prev":"%b",%b%b' % (seq, prev, stamp, body), key)
            state = _fresh()
            state.update(line)
            prev = hexlify(state.digest())
            lines.append(line)
        data = b"".join(lines) if len(lines) != 1 else lines[0]
        if data.count(b"\n") != len(lines):
            raise ValueError("a record body holds a line feed")
        self.seq, self.prev, self.key = seq, prev, key
        return data

    def expected(self, version: int = 1) -> bytes:
        """How the next line must begin."""
        return b'{"v":%d,"seq":%d,"prev":"%b","t":"' % (version, self.seq + 1, self.prev)


def sealed(line: bytes) -> bool:
    """Whether a line says that it is sealed."""
    return line.startswith(_SEALED)


class State(enum.Enum):
    """What a verification found. TORN: a crash cut the last line; everything before it is good."""

    TAMPERED = "tampered"
    TORN = "torn"
    OK = "ok"


class Report(msgspec.Struct, frozen=True):
    """The result of a verification.

    Attributes:
        state: The finding.
        records: Number of good records read.
        seq: The last good record's number; 0 if there is none.
        head: SHA-256 of the last good line, hex.
        file: Segment of the first bad line; empty if all is good.
        line: Its line number, from 1.
        bad_seq: The number that it states, or that it should have if it states none.
        problem: What is wrong with it.
        seals: Number of records whose seal was checked.
        sealed: Number of records of version 2.
    """

    state: State
    records: int
    seq: int
    head: str
    file: str = ""
    line: int = 0
    bad_seq: int = 0
    problem: str = ""
    seals: int = 0
    sealed: int = 0


class Mark(msgspec.Struct, frozen=True):
    """Where a verification passed a record that was asked for.

    Attributes:
        root: Of the tree up to and with it.
        hash: SHA-256 of its line, hex.
        file: Its segment.
        end: Bytes of that segment up to and with it.
    """

    root: bytes
    hash: str
    file: str
    end: int


class Verifier:
    """Checks lines one at a time, over segments, from a known end of chain; what follows a bad line is not read.

    Args:
        seq: Number of the record before the first line.
        prev: Digest of its line.
        tree: Over everything before the first line; None grows none.
        key: Checks the seals from its record on; it may be one of an earlier record.
        watch: Numbers of records that `marks` shall tell of; needs a tree.
        known: Up to this record all is known to be good, by its root, which the caller compares: lines are counted,
            hashed and not looked at. Needs a tree.

    Attributes:
        chain: The end of what is good, with the key of the next record if a key was given.
        marks: The records of `watch` that were passed.
        signers: Keys of checkpoints that the log itself names, each with the first record that does.
    """

    def __init__(
        self,
        seq: int = 0,
        prev: bytes = START,
        *,
        tree: Tree | None = None,
        key: FirstKey | None = None,
        watch: Iterable[int] = (),
        known: int = 0,
    ) -> None:
        later = key.at(seq + 1) if key is not None and key.seq <= seq + 1 else b""
        self.chain = Chain(seq, prev, later)
        self.tree = tree
        self.marks: dict[int, Mark] = {}
        self.signers: dict[str, int] = {}
        self._key = key
        self._watch = sorted(set(watch), reverse=True)
        self._known = known
        self._records = self._seals = self._sealed = 0
        self._file = ""
        self._line = self._end = 0
        self._bad: Report | None = None
        self._mark(hash_text=prev.decode())

    def segment(self, lines: Iterable[bytes], file: str = "", end: int = 0) -> bool:
        """Check the lines of one segment; false once anything is bad. `end`: bytes of it before the first line."""
        if self._stopped():
            return False
        self._file, self._line, self._end = file, 0, end
        for line in lines:
            if self._bad is not None and self._stopped():
                break
            self._line += 1
            self._check(line)
        return self._bad is None

    def finish(self) -> Report:
        """The finding over all segments given."""
        return self._bad or self._report(State.OK)

    def _check(self, line: bytes) -> None:
        """Check one line and move the end of the chain behind it."""
        if not line.endswith(b"\n"):
            self._unfinished(line)
            return
        if len(line) > limits.RECORD_BYTES:
            self._fail("longer than a record may be")
            return
        chain = self.chain
        if chain.seq < self._known:
            self._pass(line)
            return
        try:
            record = parse_line(line)
        except JournalError as error:
            self._fail(error.message)
            return
        version = 2 if line.startswith(_SEALED) else 1
        if not line.startswith(b'{"v":%d,"seq":%d,"prev":"%b","' % (version, chain.seq + 1, chain.prev)):
            self._fail(self._unchained(record), record.seq)
            return
        if (version == 1 or chain.key) and (problem := self._unsealed(line, version)):
            self._fail(problem, record.seq)
            return
        if record.type == "log" and (problem := self._contradicts(record)):
            self._fail(problem, record.seq)
            return
        self._pass(line)

    def _pass(self, line: bytes) -> None:
        chain = self.chain
        state = _fresh()
        state.update(line)
        chain.seq, chain.prev = chain.seq + 1, state.hexdigest().encode()
        if line.startswith(_SEALED):
            self._sealed += 1
        if self._key is not None:
            if chain.key:
                chain.key = evolve(chain.key)
            elif self._key.seq == chain.seq + 1:
                chain.key = self._key.key
        self._records += 1
        self._end += len(line)
        if self.tree is not None:
            self.tree.add(line)
            if self._watch and self._watch[-1] <= chain.seq:
                self._mark(hash_text=chain.prev.decode())

    def _mark(self, hash_text: str) -> None:
        """Note where we are, if that was asked for."""
        while self._watch and self._watch[-1] <= self.chain.seq:
            if self._watch.pop() == self.chain.seq and self.tree is not None:
                self.marks[self.chain.seq] = Mark(self.tree.root(), hash_text, self._file, self._end)

    def _unsealed(self, line: bytes, version: int) -> str:
        """What is wrong with a seal, if there is a key, or with having none."""
        if version == 1:
            if self._sealed or self.chain.key:
                return "not sealed, and the records before it are"
            return ""
        if line != close(line[:-SEAL_BYTES], self.chain.key)[0]:
            return "wrong seal: its mac is not that of the line under the key of this record"
        self._seals += 1
        return ""

    def _contradicts(self, record: Record) -> str:
        """What a record of the log's own life says of the log and is not so."""
        body = record.body
        if body.get("event") == "opened" and isinstance(signer := body.get("checkpoint_key"), str):
            self.signers.setdefault(signer, record.seq)
        if body.get("event") != "rotated":
            return ""
        if (body.get("last"), body.get("hash")) != (self.chain.seq, self.chain.prev.decode()):
            return "it names another end of the segment before it"
        if self.tree is not None and body.get("root", root := self.tree.root().hex()) != root:
            return "it names another root of the tree before it"
        return ""

    def _unfinished(self, line: bytes) -> None:
        """A line without LF: what a crash leaves, or something else."""
        begun = line.rstrip(b"\0")
        heads = [self.chain.expected(version) for version in ((2,) if self._sealed else (1, 2))]
        if len(line) <= limits.RECORD_BYTES and any(
            head[: len(begun)] == begun[: len(head)] for head in heads
        ):
            self._fail(
                f"torn: the last line ends after {len(line)} bytes, without a line feed", state=State.TORN
            )
        else:
            self._fail("the last line has no line feed and is not the beginning of the next record")

    def _unchained(self, record: Record) -> str:
        """Which link a record breaks."""
        if record.seq != self.chain.seq + 1:
            return f"wrong seq: {record.seq} stands where {self.chain.seq + 1} belongs"
        if record.seq == 1:
            return "wrong prev: the first record names one before it"
        return f"wrong prev: not the digest of record {self.chain.seq}"

    def _stopped(self) -> bool:
        """Whether something is bad. Asked when more follows, so what looked torn was torn by no crash."""
        if self._bad is not None and self._bad.state is State.TORN:
            problem = "missing line feed, and the log goes on after it"
            self._bad = msgspec.structs.replace(self._bad, state=State.TAMPERED, problem=problem)
        return self._bad is not None

    def _fail(self, problem: str, seq: int = 0, *, state: State = State.TAMPERED) -> None:
        self._bad = self._report(state, seq or self.chain.seq + 1, problem)

    def _report(self, state: State, bad_seq: int = 0, problem: str = "") -> Report:
        where = (self._file, self._line, bad_seq, problem) if problem else ("", 0, 0, "")
        seq, prev = self.chain.seq, self.chain.prev.decode()
        return Report(state, self._records, seq, prev, *where, seals=self._seals, sealed=self._sealed)


def verify(lines: Iterable[bytes], *, file: str = "", seq: int = 0, prev: bytes = START) -> Report:
    """Check the lines of one segment that continues the chain ending in `seq` and `prev`.

    Lines come with their LF; more than one segment takes a `Verifier`.
    """
    verifier = Verifier(seq, prev)
    verifier.segment(lines, file)
    return verifier.finish()
