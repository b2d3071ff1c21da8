"""The registered servers: which manifest describes a command, and whether it may be believed now.

Rule 1: a manifest is verified again each time that it is used, from the bytes on disk; nothing of an earlier verdict
is remembered.
Rule 2: a command is what a manifest says that the host says (`launch.host_argv`), word for word. A name that is
registered for another command refuses that command, so a configuration cannot change under a trusted name.
Rule 3: what cannot be read is never an unregistered server.

Not here: the digests of what runs (`daemon.launching`); policy; records (`daemon.desk`, `daemon.admission`).

Decided:
    *A command that is registered under another name than the host gives runs under its own*, because names that are
    derived from commands are a convenience; rejected: two verdicts for one command.
    *A published name (`io.github.acme/files`) may be registered under any short one*, a plain one only under itself,
    so that the name in a signature and the name in policy are one where both are the user's.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from mcpguard.errors import TrustError
from mcpguard.gate.commands import Finding
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.identity.described import KINDS, Definitions, Observation, parse_definitions
from mcpguard.identity.dsse import digest, parse_envelope
from mcpguard.identity.manifest import Manifest, parse_manifest
from mcpguard.identity.verification import Verified, verify_manifest
from mcpguard.model import JsonObject
from mcpguard.system.serverstore import ServerStore, check_name
from mcpguard.system.truststore import Mark, TrustStore, wall_clock

_log: Final = logging.getLogger("mcpguard")


class Registered(msgspec.Struct, frozen=True):
    """A server whose manifest is believed.

    Attributes:
        name: Under which it is registered: what policy and people call it.
        verified: Its manifest and who vouches for it.
        withdrawn: Digests of definitions that differed when they were last seen, by kind and name.
        stale: Whether the revocations that it was checked against are out of date.
        definitions: What its digests are of, once somebody needs it (`Registry.defined`).
    """

    name: str
    verified: Verified
    withdrawn: dict[tuple[str, str], str] = {}
    stale: bool = False
    definitions: Definitions = Definitions()

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.verified.manifest

    @property
    def pins(self) -> DefinitionPins:
        """What its definitions are compared with."""
        return self.verified.manifest.pins()

    def record(self) -> JsonObject:
        """The members of a record that say which manifest it was."""
        found: JsonObject = {
            "manifest": self.verified.digest,
            "manifest_name": self.manifest.name,
            "version": self.manifest.version,
            "keys": list(self.verified.keys),
            "publisher": self.verified.publisher,
            "pin": self.manifest.pin,
        }
        return found | ({"revocations_stale": True} if self.stale else {})


class Registry:
    """The registered servers of one daemon.

    Args:
        store: Where they are kept.
        trust: Whose signatures count.
        clock: Now, in UTC.
        check: Raises TrustError while the trust files fall short of what the audit log remembers.
    """

    def __init__(
        self,
        store: ServerStore,
        trust: TrustStore,
        clock: Callable[[], dt.datetime] = wall_clock,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._clock = clock
        self._check = check
        self._read: dict[str, tuple[str, Manifest]] = {}
        self._defined: dict[str, tuple[str, Definitions]] = {}

    # --- at each start -------------------------------------------------------------------------------------

    def find(self, name: str, argv: Sequence[str] = ()) -> Registered | None:
        """The server that a command is; without a command, that of the name. None: none is registered.

        Raises:
            TrustError: It is registered and may not be believed, or the name is registered for another command.
        """
        if not argv:
            return self.verified(name) if self._is_registered(name) else None
        if found := self._by_command(name, tuple(argv)):
            return self.verified(found)
        if self._is_registered(name):
            raise TrustError(
                f"the server {name!a} is registered for another command than the host gives",
                hint=f"compare it: mcpguard server show {name}; or give this one another name: mcpguard run --name",
            )
        return None

    def known(self, name: str) -> bool:
        """Whether a server of that name is registered."""
        return self._is_registered(name)

    def verified(self, name: str) -> Registered:
        """A registered server, whose manifest is verified now.

        Raises:
            TrustError: There is none, or it may not be believed.
        """
        data = self._store.manifest(name)
        if data is None:
            raise TrustError(f"no server is registered as {name[:80]!a}", hint="see: mcpguard server list")
        with _about(name, f"mcpguard server show {name}"):
            verified, seen, stale = self._verify(data, self._parsed(name, data).name)
        now = self._clock()
        if seen != Mark(verified.manifest.version, verified.digest):
            self._trust.note_manifest(verified.manifest.name, verified.manifest.version, verified.digest, now)
        self._trust.note_clock(now)
        _check_names(name, verified.manifest)
        return Registered(name, verified, self._withdrawn(name), stale)

    def fault(self, name: str) -> str:
        """Why a registered server may no longer run, as a sentence; empty if it may."""
        try:
            self.verified(name)
        except TrustError as error:
            return error.sentence()
        return ""

    def pins(self, name: str) -> DefinitionPins:
        """What the definitions of a server are compared with.

        Raises:
            TrustError: As for `verified`.
        """
        return self.verified(name).pins

    def record(self, name: str) -> JsonObject:
        """The members of a record that say which manifest a server has.

        Raises:
            TrustError: As for `verified`.
        """
        return self.verified(name).record()

    def noticed(self, name: str, findings: Sequence[Finding]) -> None:
        """Keep what differed from the pins, for `server diff`; what cannot be kept is logged."""
        observations = tuple(
            Observation(each.kind, each.name, each.fault, each.pinned, each.seen, each.definition)
            for each in findings
        )
        try:
            data = self._store.manifest(name)
            if data is not None:
                self._store.note(name, observations, self._parsed(name, data))
        except TrustError as error:
            _log.warning("findings about %s cannot be kept: %s", name, error.sentence())

    def defined(self, found: Registered) -> Registered:
        """The server with its definitions, read once for each manifest.

        Raises:
            TrustError: They are damaged.
        """
        known = self._defined.get(found.name)
        if known is None or known[0] != found.verified.digest:
            definitions = self._store.definitions(found.name, found.manifest)
            known = self._defined[found.name] = (found.verified.digest, definitions)
        return msgspec.structs.replace(found, definitions=known[1])

    # --- verbs ---------------------------------------------------------------------------------------------

    def put(self, name: str, text: str, definitions: str) -> JsonObject:
        """Register a server, or give it another manifest, which must be newer.

        Raises:
            TrustError: The manifest is not to be believed, or the definitions are not those that it pins.
        """
        check_name(name)
        data = text.encode()
        with _about(name, "mcpguard trust show"):
            verified, _, _ = self._verify(data, parse_manifest(parse_envelope(data).payload).name)
        manifest = verified.manifest
        _check_names(name, manifest)
        self._check_command(name, manifest)
        described = parse_definitions(definitions.encode() or b"{}", manifest)
        self._store.put(name, data, manifest, described)
        self._trust.note_manifest(manifest.name, manifest.version, verified.digest, self._clock())
        return {
            "name": name,
            "version": manifest.version,
            "digest": verified.digest,
            "keys": list(verified.keys),
            "publisher": verified.publisher,
        }

    def remove(self, name: str) -> JsonObject:
        """Unregister a server; says where what was stored is kept.

        Raises:
            TrustError: There is no such server.
        """
        kept = self._store.remove(name)
        self._read.pop(name, None)
        self._defined.pop(name, None)
        return {"name": name, "kept": str(kept)}

    def described(self) -> list[JsonObject]:
        """What is to be said about each server in a line, what is wrong with it included."""
        return [self._described(name) for name in self._store.names()]

    def show(self, name: str) -> JsonObject:
        """Everything about a server; `problem` says why it would not start.

        Raises:
            TrustError: There is none, or what is stored is damaged.
        """
        data = self._store.manifest(check_name(name))
        if data is None:
            raise TrustError(f"no server is registered as {name!a}", hint="see: mcpguard server list")
        manifest = self._parsed(name, data)
        try:
            definitions, problem = self._store.definitions(name, manifest), ""
        except TrustError as error:
            definitions, problem = Definitions(), error.sentence()
        return {
            **self._described(name),
            "manifest": base64.b64encode(data).decode(),
            "definitions": msgspec.to_builtins(definitions),
            "definitions_problem": problem,
            "observed": [msgspec.to_builtins(each) for each in self._store.observed(name).seen],
        }

    # --- within --------------------------------------------------------------------------------------------

    def _described(self, name: str) -> JsonObject:
        found: JsonObject = {"name": name, "problem": "", "observed_count": 0}
        try:
            data = self._store.manifest(name)
            manifest = self._parsed(name, data or b"")
            found |= {
                "manifest_name": manifest.name,
                "version": manifest.version,
                "expires": manifest.expires,
                "pin": manifest.pin,
                "command": list(manifest.launch.host_argv),
                "tools": len(manifest.tools),
                "observed_count": len(self._store.observed(name).seen),
            }
            registered = self.verified(name)
            found |= {"keys": list(registered.verified.keys), "publisher": registered.verified.publisher}
            found |= {"digest": registered.verified.digest, "revocations_stale": registered.stale}
        except TrustError as error:
            found["problem"] = error.sentence()
        return found

    def _verify(self, data: bytes, claimed: str) -> tuple[Verified, Mark, bool]:
        """A manifest that may be believed, what was seen of it before, and whether the revocations are out of date.

        `claimed` is the name in it, to look up which version was seen; believed by nobody yet.
        """
        self._check()
        held = self._trust.load()
        if held.trust is None:
            raise TrustError("no keys are trusted yet", hint="mcpguard trust init")
        now = self._clock()
        seen = held.seen.manifests.get(claimed, Mark())
        verified = verify_manifest(
            data, held.trust, held.revocations, now=now, floor=held.seen.floor,
            seen=seen.version, seen_digest=seen.digest,
        )  # fmt: skip
        return verified, seen, held.revocations is not None and held.revocations.stale(now)

    def _is_registered(self, name: str) -> bool:
        try:
            return self._store.manifest(name) is not None
        except TrustError:
            if name in self._store.names():
                raise
            return False  # no name of a server at all

    def _by_command(self, name: str, argv: tuple[str, ...]) -> str:
        """Name of the server that is registered for a command; the given one if several are; empty if none is."""
        matching: list[str] = []
        unreadable: list[TrustError] = []
        for each in self._store.names():
            try:
                data = self._store.manifest(each)
                if data is not None and self._parsed(each, data).launch.host_argv == argv:
                    matching.append(each)
            except TrustError as error:
                unreadable.append(error)
        if name in matching:
            return name
        if not matching and unreadable:
            raise unreadable[0]
        if len(matching) > 1:
            raise TrustError(
                f"the command is registered as {matching[0]!a} and as {matching[1]!a}",
                hint=f"name the one that is meant: mcpguard run {matching[0]}",
            )
        return matching[0] if matching else ""

    def _check_command(self, name: str, manifest: Manifest) -> None:
        """Refuse a second registration of one command: a start could not tell which is meant."""
        for other in self._store.names():
            if other != name and self._command(other) == manifest.launch.host_argv:
                raise TrustError(
                    f"this command is registered as {other!a} already",
                    hint=f"mcpguard server remove {other}, or give the host another command",
                )

    def _command(self, name: str) -> tuple[str, ...]:
        """The command that a server is registered for; empty if that cannot be read, which is said when it starts."""
        try:
            data = self._store.manifest(name)
            return self._parsed(name, data).launch.host_argv if data is not None else ()
        except TrustError:
            return ()

    def _parsed(self, name: str, data: bytes) -> Manifest:
        """What an envelope says, believed or not."""
        known = self._read.get(name)
        mark = digest(data)
        if known is None or known[0] != mark:
            with _about(name, f"mcpguard server remove {name}"):
                known = self._read[name] = (mark, parse_manifest(parse_envelope(data).payload))
        return known[1]

    def _withdrawn(self, name: str) -> dict[tuple[str, str], str]:
        return {
            (each.kind, each.name): each.seen
            for each in self._store.observed(name).seen
            if each.kind in KINDS
        }


@contextmanager
def _about(name: str, command: str) -> Iterator[None]:
    """Say in an error which server it is about, and what to type next if nothing else does."""
    try:
        yield
    except TrustError as error:
        message = error.message if name in error.message else f"the server {name!a}: {error.message}"
        hint = (
            error.hint if "mcpguard " in error.hint else f"{error.hint}; {command}" if error.hint else command
        )
        raise TrustError(message, hint=hint) from error


def _check_names(name: str, manifest: Manifest) -> None:
    if "/" not in manifest.name and manifest.name != name:
        raise TrustError(
            f"the manifest stored for {name!a} is that of {manifest.name!a}",
            hint=f"register it under its own name: mcpguard server add {manifest.name} --from FILE",
        )
