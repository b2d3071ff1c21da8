"""One connection's policy, compiled: the rules of one server for one caller.

Rule 1: all matching rules count; a deny beats every allow; nothing matching is a denial. A rule whose demands on the
caller are not met does not match (`evidence`).
Rule 2: the order of rules changes no verdict. Among the rules that win, the one on the smallest line is named.
Rule 3: what a name costs does not depend on how many rules there are. An answer is remembered by name, at most
`limits.SNAPSHOT_NAMES` of them, since names come from outside; at its first sight a name meets the rules that
spell it out, and the globs whose beginning it shares.

A remembered decision is one dictionary lookup: 40 to 65 ns, with 10 rules as with 10,000 (timeit, CPython 3.11;
`tests/policy/test_snapshot_bench.py` compares both counts). Methods are decided when compiling. The caller is looked
at when compiling only: who has better evidence later needs another snapshot.

Decided:
    *`durable` and `recheck` add up*: a call has them if any matching rule says so, whichever rule decides, because
    they ask for evidence and grant nothing; rejected: the deciding rule alone, which would make line order matter.
    *A denial for want of evidence is a denial by default* and names what is wanting in its reason only, so that
    nothing else treats it as the word of a rule.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mcpguard import limits
from mcpguard.model import Caller, Decision, Mode, Verdict
from mcpguard.policy.evidence import is_meant, shortfall
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import GATED_METHODS, Rule, RuleSet

_NOBODY = Caller()
_NOT_GATED = Decision(reason="not a method that rules speak of")


class Missed(msgspec.Struct, frozen=True):
    """A rule that would have allowed it, and the sentence that says what its caller lacks."""

    rule: Rule
    why: str


class Explanation(msgspec.Struct, frozen=True):
    """A decision and where it comes from; rules are sorted by line.

    Attributes:
        decision: What is decided.
        matching: Every rule that had a say in it.
        missed: If none had one, every rule that would have allowed it to a caller of whom more is known.
    """

    decision: Decision
    matching: tuple[Rule, ...]
    missed: tuple[Missed, ...] = ()


class Snapshot:
    """Decisions for one server; made by `compile_snapshot` or `builtin.observe_snapshot`.

    Attributes:
        policy: Digest of the policy, or `built-in`.
        mode: Whether verdicts bind.
        observing: Whether verdicts are recorded only: `mode` is OBSERVE.
        neutralise: Whether text of the server is stripped of characters that people cannot see.
        server: The name that the server has in this configuration.

    Not here: acting on `observing`. A verdict is the same in both modes; the gate lets the call pass.
    """

    __slots__ = (
        "_caller",
        "_default",
        "_index",
        "_methods",
        "_missed",
        "_tools",
        "mode",
        "neutralise",
        "observing",
        "policy",
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
    ) -> None:
        self.policy = ruleset.digest
        self.mode = ruleset.mode
        self.observing = ruleset.mode is Mode.OBSERVE
        self.neutralise = ruleset.neutralise
        self.server = server
        self._default = default or Decision()
        self._caller = caller
        self._index = _Index(ruleset.file, rules)
        self._missed = _Index(ruleset.file, missed)
        self._tools: dict[str, Decision] = {}
        self._methods = {
            method: self._index.decide(self._index.by_method(method))
            or self._nothing_matches(self._missed.by_method(method))
            for method in GATED_METHODS
        }

    def tool(self, name: str) -> Decision:
        """What policy says of calling the tool `name`, and of showing it."""
        try:
            return self._tools[name]
        except KeyError:
            return self._first_sight(name)

    def method(self, method: str) -> Decision:
        """What policy says of one of `rules.GATED_METHODS`; everything else is denied."""
        return self._methods.get(method, _NOT_GATED)

    def explain(self, name: str) -> Explanation:
        """The decision on a tool, or on a gated method if `name` is one, with all rules that match or nearly do."""
        if name in GATED_METHODS:
            decision, found = (
                self.method(name),
                [index.by_method(name) for index in (self._index, self._missed)],
            )
        else:
            decision, found = self.tool(name), [index.by_tool(name) for index in (self._index, self._missed)]
        missed = () if found[0] else _by_line(found[1])
        reasons = tuple(Missed(rule, shortfall(rule, self._caller)) for rule in missed)
        return Explanation(decision, _by_line(found[0]), reasons)

    def _nothing_matches(self, missed: dict[str, Rule]) -> Decision:
        """The default, with what is wanting for the nearest rule: one for this very host, else the first by line."""
        if not missed:
            return self._default
        nearest = min(
            missed.values(), key=lambda rule: (not is_meant(rule, self._caller), rule.line, rule.id)
        )
        return msgspec.structs.replace(self._default, reason=shortfall(nearest, self._caller))

    def _first_sight(self, name: str) -> Decision:
        decision = self._index.decide(self._index.by_tool(name)) or self._nothing_matches(
            self._missed.by_tool(name)
        )
        if len(name) <= limits.NAME_CHARS:
            if len(self._tools) >= limits.SNAPSHOT_NAMES:
                self._tools.clear()
            self._tools[name] = decision
        return decision


def compile_snapshot(ruleset: RuleSet, server: str, caller: Caller = _NOBODY) -> Snapshot:
    """Compile the rules that speak of `server` and of `caller`; by default that is somebody of whom nothing is known.

    Rules that would allow something to a caller with other evidence are kept aside, for the reason of a denial.
    """
    verdicts: dict[tuple[Pattern, ...], bool] = {}
    rules, missed = [], []
    for rule in ruleset.rules:
        here = verdicts.get(rule.server)
        if here is None:
            here = verdicts[rule.server] = any(pattern.matches(server) for pattern in rule.server)
        if not here:
            continue
        if not shortfall(rule, caller):
            rules.append(rule)
        elif rule.effect is not Verdict.DENY:
            missed.append(rule)
    return Snapshot(ruleset, server, rules, missed=missed, caller=caller)


class _Index:
    """Rules by the names they spell out, by how the names that they describe begin, and by method."""

    __slots__ = ("_exact", "_file", "_globs", "_lengths", "_methods")

    def __init__(self, file: str, rules: Iterable[Rule]) -> None:
        self._file = file
        self._exact: dict[str, list[Rule]] = {}
        self._globs: dict[str, list[tuple[Pattern, Rule]]] = {}
        self._methods: dict[str, dict[str, Rule]] = {method: {} for method in GATED_METHODS}
        meant: dict[Pattern, list[str]] = {}
        for rule in rules:
            for pattern in rule.tools:
                if pattern.exact:
                    self._exact.setdefault(pattern.text, []).append(rule)
                else:
                    self._globs.setdefault(pattern.head, []).append((pattern, rule))
            for pattern in rule.methods:
                if pattern not in meant:
                    meant[pattern] = [method for method in GATED_METHODS if pattern.matches(method)]
                for method in meant[pattern]:
                    self._methods[method][rule.id] = rule
        self._lengths = sorted({len(head) for head in self._globs})

    def by_method(self, method: str) -> dict[str, Rule]:
        """The rules that match a gated method, by id."""
        return self._methods[method]

    def by_tool(self, name: str) -> dict[str, Rule]:
        """The rules that match a tool, by id."""
        matching = {rule.id: rule for rule in self._exact.get(name, ())}
        for length in self._lengths:
            if length > len(name):
                break
            for pattern, rule in self._globs.get(name[:length], ()):
                if rule.id not in matching and pattern.matches(name):
                    matching[rule.id] = rule
        return matching

    def decide(self, matching: dict[str, Rule]) -> Decision | None:
        """Deny beats allow; the winner on the smallest line gives its name. None if nothing matches."""
        if not matching:
            return None
        denials = [rule for rule in matching.values() if rule.effect is Verdict.DENY]
        winner = _by_line({rule.id: rule for rule in denials} or matching)[0]
        word = "denies" if denials else "allows"
        return Decision(
            verdict=winner.effect,
            rule=winner.id,
            reason=f"rule {winner.id} {word} it",
            origin=f"{self._file}:{winner.line}",
            durable=any(rule.durable for rule in matching.values()),
            recheck=any(rule.recheck for rule in matching.values()),
        )


def _by_line(rules: dict[str, Rule]) -> tuple[Rule, ...]:
    return tuple(sorted(rules.values(), key=lambda rule: (rule.line, rule.id)))
