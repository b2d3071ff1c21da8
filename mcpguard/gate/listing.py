"""Definition lists through policy and pins: hide what may not be used, withdraw what deceives, keep order.

Rule 1: filtering is for the eye; enforcement is on the call itself.
Rule 2: cursors are minted here, so a cursor that the server did not give for this list leads nowhere.

Source: MCP server/tools, server/utilities/pagination and caching (revision 2026-07-28): lists filtered per
principal are `private`, and revocable only after their `ttlMs`.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mcpguard import limits
from mcpguard.gate.bounded import remember
from mcpguard.gate.pending import Chain
from mcpguard.gate.pinning import Pinning
from mcpguard.model import Era, Json, JsonObject, Verdict
from mcpguard.policy.decider import Decider
from mcpguard.protocol import views
from mcpguard.protocol.methods import Method
from mcpguard.protocol.strict import Refused
from mcpguard.protocol.uri import normalise

_GATE_OF: Final = {
    "resources": "resources/read",
    "resourceTemplates": "resources/read",
    "prompts": "prompts/get",
}
_NAME_OF: Final = {"resources": "uri", "resourceTemplates": "uriTemplate"}
_CURSORS: Final = 256


class Listing:
    """What one connection has been shown."""

    __slots__ = ("_cursors", "_minted", "known", "shown")

    def __init__(self) -> None:
        self.known: dict[str, None] = {}
        self.shown: set[str] = set()
        self._cursors: dict[str, tuple[str, Chain, str]] = {}
        self._minted = 0

    def request(self, method: Method, params: JsonObject | None) -> tuple[Chain, bool]:
        """The chain of pages that a list request belongs to; its cursor is replaced by the server's own.

        Returns:
            The chain, and whether `params` was edited.

        Raises:
            Refused: The cursor was not given out for this list.
        """
        cursor = views.cursor(params) if params is not None else None
        if params is None or cursor is None:
            return Chain(), False
        holds, chain, real = self._cursors.get(cursor, ("", None, ""))
        if chain is None or holds != method.holds:
            raise Refused("this cursor was not given out for this list; start again without one")
        params["cursor"] = real
        return Chain(set(chain.names), set(chain.cursors), chain.pages), True

    def answer(
        self,
        method: Method,
        chain: Chain,
        result: JsonObject,
        snapshot: Decider,
        era: Era,
        pins: Pinning | None = None,
    ) -> _Page:
        """Filter one page in place. What is not as `pins` say is taken out, and `pins` keep the findings.

        Returns:
            What was done to it; `fault` is set if the page may not be shown at all.
        """
        page = _Page()
        entries = result.get(method.holds)
        if type(entries) is not list:
            page.fault = f"a list without {method.holds}"
            return page
        self.shown.add(method.holds)
        if pins is not None:
            pins.begin_page()
        kept = self._kept(method.holds, chain, entries, snapshot, page, pins)
        if len(kept) != len(entries):
            result[method.holds] = kept
            page.edited = True
        self._turn(method, chain, result, page)
        if era is Era.MODERN and not snapshot.observing:
            page.edited = _revocable(result) or page.edited
        return page

    def visible(self, snapshot: Decider, pins: Pinning | None = None) -> dict[str, object]:
        """What the host can see of each list it was shown, to tell whether a change matters to it."""
        seen: dict[str, object] = {holds: _usable(snapshot, holds, "") for holds in self.shown - {"tools"}}
        if "tools" in self.shown:
            seen["tools"] = [name for name in self.known if _usable(snapshot, "tools", name)]
        if pins is None:
            return seen
        return {
            holds: (usable, [] if snapshot.observing else pins.withdrawn(holds))
            for holds, usable in seen.items()
        }

    def _kept(
        self,
        holds: str,
        chain: Chain,
        entries: list[Json],
        snapshot: Decider,
        page: _Page,
        pins: Pinning | None,
    ) -> list[Json]:
        named = [entry.get(_NAME_OF.get(holds, "name")) if type(entry) is dict else None for entry in entries]
        twice = {name for name, count in Counter(n for n in named if type(n) is str).items() if count > 1}
        kept = []
        for entry, name in zip(entries, named, strict=True):
            fault = self._fault(holds, chain, entry, name, twice)
            if fault:
                page.findings.append(f"definition {str(name)[: limits.NAME_CHARS]!a} {fault}")
            if pins is not None:
                fault = pins.listed(holds, name, entry, fault)
                if fault and type(name) is str and pins.pinned(holds, name):
                    chain.names.add(name)  # what differs on one page is not replaced by another one
            if fault and not snapshot.observing:
                continue
            if type(name) is str:
                chain.names.add(name)
                if holds == "tools":
                    self._know(name)
            if _usable(snapshot, holds, str(name)):
                kept.append(entry)
        return kept

    def _fault(self, holds: str, chain: Chain, entry: Json, name: Json, twice: set[str]) -> str:
        if type(name) is str and (name in twice or name in chain.names):
            return "is defined twice"
        if holds == "tools" and len(chain.names) >= limits.TOOLS:
            return f"is beyond the {limits.TOOLS} tools that one server may define"
        return views.definition_fault(entry, _NAME_OF.get(holds, "name"))

    def _know(self, name: str) -> None:
        if len(self.known) < limits.SNAPSHOT_NAMES:
            self.known[name] = None

    def _turn(self, method: Method, chain: Chain, result: JsonObject, page: _Page) -> None:
        """Replace the server's next cursor by one of ours."""
        if "nextCursor" not in result:
            return
        real = result["nextCursor"]
        chain.pages += 1
        if type(real) is not str or len(real) > limits.CURSOR_CHARS:
            page.fault = "nextCursor is not a string of reasonable length"
        elif real in chain.cursors or chain.pages > limits.LIST_PAGES:
            page.fault = "pages without end: a cursor repeats, or there are too many pages"
        else:
            chain.cursors.add(real)
            self._minted += 1
            minted = f"page-{self._minted}"
            remember(self._cursors, minted, (method.holds, chain, real), _CURSORS)
            result["nextCursor"] = minted
            page.edited = True


class _Page:
    """What was done to one page."""

    __slots__ = ("edited", "fault", "findings")

    def __init__(self) -> None:
        self.edited = False
        self.fault = ""
        self.findings: list[str] = []


def _usable(snapshot: Decider, holds: str, name: str) -> bool:
    if snapshot.observing:
        return holds != "tools" or not snapshot.tool(name).binding
    if holds == "tools":
        decision = snapshot.tool(name)
    elif name and holds != "resourceTemplates":
        decision = snapshot.method(_GATE_OF[holds], _judged_name(holds, name))
    else:
        decision = snapshot.method(_GATE_OF[holds])
    return decision.verdict is not Verdict.DENY


def _judged_name(holds: str, name: str) -> str:
    """What policy is asked about: a resource by its URI as it would be read; one that has none matches no pattern."""
    if holds != "resources":
        return name
    try:
        return normalise(name)
    except Refused:
        return ""


def _revocable(result: JsonObject) -> bool:
    """Make a modern list private and short-lived; True if that changed it."""
    ttl = result.get("ttlMs")
    short = ttl if type(ttl) is int and 0 <= ttl <= limits.MODERN_TTL_MS else limits.MODERN_TTL_MS
    edited = result.get("cacheScope") != "private" or ttl != short
    result["cacheScope"] = "private"
    result["ttlMs"] = short
    return edited
