"""The policy that an administrator has written for everybody on the machine, if there is one.

Rule 1: it is root's and nobody else can write to it, nor to the directory that it is in; anything else is an error
and not an absent policy.
Rule 2: no variable of the environment says where it is: hosts start daemons, and choose their environment.

It is read when a daemon starts, and whenever a policy is applied.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.policy.document import parse_system
from mcpguard.policy.rules import RuleSet
from mcpguard.system.files import open_entry

PLACE: Final = Path("/etc/mcpguard/policy.toml")


def read(place: Path = PLACE, *, owner: int = 0) -> RuleSet | None:
    """The policy of the system; None if there is none. `owner`: whose it must be.

    Raises:
        ConfigError: It is not a policy, others than its owner could have written it, or it cannot be read.
    """
    try:
        directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(place, error) from error
    try:
        descriptor = open_entry(directory, place.name)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            _refuse_strangers(os.fstat(directory), place.parent, owner)
            _refuse_strangers(os.fstat(descriptor), place, owner)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError("expected a regular file", file=str(place))
            return parse_system(file.read(limits.POLICY_BYTES + 1), str(place))
    except OSError as error:
        raise _unreadable(place, error) from error
    finally:
        os.close(directory)


def _refuse_strangers(info: os.stat_result, place: Path, owner: int) -> None:
    if info.st_uid != owner:
        raise ConfigError(
            f"expected to be owned by uid {owner}, found uid {info.st_uid}", file=str(place), hint="chown"
        )
    if info.st_mode & 0o022:
        mode = f"{stat.S_IMODE(info.st_mode):04o}"
        raise ConfigError(
            f"expected to be writable by its owner only, found mode {mode}",
            file=str(place),
            hint="chmod go-w",
        )


def _unreadable(place: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the policy of the system cannot be read: {(error.strerror or str(error)).lower()}", file=str(place)
    )
