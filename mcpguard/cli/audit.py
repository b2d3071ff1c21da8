"""`mcpguard audit`: read the audit log and check its chain.

Exit codes of `verify`: 0 good, 1 tampered with (or no log), 2 only a torn tail, as a crash leaves it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit.chain import PROMISE, Report, State, Verifier
from mcpguard.audit.record import harmless, visible
from mcpguard.cli.progress import progress
from mcpguard.cli.recordwords import Painter
from mcpguard.errors import JournalError
from mcpguard.model import JsonObject
from mcpguard.system import journalfiles, paths

EXIT: Final = {State.OK: 0, State.TAMPERED: 1, State.TORN: 2}
"""Exit code of `verify` for each finding."""


@click.group()
def audit() -> None:
    """Read the audit log, and check that nobody changed it."""


@audit.command()
@click.option(
    "-n", "count", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Records to show."
)
@click.option("-f", "follow", is_flag=True, help="Go on showing records as they are written.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are in the log: JSON lines.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def tail(count: int, follow: bool, as_json: bool, directory: Path | None) -> None:
    """Show the last records of the log.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    show = harmless if as_json else Painter(colour=_colour_wanted()).line
    with _errors_told():
        directory = directory or paths.audit_dir()
        found, path, offset = journalfiles.last(directory, count)
        for line in found:
            _say(show(line))
        if follow:
            for line in journalfiles.follow(directory, path, offset):
                _say(show(line))


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def verify(as_json: bool, directory: Path | None) -> None:
    """Check the chain of records, and say what that proves.

    Exits 0 if all is good, 1 if a record was tampered with, 2 if only the last one is torn, as a crash leaves it.
    """
    with _errors_told():
        directory = directory or paths.audit_dir()
        report = _verified(directory)
    if as_json:
        _say(msgspec.json.encode({"v": 1, **_as_json(report)}).decode())
    else:
        for line in _in_words(report, directory):
            _say(line)
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


def _colour_wanted() -> bool:
    """NO_COLOR, then CLICOLOR_FORCE or FORCE_COLOR, then whether a terminal reads us."""
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name) not in (None, "", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _say(line: str) -> None:
    click.echo(line, color=True)  # whether to colour was decided where the line was made


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """One sentence on standard error and exit code 1; the end of `-f` by Ctrl-C is no error."""
    try:
        yield
    except JournalError as error:
        click.echo(f"mcpguard: {visible(error.sentence())}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
