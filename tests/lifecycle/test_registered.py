"""Servers with manifests, through the real `mcpguard run`: what is refused before anything runs, and how it is said.

Numbers in names are those of the abuse cases.
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from mcpguard.identity.dsse import digest
from mcpguard.identity.manifest import PackagePin, encode_manifest
from mcpguard.identity.trust import REVOCATION, Revocations, Role
from mcpguard.system.tree import tree_digest
from mcpguard.system.truststore import TrustStore, wall_clock
from tests.identity.signing import A, B, C, D
from tests.identity.trusting import role, signed
from tests.lifecycle.land import ALLOW, Land, Registered, moment, pin, refused, trust_set
from tests.lifecycle.stage import PYTHON, until


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        yield made.found()


@pytest.fixture
def server(land: Land) -> Iterator[Registered]:
    made = land.server()
    yield made
    shutil.rmtree(made.file("manifest.json").parent, ignore_errors=True)


def payload_digest(server: Registered) -> str:
    return digest(encode_manifest(server.manifest))


# --- what runs -----------------------------------------------------------------------------------------------


def test_registered_server_runs_by_its_name_and_by_its_command(server: Registered) -> None:
    server.registered()
    for words in ((server.name,), ("--", *server.argv), ("--name", server.name, "--", *server.argv)):
        host = server.run(*words).greet()
        names = [tool["name"] for tool in host.ask("tools/list")["result"]["tools"]]
        assert names == ["look", "read_file", "write_file"]
        assert host.call("read_file")["result"]["content"][0]["text"] == "done"
        host.close_stdin()
        assert host.wait() == 0
    assert server.started() == 3
    for record in server.records("session", "begin"):
        told = {key: record[key] for key in ("manifest", "version", "keys", "publisher", "pin")}
        assert told == {
            "manifest": payload_digest(server), "version": 1, "keys": [A.public.ident], "publisher": "local",
            "pin": "P1",
        }  # fmt: skip
    assert server.records("finding") == []


def test_nothing_of_the_daemon_or_the_shim_is_left_open_in_the_server(server: Registered) -> None:
    server.registered()
    look = json.loads(server.run().greet().call("look")["result"]["content"][0]["text"])
    assert look["fds"] == [0, 1, 2]
    assert look["exe"] == PYTHON


def test_publishers_signed_manifest_runs(land: Land, server: Registered) -> None:
    server.replace(name=f"io.acme/{server.name}")
    server.registered(C)
    assert server.run().greet().call("read_file")["result"]["content"][0]["text"] == "done"
    (begin,) = server.records("session", "begin")
    assert (begin["publisher"], begin["manifest_name"]) == ("acme", f"io.acme/{server.name}")


# --- what a manifest says of itself --------------------------------------------------------------------------


def version_two(server: Registered) -> None:
    old = server.file("manifest.json").read_bytes()
    server.replace(version=2, supersedes=payload_digest(server))
    server.registered()
    server.file("manifest.json").write_bytes(old)


def same_version_other_content(server: Registered) -> None:
    server.plant(expires=moment(days=31))


def other_servers_manifest(server: Registered) -> None:
    other = server.land.server()
    server.file("manifest.json").write_bytes(other.envelope())


def corrupt(server: Registered) -> None:
    data = bytearray(server.file("manifest.json").read_bytes())
    data[len(data) // 2] ^= 1
    server.file("manifest.json").write_bytes(bytes(data))


def huge(server: Registered) -> None:
    file = server.file("manifest.json")
    file.write_bytes(file.read_bytes() + b" " * (1 << 20))


def sworn_anew(server: Registered) -> None:
    """The same bytes, signed by somebody else."""
    server.plant(D)


def unsigned(server: Registered) -> None:
    envelope = json.loads(server.file("manifest.json").read_text())
    server.file("manifest.json").write_text(json.dumps(envelope | {"signatures": []}))


SAYS: dict[str, tuple[Callable[[Registered], object], str]] = {
    "expired": (
        lambda server: server.plant(version=2, not_before=moment(days=-9), expires=moment(seconds=-1)),
        "expired at",
    ),
    "not yet valid": (
        lambda server: server.plant(version=2, not_before=moment(hours=1)),
        "is not valid before",
    ),
    "77 rolled back": (version_two, "is older than 2, which was seen"),
    "two of one version": (same_version_other_content, "was seen with another content"),
    "another server's": (other_servers_manifest, "is that of"),
    "corrupt": (corrupt, "mcpguard"),
    "empty": (lambda server: server.file("manifest.json").write_bytes(b""), "mcpguard"),
    "gone": (lambda server: server.file("manifest.json").unlink(), "manifest.json is missing"),
    "huge": (huge, "manifest.json is larger than"),
    "a link": (
        lambda server: (
            server.file("manifest.json").rename(server.home / "m"),
            server.file("manifest.json").symlink_to(server.home / "m"),
        ),
        "cannot be read",
    ),
    "writable by others": (lambda server: server.file("manifest.json").chmod(0o666), "is writable by others"),
    "a stranger's": (sworn_anew, "nobody who is trusted signed"),
    "unsigned": (unsigned, "signature"),
    "of a publisher without leave": (
        lambda server: server.plant(C, version=2),
        "belong to the publisher local",
    ),
    "secrets": (
        lambda server: server.plant(
            version=2, launch=msgspec.structs.replace(server.manifest.launch, secret={"TOKEN": "vault://x"})
        ),
        "is not started without TOKEN",
    ),
}


NEXT = ("mcpguard ", "chmod", "look at")
"""What a person is told to type, or where to look."""


@pytest.mark.parametrize("case", SAYS)
def test_manifest_that_may_not_be_believed(server: Registered, case: str) -> None:
    server.registered()
    change, words = SAYS[case]
    change(server)
    sentence = refused(server, server.run(), words)
    assert any(word in sentence for word in NEXT), sentence
    if case not in ("another server's", "empty", "corrupt"):  # whose command nobody can tell
        assert refused(server, server.run("--", *server.argv), words) == sentence


def test_what_is_refused_at_a_start_is_refused_by_put(land: Land, server: Registered) -> None:
    for keys, changes in (
        ((D,), {}),
        ((C,), {}),
        ((A,), {"expires": moment(seconds=-1), "not_before": moment(days=-2)}),
        ((A,), {"not_before": moment(hours=1)}),
        ((A,), {"name": "other"}),
    ):
        reply = server.put(*keys, **changes)
        assert (reply["ok"], reply["code"]) == (False, "trust")
        assert any(word in reply["error"] for word in NEXT)
    nobody(server)


def nobody(server: Registered) -> None:
    """There is no such server."""
    host = server.run()
    host.close_stdin()
    assert host.wait() == 125
    assert f"mcpguard server add {server.name}" in host.errors()[-1]


def test_manifest_expires_by_itself(server: Registered) -> None:
    server.replace(expires=moment(seconds=2))
    server.registered()
    server.run().greet().close_stdin()
    time.sleep(2)
    assert "mcpguard server trust" in refused(server, server.run(), "expired at", starts=1)


# --- revocation ----------------------------------------------------------------------------------------------


def test_revoked_key(land: Land, server: Registered) -> None:
    """A key that was revoked is worth nothing, for what runs and for what would start."""
    extra = trust_set(2, beta=role(D, prefix="io.beta/"))
    held = {**extra.keys, D.public.ident: D.public}
    assert land.trust(msgspec.structs.replace(extra, keys=held), A)["ok"]
    server.replace(name=f"io.beta/{server.name}")
    server.registered(D)
    host = server.run().greet()
    assert land.revoke(keys={D.public.ident})["ended"] == 1
    assert host.wait() in (0, 143)
    assert any("revoked" in line for line in host.errors())
    refused(server, server.run(), f"key {D.public.ident}, which is revoked", starts=1)


@pytest.mark.parametrize("case", ["manifest", "executable", "minimum"])
def test_revocation_ends_what_runs_and_keeps_it_from_starting(
    land: Land, server: Registered, case: str
) -> None:
    server.registered()
    other = land.server().registered()
    host, bystander = server.run().greet(), other.run().greet()
    entries = {
        "manifest": {"manifests": {payload_digest(server)}},
        "executable": {"packages": {f"sha256:{server.manifest.executables[1].sha256}"}},
        "minimum": {"minimum": {server.name: 2}},
    }
    if case == "executable":  # the script is the same file for all of them unless it differs
        server.script.write_text(server.script.read_text() + f"# {server.name}\n")
        host.close_stdin()
        host.wait()
        server.replace(version=2, executables=(pin(PYTHON), pin(server.script)))
        server.registered()
        host = server.run().greet()
        entries["executable"] = {"packages": {f"sha256:{server.manifest.executables[1].sha256}"}}
    starts = server.started()
    began = time.monotonic()
    assert land.revoke(**entries[case])["ended"] == 1
    assert host.rest(2) == []
    assert time.monotonic() - began < 2
    assert "revoked" in host.errors()[-1]
    refused(server, server.run(), "revoked", starts=starts)
    assert "result" in bystander.call("read_file")


def test_what_was_superseded_and_then_revoked_ends_too(land: Land, server: Registered) -> None:
    """A session that runs version 1 is not saved by version 2, which is not revoked."""
    server.registered()
    first = payload_digest(server)
    host = server.run().greet()
    server.replace(version=2)
    server.registered()
    young = server.run().greet()
    assert land.revoke(manifests={first})["ended"] == 1
    assert host.rest(2) == []
    assert "version 1" in host.errors()[-1]
    assert "result" in young.call("read_file")


def test_removed_server_ends_and_is_none(land: Land, server: Registered) -> None:
    server.registered()
    host = server.run().greet()
    assert land.ask({"verb": "server-remove", "name": server.name})["ok"]
    assert host.rest(2) == []
    assert "its manifest was removed" in host.errors()[-1]
    nobody(server)


# --- what the host says, and what is on the disk -------------------------------------------------------------


def test_67_host_gives_another_command_under_a_registered_name(server: Registered) -> None:
    server.registered()
    marker = server.home / "evil"
    for words in (
        ("sh", "-c", f"touch {marker}; cat"),
        (*server.argv, "--more"),
        server.argv[:-1],
        ("touch", str(marker)),
    ):
        sentence = refused(server, server.run("--name", server.name, "--", *words), "another command")
        assert f"mcpguard server show {server.name}" in sentence
    assert not marker.exists()


def test_67_socket_in_the_place_of_a_registered_command_is_refused(server: Registered) -> None:
    """Else a configuration that says `--connect` would serve anything under a verified name."""
    server.launch(host_argv=("files",))
    server.registered()
    host = server.run("--connect", "files", cwd=server.home)
    refused(server, host, "the host gives a socket")
    refused(server, server.run("--name", server.name, "--connect", "x", cwd=server.home), "another command")


def swap(server: Registered) -> None:
    target = server.home / "program"
    good = server.home / "good"
    target.rename(good)
    target.symlink_to(good)


def native(server: Registered) -> Path:
    """Make a program of its own the one that is started; it starts the script."""
    program = server.home / "program"
    shutil.copy("/usr/bin/env", program)
    server.launch(argv=(str(program), *server.argv), host_argv=(str(program), *server.argv))
    server.replace(executables=(pin(program), pin(PYTHON), pin(server.script)))
    return program


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def relink(link: Path, target: str) -> None:
    link.with_name("link").symlink_to(target)
    link.with_name("link").replace(link)


def replaced(path: Path, by: str) -> None:
    shutil.copy(by, path.with_name("new"))
    path.with_name("new").replace(path)


DISK: dict[str, tuple[Callable[[Registered, Path], object], str]] = {
    "missing executable": (lambda _server, program: program.unlink(), "cannot be opened"),
    "changed executable": (lambda _server, program: append(program), "has changed"),
    "replaced executable": (lambda _server, program: replaced(program, "/usr/bin/yes"), "has changed"),
    "changed script": (lambda server, _program: append(server.script), "server.py' has changed"),
    "missing script": (lambda server, _program: server.script.unlink(), "server.py' cannot be opened"),
    "a directory": (lambda _server, program: (program.unlink(), program.mkdir()), "is not a regular file"),
    "a pipe": (lambda _server, program: (program.unlink(), os.mkfifo(program)), "is not a regular file"),
}


@pytest.mark.parametrize("case", DISK)
def test_file_that_is_not_what_was_signed(server: Registered, case: str) -> None:
    program = native(server)
    server.registered()
    server.run().greet().close_stdin()
    change, words = DISK[case]
    change(server, program)
    refused(server, server.run(), words, starts=1)


def test_symlink_that_was_swapped(server: Registered) -> None:
    program = native(server)
    swap(server)
    server.replace(executables=(pin(program), pin(PYTHON), pin(server.script)))
    server.registered()
    server.run().greet().close_stdin()
    relink(program, "/usr/bin/yes")
    refused(server, server.run(), "has changed", starts=1)


def test_file_that_somebody_writes_to(server: Registered) -> None:
    server.registered()
    with server.script.open("r+b"):
        refused(server, server.run(), "open for writing")
    server.run().greet()


def test_writer_does_not_wait_for_a_session_to_end(server: Registered) -> None:
    """The lease on an executable is given up while a server runs that was started from it."""
    program = native(server)  # it becomes another program, so that only the lease keeps writers away
    server.registered()
    host = server.run().greet()
    code = "import os, sys; os.close(os.open(sys.argv[1], os.O_WRONLY))"
    subprocess.run([PYTHON, "-I", "-c", code, program], check=True, timeout=10)
    assert "result" in host.call("read_file")


def in_tree(server: Registered) -> Path:
    """Move the script into a package tree; where that is."""
    made = server.home / "made"
    (made / "lib").mkdir(parents=True)
    shutil.copy(server.script, made / "index.py")
    (made / "lib" / "more.py").write_text("X = 1\n")
    tree = tree_digest(made).sha256
    place = server.land.state / "store" / "npm" / tree
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    made.rename(place)
    server.launch(argv=(PYTHON, "-I", "-S", f"{{store}}/npm/{tree}/index.py", str(server.home)))
    package = PackagePin("npm", "package-lock.json@3", "0" * 64, 1, "sha512-all", "none", tree)
    server.replace(packages=(package,), executables=(pin(PYTHON),))
    return place


TREES: dict[str, Callable[[Path], object]] = {
    "a file changed": lambda place: append(place / "lib" / "more.py"),
    "a file more": lambda place: (place / "lib" / "new.py").write_text(""),
    "a file less": lambda place: (place / "lib" / "more.py").unlink(),
    "a link out of it": lambda place: relink(place / "lib" / "more.py", "/etc/hostname"),
    "a set-uid file": lambda place: (place / "lib" / "more.py").chmod(0o4755),
    "gone": shutil.rmtree,
}


def test_changed_tree(server: Registered) -> None:
    place = in_tree(server)
    server.registered()
    server.run().greet().close_stdin()
    copy = server.home / "copy"
    shutil.copytree(place, copy)
    for change in TREES.values():
        change(place)
        sentence = refused(server, server.run(), "tree", starts=1)
        assert "mcpguard server pin" in sentence
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(copy, place)
    server.run().greet()
    (connection,) = [each for each in server.land.status()["connections"] if each["server"] == server.name]
    assert connection["pin"] == "P2 version 1"


# --- servers without a manifest ------------------------------------------------------------------------------


def test_server_without_a_manifest_runs_only_where_policy_lets_it(land: Land, server: Registered) -> None:
    sentence = refused(server, server.run("--", *server.argv), "has no manifest")
    assert "mcpguard server add" in sentence
    try:
        for starts, policy in enumerate(
            (ALLOW.replace("\n", '\nunpinned = "allow"\n', 1), ALLOW.replace("enforce", "observe")), 1
        ):
            land.policy(policy)
            host = server.run("--", *server.argv).greet()
            (connection,) = [each for each in land.status()["connections"] if each["server"] == "server"]
            assert connection["pin"] == "no manifest"
            host.close_stdin()
            assert host.wait() == 0
            assert server.started() == starts
    finally:
        land.policy(ALLOW)
    refused(server, server.run("--", *server.argv), "has no manifest", starts=2)


# --- environment ---------------------------------------------------------------------------------------------

TOKENS = {
    "GITHUB_TOKEN": "ghp_x", "AWS_SECRET_ACCESS_KEY": "x", "ANTHROPIC_API_KEY": "x", "NPM_TOKEN": "x",
    "SSH_AUTH_SOCK": "/x", "NODE_OPTIONS": "--inspect", "LD_PRELOAD_X": "x", "WANTED": "yes", "LANG": "C",
}  # fmt: skip
CONTROL = {"CLAUDE_CODE_SSE_PORT": "7", "CLAUDE_CODE_MESSAGING_TOKEN": "x", "NOTIFY_SOCKET": "/x"}


def seen(server: Registered, *words: str) -> dict[str, str]:
    host = server.run(*words, env={**TOKENS, **CONTROL}).greet()
    environ: dict[str, str] = json.loads(host.call("look")["result"]["content"][0]["text"])["environ"]
    host.close_stdin()
    host.wait()
    return environ


def test_registered_server_sees_the_minimum_what_is_passed_and_what_is_set(server: Registered) -> None:
    server.launch(
        env_pass=("WANTED", "NOT_THERE", "CLAUDE_CODE_SSE_PORT"), env_set={"MODE": "safe", "LANG": "de"}
    )
    server.registered()
    environ = seen(server)
    environ.pop("LC_CTYPE", None)  # which the interpreter sets itself
    assert environ == {
        "PATH": os.environ["PATH"], "HOME": str(server.land.root), "WANTED": "yes", "MODE": "safe", "LANG": "de",
    }  # fmt: skip


def test_unregistered_server_sees_what_the_host_has_less_what_is_never_given(
    land: Land, server: Registered
) -> None:
    land.policy(ALLOW.replace("enforce", "observe"))
    try:
        environ = seen(server, "--", *server.argv)
    finally:
        land.policy(ALLOW)
    assert environ.items() >= TOKENS.items()
    assert not CONTROL.keys() & environ.keys()
    assert not [name for name in environ if name.startswith("MCPGUARD_")]


def test_server_runs_where_the_manifest_says(land: Land, server: Registered) -> None:
    server.launch(cwd="{session_tmp}", env_set={"CACHE": "{session_tmp}/cache"})
    server.registered()
    host = server.run().greet()
    look = json.loads(host.call("look")["result"]["content"][0]["text"])
    scratch = Path(look["cwd"])
    assert scratch.parent == land.run_dir.resolve()
    assert look["environ"]["CACHE"] == f"{scratch}/cache"
    (scratch / "left").write_text("x")
    host.close_stdin()
    host.wait()
    assert until(lambda: not scratch.exists(), 5)


# --- trust ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shore() -> Iterator[Land]:
    """A land of its own, for what cannot be undone."""
    with Land() as made:
        made.serve()
        yield made.found()


def damaged(
    land: Land, server: Registered, change: Callable[[Path], object], words: str, starts: int
) -> None:
    trust = land.state / "trust"
    copy = land.root / "trust-copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(trust, copy)
    change(trust)
    try:
        sentence = refused(server, server.run(), words, starts=starts)
        assert "mcpguard trust restore FILE" in sentence
        put = server.put(version=9)
        assert (put["ok"], put["code"]) == (False, "trust")
        shown = land.mcpguard("trust", "show")
        assert shown.returncode == 5, shown
    finally:
        shutil.rmtree(trust)
        shutil.copytree(copy, trust)
    server.run().greet().close_stdin()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def test_damaged_trust_files_refuse_and_say_how_to_restore(land: Land, server: Registered) -> None:
    server.registered()
    stranger = trust_set(9, local=role(D))
    stranger = msgspec.structs.replace(stranger, keys={**stranger.keys, D.public.ident: D.public})
    cases: list[Callable[[Path], object]] = [
        lambda trust: flip(trust / "trust.json"),
        lambda trust: (trust / "trust.json").write_bytes(b""),
        lambda trust: (trust / "trust.json").write_bytes(signed(stranger.encode(), D)),
        lambda trust: (trust / "trust.json").unlink(),
        lambda trust: (trust / "seen.json").write_text("{}"),
        lambda trust: (trust / "seen.json").unlink(),
    ]
    for starts, change in enumerate(cases):
        damaged(land, server, change, "are damaged, ", starts)


def test_77_state_that_went_back_is_found_while_the_daemon_runs_and_after(shore: Land) -> None:
    """An old manifest with a valid signature does not come back by way of the state that knows of the new one."""
    server = shore.server().registered()
    old, state = server.file("manifest.json").read_bytes(), shore.state / "trust" / "seen.json"
    before = state.read_bytes()
    server.replace(version=2)
    server.registered()
    server.file("manifest.json").write_bytes(old)
    refused(server, server.run(), "is older than 2")
    state.write_bytes(before)  # ... lowered
    refused(server, server.run(), "state went back")
    shore.again()
    sentence = refused(server, server.run(), "state went back")
    assert "mcpguard trust restore" in sentence
    shutil.rmtree(shore.state / "trust")  # ... and removed altogether
    refused(server, server.run(), "state went back")
    shore.again()
    refused(server, server.run(), "state went back")
    for what in (
        server.put(),
        shore.trust(trust_set(), A),
        shore.ask({"verb": "server-remove", "name": server.name}),
    ):
        assert not what["ok"]
        assert "mcpguard trust restore" in what["error"]


def test_77_enrolling_a_host_does_not_make_the_log_forget(shore: Land) -> None:
    """Whatever was written last, the rollback state is found."""
    server = shore.server().registered()
    assert not shore.ask({"verb": "host-forget", "name": "nobody"})["ok"]
    server.replace(version=2)
    server.registered()
    assert shore.ask({"verb": "server-remove", "name": server.name})["ok"]
    shutil.rmtree(shore.state / "trust")
    shore.again()
    shown = shore.mcpguard("trust", "show")
    assert shown.returncode == 5
    assert "state went back" in shown.stderr


def test_79_clock_that_was_set_back_revives_nothing(shore: Land) -> None:
    """Time that is known to have passed has passed: what expired stays expired, and nothing new is accepted."""
    server = shore.server()
    server.replace(expires=moment(days=100))
    server.registered()
    lasting = shore.server().registered()
    lasting.run().greet().close_stdin()
    store = TrustStore(shore.state / "trust")
    store.note_clock(wall_clock() + dt.timedelta(days=200))  # the clock was ahead then, or is behind now
    server.replace(expires=moment(days=300))
    reply = server.put(version=2)
    assert "the clock went back" in reply["error"]
    refused(server, server.run(), "expired at")
    reply = shore.trust(trust_set(2), A)
    assert not reply["ok"]
    assert "the clock went back" in reply["error"]


def test_78_trust_sets_follow_one_another_only_by_the_rule(shore: Land, tmp_path: Path) -> None:
    """N+2 without N+1, and N+1 that only the new keys signed; through the command line."""
    server = shore.server().registered()
    new_root = trust_set(2, root=role(B))
    stranger = trust_set(2, root=role(D))
    stranger = msgspec.structs.replace(stranger, keys={**stranger.keys, D.public.ident: D.public})
    for data in (
        signed(trust_set(3).encode(), A),
        signed(new_root.encode(), B),
        signed(new_root.encode(), A),
        signed(stranger.encode(), D),
        signed(trust_set(1, local=role(C)).encode(), A),
    ):
        file = tmp_path / "next.json"
        file.write_bytes(data)
        said = shore.run("trust", "import", str(file), "--yes", code=5)
        assert "mcpguard" in said.splitlines()[-1]
    assert shore.ask({"verb": "trust"})["seen"]["trust"]["version"] == 1
    server.run().greet()
    file.write_bytes(signed(new_root.encode(), A, B))
    shore.run("trust", "import", str(file), "--yes")
    assert shore.ask({"verb": "trust"})["seen"]["trust"]["version"] == 2
    server.run().greet()


def test_revocations_count_only_from_the_role(land: Land, tmp_path: Path) -> None:
    server = land.server().registered()
    document = msgspec.structs.replace(
        land.revoked or _nothing(), version=99, manifests=frozenset({payload_digest(server)})
    )
    file = tmp_path / "revocations.json"
    for key in (A, C, D):
        file.write_bytes(signed(document.encode(), key))
        assert REVOCATION in land.run("trust", "import", str(file), "--yes", code=5)
    server.run().greet()


def _nothing() -> Revocations:
    return Revocations(1, moment(days=30))


def test_threshold_of_a_publisher_counts_each_key_once(shore: Land) -> None:
    both = Role((C.public.ident, B.public.ident), 2, "io.acme/")
    assert shore.trust(trust_set(2, acme=both), A)["ok"]
    server = shore.server()
    server.replace(name=f"io.acme/{server.name}")
    for keys in ((C,), (C, C), (C, A), (C, D)):
        reply = server.put(*keys)
        assert not reply["ok"]
        assert "2" in reply["error"]
    server.registered(C, B)
    server.plant(C, C)
    refused(server, server.run(), "needs 2 signatures")
