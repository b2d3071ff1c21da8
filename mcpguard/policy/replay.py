"""What would another policy have said of what has happened?

Requests come one after the other, as the log has them. What a host has seen is followed by the labels of the new
policy, and by those that the log has.

Rule: what the log does not have is not guessed. Where a rule turns on an argument of which the log has no folder or
host, on the login session, or on what is above a host, the answer is `None`: it depends.

Not here: Cedar policies; rates, budgets and what runs at once; pinned schemas; how records are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.model import Caller, Decision, Json, JsonObject, Verdict
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.evidence import in_roles
from mcpguard.policy.rules import CEDAR, GROUP, ROLE, Argument, Rule, RuleSet, When
from mcpguard.policy.snapshot import Snapshot, compile_snapshot
from mcpguard.policy.trials import Trial, World

CALL: Final = "tools/call"
PATH: Final = "path:"
URL: Final = "url:"
_SECOND: Final = 1_000_000_000
_WHOLE_SHAPE: Final = 16
"""A shape with as many names may have been cut."""
_ARGUMENTS: Final = "arguments, which the log does not have"
_SESSION: Final = "the state of the login session, which the log does not have"
_ALWAYS: Final = When()
_HOST: Final = "more about the host than the log has"


class Past(msgspec.Struct, frozen=True):
    """A request that was decided.

    Attributes:
        trial: The request, its caller and its time.
        was: What became of it: `ASK` if a person decided, `ALLOW` if it passed, also because policy only watched.
        instance: The run of the host, whose connections share what it has seen.
        shape: What its arguments looked like (`audit.shape`); None if the log does not say.
    """

    trial: Trial
    was: Verdict
    instance: str
    shape: dict[str, str] | None = None


class Change(msgspec.Struct):
    """Requests that would be decided otherwise, or of which that cannot be told.

    Attributes:
        server: The server.
        name: The tool, or the method.
        was: What became of them; see `Past`.
        becomes: What would be; None if it depends.
        rule: The rule that would decide.
        reason: Why, as a sentence.
        count: How many.
        first: Unix time of the first.
        last: Of the last.
    """

    server: str
    name: str
    was: Verdict
    becomes: Verdict | None
    rule: str
    reason: str
    count: int = 0
    first: float = 0.0
    last: float = 0.0


class Replay:
    """A policy that is asked about the past.

    Attributes:
        same: How many requests would be decided as they were.
        changes: The others, put together by server, name and decision.

    Raises:
        ConfigError: Cedar decides.
    """

    def __init__(self, ruleset: RuleSet, world: World) -> None:
        if ruleset.engine == CEDAR:
            message = "what was cannot be asked of Cedar, which does not say what it would have to know"
            raise ConfigError(message, file=ruleset.file, key="engine", hint="use mcpguard policy test")
        self._ruleset = ruleset
        self._world = world
        self._snapshots: dict[tuple[str, object], Snapshot] = {}
        self._turns: dict[tuple[str, object, str], tuple[Rule, ...]] = {}
        self._seen: dict[str, Circumstances] = {}
        self._changes: dict[tuple[object, ...], Change] = {}
        self.same = 0

    @property
    def changes(self) -> list[Change]:
        """By server, name, and what was decided."""
        return sorted(self._changes.values(), key=lambda one: (one.server, one.name, one.was, one.rule))

    def saw(self, instance: str, labels: Iterable[str]) -> None:
        """A host has seen labels, as the log says."""
        self._around(instance).saw(labels, 0)

    def asked(self, past: Past) -> tuple[str, ...]:
        """Judge a request; the labels of its answer, which `saw` takes if one came."""
        decision, lacking = self._judged(past)
        becomes = None if lacking else decision.verdict
        if becomes is past.was:
            self.same += 1
        else:
            self._note(past, becomes, decision, lacking)
        return decision.reads if becomes is not Verdict.DENY else ()

    def _judged(self, past: Past) -> tuple[Decision, str]:
        trial = past.trial
        decider = self._decider(trial)
        bound = decider.method(trial.method, trial.target) if trial.method else decider.tool(trial.tool)
        if not bound.depends and bound.verdict is Verdict.DENY and not bound.silent:
            return bound, ""  # nothing that is not known could make it pass
        lacking = next(
            filter(None, (self._lacking(rule, past) for rule in self._rules_of(decider, trial))), ""
        )
        if not bound.depends:
            return bound, lacking
        around = self._around(past.instance)
        around.offset = int(trial.at * _SECOND)
        value: Json = representative(past.shape or {})
        if trial.method == "prompts/get":
            value = {"name": trial.target, "arguments": {}}
        method, target = (trial.method, trial.target) if trial.method else (CALL, trial.tool)
        return decider.judge(method, target, value, around, 0), lacking

    def _rules_of(self, decider: Snapshot, trial: Trial) -> tuple[Rule, ...]:
        """The rules that speak of a name, whether or not they can come to decide as far as the log knows."""
        name = trial.tool or trial.method
        key = (trial.server, trial.caller, name)
        found = self._turns.get(key)
        if found is None:
            told = decider.explain(name)
            near = [one.rule for one in (*told.missed, *told.silent)]
            found = self._turns[key] = tuple(
                rule for rule in (*told.matching, *near) if self._may_lack(rule, trial.caller)
            )
        return found

    def _may_lack(self, rule: Rule, caller: Caller) -> bool:
        """Whether a rule may speak of a caller and wants to know what the log may not have."""
        wants = rule.args or rule.ancestor_not or rule.when is not None or not self._is_meant(rule, caller)
        return bool(wants) and self._speaks_of(rule, caller)

    def _lacking(self, rule: Rule, past: Past) -> str:
        """What a rule wants to know and the log does not say; empty if there is nothing."""
        when = rule.when or _ALWAYS
        if any(not _told(argument, past.shape) for argument in rule.args):
            return _ARGUMENTS
        if when.session:
            return _SESSION
        known = self._is_meant(rule, past.trial.caller) and not (
            rule.ancestor_not or when.cwd or when.release
        )
        return "" if known else _HOST

    def _speaks_of(self, rule: Rule, caller: Caller) -> bool:
        """Whether a rule may speak of a caller, of whose groups the log says nothing."""
        return self._is_meant(rule, caller) or any(
            member.startswith(GROUP)
            for who in rule.who
            for member in self._ruleset.roles.get(who.removeprefix(ROLE), (who,))
        )

    def _is_meant(self, rule: Rule, caller: Caller) -> bool:
        principals = in_roles(caller, self._ruleset.roles).principals
        return any(who in principals for who in rule.who)

    def _decider(self, trial: Trial) -> Snapshot:
        caller = trial.caller
        key = (trial.server, caller)
        found = self._snapshots.get(key)
        if found is None:
            world = self._world
            tools = world.tools.get(trial.server, {})
            around = Surroundings(home=world.home, cwd=trial.cwd, resolve=world.resolve, tools=tools)
            found = self._snapshots[key] = compile_snapshot(self._ruleset, trial.server, caller, around)
        return found

    def _around(self, instance: str) -> Circumstances:
        return self._seen.setdefault(instance, Circumstances(instance=instance))

    def _note(self, past: Past, becomes: Verdict | None, decision: Decision, lacking: str) -> None:
        trial = past.trial
        name = trial.tool or " ".join(filter(None, (trial.method, trial.target)))
        rule, reason = ("", f"it depends on {lacking}") if lacking else (decision.rule, decision.reason)
        key = (trial.server, name, past.was, becomes, rule, lacking)
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = Change(
                trial.server, name, past.was, becomes, rule, reason, 0, trial.at, trial.at
            )
        change.count += 1
        change.first, change.last = min(change.first, trial.at), max(change.last, trial.at)


def representative(shape: dict[str, str]) -> JsonObject:
    """Arguments that look like this: a file in each folder, a page of each host."""
    values: dict[str, Json] = {
        "integer": 0, "number": 0.5, "boolean": False, "null": None, "array": [], "object": {}, "string": "",
    }  # fmt: skip
    found: JsonObject = {}
    for name, word in shape.items():
        if word.startswith(PATH):
            found[name] = f"{word.removeprefix(PATH).rstrip('/')}/a file"
        elif word.startswith(URL):
            found[name] = f"https://{word.removeprefix(URL)}/"
        else:
            found[name] = values.get(word, "")
    return found


def _told(argument: Argument, shape: dict[str, str] | None) -> bool:
    """Whether the shape of arguments tells what a rule says of one of them."""
    if shape is None or argument.name.startswith("/") or not argument.name:
        return False
    word = shape.get(argument.name)
    if word is None:
        return len(shape) < _WHOLE_SHAPE
    if argument.schema is not None or argument.deny:
        return False
    fits = (word.startswith(PATH) or not argument.under) and (word.startswith(URL) or not argument.hosts)
    return fits or word not in ("string", "array", "object")
