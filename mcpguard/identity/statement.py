"""Statements: what is inside an envelope. Strict JSON, moments, and the frame of in-toto Statement v1.

Rule 1. What is read is what every reader would read: a member that stands twice, anywhere, refuses the whole text,
and so do a lone surrogate, NaN, an infinite number and bytes behind the value.
Rule 2. `_type` and `predicateType` must be exactly ours. Other members are ignored, except those that a predicate
lists in `crit`: whoever does not know one of them must refuse.
Rule 3. Every subject has a name of its own and a SHA-256.

Not here: signatures (`dsse`), and what a predicate says.

Source: in-toto attestation framework, Statement v1; RFC 8259; RFC 3339; `crit` as in RFC 7515 4.1.11.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Final, Never

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.model import Json, JsonObject

STATEMENT: Final = "https://in-toto.io/Statement/v1"
"""`_type` of every statement."""

_AGAIN: Final = "get it again from who signed it"
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def parse_json(data: bytes, what: str) -> JsonObject:
    """Read one JSON object strictly; `what` names it in errors, such as "the envelope".

    Raises:
        TrustError: It is not UTF-8, not JSON, not an object, repeats a member, or has bytes behind it.
    """
    try:
        text = data.decode()
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half a character raises
    except (ValueError, RecursionError) as error:
        raise TrustError(f"{what} is not strict JSON: {_why(error)}", hint=_AGAIN) from error
    if not isinstance(value, dict):
        raise TrustError(f"{what} is not a JSON object", hint=_AGAIN)
    return value


def parse_time(text: str, what: str) -> datetime:
    """A moment (RFC 3339, with `T` and with `Z` or an offset), in UTC; `what` names it in errors.

    Raises:
        TrustError: It is not such a moment.
    """
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise TrustError(
            f"{what} is {text[:40]!a}, which is no moment", hint="write it as 2027-01-31T00:00:00Z"
        ) from error


def format_time(moment: datetime) -> str:
    """A moment as statements hold it: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def statement(predicate_type: str, subject: Mapping[str, str], predicate: JsonObject) -> bytes:
    """The payload of an envelope.

    Args:
        predicate_type: What kind of statement it is.
        subject: Name and SHA-256 (hex) of what it is about.
        predicate: What it says; members without a value are the caller's to leave out.
    """
    return msgspec.json.encode(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subject.items()],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def parse_statement(payload: bytes, predicate_type: str) -> tuple[dict[str, str], JsonObject]:
    """Subjects (name to SHA-256, hex) and predicate of a payload.

    Not here: `crit` of the predicate; call `check_critical` with the members that you understand.

    Raises:
        TrustError: It is not strict JSON, not a statement, or of another type.
    """
    value = parse_json(payload, "the statement")
    if value.get("_type") != STATEMENT:
        raise TrustError(
            f"the statement is of type {_shown(value.get('_type'))}, not {STATEMENT}", hint=_AGAIN
        )
    if value.get("predicateType") != predicate_type:
        raise TrustError(
            f"the statement is a {_shown(value.get('predicateType'))}, not a {predicate_type}", hint=_AGAIN
        )
    predicate = value.get("predicate")
    if not isinstance(predicate, dict):
        raise TrustError("the statement has no predicate", hint=_AGAIN)
    return _subjects(value.get("subject")), predicate


def check_critical(predicate: JsonObject, known: Container[str]) -> None:
    """Refuse a predicate that marks a member as critical which this version does not know, or which is not there.

    Raises:
        TrustError: `crit` is malformed, or names such a member.
    """
    critical = predicate.get("crit", [])
    if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
        raise TrustError("'crit' of the statement is not a list of names", hint=_AGAIN)
    for name in critical:
        if name not in known:
            raise TrustError(
                f"the statement demands {name[:40]!a}, which this version does not know",
                hint="update mcpguard",
            )
        if name not in predicate:
            raise TrustError(f"the statement demands {name[:40]!a}, which it does not have", hint=_AGAIN)


def _subjects(value: Json) -> dict[str, str]:
    """Name to SHA-256 of every subject."""
    if not isinstance(value, list) or len(value) > limits.SUBJECTS:
        raise TrustError(f"the statement has no list of at most {limits.SUBJECTS} subjects", hint=_AGAIN)
    subjects: dict[str, str] = {}
    for entry in value:
        name = entry.get("name") if isinstance(entry, dict) else None
        digest = entry.get("digest") if isinstance(entry, dict) else None
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        if not isinstance(name, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise TrustError("a subject of the statement lacks its name or its SHA-256", hint=_AGAIN)
        if name in subjects:
            raise TrustError(f"the statement has two subjects {name[:40]!a}", hint=_AGAIN)
        subjects[name] = sha256
    return subjects


def _members(pairs: list[tuple[str, Json]]) -> JsonObject:
    """An object each of whose members stands once."""
    found: JsonObject = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:40]!a} stands twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    """A number that a double can hold."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _no_constant(text: str) -> Never:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(f"{text} is not a number")


def _why(error: Exception) -> str:
    """What is wrong, without quoting the text."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeError):
        return "not UTF-8, or half a character"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error)[:120]


def _shown(value: Json) -> str:
    """A type that somebody wrote, for an error."""
    return ascii(value[:60]) if isinstance(value, str) else "none"
