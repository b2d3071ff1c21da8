"""One connection's policy, compiled: the rules of one server for one caller.

Rule 1: all matching rules count; deny beats ask beats allow; nothing matching is a denial. A rule whose demands on
the caller are not met does not match, and one that asks refuses then (`evidence`).
Rule 2: the order of rules changes no verdict. Among the rules that win, the one on the smallest line is named.
Rule 3: what a name costs does not depend on how many rules there are (`index`). An answer is remembered by name, at
most `limits.SNAPSHOT_NAMES` of them, since names come from outside.
Rule 4: a name alone decides where no rule that speaks of it has conditions. Elsewhere (`Decision.depends`) `tool` and
`method` say the most that a request can become, and `judge` what one becomes (`cases`).

A remembered decision is one dictionary lookup: 40 to 65 ns, with 10 rules as with 10,000 (timeit, CPython 3.11;
`tests/policy/test_snapshot_bench.py` compares both counts). The caller is looked at when compiling only: who has
better evidence later needs another snapshot.

Decided:
    *`durable`, `recheck`, `record` and `result_bytes` add up*: a call has them if any matching rule says so,
    whichever rule decides, because they restrict and grant nothing; rejected: the deciding rule alone, which would
    make line order matter.
    *A denial for want of evidence is a denial by default* and names what is wanting in its reason only, so that
    nothing else treats it as the word of a rule.
    *What is not a tool is counted by method* where a limit counts tools apart; rejected: by URI, which would let
    a rate through once for every resource.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.model import Caller, Decision, Json, Mode, Verdict
from mcpguard.policy.cases import Case, Held, Plan, charges_of
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.conditions import Condition, Facts, compile_when
from mcpguard.policy.elicited import Elicited
from mcpguard.policy.evidence import in_roles, is_meant, refusal, shortfall
from mcpguard.policy.explanation import Asked, Explanation, Missed, explain, would
from mcpguard.policy.index import CALL, ELICITATION, PROMPT, TARGETED, Index
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import GATED_METHODS, Argument, Rule, RuleSet
from mcpguard.policy.stated import Stated

_NOBODY: Final = Caller()
_NOWHERE: Final = Surroundings()
_NOT_GATED: Final = Decision(reason="not a method that rules speak of")
_EXTENSION: Final = "extension"


class Snapshot:
    """Decisions for one server; made by `compile_snapshot` or `builtin.observe_snapshot`.

    Attributes:
        policy: Digest of the policy, or `built-in`.
        mode: Whether verdicts bind.
        observing: Whether verdicts are recorded only: `mode` is OBSERVE.
        neutralise: Whether text of the server is stripped of characters that people cannot see.
        schemas: Whether arguments and results are held against the pinned schemas.
        server: The name that the server has in this configuration.

    Not here: acting on `observing`. A verdict is the same in both modes; the gate lets the call pass.
    """

    __slots__ = (
        "_builder",
        "_default",
        "_index",
        "_missed",
        "_open",
        "_plans",
        "_targets",
        "_tools",
        "mode",
        "neutralise",
        "observing",
        "policy",
        "schemas",
        "server",
    )

    def __init__(
        self,
        ruleset: RuleSet,
        server: str,
        rules: Iterable[Rule] = (),
        default: Decision | None = None,
        *,
        missed: Iterable[Rule] = (),
        caller: Caller = _NOBODY,
        surroundings: Surroundings = _NOWHERE,
    ) -> None:
        self.policy = ruleset.digest
        self.mode = ruleset.mode
        self.observing = ruleset.mode is Mode.OBSERVE
        self.neutralise = ruleset.neutralise
        self.schemas = ruleset.schemas
        self.server = server
        self._default = default or Decision()
        self._index = Index(rules)
        self._missed = Index(missed)
        self._builder = _Builder(ruleset, server, caller, surroundings)
        self._tools: dict[str, Decision] = {}
        self._plans: dict[str, Plan] = {}
        self._open: dict[str, Decision] = {}
        self._targets: dict[tuple[str, str], Plan] = {}

    def tool(self, name: str) -> Decision:
        """What policy says of calling the tool `name`, and of showing it: the most that a call can become."""
        try:
            return self._tools[name]
        except KeyError:
            return self._first_sight(name)

    def method(self, method: str, target: str = "") -> Decision:
        """What policy says of one of `rules.GATED_METHODS`; everything else is denied.

        `target`: a normalised URI, the name of a prompt, or what is completed; without it, the most that any can
        become.
        """
        if method not in GATED_METHODS:
            return _NOT_GATED
        if target:
            return self._plan(method, target).bound
        decision = self._open.get(method)
        if decision is None:
            decision = self._open[method] = self._whatever(method)[0].bound
        return decision

    def extension(self, name: str) -> Decision:
        """What policy says of an extension that a side declares; silent where no rule speaks of it.

        Nothing is judged later, so what changes from call to call cannot be told here.
        """
        rules, missed = self._index.extension(name), self._missed.extension(name)
        return self._built(rules, missed, _EXTENSION, name)[0].unseen()

    def judge(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> Decision:
        """The decision on one request; takes nothing from any meter.

        Args:
            method: `tools/call` or one of `rules.GATED_METHODS`; everything else is denied.
            target: Name of the tool or prompt, normalised URI, or what is completed.
            value: Arguments of a tool, else the params of the request.
            circumstances: What the host has done so far.
            now: Monotonic nanoseconds.
        """
        if method == CALL:
            plan = self._plans.get(target)
            if plan is None:
                decision = self.tool(target)
                if not decision.depends:
                    return decision
                plan = self._plan_of_tool(target)
        elif method in GATED_METHODS:
            plan = self._plan(method, target)
        else:
            return _NOT_GATED
        return plan.judged(value, circumstances, now)

    def explain(self, name: str, asked: Asked | None = None) -> Explanation:
        """The decision on a tool, or on a gated method if `name` is one, with all rules that match or nearly do.

        `asked`: one request; without it, what the name alone decides.
        """
        target = asked.target if asked is not None else ""
        if name not in GATED_METHODS:
            missed = self._missed.tool(name)
            plan, never = self._built(self._index.tool(name), missed, CALL, name)
        elif asked is None:
            missed = [*self._missed.whatever(name), *self._missed.aimed(name)]
            plan, never = self._whatever(name)
        else:
            missed = self._missed.method(name, target)
            plan, never = self._built(self._index.method(name, target), missed, name, target)
        return explain(plan, never, [Missed(rule, self._builder.lacks(rule)) for rule in missed], asked)

    def _first_sight(self, name: str) -> Decision:
        plan, _ = self._built(self._index.tool(name), self._missed.tool(name), CALL, name)
        if len(name) <= limits.NAME_CHARS:
            if len(self._tools) >= limits.SNAPSHOT_NAMES:
                self._tools.clear()
            self._tools[name] = plan.bound
            if plan.bound.depends:
                self._keep(name, plan)
        return plan.bound

    def _plan_of_tool(self, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is None:
            plan, _ = self._built(self._index.tool(name), self._missed.tool(name), CALL, name)
            if len(name) <= limits.NAME_CHARS:
                self._keep(name, plan)
        return plan

    def _keep(self, name: str, plan: Plan) -> None:
        if len(self._plans) >= limits.SNAPSHOT_PLANS:
            self._plans.clear()
        self._plans[name] = plan

    def _plan(self, method: str, target: str) -> Plan:
        """The plan for one target of a gated method."""
        if method not in TARGETED:
            target = ""
        plan = self._targets.get((method, target))
        if plan is None:
            rules, missed = self._index.method(method, target), self._missed.method(method, target)
            plan, _ = self._built(rules, missed, method, target)
            if len(target) <= limits.TARGET_CHARS:
                if len(self._targets) >= limits.SNAPSHOT_PLANS:
                    self._targets.clear()
                self._targets[method, target] = plan
        return plan

    def _whatever(self, method: str) -> tuple[Plan, list[Missed]]:
        """The plan for every target of a method: rules that speak of some of them may hold."""
        builder = self._builder
        always, never = builder.cases(self._index.whatever(method), method, "")
        aimed = [builder.possible(rule) for rule in self._index.aimed(method)]
        missed = [*self._missed.whatever(method), *self._missed.aimed(method)]
        return builder.plan([*always, *aimed], self._default_of(missed, never), method), never

    def _built(
        self, rules: list[Rule], missed: list[Rule], method: str, target: str
    ) -> tuple[Plan, list[Missed]]:
        """The plan of the rules that speak of something, and those of them that never hold."""
        builder = self._builder
        cases, never = builder.cases(rules, method, target)
        default = self._default_of(missed, never)
        if method == CALL:
            default = builder.labelled(default, target)
        return builder.plan(cases, default, method), never

    def _default_of(self, missed: list[Rule], never: list[Missed]) -> Decision:
        """The default, with what is wanting for the nearest rule: one for this very host, else the first by line."""
        if self._default.verdict is not Verdict.DENY:
            return self._default
        if missed:
            return msgspec.structs.replace(self._default, reason=self._builder.nearest(missed))
        near = [one for one in never if one.rule.effect is Verdict.ALLOW]
        if near:
            why = min(near, key=lambda one: (one.rule.line, one.rule.id)).why
            return msgspec.structs.replace(self._default, reason=why)
        return self._default


def compile_snapshot(
    ruleset: RuleSet, server: str, caller: Caller = _NOBODY, surroundings: Surroundings = _NOWHERE
) -> Snapshot:
    """Compile the rules that speak of `server` and of `caller`; by default that is somebody of whom nothing is known.

    Rules that would allow something to a caller with other evidence are kept aside, for the reason of a denial.
    """
    return snapshot_with(ruleset, server, Decision(), caller, surroundings)


def snapshot_with(
    ruleset: RuleSet, server: str, default: Decision, caller: Caller, surroundings: Surroundings
) -> Snapshot:
    """Likewise, with `default` where nothing matches."""
    caller = in_roles(caller, ruleset.roles)
    verdicts: dict[tuple[Pattern, ...], bool] = {}
    rules, missed = [], []
    for rule in ruleset.rules:
        here = verdicts.get(rule.server)
        if here is None:
            here = verdicts[rule.server] = any(pattern.matches(server) for pattern in rule.server)
        if not here:
            continue
        if rule.record and not ruleset.record:
            rule = msgspec.structs.replace(rule, record="")  # noqa: PLW2901
        if not shortfall(rule, caller) or (rule.effect is Verdict.ASK and is_meant(rule, caller)):
            rules.append(rule)
        elif rule.effect is not Verdict.DENY:
            missed.append(rule)
    return Snapshot(ruleset, server, rules, default, missed=missed, caller=caller, surroundings=surroundings)


class _Builder:
    """Makes plans of rules: knows the caller, where the connection runs, and what is said of tools."""

    __slots__ = ("_caller", "_file", "_server", "_stated", "_surroundings", "_tests", "_zone")

    def __init__(self, ruleset: RuleSet, server: str, caller: Caller, surroundings: Surroundings) -> None:
        self._caller = caller
        self._file = ruleset.file
        self._server = server
        self._surroundings = surroundings
        self._zone = ruleset.zone
        self._tests: dict[str, tuple[Held, ...]] = {}
        self._stated = Stated(ruleset.labels, server, surroundings)

    def plan(self, cases: Iterable[Case], default: Decision, method: str) -> Plan:
        return Plan(cases, default, self._file, _SUBJECTS.get(method, _nothing))

    def cases(self, rules: Iterable[Rule], method: str, target: str) -> tuple[list[Case], list[Missed]]:
        """The rules as cases of one name, and those that never hold of it."""
        facts = self._stated.of(target) if method == CALL else Facts(is_tool=False)
        cases, never = [], []
        for rule in rules:
            condition = self._condition(rule, facts)
            case = Case(
                rule,
                self._refusal(rule),
                condition,
                self._held(rule, method),
                charges_of(
                    rule, self._caller, self._server, target if method == CALL else method, self._zone
                ),
            )
            if case.never and condition is not None:
                never.append(Missed(rule, would(rule, condition.lasting)))
            else:
                cases.append(case)
        return cases, never

    def possible(self, rule: Rule) -> Case:
        """A case that may hold or not, of which no more is asked."""
        case = Case(rule, self._refusal(rule))
        case.always = False
        return case

    def labelled(self, default: Decision, name: str) -> Decision:
        """The default for a tool, with its labels."""
        facts = self._stated.of(name)
        if not facts.reads and not facts.sends:
            return default
        return msgspec.structs.replace(default, reads=facts.reads, sends=facts.sends)

    def lacks(self, rule: Rule) -> str:
        return shortfall(rule, self._caller)

    def nearest(self, missed: Iterable[Rule]) -> str:
        rule = min(missed, key=lambda rule: (not is_meant(rule, self._caller), rule.line, rule.id))
        return shortfall(rule, self._caller)

    def _refusal(self, rule: Rule) -> str:
        return refusal(rule, self._caller) if rule.effect is Verdict.ASK else ""

    def _condition(self, rule: Rule, facts: Facts) -> Condition | None:
        if rule.when is None:
            return None
        condition = compile_when(rule.when, self._zone, self._surroundings, self._caller, facts)
        return condition if condition.moves or condition.fixed is not True else None

    def _held(self, rule: Rule, method: str) -> tuple[Held, ...]:
        tests = self._tests.get(rule.id)
        if tests is None:
            tests = self._tests[rule.id] = tuple(
                _test(argument, self._surroundings) for argument in rule.args
            )
        if method == ELICITATION and rule.elicitation is not None:
            elicited = Elicited(rule.elicitation)
            if not elicited.always and not any(pattern.matches(method) for pattern in rule.methods):
                return (*tests, elicited)
        return tests


class _Unreadable:
    """An argument rule that cannot be compiled: nothing can be told of what it demands."""

    __slots__ = ()

    def holds(self, _: Json) -> bool | None:
        return None

    def wanting(self, _: Json) -> str:
        return "what it says of arguments could be read"


def _test(argument: Argument, surroundings: Surroundings) -> Held:
    try:
        from mcpguard.policy.arguments import compile_argument  # noqa: PLC0415

        return compile_argument(argument, surroundings)
    except Exception:  # noqa: BLE001 (rule 2 of `cases`; `document` refuses what is known to be wrong)
        return _Unreadable()


def _arguments(value: Json) -> Json:
    return {} if value is None else value


def _of_prompt(params: Json) -> Json:
    return _arguments(params.get("arguments"))


def _params(value: Json) -> Json:
    return value


def _nothing(_: Json) -> Json:
    return {}


_SUBJECTS: Final = {CALL: _arguments, PROMPT: _of_prompt, ELICITATION: _params}
