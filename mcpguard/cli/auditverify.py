"""`mcpguard audit verify`: is the audit log as it was written?

Exit codes: 0 good, 1 tampered with (or no log), 2 only a torn tail, as a crash leaves it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit.chain import PROMISE, Report, State, Verifier
from mcpguard.audit.record import visible
from mcpguard.cli.audit import errors_told
from mcpguard.cli.progress import progress
from mcpguard.model import JsonObject
from mcpguard.system import journalfiles, paths

EXIT: Final = {State.OK: 0, State.TAMPERED: 1, State.TORN: 2}
"""Exit code of `verify` for each finding."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def verify(as_json: bool, directory: Path | None) -> None:
    """Check the chain of records, and say what that proves.

    Exits 0 if all is good, 1 if a record was tampered with, 2 if only the last one is torn, as a crash leaves it.
    """
    with errors_told():
        directory = directory or paths.audit_dir()
        report = _verified(directory)
    if as_json:
        click.echo(msgspec.json.encode({"v": 1, **_as_json(report)}).decode())
    else:
        for line in _in_words(report, directory):
            click.echo(line)
    sys.exit(EXIT[report.state])


def _verified(directory: Path) -> Report:
    """Check all segments, those that are begun meanwhile included."""
    verifier = Verifier()
    found = journalfiles.segments(directory)
    with progress(found, "verifying") as advance:
        done = 0
        while done < len(found):
            path = found[done]
            verifier.segment(journalfiles.lines(path, advance), path.name)
            done += 1
            if done == len(found):
                found = journalfiles.segments(directory)
    return verifier.finish()


def _as_json(report: Report) -> JsonObject:
    good: JsonObject = {
        "state": report.state.value,
        "records": report.records,
        "seq": report.seq,
        "head": report.head,
        "promise": PROMISE.format(seq=report.seq) if report.records else "",
    }
    if report.state is State.OK:
        return good
    bad = {"file": report.file, "line": report.line, "seq": report.bad_seq, "problem": report.problem}
    return {**good, "first_bad": bad}


def _in_words(report: Report, directory: Path) -> Iterator[str]:
    place = f"{visible(str(directory / report.file))}:{report.line}"
    where = f"{place}: record {report.bad_seq}: {visible(report.problem)}"
    match report.state:
        case State.OK:
            yield "ok"
        case State.TORN:
            yield f"torn tail: {where}"
            yield "a crash leaves that; the daemon moves it aside when it starts, and records that it did"
        case State.TAMPERED:
            yield f"TAMPERED: {where}"
    if report.records:
        yield f"checked: {PROMISE.format(seq=report.seq)}"
        yield f"sha256 of record {report.seq}: {report.head}"
    else:
        yield "checked: nothing; there is no good record"
