"""Whose signatures count, what was revoked, and how far we have come: the trust files on disk.

Files in one directory, owner only: `trust.json` and `revocations.json` (signed envelopes, byte for byte), each with a
`.previous` (what was in force before) and for a moment a `.next`; and `seen.json`, the rollback state.

Rule 1: `seen.json` commits. It names version and digest of the envelopes in force. After a crash the bytes that it
speaks of are in `X.json` or in `X.json.next`; nothing else is in force.
Rule 2: nothing goes back silently. A file that is older, missing or different from what was seen is an error that
says how to go on; never an empty trust set, never the start from zero.
Rule 3: versions of manifests and the clock only rise.

The same state is in the audit chain (`Seen.record`), because whoever can write here can put back all files together;
`compare` finds that. Who can also cut the chain is not found here: an external anchor of the audit log shows it.

Decided:
    *`restore` accepts an older trust set when a person asks for it*, and the audit log tells; rejected: removing
    files by hand as the only way out, which teaches people to start from zero.
    *One version of one name is one manifest*: other content under a version seen before is refused, because two
    truths under one number are what a rollback looks like from the other side.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from mcpguard import limits
from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.dsse import digest
from mcpguard.identity.statement import format_time
from mcpguard.identity.trust import (
    Revocations,
    TrustSet,
    check_clock,
    first_trust,
    judged,
    next_trust,
    open_envelope,
    parse_revocations,
    parse_trust,
    revocations,
    stored_trust,
)
from mcpguard.model import JsonObject
from mcpguard.system.files import intruder, open_entry, private_directory, repair, replace_file

_TRUST: Final = "trust.json"
_REVOCATIONS: Final = "revocations.json"
_SEEN: Final = "seen.json"
_FILE_BYTES: Final = 1 * limits.MIB
_CLOCK_SECONDS: Final = 60.0
_RECORD_BYTES: Final = 12 * limits.KIB
RESTORE: Final = "mcpguard trust restore FILE"
"""What a person types when the trust files are damaged or went back."""


class Mark(msgspec.Struct, frozen=True):
    """A version and the bytes that bore it.

    Attributes:
        version: Positive; 0 if nothing was seen.
        digest: `sha256:` and 64 hex digits; of the envelope's bytes, for a manifest of its payload. Empty if none is
            in force, and `version` is only a floor.
    """

    version: int = 0
    digest: str = ""


class Seen(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The rollback state: how far we have come.

    Attributes:
        trust: The trust set in force.
        revocations: The revocation file in force.
        manifests: Highest version of each manifest name.
        clock: The latest moment known to have passed, RFC 3339 in UTC; empty if none is.
    """

    trust: Mark = Mark()
    revocations: Mark = Mark()
    manifests: dict[str, Mark] = {}
    clock: str = ""

    @property
    def floor(self) -> dt.datetime | None:
        """`clock` as a time; None if none is known."""
        return dt.datetime.fromisoformat(self.clock) if self.clock else None

    def record(self) -> JsonObject:
        """Members for an audit record. Manifests are left out, and counted, where there are too many for one."""
        members: JsonObject = {
            "trust": self.trust.version,
            "trust_digest": self.trust.digest,
            "revocations": self.revocations.version,
            "revocations_digest": self.revocations.digest,
            "clock": self.clock,
        }
        manifests = {name: [mark.version, mark.digest] for name, mark in self.manifests.items()}
        if len(msgspec.json.encode(manifests)) > _RECORD_BYTES:
            return {**members, "manifests_left_out": len(manifests)}
        return {**members, "manifests": manifests}

    @classmethod
    def from_record(cls, members: JsonObject) -> Seen:
        """What `record` wrote; members that are absent or not of its form count as nothing seen."""
        found = members.get("manifests")
        manifests = {
            str(name): _mark(*(entry if isinstance(entry, list) and len(entry) == 2 else (0, "")))
            for name, entry in (found if isinstance(found, dict) else {}).items()
        }
        clock = members.get("clock")
        return cls(
            _mark(members.get("trust"), members.get("trust_digest")),
            _mark(members.get("revocations"), members.get("revocations_digest")),
            manifests,
            clock if isinstance(clock, str) and _moment(clock) is not None else "",
        )


class Held(NamedTuple):
    """What is in force. `trust` is None before the first trust set."""

    trust: TrustSet | None
    revocations: Revocations | None
    seen: Seen


