"""What the audit log costs: sealing, appending, a call's two records, and verifying. Run: python -m tests.bench.audit"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

from mcpguard.audit import record
from mcpguard.audit.chain import SEAL_BYTES, Chain
from mcpguard.audit.seal import FirstKey, close, parse_first_key
from mcpguard.audit.tree import Tree
from mcpguard.daemon.recorder import Recorder
from mcpguard.model import Side, Verdict
from mcpguard.system import checkpointkey
from mcpguard.system.firstkey import hand_over
from mcpguard.system.journal import Journal
from mcpguard.system.journalcheck import Against, check

_RECORDS = 100_000
_STAMP = b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"0f" * 16)
_START = record.prefix("k3f9", {"uid": 1000, "pid": 42, "grade": "G1", "exe": "/usr/bin/node"}, "files")
_CALL_TAIL = record.call_tail(Side.HOST, "tools/call", "read_file", Verdict.ALLOW, "files-read")
_ANSWER_TAIL = record.outcome_tail(Side.HOST, "tools/call", "read_file")
CALL = record.call(_START, 17, _CALL_TAIL, b"ab" * 16, 21)
OUTCOME = record.outcome(_START, 17, _ANSWER_TAIL, record.OK, 1234, 99)


def best(act: Callable[[], object], number: int = 100, repeat: int = 400) -> float:
    """Microseconds of one run, best of many short slices: some of them are undisturbed."""
    return min(timeit.repeat(act, number=number, repeat=repeat)) / number * 1e6


def sealing() -> None:
    """The parts, and a sealed line against one of version 1."""
    line = Chain(key=bytes(32)).seal([CALL], _STAMP)
    tree = Tree()
    print(f"record                      {len(line)} bytes")
    print(f"its MAC, and the next key   {best(lambda: close(line[:-SEAL_BYTES], bytes(32))):6.2f} us")
    print(f"tree, a line                {best(lambda: tree.add(line)):6.2f} us (in the background)")
    for name, key in (("version 1", b""), ("sealed", bytes(32))):
        for burst in (1, 16):
            chain, bodies = Chain(key=key), [CALL] * burst
            cost = best(lambda c=chain, b=bodies: c.seal(b, _STAMP), 160 // burst) / burst
            print(f"seal, {name:9}, burst {burst:2}    {cost:6.2f} us a record")
    print(
        f"sign a checkpoint           {best(lambda: checkpointkey.sign(bytes(32), line), 10):6.2f} us (in the background)"
    )


def appending(place: Path) -> None:
    """Through the journal, into the page cache."""
    journal = Journal.open(place)
    for burst in (1, 16):
        cost = best(lambda b=[CALL] * burst: journal.append(b), 160 // burst) / burst
        print(f"append, burst {burst:2}            {cost:6.2f} us a record")
    journal.close()


async def calls(place: Path, window: int) -> None:
    """A call as a session pays for it: its record before, its outcome later; syncs run meanwhile."""
    recorder = Recorder(Journal.open(place))
    recorder.noticed = recorder.take  # as detectors do, or they would pile up
    lowest = total = 1e9
    for _ in range(60):  # short slices: some of them are undisturbed
        cpu, spent = time.process_time(), 0.0
        for _ in range(2000 // window):
            began = time.perf_counter()
            recorder.append([CALL] * window)
            recorder.later([OUTCOME] * window)
            spent += time.perf_counter() - began
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)  # what is left over for the background
        count = 2000 // window * window
        lowest = min(lowest, spent / count * 1e6)
        total = min(total, (time.process_time() - cpu) / count * 1e6)
    await recorder.close()
    print(
        f"a call, window {window:3}          {lowest:6.2f} us before it goes on; {total:6.2f} us of CPU with all that follows"
    )


def verifying(place: Path) -> None:
    """A whole log, with and without its first key."""
    journal = Journal.open(place)
    for _ in range(_RECORDS // 100):
        journal.append([CALL, OUTCOME] * 50)
    journal.close()
    got: list[str] = []
    hand_over(place, got.append)
    for name, key in (("", None), (", seals too", parse_first_key(got[0]))):
        print(f"verify{name:12}          {_speed(place, key):9,.0f} records/s of CPU")


def _speed(place: Path, key: FirstKey | None) -> float:
    """Records in a second of CPU time: others may be busy on this machine."""
    fastest = 0.0
    for _ in range(3):
        began = time.process_time()
        records = check(place, Against(first_key=key)).report.records
        fastest = max(fastest, records / (time.process_time() - began))
    return fastest


def main() -> None:
    """All of it, in a directory that is removed."""
    place = Path(tempfile.mkdtemp(prefix="mcpguard-bench-"))
    try:
        sealing()
        appending(place / "append")
        for window in (1, 16, 64):
            asyncio.run(calls(place / f"calls-{window}", window))
        verifying(place / "verify")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
