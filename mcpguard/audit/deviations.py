"""What a server says of itself and should not: definitions that are not as pinned, and text that hides.

Nothing is kept: the gate compares, and each of its records is one deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mcpguard.audit.findings import Finding, Severity
from mcpguard.audit.seen import DETECTED, Seen

HIDDEN: Final = "holds invisible or control characters"
"""What is wrong with a definition (`protocol.views`)."""
AGAIN: Final = "is the pinned definition again"
UNPINNED: Final = " not pinned"
"""What a comparison says, or ends with (`gate.pinning`)."""
_WORDS: Final = {
    "tools": "tool", "prompts": "prompt", "resourceTemplates": "resource template",
    "instructions": "instructions",
}  # fmt: skip


class Deviations:
    """`definition-drift` and `hidden-characters`."""

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type == "finding" and seen.event != DETECTED:
            yield from self._compared(seen)
        elif seen.type == "drop" and HIDDEN in seen.text("reason"):
            yield self._found("hidden-characters", seen, seen.text("reason"))

    def _compared(self, seen: Seen) -> Iterator[Finding]:
        fault = seen.text("fault")
        if fault == AGAIN:
            return
        what = _WORDS.get(seen.text("kind"), "definition")
        name = seen.text("name")
        says = f"the {what} {name!a} {fault}" if name else f"the {what} {fault}"
        if seen.text("kind") == "serverInfo":
            says = f"the server is another one: {fault}"
        kind = "hidden-characters" if HIDDEN in fault else "definition-drift"
        yield self._found(kind, seen, says, Severity.MEDIUM if fault.endswith(UNPINNED) else None)

    def _found(self, kind: str, seen: Seen, says: str, severity: Severity | None = None) -> Finding:
        tool = seen.text("name") if seen.body.get("kind") == "tools" else ""
        evidence = {key: value for key in ("pinned", "seen") if (value := seen.text(key))}
        return Finding(
            kind, f"server {seen.text('server')} {seen.text('kind')} {seen.text('name')}".rstrip(), says,
            severity=severity, conn=seen.text("conn"), host=seen.host, server=seen.text("server"), tool=tool,
            seqs=(seen.seq, seen.seq), evidence=evidence,
        )  # fmt: skip
