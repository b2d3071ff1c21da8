"""What stands beside a log, as a reader sees it: the head, the checkpoints, and what of it is wrong.

For exports and anchors: `newest` is the newest checkpoint, at most `limits.CHECKPOINT_SECONDS` old while the daemon
runs. Nothing here takes the lock; read it before the segments, and the segments will not be shorter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.checkpoint import Checkpoint, LogKey, Tombstone
from mcpguard.errors import JournalError
from mcpguard.system import journalseal
from mcpguard.system.checkpointkey import valid
from mcpguard.system.journalfiles import unreadable
from mcpguard.system.journalseal import CHECKPOINTS, Head


class Standing(NamedTuple):
    """What stands beside a log.

    Attributes:
        log_key: What checks its checkpoints; None for a log of version 1.
        head: The last record that was on stable storage.
        sealing: Number of the record that the current key seals; 0 where the key cannot be read.
        first_key: Whether the first key still lies beside the log.
        checkpoints: By the name of their file.
        tombstone: What was deleted.
        problem: The first thing that is wrong; empty for nothing.
    """

    log_key: LogKey | None = None
    head: Head | None = None
    sealing: int = 0
    first_key: bool = False
    checkpoints: Mapping[str, Checkpoint] = MappingProxyType({})
    tombstone: Tombstone | None = None
    problem: str = ""


def standing(directory: Path) -> Standing:
    """Read and check what stands beside a log.

    Raises:
        JournalError: It cannot be read.
    """
    inside = directory / CHECKPOINTS
    try:
        if not inside.exists():
            return Standing()
        keys = (journalseal.FIRST_KEY, journalseal.TAKEN_KEY)
        found = Standing(first_key=any((directory / name).exists() for name in keys))
        try:
            return _checked(directory, inside, found)
        except FileNotFoundError as error:
            return found._replace(problem=f"{Path(str(error.filename)).name} is missing")
        except JournalError as error:
            return found._replace(problem=error.message)
        except (msgspec.MsgspecError, ValueError) as error:
            return found._replace(problem=f"the head or a key is damaged: {error}")
    except OSError as error:
        raise unreadable(directory, error) from error


def _checked(directory: Path, inside: Path, found: Standing) -> Standing:
    key = notes.parse_key((inside / journalseal.PUBLIC_KEY).read_text())
    if (head := journalseal.newest_head((inside / journalseal.HEAD).read_bytes())) is None:
        raise JournalError("the head of the log is damaged")
    sealing = 0
    with contextlib.suppress(FileNotFoundError, PermissionError):  # a copy for verifying needs no key
        current = journalseal.newest_key((directory / journalseal.SEAL_KEY).read_bytes())
        sealing = current.seq if current is not None else 0
    kept = {path.name: path for path in sorted(inside.glob("audit-*.note"))}
    checkpoints = {name: _opened(path, key) for name, path in kept.items()}
    for name in journalseal.NEWEST:
        with contextlib.suppress(JournalError, FileNotFoundError):  # a crash may have cut one of the two
            checkpoints[name] = _opened(inside / name, key)
    if not set(journalseal.NEWEST) & checkpoints.keys():
        raise JournalError("neither of the two newest checkpoints can be read")
    tomb = inside / journalseal.TOMBSTONE
    dead = notes.parse_tombstone(_opened(tomb, key)) if tomb.exists() else None
    return found._replace(
        log_key=key, head=head, sealing=sealing, checkpoints=checkpoints, tombstone=dead, problem=""
    )


def _opened(path: Path, key: LogKey) -> Checkpoint:
    try:
        return notes.opened(path.read_bytes(), key, valid)
    except JournalError as error:
        raise JournalError(f"{path.name}: {error.message}") from error


def newest(directory: Path) -> bytes:
    """The newest checkpoint of a log as a signed note.

    Raises:
        JournalError: There is none that is good, or the log cannot be read.
    """
    found = standing(directory)
    if found.problem or found.log_key is None:
        problem = found.problem or "the log has no checkpoints"
        raise JournalError(
            f"no checkpoint of {directory}: {problem}",
            hint="see mcpguard audit verify" if found.problem else "they begin when the daemon starts",
        )
    name = max(
        set(journalseal.NEWEST) & found.checkpoints.keys(), key=lambda each: found.checkpoints[each].size
    )
    try:
        note = (directory / CHECKPOINTS / name).read_bytes()
    except OSError as error:
        raise unreadable(directory, error) from error
    notes.opened(note, found.log_key, valid)
    return note


def kept(directory: Path) -> list[bytes]:
    """All checkpoints that are kept as signed notes: ends of segments, oldest first, then the newest.

    Raises:
        JournalError: As `newest`.
    """
    last = newest(directory)
    found = standing(directory)
    try:
        ends = [
            (directory / CHECKPOINTS / name).read_bytes()
            for name in sorted(found.checkpoints)
            if name.startswith("audit-")
        ]
    except OSError as error:
        raise unreadable(directory, error) from error
    return [note for note in ends if note != last] + [last]
