"""The one question of `init`: everything that it would do, with a number each, to be switched off or on."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import click

from mcpguard.cli.besides import Besides, State
from mcpguard.cli.main import FAILED
from mcpguard.cli.terminal import at_terminal, tell
from mcpguard.cli.wrapplan import Plan, to_wrap
from mcpguard.errors import TrustError
from mcpguard.hosts.entries import Entry

_NUMBERS: Final = re.compile(r"\s*\d+(?:[\s,]+\d+)*[\s,]*")


def agreed(plans: list[Plan], beside: list[Besides], program: str) -> tuple[list[Plan], list[Besides]]:
    """What a person has chosen. On anything but a yes the command ends with exit code 1.

    Raises:
        TrustError: There is nobody to ask.
    """
    if not at_terminal():
        raise TrustError("this needs a yes, and there is no terminal to ask on", hint="say it with --yes")
    servers = [(plan, entry) for plan in plans for entry in plan.chosen]
    lines = [_server(plan, entry) for plan, entry in servers]
    planned = [one for one in beside if one.state is State.PLANNED]
    lines += [f"{one.what}: {line}" for one in planned for line in one.plan[:1]]
    on = [*(True for _ in servers), *(one.marked for one in planned)]
    _ask(lines, on, "Change these files" if plans else "Do this")
    chosen = [choice for choice, marked in zip(servers, on, strict=False) if marked]
    left = {id(one) for one, marked in zip(planned, on[len(servers) :], strict=True) if not marked}
    return (
        plans if len(chosen) == len(servers) else _only(plans, chosen, program),
        [one.left() if id(one) in left else one for one in beside],
    )


def _server(plan: Plan, entry: Entry) -> str:
    where = f" (in {entry.path[1]})" if entry.path[0] == "projects" else ""
    return f"{plan.host_file.place.title}: {entry.name}{where}"


def _ask(lines: list[str], on: list[bool], question: str) -> None:
    """Ask until the answer is yes, or none; `on` is what is marked then."""
    while True:
        for number, (line, marked) in enumerate(zip(lines, on, strict=True), 1):
            tell(f"{number:>3} [{'x' if marked else ' '}] {line}")
        tell("y: do what is marked; numbers: mark it, or not; n: change nothing")
        answer = click.prompt(question, default="n", err=True, show_default=False)
        if answer.strip().lower() in ("y", "yes") and any(on):
            return
        if not _NUMBERS.fullmatch(answer):
            tell("nothing was changed")
            sys.exit(FAILED)
        for number in {int(word) for word in re.findall(r"\d+", answer)} & set(range(1, len(on) + 1)):
            on[number - 1] = not on[number - 1]


def _only(plans: list[Plan], chosen: list[tuple[Plan, Entry]], program: str) -> list[Plan]:
    """The plans without the servers that were left out."""
    places = {(plan.target, entry.path) for plan, entry in chosen}
    kept = []
    for plan in plans:

        def wanted(entry: Entry, target: Path = plan.target) -> bool:
            return (target, entry.path) in places

        kept += to_wrap([plan.host_file], program, wanted)[0]
    return kept
