"""Where is the applied policy, and how does a new one take its place?

Four files in one directory, owner only: `active.toml` (the bytes as applied), `active.json` (where they came
from, their digest, when), `previous.toml` (what was active before), and for a moment `.new`.

Rule 1: what is stored is what `policy.document` accepts; it is read again, in full, at every load.
Rule 2: a damaged store is an error, never an absent policy: absent means watching only.
Rule 3: `active.json` commits. If a crash leaves the new bytes beside the old `active.json`, then `previous.toml`
still holds the bytes that it speaks of, and they are the policy.

Decided:
    *A lock on the directory* around reading and writing, so that two people applying at once cannot mix their
    files; rejected: a lock file, which outlives its owner and must be explained.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError, PeerError
from mcpguard.identity.statement import format_time
from mcpguard.policy.document import digest, parse
from mcpguard.policy.layers import merge
from mcpguard.policy.rules import RuleSet
from mcpguard.system import systempolicy
from mcpguard.system.files import open_entry, private_directory, replace_file

_ACTIVE: Final = "active.toml"
_STATE: Final = "active.json"
_PREVIOUS: Final = "previous.toml"


class Applied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known about the policy in force.

    Attributes:
        source: The file it was read from, as the person who applied it named it.
        digest: `RuleSet.digest` of the stored bytes.
        applied_at: When, RFC 3339 in UTC.
    """

    source: str
    digest: str
    applied_at: str


class PolicyStore:
    """The applied policy in `directory`, which need not exist before the first `apply`.

    Args:
        directory: Where it is.
        system: Gives the policy of the system, which it is put together with.
    """

    def __init__(self, directory: Path, system: Callable[[], RuleSet | None] = systempolicy.read) -> None:
        self.directory = directory
        self.system = system

    def load(self) -> RuleSet | None:
        """The policy in force, that of the system included; None if there is none.

        Raises:
            ConfigError: The store is damaged, cannot be read, or others may write to it; or what was applied and the
                policy of the system contradict each other.
        """
        current = self.current()
        return merge(self.system(), current[1] if current else None)

    def whole(self, ruleset: RuleSet) -> RuleSet:
        """What would be in force with this policy, that of the system included.

        Raises:
            ConfigError: They contradict each other.
        """
        return merge(self.system(), ruleset) or ruleset

    def current(self) -> tuple[Applied, RuleSet] | None:
        """What was applied and where it comes from, without the policy of the system; None if nothing ever was.

        Raises:
            ConfigError: As for `load`.
        """
        try:
            with self._locked(fcntl.LOCK_SH) as directory:
                return self._committed(directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error

    def apply(self, data: bytes, source: str, *, now: float | None = None) -> RuleSet:
        """Put `data` in force and keep what was in force as `previous.toml`; all of it or nothing.

        `source` is the name that explanations will show; `now` is Unix time, the clock's if None. Applying the
        bytes that are in force renews source and time only.

        Returns:
            What is in force now, the policy of the system included.

        Raises:
            ConfigError: `data` is not a valid policy, contradicts that of the system, or the store cannot be
                written; nothing has changed.
        """
        source = source.encode(errors="backslashreplace").decode()  # a file name may be any bytes
        ruleset = parse(data, source)
        whole = self.whole(ruleset)
        moment = dt.datetime.fromtimestamp(time.time() if now is None else now, dt.UTC)
        state = Applied(source, ruleset.digest, format_time(moment))
        try:
            private_directory(self.directory)
            with self._locked(fcntl.LOCK_EX) as directory:
                old = self._stored(directory)
                if old is not None and old != data:
                    replace_file(directory, _PREVIOUS, old)
                replace_file(directory, _ACTIVE, data)
                replace_file(directory, _STATE, msgspec.json.encode(state) + b"\n")
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise ConfigError(error.message, file=str(self.directory), hint=error.hint) from error
        return whole

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        """The directory, open and locked; nobody else may write to it."""
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._refuse_strangers(os.fstat(directory), str(self.directory))
            fcntl.flock(directory, how)
            yield directory
        finally:
            os.close(directory)

    def _committed(self, directory: int) -> tuple[Applied, RuleSet] | None:
        state, active = self._read(directory, _STATE), self._read(directory, _ACTIVE)
        if state is None and active is None:
            return None
        if state is None or active is None:
            raise self._damaged(f"{_STATE if state is None else _ACTIVE} is missing")
        try:
            applied = msgspec.json.decode(state, type=Applied)
        except ValueError as error:  # DecodeError, ValidationError, UnicodeDecodeError
            raise self._damaged(f"{_STATE} is not what was written") from error
        for data in (active, self._read(directory, _PREVIOUS) or b""):
            if digest(data) == applied.digest:
                return applied, parse(data, applied.source)
        raise self._damaged(f"{_ACTIVE} is not what was applied")

    def _stored(self, directory: int) -> bytes | None:
        """The bytes in force, to be kept; None if there are none or they cannot be relied on."""
        try:
            committed = self._committed(directory)
        except ConfigError:
            return None
        active = self._read(directory, _ACTIVE)
        if committed is None or active is None or digest(active) != committed[0].digest:
            return None
        return active

    def _read(self, directory: int, name: str) -> bytes | None:
        descriptor = open_entry(directory, name)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise self._damaged(f"{name} is not a regular file")
            self._refuse_strangers(facts, str(self.directory / name))
            return file.read(limits.POLICY_BYTES + 1)

    def _refuse_strangers(self, facts: os.stat_result, place: str) -> None:
        if facts.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"expected to be owned by you or root, found uid {facts.st_uid}", file=place)
        if facts.st_mode & 0o022:
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            raise ConfigError(
                f"expected to be writable by its owner only, found mode {mode}", file=place, hint="chmod go-w"
            )

    def _damaged(self, what: str) -> ConfigError:
        previous = self.directory / _PREVIOUS
        return ConfigError(
            f"the applied policy is damaged, {what}",
            file=str(self.directory / _ACTIVE),
            hint=f"run `mcpguard policy apply FILE` again, or restore {previous} by applying it",
        )

    def _unusable(self, verb: str, error: OSError) -> ConfigError:
        reason = (error.strerror or str(error)).lower()
        return ConfigError(f"the applied policy cannot be {verb}: {reason}", file=str(self.directory))


class SystemPolicy(PolicyStore):
    """The policy of the system and nothing else: what a daemon for everybody goes by."""

    def current(self) -> tuple[Applied, RuleSet] | None:
        """Nothing is ever applied."""
        return None

    def apply(self, data: bytes, source: str, *, now: float | None = None) -> RuleSet:  # noqa: ARG002
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "a daemon for everybody goes by this file alone",
            file=str(systempolicy.PLACE),
            hint="write it as root, then: systemctl reload mcpguard-system.service",
        )
