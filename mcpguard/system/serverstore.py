"""Which servers are registered, and what was signed, described and seen of each?

A directory for each name, owner only: `manifest.json` (the signed envelope, byte for byte), `definitions.json` (what
its digests are of) and `observed.json` (what differed from them).

Rule 1: a name is a path component that cannot lead elsewhere, checked before any path is made of it.
Rule 2: the manifest commits. Definitions are written before it as `definitions.json.next`, and take their place after
it; whichever of the two fits the manifest is believed, so a crash in between loses nothing.
Rule 3: what is damaged is an error, never an unregistered server.

Not here: whether a manifest may be believed (`daemon.registry`).

Decided: *What is removed goes to `.removed/NAME`*, where the last one of each name stays, so that a removal can be
undone; rejected: asking twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.described import (
    Definitions,
    Observation,
    Observed,
    encode_definitions,
    observe,
    parse_definitions,
    parse_observed,
)
from mcpguard.identity.manifest import Manifest
from mcpguard.system.files import intruder, open_entry, private_directory, repair, replace_file

MANIFEST: Final = "manifest.json"
DEFINITIONS: Final = "definitions.json"
OBSERVED: Final = "observed.json"
REMOVED: Final = ".removed"

_NEXT: Final = DEFINITIONS + ".next"
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{limits.SERVER_NAME_CHARS - 1}}}")
_FILE_BYTES: Final = limits.DEFINITIONS_BYTES + 1


def check_name(name: str) -> str:
    """The name, if a server can be registered under it.

    Raises:
        TrustError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise TrustError(
            f"{name[:80]!a} cannot be the name of a server",
            hint=f"take letters, digits, '.', '_' and '-', at most {limits.SERVER_NAME_CHARS}, no '/'",
        )
    return name


