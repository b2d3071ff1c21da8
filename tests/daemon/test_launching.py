"""From a manifest to what is started: real files, real leases, real trees."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mcpguard.daemon.launching import Launch, Launcher, unpinned
from mcpguard.errors import TrustError
from mcpguard.identity.manifest import ExecutablePin, Manifest, PackagePin
from mcpguard.identity.manifest import Launch as Described
from mcpguard.protocol.hello import Hello
from mcpguard.system.pinned import digest_of
from mcpguard.system.tree import tree_digest
from tests.daemon.loops import both_loops, eventually, run

ENV = (
    b"PATH=/usr/bin:/bin", b"HOME=/home/u", b"LANG=C", b"TOKEN=secret", b"GITHUB_TOKEN=x", b"LD_PRELOAD=/x.so",
    b"NODE_OPTIONS=--inspect", b"MCPGUARD_STATE_DIR=/s", b"CLAUDE_CODE_SSE_PORT=7", b"WANTED=yes",
)  # fmt: skip
HELLO = Hello(
    version="1", nonce=b"", kind="command", name="", cwd=b"/somewhere", habits=(18, -1, 0),
    argv=(b"files", b"--more"), env=ENV,
)  # fmt: skip


class Room:
    """A program, a store, a place for sessions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store, self.scratch = root / "store", root / "run"
        self.store.mkdir()
        self.scratch.mkdir()
        self.program = root / "program"
        shutil.copy("/bin/true", self.program)

    def pin(self, path: Path) -> ExecutablePin:
        return ExecutablePin(str(path), digest_of(str(path)), path.stat().st_size)

    def tree(self, **files: str) -> PackagePin:
        """A package tree in the store."""
        made = self.root / "made"
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text)
        digest = tree_digest(made).sha256
        (self.store / "npm").mkdir(exist_ok=True)
        made.rename(self.store / "npm" / digest)
        return PackagePin("npm", "package-lock.json@3", "0" * 64, 1, "sha512-all", "none", digest)

    def manifest(self, *words: str, packages: tuple[PackagePin, ...] = (), **launch: object) -> Manifest:
        described = Described((str(self.program), *words), ("files",), **launch)  # type: ignore[arg-type]
        return Manifest(
            name="files", version=1, not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z",
            launch=described, executables=(self.pin(self.program),), packages=packages,
        )  # fmt: skip

    def launcher(self) -> Launcher:
        return Launcher(self.store, self.scratch)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@contextlib.asynccontextmanager
async def started(room: Room) -> Iterator[Launcher]:  # type: ignore[misc]
    launcher = room.launcher()
    launcher.start()
    try:
        yield launcher
    finally:
        await launcher.close()


def prepared(room: Room, manifest: Manifest, hello: Hello = HELLO) -> Launch:
    """What is started; the caller looks and lets go."""

    async def story() -> Launch:
        async with started(room) as launcher:
            return await launcher.prepare(manifest, hello)

    return run(story)


def let_go(launch: Launch) -> None:
    async def story() -> None:
        launch.tidy()
        await asyncio.get_running_loop().shutdown_default_executor()

    run(story)


