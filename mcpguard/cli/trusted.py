"""What is trusted: asked of the daemon, or read from its files where none runs; only the daemon changes it."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from mcpguard.cli import client
from mcpguard.cli.main import NOT_RUNNING, exit_code
from mcpguard.errors import DaemonError, TrustError
from mcpguard.identity.trust import Revocations, TrustSet, open_envelope, parse_revocations, parse_trust
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.truststore import Seen, TrustStore


class Trusted(NamedTuple):
    """What is in force, with the signed bytes; `trust` is None before the first trust set."""

    trust: TrustSet | None
    revocations: Revocations | None
    seen: Seen
    trust_envelope: bytes
    revocations_envelope: bytes


def held() -> Trusted:
    """What is in force.

    Raises:
        TrustError: The trust files are damaged.
        DaemonError: The daemon does not answer.
    """
    try:
        reply = client.request({"verb": "trust"})
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise
        store = TrustStore(paths.trust_dir())
        return _read(*store.envelopes(), store.load().seen)
    try:
        seen = msgspec.convert(reply["seen"], Seen)
        trust, revocations = (
            base64.b64decode(reply[name], validate=True) for name in ("trust", "revocations")
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DaemonError(
            "the daemon's answer is not understood", hint="mcpguard daemon stop, then again"
        ) from error
    return _read(trust, revocations, seen)


def trust_set() -> tuple[TrustSet, Trusted]:
    """The trust set in force, and all of what is.

    Raises:
        TrustError: There is none, or as for `held`.
    """
    found = held()
    if found.trust is None:
        raise TrustError("no keys are trusted yet", hint="mcpguard trust init")
    return found.trust, found


def put(verb: str, envelope: bytes, *, name: str = "") -> JsonObject:
    """Have the daemon put an envelope in force, starting one if none runs.

    Raises:
        TrustError: It refused; nothing has changed.
        DaemonError: It does not answer, or cannot be started.
    """
    message: JsonObject = {"verb": verb, "text": envelope.decode()}
    if name:
        message["name"] = name
    try:
        return client.request(message)
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise
    client.ensure()
    return client.request(message)


def _read(trust: bytes, revocations: bytes, seen: Seen) -> Trusted:
    return Trusted(
        parse_trust(open_envelope(trust).payload) if trust else None,
        parse_revocations(open_envelope(revocations).payload) if revocations else None,
        seen,
        trust,
        revocations,
    )
