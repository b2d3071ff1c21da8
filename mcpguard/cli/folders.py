"""`mcpguard policy trust-folder`, `folders`, `forget-folder`: whether a project's own `.mcpguard.toml` counts.

Decided:
    *What counts is the text that was shown and confirmed*, because agents can write to the folder too; rejected: the
    file as it is at each start.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from mcpguard.cli.main import NOT_RUNNING, exit_code
from mcpguard.cli.policyplace import Place, errors_told, place
from mcpguard.cli.terminal import confirm, print_json, say
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.model import how_many
from mcpguard.policy.document import parse_project
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.words import sentence
from mcpguard.system import projectfile
from mcpguard.system.folderstore import changed, described


@click.command("trust-folder")
@click.argument("directory", default=".")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would count; trust nothing.")
def trust_folder(directory: str, yes: bool, dry_run: bool) -> None:
    """Let the .mcpguard.toml in DIRECTORY count, as it is now, for servers that are started in it or below.

    It can only deny and ask. Later edits do not count until you trust the folder again.
    """
    with errors_told():
        here, path = place(), _real(directory)
        text, ruleset = _of(path)
        before = next((one for one in here.folders.load() if one.path == path), None)
        say(f"{path}/{projectfile.NAME}: {_count(ruleset)}", *(f"  {line}" for line in _rules(ruleset)))
        if before is not None and before.text == text:
            say("it is trusted already, as it is")
            return
        if before is not None:
            gone = [line for line in _rules(before.ruleset) if line not in set(_rules(ruleset))]
            say("no longer:" if gone else "nothing that it had is gone", *(f"  {line}" for line in gone))
        if dry_run:
            say("nothing was trusted (dry run)")
            return
        confirm("Let this count from now on?", yes=yes)
        _trust(here, path, text)
        say(f"trusted {path}; undo: mcpguard policy forget-folder {path}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def folders(as_json: bool) -> None:
    """Show the trusted folders, and whether their files are as they were then."""
    with errors_told(as_json=as_json):
        found = place().folders.load()
    if as_json:
        print_json({"folders": [described(folder) for folder in found]})
        return
    if not found:
        say("no folder is trusted", "next: mcpguard policy trust-folder DIR")
    for folder in found:
        state = changed(folder)
        again = f" ({state} since; mcpguard policy trust-folder {folder.path})" if state else ""
        say(f"{folder.path}: {_count(folder.ruleset)}, trusted {folder.trusted_at}{again}")


@click.command("forget-folder")
@click.argument("directory", default=".")
def forget_folder(directory: str) -> None:
    """Let the .mcpguard.toml in DIRECTORY count no longer."""
    with errors_told():
        here = place()
        path = directory if any(one.path == directory for one in here.folders.load()) else _real(directory)
        try:
            here.request({"verb": "folder-forget", "name": path})
        except DaemonError as error:
            if exit_code(error) != NOT_RUNNING:
                raise
            here.folders.forget(path)
        say(f"forgot {path}; its file counts no longer")


def _trust(here: Place, path: str, text: str) -> None:
    """Through the daemon, or directly if none runs."""
    try:
        here.request({"verb": "folder-trust", "name": path, "text": text})
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise  # what a running daemon refuses is not stored behind its back
        here.folders.trust(path, text, time.time())


def _real(directory: str) -> str:
    """The real path of a folder.

    Raises:
        ConfigError: There is none, or its path is not UTF-8.
    """
    try:
        path = str(Path(directory).resolve(strict=True))
        path.encode()
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise ConfigError("there is no such folder, or its name is not UTF-8", file=directory) from error
    return path


def _of(path: str) -> tuple[str, RuleSet]:
    """The text of a folder's file, and what it says.

    Raises:
        ConfigError: It has none, or it is not a project's policy.
    """
    place_, data = f"{path}/{projectfile.NAME}", projectfile.read(path)
    if data is None:
        raise ConfigError("there is no such file", file=place_, hint="write one; see docs/policy.md")
    return data.decode(errors="replace"), parse_project(data, place_)


def _rules(ruleset: RuleSet) -> list[str]:
    return [sentence(rule, "") for rule in ruleset.rules]


def _count(ruleset: RuleSet) -> str:
    return f"{how_many(len(ruleset.rules), 'rule')} that deny or ask"
