"""`mcpguard policy`: check, apply, show and explain what may be called.

Exit codes: 0 done (or allowed), 2 usage, 5 refused, 6 the policy is invalid and nothing was applied.

Decided:
    *`explain` exits 5 on a denial in observe mode too*, because the question is what the rules say, and who asks
    it in a script is about to enforce them; rejected: 0 whenever the call would pass. `refused` in the JSON says
    what would happen.
    *A saved file changes nothing until it is applied*, so that an editor's half-written file never decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from mcpguard import limits
from mcpguard.cli import client
from mcpguard.cli.main import NOT_RUNNING, REFUSED, exit_code
from mcpguard.errors import ConfigError, DaemonError, GuardError
from mcpguard.model import Caller, Grade, JsonObject, Verdict
from mcpguard.policy.builtin import OBSERVE_RULES, observe_snapshot
from mcpguard.policy.changes import describe, duration_word, effect_word, unpinned_word
from mcpguard.policy.document import digest, is_name, parse
from mcpguard.policy.explanation import Explanation
from mcpguard.policy.rules import ANYBODY, ASK, GATED_METHODS, HOST, Rule, RuleSet
from mcpguard.policy.snapshot import Snapshot, compile_snapshot
from mcpguard.system import paths
from mcpguard.system.policystore import Applied, PolicyStore


class Place:
    """What the verbs act on: the policy store, and the daemon if one runs.

    The command line makes it for this user; another one may be handed over as click's `obj`.
    """

    def __init__(self, directory: Path, request: Callable[[JsonObject], JsonObject]) -> None:
        self.store = PolicyStore(directory)
        self.request = request

    @classmethod
    def of_this_user(cls) -> Place:
        """The store and the daemon of the user who runs the command."""
        return cls(paths.policy_dir(), client.request)


def _place() -> Place:
    found = click.get_current_context().find_object(Place)
    return found or Place.of_this_user()


@click.group()
def policy() -> None:
    """Say what each tool may do: check a policy, apply it, show it, explain it."""


@policy.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: str, as_json: bool) -> None:
    """Say whether FILE is a valid policy. Nothing is applied; `-` is standard input."""
    with _errors_told(as_json=as_json):
        ruleset = _place().store.whole(parse(_read(file), _named(file)))
        if as_json:
            _print_json({"ok": True, **_summary(ruleset)})
            return
        _say(f"{ruleset.file}: valid, {_in_words(ruleset)}", *_settings_in_words(ruleset))
        _warn(ruleset)


@policy.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Say what would change; apply nothing.")
def apply(file: str, dry_run: bool) -> None:
    """Put FILE in force. Running connections get it at their next message; `-` is standard input."""
    with _errors_told():
        place = _place()
        data, source = _read(file), _named(file)
        new = place.store.whole(parse(data, source))
        changes = _changes(place.store, new)
        if dry_run:
            _say(f"{new.file}: valid, {_in_words(new)}", *changes, "nothing was applied (dry run)")
            return
        running = _carry_out(place, data, source)
        _say(f"applied {new.file}: {_in_words(new)}", *changes)
        _warn(new)
        if running:
            _say("running connections get it at their next message")
        else:
            _say("no daemon is running; it is in force when one starts")


@policy.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(as_json: bool) -> None:
    """Show the policy in force."""
    with _errors_told(as_json=as_json):
        current = _place().store.current()
        if current is None:
            _show_none(as_json=as_json)
            return
        applied, ruleset = current
        stale = _edited_since(applied)
        if as_json:
            source = {"source": applied.source, "applied_at": applied.applied_at, "edited_since": stale}
            _print_json(
                {"applied": True, **source, **_summary(ruleset), "rules": _rules(ruleset.rules, ruleset)}
            )
            return
        _say(
            f"{applied.source}: {_in_words(ruleset)}",
            f"applied {applied.applied_at}, digest {applied.digest}",
        )
        _say(*_settings_in_words(ruleset))
        for rule in ruleset.rules:
            _say(f"  {_rule_in_words(rule, ruleset)}")
        _warn(ruleset)
        if stale:
            _say(f"the file has been edited since: mcpguard policy apply {applied.source}")


@policy.command()
@click.argument("server")
@click.argument("tool")
@click.option("--args", "arguments", metavar="JSON", help="Arguments of the call, a JSON object.")
@click.option(
    "--host", metavar="NAME", help="Ask for this enrolled host; without it, for one that is not enrolled."
)
@click.option(
    "--grade",
    type=click.Choice([grade.name for grade in Grade]),
    default="G0",
    show_default=True,
    help="How much the evidence about the host is worth.",
)
@click.option("--unit", default="", help="The systemd unit that the host is in.")
@click.option("--label", default="", help="The security label of the host.")
@click.option(
    "--ancestor", "ancestors", multiple=True, metavar="PATH", help="A program above the host; repeatable."
)
@click.option("--file", metavar="FILE", help="Ask this policy instead of the one in force.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    server: str, tool: str, arguments: str | None, file: str | None, *, as_json: bool, **evidence: Any
) -> None:
    """Say what is decided of TOOL on SERVER, and why.

    TOOL may be a gated method, such as resources/read. Without options about the host, the answer is for a host of
    which nothing is known. Exits 0 if it is allowed, 5 if it is denied.
    """
    _object(arguments)
    caller = _caller(**evidence)
    if tool == "tools/call":
        raise click.UsageError("tools/call is decided by the tool: name the tool")
    with _errors_told(as_json=as_json):
        ruleset = parse(_read(file), _named(file)) if file else _place().store.load()
    snapshot = compile_snapshot(ruleset, server, caller) if ruleset else observe_snapshot(server)
    answer = snapshot.explain(tool)
    if as_json:
        asked = {"principals": caller.principals, "grade": caller.grade.name, "unit": caller.unit}
        asked |= {"label": caller.label, "ancestors": caller.ancestors[1:]}
        _print_json({**_explained(snapshot, tool, answer, ruleset or OBSERVE_RULES), "caller": asked})
    else:
        _explain_in_words(snapshot, tool, answer, ruleset or OBSERVE_RULES)
        if arguments:
            _say("note: rules of this version do not look at arguments")
    sys.exit(0 if answer.decision.verdict is Verdict.ALLOW else REFUSED)


def _caller(host: str | None, grade: str, unit: str, label: str, ancestors: tuple[str, ...]) -> Caller:
    """The host that is asked for: its ancestors are those that were named, and no others."""
    if host is not None and not is_name(host):
        raise click.UsageError("--host: expected the name of an enrolled host: 1 to 64 of a-z 0-9 _ . -")
    principals = (ANYBODY,) if host is None else (ANYBODY, HOST + host)
    return Caller(principals, Grade[grade], unit, label, ("", *ancestors))


def _explained(snapshot: Snapshot, tool: str, answer: Explanation, ruleset: RuleSet) -> JsonObject:
    decision = answer.decision
    return {
        "server": snapshot.server,
        "method": tool if tool in GATED_METHODS else "tools/call",
        "tool": None if tool in GATED_METHODS else tool,
        "verdict": decision.verdict.name.lower(),
        "refused": decision.verdict is not Verdict.ALLOW and not snapshot.observing,
        "rule": decision.rule,
        "origin": decision.origin,
        "reason": decision.reason,
        "durable": decision.durable,
        "recheck": decision.recheck,
        "mode": snapshot.mode.value,
        "policy": snapshot.policy,
        "matching": _rules(answer.matching, ruleset),
        "missed": [
            {**shown, "why": missed.why}
            for missed, shown in zip(
                answer.missed, _rules(tuple(missed.rule for missed in answer.missed), ruleset), strict=True
            )
        ],
    }


def _explain_in_words(snapshot: Snapshot, tool: str, answer: Explanation, ruleset: RuleSet) -> None:
    decision = answer.decision
    denied = decision.verdict is not Verdict.ALLOW
    passes = "  (observe: it is recorded and passes)" if denied and snapshot.observing else ""
    _say(
        f"{decision.verdict.name.lower()}  {snapshot.server} {tool}{passes}",
        f"  rule    {decision.rule}",
        f"  at      {decision.origin}",
        f"  reason  {decision.reason}",
    )
    if decision.durable:
        _say("  durable its record is on stable storage before the call is forwarded")
    if decision.recheck:
        _say("  recheck the host is looked at again before the call is forwarded")
    for rule in answer.matching:
        _say(f"  match   {_rule_in_words(rule, ruleset)}")
    for missed in answer.missed:
        _say(f"  missed  {_rule_in_words(missed.rule, ruleset)}", f"          {missed.why}")


def _carry_out(place: Place, data: bytes, source: str) -> bool:
    """Apply through the daemon, or directly if none runs; whether one does."""
    try:
        place.request({"verb": "policy-apply", "source": source, "text": data.decode()})
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise  # what a running daemon refuses is not stored behind its back
        place.store.apply(data, source)
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
        _print_json({"applied": False, **_summary(OBSERVE_RULES), "rules": []})
    else:
        _say("no policy is applied: watching only", "next: mcpguard policy apply FILE")


def _edited_since(applied: Applied) -> bool:
    """Whether the file that was applied is still there and says something else."""
    if not Path(applied.source).is_file():
        return False
    try:
        return digest(_read(applied.source)) != applied.digest
    except ConfigError:
        return False


def _summary(ruleset: RuleSet) -> JsonObject:
    return {
        "file": ruleset.file,
        "policy": ruleset.digest,
        "mode": ruleset.mode.value,
        "text": "neutralise" if ruleset.neutralise else "as-is",
        "unpinned": unpinned_word(ruleset),
        "on_update": ruleset.on_update,
        "recheck_seconds": ruleset.recheck,
        "rule_count": len(ruleset.rules),
    }


def _rules(rules: tuple[Rule, ...], ruleset: RuleSet) -> list[JsonObject]:
    return [
        {
            "id": rule.id,
            "effect": effect_word(rule),
            "who": rule.who,
            "server": [pattern.text for pattern in rule.server],
            "tools": [pattern.text for pattern in rule.tools],
            "methods": [pattern.text for pattern in rule.methods],
            "durable": rule.durable,
            **_demands(rule),
            "origin": f"{ruleset.file}:{rule.line}",
        }
        for rule in rules
    ]


def _demands(rule: Rule) -> JsonObject:
    """What a rule asks of the host, and of the moment; nothing for what it does not ask."""
    demands: JsonObject = {"grade": rule.grade.name} if rule.grade else {}
    for key in ("unit", "label", "ancestor_not"):
        if patterns := getattr(rule, key):
            demands[key] = [pattern.text for pattern in patterns]
    return {**demands, "recheck": True} if rule.recheck else demands


def _settings_in_words(ruleset: RuleSet) -> list[str]:
    """What holds for all hosts, if it is not what holds by itself."""
    lines = ["unpinned allow: servers without a manifest run"] if ruleset.unpinned else []
    if ruleset.on_update != ASK:
        lines.append(f"on_update {ruleset.on_update}: a changed host is recognised if its owner is the same")
    if ruleset.recheck:
        lines.append(f"recheck {duration_word(ruleset.recheck)}: hosts are looked at again and again")
    return lines


def _in_words(ruleset: RuleSet) -> str:
    count = len(ruleset.rules)
    return f"{ruleset.mode.value}, {count} rule{'' if count == 1 else 's'}"


def _rule_in_words(rule: Rule, ruleset: RuleSet) -> str:
    parts = [f"{effect_word(rule):<5} {rule.id}"]
    if rule.who != (ANYBODY,):
        parts.append(f"who {', '.join(rule.who)}")
    for word, patterns in (("server", rule.server), ("tools", rule.tools), ("methods", rule.methods)):
        if patterns:
            parts.append(f"{word} {', '.join(pattern.text for pattern in patterns)}")
    for key, value in _demands(rule).items():
        if key != "recheck":
            parts.append(f"{key} {value if isinstance(value, str) else ', '.join(value)}")
    flags = [word for word in ("durable", "recheck") if getattr(rule, word)]
    return "  ".join([*parts, *flags, f"{ruleset.file}:{rule.line}"])


def _warn(ruleset: RuleSet) -> None:
    if not any(rule.effect is Verdict.ALLOW for rule in ruleset.rules):
        _say("note: no rule allows anything, so everything is denied")


def _object(text: str | None) -> None:
    try:
        value = {} if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError("--args: expected a JSON object") from error
    if not isinstance(value, dict):
        raise click.UsageError("--args: expected a JSON object")


def _named(file: str) -> str:
    """The name under which a policy is known: its absolute path; what is not UTF-8 in it is escaped."""
    path = os.path.abspath(file)  # noqa: PTH100 (Path.resolve would follow links)
    return "standard input" if file == "-" else path.encode(errors="backslashreplace").decode()


def _read(file: str) -> bytes:
    """The file's bytes, at most one more than a policy may have.

    Raises:
        ConfigError: It is not there, is a directory, or cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer.read(limits.POLICY_BYTES + 1)
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limits.POLICY_BYTES + 1)
    except FileNotFoundError as error:
        reason: str = "there is no such file"
        cause: OSError = error
    except IsADirectoryError as error:
        reason, cause = "expected a file, found a directory", error
    except OSError as error:
        reason, cause = f"cannot be read: {(error.strerror or str(error)).lower()}", error
    raise ConfigError(reason, file=file) from cause


@contextlib.contextmanager
def _errors_told(*, as_json: bool = False) -> Iterator[None]:
    """One sentence on standard error and an exit code; a config error also as JSON if that was asked for."""
    try:
        yield
    except ConfigError as error:
        if as_json:
            place = {"file": error.file, "line": error.line, "key": error.key}
            _print_json({"ok": False, "error": {**place, "message": error.message, "hint": error.hint}})
        _fail(error)
    except GuardError as error:
        _fail(error)


def _fail(error: GuardError) -> NoReturn:
    click.echo(f"mcpguard: {_shown(error.sentence())}", err=True)
    sys.exit(exit_code(error))


def _print_json(value: JsonObject) -> None:
    """One object on one line, ASCII only: names of files and tools may hold anything."""
    click.echo(json.dumps({"v": 1, **msgspec.to_builtins(value)}))


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(_shown(line))


def _shown(text: str) -> str:
    """Text whose every character is visible: the terminal obeys nothing in it."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
