"""Folders that have a policy of their own: which count for a connection, and the verbs about them.

Rule: the folder that counts is the one in which the host started the server, as the kernel tells it of the shim; a
policy counts in its folder and everywhere below, and where folders are nested, all of theirs do.

Not here: how a policy is narrowed (`policy.narrowed`), who may ask (`daemon.control`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mcpguard.audit import record
from mcpguard.daemon.control import Verb
from mcpguard.daemon.recorder import Recorder
from mcpguard.model import JsonObject
from mcpguard.policy.rules import RuleSet
from mcpguard.protocol.control import Request
from mcpguard.system import projectfile
from mcpguard.system.folderstore import FolderStore, above, changed, described

_HINT: Final = "mcpguard policy trust-folder"


class Folders:
    """The trusted folders in `store`. Every method raises DaemonError if the list cannot be relied on."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store

    def narrowing(self, cwd: str) -> tuple[RuleSet, ...]:
        """The policies that count in a folder, by real path; none if it is not known."""
        return tuple(folder.ruleset for folder in above(self._store.load(), cwd))

    def notes(self, cwd: str) -> list[str]:
        """What a person should know of the files of a folder and those above: sentences."""
        trusted = {folder.path: folder for folder in self._store.load()}
        said = [
            f"{place}/{projectfile.NAME} does not count, because nobody trusted it: {_HINT} {place}"
            for place in projectfile.folders_with_one(cwd)
            if place not in trusted
        ]
        said += [
            f"{folder.path}/{projectfile.NAME} counts as it was when trusted; {what} since: {_HINT} {folder.path}"
            for folder in above(trusted.values(), cwd)
            if (what := changed(folder))
        ]
        return said

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"folders": lambda _request: {"folders": [described(one) for one in self._store.load()]}}

    def changing(self, recorder: Recorder, renew: Callable[[], int]) -> dict[str, Verb]:
        """Verbs that change what counts; `renew` makes it count for the open connections, and says how many."""

        def trust(request: Request) -> JsonObject:
            old = self._digest(request.name)
            folder = self._store.trust(request.name, request.text, time.time())
            event, new = "folder-trusted", folder.ruleset.digest
            recorder.append([record.policy(old, new, folder.path, event)], durable=True)
            return {"folder": described(folder), "connections": renew()}

        def forget(request: Request) -> JsonObject:
            old = self._digest(request.name)
            self._store.forget(request.name)
            recorder.append([record.policy(old, "", request.name, "folder-forgotten")], durable=True)
            return {"forgotten": request.name, "connections": renew()}

        return {"folder-trust": trust, "folder-forget": forget}

    def _digest(self, path: str) -> str:
        return next((one.ruleset.digest for one in self._store.load() if one.path == path), "")
