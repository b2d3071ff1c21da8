"""`mcpguard audit sink`: where the log flows to. Its verbs act on files, whether a daemon runs or not."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click
import msgspec

from mcpguard.audit.event import Event, Severity
from mcpguard.audit.record import Record, visible
from mcpguard.audit.syslog import FACILITIES
from mcpguard.cli.sinkwords import in_a_line, utc
from mcpguard.errors import ConfigError
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.shipping import delivery
from mcpguard.system.sinkfile import SIGNALS, Sink, SinkFile
from mcpguard.system.sinkstate import StateFile, described


@click.group()
def sink() -> None:
    """Where the audit log flows to: syslog, journald, HTTPS, OpenTelemetry."""


@sink.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """Show each sink: what it was sent, how many records wait, and what is wrong."""
    sinks = SinkFile(paths.export_dir()).load()
    found = [described(sink, paths.audit_dir(), paths.export_dir()) for sink in sinks]
    if as_json:
        click.echo(msgspec.json.encode({"v": 1, "sinks": found}).decode())
        return
    if not found:
        click.echo("no sinks are set up; see: mcpguard audit sink add --help")
    for each in found:
        click.echo(in_a_line(each))


@sink.command()
@click.argument("name")
@click.argument("to", metavar="ADDRESS")
@click.option("--kind", help="syslog, journald, https or otlp; told from the address if it is left out.")
@click.option("--format", "form", help="json, ocsf or cef (cef for syslog only); json if it is left out.")
@click.option("--start", help="beginning or now: which record is the first.")
@click.option("--facility", help=f"Of syslog messages: {', '.join(list(FACILITIES)[:5])}, local0 to local7.")
@click.option(
    "--ca", type=click.Path(path_type=Path), help="Certificates that count instead of the system's."
)
@click.option("--token-file", type=click.Path(path_type=Path), help="File with a bearer token.")
@click.option(
    "--signal", "signals", multiple=True, help=f"For otlp: {', '.join(SIGNALS)}; all if it is left out."
)
@click.option("--most", type=int, help="Longest syslog message, bytes.")
def add(name: str, to: str, kind: str | None, signals: tuple[str, ...], **options: object) -> None:
    """Let the log flow to ADDRESS as well.

    \b
    syslog    udp://HOST:PORT  tcp://HOST:PORT  tls://HOST[:6514]  unix:///dev/log
    journald  journald
    https     https://HOST/PATH
    otlp      otlp+https://HOST:4318, or otlp+http://localhost:4318
    """  # noqa: D301 (click reads the mark)
    options["format"] = options.pop("form")
    kind, to = _told(kind, to)
    members: JsonObject = {"name": name, "kind": kind, **({"to": to} if to else {})}
    for key, value in options.items():
        if value is not None:
            members[key] = str(value.absolute()) if isinstance(value, Path) else value
    if signals:
        members["signals"] = list(signals)
    made = SinkFile(paths.export_dir()).add(members)
    click.echo(f"the audit log flows to {made.name} ({visible(made.to)}) while the daemon runs")
    click.echo(f"try it: mcpguard audit sink test {made.name}")


@sink.command()
@click.argument("name")
def remove(name: str) -> None:
    """Let the log flow there no more, and forget how far it had it."""
    SinkFile(paths.export_dir()).remove(name)
    StateFile(paths.export_dir(), name).remove()
    click.echo(f"the audit log flows to {name} no more")


@sink.command()
@click.argument("name")
def test(name: str) -> None:
    """Send one event now, and say what came of it. Exits 1 if the sink did not take it."""
    sinks = {each.name: each for each in SinkFile(paths.export_dir()).load()}
    if name not in sinks:
        known = ", ".join(sinks) or "none"
        raise ConfigError(
            f"there is no sink {name[:64]!a}", file=str(paths.export_dir()), hint=f"known are: {known}"
        )
    event = _trial()
    way = delivery(sinks[name])
    try:
        way.send([event])
    finally:
        way.close()
    click.echo(f"sent to {visible(sinks[name].to)}: event {event.id}{_promise(sinks[name])}")


def _told(kind: str | None, to: str) -> tuple[str, str]:
    """Kind and address of what a person has typed."""
    scheme = to.partition(":")[0]
    if to == "journald":
        return "journald", ""
    if scheme in ("otlp+http", "otlp+https"):
        return "otlp", to.removeprefix("otlp+")
    return kind or ("https" if scheme in ("http", "https") else "syslog"), to


def _trial() -> Event:
    ident = secrets.token_hex(16)
    body: JsonObject = {"type": "log", "event": "sink-test", "reason": "a person tries this sink"}
    now = utc(time.time())
    line = msgspec.json.encode({"t": now, **body}).decode()
    return Event(ident, Record(0, "", now, "", "log", body), Severity.INFORMATIONAL, line)


def _promise(sink: Sink) -> str:
    if sink.kind in ("syslog", "journald"):
        return "; nothing acknowledges it, so look for it there"
    return ", and it was taken"
