"""Checkpoints: the size and root of the tree as a signed note, which anybody can keep and compare.

Sources: C2SP signed-note (text, a blank line, `— name base64(key id || signature)`), C2SP tlog-checkpoint (origin,
size, root, further lines). Key id = SHA-256(name || 0x0A || 0x01 || public key)[:4]; the signature is Ed25519 over
the text with its last LF. The name of the key is the origin of the log.

A *tombstone* is a checkpoint of what was deleted, whose further lines let a verifier go on behind the gap: the last
deleted segment, the hash of its last line, the frontier of the tree, and when.

Not here: signing and checking signatures, which is the caller's (`system.checkpointkey`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError

NOTE_BYTES: Final = 8192
"""Longest note that is read, bytes."""
_ED25519: Final = b"\x01"
_NOTE = re.compile(r"((?:[^\n]+\n){3,40})\n((?:\u2014 [^\n]+\n){1,16})")
_SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_IN_A_LINE = re.compile(r"\bnote=([A-Za-z0-9+/]+={0,2})")
_DEAD = re.compile(
    r"tombstone (audit-([0-9]{6,9})\.jsonl)\nhash ([0-9a-f]{64})\nfrontier((?: \S{44})*)\ntime (\S+)"
)


class LogKey(msgspec.Struct, frozen=True):
    """Public half of the key that signs the checkpoints of a log.

    Attributes:
        name: Origin of the log.
        public: Ed25519, 32 bytes.
    """

    name: str
    public: bytes

    @property
    def ident(self) -> bytes:
        """Key id, 4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def text(self) -> str:
        """The key as signed-note verifiers take it: `name+id+key`."""
        return f"{self.name}+{self.ident.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


def origin(public: bytes) -> str:
    """What a log is called: it follows from its key, so no two logs share one."""
    return f"mcpguard-audit/{hashlib.sha256(public).hexdigest()[:16]}"


def parse_key(text: str) -> LogKey:
    """Read a verifier key, `name+id+key`.

    Raises:
        JournalError: It is none, or its id is not its own.
    """
    name, ident, raw = [*text.strip().split("+", 2), "", ""][:3]
    data = _decoded(raw)
    if not name or len(data) != 33 or data[:1] != _ED25519 or any(char.isspace() for char in name):
        raise JournalError("not a key for signed notes (name+id+key, Ed25519)")
    key = LogKey(name, data[1:])
    if key.ident.hex() != ident:
        raise JournalError("the id of the key is not that of its name and bytes")
    return key


class Checkpoint(msgspec.Struct, frozen=True):
    """Size and root of the tree of a log.

    Attributes:
        origin: Which log.
        size: Leaves, which is the number of the last record.
        root: 32 bytes.
        further: Extension lines, without LF.
    """

    origin: str
    size: int
    root: bytes
    further: tuple[str, ...] = ()

    def text(self) -> bytes:
        """What is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.further)
        return "".join(f"{line}\n" for line in lines).encode()

    def note(self, key: LogKey, sign: Callable[[bytes], bytes]) -> bytes:
        """The signed note."""
        text = self.text()
        signature = base64.b64encode(key.ident + sign(text)).decode()
        return text + f"\n\u2014 {key.name} {signature}\n".encode()


class Tombstone(msgspec.Struct, frozen=True):
    """What was deleted, and how a verifier goes on behind it.

    Attributes:
        checkpoint: Size and root of the tree up to the last deleted record.
        segment: Number of the last deleted segment.
        hash: SHA-256 of the last deleted line, hex.
        frontier: Of the tree.
        time: When, UTC.
    """

    checkpoint: Checkpoint
    segment: int
    hash: str
    frontier: tuple[bytes, ...]
    time: str

    def tree(self) -> Tree:
        """The tree over what was deleted."""
        return Tree(self.checkpoint.size, self.frontier)


def tombstone(log: str, segment: str, tree: Tree, last: str, time: str) -> Checkpoint:
    """The checkpoint that stands for deleted segments, `segment` the last of them and `last` the hash of its end."""
    frontier = "".join(f" {base64.b64encode(node).decode()}" for node in tree.frontier())
    further = (f"tombstone {segment}", f"hash {last}", f"frontier{frontier}", f"time {time}")
    return Checkpoint(log, tree.size, tree.root(), further)


def parse_tombstone(checkpoint: Checkpoint) -> Tombstone:
    """Read the further lines of a tombstone.

    Raises:
        JournalError: It is none, or its frontier is not that of its root.
    """
    found = _DEAD.fullmatch("\n".join(checkpoint.further))
    if found is None:
        raise JournalError("not a tombstone")
    frontier = tuple(_decoded(node) for node in found[4].split())
    dead = Tombstone(checkpoint, int(found[2]), found[3], frontier, found[5])
    try:
        agrees = dead.tree().root() == checkpoint.root
    except ValueError:
        agrees = False
    if not agrees:
        raise JournalError("the frontier of the tombstone is not that of its root")
    return dead


def parse_note(data: bytes) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """Read one note: the checkpoint, and (name, key id and signature) of each signature. Nothing is checked yet.

    Raises:
        JournalError: It is no checkpoint.
    """
    try:
        found = _NOTE.fullmatch(data.decode()) if len(data) <= NOTE_BYTES else None
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise JournalError("not a signed note")
    first, size, root, *further = found[1].splitlines()
    raw = _decoded(root)
    if not _SIZE.fullmatch(size) or len(raw) != 32:
        raise JournalError("not a checkpoint: its second line is no size, or its third no root")
    checkpoint = Checkpoint(first, int(size), raw, tuple(further))
    if checkpoint.text() != found[1].encode():
        raise JournalError("not a checkpoint as it is written")
    matches = [_SIGNATURE.fullmatch(line) for line in found[2].splitlines()]
    return checkpoint, [(match[1], _decoded(match[2])) for match in matches if match is not None]


def opened(data: bytes, key: LogKey, valid: Callable[[LogKey, bytes, bytes], bool]) -> Checkpoint:
    """The checkpoint in a note that this key has signed. `valid` is told the key, the signature and the text.

    Raises:
        JournalError: It is no checkpoint of this log, or the signature does not hold.
    """
    checkpoint, signatures = parse_note(data)
    if checkpoint.origin != key.name:
        raise JournalError(f"the checkpoint is of another log, {checkpoint.origin}")
    for name, blob in signatures:
        if name == key.name and blob[:4] == key.ident and valid(key, blob[4:], checkpoint.text()):
            return checkpoint
    raise JournalError(f"the checkpoint of size {checkpoint.size} has no valid signature of {key.text()}")


def in_a_line(data: bytes) -> str:
    """A note as one line for logs that hold lines; `notes` finds it there again."""
    checkpoint, _ = parse_note(data)
    root = base64.b64encode(checkpoint.root).decode()
    packed = base64.b64encode(data).decode()
    return f"mcpguard checkpoint origin={checkpoint.origin} size={checkpoint.size} root={root} note={packed}"


def notes(data: bytes) -> Iterator[bytes]:
    """All notes in a file: one after the other, or as `in_a_line` writes them, between other lines.

    Raises:
        JournalError: The file is not text, or what stands outside notes looks like a part of one.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JournalError("not text") from error
    packed = _IN_A_LINE.findall(text)
    if packed:
        yield from (_decoded(note) for note in packed)
        return
    end = 0
    for found in _NOTE.finditer(text):
        if text[end : found.start()].strip():
            break
        yield found[0].encode()
        end = found.end()
    if text[end:].strip():
        raise JournalError("something in it is not a signed note")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
