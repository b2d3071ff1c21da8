"""One connection's policy where Cedar decides: the same answers as a `Snapshot`, from Cedar policies.

Rule 1: `forbid` denies, `permit` allows, `permit` with `@ask` asks; all policies that hold count, deny beats ask
beats allow, and nothing holding is a denial by default. Among those that win the one on the smallest line is named.
Rule 2: whatever goes wrong denies: a policy that fails, a request that does not fit the schema, no decision, a value
too many, a library that is gone or raises.
Rule 3: a name alone decides where no policy that may speak of it looks at the context. Elsewhere
(`Decision.depends`) `tool` and `method` say the most that a request can become.
Rule 4: what is decided by a name or by an equal context is remembered, at most `limits.SNAPSHOT_PLANS` of each.

Cost: a name that decides alone is two dictionary look-ups, 0.4 us; a request is 0.3 to 0.4 ms, since it goes to Cedar
as JSON and back, and 3 us for each policy besides; the first sight of a name 0.5 ms (CPython 3.11, cedarpy 4.12.2,
`tests/policy/test_cedar_bench.py`). A request with 1,000 paths is 50 ms, one with 8 MiB of text 0.4 s.

Not here: rates, concurrency, budgets, bounds of results, `answers`: Cedar has no words for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mcpguard import limits
from mcpguard.model import Caller, Decision, Json, JsonObject, Mode, Verdict
from mcpguard.policy.cedarprogram import Program, program
from mcpguard.policy.cedartext import INSTALL, MISSING, Unusable
from mcpguard.policy.cedarworld import (
    EXTENSION,
    REQUEST,
    NotAsked,
    action,
    context,
    of_connection,
    of_request,
    of_thing,
    principal,
    thing,
)
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.conditions import Facts
from mcpguard.policy.evidence import in_roles
from mcpguard.policy.explanation import Asked, Explanation, Missed, would
from mcpguard.policy.index import CALL, TARGETED
from mcpguard.policy.rules import GATED_METHODS, Rule, RuleSet
from mcpguard.policy.stated import Stated

_NOBODY: Final = Caller()
_NOWHERE: Final = Surroundings()
_NOT_GATED: Final = Decision(reason="not a method that rules speak of")
_DEFAULT: Final = Decision(reason="no Cedar policy permits it")
_ENGINE: Final = "cedar"
_WORDS: Final = {Verdict.DENY: "forbids it", Verdict.ASK: "asks", Verdict.ALLOW: "permits it"}
_NOTHING: Final = Circumstances()


class _Plan(msgspec.Struct):
    """What policies say of one name.

    Attributes:
        bound: The decision, or the most that a request can become.
        request: The request to Cedar, without its context.
        entities: The entities of connection and name.
        speaking: The policies that may have a say.
        held: Those that made the decision, where the name alone decides.
        uses: Members of the context that they look at.
    """

    bound: Decision
    request: JsonObject
    entities: Any
    speaking: frozenset[str]
    uses: frozenset[str]
    held: frozenset[str] = frozenset()


class CedarPolicy:
    """Decisions for one server; made by `compile_cedar`.

    Attributes:
        policy: Digest of the policy.
        mode: Whether verdicts bind.
        observing: Whether verdicts are recorded only: `mode` is OBSERVE.
        neutralise: Whether text of the server is stripped of characters that people cannot see.
        schemas: Whether arguments and results are held against the pinned schemas.
        server: The name that the server has in this configuration.
    """

    __slots__ = (
        "_answers",
        "_base",
        "_caller",
        "_fault",
        "_file",
        "_plans",
        "_program",
        "_records",
        "_rules",
        "_stated",
        "_surroundings",
        "_zone",
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
        caller: Caller = _NOBODY,
        surroundings: Surroundings = _NOWHERE,
    ) -> None:
        self.policy = ruleset.digest
        self.mode = ruleset.mode
        self.observing = ruleset.mode is Mode.OBSERVE
        self.neutralise = ruleset.neutralise
        self.schemas = ruleset.schemas
        self._records = ruleset.record
        self.server = server
        self._file = ruleset.file
        self._zone = ruleset.zone
        self._rules = {rule.id: rule for rule in ruleset.rules}
        self._caller = in_roles(caller, ruleset.roles)
        self._surroundings = surroundings
        self._stated = Stated(ruleset.labels, server, surroundings)
        self._plans: dict[tuple[str, str], _Plan] = {}
        self._answers: dict[tuple[str, str, str], tuple[Decision, frozenset[str]]] = {}
        self._fault: Decision | None = None
        self._program: Program | None = None
        self._base: list[JsonObject] = []
        try:
            self._program = program(ruleset.rules)
            self._base = of_connection(self._caller, server, surroundings)
        except Exception as error:  # noqa: BLE001 (rule 2)
            self._fault = _failed(error)

    def tool(self, name: str) -> Decision:
        """As `Decider.tool`."""
        return self._plan(CALL, name).bound

    def method(self, method: str, target: str = "") -> Decision:
        """As `Decider.method`."""
        if method not in GATED_METHODS:
            return _NOT_GATED
        return self._plan(method, target if method in TARGETED else "").bound

    def extension(self, name: str) -> Decision:
        """As `Decider.extension`; of policies that may speak of it only those count that forbid or ask."""
        plan = self._plan(EXTENSION, name)
        if not plan.bound.depends:
            return plan.bound
        exact = self._program.exact if self._program is not None else frozenset[str]()
        counting = [
            rule
            for rule in self._known(plan.speaking)
            if rule.effect is not Verdict.ALLOW or rule.id in exact
        ]
        return self._decided(counting, _DEFAULT)

    def judge(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> Decision:
        """As `Decider.judge`."""
        if method != CALL and method not in GATED_METHODS:
            return _NOT_GATED
        return self._judged(method, target, value, circumstances, now)[0]

    def explain(self, name: str, asked: Asked | None = None) -> Explanation:
        """The decision on a tool, or on a gated method if `name` is one, with the policies that made it.

        Those that may speak of the name and do not hold are `missed` where nothing is decided by a policy, else
        `silent`.
        """
        method, target = (name, "") if name in GATED_METHODS else (CALL, name)
        if asked is None:
            plan = self._plan(method, target)
            return Explanation(plan.bound, tuple(self._known(plan.speaking)))
        if method != CALL:
            target = asked.target if method in TARGETED else ""
        decision, held = self._judged(method, target, asked.value, asked.circumstances, asked.now)
        others = self._plan(method, target).speaking - held
        words = "its conditions held"
        near = [Missed(rule, would(rule, words)) for rule in self._known(others)]
        missed = tuple(one for one in near if one.rule.effect is not Verdict.DENY) if not held else ()
        silent = tuple(one for one in near if one not in missed)
        return Explanation(decision, tuple(self._known(held)), missed, silent)

    # --- names ------------------------------------------------------------------------------------------------

    def _plan(self, method: str, target: str) -> _Plan:
        plan = self._plans.get((method, target))
        if plan is None:
            plan = self._planned(method, target)
            if len(target) <= limits.TARGET_CHARS:
                if len(self._plans) >= limits.SNAPSHOT_PLANS:
                    self._plans.clear()
                self._plans[method, target] = plan
        return plan

    def _planned(self, method: str, target: str) -> _Plan:
        facts = self._stated.of(target) if method == CALL else Facts(is_tool=False)
        default = msgspec.structs.replace(_DEFAULT, reads=facts.reads, sends=facts.sends)
        try:
            if self._program is None:
                return _Plan(self._fault or default, {}, None, frozenset(), frozenset())
            return self._looked(self._program, method, target, facts, default)
        except Exception as error:  # noqa: BLE001 (rule 2)
            return _Plan(_failed(error), {}, None, frozenset(), frozenset())

    def _looked(self, asking: Program, method: str, target: str, facts: Facts, default: Decision) -> _Plan:
        request = {
            "principal": principal(self._caller),
            "action": action(method),
            "resource": thing(method, self.server, target),
        }
        entities = asking.entities([*self._base, *of_thing(method, self.server, target, facts)])
        aimless = method in TARGETED and not target
        speaking, failed = asking.speaking(request, entities, aimless=aimless)
        certain = speaking & (asking.aimless if aimless else asking.exact)
        if failed:  # of which nothing is known: it may hold
            speaking = frozenset(self._rules)
        uses = frozenset(member for ident in speaking for member in asking.uses[ident])
        plan = _Plan(default, request, entities, speaking, uses)
        forbidding = [rule for rule in self._known(certain) if rule.effect is Verdict.DENY]
        if forbidding:
            plan.bound = self._decided(forbidding, default)
            plan.held = frozenset(rule.id for rule in forbidding)
        elif speaking == certain:
            text = _text(context(frozenset(), _NOTHING, 0, self._zone))
            plan.bound, plan.held = self._answered(asking, plan, text, entities, default)
        else:
            plan.bound = self._most(certain, speaking, default)
        return plan

    def _most(self, certain: frozenset[str], speaking: frozenset[str], default: Decision) -> Decision:
        """The most that a request can become: every policy that permits holds, of the others those that always do."""
        rules = self._known(speaking)
        permitting = [rule for rule in rules if rule.effect is not Verdict.DENY]
        asking = [rule for rule in permitting if rule.effect is Verdict.ASK and rule.id in certain]
        allowing = [rule for rule in permitting if rule.effect is Verdict.ALLOW]
        found = self._decided(asking or allowing or permitting, default)
        if found.silent:  # it is not that no policy speaks of it
            rule = rules[0]
            reason = f"no Cedar policy permits it, and policy {rule.id} may forbid it"
            found = msgspec.structs.replace(found, rule=rule.id, reason=reason, origin=self._origin(rule))
        return msgspec.structs.replace(found, depends=True)

    # --- requests ---------------------------------------------------------------------------------------------

    def _judged(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> tuple[Decision, frozenset[str]]:
        """The decision on a request, and the policies that made it."""
        plan = self._plan(method, target if method == CALL or method in TARGETED else "")
        if not plan.bound.depends or self._program is None:
            return plan.bound, plan.held
        default = _DEFAULT
        if method == CALL:
            default = msgspec.structs.replace(default, reads=plan.bound.reads, sends=plan.bound.sends)
        try:
            return self._weighed(self._program, plan, method, value, circumstances, now, default)
        except NotAsked as error:
            return _refused(str(error)), frozenset()
        except Exception as error:  # noqa: BLE001 (rule 2)
            return _failed(error), frozenset()

    def _weighed(
        self,
        asking: Program,
        plan: _Plan,
        method: str,
        value: Json,
        circumstances: Circumstances,
        now: int,
        default: Decision,
    ) -> tuple[Decision, frozenset[str]]:
        members = context(plan.uses, circumstances, now, self._zone)
        if not REQUEST.isdisjoint(plan.uses):
            made, references = of_request(plan.uses, method, value, self._surroundings)
            entities = asking.more(plan.entities, made)
            return self._answered(asking, plan, _text(members | references), entities, default)
        text = _text(members)
        key = (method, plan.request["resource"]["id"], text)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answered(asking, plan, text, plan.entities, default)
            if len(self._answers) >= limits.SNAPSHOT_PLANS:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _answered(
        self, asking: Program, plan: _Plan, text: str, entities: Any, default: Decision
    ) -> tuple[Decision, frozenset[str]]:
        allowed, held = asking.asked({**plan.request, "context": text}, entities)
        rules = self._known(held)
        if allowed is not any(rule.effect is not Verdict.DENY for rule in rules):
            raise Unusable("Cedar's decision and its reasons differ")
        return self._decided(rules, default), held

    def _decided(self, rules: list[Rule], default: Decision) -> Decision:
        """The decision if just these hold; they are sorted."""
        if not rules:
            return default
        winner = min(rules, key=lambda rule: (rule.effect, rule.line, rule.id))
        asking = [rule for rule in rules if rule.effect is Verdict.ASK]
        return msgspec.structs.replace(
            default,
            verdict=winner.effect,
            rule=winner.id,
            reason=f"Cedar policy {winner.id} {_WORDS[winner.effect]}",
            origin=self._origin(winner),
            durable=any(rule.durable for rule in rules),
            recheck=any(rule.recheck for rule in rules),
            recorded=self._records and any(rule.record for rule in rules),
            confirm=max((rule.confirm for rule in asking), default="") if winner in asking else "",
        )

    def _known(self, idents: Iterable[str]) -> list[Rule]:
        return sorted((self._rules[ident] for ident in idents), key=lambda rule: (rule.line, rule.id))

    def _origin(self, rule: Rule) -> str:
        return f"{self._file}:{rule.line}"


def compile_cedar(
    ruleset: RuleSet, server: str, caller: Caller = _NOBODY, surroundings: Surroundings = _NOWHERE
) -> CedarPolicy:
    """Compile Cedar policies for one connection; what cannot be compiled denies everything and says why."""
    return CedarPolicy(ruleset, server, caller, surroundings)


def _failed(error: Exception) -> Decision:
    words = (
        str(error) if isinstance(error, Unusable) else f"Cedar could not be asked ({type(error).__name__})"
    )
    return _refused(f"{words}: {INSTALL}" if words == MISSING else words)


def _refused(words: str) -> Decision:
    """A denial that is not by default: what passes unless a policy denies it does not pass either."""
    return Decision(rule=_ENGINE, reason=words, origin=_ENGINE)


def _text(value: Json) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
