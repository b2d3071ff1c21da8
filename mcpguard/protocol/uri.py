"""URIs in one form: what policy judges is what the server gets.

Rule 1: two spellings that every reader takes for one are made one: case of scheme and host, needless percent
encoding, dot segments.
Rule 2: what readers take differently is refused: encoded slashes, dots, backslashes and controls, a backslash, user
information, dot segments that lead above the root.
Rule 3: normalising twice changes nothing.

Source: RFC 3986, section 6.2.2, syntax-based normalisation.

Not here: whether anything is at a URI; names of files that differ in case only.
"""

from __future__ import annotations

import re
from typing import Final

from mcpguard import limits
from mcpguard.protocol.strict import Refused

_PARTS: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)((?:\?[^#]*)?(?:#.*)?)", re.DOTALL
)
_ENCODED: Final = re.compile(r"%(..?)?", re.DOTALL)
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
_HIDDEN: Final = frozenset("/\\.")
_HEX: Final = frozenset("0123456789ABCDEFabcdef")
_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def normalise(uri: str) -> str:
    """The one form of a URI.

    Raises:
        Refused: It is no absolute URI, or one that readers take differently.
    """
    if not 0 < len(uri) <= limits.URI_CHARS or not uri.isprintable() or "\\" in uri or " " in uri:
        raise Refused("a URI has a backslash, a space, a control character, or no reasonable length")
    parts = _PARTS.fullmatch(uri)
    if parts is None:
        raise Refused("a URI has no scheme")
    scheme, authority, path, rest = parts[1].lower(), parts[2], _decoded(parts[3]), parts[4]
    if authority is None:
        if path.startswith("/"):
            path = _without_dots(path)
        return f"{scheme}:{path}{rest}"
    host = _host(authority, scheme)
    return f"{scheme}://{host}{_without_dots(path)}{rest}"


def _host(authority: str, scheme: str) -> str:
    if "@" in authority or "%" in authority:
        raise Refused("a URI hides its host behind user information or percent encoding")
    host, colon, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
    if not colon:
        return authority.lower()
    if not port.isascii() or not (port.isdigit() or not port):
        raise Refused("the port of a URI is no number")
    return host.lower() if port in ("", _PORTS.get(scheme)) else f"{host.lower()}:{port}"


def _decoded(path: str) -> str:
    """Percent encoding only where it is needed, in upper case.

    Raises:
        Refused: It is malformed, or hides what separates or climbs.
    """

    def one(match: re.Match[str]) -> str:
        digits = match[1] or ""
        if len(digits) != 2 or not set(digits) <= _HEX:
            raise Refused("a URI has a percent sign that encodes nothing")
        char = chr(int(digits, 16))
        if char in _HIDDEN or char < " " or char == "\x7f":
            raise Refused("a URI encodes a separator, a dot or a control character")
        return char if char in _UNRESERVED else f"%{digits.upper()}"

    return _ENCODED.sub(one, path)


def _without_dots(path: str) -> str:
    """The path without `.` and `..`.

    Raises:
        Refused: It leads above the root.
    """
    out: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        if segment == "..":
            if len(out) <= 1:
                raise Refused("a URI leads above its root")
            out.pop()
        elif segment != ".":
            out.append(segment)
            continue
        if number == len(segments) - 1:
            out.append("")
    return "/".join(out)
