"""`mcpguard pending`: what waits for a person.

Exit codes: 0 shown, whatever waits; 3 no daemon runs; 5 refused. With `--watch`, Ctrl-C is the end that was meant: 0.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from mcpguard.approvals.words import WIDTH, brief, columns_of, fit, span
from mcpguard.cli import client
from mcpguard.cli.terminal import errors_told, print_json
from mcpguard.model import JsonObject, visible

_SECONDS: Final = 5.0
"""So long the daemon waits for something new before it answers."""
_HEAD: Final = ("ID", "LEFT", "CALLS", "HOST", "SERVER", "TOOL")
_COLUMNS: Final = (8, 7, 5, 12, 10, 14)


@click.command()
@click.option("--watch", is_flag=True, help="Go on, and show every change; Ctrl-C ends it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --watch one object for each change.")
def pending(watch: bool, as_json: bool) -> None:
    """Show the calls that wait for approval."""
    with errors_told(as_json=as_json):
        reply = client.request({"verb": "pending"})
        _print(reply, as_json=as_json, again=False)
        if not watch:
            return
        try:
            _watch(reply["version"], as_json=as_json)
        except KeyboardInterrupt:
            return


def _watch(version: int, *, as_json: bool) -> None:
    while True:
        reply = client.request({"verb": "pending", "since": version, "seconds": _SECONDS})
        if reply["version"] != version:
            version = reply["version"]
            _print(reply, as_json=as_json, again=True)
        elif sys.stdout.isatty() and not as_json:
            _print(reply, as_json=False, again=True)  # the time that is left has changed


def _print(reply: JsonObject, *, as_json: bool, again: bool) -> None:
    if as_json:
        print_json({"tickets": reply["tickets"], "version": reply["version"]})
        sys.stdout.flush()
        return
    if again and sys.stdout.isatty():
        click.clear()
    elif again:
        click.echo()
    for line in lines(reply["tickets"]):
        click.echo(line)


def lines(tickets: list[JsonObject], width: int = WIDTH) -> list[str]:
    """A table of tickets; every character visible, no line wider than `width` columns."""
    if not tickets:
        return ["nothing waits for approval"]
    table = [_row(_HEAD, "ARGUMENTS", width)]
    for ticket in tickets:
        host = ticket["host"].get("host")
        cells = (
            ticket["id"],
            span(ticket["left_seconds"]),
            f"{ticket['waiting']}/{ticket['times']}",
            host or "not enrolled",
            ticket["server"],
            ticket["tool"] or ticket["method"],
        )
        table.append(_row(tuple(visible(str(cell)) for cell in cells), ticket["arguments"], width))
    return [*table, "next: mcpguard approve ID, or mcpguard deny ID (CALLS: waiting/made)"]


def _row(cells: tuple[str, ...], last: Any, width: int) -> str:
    row = "".join(
        shown + " " * (columns + 1 - columns_of(shown))
        for columns, cell in zip(_COLUMNS, cells, strict=True)
        for shown in [fit(cell, columns)]
    )
    room = width - columns_of(row)
    return (row + (last if cells is _HEAD else brief(last, room))).rstrip()
