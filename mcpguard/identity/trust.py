"""The trust set: whose signatures count for what; and revocations. Both are statements in signed envelopes.

Rule 1. A trust set is signed by its own root role; the first has version 1. Version N+1 is signed by a threshold of
the root keys of N *and* of N+1, and follows N directly (TUF specification 5.3).
Rule 2. A publisher signs manifests whose names its prefix covers, component by component: `io.github.acme` covers
`io.github.acme/files` and not `io.github.acmes/files`. Of several publishers the longest prefix decides, alone:
whoever may sign everything may still not sign what is under somebody's narrower prefix. No two have the same prefix.
Rule 3. Revocations have a role and a short life of their own, and their versions only rise. They take keys from
publishers, not from `root` or `revocation`: the daily key must not be able to lock out the one above it.
Rule 4. The moment is an argument. Whoever has a clock floor passes `judged(now, floor)`.

Not here: which version was seen before (`system.truststore` remembers it), and what becomes of a session that runs.

Source: the roles and the update rule of The Update Framework 1.0; in-toto Statement v1.

Decided:
    *A root role has no expiry but that of the set, and an expired set may still sign its successor*, as in TUF 5.3;
    rejected: otherwise a set that nobody renewed in time could only be replaced by starting from zero.
    *Unknown members of a role or a key refuse the set*, because a limit that is not understood is not kept; other
    unknown members are ignored unless `crit` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeVar

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.dsse import IN_TOTO, Envelope, parse_envelope, signed_by
from mcpguard.identity.keys import PublicKey, parse_public_key
from mcpguard.identity.statement import check_critical, parse_statement, parse_time, statement
from mcpguard.model import JsonObject

TRUST: Final = "urn:mcpguard:trust:v1"
"""Predicate type of a trust set."""
REVOCATIONS: Final = "urn:mcpguard:revocations:v1"
"""Predicate type of revocations."""
LOCAL: Final = "local"
"""The publisher whose keys belong to the user of this machine; its prefix is empty."""
ROOT: Final = "root"
"""Name of the role that signs trust sets."""
REVOCATION: Final = "revocation"
"""Name of the role that signs revocations."""

_SHOW: Final = "see `mcpguard trust show`"
_AGAIN: Final = "get it again from who signed it"
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*|")
_IDENT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

Version = Annotated[int, msgspec.Meta(ge=1, le=limits.ID_MAX)]
Revoked = Annotated[frozenset[str], msgspec.Meta(max_length=limits.REVOKED)]
_Form = TypeVar("_Form", bound=msgspec.Struct)


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys that may vouch together.

    Attributes:
        keys: Their idents, each once.
        threshold: How many of them must sign, at least one.
        prefix: Of a publisher: what names of manifests start with, whole components; empty for every name.
        not_before: RFC 3339: signatures count from; empty for always.
        expires: RFC 3339: signatures no longer count from; empty for never.
    """

    keys: tuple[str, ...]
    threshold: int = 1
    prefix: str = ""
    not_before: str = ""
    expires: str = ""

    def covers(self, name: str) -> bool:
        """Whether the prefix covers the name of a manifest: all of it, or whole components at its front."""
        if not name.startswith(self.prefix):
            return False
        return not self.prefix or self.prefix[-1] in "./" or name[len(self.prefix) :][:1] in {"", ".", "/"}

    def fault(self, now: datetime) -> str:
        """Why signatures do not count at this moment: `is not valid before ...`; empty if they do."""
        if self.not_before and now < parse_time(self.not_before, "not_before"):
            return f"is not valid before {self.not_before}"
        if self.expires and now >= parse_time(self.expires, "expires"):
            return f"expired at {self.expires}"
        return ""


