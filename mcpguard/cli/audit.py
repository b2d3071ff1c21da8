"""`mcpguard audit`: read the audit log and check its chain.

Exit codes of `verify`: 0 good, 1 tampered with (or no log), 2 only a torn tail, as a crash leaves it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard.audit.chain import PROMISE, Report, State, Verifier
from mcpguard.audit.record import Record, harmless, parse_line, visible
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.model import Json, JsonObject
from mcpguard.system import journalfiles, paths

EXIT: Final = {State.OK: 0, State.TAMPERED: 1, State.TORN: 2}
"""Exit code of `verify` for each finding."""

_COLOURS: Final = {
    "allow": "green",
    "ok": "green",
    "deny": "red",
    "refused": "red",
    "error": "red",
    "lost": "red",
    "tool_error": "yellow",
    "ask": "yellow",
    "drop": "yellow",
    "finding": "yellow",
    "trust": "cyan",
}
_OWN_MEMBERS: Final = {"type", "event", "conn", "host", "server"}
_DIGEST_CHARS: Final = 12
"""How much of a digest a line shows; `--json` shows all of it."""


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
    show = harmless if as_json else _Painter(colour=_colour_wanted()).line
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


class _Painter:
    """Records as aligned lines: time, connection, server, what, decision, rule, latency. Every line stands alone."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def line(self, line: bytes) -> str:
        """One record for a person; one that cannot be read says so."""
        try:
            record = parse_line(line)
        except JournalError as error:
            return f"(unreadable: {error.message}: {harmless(line)[:200]})"
        word, rest = _told(record.body)
        conn, server = (_text(record.body.get(name), "-") for name in ("conn", "server"))
        colour = _COLOURS.get(word) if self._colour else None
        decision = click.style(f"{word:<10}", fg=colour) if colour else f"{word:<10}"
        return f"{_local(record.time)}  {conn:<6}  {server:<14}  {_what(record):<32}  {decision}  {rest}".rstrip()


def _what(record: Record) -> str:
    """Method and what it is about, or what kind of record it is."""
    body = record.body
    if "method" in body:
        answer = "< " if record.type == "outcome" else ""
        return f"{answer}{_text(body['method'])} {_text(body.get('tool', body.get('target')))}".rstrip()
    if record.type == "finding":
        return f"finding {_text(body.get('kind'))} {_text(body.get('name'))}".rstrip()
    if record.type == "trust":
        return f"trust {_text(body.get('event'))} {_text(body.get('name'))}".rstrip()
    return f"{visible(record.type)} {_text(body.get('event', body.get('side')))}".rstrip()


def _told(body: JsonObject) -> tuple[str, str]:
    """The word on which a record turns, and what else there is to say."""
    match body.get("type"):
        case "call":
            note = "" if body.get("binding", True) else "  (observed only)"
            return _text(body.get("decision")), f"{_text(body.get('rule'))}{note}"
        case "outcome":
            latency = _milliseconds(body.get("latency_us"))
            return _text(body.get("status")), f"{latency}  {_text(body.get('size'))} bytes"
        case "drop":
            return "drop", f"{_text(body.get('reason'))}  {_text(body.get('bytes'))} bytes"
        case "finding":
            return "finding", f"{_text(body.get('fault'))}{_digests(body)}"
        case "trust":
            return "trust", _trusted(body)
        case _:
            return "", _others(body)


def _digests(body: JsonObject) -> str:
    """The beginning of what was pinned and of what was seen; a server's name stands in the fault already."""
    if body.get("kind") == "serverInfo":
        return ""
    pairs = ((word, _text(body.get(word))[:_DIGEST_CHARS]) for word in ("pinned", "seen"))
    return "".join(f"  {word} {digest}" for word, digest in pairs if digest)


def _trusted(body: JsonObject) -> str:
    """What is trusted now: a manifest, a host, or the versions of everything."""
    manifests = body.get("manifests")
    if "trust_digest" in body:
        count = len(manifests) if isinstance(manifests, dict) else body.get("manifests_left_out", "?")
        versions = f"trust set {_text(body.get('trust'))}  revocations {_text(body.get('revocations'))}"
        return f"{versions}  manifests {_text(count)}"
    if "manifest" in body:
        words = ("version", "pin", "publisher")
        told = "  ".join(f"{word} {_text(body.get(word), '?')}" for word in words)
        return f"{told}  {_text(body['manifest'])[: len('sha256:') + _DIGEST_CHARS]}"
    return _text(body.get("host"))


def _others(body: JsonObject) -> str:
    """Members of a record that has no column of its own for them."""
    pairs = ((name, value) for name, value in body.items() if name not in _OWN_MEMBERS)
    return "  ".join(f"{visible(name)}={_text(value)}" for name, value in pairs)


def _text(value: Json, absent: str = "") -> str:
    """Any member for a person, nothing in it able to steer a terminal."""
    if value is None:
        return absent
    return visible(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _milliseconds(latency_us: Json) -> str:
    return f"{latency_us / 1000:.3f} ms" if isinstance(latency_us, int) else "?"


def _local(time: str) -> str:
    """Local time, to the millisecond; a time that is none, such as a 13th month, as it stands."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return f"{time[:23]:<23}"


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
