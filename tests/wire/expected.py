"""What must be gone from an input that is let through in our own encoding, case by case.

`GONE`: bytes that must not occur in what arrives. `CHANGED`: what becomes of the value where it does not stay equal.
"""

import re
from collections.abc import Callable
from typing import Any

NOTHING = frozenset({"frm-008"})
"""Nothing arrives of a blank line."""

GONE: dict[str, tuple[bytes, ...]] = {
    "frm-001": (b"\r",),
    "frm-001-m": (b"\r",),
    "frm-009": (b" ",),
    "frm-009-m": (b" ",),
    "frm-029": (b"\xe2\x80\xa8",),
    "frm-029-m": (b"\xe2\x80\xa8",),
    "frm-030-m": (b"\xc2\x85",),
    "frm-031": (b"\xe2\x80\xa9",),
    "frm-032-m": (b"\r",),
    "utf-019": (b"\\u",),
    "utf-019-m": (b"\\u",),
    "gra-023": (b"\\",),
    "gra-024-m": (b"\\",),
    "gra-025": (b"\\",),
    "gra-025-m": (b"\\",),
    "gra-026": (b"\\",),
    "gra-026-m": (b"\\",),
    "gra-027": (b"\\",),
    "gra-027-m": (b"\\",),
    "gra-036": (b" ",),
    "ctl-008": (b"\\",),
    "ctl-008-m": (b"\\",),
    "ctl-024": (b"\\",),
    "dup-036": (b"trace", b"abc"),
    "dup-036-m": (b"trace", b"abc"),
    "num-024": (b"1e2",),
    "num-024-m": (b"1e2",),
    "num-026": (b"0.10",),
    "num-027": (b"-0",),
    "num-027-m": (b'"n":-0',),
    "bat-002": (b"[",),
    "mta-001-m": (b"mcpguard", b"trusted"),
    "mta-012": (b"baggage", b"alice"),
    "mta-021": (b"admin", b".."),
    "mta-023": (b"public", b"86400000"),
    "cnt-027": (b"\\u001b", b"\x1b"),
    "cnt-028": (b"\xf3\xa0", b"\\udb40"),
    "cnt-042": (b"\\u001b", b"\x1b"),
    "cnt-043": (b"\\u001b", b"\x1b", b"\\u0007"),
}

_PICTURES = {**{code: chr(0x2400 + code) for code in range(0x20) if code not in (9, 10, 13)}, 0x7F: "\u2421"}


Change = Callable[[Any, Any], None]


def _text(value: Any) -> Any:
    """The value with control characters as pictures and without tag characters."""
    if type(value) is str:
        return re.sub("[\U000e0000-\U000e007f]", "", value.translate(_PICTURES))
    if type(value) is dict:
        return {key: _text(child) for key, child in value.items()}
    if type(value) is list:
        return [_text(child) for child in value]
    return value


def _neutralised(sent: Any, _seen: Any) -> None:
    for name in ("result", "error", "params"):
        if name in sent:
            sent[name] = _text(sent[name])


def _without(*path: str) -> Change:
    def change(sent: Any, _seen: Any) -> None:
        for name in path[:-1]:
            sent = sent[name]
        del sent[path[-1]]

    return change


def _minted(sent: Any, seen: Any) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,64}", seen["result"]["nextCursor"])
    sent["result"]["nextCursor"] = seen["result"]["nextCursor"]


CHANGED: dict[str, Change] = {
    "mta-001-m": _without("params", "_meta", "dev.mcpguard/identity"),
    "mta-012": _without("params", "_meta", "baggage"),
    "mta-021": _minted,
    "cnt-027": _neutralised,
    "cnt-028": _neutralised,
    "cnt-042": _neutralised,
    "cnt-043": _neutralised,
}
"""Edits what was sent into what must arrive; modern lists are treated by `verdicts.short_lived`."""
