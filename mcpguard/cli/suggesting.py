"""`mcpguard policy suggest`: the least that lets pass what has passed, to be read, edited and applied by a person."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import click

from mcpguard.cli.past import Asked, Began, read, span
from mcpguard.cli.policyplace import errors_told
from mcpguard.cli.terminal import print_json, say, tell
from mcpguard.errors import ConfigError
from mcpguard.model import how_many
from mcpguard.policy.document import parse
from mcpguard.policy.rules import HOST
from mcpguard.policy.suggestion import Suggestion
from mcpguard.system import paths


@click.command()
@click.option(
    "--since",
    type=span,
    metavar="SPAN",
    default="7d",
    show_default=True,
    help="How far back: 12h, 7d, 4w.",
)
@click.option("--host", default="", metavar="NAME", help="Only what this enrolled host has done.")
@click.option("--server", default="", metavar="NAME", help="Only what was asked of this server.")
@click.option(
    "--log", "log", type=click.Path(path_type=Path), metavar="DIR", help="A log elsewhere, such as a copy."
)
@click.option("-o", "output", metavar="FILE", help="Write a new file instead of standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def suggest(
    since: float, host: str, server: str, log: Path | None, output: str | None, *, as_json: bool
) -> None:
    """Write the policy that allows what was done and nothing else, from the audit log.

    Nothing is applied. Folders and hosts of arguments are known of what was recorded in observe mode; other arguments
    are left open, and comments say what they looked like.
    """
    with errors_told(as_json=as_json):
        found, unpinned = Suggestion(str(Path.home())), set[str]()
        for event in read(log or paths.audit_dir(), since, "reading"):
            match event:
                case Asked(past=past, passed=True):
                    trial = past.trial
                    if server in ("", trial.server) and (not host or f"{HOST}{host}" in trial.who):
                        found.took(past)
                case Began(server=name, registered=False) if server in ("", name):
                    unpinned.add(name)
        if not found.count:
            raise ConfigError(
                "nothing that was asked in this time has passed",
                file="audit log",
                hint='watch first, with mode = "observe"; or go further back: --since 4w',
            )
        since_words = dt.datetime.fromtimestamp(since, dt.UTC).astimezone().strftime("since %Y-%m-%d %H:%M")
        text = found.text(since_words, unpinned=bool(unpinned))
        rules = len(parse(text.encode(), output or "suggestion").rules)
        if output:
            _write(Path(output), text)
    if as_json:
        print_json({"requests": found.count, "rule_count": rules, "left_out": found.skipped, "text": text})
    elif output:
        say(
            f"{output}: {how_many(rules, 'rule')} from {how_many(found.count, 'request')}",
            f"read and edit it, then: mcpguard policy replay {output}; mcpguard policy apply {output}",
        )
    else:
        click.echo(text, nl=False)
    if found.skipped and not as_json:
        tell(f"left out, because no pattern describes them exactly: {len(found.skipped)}; comments name them")


def _write(path: Path, text: str) -> None:
    """A new file; one that is there stays.

    Raises:
        ConfigError: It is there, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 (a descriptor, not a path)
            stream.write(text)
    except FileExistsError as error:
        raise ConfigError(
            "it is there already, and is not replaced", file=str(path), hint="name another"
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"it cannot be written: {reason}", file=str(path)) from error
