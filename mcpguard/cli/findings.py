"""`mcpguard findings`: what detectors have found, read from the audit log.

Exit codes: 0 shown; 1 the log cannot be read; with `--check`, 7 if there is any. A finding is open as
long as it is in the span that is asked for; nothing closes it earlier.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from mcpguard.audit.findings import SEVERITIES, Severity
from mcpguard.audit.record import Record, harmless, parse_line, visible
from mcpguard.audit.seen import DETECTED
from mcpguard.cli.audit import errors_told
from mcpguard.cli.logrecords import records
from mcpguard.cli.main import DRIFT
from mcpguard.cli.past import span
from mcpguard.cli.recordwords import colour_wanted, local, text, unix
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles, paths

_WANTED: Final = b'"type":"finding","event":"detected"'
_COLOURS: Final = {"medium": "yellow", "high": "red", "critical": "red"}


@click.command()
@click.option("--since", default="7d", show_default=True, help="How far back: 30m, 12h, 7d, 4w.")
@click.option(
    "--severity", type=click.Choice(list(SEVERITIES)), default="info", show_default=True,
    help="Findings of this severity and above.",
)  # fmt: skip
@click.option("-f", "follow", is_flag=True, help="Go on, and show findings as they are made.")
@click.option("--check", is_flag=True, help="Exit 7 if there is any.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are in the log: JSON lines.")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def findings(
    since: str, severity: str, follow: bool, check: bool, as_json: bool, directory: Path | None
) -> None:
    """Show what looked unusual: changed definitions, bursts of denials, new hosts and tools, gaps in the log.

    DIRECTORY is a log elsewhere, such as a copy.
    """
    begin, least = span(since), SEVERITIES[severity]
    if follow and check:
        raise click.UsageError("--check answers at once, and -f never ends: use one of them")
    colour, many = colour_wanted(), 0
    with errors_told():
        directory = directory or paths.audit_dir()
        for line, record in _found(directory, begin, least):
            many += 1
            _show(line, record, as_json=as_json, colour=colour)
        if follow:
            _, path, offset = journalfiles.last(directory, 0)
            sys.stdout.flush()
            for line in journalfiles.follow(directory, path, offset):
                if (new := _new(line)) is not None and _is_meant(new, 0.0, least):
                    _show(line, new, as_json=as_json, colour=colour)
                    sys.stdout.flush()
    if not many and not as_json:
        click.echo(f"no findings of severity {severity} and above in {since}")
    if check and many:
        sys.exit(DRIFT)


def _found(directory: Path, begin: float, least: Severity) -> Iterator[tuple[bytes, Record]]:
    """The findings since `begin`; segments that were last written before it are not read."""
    for line, record in records(directory, "findings", (_WANTED,), written_since=begin):
        if _is_meant(record, begin, least):
            yield line, record


def _new(line: bytes) -> Record | None:
    """A line that has just been written, as a record; None if it is of no finding."""
    try:
        return parse_line(line) if _WANTED in line else None
    except JournalError:
        return None  # `audit verify` names it


def _is_meant(record: Record, begin: float, least: Severity) -> bool:
    severity = SEVERITIES.get(str(record.body.get("severity")))
    if record.type != "finding" or record.body.get("event") != DETECTED or severity is None:
        return False
    return severity >= least and unix(record.time) >= begin


def _show(line: bytes, record: Record, *, as_json: bool, colour: bool) -> None:
    if as_json:
        click.echo(harmless(line))
        return
    for said in words(record, colour=colour):
        click.echo(said, color=True)  # whether to colour was decided


def words(record: Record, *, colour: bool) -> list[str]:
    """One finding for a person: what, then where and what to do."""
    body = record.body
    severity = text(body.get("severity"))
    shown = f"{severity.upper():<8}"
    if colour and severity in _COLOURS:
        shown = click.style(shown, fg=_COLOURS[severity], bold=severity == "critical")
    times = f"  ({text(body['count'])} times)" if body.get("count", 1) != 1 else ""
    where = "  ".join(f"{name} {text(body[name])}" for name in ("conn", "server", "tool") if body.get(name))
    ids = ", ".join(visible(str(each)) for key in ("atlas", "owasp") for each in body.get(key) or [])
    seqs = body.get("seqs")
    records = f"records {text(seqs[0])} to {text(seqs[-1])}" if isinstance(seqs, list) and seqs else ""
    told = "" if body.get("binding", True) else ", not carried out: policy only watches"
    about = "  ".join(part for part in (where, records, ids) if part)
    return [
        f"{local(record.time)}  {shown}  {text(body.get('kind'))}: {text(body.get('fault'))}{times}",
        *([f"    {about}"] if about else []),
        f"    done: {text(body.get('action'), 'record')}{told}.  next: {text(body.get('step'))}",
    ]
