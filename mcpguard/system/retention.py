"""Retention: whole oldest segments are deleted, and a signed tombstone lets the chain be verified over the gap.

Rule 1. Nothing is deleted of a log that does not verify: it is evidence.
Rule 2. The tombstone is on stable storage before the first segment goes. What a crash leaves of deleted segments is
skipped by verifiers, and deleted by the next prune.
Rule 3. The two newest segments stay: the daemon writes one of them and reads the other when it starts.

A daemon may run meanwhile; it never touches older segments.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.chain import START, State, Verifier
from mcpguard.audit.record import parse_line
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system import checkpointkey, journalfiles
from mcpguard.system.journalcheck import check
from mcpguard.system.journalnotes import standing
from mcpguard.system.journalseal import CHECKPOINT_KEY, CHECKPOINTS, TOMBSTONE
from mcpguard.system.ownfile import read_own, replace_own

_LOCK = "prune.lock"
_TORN = re.compile(r"torn-([0-9]{6,9})-.*")


class Plan(NamedTuple):
    """What would be deleted.

    Attributes:
        segments: Oldest first.
        size: Their bytes.
        newest: Time of the newest record in them, UTC; empty if there is none to delete.
    """

    segments: list[Path]
    size: int
    newest: str


def plan(directory: Path, *, before: str = "", limit: int = -1) -> Plan:
    """Which segments hold only records older than `before` (UTC, as records have it), or exceed `limit` bytes.

    Raises:
        JournalError: There is no log, or a segment cannot be read.
    """
    found = journalfiles.segments(directory)
    sizes = {path: path.stat().st_size for path in found}
    kept = sum(sizes.values())
    chosen: list[Path] = []
    newest = ""
    for path in found[:-2]:
        last = _last_time(path)
        if not (last < before or (limit >= 0 and kept > limit)):
            break
        chosen.append(path)
        newest = last
        kept -= sizes[path]
    return Plan(chosen, sum(sizes[path] for path in chosen), newest)


def _last_time(path: Path) -> str:
    """Time of the last record of a segment."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        tail = journalfiles.tail(fd)
    finally:
        os.close(fd)
    if not tail.last:
        raise JournalError(f"{path} has no complete record", hint="see mcpguard audit verify")
    return parse_line(tail.last).time


def prune(directory: Path, chosen: Plan, time: str, advance: Callable[[int], object] = int) -> int:
    """Verify the log, leave a tombstone, delete; the number of the last record deleted.

    Raises:
        JournalError: The log does not verify, has no checkpoints, or another prune is at work.
        OSError: Something cannot be written or deleted; what the tombstone does not cover is still there.
    """
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=place)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError("another prune is at work") from error
        report = check(directory, advance=advance).report
        if report.state is State.TAMPERED:
            raise JournalError(
                f"nothing is deleted: the log does not verify: {report.problem}",
                hint="see mcpguard audit verify",
            )
        return _buried(directory, place, chosen, time)
    finally:
        os.close(lock)
        os.close(place)


def _buried(directory: Path, place: int, chosen: Plan, time: str) -> int:
    stands = standing(directory)
    if stands.log_key is None:
        raise JournalError(
            "the log has no checkpoints yet, so nothing could stand for what is deleted",
            hint="start the daemon once",
        )
    dead = stands.tombstone
    tree = dead.tree() if dead is not None else Tree()
    verifier = Verifier(tree.size, dead.hash.encode() if dead is not None else START, tree=tree)
    skipped = dead.segment if dead is not None else 0
    for path in chosen.segments:
        if journalfiles.segment_number(path.name) > skipped:
            verifier.segment(journalfiles.lines(path), path.name)
    if verifier.finish().state is not State.OK:
        raise JournalError("nothing is deleted: the log changed while it was read")
    last = max(skipped, journalfiles.segment_number(chosen.segments[-1].name))
    if last > skipped:
        seed = read_own(place, directory, CHECKPOINT_KEY)
        stone = notes.tombstone(
            stands.log_key.name, journalfiles.segment_name(last), tree, verifier.chain.prev.decode(), time
        )
        inside = os.open(
            CHECKPOINTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place
        )
        try:
            note = stone.note(stands.log_key, lambda text: checkpointkey.sign(seed, text))
            replace_own(inside, directory / CHECKPOINTS, TOMBSTONE, note)
        finally:
            os.close(inside)
    _delete(directory, last)
    os.fsync(place)
    return verifier.chain.seq


def _delete(directory: Path, last: int) -> None:
    """Segments up to this number, oldest first, with their checkpoints and what was torn from them."""
    for path in journalfiles.segments(directory):
        if journalfiles.segment_number(path.name) <= last:
            path.unlink()
            (directory / CHECKPOINTS / path.name).with_suffix(".note").unlink(missing_ok=True)
    for path in directory.glob("torn-*"):
        match = _TORN.fullmatch(path.name)
        if match is not None and int(match[1]) <= last:
            path.unlink()
