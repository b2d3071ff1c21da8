"""The process that sends the log away: there while there are sinks, back when it ends, gone with its keeper."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from mcpguard.daemon.exporter import Exporter
from mcpguard.system.sinkfile import SinkFile
from tests.lifecycle.stage import gone, until


class Keeper:
    def __init__(self, folder: Path) -> None:
        self.file = SinkFile(folder / "export")
        self.exporter = Exporter(self.file, folder / "audit")
        self.now = 0.0

    def tick(self, seconds: float = 0.0) -> int:
        self.now += seconds
        self.exporter.tick(self.now)
        return self.exporter.pid


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    made = Keeper(tmp_path)
    yield made
    asyncio.run(made.exporter.close())


def test_without_sinks_there_is_none(keeper: Keeper) -> None:
    assert keeper.tick() == 0
    assert keeper.exporter.status() == {"pid": 0, "error": "", "sinks": []}


def test_it_comes_with_the_first_sink_and_ends_when_it_is_let_go(keeper: Keeper) -> None:
    keeper.tick()
    keeper.file.add({"name": "a", "kind": "journald", "to": "unix:///nowhere"})
    pid = keeper.tick(1)
    assert pid
    assert keeper.exporter.status()["sinks"][0]["name"] == "a"
    asyncio.run(keeper.exporter.close())
    assert gone(pid)


def test_one_that_dies_comes_back_later_and_later(keeper: Keeper) -> None:
    keeper.file.add({"name": "a", "kind": "journald", "to": "unix:///nowhere"})
    for rest in (1, 2, 4):
        pid = keeper.tick()
        assert pid
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: keeper.exporter.pid == 0)
        assert keeper.tick() == 0
        assert keeper.tick(rest - 0.1) == 0
        keeper.now += 0.2
    assert keeper.tick()


def test_a_file_that_is_not_valid_is_told_and_starts_nothing(keeper: Keeper) -> None:
    keeper.file.directory.mkdir(mode=0o700)
    keeper.file.path.write_text("version = 1\n[[sink]]\nname = 'a'\nkind = 'cloud'\n")
    assert keeper.tick() == 0
    assert "export.toml:4: kind: expected" in keeper.exporter.status()["error"]
    keeper.file.path.write_text("")
    time.sleep(0.01)
    assert keeper.exporter.status()["error"] == ""