class TrustSet(msgspec.Struct, frozen=True):
    """Whose signatures count, for what, and until when.

    Attributes:
        version: From 1, rising by one.
        expires: RFC 3339: nothing is vouched for from then on.
        keys: Ident to key, of every key that a role names.
        root: Who signs the next trust set.
        revocation: Who signs revocations.
        publishers: Namespace to role: who signs manifests.
        until: Ident to RFC 3339: keys that stop counting before their roles do. Never a root key.
    """

    version: int
    expires: str
    keys: dict[str, PublicKey]
    root: Role
    revocation: Role
    publishers: dict[str, Role]
    until: dict[str, str] = {}

    def encode(self) -> bytes:
        """The payload that states it: what is signed.

        Raises:
            TrustError: `parse_trust` would refuse it; nothing that cannot be read back is ever signed.
        """
        predicate: JsonObject = {
            "version": self.version,
            "expires": self.expires,
            "crit": ["keys", "publishers", "revocation", "root"],
            "keys": {
                ident: {"key": key.line()} | ({"expires": self.until[ident]} if ident in self.until else {})
                for ident, key in self.keys.items()
            },
            "root": msgspec.to_builtins(self.root),
            "revocation": msgspec.to_builtins(self.revocation),
            "publishers": msgspec.to_builtins(self.publishers),
        }
        payload = statement(TRUST, _subjects(self.keys), predicate)
        parse_trust(payload)
        return payload

    def role(self, name: str) -> Role | None:
        """A role by its name: `root`, `revocation`, or a namespace; None if there is none."""
        return self.roles().get(name)

    def roles(self) -> dict[str, Role]:
        """Every role by its name."""
        return {**self.publishers, ROOT: self.root, REVOCATION: self.revocation}

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return now >= parse_time(self.expires, "expires")

    def lasting(self, expires: str) -> TrustSet:
        """The same version with another expiry (RFC 3339): a change that goes with another one."""
        return checked(msgspec.structs.replace(self, expires=expires))

    def counting(self, role: Role, now: datetime) -> list[PublicKey]:
        """The keys of a role that have not stopped counting by themselves. Not here: the role's own validity."""
        return [
            self.keys[ident]
            for ident in role.keys
            if ident not in self.until or now < parse_time(self.until[ident], "expires")
        ]

    def publisher(self, name: str) -> tuple[str, Role]:
        """Namespace and role that decide about manifests of this name: the longest prefix that covers it.

        Raises:
            TrustError: No publisher may sign it.
        """
        covering = [entry for entry in self.publishers.items() if entry[1].covers(name)]
        if not covering:
            raise TrustError(
                f"no publisher may sign manifests called {name[:80]!a}",
                hint="if you trust one, add its key with `mcpguard trust add-key NAMESPACE FILE`",
            )
        return max(covering, key=lambda entry: len(entry[1].prefix))


class Revocations(msgspec.Struct, frozen=True):
    """What no longer counts.

    Attributes:
        version: From 1, rising.
        expires: RFC 3339: from then on somebody may be keeping a newer one back.
        keys: Idents of keys of publishers.
        manifests: `sha256:HEX` of payloads.
        packages: `sha256:HEX` of trees, lock files and executables.
        minimum: Name of a manifest to the lowest version that counts.
    """

    version: int
    expires: str
    keys: frozenset[str] = frozenset()
    manifests: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    minimum: dict[str, int] = {}

    def encode(self) -> bytes:
        """The payload that states it: what is signed.

        Raises:
            TrustError: `parse_revocations` would refuse it.
        """
        predicate: JsonObject = {
            "version": self.version,
            "expires": self.expires,
            "crit": ["keys", "manifests", "minimum", "packages"],
            "keys": sorted(self.keys),
            "manifests": sorted(self.manifests),
            "packages": sorted(self.packages),
            "minimum": self.minimum,
        }
        payload = statement(REVOCATIONS, _revoked_subjects(self.manifests | self.packages), predicate)
        parse_revocations(payload)
        return payload

    def stale(self, now: datetime) -> bool:
        """Whether its time is over. It still holds; policy says whether its age is a reason to refuse."""
        return now >= parse_time(self.expires, "expires")


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    expires: str = ""


