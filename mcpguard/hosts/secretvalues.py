"""Putting a reference in the place of a secret in a host's configuration, and the secret back, byte for byte.

Rule 1: an edit replaces the text of one value of one variable; no other byte of the file changes.
Rule 2: an edit is believed only when the file that results says what was meant and nothing else (`check`).
Rule 3: what is put back is put where the reference stands; a value that was changed since is left to its owner.

Not here: where the secret goes meanwhile (`system.vault`), which values are secrets (`inventory`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Entry, entries_of
from mcpguard.hosts.tree import Kind, Tree
from mcpguard.hosts.wrapping import Edit, File, literal, same
from mcpguard.model import HOST_REFERENCE

_NOTHING: Final = "nothing was written"
Place: TypeAlias = tuple[tuple[str, ...], str]
"""Where an entry is, and the name of a variable of it."""


def reference(name: str) -> str:
    """What stands in a configuration in the place of a secret of the vault."""
    return f"{HOST_REFERENCE}{name}"


def referred(entry: Entry) -> dict[str, str]:
    """Variables of an entry whose values refer to the vault, and the names of the secrets."""
    return {
        variable: value.removeprefix(HOST_REFERENCE)
        for variable, value in entry.env.items()
        if value.startswith(HOST_REFERENCE)
    }


def written(file: File, entry: Entry, variable: str) -> bytes:
    """The text of a value as it stands in the file, quotes and all.

    Raises:
        ConfigError: It is written where it cannot be edited.
    """
    place = _place(file, entry, variable)
    return file.data[place.start : place.end]


def moved(file: File, entry: Entry, variable: str, name: str) -> Edit:
    """The edit that puts a reference there.

    Raises:
        ConfigError: It is written where it cannot be edited.
    """
    place = _place(file, entry, variable)
    return Edit(place.start, place.end, literal(reference(name)))


def put_back(file: File, entry: Entry, variable: str, name: str, text: bytes) -> Edit:
    """The edit that puts the text there that stood there before.

    Raises:
        ConfigError: The reference is not there any more.
    """
    if entry.env.get(variable) != reference(name):
        raise ConfigError(
            f"{variable} of {entry.name!a} was changed since its secret was moved",
            file=file.name, line=entry.line, hint="it is left as it is",
        )  # fmt: skip
    place = _place(file, entry, variable)
    return Edit(place.start, place.end, text)


def check(old: File, new: File, changed: Mapping[Place, str | None]) -> None:
    """Check that a new file says the same as the old one but for these values; None: whatever is there now.

    Raises:
        ConfigError: It does not; it must not be written.
    """
    trees = [file.tree() for file in (old, new)]
    entries = [entries_of(tree, file.data, file.paths) for tree, file in zip(trees, (old, new), strict=True)]
    left: dict[int, set[str]] = {}
    for entry in (*entries[0], *entries[1]):
        names = {variable for path, variable in changed if path == entry.path}
        if names and entry.environment is not None:
            left[id(entry.environment.value)] = names
    now = {entry.path: entry for entry in entries[1]}
    wrong = any(
        path not in now
        or variable not in now[path].env
        or (value is not None and now[path].env[variable] != value)
        for (path, variable), value in changed.items()
    )
    if wrong or not same(trees[0].value, trees[1].value, left):
        raise ConfigError(
            "the edit would change more than the values of variables", file=old.name, hint=_NOTHING
        )


def _place(file: File, entry: Entry, variable: str) -> Tree:
    held = entry.environment.members.get(variable) if entry.environment is not None else None
    if held is None or held.kind is not Kind.STRING:
        raise ConfigError(
            f"{variable} of {entry.name!a} is written where it cannot be edited",
            file=file.name, line=entry.line, hint=_NOTHING,
        )  # fmt: skip
    return held
