"""Registered servers as the command line reaches them: through the daemon, which is started if none runs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

import click
import msgspec

from mcpguard.cli import client
from mcpguard.cli.main import NOT_RUNNING, exit_code
from mcpguard.errors import DaemonError
from mcpguard.identity.described import Definitions, Observation, encode_definitions
from mcpguard.identity.dsse import digest, encode_envelope, parse_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import Manifest, encode_manifest, parse_manifest
from mcpguard.model import JsonObject


class Shown(msgspec.Struct, frozen=True):
    """A registered server.

    Attributes:
        name: Under which it is registered.
        envelope: Its signed manifest.
        manifest: What that says; `problem` tells whether it may be believed.
        definitions: What its digests are of, as far as they are known.
        observed: What differed from them.
        problem: Why it would not start; empty if it would.
        facts: What else the daemon says of it.
    """

    name: str
    envelope: bytes
    manifest: Manifest
    definitions: Definitions
    observed: tuple[Observation, ...]
    problem: str
    facts: JsonObject

    @property
    def digest(self) -> str:
        """`sha256:HEX` of the manifest's payload."""
        return digest(parse_envelope(self.envelope).payload)


class Servers:
    """The registered servers, by asking the daemon. Another way to ask may be handed over as click's `obj`."""

    def __init__(self, request: Callable[[JsonObject], JsonObject]) -> None:
        self._request = request

    @classmethod
    def of_this_user(cls) -> Servers:
        """Those of the user who runs the command."""
        return cls(_ask)

    def list(self) -> list[JsonObject]:
        """What there is to say about each."""
        found: list[JsonObject] = self._request({"verb": "servers"})["servers"]
        return found

    def show(self, name: str) -> Shown:
        """Everything about one.

        Raises:
            TrustError: There is none, or what is stored is damaged.
            DaemonError: The daemon does not answer, or not as expected.
        """
        reply = self._request({"verb": "server-show", "name": name})
        try:
            envelope = base64.b64decode(reply["manifest"], validate=True)
            definitions = msgspec.convert(reply["definitions"], Definitions)
            observed = msgspec.convert(reply["observed"], tuple[Observation, ...])
            problem = str(reply["problem"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DaemonError(
                "the daemon's answer is not understood", hint="mcpguard daemon stop, then again"
            ) from error
        manifest = parse_manifest(parse_envelope(envelope).payload)
        facts = {
            key: value for key, value in reply.items() if key not in ("manifest", "definitions", "observed")
        }
        return Shown(name, envelope, manifest, definitions, observed, problem, facts)

    def put(self, name: str, envelope: bytes, definitions: Definitions) -> JsonObject:
        """Register a server, or give it another manifest.

        Raises:
            TrustError: The daemon does not believe the manifest; nothing has changed.
        """
        text = encode_definitions(definitions).decode()
        return self._request(
            {"verb": "server-put", "name": name, "text": envelope.decode(), "definitions": text}
        )

    def sign_and_put(
        self, name: str, manifest: Manifest, definitions: Definitions, private: PrivateKey
    ) -> JsonObject:
        """Sign a manifest and register it.

        Raises:
            TrustError: It contradicts itself, or the daemon does not believe it; nothing has changed.
        """
        return self.put(name, encode_envelope(sign(encode_manifest(manifest), private)), definitions)

    def remove(self, name: str) -> JsonObject:
        """Unregister a server; `kept` says where what was stored is.

        Raises:
            TrustError: There is none.
        """
        return self._request({"verb": "server-remove", "name": name})


def servers() -> Servers:
    """Those of this user, unless others were handed over."""
    found = click.get_current_context().find_object(Servers)
    return found or Servers.of_this_user()


def _ask(content: JsonObject) -> JsonObject:
    try:
        return client.request(content)
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise
    client.ensure()
    return client.request(content)
