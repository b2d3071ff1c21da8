"""Which records a reader wants. What is named more than once is one of them; what is named apart must all hold.

Patterns: `*` is any text, `?` is one character, anything else is itself. A pattern is held against a name as it is in
the record and as it is shown, so that what was copied from a screen is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard import model
from mcpguard.audit.facets import Facets

UID: Final = "uid:"
HOST: Final = "host:"
"""What principals begin with."""
_CACHED: Final = 10_000
"""Names that are remembered with what came of them; hostile servers can make any number."""


class Filter(msgspec.Struct, frozen=True):
    """What to look for; an empty member asks for nothing.

    Attributes:
        since: From this time on, UTC as records have it.
        until: Before this time, likewise.
        hosts: Patterns of host names, as `Facets.host`.
        servers: Patterns of server names.
        tools: Patterns of tools, prompts and URIs.
        decisions: Words of `facets.DECISIONS`.
        types: Types of records.
        principals: `uid:N` or `host:PATTERN`.
        conns: Patterns of names of connections.
        text: Text that stands anywhere in the record.
    """

    since: str = ""
    until: str = ""
    hosts: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    conns: tuple[str, ...] = ()
    text: str = ""

    def needles(self) -> tuple[bytes, ...]:
        """The text as a line may hold it: as it is typed, and as JSON writes it. Empty: none is looked for."""
        if not self.text:
            return ()
        plain = self.text.encode("utf-8", "surrogateescape")
        written = msgspec.json.encode(self.text.encode("utf-8", "replace").decode()).decode()[1:-1]
        return tuple(dict.fromkeys((plain, model.escape(written).encode())))


class Matcher:
    """A filter made ready to look at many records."""

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self._needles = wanted.needles()
        self._types, self._decisions = frozenset(wanted.types), frozenset(wanted.decisions)
        self._host, self._server = pattern(wanted.hosts), pattern(wanted.servers)
        self._target, self._conn = pattern(wanted.tools), pattern(wanted.conns)
        named = tuple(one.removeprefix(HOST) for one in wanted.principals if one.startswith(HOST))
        self._principal = pattern(named) if named else None
        self._uids = frozenset(one for one in wanted.principals if one.startswith(UID))

    def may(self, line: bytes) -> bool:
        """Whether the text is in a raw line; false saves parsing it."""
        return not self._needles or any(needle in line for needle in self._needles)

    def matches(self, time: str, facets: Facets) -> bool:
        """Whether a record is wanted. Not here: its text; see `may`."""
        wanted = self.wanted
        if (wanted.since and time < wanted.since) or (wanted.until and time >= wanted.until):
            return False
        if self._types and facets.type not in self._types:
            return False
        if self._decisions and facets.decision not in self._decisions:
            return False
        if wanted.principals and not self.principal(facets.uid, facets.host):
            return False
        return (
            (not wanted.hosts or self._host(facets.host))
            and (not wanted.servers or self._server(facets.server))
            and (not wanted.tools or self._target(facets.target))
            and (not wanted.conns or self._conn(facets.conn))
        )

    def principal(self, uid: int, host: str) -> bool:
        """Whether a caller is one of the principals."""
        if uid >= 0 and f"{UID}{uid}" in self._uids:
            return True
        return self._principal is not None and bool(host) and self._principal(host)


def pattern(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A predicate for names of which one of these describes the whole."""
    made = "|".join("".join(_part(part) for part in re.split("([*?])", one)) for one in patterns)
    found, known = re.compile(made, re.DOTALL), dict[str, bool]()

    def matches(name: str) -> bool:
        answer = known.get(name)
        if answer is None:
            if len(known) >= _CACHED:
                known.clear()
            answer = known[name] = bool(found.fullmatch(name) or found.fullmatch(model.visible(name)))
        return answer

    return matches


def _part(part: str) -> str:
    return {"*": ".*", "?": "."}.get(part) or re.escape(part)
