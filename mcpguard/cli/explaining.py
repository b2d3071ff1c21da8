"""`mcpguard policy explain`: what is decided of one request, by which rule, and what nearly decided.

Decided:
    *It exits 5 on a denial in observe mode too*, because the question is what the rules say, and who asks it in a
    script is about to enforce them; rejected: 0 whenever the call would pass. `refused` in the JSON says what would
    happen. A question to a person is no yes either: 5.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from mcpguard.cli.main import REFUSED
from mcpguard.cli.policyplace import errors_told, in_force_with, place
from mcpguard.cli.terminal import print_json, say
from mcpguard.errors import ProtocolError
from mcpguard.model import Grade, JsonObject, Mode, Verdict
from mcpguard.policy.builtin import OBSERVE_RULES, observe_snapshot
from mcpguard.policy.document import is_name
from mcpguard.policy.explanation import Explanation
from mcpguard.policy.rules import GATED_METHODS, HOST, Rule, RuleSet
from mcpguard.policy.trials import Trial, World, explained, unix_of
from mcpguard.policy.words import members, sentence
from mcpguard.policy.words import place as place_of
from mcpguard.protocol.uri import normalise
from mcpguard.system.folderstore import above
from mcpguard.system.realpath import resolve

_OF_REQUEST = ("arguments", "target", "at", "seen", "session", "cwd")
"""Options that make it one request, and not whatever has the name."""


@click.command()
@click.argument("server")
@click.argument("tool")
@click.option("--args", "arguments", metavar="JSON", help="Arguments of the call, a JSON object.")
@click.option("--target", default="", help="For a method: the URI, the prompt, or what is completed.")
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
@click.option("--host-version", default="", help="The version of the host.")
@click.option("--cwd", default="", metavar="DIR", help="Where the host has started the server.")
@click.option("--seen", multiple=True, metavar="LABEL", help="A label that the host has seen; repeatable.")
@click.option(
    "--session",
    multiple=True,
    type=click.Choice(["local", "remote", "locked", "unlocked"]),
    help="What is true of the login session; repeatable.",
)
@click.option("--at", default="", metavar="TIME", help="When: 2026-11-22T10:00:00+01:00. Without it, now.")
@click.option("--file", metavar="FILE", help="Ask this policy instead of the one in force.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(server: str, tool: str, file: str | None, *, as_json: bool, **asked: Any) -> None:
    """Say what is decided of TOOL on SERVER, and why.

    TOOL may be a gated method, such as resources/read. Without options about the host, the answer is for a host of
    which nothing is known; without any about the request, for whatever call of TOOL. Exits 0 if it is allowed, 5 if
    it is denied or a person is asked.
    """
    one_request = any(asked[key] for key in _OF_REQUEST)
    trial = _trial(server, tool, **asked)
    if tool == "tools/call":
        raise click.UsageError("tools/call is decided by the tool: name the tool")
    with errors_told(as_json=as_json):
        ruleset = in_force_with(file) if file else place().store.load()
    if ruleset is None:
        answer = observe_snapshot(server).explain(tool)
    else:
        with errors_told(as_json=as_json):
            trusted = place().folders.load()
        world = World(
            home=str(Path.home()),
            resolve=resolve,
            projects=lambda folder: (one.ruleset for one in above(trusted, resolve(folder) or "")),
        )
        answer = explained(ruleset, trial, world, whatever=not one_request)
    if as_json:
        print_json(_explained(trial, answer, ruleset))
    else:
        _explain_in_words(trial, answer, ruleset)
    sys.exit(0 if answer.decision.verdict is Verdict.ALLOW else REFUSED)


def _trial(
    server: str, tool: str, arguments: str | None, host: str | None, target: str, at: str, **more: Any
) -> Trial:
    """What is asked.

    Raises:
        UsageError: An option is not what it should be.
    """
    if host is not None and not is_name(host):
        raise click.UsageError("--host: expected the name of an enrolled host: 1 to 64 of a-z 0-9 _ . -")
    gated = tool in GATED_METHODS
    if gated and target and tool.startswith("resources/"):
        try:
            target = normalise(target)
        except ProtocolError as error:
            raise click.UsageError(f"--target: {error.message}") from error
    try:
        moment = unix_of(at) if at else time.time()
    except ValueError as error:
        raise click.UsageError("--at: expected a time with its zone: 2026-11-22T10:00:00+01:00") from error
    more["grade"] = Grade[more["grade"]]
    return Trial(
        server=server,
        tool="" if gated else tool,
        method=tool if gated else "",
        target=target,
        args=_object(arguments),
        who=() if host is None else (HOST + host,),
        at=moment,
        **more,
    )


def _object(text: str | None) -> JsonObject | None:
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError("--args: expected a JSON object") from error
    if value is not None and not isinstance(value, dict):
        raise click.UsageError("--args: expected a JSON object")
    return value


def _explained(trial: Trial, answer: Explanation, ruleset: RuleSet | None) -> JsonObject:
    decision, rules = answer.decision, ruleset or OBSERVE_RULES
    return {
        "server": trial.server,
        "method": trial.method or "tools/call",
        "tool": trial.tool or None,
        "target": trial.target or None,
        "verdict": decision.verdict.name.lower(),
        "refused": decision.verdict is not Verdict.ALLOW and not _observing(rules),
        "rule": decision.rule,
        "origin": decision.origin,
        "reason": decision.reason,
        "durable": decision.durable,
        "recheck": decision.recheck,
        "confirm": decision.confirm or None,
        "result_bytes": decision.result_bytes or None,
        "reads": decision.reads,
        "sends": decision.sends,
        "mode": rules.mode.value,
        "policy": ruleset.digest if ruleset else "built-in",
        "matching": [_rule(rule, rules) for rule in answer.matching],
        "missed": [{**_rule(one.rule, rules), "why": one.why} for one in answer.missed],
        "silent": [{**_rule(one.rule, rules), "why": one.why} for one in answer.silent],
        "caller": {
            "principals": trial.caller.principals,
            "grade": trial.grade.name,
            "unit": trial.unit,
            "label": trial.label,
            "ancestors": trial.ancestors,
        },
    }


def _rule(rule: Rule, ruleset: RuleSet) -> JsonObject:
    shown: JsonObject = msgspec.to_builtins({**members(rule), "origin": place_of(rule, ruleset.file)})
    return shown


def _observing(ruleset: RuleSet) -> bool:
    return ruleset.mode is Mode.OBSERVE


def _explain_in_words(trial: Trial, answer: Explanation, ruleset: RuleSet | None) -> None:
    decision, rules = answer.decision, ruleset or OBSERVE_RULES
    passes = decision.verdict is not Verdict.ALLOW and _observing(rules)
    about = f"{trial.server} {trial.tool or trial.method}" + (f" {trial.target}" if trial.target else "")
    say(
        f"{decision.verdict.name.lower()}  {about}{'  (observe: it is recorded and passes)' if passes else ''}",
        f"  rule    {decision.rule}",
        f"  at      {decision.origin}",
        f"  reason  {decision.reason}",
    )
    if decision.durable:
        say("  durable its record is on stable storage before the call is forwarded")
    if decision.recheck:
        say("  recheck the host is looked at again before the call is forwarded")
    if decision.confirm:
        say(f"  confirm whoever approves has to show {decision.confirm}")
    if decision.result_bytes:
        say(f"  result  at most {decision.result_bytes} bytes")
    for key in ("reads", "sends"):
        if labels := getattr(decision, key):
            say(f"  {key}   {', '.join(labels)}")
    for rule in answer.matching:
        say(f"  match   {sentence(rule, rules.file)}")
    for word, near in (("missed", answer.missed), ("near", answer.silent)):
        for one in near:
            say(f"  {word:<6}  {sentence(one.rule, rules.file)}", f"          {one.why}")
