"""Which rules speak of a name: found by the names they spell out and by how the names that they describe begin.

Rule 1: what a name costs does not depend on how many rules there are, but on how many begin like it.
Rule 2: an index says what a rule speaks of, never whether its conditions hold (`cases`).

Selectors and methods: `tools` speak of `tools/call`; `resources` of reading and subscribing, by URI; `prompts` of
`prompts/get`, by name; `completions` of `completion/complete`, by what is completed; `sampling`, `roots`,
`elicitation`, `logging` and `tasks` of all requests of theirs; `methods` of whatever they match, whatever it is
about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from mcpguard.policy.globs import Glob, compile_glob
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import GATED_METHODS, Rule

CALL: Final = "tools/call"
PROMPT: Final = "prompts/get"
COMPLETION: Final = "completion/complete"
ELICITATION: Final = "elicitation/create"
RESOURCES: Final = ("resources/read", "resources/subscribe", "resources/unsubscribe")
TARGETED: Final = frozenset({*RESOURCES, PROMPT, COMPLETION})
"""The methods of which a rule may speak for some targets only."""

_TASKS: Final = "tasks/"
_LOGGING: Final = ("logging/setLevel", "notifications/message")
_OF_RESOURCES: Final = "resource "

Item = TypeVar("Item")


class Matcher(Protocol):
    """A pattern over names."""

    @property
    def text(self) -> str:
        """The pattern as written."""
        ...

    def matches(self, name: str, /) -> bool:
        """Whether it describes the whole of a name."""
        ...


class Names(Generic[Item]):
    """Values by the names that they speak of."""

    __slots__ = ("_exact", "_heads", "_lengths")

    def __init__(self) -> None:
        self._exact: dict[str, list[Item]] = {}
        self._heads: dict[str, list[tuple[Matcher, Item]]] = {}
        self._lengths: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._exact or self._heads)

    def add(self, pattern: Pattern | Glob, item: Item) -> None:
        """Speak of what `pattern` describes."""
        head = _head(pattern.text)
        if head == pattern.text:
            self._exact.setdefault(head, []).append(item)
            return
        if head not in self._heads:
            self._heads[head] = []
            self._lengths = sorted({len(head), *self._lengths})
        self._heads[head].append((pattern, item))

    def of(self, name: str) -> Iterator[Item]:
        """Everything that speaks of `name`; some of it more than once."""
        yield from self._exact.get(name, ())
        for length in self._lengths:
            if length > len(name):
                break
            for pattern, item in self._heads.get(name[:length], ()):
                if pattern.matches(name):
                    yield item

    def all(self) -> Iterator[Item]:
        """Everything that speaks of any name."""
        for items in self._exact.values():
            yield from items
        for pairs in self._heads.values():
            for _, item in pairs:
                yield item


class Index:
    """Rules by what they speak of; made once for each connection."""

    __slots__ = ("_extensions", "_methods", "_targets", "_tools")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._tools: Names[Rule] = Names()
        self._extensions: Names[Rule] = Names()
        self._methods: dict[str, list[Rule]] = {method: [] for method in GATED_METHODS}
        self._targets: dict[str, Names[Rule]] = {method: Names() for method in TARGETED}
        meant: dict[Pattern, list[str]] = {}
        for rule in rules:
            for pattern in rule.tools:
                self._tools.add(pattern, rule)
            for pattern in rule.extensions:
                self._extensions.add(pattern, rule)
            for pattern in rule.methods:
                if pattern not in meant:
                    meant[pattern] = [method for method in GATED_METHODS if pattern.matches(method)]
                for method in meant[pattern]:
                    self._methods[method].append(rule)
            for method in _spoken_of(rule):
                self._methods[method].append(rule)
            self._aim(rule)

    def tool(self, name: str) -> list[Rule]:
        """The rules that speak of calling a tool."""
        return _once(self._tools.of(name))

    def method(self, method: str, target: str) -> list[Rule]:
        """The rules that speak of a request about `target`."""
        aimed = self._targets[method].of(target) if method in TARGETED else ()
        return _once([*self._methods[method], *aimed])

    def whatever(self, method: str) -> list[Rule]:
        """The rules that speak of every request of a method."""
        return _once(self._methods[method])

    def aimed(self, method: str) -> list[Rule]:
        """The rules that speak of some requests of a method, by what these are about."""
        if method not in TARGETED:
            return []
        always = {id(rule) for rule in self._methods[method]}
        return [rule for rule in _once(self._targets[method].all()) if id(rule) not in always]

    def extension(self, name: str) -> list[Rule]:
        """The rules that speak of an extension."""
        return _once(self._extensions.of(name))

    def _aim(self, rule: Rule) -> None:
        for pattern in rule.prompts:
            self._point(PROMPT, pattern, rule, everything="*")
        for pattern in rule.completions:
            of_resources = pattern.text.startswith(_OF_RESOURCES)
            self._point(
                COMPLETION, compile_glob(pattern.text) if of_resources else pattern, rule, everything="*"
            )
        for pattern in rule.resources:
            glob = compile_glob(pattern.text)
            for method in RESOURCES:
                self._point(method, glob, rule, everything="**")

    def _point(self, method: str, pattern: Pattern | Glob, rule: Rule, *, everything: str) -> None:
        if pattern.text == everything:
            self._methods[method].append(rule)
        else:
            self._targets[method].add(pattern, rule)


def _spoken_of(rule: Rule) -> Iterator[str]:
    """The methods of which a rule speaks by other words than `methods`, whatever they are about."""
    if rule.sampling:
        yield "sampling/createMessage"
    if rule.roots:
        yield "roots/list"
    if rule.elicitation is not None:
        yield ELICITATION
    if rule.logging:
        yield from _LOGGING
    if rule.tasks:
        yield from sorted(method for method in GATED_METHODS if method.startswith(_TASKS))


def _once(rules: Iterable[Rule]) -> list[Rule]:
    return list({id(rule): rule for rule in rules}.values())


def _head(text: str) -> str:
    """The characters that everything which a pattern describes begins with; all of it if it describes itself only.

    Less one `/` before a final `**`, which a folder itself lacks (`globs`).
    """
    plain = text
    for mark in ("*", "?"):
        plain = plain.partition(mark)[0]
    return plain if plain == text else plain.removesuffix("/")
