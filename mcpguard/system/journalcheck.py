"""Is a log as it was written? Its segments against themselves, its head, its checkpoints, and what lies elsewhere.

What is found is told with every promise that was checked and every one that was not: a good answer to a question that
was not asked is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.chain import PROMISE, START, Report, State, Verifier
from mcpguard.audit.checkpoint import Checkpoint, LogKey
from mcpguard.audit.seal import FirstKey
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles
from mcpguard.system.checkpointkey import valid
from mcpguard.system.journalnotes import Standing, standing


class Against(NamedTuple):
    """What a log is held against, beside itself.

    Attributes:
        first_key: The first sealing key.
        log_key: The public checkpoint key, as it was when the first key was handed over.
        anchors: Signed notes that were kept elsewhere; None: there is no anchor.
        since: A signed note up to which the log is known to be good.
    """

    first_key: FirstKey | None = None
    log_key: LogKey | None = None
    anchors: list[bytes] | None = None
    since: bytes | None = None


class Promise(msgspec.Struct, frozen=True):
    """One thing that a verification proves, or leaves open.

    Attributes:
        name: `chain`, `seals`, `head`, `checkpoints`, `retention`, `since` or `anchor`.
        checked: Whether it was checked, and holds.
        says: What it is, or why it was not checked.
    """

    name: str
    checked: bool
    says: str


class Found(msgspec.Struct, frozen=True):
    """The result of a check.

    Attributes:
        report: Of the records; a fault of what stands beside them is in it as well.
        promises: What was checked and what not.
        anchored: Size of the newest anchor that holds; None if no anchor was given.
        log_key: The public checkpoint key, empty for a log without.
    """

    report: Report
    promises: tuple[Promise, ...]
    anchored: int | None
    log_key: str

    @property
    def unanchored(self) -> int:
        """Records behind the newest anchor; 0 if no anchor was given."""
        return 0 if self.anchored is None else max(0, self.report.seq - self.anchored)


class _Fault(Exception):
    """A finding on its way to the report."""

    def __init__(self, problem: str, seq: int = 0, file: str = "") -> None:
        super().__init__(problem)
        self.problem, self.seq, self.file = problem, seq, file


def check(
    directory: Path,
    against: Against = Against(),  # noqa: B008 (frozen)
    advance: Callable[[int], object] = int,
) -> Found:
    """Check a whole log; a daemon may write it meanwhile. `advance` is told the bytes of each line read.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    stands = standing(directory)
    try:
        segments = journalfiles.segments(directory)
    except JournalError:
        if stands.head is None or not stands.head.seq:
            raise
        segments = []
    dead = stands.tombstone
    try:
        if stands.problem:
            raise _Fault(f"beside the log: {stands.problem}")
        since = _since(against, stands)
        anchors = _anchors(against, stands)
    except _Fault as fault:
        empty = Report(State.TAMPERED, 0, 0, "", fault.file, 0, fault.seq, fault.problem)
        return _found(empty, stands, against, None, None)
    marks = {each.size for each in (*stands.checkpoints.values(), *anchors)}
    marks |= {since.size} if since is not None else set()
    marks |= {stands.head.seq} if stands.head is not None else set()
    verifier = Verifier(
        dead.checkpoint.size if dead is not None else 0,
        dead.hash.encode() if dead is not None else START,
        tree=dead.tree() if dead is not None else Tree(),
        key=against.first_key,
        watch=marks,
        known=since.size if since is not None else 0,
    )
    _read(directory, segments, dead.segment if dead is not None else 0, verifier, advance)
    report = verifier.finish()
    if report.state is not State.TAMPERED:
        try:
            _beside(verifier, report, stands, against)
            if since is not None:
                _compared(verifier, report, {"the checkpoint given": since})
            _compared(verifier, report, {f"anchor {n}": each for n, each in enumerate(anchors, 1)})
        except _Fault as fault:
            where = (fault.file or report.file, 0, fault.seq, fault.problem)
            report = Report(
                State.TAMPERED,
                report.records,
                report.seq,
                report.head,
                *where,
                seals=report.seals,
                sealed=report.sealed,
            )
    anchored = max((each.size for each in anchors), default=0) if against.anchors is not None else None
    return _found(report, stands, against, since, anchored)


def _read(
    directory: Path, segments: list[Path], skipped: int, verifier: Verifier, advance: Callable[[int], object]
) -> None:
    """All segments behind what was deleted, those that are begun meanwhile included."""
    done = 0
    while done < len(segments):
        path = segments[done]
        if journalfiles.segment_number(path.name) > skipped:
            verifier.segment(journalfiles.lines(path, advance), path.name)
        done += 1
        if done == len(segments):
            segments = journalfiles.segments(directory)


def _beside(verifier: Verifier, report: Report, stands: Standing, against: Against) -> None:
    """Head, keys and checkpoints of the log itself."""
    key, head = stands.log_key, stands.head
    if key is None or head is None:
        if report.sealed:
            raise _Fault("the head and the checkpoints of the log are missing", report.seq + 1)
        return
    if head.seq > report.seq:
        raise _Fault(
            f"cut: record {head.seq} was on stable storage, and the log ends after {report.seq}; "
            "no crash does that",
            report.seq + 1,
            journalfiles.segment_name(head.segment),
        )
    if stands.sealing > report.seq + 1:
        raise _Fault(
            f"cut: the key of record {stands.sealing} was in use, and the log ends after {report.seq}",
            report.seq + 1,
        )
    mark = verifier.marks.get(head.seq)
    place = (journalfiles.segment_name(head.segment), head.offset)
    if (
        mark is None
        or mark.hash != head.hash
        or (head.offset and mark.file and (mark.file, mark.end) != place)
    ):
        raise _Fault(f"record {head.seq} is not the one that the head of the log names", head.seq, place[0])
    _compared(verifier, report, stands.checkpoints)
    for text, seq in verifier.signers.items():
        if text != key.text():
            raise _Fault(f"record {seq} names another checkpoint key: {text}", seq)
    if against.log_key is not None and against.log_key != key:
        raise _Fault("the checkpoint key is not the one that was handed over with the first key")


