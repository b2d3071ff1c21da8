"""The watch over a real recorder and a real log."""

import asyncio
import time
from pathlib import Path

from mcpguard.audit import record
from mcpguard.audit.detectors import Detectors
from mcpguard.audit.findings import Finding, Thresholds
from mcpguard.audit.seen import Seen
from mcpguard.daemon.fresh import MOST
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.watch import Watch
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal
from mcpguard.system.memoryfile import MemoryFile
from tests.daemon.loops import both_loops, eventually, run
from tests.daemon.test_fresh import START, call
from tests.daemon.test_recorder import lines

DENIED = call(0, verdict=Verdict.DENY)


class Story:
    """A recorder that is watched, in a directory."""

    def __init__(self, place: Path, detectors: Detectors | None = None) -> None:
        self.found: list[Finding] = []
        self.recorder = Recorder(Journal.open(place / "audit"))
        self.memory = MemoryFile(place / "baseline", "baseline.json", "what was learned")
        self.watch = Watch(self.recorder, self.memory, self.found.append, detectors or Detectors())
        self.watch.start()

    def kinds(self) -> list[str]:
        return [found.kind for found in self.found]

    async def end(self) -> None:
        await self.watch.close()
        await self.recorder.close()


@both_loops
def test_records_are_looked_at_a_moment_later_and_findings_name_them(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        one = Story(tmp_path)
        first = one.recorder.journal.last
        for _ in range(20):
            one.recorder.append([DENIED])
        assert one.found == []
        assert await eventually(lambda: one.kinds() == ["denied-burst"])
        assert one.found[0].seqs == (first + 1, first + 20)
        one.recorder.later([record.drop(START, Side.SERVER, "an answer that nobody asked for", 1)])
        assert await eventually(lambda: "response-spoofing" in one.kinds())
        assert one.found[1].seqs == (first + 21, first + 21)
        await one.end()

    run(story, loop)


def test_more_than_can_be_looked_at_is_counted_in_the_log_and_never_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        one = Story(tmp_path)
        one.recorder.append([call(n) for n in range(3 * MOST)])
        one.recorder.append([DENIED] * 20)
        began = time.monotonic()
        assert await eventually(lambda: "denied-burst" in one.kinds())
        assert time.monotonic() - began < 10
        assert await eventually(lambda: "log-gap" in one.kinds())
        await one.end()
        assert any(f'"event":"unwatched","skipped":{3 * MOST}' in line for line in lines(tmp_path / "audit"))

    run(story)


class Broken(Detectors):
    def take(self, seen: Seen) -> list[Finding]:
        if seen.type == "drop":
            raise RuntimeError("a bug")
        return super().take(seen)


def test_a_bug_of_a_detector_costs_one_record(tmp_path: Path, caplog) -> None:
    async def story() -> None:
        one = Story(tmp_path, Broken())
        one.recorder.append([record.drop(START, Side.SERVER, "bad", 1)] * 3 + [DENIED] * 20)
        assert await eventually(lambda: one.kinds() == ["denied-burst"])
        await one.end()

    run(story)
    assert caplog.text.count("could not be looked at") == 1


def begin(name: str) -> bytes:
    return record.session(record.prefix("1-a", {"uid": 1, "exe": name}, "files"), "begin")


def test_what_was_learned_outlives_the_daemon_and_is_learned_again_from_the_log(tmp_path: Path) -> None:
    async def story(expected: list[str]) -> None:
        one = Story(tmp_path)
        one.recorder.append([begin("/usr/bin/acme")])
        await one.end()
        assert one.kinds() == expected

    run(lambda: story(["new-host"]))
    run(lambda: story([]))
    (tmp_path / "baseline" / "baseline.json").unlink()
    run(lambda: story([]))
    (tmp_path / "baseline" / "baseline.json").write_text('{"v":1,"learned":7}')
    run(lambda: story([]))


def test_records_that_were_lost_are_found(tmp_path: Path) -> None:
    async def story() -> None:
        one = Story(tmp_path)
        one.recorder.journal.append_later([b"x" * 1_000_000])  # longer than a record may be: it is lost
        one.recorder.append([record.log("after")])
        one.watch.tick()
        assert [(found.kind, found.count) for found in one.found] == [("log-gap", 1)]
        one.watch.tick()
        assert len(one.found) == 1
        await one.end()

    run(story)


def test_what_a_crash_cut_is_found_by_the_next(tmp_path: Path) -> None:
    async def story() -> list[str]:
        one = Story(tmp_path)
        await one.end()
        return one.kinds()

    run(story)
    with (tmp_path / "audit" / "audit-000001.jsonl").open("ab") as file:
        file.write(b'{"v":2,"seq":')

    async def after() -> None:
        assert await story() == ["log-gap"]

    run(after)


def test_looking_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    """Whoever wants a turn gets one between slices."""

    async def story() -> None:
        one = Story(tmp_path, Detectors(Thresholds(again=0.0)))
        one.recorder.append([record.drop(START, Side.SERVER, f"bad {n}", 1) for n in range(MOST)])
        turns = 0
        while one.watch._task is None or not one.watch._task.done():
            turns += one.watch._task is not None
            await asyncio.sleep(0)
        assert turns >= MOST // 64 - 1
        await one.end()

    run(story)
