"""One name's rules, compiled: what they can come to, and what they come to for one request.

Rule 1: all rules that hold count. Deny beats ask beats allow, and nothing holding is the default; their order has no
meaning, and among those that win the one on the smallest line is named.
Rule 2: what cannot be told counts as holding for rules that deny or ask, and as not holding for rules that allow.
Whatever is raised while a condition is looked at means that it cannot be told.
Rule 3: a rule that allows or asks, holds, and has nothing left in one of its meters denies.
Rule 4: where a rule allows that `answers` rules which ask, these do not ask, nor refuse for want of evidence; what
they limit and record stays.
Rule 5: `Plan.bound` is never less than what a request can get.

Decided:
    *What was decided is remembered by which conditions held*, since everything else follows from that; what a request
    costs is looking at its conditions. Rejected: deciding anew each time, three times as dear.
    *A denial says in its reason which rule would have allowed it and in what respect*, in words of the policy only:
    it is told to hosts, and arguments are theirs. `explain` says it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from mcpguard import limits
from mcpguard.model import DAY, Caller, Charge, Decision, Json, Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.conditions import Condition
from mcpguard.policy.meters import key_of
from mcpguard.policy.rules import CREDENTIALS, HOST, Limit, Rule

_WORDS: Final = {Verdict.DENY: "denies", Verdict.ASK: "asks", Verdict.ALLOW: "allows"}
_UNITS: Final = {1.0: "s", 60.0: "min", 3600.0: "h"}
_UID: Final = "uid:"


class Held(Protocol):
    """What a rule demands of a request itself: `arguments.Test`, `elicited.Elicited`."""

    def holds(self, value: Json, /) -> bool | None:
        """Whether it holds; None if that cannot be told."""
        ...

    def wanting(self, value: Json, /) -> str:
        """What would have to be otherwise, as the end of a sentence that begins with `if`."""
        ...


class Case:
    """One rule, for one name and one caller.

    Attributes:
        rule: The rule.
        effect: What it says where it holds: a rule that asks denies if its demands on the caller are not met.
        lacking: Why it does, as a sentence.
        always: Whether it holds whatever the request is.
        charges: What it takes from meters, each with its name for people.
    """

    __slots__ = ("_condition", "_fixed", "_tests", "always", "charges", "effect", "lacking", "rule")

    def __init__(
        self,
        rule: Rule,
        lacking: str = "",
        condition: Condition | None = None,
        tests: Iterable[Held] = (),
        charges: Iterable[tuple[Charge, str]] = (),
    ) -> None:
        self.rule = rule
        self.lacking = lacking
        self.effect = Verdict.DENY if lacking else rule.effect
        self.charges = () if self.effect is Verdict.DENY else tuple(charges)
        self._fixed = None if condition is None else condition.fixed
        self._condition = condition
        self._tests = tuple(tests)
        self.always = condition is None and not self._tests

    @property
    def never(self) -> bool:
        """Whether it holds of no request at all."""
        condition = self._condition
        if condition is None:
            return False
        return condition.fixed is False or (condition.fixed is None and self.effect is Verdict.ALLOW)

    def holds(self, value: Json, circumstances: Circumstances, now: int) -> bool | None:
        """Whether it holds of a request."""
        truth: bool | None = True
        if self._condition is not None:
            try:
                truth = self._condition.holds(circumstances, now)
            except Exception:  # noqa: BLE001 (rule 2)
                truth = None
            if truth is False:
                return False
        for test in self._tests:
            try:
                held = test.holds(value)
            except Exception:  # noqa: BLE001 (rule 2)
                held = None
            if held is False:
                return False
            if held is None:
                truth = None
        return truth

    def wanting(self, value: Json, circumstances: Circumstances, now: int) -> str:
        """What would have to be otherwise for it to hold, as the end of a sentence that begins with `if`."""
        for words in (*self._of_moment(circumstances, now), *self._of_request(value)):
            return words
        return "more could be told of the request"

    def kind_of_wanting(self, circumstances: Circumstances, now: int) -> str:
        """Likewise, in words of the policy only."""
        for words in self._of_moment(circumstances, now):
            return words
        names = ", ".join(argument.name or "all of them" for argument in self.rule.args)
        return f"its arguments were others: {names}" if names else "what is asked for were something else"

    def _of_moment(self, circumstances: Circumstances, now: int) -> list[str]:
        words = "" if self._condition is None else self._condition.wanting(circumstances, now)
        return [words] if words else []

    def _of_request(self, value: Json) -> list[str]:
        return [words for held, words in (_told(test, value) for test in self._tests) if held is not True]


class Plan:
    """What the rules that speak of one name come to; `cases` in any order.

    Attributes:
        bound: The decision, if no rule asks for more than the name; else the most that it can become.
    """

    __slots__ = ("_always", "_cases", "_default", "_file", "_outcomes", "_subject", "bound", "cases")

    def __init__(
        self,
        cases: Iterable[Case],
        default: Decision,
        file: str,
        subject: Callable[[Json], Json],
    ) -> None:
        self.cases = tuple(sorted(cases, key=place))
        self._always = tuple(case for case in self.cases if case.always)
        self._cases = tuple(case for case in self.cases if not case.always)
        self._default = default
        self._file = file
        self._subject = subject
        self._outcomes: dict[tuple[int, int], tuple[Decision, tuple[tuple[Case, Charge, str], ...]]] = {}
        self.bound = self._bound()

    def judged(self, value: Json, circumstances: Circumstances, now: int) -> Decision:
        """The decision on one request; takes nothing from any meter."""
        if not self.bound.depends:
            return self.bound
        held, doubted = self._look(value, circumstances, now)
        outcome = self._outcomes.get((held, doubted)) or self._outcome(held, doubted)
        decision, charges = outcome
        if charges and decision.verdict is not Verdict.DENY:
            unix = circumstances.unix(now)
            for case, charge, name in charges:
                shortage = circumstances.meters.shortage(charge, now, unix)
                if shortage:
                    return self._spent(decision, case, f"{name} of rule {case.rule.id} {shortage}")
        elif decision.silent:
            return self._nearest(decision, circumstances, now)
        return decision

    def unseen(self) -> Decision:
        """The decision on something of which no more is ever known than its name; nothing is taken for it."""
        decided = self._decide(
            [case for case in self.cases if case.always or case.effect is not Verdict.ALLOW],
            [case for case in self._cases if case.effect is not Verdict.ALLOW],
        )
        return msgspec.structs.replace(decided, depends=False)

    def holding(self, value: Json, circumstances: Circumstances, now: int) -> list[Case]:
        """The cases that count for one request."""
        held, _ = self._look(value, circumstances, now)
        return self._held(held)

    def wanting(self, case: Case, value: Json, circumstances: Circumstances, now: int) -> str:
        """`Case.wanting` of a request."""
        return case.wanting(self._subject(value), circumstances, now)

    def _look(self, value: Json, circumstances: Circumstances, now: int) -> tuple[int, int]:
        """Which conditional cases count, and which of them only because it cannot be told; one bit each."""
        try:
            subject = self._subject(value)
        except Exception:  # noqa: BLE001 (rule 2: nothing can be told of it)
            subject = None
        held, doubted, bit = 0, 0, 1
        for case in self._cases:
            truth = case.holds(subject, circumstances, now)
            if truth:
                held |= bit
            elif truth is None and case.effect is not Verdict.ALLOW:
                held |= bit
                doubted |= bit
            bit <<= 1
        return held, doubted

    def _held(self, held: int) -> list[Case]:
        found = [case for number, case in enumerate(self._cases) if held >> number & 1]
        return sorted([*self._always, *found], key=place)

    def _outcome(self, held: int, doubted: int) -> tuple[Decision, tuple[tuple[Case, Charge, str], ...]]:
        cases = self._held(held)
        in_doubt = [case for number, case in enumerate(self._cases) if doubted >> number & 1]
        charges = tuple((case, *each) for case in cases for each in case.charges)
        decision = self._decide(cases, in_doubt)
        if decision.verdict is not Verdict.DENY:
            decision = msgspec.structs.replace(decision, charges=tuple(charge for _, charge, _ in charges))
        if len(self._outcomes) >= limits.OUTCOMES:
            self._outcomes.clear()
        self._outcomes[held, doubted] = decision, charges
        return decision, charges

    def _decide(self, cases: list[Case], in_doubt: Iterable[Case] = ()) -> Decision:
        """The decision if just these hold; they are sorted."""
        if not cases:
            return self._default
        answered = {ident for case in cases if case.effect is Verdict.ALLOW for ident in case.rule.answers}
        counting = [
            case for case in cases if case.rule.effect is not Verdict.ASK or case.rule.id not in answered
        ]
        winner = min(counting, key=lambda case: (case.effect, place(case)))
        rules = [case.rule for case in cases]
        sizes = [rule.result_bytes for rule in rules if rule.result_bytes]
        asking = winner.effect is Verdict.ASK
        return msgspec.structs.replace(
            self._default,
            verdict=winner.effect,
            rule=winner.rule.id,
            reason=_reason(winner, doubt=winner in in_doubt),
            origin=self._origin(winner.rule),
            durable=any(rule.durable for rule in rules),
            recheck=any(rule.recheck for rule in rules),
            recorded=any(rule.record for rule in rules),
            confirm=max(case.rule.confirm for case in counting) if asking else "",
            result_bytes=min(sizes, default=0),
            secrets=_given(counting),
        )

    def _bound(self) -> Decision:
        """The decision if every rule that allows holds, and of the others only those that always do (rule 5)."""
        if all(case.always and not case.charges for case in self.cases):
            return self._decide(list(self._always))
        most = [case for case in self.cases if case.always or case.effect is Verdict.ALLOW]
        found = self._decide(most)
        if not self._always:
            asking = [case for case in self._cases if case.effect is Verdict.ASK]
            candidates = [found, self._default, *([self._decide(asking)] if asking else [])]
            found = max(candidates, key=lambda decision: decision.verdict)
        if found.silent:  # it is not that no rule speaks of it
            rule = self.cases[0].rule
            return msgspec.structs.replace(
                found,
                rule=rule.id,
                reason=f"no rule allows it, and rule {rule.id} may refuse it",
                origin=self._origin(rule),
                depends=True,
            )
        return msgspec.structs.replace(found, depends=True)

    def _spent(self, decision: Decision, case: Case, reason: str) -> Decision:
        return msgspec.structs.replace(
            decision,
            verdict=Verdict.DENY,
            rule=case.rule.id,
            reason=reason,
            origin=self._origin(case.rule),
            confirm="",
            charges=(),
        )

    def _nearest(self, decision: Decision, circumstances: Circumstances, now: int) -> Decision:
        """The default, with the first rule that would have allowed it."""
        for case in self._cases:
            if case.effect is Verdict.ALLOW:
                words = case.kind_of_wanting(circumstances, now)
                return msgspec.structs.replace(
                    decision, reason=f"rule {case.rule.id} would allow it only if {words}"
                )
        return decision

    def _origin(self, rule: Rule) -> str:
        return f"{rule.file or self._file}:{rule.line}"


def _given(cases: Iterable[Case]) -> tuple[str, ...]:
    """The secrets that rules give which let it pass; one that only restricts gives none."""
    passing = (case.rule.secrets for case in cases if case.effect is not Verdict.DENY)
    return tuple(sorted({name for names in passing for name in names}))


def place(case: Case) -> tuple[str, int, str]:
    """Where the rule of a case stands: what rules are sorted by."""
    return place_of(case.rule)


def place_of(rule: Rule) -> tuple[str, int, str]:
    """Where a rule stands: its file, its line, and its name for good measure."""
    return rule.file, rule.line, rule.id


def charges_of(rule: Rule, caller: Caller, server: str, name: str, zone: str) -> list[tuple[Charge, str]]:
    """What a request about `name` takes from the meters of a rule, and what each of these is called.

    `zone`: that of the policy, for budgets of rules that name none.
    """
    days_in = (rule.when.zone if rule.when is not None else "") or zone
    return [(_charge(rule, limit, caller, server, name, days_in), _called(limit)) for limit in rule.limits]


def _charge(rule: Rule, limit: Limit, caller: Caller, server: str, name: str, zone: str) -> Charge:
    apart = limit.per
    key = key_of(
        rule.file,
        rule.id,
        f"{limit.seconds:g}",
        _principal(caller) if "principal" in apart else "",
        server if "server" in apart else "",
        name if "tool" in apart else "",
    )
    return Charge(key, limit.count, limit.seconds, zone)


def _principal(caller: Caller) -> str:
    """The narrowest name of a caller: that of an enrolled host, what a credential says, else its user's."""
    for kind in (HOST, *CREDENTIALS, _UID):
        for principal in caller.principals:
            if principal.startswith(kind):
                return principal
    return ""


def _called(limit: Limit) -> str:
    if limit.seconds == DAY:
        return f"budget {limit.count}/day"
    if not limit.seconds:
        return f"concurrency {limit.count}"
    return f"rate {limit.count}/{_UNITS.get(limit.seconds) or f'{limit.seconds:g} s'}"


def _reason(case: Case, *, doubt: bool) -> str:
    if case.lacking:
        return case.lacking
    word = f"rule {case.rule.id} {_WORDS[case.effect]} it"
    return f"{word}, since it cannot be told whether its conditions hold" if doubt else word


def _told(test: Held, value: Json) -> tuple[bool | None, str]:
    """Whether a test holds, and what it wants, for an explanation."""
    try:
        held = test.holds(value)
        return held, "" if held else test.wanting(value)
    except Exception:  # noqa: BLE001 (rule 2)
        return None, "its arguments could be read"