class _TrustForm(msgspec.Struct, frozen=True):
    version: Version
    expires: str
    keys: Annotated[dict[str, _Key], msgspec.Meta(max_length=limits.TRUST_KEYS)]
    root: Role
    revocation: Role
    publishers: Annotated[dict[str, Role], msgspec.Meta(max_length=limits.PUBLISHERS)]


class _RevocationsForm(msgspec.Struct, frozen=True):
    version: Version
    expires: str
    keys: Revoked
    manifests: Revoked
    packages: Revoked
    minimum: Annotated[dict[str, Version], msgspec.Meta(max_length=limits.REVOKED)]


# --- reading --------------------------------------------------------------------------------------------


def parse_trust(payload: bytes) -> TrustSet:
    """The trust set that a payload states.

    Not here: signatures, expiry, which version may follow which.

    Raises:
        TrustError: It is not strict JSON, not a trust set, contradicts itself, or demands what is not known here.
    """
    subject, predicate = parse_statement(payload, TRUST)
    check_critical(predicate, _TrustForm.__struct_fields__)
    form = _convert(predicate, _TrustForm, "the trust set")
    keys: dict[str, PublicKey] = {}
    for ident, entry in form.keys.items():
        key = parse_public_key(entry.key)
        if key.ident != ident:
            raise TrustError(f"the trust set calls key {key.ident} {ident[:60]!a}", hint=_AGAIN)
        keys[ident] = key
    if subject != _subjects(keys):
        raise TrustError("the subjects of the trust set are not its keys", hint=_AGAIN)
    until = {ident: entry.expires for ident, entry in form.keys.items() if entry.expires}
    return checked(
        TrustSet(form.version, form.expires, keys, form.root, form.revocation, form.publishers, until)
    )


def parse_revocations(payload: bytes) -> Revocations:
    """The revocations that a payload states. Not here: signatures, and which version was seen.

    Raises:
        TrustError: It is not strict JSON, not revocations, or demands what is not known here.
    """
    subject, predicate = parse_statement(payload, REVOCATIONS)
    check_critical(predicate, _RevocationsForm.__struct_fields__)
    form = _convert(predicate, _RevocationsForm, "the revocation file")
    parse_time(form.expires, "the expiry of the revocation file")
    for pattern, entries in ((_IDENT, form.keys), (_DIGEST, form.manifests | form.packages)):
        for entry in entries:
            if not pattern.fullmatch(entry):
                raise TrustError(
                    f"the revocation file revokes {entry[:60]!a}, which is no digest", hint=_AGAIN
                )
    if subject != _revoked_subjects(form.manifests | form.packages):
        raise TrustError("the subjects of the revocation file are not what it revokes", hint=_AGAIN)
    return Revocations(form.version, form.expires, form.keys, form.manifests, form.packages, form.minimum)


def first_trust(data: bytes, now: datetime) -> TrustSet:
    """The trust set to start from: version 1, signed by its own root. Whether to believe it is for a person to say.

    Raises:
        TrustError: It is malformed, expired, another version, or not signed by its root.
    """
    envelope = open_envelope(data)
    trust = parse_trust(envelope.payload)
    if trust.version != 1:
        raise TrustError(f"the first trust set has version 1, this one has {trust.version}", hint=_AGAIN)
    _check_root(envelope, trust, "its own")
    _check_fresh(trust, now)
    return trust


def stored_trust(data: bytes) -> TrustSet:
    """A trust set that was accepted before, from where it was kept. It may be expired, and have any version.

    Not here: whether it is the one that was accepted. Whoever keeps it compares version and digest.

    Raises:
        TrustError: It is malformed, or not signed by its own root.
    """
    envelope = open_envelope(data)
    trust = parse_trust(envelope.payload)
    _check_root(envelope, trust, "its own")
    return trust


