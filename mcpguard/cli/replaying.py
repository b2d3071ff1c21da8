"""`mcpguard policy replay`: what another policy would have said of what has happened."""

from __future__ import annotations

import datetime as dt
import sys
from collections import OrderedDict
from pathlib import Path

import click

from mcpguard.cli.main import FAILED
from mcpguard.cli.past import Answered, Asked, Began, Saw, read, span
from mcpguard.cli.policyplace import errors_told, in_force_with, place
from mcpguard.cli.terminal import print_json, say
from mcpguard.errors import ConfigError
from mcpguard.model import JsonObject, how_many
from mcpguard.policy.replay import Change, Replay
from mcpguard.policy.trials import World
from mcpguard.system import paths
from mcpguard.system.realpath import resolve

_OPEN = 10_000
"""Requests whose answer is waited for; of older ones it is taken that none came."""


@click.command()
@click.argument("file", required=False)
@click.option(
    "--since",
    type=span,
    metavar="SPAN",
    default="7d",
    show_default=True,
    help="How far back: 12h, 7d, 4w.",
)
@click.option(
    "--log", "log", type=click.Path(path_type=Path), metavar="DIR", help="A log elsewhere, such as a copy."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(file: str | None, since: float, log: Path | None, *, as_json: bool) -> None:
    """Say what FILE, or the policy in force, would decide otherwise of what the audit log has.

    The log has no arguments: where a rule turns on one, only its folder or host can be told, and those only if it was
    recorded in observe mode; else it depends. Rates and budgets are not replayed. Exits 1 if anything would change.
    """
    with errors_told(as_json=as_json):
        ruleset = in_force_with(file) if file else place().store.load()
        if ruleset is None:
            raise ConfigError(
                "no policy is applied", file="policy", hint="name one: mcpguard policy replay FILE"
            )
        asked = Replay(ruleset, World(home=str(Path.home()), resolve=resolve))
        _play(asked, log or paths.audit_dir(), since)
    changes = asked.changes
    if as_json:
        print_json(
            {"policy": ruleset.digest, "same": asked.same, "changes": [_as_json(one) for one in changes]}
        )
    else:
        many = sum(one.count for one in changes)
        requests = how_many(asked.same + many, "request")
        say(f"{requests}, {many} would be decided otherwise or cannot be told ({ruleset.file})")
        for one in changes:
            say(*_in_words(one))
    sys.exit(FAILED if changes else 0)


def _play(asked: Replay, directory: Path, since: float) -> None:
    waiting: OrderedDict[tuple[str, str, int], tuple[str, tuple[str, ...]]] = OrderedDict()
    for event in read(directory, since, "replaying"):
        match event:
            case Asked(key=key, past=past, passed=passed):
                reads = asked.asked(past)
                if passed and reads:
                    waiting[key] = past.instance, reads
                    if len(waiting) > _OPEN:
                        waiting.popitem(last=False)
            case Answered(key=key, good=good):
                instance, reads = waiting.pop(key, ("", ()))
                if good and reads:
                    asked.saw(instance, reads)
            case Began():
                continue
            case Saw(instance=instance, labels=labels):
                asked.saw(instance, labels)


def _in_words(one: Change) -> list[str]:
    becomes = one.becomes.name.lower() if one.becomes is not None else "depends"
    times = "once" if one.count == 1 else f"{one.count} times"
    span = _day(one.first) if _day(one.first) == _day(one.last) else f"{_day(one.first)} to {_day(one.last)}"
    return [
        f"{becomes:<7} was {one.was.name.lower():<5}  {one.server} {one.name}  {times}, {span}",
        f"        {one.reason}",
    ]


def _as_json(one: Change) -> JsonObject:
    return {
        "server": one.server,
        "name": one.name,
        "was": one.was.name.lower(),
        "becomes": one.becomes.name.lower() if one.becomes is not None else None,
        "rule": one.rule or None,
        "reason": one.reason,
        "count": one.count,
        "first": one.first,
        "last": one.last,
    }


def _day(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).astimezone().strftime("%Y-%m-%d")
