"""What the verbs about policy act on: a store, a daemon if one runs, and files that a person names."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mcpguard import limits
from mcpguard.cli import client
from mcpguard.cli.main import exit_code
from mcpguard.cli.terminal import print_json, tell
from mcpguard.errors import ConfigError, GuardError
from mcpguard.model import JsonObject
from mcpguard.policy.document import parse
from mcpguard.policy.rules import RuleSet
from mcpguard.system import paths
from mcpguard.system.folderstore import FolderStore
from mcpguard.system.policystore import PolicyStore


class Place:
    """What the verbs act on: the policy store, and the daemon if one runs.

    The command line makes it for this user; another one may be handed over as click's `obj`.
    """

    def __init__(self, directory: Path, request: Callable[[JsonObject], JsonObject]) -> None:
        self.store = PolicyStore(directory)
        self.folders = FolderStore(directory)
        self.request = request

    @classmethod
    def of_this_user(cls) -> Place:
        """The store and the daemon of the user who runs the command."""
        return cls(paths.policy_dir(), client.request)


def place() -> Place:
    """The place of the running command."""
    found = click.get_current_context().find_object(Place)
    return found or Place.of_this_user()


def in_force_with(file: str) -> RuleSet:
    """What would be in force if FILE were applied.

    Raises:
        ConfigError: It is not a valid policy, or contradicts that of the system.
    """
    return place().store.whole(parse(read(file), named(file)))


def named(file: str) -> str:
    """The name under which a policy is known: its absolute path; what is not UTF-8 in it is escaped."""
    path = os.path.abspath(file)  # noqa: PTH100 (Path.resolve would follow links)
    return "standard input" if file == "-" else path.encode(errors="backslashreplace").decode()


def read(file: str) -> bytes:
    """The file's bytes, at most one more than a policy may have.

    Raises:
        ConfigError: It is not there, is a directory, or cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer.read(limits.POLICY_BYTES + 1)
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limits.POLICY_BYTES + 1)
    except FileNotFoundError as error:
        reason: str = "there is no such file"
        cause: OSError = error
    except IsADirectoryError as error:
        reason, cause = "expected a file, found a directory", error
    except OSError as error:
        reason, cause = f"cannot be read: {(error.strerror or str(error)).lower()}", error
    raise ConfigError(reason, file=file) from cause


@contextlib.contextmanager
def errors_told(*, as_json: bool = False) -> Iterator[None]:
    """One sentence on standard error and an exit code; a config error also as JSON if that was asked for."""
    try:
        yield
    except ConfigError as error:
        if as_json:
            place = {"file": error.file, "line": error.line, "key": error.key}
            print_json({"ok": False, "error": {**place, "message": error.message, "hint": error.hint}})
        raise SystemExit(_told(error)) from error
    except GuardError as error:
        raise SystemExit(_told(error)) from error


def _told(error: GuardError) -> int:
    tell(f"mcpguard: {error.sentence()}")
    return exit_code(error)