class _State(NamedTuple):
    held: Held
    trust: bytes
    revocations: bytes


def compare(remembered: Seen, seen: Seen) -> str:
    """How `seen`, read from disk, falls short of what the audit chain remembers; empty if it does not."""
    for what, before, now in (
        ("trust set", remembered.trust, seen.trust),
        ("revocation file", remembered.revocations, seen.revocations),
        *(
            (f"manifest of {name!a}", mark, seen.manifests.get(name, Mark()))
            for name, mark in remembered.manifests.items()
        ),
    ):
        if now.version < before.version:
            return (
                f"state went back: the audit log has seen version {before.version} of the {what}, "
                f"the files say {now.version or 'none'}"
            )
        if now.version == before.version and now.digest != before.digest:
            return f"state was replaced: version {now.version} of the {what} is not the one in the audit log"
    then, floor = remembered.floor, seen.floor
    if then is not None and (floor is None or floor < then):
        return f"state went back: the audit log has seen {remembered.clock}, the files say {seen.clock or 'never'}"
    return ""


def wall_clock() -> dt.datetime:
    """Now, by this machine's clock, in UTC."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


class TrustStore:
    """The trust files in `directory`, which need not exist before the first `put_trust`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self) -> Held:
        """What is in force.

        Raises:
            TrustError: A file is damaged, missing, older than what was seen, or others may write to it.
        """
        return self._load().held

    def envelopes(self) -> tuple[bytes, bytes]:
        """The envelopes in force, trust set and revocations, byte for byte; empty where there is none.

        Raises:
            TrustError: As for `load`.
        """
        state = self._load()
        return state.trust, state.revocations

    def put_trust(self, data: bytes, now: dt.datetime) -> TrustSet:
        """Put a first or the next trust set in force; the bytes that are in force already change nothing.

        Raises:
            TrustError: The update rule forbids it (`identity.trust`), the clock went back, or as for `load`.
        """
        with self._changing() as directory:
            state = self._state(directory)
            current = state.held.trust
            if current is not None and data == state.trust:
                return current
            check_clock(now, state.held.seen.floor)
            new = first_trust(data, now) if current is None else next_trust(current, data, now)
            seen = state.held.seen
            after = _advanced(seen, now, trust=Mark(new.version, digest(data)))
            self._commit(directory, _TRUST, data, seen.trust, after)
            return new

    def put_revocations(self, data: bytes, now: dt.datetime) -> Revocations:
        """Put a revocation file in force; the bytes that are in force already change nothing.

        Raises:
            TrustError: It is not signed by the revocation role, its version does not rise, or as for `load`.
        """
        with self._changing() as directory:
            state = self._state(directory)
            trust, current, seen = state.held
            if trust is None:
                raise TrustError("there is no trust set that says who may revoke", hint="mcpguard trust init")
            if current is not None and data == state.revocations:
                return current
            new = revocations(trust, data, judged(now, seen.floor), seen.revocations.version)
            if new.version <= seen.revocations.version:
                raise TrustError(
                    f"the revocation file has version {new.version}, and {seen.revocations.version} was seen",
                    hint="sign it again with a higher version",
                )
            mark = Mark(new.version, digest(data))
            self._commit(
                directory, _REVOCATIONS, data, seen.revocations, _advanced(seen, now, revocations=mark)
            )
            return new

    def restore(self, data: bytes, now: dt.datetime, remembered: Seen | None = None) -> TrustSet:
        """Put a trust set in force that a person vouches for, older or not. The one way past a damaged store.

        What was seen of manifests stays; if `seen.json` cannot be read it comes from `remembered`, the last state in
        the audit chain. The clock floor becomes `now`: who restores vouches for the clock as well. Revocations that
        are not those that were seen are taken out of force; their version stays the floor of the next ones.

        Raises:
            TrustError: It is not signed by its own root keys, or cannot be written.
        """
        new = stored_trust(data)
        with self._changing() as directory:
            seen = self._seen_or(directory, remembered)
            kept = self._committed(directory, _REVOCATIONS, seen.revocations)
            if kept is None:
                seen = msgspec.structs.replace(seen, revocations=Mark(seen.revocations.version))
                self._remove(directory, _REVOCATIONS)
            seen = msgspec.structs.replace(seen, clock="")
            after = _advanced(seen, now, trust=Mark(new.version, digest(data)))
            self._commit(directory, _TRUST, data, seen.trust, after)
            return new

    def note_manifest(self, name: str, version: int, content: str, now: dt.datetime) -> Seen:
        """Remember that a verified manifest was accepted. `content` is the digest of its payload.

        Raises:
            TrustError: A higher version was seen, or this one with another content; it is new and the clock went
                back; or as for `load`.
        """
        with self._changing() as directory:
            seen = self._state(directory).held.seen
            before, after = seen.manifests.get(name, Mark()), Mark(version, content)
            if version < before.version:
                raise TrustError(
                    f"version {version} of the manifest of {name!a} is older than {before.version}, which was seen",
                    hint=f"mcpguard server show {name}",
                )
            if version == before.version and content != before.digest:
                raise TrustError(
                    f"version {version} of the manifest of {name!a} was seen with another content",
                    hint="sign it again with a higher version",
                )
            if before != after:
                check_clock(now, seen.floor)
                seen = _advanced(seen, now, manifests={**seen.manifests, name: after})
                replace_file(directory, _SEEN, _encoded(seen))
            return seen

    def note_clock(self, now: dt.datetime, signed: dt.datetime | None = None) -> Seen:
        """Raise the clock floor to `now`, and to `signed`, the newest moment in something that was verified.

        Written at most once a minute.

        Raises:
            TrustError: As for `load`.
        """
        newest = max(now, signed) if signed is not None else now
        seen = self.load().seen
        if seen.floor is not None and (newest - seen.floor).total_seconds() < _CLOCK_SECONDS:
            return seen
        with self._changing() as directory:
            seen = _advanced(self._state(directory).held.seen, newest)
            replace_file(directory, _SEEN, _encoded(seen))
            return seen

    # --- reading ----------------------------------------------------------------------------------------

    def _load(self) -> _State:
        try:
            with self._locked(fcntl.LOCK_SH) as directory:
                return self._state(directory)
        except FileNotFoundError:
            return _State(Held(None, None, Seen()), b"", b"")
        except OSError as error:
            raise self._unusable("read", error) from error

    def _state(self, directory: int) -> _State:
        raw = self._read(directory, _SEEN)
        if raw is None:
            for name in (_TRUST, _REVOCATIONS, f"{_TRUST}.previous", f"{_REVOCATIONS}.previous"):
                if self._read(directory, name) is not None:
                    raise self._damaged(f"{_SEEN} is missing while {name} is there")
            return _State(Held(None, None, Seen()), b"", b"")
        seen = self._decoded(raw)
        trust = self._in_force(directory, _TRUST, seen.trust)
        revoked = self._in_force(directory, _REVOCATIONS, seen.revocations)
        try:
            held = Held(
                _trust(trust) if trust else None,
                parse_revocations(open_envelope(revoked).payload) if revoked else None,
                seen,
            )
        except TrustError as error:
            raise self._damaged(error.message) from error
        return _State(held, trust, revoked)

    def _in_force(self, directory: int, name: str, mark: Mark) -> bytes:
        """The envelope that `seen.json` speaks of; empty if it speaks of none.

        Raises:
            TrustError: It is not there.
        """
        found = self._committed(directory, name, mark)
        if found is not None:
            return found
        data = self._read(directory, name)
        version = _version(data) if data else None
        if data is None:
            raise self._damaged(f"{name} is missing, and version {mark.version} of it was seen")
        if version is None:
            raise self._damaged(f"{name} is not what was put there")
        if version < mark.version:
            raise self._damaged(f"state went back, {name} has version {version} and {mark.version} was seen")
        if version > mark.version:
            raise self._damaged(
                f"state went back, {_SEEN} knows version {mark.version or 'none'} of {name}, not {version}"
            )
        raise self._damaged(f"version {version} of {name} is not the one that was seen")

    def _committed(self, directory: int, name: str, mark: Mark) -> bytes | None:
        """The bytes that `mark` speaks of; empty if it speaks of none and there is none; None if they are gone."""
        current = self._read(directory, name)
        if not mark.digest:
            return b"" if current is None else None
        for data in (current, self._read(directory, f"{name}.next")):
            if data is not None and digest(data) == mark.digest:
                return data
        return None

    def _decoded(self, raw: bytes) -> Seen:
        try:
            seen = msgspec.json.decode(raw, type=Seen)
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"{_SEEN} is not what was written") from error
        if seen.clock and _moment(seen.clock) is None:
            raise self._damaged(f"{_SEEN} has a clock that is none")
        return seen

    def _seen_or(self, directory: int, remembered: Seen | None) -> Seen:
        try:
            raw = self._read(directory, _SEEN)
            seen = self._decoded(raw) if raw is not None else Seen()
        except TrustError:
            seen = Seen()
        if remembered is None:
            return seen
        higher = {
            name: max(mark, seen.manifests.get(name, Mark()), key=lambda each: each.version)
            for name, mark in remembered.manifests.items()
        }
        return msgspec.structs.replace(
            seen,
            manifests={**seen.manifests, **higher},
            revocations=max(seen.revocations, remembered.revocations, key=lambda each: each.version),
        )

    def _read(self, directory: int, name: str) -> bytes | None:
        descriptor = open_entry(directory, name)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise self._damaged(f"{name} is not a regular file")
            _refuse_strangers(facts, self.directory / name)
            return file.read(_FILE_BYTES)

    # --- writing ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[int]:
        """The directory, made if need be, locked against everybody else."""
        try:
            private_directory(self.directory)
            with self._locked(fcntl.LOCK_EX) as directory:
                yield directory
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _refuse_strangers(os.fstat(directory), self.directory)
            fcntl.flock(directory, how)
            yield directory
        finally:
            os.close(directory)

    def _commit(self, directory: int, name: str, data: bytes, was: Mark, seen: Seen) -> None:
        """Rule 1: the bytes, then `seen.json`, then their place. What a crash cut short before is ended first.

        `was` is the mark that `seen.json` has for this file now; only bytes that it speaks of become `.previous`.
        """
        following = f"{name}.next"
        before = self._committed(directory, name, was)
        if before and before != self._read(directory, name):
            os.rename(following, name, src_dir_fd=directory, dst_dir_fd=directory)
        replace_file(directory, following, data)
        replace_file(directory, _SEEN, _encoded(seen))
        if before and before != data:
            replace_file(directory, f"{name}.previous", before)
        os.rename(following, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    def _remove(self, directory: int, name: str) -> None:
        """Take a file out of force; it stays as `.previous`."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, f"{name}.previous", src_dir_fd=directory, dst_dir_fd=directory)

    def _damaged(self, what: str) -> TrustError:
        return TrustError(
            f"the trust files in {self.directory} are damaged, {what}",
            hint=f"restore a copy (mcpguard trust export made one), or {_TRUST}.previous there: {RESTORE}",
        )

    def _unusable(self, verb: str, error: OSError) -> TrustError:
        reason = (error.strerror or str(error)).lower()
        return TrustError(
            f"the trust files in {self.directory} cannot be {verb}: {reason}", hint="see who owns them: ls -l"
        )


@functools.lru_cache(maxsize=2)
def _trust(data: bytes) -> TrustSet:
    """The trust set of an envelope. The same bytes say the same, and are verified once: it counts at each start."""
    return stored_trust(data)


def _version(data: bytes) -> int | None:
    """What version an envelope says it is, believed by nobody; None if it says none."""
    for parse in (parse_trust, parse_revocations):
        with contextlib.suppress(TrustError):
            version: int = parse(open_envelope(data).payload).version
            return version
    return None


def _advanced(
    seen: Seen,
    now: dt.datetime,
    *,
    trust: Mark | None = None,
    revocations: Mark | None = None,  # the member's name
    manifests: dict[str, Mark] | None = None,
) -> Seen:
    floor = max(now, seen.floor) if seen.floor is not None else now
    return Seen(
        trust or seen.trust,
        revocations or seen.revocations,
        seen.manifests if manifests is None else manifests,
        format_time(floor),
    )


def _mark(version: object, content: object) -> Mark:
    if type(version) is not int or version < 0 or not isinstance(content, str):
        return Mark()
    return Mark(version, content)


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _refuse_strangers(facts: os.stat_result, place: Path) -> None:
    if who := intruder(facts):
        raise TrustError(f"{place} {who}", hint=repair(place, facts))


def _encoded(seen: Seen) -> bytes:
    return msgspec.json.format(msgspec.json.encode(seen), indent=2) + b"\n"