def _compared(verifier: Verifier, report: Report, checkpoints: Mapping[str, Checkpoint]) -> None:
    """The tree against checkpoints, smallest first."""
    good = 0
    for name, each in sorted(checkpoints.items(), key=lambda item: item[1].size):
        if each.size > report.seq:
            problem = f"cut: {name} is of {each.size} records, and the log ends after {report.seq}"
            raise _Fault(problem, report.seq + 1)
        mark = verifier.marks.get(each.size)
        if mark is None:
            continue  # it lies in what was deleted; said in the promises
        if mark.root != each.root:
            problem = f"records {good + 1}..{each.size} are not those that {name} was signed for"
            raise _Fault(problem, each.size, mark.file)
        good = each.size


def _since(against: Against, stands: Standing) -> Checkpoint | None:
    if against.since is None:
        return None
    found = _signed(against.since, stands, "the checkpoint given")
    if stands.tombstone is not None and found.size < stands.tombstone.checkpoint.size:
        raise JournalError(
            f"the checkpoint of {found.size} records lies in what was deleted",
            hint="verify without --since, or with a newer checkpoint",
        )
    return found


def _anchors(against: Against, stands: Standing) -> list[Checkpoint]:
    """Those of this log; anchors may hold others' as well."""
    if against.anchors is None:
        return []
    key = stands.log_key
    if key is None:
        raise _Fault("there is an anchor, and no checkpoints beside the log")
    found = [each for each in against.anchors if notes.parse_note(each)[0].origin == key.name]
    if not found:
        raise _Fault(f"the anchor has no checkpoint of this log, {key.name}")
    return [_signed(each, stands, "an anchor") for each in found]


def _signed(note: bytes, stands: Standing, name: str) -> Checkpoint:
    if stands.log_key is None:
        raise _Fault(f"{name} cannot be checked: there are no checkpoints beside the log")
    try:
        return notes.opened(note, stands.log_key, valid)
    except JournalError as error:
        raise _Fault(f"{name}: {error.message}") from error


def _found(
    report: Report, stands: Standing, against: Against, since: Checkpoint | None, anchored: int | None
) -> Found:
    good = report.state is not State.TAMPERED
    key = stands.log_key.text() if stands.log_key is not None else ""
    promises = [
        Promise(
            "chain",
            report.records > 0,
            in_words(report) or "nothing; there is no good record",
        ),
        _seals(report, stands, against, since),
        _head(stands, good=good),
        _checkpoints(stands, key, good=good),
    ]
    dead = stands.tombstone
    if dead is not None:
        says = (
            f"records 1..{dead.checkpoint.size} were deleted by retention on {dead.time}; the tombstone is "
            "signed, and whoever has this user's rights could have signed it"
        )
        promises.append(Promise("retention", good, says))
    if since is not None:
        says = f"records 1..{since.size} are those of the checkpoint given, and were not looked at one by one"
        promises.append(Promise("since", good, says))
    promises.append(_anchor(report, anchored, good=good))
    return Found(report, tuple(promises), anchored if good else None, key)


def in_words(report: Report) -> str:
    """What the records prove by themselves; empty if there are none."""
    first = report.seq - report.records + 1
    return PROMISE.format(first=first, seq=report.seq) if report.records else ""


def _seals(report: Report, stands: Standing, against: Against, since: Checkpoint | None) -> Promise:
    if against.first_key is not None:
        begun = report.seq - report.records + 1
        first = max(against.first_key.seq, begun, since.size + 1 if since is not None else 1)
        says = f"seals of {report.seals} records from {first} on: made with keys that are gone since"
        return Promise("seals", report.seals > 0, says)
    if stands.first_key:
        says = (
            "seals: the first key still lies beside the log, so whoever can read the log can forge them; "
            "take it with mcpguard audit key"
        )
    elif report.sealed or stands.head is not None:
        says = "seals: that takes the first key (--key), which mcpguard audit key has handed over"
    else:
        says = "seals: the log has none (version 1)"
    return Promise("seals", False, says)


def _head(stands: Standing, *, good: bool) -> Promise:
    if stands.head is None:
        return Promise("head", False, "head: the log has none (version 1); its tail may have been cut")
    says = (
        f"nothing is cut up to record {stands.head.seq}, the last one known to be on stable storage; "
        "whoever has this user's rights could set that back"
    )
    return Promise("head", good, says)


def _checkpoints(stands: Standing, key: str, *, good: bool) -> Promise:
    if stands.log_key is None:
        return Promise("checkpoints", False, "checkpoints: the log has none (version 1)")
    newest = max((each.size for each in stands.checkpoints.values()), default=0)
    count = len(stands.checkpoints)
    says = f"the tree of all records agrees with {count} checkpoints up to record {newest}, by {key}"
    return Promise("checkpoints", good, says)


def _anchor(report: Report, anchored: int | None, *, good: bool) -> Promise:
    if anchored is None:
        return Promise(
            "anchor",
            False,
            "anchor: none was given; a rewrite of everything, keys included, is not found (--anchor)",
        )
    says = f"records 1..{anchored} are those that were anchored elsewhere"
    if anchored < report.seq:
        says += f"; records {anchored + 1}..{report.seq} are not anchored yet"
    return Promise("anchor", good, says)
