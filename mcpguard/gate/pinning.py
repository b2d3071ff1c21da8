"""What a server lists against what its manifest pins: which definitions may be shown, which names may be used.

Rule 1: pins narrow. They never let pass what policy refuses, and where policy only observes they only tell.
Rule 2: a name is judged by what the server listed last; before the first list, by what earlier connections saw.
Rule 3: a finding is told once on a connection, and again only if the definition was the pinned one in between.

What deviates and how it is called: *differs* from the pinned definition; *is not pinned*, and if so, whether it looks
like a name that is; *is defined twice*, within one walk through the pages; deceives (`views.definition_fault`).

Cost: a definition that is listed again as it was costs its encoding and a hash, 3 us for 940 bytes; the first time it
costs `definition_digest`, 46 us. Calls cost nothing: rulings on tools are remembered, and forgotten here on a change.

Decided:
    *A pinned tool that deviates is refused by name, one that is not pinned is an unknown tool*, because the host was
    shown the first one once and a person has to act; rejected: naming both, which tells a host what is hidden.
    *What a server calls itself is pinned too, and a server that says otherwise does not get through its handshake*,
    because the manifest then describes another server; rejected: writing the pinned name into its answer.
    *Instructions that differ are taken out and the connection goes on*, because no host needs them to work.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.gate.commands import Finding
from mcpguard.identity.definitions import (
    DEFINITION_BYTES,
    DefinitionPins,
    definition_digest,
    looks_like,
    text_digest,
)
from mcpguard.model import Decision, Json, Verdict
from mcpguard.protocol.strict import encode_raw

TOOLS: Final = "tools"
PROMPTS: Final = "prompts"
TEMPLATES: Final = "resourceTemplates"
INSTRUCTIONS: Final = "instructions"
SERVER: Final = "serverInfo"

DIFFERS: Final = "differs from the pinned definition"
UNPINNED: Final = "is not pinned"
AGAIN: Final = "is the pinned definition again"

PAGE_BYTES: Final = 2 * limits.MIB
"""Encoded bytes of definitions not seen before that one page may bring; to digest this much takes 0.4 s."""
FINDINGS: Final = 1024
"""Findings of one connection; what deviates beyond them is withdrawn and not told."""
STRANGERS: Final = 1024
"""Definitions that are not pinned and remembered, so that they can be used as soon as a person accepts them."""


class Withdrawn(Decision, frozen=True):
    """A denial because of a definition, not because of a rule."""


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """A definition as it was listed last: hash of its encoding, its digest, and what was wrong with it by itself."""

    raw: bytes
    digest: str
    fault: str


class Pinning:
    """The pins of one connection, and what its server listed.

    Args:
        pins: What the manifest pins.
        withdrawn: Digests of deviating definitions that earlier connections saw, by kind and name. Until a list shows
            otherwise, these names stay withdrawn.

    Attributes:
        moved: Whether names were withdrawn or came back since this was last set to False.
    """

    __slots__ = ("_count", "_findings", "_left", "_pins", "_seen", "_tables", "_told", "moved")

    def __init__(self, pins: DefinitionPins, withdrawn: Mapping[tuple[str, str], str] | None = None) -> None:
        self._seen = {key: _Seen(b"", digest, "") for key, digest in (withdrawn or {}).items()}
        self._told: set[tuple[str, str, str, str]] = set()
        self._count = 0
        self._findings: list[Finding] = []
        self._left = PAGE_BYTES
        self.moved = False
        self.change(pins)

    def change(self, pins: DefinitionPins) -> None:
        """Compare with other pins from now on, and what was listed so far as well."""
        self._pins = pins
        self._tables = {TOOLS: pins.tools, PROMPTS: pins.prompts, TEMPLATES: pins.templates}
        self.moved = True

    def take(self) -> list[Finding]:
        """The findings since the last time, in order."""
        findings, self._findings = self._findings, []
        return findings

    # --- lists ---------------------------------------------------------------------------------------------

    def begin_page(self) -> None:
        """Another page follows."""
        self._left = PAGE_BYTES

    def pinned(self, kind: str, name: str) -> bool:
        """Whether a definition of this name is pinned."""
        return name in self._tables.get(kind, ())

    def listed(self, kind: str, name: Json, entry: Json, fault: str) -> str:
        """Compare one entry of a list; `fault` is what is wrong with it by itself.

        Returns:
            Why it must be withdrawn, or the empty string. Resources are not pinned.
        """
        table = self._tables.get(kind)
        if table is None:
            return fault
        if type(name) is not str or len(name) > limits.URI_CHARS:
            return fault or "has no name that could be pinned"
        key = (kind, name)
        pinned = table.get(name, "")
        was = self.fault(kind, name)
        seen, encoded = self._look(self._seen.get(key), entry, fault)
        if pinned or key in self._seen or len(self._seen) < STRANGERS:
            self._seen[key] = seen
        now = seen.fault or _difference(pinned, seen.digest)
        if now == UNPINNED and (other := looks_like(name, table)):
            now = f"{UNPINNED}, and looks like {other!a}"
        if now or was:
            self._tell(kind, name, now or AGAIN, pinned, seen.digest, encoded)
        self.moved = self.moved or bool(pinned and now != was)
        return now

    def _look(self, before: _Seen | None, entry: Json, fault: str) -> tuple[_Seen, bytes]:
        """What an entry is, and its encoding; a digest is computed only of what is new, and of so much at once."""
        encoded = encode_raw(entry)
        raw = blake2b(encoded, digest_size=32).digest()
        if before is not None and before.raw == raw and before.fault == fault:
            return before, encoded
        self._left -= len(encoded)
        if self._left < 0:
            beyond = f"is beyond the {PAGE_BYTES} bytes that are compared at once"
            return _Seen(b"", "", fault or beyond), encoded
        try:
            return _Seen(raw, definition_digest(entry), fault), encoded
        except TrustError as error:
            return _Seen(b"", "", fault or f"cannot be compared: {error.message}"), encoded

    def withdrawn(self, kind: str) -> list[str]:
        """The names that were listed, or seen before, and may not be used."""
        return sorted(name for of, name in self._seen if of == kind and self.fault(kind, name))

    # --- names ---------------------------------------------------------------------------------------------

    def fault(self, kind: str, name: str) -> str:
        """Why a tool, prompt or template may not be used, or the empty string."""
        pinned = self._tables[kind].get(name)
        if pinned is None:
            return UNPINNED
        seen = self._seen.get((kind, name))
        return "" if seen is None else seen.fault or _difference(pinned, seen.digest)

    def narrowed(self, kind: str, name: str, decision: Decision) -> Decision:
        """What policy decided on a name, unless its definition forbids it."""
        fault = self.fault(kind, name) if decision.verdict is not Verdict.DENY else ""
        if not fault:
            return decision
        origin = "built in" if fault == UNPINNED else "manifest"
        return Withdrawn(Verdict.DENY, "pins", f"its definition {fault}", origin, decision.durable)

    def narrowed_method(self, method: str, target: str, decision: Decision) -> Decision:
        """Likewise for the methods that name a prompt or a template.

        A completion for a resource may name a template or a plain URI; plain URIs are not pinned.
        """
        if method == "prompts/get":
            return self.narrowed(PROMPTS, target, decision)
        if method == "completion/complete":
            word, _, name = target.partition(" ")
            if word == "prompt":
                return self.narrowed(PROMPTS, name, decision)
            if "{" in name or (TEMPLATES, name) in self._seen or name in self._pins.templates:
                return self.narrowed(TEMPLATES, name, decision)
        return decision

    # --- greetings -----------------------------------------------------------------------------------------

    def instructions(self, text: Json) -> bool:
        """Whether instructions may be shown: there are none, or they are the pinned ones."""
        if text is None or text == "":
            return True
        pinned = self._pins.instructions
        try:
            digest = text_digest(text) if type(text) is str else ""
        except TrustError:
            digest = ""
        if digest and digest == pinned:
            return True
        fault = "differ from the pinned instructions" if pinned else "are not pinned"
        self._tell(INSTRUCTIONS, "", fault, pinned, digest, encode_raw(text))
        return False

    def server(self, info: Json) -> str:
        """Why a `serverInfo` is not that of the pinned server, or the empty string. None claims nothing."""
        pinned = self._pins.server_name
        name = info.get("name") if type(info) is dict else None
        if info is None or not pinned or name == pinned:
            return ""
        claimed = name[: limits.NAME_CHARS] if type(name) is str else ""
        fault = f"it calls itself {claimed!a}, and its manifest says {pinned!a}"
        self._tell(SERVER, "", fault, pinned, claimed, encode_raw(info))
        return fault

    # --- findings ------------------------------------------------------------------------------------------

    def _tell(self, kind: str, name: str, fault: str, pinned: str, seen: str, encoded: bytes) -> None:
        mark = (kind, name, fault, seen)
        if mark in self._told or self._count >= FINDINGS:
            return
        self._count += 1
        if fault == AGAIN:
            self._told = {told for told in self._told if told[:2] != (kind, name)}
        else:
            self._told.add(mark)
        definition = msgspec.json.decode(encoded) if len(encoded) <= DEFINITION_BYTES else None
        self._findings.append(Finding(kind, name, fault, pinned, seen, definition))


def _difference(pinned: str, digest: str) -> str:
    if not pinned:
        return UNPINNED
    return "" if digest == pinned else DIFFERS
