"""API keys: how one is written, what is kept of it, and whether it may be used here and now.

::

    mcpg_k3w9x2m7q4_4fJ8...43 characters of base62...Z0r6CHECK
         `- id       `- 256 random bits            `- CRC-32, 6 characters of base62

Rule 1. What is kept is a BLAKE2b-256 digest. 256 random bits cannot be guessed, so that nothing slower is needed.
Rule 2. An unknown id costs what a known one costs: one digest, and as many comparisons, each in constant time.
Rule 3. A fault of the binding or the time is told only to whoever has shown the secret.

The beginning and the check digits let scanners of secrets, and `audit.looks`, tell a key from other text.

Decided:
    *A key keeps its id over rotations*, so that policy that names `key:ID` goes on to hold; rejected: a new key each
    time, which every rule would have to be told of.

Not here: where keys are kept (`system.apikeystore`), randomness and the clock.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import zlib
from typing import Final

import msgspec

from mcpguard.errors import PeerError

PREFIX: Final = "mcpg_"
SECRET_BYTES: Final = 32
ID_BYTES: Final = 8
DIGITS: Final = 16
"""So many digits of a digest tell the secrets of one key apart, in records."""
SECRETS: Final = 2
"""Secrets that one key has at a time: the newest, and the one before until the overlap is over."""
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_SECRET_CHARS: Final = 43
_CHECK_CHARS: Final = 6
_ID_CHARS: Final = 10
"""Too few to be taken for a secret: ids stand in records, behind the word `key` (`audit.looks`)."""
_KEY: Final = re.compile(r"mcpg_([a-z0-9]{10})_([A-Za-z0-9]{43})([A-Za-z0-9]{6})")
_NOBODY: Final = "0" * 64
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

UNKNOWN: Final = "the API key is not known here"
_ANOTHER: Final = "mcpguard apikey create makes another"


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One secret of a key.

    Attributes:
        digest: BLAKE2b-256 of the whole key as text, hex.
        created: Unix seconds.
        until: Unix seconds from which it no longer counts, because another took its place; 0.0 for never.
    """

    digest: str
    created: float
    until: float = 0.0


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one key.

    Attributes:
        id: Names it in policy (`key:ID`), in records and in the key itself.
        name: What people call it.
        secrets: The newest first; at most `SECRETS`.
        created: Unix seconds.
        by: Who made it.
        expires: Unix seconds from which it no longer counts; 0.0 for never.
        revoked: Unix seconds at which it was revoked; 0.0 if it was not.
        servers: Patterns of servers that it may reach; empty for all that policy allows.
        tools: Patterns of tools that it may call; likewise.
        uids: Users that may show it, on a Unix socket; empty for any.
        certificates: SHA-256 of the client certificates beside which it counts, hex; empty for none needed.
        networks: Networks that it may come from, in CIDR; empty for any, and for Unix sockets.
        used: Unix seconds of the last use; 0.0 for never.
    """

    id: str
    name: str
    secrets: tuple[Secret, ...]
    created: float
    by: str = ""
    expires: float = 0.0
    revoked: float = 0.0
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    certificates: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    used: float = 0.0

    @property
    def principal(self) -> str:
        """As policy names it."""
        return f"key:{self.id}"


def identifier(random: bytes) -> str:
    """The id that `ID_BYTES` random bytes make."""
    return _based(int.from_bytes(random), _BASE32, _ID_CHARS)


def write(ident: str, random: bytes) -> str:
    """The key that `SECRET_BYTES` random bytes make."""
    body = f"{PREFIX}{ident}_{_based(int.from_bytes(random), _BASE62, _SECRET_CHARS)}"
    return body + _check(body)


def is_key(text: str) -> bool:
    """Whether a text means to be an API key."""
    return text.startswith(PREFIX)


def parse(text: str) -> str:
    """The id in a key.

    Raises:
        PeerError: It is not one, or is mistyped. The sentence does not repeat it.
    """
    match = _KEY.fullmatch(text)
    if match is None:
        raise PeerError(
            "what was shown is not an API key of mcpguard", hint="one looks like mcpg_ID_ and 49 characters"
        )
    if not hmac.compare_digest(_check(text[:-_CHECK_CHARS]), match[3]):
        raise PeerError("the API key is mistyped: its check digits do not fit", hint="copy it again")
    return match[1]


def digest(text: str) -> str:
    """What is kept of a key."""
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"mcpguard-apikey").hexdigest()


def recognised(key: ApiKey | None, text: str, now: float) -> Secret:
    """The secret of `key` that was shown; `key` is the one with that id, None if there is none.

    Not here: whether the key may be used (`require_usable`).

    Raises:
        PeerError: It is none of them; of whether the id exists the sentence says nothing.
    """
    shown = digest(text)
    secrets = key.secrets if key is not None else ()
    found: Secret | None = None
    for place in range(SECRETS):
        kept = secrets[place] if place < len(secrets) else None
        same = hmac.compare_digest(kept.digest if kept is not None else _NOBODY, shown)
        if same and kept is not None:
            found = kept
    if found is None:
        raise PeerError(UNKNOWN, hint=_ANOTHER)
    _require_current(found, now)
    return found


def still(key: ApiKey | None, shown: str, now: float) -> None:
    """A secret that was recognised before is one of the key's, and the key is not over.

    `shown`: the first `DIGITS` of its digest.

    Raises:
        PeerError: It is not.
    """
    found = (
        next((each for each in key.secrets if each.digest[:DIGITS] == shown), None)
        if key is not None
        else None
    )
    if key is None or found is None:
        raise PeerError("the API key was removed or replaced", hint=_ANOTHER)
    _require_current(found, now)
    _require_valid(key, now)


def require_usable(key: ApiKey, now: float, uid: int | None, certificate: str, network: str) -> None:
    """The key may be used now by this user, beside this certificate (SHA-256, hex), from this address.

    Raises:
        PeerError: It may not.
    """
    _require_valid(key, now)
    if key.uids and (uid is None or uid not in key.uids):
        whom = "another machine" if uid is None else f"uid {uid}"
        raise PeerError(f"the API key {key.id} is bound to a user, and was shown by {whom}")
    if key.certificates and not any(hmac.compare_digest(each, certificate) for each in key.certificates):
        shown = "with another one" if certificate else "without one"
        raise PeerError(f"the API key {key.id} is bound to a client certificate, and was shown {shown}")
    if key.networks and not _within(network, key.networks):
        raise PeerError(
            f"the API key {key.id} is bound to a network, and came from {network or 'a Unix socket'}"
        )


def expiry(key: ApiKey, secret: Secret) -> float:
    """Unix seconds from which a secret of the key no longer counts; 0.0 for never."""
    return min((each for each in (key.expires, secret.until) if each), default=0.0)


def rotated(key: ApiKey, fresh: Secret, overlap: float) -> ApiKey:
    """The key with another secret; the one before counts for `overlap` seconds more, and none before that."""
    before = key.secrets[0]
    until = fresh.created + overlap
    kept = msgspec.structs.replace(before, until=min(before.until or until, until))
    return msgspec.structs.replace(key, secrets=(fresh, kept) if overlap > 0 else (fresh,))


def flaw(key: ApiKey) -> str:
    """What is wrong with a key that was read or asked for, as the end of a sentence; empty if nothing is."""
    if not 1 <= len(key.secrets) <= SECRETS or not all(
        _DIGEST.fullmatch(secret.digest) for secret in key.secrets
    ):
        return "its secrets are damaged"
    if not all(_DIGEST.fullmatch(each) for each in key.certificates):
        return "a certificate is bound by its SHA-256, 64 digits of 0-9 a-f"
    if any(not 0 <= uid < 2**32 - 1 for uid in key.uids):
        return "a user id is a whole number from 0"
    for each in key.networks:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            return f"{each[:60]!a} is not a network, as in 10.0.0.0/8 or 2001:db8::/32"
    return ""


def _require_current(secret: Secret, now: float) -> None:
    if secret.until and now >= secret.until:
        raise PeerError(
            "the API key was rotated, and the overlap is over", hint="use the key that took its place"
        )


def _require_valid(key: ApiKey, now: float) -> None:
    if key.revoked:
        raise PeerError(f"the API key {key.id} is revoked", hint=_ANOTHER)
    if key.expires and now >= key.expires:
        raise PeerError(
            f"the API key {key.id} has expired", hint=f"mcpguard apikey rotate {key.id} --expires 90d"
        )


def _within(network: str, allowed: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(network.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in ipaddress.ip_network(each) for each in allowed)


def _check(body: str) -> str:
    return _based(zlib.crc32(body.encode()), _BASE62, _CHECK_CHARS)


def _based(number: int, digits: str, width: int) -> str:
    made = []
    for _ in range(width):
        number, digit = divmod(number, len(digits))
        made.append(digits[digit])
    return "".join(reversed(made))
