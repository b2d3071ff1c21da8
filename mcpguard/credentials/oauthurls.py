"""URLs that an authorization server or a remote server names: which are acceptable at all.

Rule 1: https, or http to this machine where the caller says that this may be; no other scheme, ever.
Rule 2: no user information, no fragment, no character that a shell, a terminal or another parser could read as
anything but a part of a URL.
Rule 3: what is accepted is used as it is: nothing is decoded, normalised or repaired.

Source: RFC 3986; MCP security best practices, "OAuth URL validation"; CVE-2025-6514, where an authorization endpoint
reached a shell.

Not here: which addresses a host name leads to (the egress policy of `Fetch`).

Decided: *`! $ ' ( ) * ;` are refused in endpoints* although RFC 3986 allows them, because no authorization server
needs them and every launcher of browsers is spared them; rejected: percent-encoding them, which makes another URL.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError, shown

_ENDPOINT: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@&+,=%#]+")
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NETLOC: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def is_loopback(url: str) -> bool:
    """Whether a URL that was accepted names this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def accept(url: str, what: str, *, plain: bool = False) -> str:
    """The URL, if it is acceptable; `what` it is, for the sentence. `plain`: http to this machine is.

    Raises:
        OAuthError: It is not.
    """
    if fault := refused(url, plain=plain):
        raise OAuthError(f"{what} {shown(url)} is refused: {fault}")
    return url


def refused(url: str, *, plain: bool = False) -> str:
    """Why a URL is not acceptable; empty if it is."""
    if not 0 < len(url) <= limits.OAUTH_URL_CHARS:
        return f"it must have 1 to {limits.OAUTH_URL_CHARS} characters"
    if not _ENDPOINT.fullmatch(url):
        return "it has a character that no endpoint needs"
    if _BROKEN.search(url):
        return "a percent sign in it begins no escape"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it cannot be parsed"
    if "#" in url:
        return "it has a fragment"
    return _authority(parts, port, plain=plain)


def _authority(parts: SplitResult, port: int | None, *, plain: bool) -> str:
    if parts.scheme not in ("https", "http") or not parts.netloc:
        return "only https is acceptable"
    if "@" in parts.netloc or "%" in parts.netloc:
        return "it has user information before its host"
    if not _NETLOC.fullmatch(parts.netloc) or port == 0:
        return "its host or port is none"
    if parts.scheme == "http" and not (plain and parts.hostname in _LOOPBACK):
        return "only https is acceptable" if not plain else "http is acceptable for this machine only"
    return ""


def odd(text: str) -> bool:
    """Whether a part of a URL has a character that no endpoint needs, or a broken escape."""
    return not _ENDPOINT.fullmatch(text) or bool(_BROKEN.search(text)) or "#" in text


def origin(url: str) -> str:
    """Scheme, host and port of a URL that was accepted, in lower case, without the default port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{named}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def within(url: str, resource: str) -> bool:
    """Whether a URL is at a resource or below it: same origin, and its path begins with all of the other's parts."""
    if origin(url) != origin(resource):
        return False
    base, path = urlsplit(resource).path.rstrip("/"), urlsplit(url).path
    return path.rstrip("/") == base or path.startswith(f"{base}/")


def canonical(url: str) -> str:
    """What RFC 8707 calls the resource, for a remote server: its URL without query, its origin in lower case.

    Source: MCP authorization, "Canonical Server URI". A single slash as the path is left out.
    """
    path = urlsplit(url).path
    return origin(url) + ("" if path == "/" else path)
