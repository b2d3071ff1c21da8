"""`mcpguard policy`: what may be called. Here: check a file, put it in force, show what is.

Exit codes: 0 done (or allowed), 1 a test failed, 2 usage, 5 refused, 6 the policy is invalid and nothing was applied.

Decided:
    *A saved file changes nothing until it is applied*, so that an editor's half-written file never decides.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mcpguard.cli.explaining import explain
from mcpguard.cli.folders import folders, forget_folder, trust_folder
from mcpguard.cli.main import CONFIG, NOT_RUNNING, exit_code
from mcpguard.cli.policyplace import Place, errors_told, in_force_with, named, place, read
from mcpguard.cli.replaying import replay
from mcpguard.cli.suggesting import suggest
from mcpguard.cli.terminal import print_json, say
from mcpguard.cli.trying import test
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.model import JsonObject, Verdict, how_many
from mcpguard.policy.builtin import OBSERVE_RULES
from mcpguard.policy.cedarschema import SCHEMA
from mcpguard.policy.changes import describe
from mcpguard.policy.document import digest, parse
from mcpguard.policy.lint import Notice, notices
from mcpguard.policy.rules import CEDAR, Rule, RuleSet
from mcpguard.policy.words import members, sentence, settings, unpinned_word
from mcpguard.policy.words import place as place_of
from mcpguard.system.policystore import Applied, PolicyStore

__all__ = ["Place", "policy"]


@click.group()
def policy() -> None:
    """Say what each tool may do: check a policy, apply it, show it, explain it, test it."""


for _verb in (explain, test, replay, suggest, trust_folder, folders, forget_folder):
    policy.add_command(_verb)


@policy.command()
@click.argument("file")
@click.option("--strict", is_flag=True, help="Exit 6 if there is anything to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: str, strict: bool, as_json: bool) -> None:
    """Say whether FILE is a valid policy, and which rules do nothing. Nothing is applied; `-` is standard input."""
    with errors_told(as_json=as_json):
        ruleset = in_force_with(file)
    found = notices(ruleset)
    if as_json:
        print_json({"ok": True, **_summary(ruleset), "notices": [_notice(one) for one in found]})
    else:
        say(f"{ruleset.file}: valid, {_in_words(ruleset)}", *settings(ruleset))
        _warn(ruleset, found)
    if strict and found:
        sys.exit(CONFIG)


@policy.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Say what would change; apply nothing.")
def apply(file: str, dry_run: bool) -> None:
    """Put FILE in force. Running connections get it at their next message; `-` is standard input."""
    with errors_told():
        here = place()
        data, source = read(file), named(file)
        new = here.store.whole(parse(data, source))
        changes = _changes(here.store, new)
        if dry_run:
            say(f"{new.file}: valid, {_in_words(new)}", *changes, "nothing was applied (dry run)")
            return
        running = _carry_out(here, data, source)
        say(f"applied {new.file}: {_in_words(new)}", *changes)
        _warn(new, notices(new))
        if running:
            say("running connections get it at their next message")
        else:
            say("no daemon is running; it is in force when one starts")


@policy.command("cedar-schema")
def cedar_schema() -> None:
    """Print the schema of policies with engine = "cedar", for Cedar's own tools."""
    click.echo(SCHEMA, nl=False)


@policy.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(as_json: bool) -> None:
    """Show the policy in force."""
    with errors_told(as_json=as_json):
        current = place().store.current()
        if current is None:
            _show_none(as_json=as_json)
            return
        applied, ruleset = current
        stale = _edited_since(applied)
        if as_json:
            source = {"source": applied.source, "applied_at": applied.applied_at, "edited_since": stale}
            print_json({"applied": True, **source, **_summary(ruleset), "rules": _rules(ruleset)})
            return
        say(
            f"{applied.source}: {_in_words(ruleset)}",
            f"applied {applied.applied_at}, digest {applied.digest}",
        )
        say(*settings(ruleset))
        for rule in ruleset.rules:
            say(f"  {sentence(rule, ruleset.file)}")
        _warn(ruleset, notices(ruleset))
        if stale:
            say(f"the file has been edited since: mcpguard policy apply {applied.source}")


def _carry_out(here: Place, data: bytes, source: str) -> bool:
    """Apply through the daemon, or directly if none runs; whether one does."""
    try:
        here.request({"verb": "policy-apply", "source": source, "text": data.decode()})
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise  # what a running daemon refuses is not stored behind its back
        here.store.apply(data, source)
        return False
    return True


def _changes(store: PolicyStore, new: RuleSet) -> list[str]:
    try:
        old = store.load()
    except ConfigError as error:
        return [f"what was in force cannot be read and is replaced: {error.sentence()}"]
    first = ["first policy: until now everything was let through and recorded"] if old is None else []
    return first + (describe(old or OBSERVE_RULES, new) or ["nothing changes"])


def _show_none(*, as_json: bool) -> None:
    if as_json:
        print_json({"applied": False, **_summary(OBSERVE_RULES), "rules": []})
    else:
        say("no policy is applied: watching only", "next: mcpguard policy apply FILE")


def _edited_since(applied: Applied) -> bool:
    """Whether the file that was applied is still there and says something else."""
    if not Path(applied.source).is_file():
        return False
    try:
        return digest(read(applied.source)) != applied.digest
    except ConfigError:
        return False


def _summary(ruleset: RuleSet) -> JsonObject:
    return {
        "file": ruleset.file,
        "policy": ruleset.digest,
        "engine": ruleset.engine,
        "mode": ruleset.mode.value,
        "text": "neutralise" if ruleset.neutralise else "as-is",
        "unpinned": unpinned_word(ruleset),
        "on_update": ruleset.on_update,
        "recheck_seconds": ruleset.recheck,
        "rule_count": len(ruleset.rules),
    }


def _rules(ruleset: RuleSet) -> list[JsonObject]:
    return [_rule(rule, ruleset) for rule in ruleset.rules]


def _rule(rule: Rule, ruleset: RuleSet) -> JsonObject:
    return {**members(rule), "origin": place_of(rule, ruleset.file)}


def _notice(one: Notice) -> JsonObject:
    return {"rule": one.rule, "origin": one.place, "message": one.words}


def _in_words(ruleset: RuleSet) -> str:
    count = len(ruleset.rules)
    if ruleset.engine == CEDAR:
        return f"{ruleset.mode.value}, {count} Cedar polic{'y' if count == 1 else 'ies'}"
    return f"{ruleset.mode.value}, {how_many(count, 'rule')}"


def _warn(ruleset: RuleSet, found: list[Notice]) -> None:
    if not any(rule.effect is Verdict.ALLOW for rule in ruleset.rules):
        say("note: no rule allows anything, so everything is denied")
    say(*(f"note: {one.place}: rule {one.rule}: {one.words}" for one in found))