def next_trust(current: TrustSet, data: bytes, now: datetime) -> TrustSet:
    """The trust set that follows the current one.

    Raises:
        TrustError: It is malformed, expired, not the very next version, or not signed by both root roles.
    """
    envelope = open_envelope(data)
    _check_root(envelope, current, "the current")
    trust = parse_trust(envelope.payload)
    if trust.version != current.version + 1:
        raise TrustError(
            f"version {trust.version} of the trust set does not follow version {current.version}",
            hint="apply every version in turn; see `mcpguard trust show`",
        )
    _check_root(envelope, trust, "its own")
    _check_fresh(trust, now)
    return trust


def revocations(trust: TrustSet, data: bytes, now: datetime, seen_version: int) -> Revocations:
    """Revocations that the trust set's role signed. They may be stale: see `Revocations.stale`.

    Args:
        trust: Says who may revoke. It may be expired: what takes trust away is not refused for that.
        data: The envelope.
        now: For the validity of the role and its keys.
        seen_version: The highest version seen before; 0 if none was.

    Raises:
        TrustError: It is malformed, not signed by the role, or older than what was seen.
    """
    envelope = open_envelope(data)
    role = trust.revocation
    if fault := role.fault(now):
        raise TrustError(
            f"the role that may revoke {fault}", hint="mcpguard trust add-key revocation KEY --expires WHEN"
        )
    count = len(signed_by(envelope, trust.counting(role, now)))
    if count < role.threshold:
        raise TrustError(
            f"the revocation file needs {role.threshold} signatures of those who may revoke, and has {count}",
            hint="sign it with `mcpguard sign FILE --key KEY`; `mcpguard trust show` lists the keys",
        )
    found = parse_revocations(envelope.payload)
    if found.version < seen_version:
        raise TrustError(
            f"the revocation file has version {found.version}, and {seen_version} was seen: it was put back",
            hint="get the newest one from who signs it",
        )
    return found


def open_envelope(data: bytes) -> Envelope:
    """An envelope whose payload is a statement. Nothing in it is verified.

    Raises:
        TrustError: It is malformed, or its payload is of another type.
    """
    envelope = parse_envelope(data)
    check_type(envelope)
    return envelope


def check_type(envelope: Envelope) -> None:
    """Refuse a payload that is not a statement; the type is part of what is signed.

    Raises:
        TrustError: It is of another type.
    """
    if envelope.payload_type != IN_TOTO:
        raise TrustError(f"the payload is {envelope.payload_type[:60]!a}, not {IN_TOTO}", hint=_AGAIN)


# --- the clock ------------------------------------------------------------------------------------------


def turned_back(now: datetime, floor: datetime | None) -> bool:
    """Whether the clock is more than 5 minutes below the latest moment known to have passed (None: unknown)."""
    return floor is not None and now < floor - timedelta(seconds=limits.CLOCK_SLACK_SECONDS)


def judged(now: datetime, floor: datetime | None) -> datetime:
    """The moment to judge expiry at: `floor` if the clock was turned back, so that what expired stays expired."""
    return floor if floor is not None and turned_back(now, floor) else now


def check_clock(now: datetime, floor: datetime | None) -> None:
    """Refuse to accept anything new while the clock is turned back.

    Raises:
        TrustError: It is.
    """
    if floor is not None and turned_back(now, floor):
        raise TrustError(
            f"the clock went back: it says {now:%Y-%m-%d %H:%M} and {floor:%Y-%m-%d %H:%M} has been; "
            "nothing new is accepted",
            hint="set the clock and try again",
        )


# --- checks ---------------------------------------------------------------------------------------------


