"""The way from the log to a sink: kills on either side lose nothing, and what comes twice has the same id."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.audit.event import Event, event_of
from mcpguard.system import journalfiles
from mcpguard.system.delivery import SinkError
from mcpguard.system.journal import Journal
from mcpguard.system.shipping import Shipper, delivery
from mcpguard.system.sinkfile import Sink
from mcpguard.system.sinkstate import StateFile
from tests.audit.exported import read_syslog
from tests.system.receivers import Stream, until, write


class Memory:
    """A sink in memory that takes what it is told to take."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.faults: list[Exception] = []
        self.closed = 0

    def send(self, events: Sequence[Event]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.taken += events

    def look(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def close(self) -> None:
        self.closed += 1

    def numbers(self) -> list[int]:
        return [event.body["n"] for event in self.taken if event.body.get("event") == "test"]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.log, self.states = folder / "audit", folder / "export"
        self.journal = Journal.open(self.log, segment_bytes=20_000)
        self.memory = Memory()
        self.stop = threading.Event()
        self.now = 1000.0

    def shipper(self, start: str = "beginning") -> Shipper:
        sink = Sink("s", "journald", "unix:///x", start=start)
        made = Shipper(sink, self.log, self.states, self.stop, lambda _: self.memory, lambda: self.now)
        assert made._prepared()
        return made

    def state(self):
        found = StateFile(self.states, "s").load()
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_batches_go_in_order_and_the_state_follows(bench: Bench) -> None:
    write(bench.journal, *range(1200))
    shipper = bench.shipper()
    while shipper.step() == 0.0:
        pass
    assert bench.memory.numbers() == list(range(1200))
    state = bench.state()
    assert (state.sent, state.seq, state.sent_at, state.error) == (1201, 1201, 1000.0, "")


def test_start_now_leaves_out_what_was_before_and_nothing_after(bench: Bench) -> None:
    write(bench.journal, 1)
    shipper = bench.shipper("now")
    write(bench.journal, 2)
    shipper.step()
    assert bench.memory.numbers() == [2]


def test_a_failure_moves_nothing_and_waits_longer_each_time(bench: Bench) -> None:
    write(bench.journal, 1)
    shipper = bench.shipper()
    bench.memory.faults = [SinkError("away") for _ in range(12)]
    waits = [shipper.step() for _ in range(12)]
    assert 0.3 < waits[0] < 0.7
    assert waits[3] > waits[0]
    assert max(waits) <= limits.SINK_BACK_OFF_SECONDS * 1.25
    assert (bench.state().error, bench.state().failures, bench.state().sent) == ("away", 12, 0)
    assert shipper.step() == 0.0
    assert bench.memory.numbers() == [1]
    assert (bench.state().error, bench.state().failures) == ("", 12)
    bench.memory.faults = [SinkError("away")]
    assert shipper.step() < 0.7


def test_what_a_sink_asks_for_is_heard(bench: Bench) -> None:
    shipper = bench.shipper()
    bench.memory.faults = [SinkError("busy", wait=42.0)]
    assert shipper.step() == 42.0


def test_a_bug_is_told_and_does_not_end_the_sink(bench: Bench) -> None:
    shipper = bench.shipper()
    bench.memory.faults = [UnicodeError("label too long")]
    assert shipper.step() > 0
    assert "a bug in mcpguard: UnicodeError" in bench.state().error
    assert shipper.step() == 0.0


def test_after_a_broken_stream_what_may_not_have_been_read_comes_again(bench: Bench) -> None:
    shipper = bench.shipper()
    for number in range(3):
        write(bench.journal, number)
        shipper.step()
    bench.memory.faults = [SinkError("closed", broken=True)]
    shipper.step()
    write(bench.journal, 3)
    shipper.step()
    assert bench.memory.numbers() == [0, 1, 2, 0, 1, 2, 3]
    counts = Counter(event.id for event in bench.memory.taken)
    assert max(counts.values()) == 2
    bench.memory.faults = [SinkError("closed", broken=True)]
    shipper.step()
    assert shipper.step() == 0.0


def test_one_that_starts_again_goes_on(bench: Bench) -> None:
    write(bench.journal, 1)
    bench.shipper().step()
    write(bench.journal, 2)
    bench.shipper().step()
    assert bench.memory.numbers() == [1, 2]


def test_a_crash_between_sending_and_remembering_repeats_one_batch(bench: Bench) -> None:
    write(bench.journal, 1)
    before = bench.shipper()
    state = bench.state()
    before.step()
    StateFile(bench.states, "s").save(state)  # what a kill just before the save leaves
    write(bench.journal, 2)
    bench.shipper().step()
    assert bench.memory.numbers() == [1, 1, 2]


def test_segments_that_retention_removed_are_told(bench: Bench) -> None:
    write(bench.journal, 0)
    shipper = bench.shipper()
    shipper.step()
    bench.memory.faults = [SinkError("away")]
    for number in range(1, 400):
        write(bench.journal, number)
    shipper.step()
    for path in journalfiles.segments(bench.log)[:3]:
        path.unlink()
    while shipper.step() == 0.0:
        pass
    gaps = [event for event in bench.memory.taken if event.body.get("event") == "unsent"]
    assert len(gaps) == bench.state().gaps == 1
    seen = {event.record.seq for event in bench.memory.taken if event.record.seq}
    lost = range(gaps[0].body["first"], gaps[0].body["last"] + 1)
    assert gaps[0].body["lost"] == len(lost) > 0
    assert seen | set(lost) == set(range(1, max(seen) + 1))
    assert not seen & set(lost)


def test_a_way_is_made_for_every_kind() -> None:
    for kind, to in (
        ("syslog", "udp://127.0.0.1:9"),
        ("journald", "unix:///x"),
        ("https", "https://x"),
        ("otlp", "http://localhost:1"),
    ):
        way = delivery(Sink("s", kind, to))
        way.look()
        way.close()


def test_what_a_receiver_died_with_unread_comes_again(bench: Bench) -> None:
    receiver = Stream()
    sink = Sink("s", "syslog", f"tcp://127.0.0.1:{receiver.port}")
    shipper = Shipper(sink, bench.log, bench.states, bench.stop)
    thread = threading.Thread(target=shipper.run, daemon=True)
    thread.start()
    assert until(lambda: receiver.messages)
    receiver.reading.clear()
    write(bench.journal, *range(200))
    assert until(lambda: bench.state().seq == 201)  # its kernel has them all
    receiver.close()
    assert len(receiver.messages) < 100
    again = Stream(port=receiver.port)

    def arrived() -> bool:
        texts = [json.loads(read_syslog(data)[2]) for data in again.messages]
        return {each["n"] for each in texts if each.get("event") == "test"} == set(range(200))

    assert until(arrived)
    bench.stop.set()
    thread.join()
    again.close()


WORKER = """
import sys, threading
from pathlib import Path
from mcpguard.system.shipping import Shipper
from mcpguard.system.sinkfile import Sink
log, states, port = sys.argv[1:]
sink = Sink("s", "syslog", f"tcp://127.0.0.1:{port}")
Shipper(sink, Path(log), Path(states), threading.Event()).run()
"""


def test_sink_and_exporter_are_killed_in_the_middle_and_everything_arrives(bench: Bench) -> None:
    """The receiver goes with what it has not read, the exporter by SIGKILL, again and again while the log grows."""
    receiver = Stream()
    port = receiver.port
    heard: list[bytes] = []
    workers: list[subprocess.Popen[bytes]] = []

    def worker() -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", WORKER, str(bench.log), str(bench.states), str(port)]
        workers.append(subprocess.Popen(words))
        return workers[-1]

    written = 0
    worker()
    for turn in range(6):
        write(bench.journal, *range(written, written + 2000))
        written += 2000
        assert until(lambda here=receiver: len(here.messages) > 100)
        if turn % 2:
            workers[-1].send_signal(signal.SIGKILL)
            workers[-1].wait()
            worker()
        else:
            receiver.reading.clear()  # a receiver that is slow, so that its kernel holds what it has not read
            time.sleep(0.05)
            receiver.close()
            heard += receiver.messages
            receiver = Stream(port=port)
    numbers: set[int] = set()

    def complete() -> bool:
        texts = [json.loads(read_syslog(data)[2]) for data in heard + receiver.messages]
        numbers.update(each["n"] for each in texts if each.get("event") == "test")
        return len(numbers) == written

    try:
        assert until(complete, 60), f"{written - len(numbers)} of {written} were lost"
    finally:
        workers[-1].kill()
        workers[-1].wait()
        receiver.close()
    messages = heard + receiver.messages
    ids = {read_syslog(data)[1]["id"] for data in messages}
    lines = [line for path in journalfiles.segments(bench.log) for line in journalfiles.lines(path)]
    assert ids <= {event_of(line).id for line in lines}
    assert len(messages) >= len(ids) >= written
