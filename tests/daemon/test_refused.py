import time
from pathlib import Path

import pytest

from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.refused import MOST, Refused
from mcpguard.errors import DaemonError, GoneError, PeerError, ProtocolError
from mcpguard.system.journal import Journal
from tests.daemon.loops import run
from tests.daemon.test_recorder import lines


def written(place: Path, story) -> list[str]:
    async def whole() -> None:
        recorder = Recorder(Journal.open(place / "audit"))
        story(Refused(recorder))
        await recorder.close()

    run(whole)
    return [line for line in lines(place / "audit") if '"refused"' in line]


def test_a_caller_that_could_not_be_established_is_recorded(tmp_path: Path) -> None:
    def story(refused: Refused) -> None:
        with pytest.raises(PeerError), refused.noting():
            raise PeerError("it is foreign", hint="go home")

    (line,) = written(tmp_path, story)
    assert '"stage":"caller","reason":"it is foreign: go home"' in line


@pytest.mark.parametrize("error", [GoneError("gone"), DaemonError("another version")])
def test_who_hung_up_or_is_of_another_version_is_not(tmp_path: Path, error) -> None:
    assert written(tmp_path, lambda refused: refused.note(error)) == []


def test_a_flood_is_a_few_records_and_a_number(tmp_path: Path) -> None:
    def story(refused: Refused) -> None:
        for _ in range(500):
            refused.note(ProtocolError("rubbish"))
        refused._second -= 2.0  # later
        refused.note(ProtocolError("rubbish"))

    began = time.monotonic()
    found = written(tmp_path, story)
    if time.monotonic() - began < 1.0:
        assert len(found) == MOST + 1
        assert f'"more":{500 - MOST}' in found[-1]
    assert len(found) < 100
