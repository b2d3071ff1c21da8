"""`WWW-Authenticate`: what a server wants to see (RFC 9110 11.6.1; RFC 6750 3; RFC 9728 5.1; RFC 9449 7.1).

Rule: a field that can be read in two ways is refused: a parameter that comes twice, a quote that does not end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthscopes import parse_scopes

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (a pattern)
_PARAMETER: Final = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|\Z)')
_SCHEME: Final = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,|\Z))")
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|\Z)")
_GAP: Final = re.compile(r"[ \t,]*")
_ESCAPE: Final = re.compile(r"\\(.)")


class Challenge(msgspec.Struct, frozen=True):
    """One way to authenticate that a server offers.

    Attributes:
        scheme: In lower case.
        parameters: Names in lower case.
    """

    scheme: str
    parameters: Mapping[str, str] = {}


class Wanted(msgspec.Struct, frozen=True):
    """What the challenges of one answer ask of an OAuth client.

    Attributes:
        error: `invalid_token`, `insufficient_scope`, `use_dpop_nonce`, ...; empty if none is named.
        scopes: The scopes that are needed; authoritative. Empty if none are named.
        metadata: URL of the protected-resource metadata, not checked; empty if none is named.
        dpop: Whether the server wants proofs of possession.
    """

    error: str = ""
    scopes: frozenset[str] = frozenset()
    metadata: str = ""
    dpop: bool = False


def parse_challenges(field: str) -> tuple[Challenge, ...]:
    """The challenges of one field value, or of several that were joined by commas.

    Raises:
        OAuthError: It is not one, or has two meanings.
    """
    if len(field) > limits.OAUTH_CHALLENGE_CHARS or not field.isascii():
        raise OAuthError("the server's WWW-Authenticate is too long, or not ASCII")
    found: list[Challenge] = []
    at = _past(_GAP, field, 0)
    while at < len(field):
        scheme = _SCHEME.match(field, at)
        if scheme is None or len(found) == limits.OAUTH_CHALLENGES:
            raise _unreadable(field)
        parameters, at = _parameters(field, scheme.end())
        if not parameters:
            at = _past(_TOKEN68, field, at)
        found.append(Challenge(scheme[1].lower(), parameters))
        after = _past(_GAP, field, at)
        if after == at < len(field):  # nothing separates it from what follows
            raise _unreadable(field)
        at = after
    return tuple(found)


def _parameters(field: str, at: int) -> tuple[dict[str, str], int]:
    """The parameters that begin there, and where they end."""
    parameters: dict[str, str] = {}
    end = at
    while parameter := _PARAMETER.match(field, at):
        name, quoted = parameter[1].lower(), parameter[2]
        if name in parameters:
            raise _unreadable(field)
        parameters[name] = parameter[3] if quoted is None else _ESCAPE.sub(r"\1", quoted)
        end = parameter.end()
        at = _past(_GAP, field, end)
    return parameters, end


def wanted(field: str) -> Wanted:
    """What the Bearer and DPoP challenges of a field ask for; others are left out.

    Raises:
        OAuthError: As for `parse_challenges`, or two of them disagree about where metadata is.
    """
    ours = [each for each in parse_challenges(field) if each.scheme in ("bearer", "dpop")]
    places = {each.parameters.get("resource_metadata", "") for each in ours} - {""}
    if len(places) > 1:
        raise _unreadable(field)
    errors = [each.parameters["error"] for each in ours if each.parameters.get("error")]
    scopes = frozenset[str]().union(*(parse_scopes(each.parameters.get("scope", "")) for each in ours))
    return Wanted(
        error=errors[0] if errors else "",
        scopes=scopes,
        metadata=places.pop() if places else "",
        dpop=any(each.scheme == "dpop" for each in ours),
    )


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _unreadable(field: str) -> OAuthError:
    return OAuthError(f"the server's WWW-Authenticate cannot be read: {shown(field)}")