def checked(trust: TrustSet) -> TrustSet:
    """A trust set, if it does not contradict itself.

    Raises:
        TrustError: It does; the message says how.
    """
    parse_time(trust.expires, "the expiry of the trust set")
    for name, role in trust.roles().items():
        _check_role(name, role, trust.keys)
    if trust.root.prefix or trust.root.not_before or trust.root.expires or trust.revocation.prefix:
        raise TrustError(
            "the root role has neither a prefix nor a validity of its own, and the revocation role no prefix",
            hint="the expiry of the trust set holds for its root",
        )
    prefixes: dict[str, str] = {}
    for name, role in trust.publishers.items():
        if name in {ROOT, REVOCATION} or not _NAMESPACE.fullmatch(name) or len(name) > limits.PREFIX_CHARS:
            raise TrustError(f"{name[:60]!a} is no namespace", hint="use letters, digits, dots, dashes")
        if other := prefixes.get(role.prefix):
            raise TrustError(
                f"{other} and {name} both have the prefix {role.prefix!a}", hint="give one a narrower prefix"
            )
        prefixes[role.prefix] = name
    for ident, end in trust.until.items():
        parse_time(end, f"the expiry of key {ident}")
        if ident in trust.root.keys:
            raise TrustError(
                f"the root key {ident} has an expiry of its own", hint="rotate root keys instead"
            )
    return trust


def _check_role(name: str, role: Role, keys: Mapping[str, PublicKey]) -> None:
    """Refuse a role with keys that are unknown or stand twice, or with a threshold it cannot reach."""
    if len(set(role.keys)) != len(role.keys):
        raise TrustError(f"{name[:60]!a} names a key twice", hint=_SHOW)
    if unknown := [ident for ident in role.keys if ident not in keys]:
        raise TrustError(f"{name[:60]!a} names key {unknown[0][:60]!a}, which is not there", hint=_SHOW)
    if not 1 <= role.threshold <= len(role.keys):
        raise TrustError(
            f"{name[:60]!a} has {len(role.keys)} keys and wants {role.threshold} signatures",
            hint="add a key with `mcpguard trust add-key`, or choose a threshold from 1 to the number of keys",
        )
    if not _PREFIX.fullmatch(role.prefix) or len(role.prefix) > limits.PREFIX_CHARS:
        raise TrustError(f"{role.prefix[:60]!a} is no prefix of names", hint="use letters, digits, . - _ /")
    starts = role.not_before and parse_time(role.not_before, f"the validity of {name[:60]!a}")
    ends = role.expires and parse_time(role.expires, f"the validity of {name[:60]!a}")
    if starts and ends and starts >= ends:
        raise TrustError(f"{name[:60]!a} expires before it is valid", hint=_SHOW)


def _check_root(envelope: Envelope, trust: TrustSet, whose: str) -> None:
    """Refuse an envelope that the root role of a trust set did not sign."""
    count = len(signed_by(envelope, [trust.keys[ident] for ident in trust.root.keys]))
    if count < trust.root.threshold:
        raise TrustError(
            f"the trust set needs {trust.root.threshold} signatures of {whose} root keys, and has {count}",
            hint="sign it with `mcpguard sign FILE --key KEY`; `mcpguard trust show` lists the keys",
        )


def _check_fresh(trust: TrustSet, now: datetime) -> None:
    """Refuse a trust set whose time is over."""
    if trust.expired(now):
        raise TrustError(
            f"the trust set expired at {trust.expires}", hint="get a newer one from who signs it"
        )


def _convert(predicate: JsonObject, form: type[_Form], what: str) -> _Form:
    """A predicate as one of our forms."""
    try:
        return msgspec.convert(predicate, type=form)
    except msgspec.ValidationError as error:
        raise TrustError(f"{what} is malformed: {str(error)[:200]!a}", hint=_AGAIN) from error


def _subjects(keys: Mapping[str, PublicKey]) -> dict[str, str]:
    """What a trust set is about: its keys."""
    return {ident: key.sha256 for ident, key in keys.items()}


def _revoked_subjects(digests: Iterable[str]) -> dict[str, str]:
    """What revocations are about: what they revoke by content. Names and keys have no content."""
    return {entry: entry.removeprefix("sha256:") for entry in sorted(digests)}
