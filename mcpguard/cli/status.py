"""`mcpguard status`."""

from __future__ import annotations

import time

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.cli import client
from mcpguard.cli.sinkwords import in_a_line
from mcpguard.model import JsonObject, how_many


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the daemon, its connections, and what was allowed and denied. Exits 3 if no daemon runs."""
    reply = client.request({"verb": "status"})
    if as_json:
        click.echo(msgspec.json.encode(reply).decode())
        return
    for line in _lines(reply):
        click.echo(line)


def _lines(reply: JsonObject) -> list[str]:
    calls, policy = reply["calls"], reply["policy"]
    dropped = how_many(calls["dropped"], "line")
    lines = [
        _daemon(reply),
        f"policy   {policy['mode']}, {how_many(policy['rules'], 'rule')}, from {visible(policy['source'])}",
        f"calls    {calls['allowed']} allowed, {calls['denied']} denied, {dropped} dropped",
        f"audit    {reply['audit']['failure'] or 'writing to ' + reply['paths']['audit']}",
        f"servers  end with their session ({_means(reply['reaping'])}); not promised: {reply['reaping']['limits']}",
        f"open     {how_many(len(reply['connections']), 'connection')}, {reply['served']} since the start",
    ]
    lines += _export(reply.get("export", {}))
    lines += [_listener(each) for each in reply.get("listeners", [])]
    lines += [_connection(connection) for connection in reply["connections"]]
    return lines + watched(reply)


def watched(reply: JsonObject) -> list[str]:
    """What was found since the daemon began, and what is in quarantine; nothing where there is nothing to say."""
    counts = [f"{many} {word}" for word, many in reversed(reply.get("findings", {}).items()) if many]
    lines = [f"findings {', '.join(counts)} since the start; see: mcpguard findings"] if counts else []
    held = reply.get("quarantine", {"entries": [], "failure": ""})  # a daemon of before has none
    if held["failure"]:
        lines.append(f"KEPT OUT everybody: {visible(held['failure'])}")
    for entry in held["entries"]:
        what = "KEPT OUT" if entry["how"] == "refuse" else "ASKED   "
        why = f" ({visible(entry['reason'])})" if entry["reason"] else ""
        lines.append(f"{what} {visible(entry['subject'])} since {visible(entry['since'])}{why}")
    return lines


def _listener(each: JsonObject) -> str:
    """One listener: where and for whom, or why it is not open."""
    name, trouble = visible(each["name"]), visible(each["trouble"])
    if "listen" not in each:
        return f"BAD      the listener {name} is not open: {trouble}"
    line = f"listens  {name}: {visible(each['listen'])} for {' and '.join(map(visible, each['auth']))}"
    return f"{line}; {trouble}" if trouble else line


def _export(export: JsonObject) -> list[str]:
    """The sinks of the audit log; nothing if there are none."""
    wrong = [f"export   {visible(export['error'])}"] if export.get("error") else []
    return wrong + [f"export   {in_a_line(each)}" for each in export.get("sinks", [])]


def _means(reaping: JsonObject) -> str:
    return ", ".join(name.replace("_", " ") for name, held in reaping.items() if held is True)


def _daemon(reply: JsonObject) -> str:
    memory = reply["memory"]["pss_bytes"] / 2**20
    return f"mcpguard {reply['version']}, pid {reply['pid']}, up {_age(reply['since'])}, {memory:.1f} MiB"


def _connection(entry: JsonObject) -> str:
    claim = visible(entry["claims"]["host"]) or "unnamed"
    return (
        f"  {entry['id']}  {visible(entry['server'])} (pid {entry['pid']}, {entry['pin']}) "
        f"for {_host(entry['host'])}, "
        f'says it is "{claim}"; {entry["revision"] or "no handshake yet"}; '
        f"{entry['allowed']} allowed, {entry['denied']} denied, {entry['in_flight']} in flight"
    )


def _host(host: JsonObject) -> str:
    """The host as the kernel knows it: its enrolled name if it has one, else its executable."""
    if principal := host.get("principal"):
        where = visible(str(host.get("network") or f"uid {host.get('uid')}"))
        return (
            f"{visible(str(principal))} (from {where}, by the listener {visible(str(host.get('listener')))})"
        )
    known = host.get("host") or host.get("script") or host.get("exe")
    name = visible(str(known)) if known else "somebody"
    return f"{name} (uid {host['uid']} pid {host['pid']}) [{host['grade']}]"


def _age(since: float) -> str:
    seconds = max(0, int(time.time() - since))
    hours, rest = divmod(seconds, 3600)
    return f"{hours}h{rest // 60:02}m" if hours else f"{rest // 60}m{rest % 60:02}s"