def refusal(room: Room, manifest: Manifest) -> TrustError:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TrustError) as caught:
        prepared(room, manifest)
    assert caught.value.hint.startswith(("install", "see", "try", "take"))
    assert "NAME" not in caught.value.hint
    assert list(room.scratch.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before
    return caught.value


# --- what is started -----------------------------------------------------------------------------------------


def test_without_a_manifest_it_is_what_the_shim_asks_for_less_what_is_never_passed_on() -> None:
    launch = unpinned(HELLO)
    assert (launch.argv, launch.cwd, launch.image, launch.scratch) == (HELLO.argv, b"/somewhere", -1, "")
    names = {entry.partition(b"=")[0] for entry in launch.env}
    assert b"TOKEN" in names
    assert not {b"MCPGUARD_STATE_DIR", b"CLAUDE_CODE_SSE_PORT"} & names


def test_nothing_that_the_host_says_reaches_the_command(room: Room) -> None:
    launch = prepared(room, room.manifest("--root", "/data"))
    assert launch.argv == (os.fsencode(room.program), b"--root", b"/data")
    assert launch.cwd == b"/somewhere"
    let_go(launch)


def test_environment_is_the_minimum_what_is_passed_and_what_is_set(room: Room) -> None:
    manifest = room.manifest(
        env_pass=("WANTED", "ABSENT", "MCPGUARD_STATE_DIR", "CLAUDE_CODE_SSE_PORT"),
        env_set={"LANG": "de", "MODE": "safe"},
    )
    launch = prepared(room, manifest)
    assert sorted(launch.env) == [
        b"HOME=/home/u", b"LANG=de", b"MODE=safe", b"PATH=/usr/bin:/bin", b"WANTED=yes",
    ]  # fmt: skip
    let_go(launch)


@pytest.mark.parametrize(
    "place",
    [
        {"cwd": "{session_tmp}"},
        {"env_set": {"CACHE": "{session_tmp}/cache"}},
        {"words": ("--tmp={session_tmp}/x",)},
    ],
    ids=["cwd", "variable", "argument"],
)
def test_directory_of_a_session_is_made_wherever_it_is_named_and_removed(room: Room, place: dict) -> None:
    launch = prepared(room, room.manifest(*place.pop("words", ()), **place))
    scratch = Path(launch.scratch)
    assert scratch.parent == room.scratch
    assert scratch.stat().st_mode & 0o777 == 0o700
    everything = b" ".join([*launch.argv, *launch.env, launch.cwd])
    assert os.fsencode(scratch) in everything
    assert b"{" not in everything
    (scratch / "deep").mkdir()
    (scratch / "deep" / "file").write_text("x")
    let_go(launch)
    assert list(room.scratch.iterdir()) == []


def test_two_sessions_have_two_directories(room: Room) -> None:
    one, two = (prepared(room, room.manifest(cwd="{session_tmp}")) for _ in range(2))
    assert one.scratch != two.scratch
    assert one.cwd == os.fsencode(one.scratch)
    let_go(one)
    assert Path(two.scratch).is_dir()
    let_go(two)


def test_what_a_killed_daemon_left_is_removed_and_nothing_else(room: Room) -> None:
    (room.scratch / "session-old").mkdir()
    (room.scratch / "session-old" / "x").write_text("x")
    (room.scratch / "run.sock").write_text("")
    let_go(prepared(room, room.manifest()))
    assert [path.name for path in room.scratch.iterdir()] == ["run.sock"]


def test_working_directory_of_the_manifest_wins(room: Room) -> None:
    launch = prepared(room, room.manifest(cwd="/usr"))
    assert launch.cwd == b"/usr"
    let_go(launch)


# --- what is executed is what was hashed ---------------------------------------------------------------------


def test_61_what_was_hashed_is_executed_although_the_name_now_leads_elsewhere(room: Room) -> None:
    launch = prepared(room, room.manifest())
    evil = room.root / "evil"
    shutil.copy("/bin/false", evil)
    evil.replace(room.program)
    assert digest_of(str(room.program)) == hashlib.sha256(Path("/bin/false").read_bytes()).hexdigest()
    done = subprocess.run(
        [f"/proc/self/fd/{launch.image}"], pass_fds=[launch.image], env={}, check=False, timeout=10
    )
    assert done.returncode == 0
    let_go(launch)


def test_scripts_are_executed_by_their_path(room: Room) -> None:
    room.program.write_text("#!/bin/sh\nexit 0\n")
    launch = prepared(room, room.manifest())
    assert (launch.image, launch.argv[0]) == (-1, os.fsencode(room.program))
    let_go(launch)


def test_nothing_stays_open(room: Room) -> None:
    run(lambda: asyncio.sleep(0))
    before = len(os.listdir("/proc/self/fd"))
    launch = prepared(room, room.manifest())
    assert len(os.listdir("/proc/self/fd")) == before + 1
    let_go(launch)
    assert len(os.listdir("/proc/self/fd")) == before


def test_missing_and_changed_executables_are_refused(room: Room) -> None:
    manifest = room.manifest()
    with room.program.open("ab") as file:
        file.write(b"\0")
    assert "has changed" in refusal(room, manifest).message
    room.program.unlink()
    error = refusal(room, manifest)
    assert "cannot be opened" in error.message


def test_symlink_that_was_swapped_is_refused(room: Room) -> None:
    good, link = room.root / "good", room.root / "program"
    link.rename(good)
    link.symlink_to(good)
    manifest = room.manifest()
    let_go(prepared(room, manifest))
    link.unlink()
    link.symlink_to("/bin/false")
    assert "has changed" in refusal(room, manifest).message


def test_second_executable_counts_as_well(room: Room) -> None:
    script = room.root / "script.py"
    script.write_text("print()")
    manifest = room.manifest()
    manifest = msgspec.structs.replace(manifest, executables=(*manifest.executables, room.pin(script)))
    let_go(prepared(room, manifest))
    script.write_text("print(1)")
    assert "script.py" in refusal(room, manifest).message


# --- trees ---------------------------------------------------------------------------------------------------


def in_tree(room: Room, pin: PackagePin) -> Manifest:
    return room.manifest(
        f"{{store}}/npm/{pin.tree}/index.js", packages=(pin,), env_set={"ROOT": f"{{store}}/npm/{pin.tree}"}
    )


def test_store_stands_for_the_store(room: Room) -> None:
    pin = room.tree(**{"index.js": "x"})
    place = room.store / "npm" / pin.tree
    launch = prepared(room, in_tree(room, pin))
    assert launch.argv[1] == os.fsencode(place / "index.js")
    assert b"ROOT=" + os.fsencode(place) in launch.env
    let_go(launch)


def test_changed_and_missing_trees_are_refused(room: Room) -> None:
    pin = room.tree(**{"index.js": "x", "more.js": "y"})
    place = room.store / "npm" / pin.tree
    manifest = in_tree(room, pin)
    let_go(prepared(room, manifest))
    for change in (
        lambda: (place / "more.js").write_text("z"),
        lambda: (place / "new.js").write_text(""),
        lambda: (place / "new.js").unlink() or (place / "more.js").unlink(),
    ):
        change()
        error = refusal(room, manifest)
        assert "has changed" in error.message
        assert error.hint == "install it again: mcpguard server pin files"
    shutil.rmtree(place)
    assert "is missing" in refusal(room, manifest).message


def test_tree_is_read_again_although_size_and_times_are_the_same(room: Room) -> None:
    pin = room.tree(**{"index.js": "x"})
    file = room.store / "npm" / pin.tree / "index.js"
    let_go(prepared(room, in_tree(room, pin)))
    info = file.stat()
    file.write_text("y")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert "has changed" in refusal(room, in_tree(room, pin)).message


# --- leases --------------------------------------------------------------------------------------------------


def write_to(path: Path, seconds: float = 20.0) -> float:
    """How long another process waits to open the file for writing; the kernel breaks a lease after 45 seconds."""
    code = "import os, sys, time; t = time.monotonic(); os.open(sys.argv[1], os.O_WRONLY); print(time.monotonic() - t)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, path], capture_output=True, text=True, timeout=seconds, check=True
    )
    return float(done.stdout)


