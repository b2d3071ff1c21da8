"""Which folders' own policies count?

Those that a person has trusted, and each as it was then: the text is kept here. What an agent writes into the file
later neither adds to it nor takes from it.

Rule 1: the file says which, at every question; a damaged one is an error and never an empty list.
Rule 2: a folder is known by its real path, so that no link leads into or out of it.

Decided:
    *The text that was read is kept, not its digest*, because with a digest whoever edits the file switches it off;
    rejected: refusing every connection from a folder whose file has changed, which stops work for an edit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject
from mcpguard.policy.document import parse_project
from mcpguard.policy.rules import RuleSet
from mcpguard.system import projectfile
from mcpguard.system.memoryfile import MemoryFile

_FILE: Final = "folders.json"


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trusted folder.

    Attributes:
        path: Its real path.
        text: Its policy, as it was when it was trusted.
        trusted_at: When, RFC 3339 in UTC.
    """

    path: str
    text: str
    trusted_at: str

    @property
    def ruleset(self) -> RuleSet:
        """Its policy; every rule names the file."""
        file = f"{self.path}/{projectfile.NAME}"
        ruleset = parse_project(self.text.encode(), file)
        rules = tuple(msgspec.structs.replace(rule, file=file) for rule in ruleset.rules)
        return msgspec.structs.replace(ruleset, rules=rules)


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    folders: list[Folder]


class FolderStore:
    """The trusted folders, in `directory`, which need not exist before the first `save`."""

    def __init__(self, directory: Path) -> None:
        remedy = "trust them again after: rm"
        self._file = MemoryFile(directory, _FILE, "what is known of trusted folders", remedy)

    def load(self) -> list[Folder]:
        """The trusted folders, by path.

        Raises:
            DaemonError: The list cannot be relied on.
        """
        memory = self._file.load()
        if not memory:
            return []
        try:
            return sorted(msgspec.convert(memory, _List).folders, key=lambda folder: folder.path)
        except msgspec.ValidationError as error:
            raise self._file.unusable("it is damaged") from error

    def trust(self, path: str, text: str, now: float) -> Folder:
        """Trust a folder with this policy, or again with another one. `now`: Unix time.

        Raises:
            ConfigError: It is not a project's policy, or not a real path, or there are too many.
            DaemonError: The list cannot be relied on, or not be written; nothing has changed.
        """
        folder = Folder(path, text, format_time(dt.datetime.fromtimestamp(now, dt.UTC)))
        place = f"{path}/{projectfile.NAME}"
        if not path.startswith("/") or str(Path(path).resolve()) != path:
            raise ConfigError("expected the real path of a folder", file=place)
        if len(text.encode()) > limits.PROJECT_BYTES:
            raise ConfigError(f"expected at most {limits.PROJECT_BYTES} bytes, found more", file=place)
        _ = folder.ruleset
        kept = [other for other in self.load() if other.path != path]
        if len(kept) >= limits.FOLDERS:
            raise ConfigError(
                f"{len(kept)} folders are trusted, which is the most",
                file=place,
                hint="mcpguard policy forget-folder DIR",
            )
        self._save([*kept, folder])
        return folder

    def forget(self, path: str) -> None:
        """Trust a folder no longer.

        Raises:
            ConfigError: It was not trusted.
            DaemonError: As for `trust`.
        """
        folders = self.load()
        kept = [folder for folder in folders if folder.path != path]
        if len(kept) == len(folders):
            raise ConfigError("this folder is not trusted", file=path, hint="mcpguard policy folders")
        self._save(kept)

    def _save(self, folders: Iterable[Folder]) -> None:
        self._file.save(msgspec.to_builtins(_List(1, list(folders))))


def above(folders: Iterable[Folder], path: str) -> list[Folder]:
    """Those folders that a real path is in."""
    return [folder for folder in folders if path == folder.path or path.startswith(f"{folder.path}/")]


def changed(folder: Folder) -> str:
    """What has become of a folder's file since it was trusted, in words; empty if it is as it was."""
    try:
        data = projectfile.read(folder.path)
    except ConfigError as error:
        return error.message
    if data is None:
        return "it is gone"
    return "" if data == folder.text.encode() else "it was edited"


def described(folder: Folder) -> JsonObject:
    """A trusted folder as JSON."""
    ruleset = folder.ruleset
    return {
        "folder": folder.path,
        "trusted_at": folder.trusted_at,
        "policy": ruleset.digest,
        "rule_count": len(ruleset.rules),
        "file": changed(folder) or "as it was trusted",
    }
