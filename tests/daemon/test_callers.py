"""Hosts as the daemon holds them: what is asked of them, what policy sees, and that nothing of them stays open."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mcpguard.daemon.callers import Attested, Callers, require_unchanged
from mcpguard.daemon.enrolments import Enrolments
from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.enrolment import Recognition, encode_one, propose
from mcpguard.identity.facts import FileFacts, HostFacts, Program
from mcpguard.model import Grade
from mcpguard.system.digests import Digests
from mcpguard.system.hostsfile import HostsFile
from mcpguard.system.kernel import Kernel
from tests.daemon.hosts import FACTS, TameHost, attested
from tests.daemon.loops import both_loops, run
from tests.lifecycle.forms import socat
from tests.system.stage import PAIRS, PAIRS_HOST, PYTHON_HOST, Arrival, arrival, shim_command

replace = msgspec.structs.replace
OURS = (f"uid:{FACTS.shim.uid}",)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def enrolments(tmp_path: Path) -> Enrolments:
    return Enrolments(HostsFile(tmp_path / "hosts"))


def attest(
    enrolments: Enrolments, here: Arrival, kernel: Kernel | None = None, on_update: str = "ask"
) -> Attested:
    callers = Callers(enrolments, kernel or Kernel())
    return asyncio.run(callers.attest(here.peer, here.stdin, here.stdout, on_update))


# --- what policy sees -----------------------------------------------------------------------------------


def test_caller_is_what_the_kernel_says_and_the_name_a_person_gave() -> None:
    with_all = replace(FACTS, unit="app-x.scope", label="snap.x", confined=True)
    host = TameHost(with_all)
    caller = attested(host, "acme").caller
    host.close()
    assert caller.principals == ("any", *OURS, "host:acme")
    assert (caller.grade, caller.unit, caller.label) == (Grade.G4, "app-x.scope", "snap.x")
    assert caller.ancestors == ("/opt/host", "/usr/bin/bash")


def test_caller_without_a_name_is_anybody() -> None:
    host = TameHost()
    caller = attested(host).caller
    host.close()
    assert (caller.principals, caller.grade) == (("any", *OURS), Grade.G3)


@pytest.mark.parametrize(
    ("changes", "ancestors"),
    [
        ({"chain": ("/opt/host", "/usr/bin/zsh")}, ("/opt/host", "/usr/bin/zsh")),
        (
            {"chain": ("/usr/bin/dash", "/opt/host", "/usr/bin/zsh")},
            ("/opt/host", "/usr/bin/dash", "/usr/bin/zsh"),
        ),
        ({"chain": ("/opt/host", "/opt/host", "/x")}, ("/opt/host", "/opt/host", "/x")),
        ({"chain": ("/opt/host (deleted)", "/x")}, ("/opt/host", "/x")),
        ({"chain": ("/usr/bin/bash", "?"), "executable": None}, ("?", "/usr/bin/bash")),
        ({"chain": ("/usr/bin/bash", "/x"), "executable": None}, ("?", "/usr/bin/bash", "/x")),
        ({"chain": ()}, ()),
        ({"chain": (), "executable": None}, ()),
        ({"chain": (), "pid": 1}, ("/opt/host",)),
    ],
)
def test_host_is_not_above_itself_and_what_is_not_known_is_not_nothing(
    changes: dict[str, object], ancestors: tuple[str, ...]
) -> None:
    host = TameHost(replace(FACTS, **changes))
    caller = attested(host).caller
    host.close()
    assert caller.ancestors == ancestors


def test_evidence_has_the_name_the_grade_and_the_reason() -> None:
    host = TameHost(replace(FACTS, is_parent=False))
    told = attested(host, "acme").evidence()
    host.close()
    assert (told["host"], told["grade"], told["pid"], told["exe"]) == ("acme", "G1", 50, "/opt/host")
    assert told["because"] == "it did not start mcpguard itself: something stands between them"


# --- while it lasts -------------------------------------------------------------------------------------


@both_loops
def test_death_is_told_once(loop: str) -> None:
    async def story() -> None:
        host, told = TameHost(), []
        held = attested(host)
        held.watch(lambda: told.append(1))
        held.watch(lambda: told.append(2))
        await asyncio.sleep(0.01)
        assert (told, held.alive()) == ([], True)
        host.die()
        await asyncio.sleep(0.01)
        assert (told, held.alive()) == ([1], False)
        held.close()

    run(story, loop)


@both_loops
def test_nothing_is_told_of_a_host_that_was_let_go(loop: str) -> None:
    async def story() -> None:
        host, told = TameHost(), []
        held = attested(host)
        held.watch(lambda: told.append(1))
        host.die()
        held.close()
        held.close()
        await asyncio.sleep(0.01)
        assert told == []

    run(story, loop)


@both_loops
def test_host_without_a_handle_cannot_be_watched(loop: str) -> None:
    async def story() -> None:
        host = TameHost()
        host.close()
        held = attested(host)
        held.watch(lambda: pytest.fail("nobody died"))
        await asyncio.sleep(0.01)
        assert held.alive()
        held.close()

    run(story, loop)


def test_digests_are_taken_when_they_are_asked_for_and_change_nothing_else() -> None:
    bare = replace(FACTS, executable=replace(FACTS.executable, digest="", writable=True))
    host = TameHost(bare)
    held = Attested(host, bare, Recognition(), Digests())
    before = held.caller
    assert (host.hashed, held.appraisal.grade) == (0, Grade.G2)
    host.facts = FACTS
    asyncio.run(held.take_digests())
    assert held.facts.executable.digest == "ab" * 32
    assert (host.hashed, held.caller, held.appraisal.grade) == (1, before, Grade.G2)
    held.close()


def test_changed_host_is_refused_with_what_to_do() -> None:
    host = TameHost()
    require_unchanged(host)
    require_unchanged(attested(host))
    host.changed = "the host is not what it was: it has ended"
    for one in (host, attested(host)):
        with pytest.raises(PeerError, match="it has ended") as caught:
            require_unchanged(one)
        assert caught.value.hint == "start the server again from the host"
    assert host.looked == 4
    host.close()


# --- attested, with real processes ----------------------------------------------------------------------


def acme(directory: Path) -> Path:
    """A program of the user's own, in a directory that others may write to."""
    place = directory / "bin"
    place.mkdir(mode=0o777)
    program = place / "acme"
    shutil.copy(os.path.realpath(sys.executable), program)
    (place / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    return program


def test_host_is_attested_and_let_go(tmp_path: Path, enrolments: Enrolments) -> None:
    with arrival(tmp_path, PYTHON_HOST) as here:
        held = attest(enrolments, here)
        assert held.pid == here.host.pid
        assert held.recheck() == ""
        assert held.alive()
        assert held.facts.executable.path == os.path.realpath(sys.executable)
        held.close()


def test_users_program_is_read_only_if_somebody_knows_it(tmp_path: Path, enrolments: Enrolments) -> None:
    program = acme(tmp_path)
    with arrival(tmp_path, [str(program), "-I", "-c", PAIRS]) as here:
        held = attest(enrolments, here)
        assert held.facts.executable.writable
        assert held.facts.executable.digest == ""
        asyncio.run(held.take_digests())
        assert len(held.facts.executable.digest) == 64
        enrolments.trust(encode_one(propose("acme", held.facts, Grade.G2, "2026-11-22T10:00:00Z")), "acme")
        held.close()
        again = attest(enrolments, here)
        assert again.facts.executable.digest == held.facts.executable.digest
        assert {"any", "host:acme"} <= set(again.caller.principals)
        again.close()


@pytest.mark.root
def test_roots_program_is_read_because_the_grade_depends_on_it(
    tmp_path: Path, enrolments: Enrolments
) -> None:
    program = os.path.realpath(shutil.which("socat") or pytest.skip("needs socat"))
    with arrival(tmp_path, [], command=lambda path: socat(program, tmp_path, shim_command(path))) as here:
        held = attest(enrolments, here)
        assert (held.facts.program, held.facts.executable.writable) == (Program.NATIVE, False)
        assert len(held.facts.executable.digest) == 64
        held.close()


class Meddling(Kernel):
    """Asked to hold a file still for reading, it lets a story happen."""

    def __init__(self, happen) -> None:
        self.happen = happen

    def lease(self, fd: int) -> None:
        self.happen()
        super().lease(fd)


def test_host_that_becomes_another_program_while_it_is_read_is_refused(
    tmp_path: Path, enrolments: Enrolments
) -> None:
    program = acme(tmp_path)
    file = FileFacts(str(program), 1, 2, 3, os.getuid(), writable=True, digest="a" * 64)
    known = HostFacts(
        FACTS.shim, pid=5, uid=os.getuid(), pinned=True, alone=True, program=Program.NATIVE, executable=file
    )
    enrolments.trust(encode_one(propose("acme", known, Grade.G2, "2026-11-22T10:00:00Z")), "acme")
    with arrival(tmp_path, [str(program), "-I", "-c", PAIRS]) as here:

        def becomes() -> None:
            here.say("import os; os.execv('/bin/sleep', ['sleep', '60'])")
            while not os.readlink(f"/proc/{here.host.pid}/exe").endswith(
                ("/sleep", "/coreutils", "/busybox")
            ):
                pass

        with pytest.raises(
            PeerError, match="the host is not what it was: it runs another program than before"
        ):
            attest(enrolments, here, Meddling(becomes))


def test_list_that_cannot_be_relied_on_refuses_and_nothing_stays_open(
    tmp_path: Path, enrolments: Enrolments
) -> None:
    (tmp_path / "hosts").mkdir(mode=0o700)
    (tmp_path / "hosts" / "enrolled.json").write_text("{")
    with arrival(tmp_path, PAIRS_HOST) as here, pytest.raises(TrustError, match="cannot be relied on"):
        attest(enrolments, here)


class Crowded(Kernel):
    """A machine on which the question who holds a pipe takes long."""

    def listdir(self, path: int | str) -> list[str]:
        if path == "/proc":
            time.sleep(0.05)
        return super().listdir(path)


def test_a_question_that_takes_long_is_asked_beside_the_calls_of_others(
    tmp_path: Path, enrolments: Enrolments
) -> None:
    with arrival(tmp_path, PYTHON_HOST) as here:

        async def story() -> list[float]:
            callers = Callers(enrolments, Crowded())
            stalls = []
            for _ in range(2):
                asked = asyncio.get_running_loop().create_task(
                    callers.attest(here.peer, here.stdin, here.stdout, "ask")
                )
                longest = 0.0
                while not asked.done():
                    before = time.monotonic()
                    await asyncio.sleep(0.001)
                    longest = max(longest, time.monotonic() - before)
                asked.result().close()
                stalls.append(longest)
            return stalls

        first, second = asyncio.run(story())
        assert first > 0.05 > second  # the first shows what it costs
