"""`mcpguard policy test`: requests that a policy must decide as expected.

Exit codes: 0 all are as expected, 1 some are not, 2 usage, 6 a file is invalid.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import msgspec

from mcpguard.cli.main import FAILED
from mcpguard.cli.policyplace import errors_told, in_force_with, named, place, read
from mcpguard.cli.terminal import print_json, say
from mcpguard.errors import ConfigError, ProtocolError
from mcpguard.model import Decision, JsonObject, how_many, visible
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.trials import Trial, World, explained, failing, parse_trials
from mcpguard.protocol.uri import normalise
from mcpguard.system.realpath import resolve


class Tried(msgspec.Struct, frozen=True):
    """A case and what became of it; `fault` is empty if it is as expected."""

    trial: Trial
    decision: Decision
    fault: str


@click.command()
@click.argument("file")
@click.option("--policy", "policy_file", metavar="FILE", help="Test this policy instead of the one in force.")
@click.option("--junit", metavar="FILE", help="Write a report for build servers, JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(file: str, policy_file: str | None, junit: str | None, as_json: bool) -> None:
    """Decide the cases in FILE and compare with what they expect; `-` is standard input.

    A case is a [[case]] with server, tool (or method and target), expect, and what is known of the request: args,
    who, grade, cwd, seen, session, at. Exits 1 if a case is not decided as expected.
    """
    with errors_told(as_json=as_json):
        ruleset = in_force_with(policy_file) if policy_file else _in_force()
        cases = [_normal(trial, named(file)) for trial in parse_trials(read(file), named(file), time.time())]
        tried = [_try(trial, ruleset) for trial in cases]
        if junit:
            _write(Path(junit), _junit(tried, named(file)))
    failed = [each for each in tried if each.fault]
    if as_json:
        print_json({"ok": not failed, "policy": ruleset.digest, "cases": [_as_json(each) for each in tried]})
    else:
        say(*(f"{named(file)}:{each.trial.line}: {each.trial.name}: {each.fault}" for each in failed))
        say(f"{how_many(len(tried), 'case')}, {len(failed)} failed ({ruleset.file})")
    sys.exit(FAILED if failed else 0)


def _in_force() -> RuleSet:
    ruleset = place().store.load()
    if ruleset is None:
        raise ConfigError("no policy is applied", file="policy", hint="name one with --policy FILE")
    return ruleset


def _try(trial: Trial, ruleset: RuleSet) -> Tried:
    answer = explained(ruleset, trial, World(home=str(Path.home()), resolve=resolve))
    return Tried(trial, answer.decision, failing(trial, answer))


def _normal(trial: Trial, file: str) -> Trial:
    """The case as the gate would judge it.

    Raises:
        ConfigError: Its URI has no normal form.
    """
    if not trial.method.startswith("resources/") or not trial.target:
        return trial
    try:
        return msgspec.structs.replace(trial, target=normalise(trial.target))
    except ProtocolError as error:
        raise ConfigError(error.message, file=file, line=trial.line, key="target") from error


def _as_json(each: Tried) -> JsonObject:
    decision = each.decision
    return {
        "name": each.trial.name,
        "line": each.trial.line,
        "ok": not each.fault,
        "verdict": decision.verdict.name.lower(),
        "rule": decision.rule,
        "reason": decision.reason,
        "fault": each.fault or None,
    }


def _junit(tried: list[Tried], file: str) -> bytes:
    """The report. Source: the JUnit XML that Jenkins and GitLab read."""
    suite = ET.Element(
        "testsuite",
        name="mcpguard policy",
        tests=str(len(tried)),
        failures=str(sum(bool(each.fault) for each in tried)),
        errors="0",
    )
    for each in tried:
        case = ET.SubElement(
            suite,
            "testcase",
            name=visible(each.trial.name),
            classname=visible(each.trial.server),
            file=visible(file),
            line=str(each.trial.line),
        )
        if each.fault:
            ET.SubElement(case, "failure", message=visible(each.fault))
    report: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return report


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"the report cannot be written: {reason}", file=str(path)) from error
