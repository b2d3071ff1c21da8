"""What a rule says of `elicitation/create`: forms, and pages by their host.

Rule 1: without a mode it is a form (MCP client/elicitation, revision 2025-11-25); a mode that is not known, or a
page whose host programs may read differently, cannot be told (None).

Not here: what a form asks for, what a page does.
"""

from __future__ import annotations

import re
from typing import Final

from mcpguard.model import Json
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import Elicit

MODES: Final = ("form", "url")
"""The modes of an elicitation."""

_URL: Final = re.compile(
    r"https?://([a-z0-9_.-]{1,253})(?::[0-9]{1,5})?(?:[/?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,  # else the other case of some letter of another alphabet is one of these
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ADDRESS: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")


class Elicited:
    """`elicitation` of a rule, compiled."""

    __slots__ = ("_hosts", "_modes", "always")

    def __init__(self, elicit: Elicit) -> None:
        self._modes = elicit.modes
        self._hosts = tuple(compile_pattern(pattern.text.lower()) for pattern in elicit.hosts)
        self.always = set(elicit.modes) >= set(MODES) and not elicit.hosts

    def holds(self, params: Json) -> bool | None:
        """Whether the rule speaks of an elicitation; `params` of the request."""
        if type(params) is not dict:
            return None
        mode = params.get("mode", "form")
        if mode not in MODES:
            return None
        if mode not in self._modes:
            return False
        if mode != "url" or not self._hosts:
            return True
        host = host_of(params.get("url"))
        return None if host is None else any(pattern.matches(host) for pattern in self._hosts)

    def wanting(self, params: Json) -> str:
        """What would have to be otherwise, as the end of a sentence that begins with `if`."""
        mode = params.get("mode", "form") if type(params) is dict else ""
        if mode not in self._modes:
            return f"its mode were {' or '.join(self._modes)}"
        return f"its page were on {' or '.join(pattern.text for pattern in self._hosts)}"


def host_of(url: Json) -> str | None:
    """The host of an http or https URL, in lower case and without a final dot.

    None if programs may disagree about it: users, other alphabets, escapes, blanks, backslashes, addresses in
    brackets or in other forms than four decimal numbers (WHATWG URL, host parsing, against RFC 3986, section 3.2.2).
    """
    found = _URL.fullmatch(url) if type(url) is str else None
    if found is None or "\\" in found[0]:
        return None
    host = found[1].lower()
    if ".." in host or host.startswith("."):
        return None
    host = host.removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and not _ADDRESS.fullmatch(host):
        return None
    return host