def append_to(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@both_loops
def test_writer_is_not_stuck_and_its_change_is_seen(room: Room, loop: str) -> None:
    """The lease is given up when the kernel tells that somebody waits, and the file is hashed again."""

    async def story() -> None:
        manifest = room.manifest()
        async with started(room) as launcher:
            for _ in range(2):
                (await launcher.prepare(manifest, HELLO)).tidy()
            assert await asyncio.to_thread(write_to, room.program) < 5
            (await launcher.prepare(manifest, HELLO)).tidy()
            await asyncio.to_thread(append_to, room.program)
            with pytest.raises(TrustError, match="has changed"):
                await launcher.prepare(manifest, HELLO)

    run(story, loop)


def test_writer_waits_for_a_start_and_not_for_what_runs(room: Room) -> None:
    """From hash to execution nobody can write to the file; afterwards everybody can, although a session goes on."""

    async def story() -> None:
        async with started(room) as launcher:
            launch = await launcher.prepare(room.manifest(), HELLO)
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(write_to, room.program, 0.5)
            launch = launch.executed()
            assert await asyncio.to_thread(write_to, room.program) < 5
            launch.tidy()

    run(story)


def test_file_that_is_being_written_to_is_refused(room: Room) -> None:
    manifest = room.manifest()
    with room.program.open("r+b"):
        assert "open for writing" in refusal(room, manifest).message
    let_go(prepared(room, manifest))


def test_starts_wait_for_each_other_and_the_loop_for_none(room: Room) -> None:
    """Hashing is in a thread: the daemon answers meanwhile."""
    big = room.root / "program"
    with big.open("ab") as file:
        file.truncate(200 << 20)
    manifest = room.manifest()

    async def story() -> None:
        async with started(room) as launcher:
            work = asyncio.gather(*(launcher.prepare(manifest, HELLO) for _ in range(3)))
            longest = 0.0
            while not work.done():
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)
            assert longest < 0.15
            for launch in await work:
                launch.tidy()

    run(story)


def test_thread_ends_with_the_launcher(room: Room) -> None:
    let_go(prepared(room, room.manifest()))
    gone = run(
        lambda: eventually(lambda: not any(t.name.startswith("verify") for t in threading.enumerate()))
    )
    assert gone
