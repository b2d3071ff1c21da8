"""Connections and tellers in memory, for what acts on them: they do what theirs do, and remember it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mcpguard.daemon.formerhosts import FormerHosts
from mcpguard.daemon.quarantine import Quarantine
from mcpguard.daemon.recorder import Recorder
from mcpguard.system.journal import Journal
from mcpguard.system.kernel import Kernel
from mcpguard.system.quarantinefile import QuarantineFile


class Connection:
    """A connection of a server and a host: it is open until it is cut."""

    def __init__(self, server: str, host: str = "", projects: tuple[Any, ...] = ()) -> None:
        self.server = server
        self.host = SimpleNamespace(name=host)
        self.standing = SimpleNamespace(projects=projects)
        self.reasons: list[str] = []

    def cut(self, reason: str) -> None:
        self.reasons.append(reason)


class Told:
    """What a person was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tell(self, title: str, text: str) -> None:
        self.said.append(title)


class Stage:
    """A recorder with a real log, a quarantine with a real file, connections."""

    def __init__(self, place: Path, **connections: Connection) -> None:
        self.place = place
        self.recorder = Recorder(Journal.open(place / "audit"))
        self.sessions: dict[str, Any] = connections
        self.changes: list[tuple[str, str]] = []
        self.quarantine = Quarantine(
            QuarantineFile(place / "quarantine"), self.recorder, self.sessions,
            FormerHosts(Kernel(), lambda _instance: 0), "boot", lambda *change: self.changes.append(change),
        )  # fmt: skip