class ServerStore:
    """The registered servers in `directory`, which need not exist before the first `put`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The registered names, sorted. What is not one of ours is passed over.

        Raises:
            TrustError: The store cannot be read, or others may write to it.
        """
        try:
            with self._locked(fcntl.LOCK_SH):
                found = [entry.name for entry in os.scandir(self.directory) if _NAME.fullmatch(entry.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable("read", error) from error
        return sorted(found)

    def manifest(self, name: str) -> bytes | None:
        """The signed envelope; None if no server of this name is registered.

        Raises:
            TrustError: The name is none, or what is stored is damaged.
        """
        with self._reading(name) as server:
            if server < 0:
                return None
            data = self._read(server, name, MANIFEST, limits.ENVELOPE_BYTES)
            if data is None:
                raise self._damaged(name, f"{MANIFEST} is missing")
            return data

    def definitions(self, name: str, manifest: Manifest) -> Definitions:
        """The definitions whose digests this manifest pins.

        Raises:
            TrustError: They are damaged, or of another manifest.
        """
        with self._reading(name) as server:
            if server < 0:
                return Definitions()
            found = [self._read(server, name, place, _FILE_BYTES) for place in (DEFINITIONS, _NEXT)]
        problem = f"{DEFINITIONS} is missing"
        for data in found:
            if data is not None:
                try:
                    return parse_definitions(data, manifest)
                except TrustError as error:
                    problem = f"{DEFINITIONS}: {error.message}"
        raise self._damaged(name, problem, f"mcpguard server trust {name} --probe")

    def observed(self, name: str) -> Observed:
        """What differed from the manifest, as last seen.

        Raises:
            TrustError: It is damaged.
        """
        with self._reading(name) as server:
            data = None if server < 0 else self._read(server, name, OBSERVED, _FILE_BYTES)
        if data is None:
            return Observed()
        try:
            return parse_observed(data)
        except TrustError as error:
            place = self.directory / name / OBSERVED
            raise self._damaged(name, f"{OBSERVED}: {error.message}", f"remove {place}") from error

    def put(self, name: str, envelope: bytes, manifest: Manifest, definitions: Definitions) -> None:
        """Register a server, or replace what is registered. What differed and is pinned now is forgotten.

        Args:
            name: Under which name.
            envelope: The signed manifest.
            manifest: What it says; verified by the caller.
            definitions: What its digests are of.

        Raises:
            TrustError: The definitions are not those that it pins, or the store cannot be written.
        """
        check_name(name)
        described = encode_definitions(definitions)
        parse_definitions(described, manifest)
        if len(self.names()) >= limits.SERVERS:
            raise TrustError(f"{limits.SERVERS} servers are registered", hint="mcpguard server remove NAME")
        with contextlib.suppress(TrustError):  # damaged: it is replaced below, by nothing
            self._forget(name, manifest)
        try:
            private_directory(self.directory)
            private_directory(self.directory / name)
            with self._locked(fcntl.LOCK_EX) as directory, self._server(directory, name) as server:
                replace_file(server, _NEXT, described)
                replace_file(server, MANIFEST, envelope)
                os.rename(_NEXT, DEFINITIONS, src_dir_fd=server, dst_dir_fd=server)
                os.fsync(server)
                os.fsync(directory)
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error

    def note(self, name: str, observations: tuple[Observation, ...], manifest: Manifest) -> Observed:
        """Keep what differed, and forget what is as pinned; everything that differs now.

        Raises:
            TrustError: The store cannot be written.
        """
        try:
            before = self.observed(name)
        except TrustError:
            before = Observed()
        after = observe(before, observations, manifest)
        if after != before:
            self._change(name, after)
        return after

    def remove(self, name: str) -> Path:
        """Unregister a server; where what was stored is kept.

        Raises:
            TrustError: There is no such server, or the store cannot be written.
        """
        check_name(name)
        place = self.directory / REMOVED / name
        try:
            with self._locked(fcntl.LOCK_EX):
                private_directory(self.directory / REMOVED)
                shutil.rmtree(place, ignore_errors=True)
                (self.directory / name).rename(place)
        except FileNotFoundError as error:
            raise TrustError(
                f"no server is registered as {name!a}", hint="see: mcpguard server list"
            ) from error
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error
        return place

    def _forget(self, name: str, manifest: Manifest) -> None:
        before = self.observed(name)
        after = observe(before, (), manifest)
        if after != before:
            self._change(name, after)

    def _change(self, name: str, observed: Observed) -> None:
        try:
            with self._locked(fcntl.LOCK_EX) as directory, self._server(directory, name) as server:
                replace_file(server, OBSERVED, msgspec.json.encode(observed, enc_hook=float))
        except FileNotFoundError:
            return  # it was removed meanwhile
        except OSError as error:
            raise self._unusable("written", error) from error

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[int]:
        """The directory of a server, open; -1 if there is none."""
        check_name(name)
        try:
            with self._locked(fcntl.LOCK_SH) as directory, self._server(directory, name) as server:
                yield server
        except FileNotFoundError:
            yield -1
        except OSError as error:
            raise self._unusable("read", error) from error

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._refuse_strangers(os.fstat(directory), self.directory)
            fcntl.flock(directory, how)
            yield directory
        finally:
            os.close(directory)

    @contextlib.contextmanager
    def _server(self, directory: int, name: str) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        server = os.open(name, flags, dir_fd=directory)
        try:
            self._refuse_strangers(os.fstat(server), self.directory / name)
            yield server
        finally:
            os.close(server)

    def _read(self, server: int, name: str, file: str, most: int) -> bytes | None:
        descriptor = open_entry(server, file)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as stream:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise self._damaged(name, f"{file} is not a regular file")
            self._refuse_strangers(facts, self.directory / name / file)
            data = stream.read(most + 1)
        if len(data) > most:
            raise self._damaged(name, f"{file} is larger than {most} bytes")
        return data

    def _refuse_strangers(self, facts: os.stat_result, place: Path) -> None:
        if who := intruder(facts):
            raise TrustError(f"{place} {who}", hint=f"read it, then: {repair(place, facts)}")

    def _damaged(self, name: str, what: str, hint: str = "") -> TrustError:
        again = (
            f"restore {self.directory / name}, or register it again: mcpguard server remove {name}, then add"
        )
        return TrustError(f"what is stored of the server {name!a} is damaged, {what}", hint=hint or again)

    def _unusable(self, verb: str, error: OSError) -> TrustError:
        reason = (error.strerror or str(error)).lower()
        return TrustError(
            f"the registered servers cannot be {verb}: {reason}", hint=f"look at {self.directory}"
        )
