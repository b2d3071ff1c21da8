"""`mcpguard audit verify`: is the audit log as it was written?

Exit codes: 0 good, 1 tampered with (or no log), 2 only a torn tail, as a crash leaves it, 3 good, and records behind
the newest anchor.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit import checkpoint
from mcpguard.audit.chain import State
from mcpguard.audit.record import visible
from mcpguard.audit.seal import parse_first_key
from mcpguard.cli.audit import errors_told
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.model import JsonObject
from mcpguard.system import journalfiles, paths
from mcpguard.system.journalcheck import Against, Found, check, in_words

EXIT: Final = {State.OK: 0, State.TAMPERED: 1, State.TORN: 2}
"""Exit code of `verify` for each finding."""
UNANCHORED: Final = 3
"""Exit code of a good log with records behind the newest anchor."""
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--since", type=_FILE, metavar="NOTE", help="Compare all up to this checkpoint with it only.")
@click.option("--anchor", type=_FILE, metavar="FILE", help="Hold the log against checkpoints kept elsewhere.")
@click.option("--key", type=_FILE, metavar="FILE", help="Check the seals with the first key (audit key).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def verify(
    since: Path | None, anchor: Path | None, key: Path | None, as_json: bool, directory: Path | None
) -> None:
    """Check that nobody changed the log, and say which promise was checked.

    Exits 0 if all is good, 1 if a record was tampered with, 2 if only the last one is torn, as a crash leaves it,
    3 if records are not yet covered by the anchor that was given.
    """
    with errors_told():
        directory = directory or paths.audit_dir()
        found = _checked(directory, _against(since, anchor, key))
    if as_json:
        click.echo(msgspec.json.encode({"v": 1, **_as_json(found)}).decode())
    else:
        for line in _in_words(found, directory):
            click.echo(line)
    code = EXIT[found.report.state]
    sys.exit(UNANCHORED if not code and found.unanchored else code)


def _against(since: Path | None, anchor: Path | None, key: Path | None) -> Against:
    """Read what the log is held against."""
    anchors = None
    if anchor is not None:
        anchors = list(checkpoint.notes(_content(anchor)))
        if not anchors:
            raise JournalError(f"no checkpoint is in {anchor}")
    first_key = log_key = None
    if key is not None:
        try:
            text = _content(key).decode()
        except UnicodeDecodeError as error:
            raise JournalError(f"{key} is not text") from error
        first_key = parse_first_key(text)
        public = [word for word in text.split() if word.startswith("mcpguard-audit/")]
        log_key = checkpoint.parse_key(public[0]) if public else None
    return Against(first_key, log_key, anchors, _content(since) if since is not None else None)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def _checked(directory: Path, against: Against) -> Found:
    try:
        found = journalfiles.segments(directory)
    except JournalError:
        found = []  # a log that is gone may have left its head
    with progress(found, "verifying") as advance:
        return check(directory, against, advance)


def _as_json(found: Found) -> JsonObject:
    report = found.report
    good: JsonObject = {
        "state": report.state.value,
        "records": report.records,
        "seq": report.seq,
        "head": report.head,
        "promise": in_words(report),
        "promises": msgspec.to_builtins(found.promises),
        "seals": report.seals,
        "checkpoint_key": found.log_key,
        "anchored": found.anchored,
        "unanchored": found.unanchored,
    }
    if report.state is State.OK:
        return good
    bad = {"file": report.file, "line": report.line, "seq": report.bad_seq, "problem": report.problem}
    return {**good, "first_bad": bad}


def _in_words(found: Found, directory: Path) -> Iterator[str]:
    report = found.report
    place = visible(str(directory / report.file)) + (f":{report.line}" if report.line else "")
    where = f"{place}: record {report.bad_seq}: " if report.bad_seq else f"{place}: "
    where += visible(report.problem)
    match report.state:
        case State.OK:
            yield f"ok, but {found.unanchored} records are not anchored" if found.unanchored else "ok"
        case State.TORN:
            yield f"torn tail: {where}"
            yield "a crash leaves that; the daemon moves it aside when it starts, and records that it did"
        case State.TAMPERED:
            yield f"TAMPERED: {where}"
    for promise in found.promises:
        yield f"{'checked' if promise.checked else 'not checked'}: {visible(promise.says)}"
    if report.records:
        yield f"sha256 of record {report.seq}: {report.head}"
