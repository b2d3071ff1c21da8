"""Text from a server made harmless for terminals and for eyes, and nothing else changed.

C0 controls other than tab, LF and CR become their visible pictures (ESC becomes U+241B), C1 controls and Unicode
tag characters are removed. Only when policy says `text = "neutralise"`, which is the default of enforce mode.

Cost: one substring search per message when there is nothing to do.
"""

from __future__ import annotations

import re
from typing import Final

from mcpguard.model import Json

_SUSPECT: Final = re.compile(rb"\\[ubf]|\x7f|\xc2[\x80-\x9f]|\xf3\xa0[\x80\x81]")
_PICTURES: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"},
    0x7F: "\u2421",
    **{code: None for code in range(0x80, 0xA0) if code != 0x85},
    **dict.fromkeys(range(917504, 917632)),
}
_OPAQUE: Final = frozenset({"requestState", "taskId"})


def suspicious(line: bytes) -> bool:
    """Whether the encoded line can hold anything that `neutralise` would change; errs on the side of yes.

    One byte is searched for before two: that is the speed of memory, a search for two bytes is 50 times slower.
    """
    if line.isascii():
        if b"\x7f" in line:
            return True
        return b"\\" in line and (b"\\u" in line or b"\\b" in line or b"\\f" in line)
    return _SUSPECT.search(line) is not None


def neutralise(value: Json) -> Json:
    """The same value with every string harmless; changed in place.

    Keys are left alone, and so is what must come back as it was given.
    """
    kind = type(value)
    if kind is str:
        return value if value.isprintable() else value.translate(_PICTURES)
    if kind is dict:
        for key, child in value.items():
            if key not in _OPAQUE:
                value[key] = neutralise(child)
    elif kind is list:
        value[:] = [neutralise(child) for child in value]
    return value
