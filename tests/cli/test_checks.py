"""What doctor looks at: each check is shown well, and shown to fail."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpguard import __version__
from mcpguard.audit import record
from mcpguard.cli import checks
from mcpguard.cli.checked import Finding, Level
from mcpguard.errors import DaemonError
from mcpguard.system.journal import Journal
from tests.cli.homes import PROGRAM, put, servers
from tests.lifecycle.stage import House, house
from tests.system.somebody import SOMEBODY

OK, NOTE, BAD = Level.OK, Level.NOTE, Level.BAD


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A home without a daemon, which is ours for the time being."""
    with House() as made:
        lived_in(made, monkeypatch)
        yield made


def lived_in(place: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    (place.root / "elsewhere").mkdir()
    monkeypatch.chdir(place.root / "elsewhere")


def found(check: Callable[[], Iterator[Finding]]) -> list[tuple[Level, str]]:
    return [(one.level, one.words) for one in check()]


def only(check: Callable[[], Iterator[Finding]]) -> Finding:
    (one,) = check()
    return one


# --- program, owner -------------------------------------------------------------------------------------


def test_program_is_told_with_its_path(place: House) -> None:
    one = only(checks.program)
    assert one.level is OK
    assert one.words.startswith(f"{PROGRAM}, ")


def test_nothing_to_say_of_folders_that_are_not_there(place: House) -> None:
    assert found(checks.directories) == []


def test_folder_that_is_open_is_bad_and_mended(place: House) -> None:
    place.state.mkdir(mode=0o700)
    place.run_dir.mkdir()
    place.run_dir.chmod(0o755)
    bad, good = checks.directories()
    assert (bad.level, bad.words) == (BAD, f"{place.run_dir} is open to others (mode 0755)")
    assert bad.fix == f"chmod 700 {place.run_dir}"
    assert (good.level, good.words) == (OK, f"{place.state} is yours alone")
    assert bad.mend
    bad.mend()
    assert [one.level for one in checks.directories()] == [OK, OK]


@pytest.mark.root
def test_folder_of_another_user_is_bad_and_not_mended(place: House) -> None:
    place.state.mkdir(mode=0o700)
    os.chown(place.state, SOMEBODY, -1)
    one = only(checks.directories)
    assert (one.level, one.words, one.mend) == (BAD, f"{place.state} belongs to uid {SOMEBODY}", None)


# --- daemon ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(place: House, **status: object) -> Iterator[None]:
    """A daemon that answers once, with this status."""
    place.run_dir.mkdir(mode=0o700)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place.run_dir / "admin.sock"))
    listening.listen()

    def serve() -> None:
        sock, _ = listening.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(json.dumps({"v": 1, "ok": True, **status}).encode() + b"\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        listening.close()


def test_no_daemon_is_a_note(place: House) -> None:
    assert found(checks.daemon) == [(NOTE, "the mcpguard daemon is not running")]


def test_daemon_of_another_version_is_bad(place: House) -> None:
    with answering(place, version="9.9"):
        one = only(checks.daemon)
    assert (one.level, one.words, one.fix) == (
        BAD, f"it is version 9.9, and this is {__version__}", "mcpguard daemon stop",
    )  # fmt: skip


def test_daemon_that_cannot_record_is_bad(place: House) -> None:
    with answering(place, version=__version__, audit={"failure": "no space left on device"}, connections=[]):
        one = only(checks.daemon)
    assert (one.level, one.words) == (
        BAD, "nothing can be recorded, so nothing passes: no space left on device",
    )  # fmt: skip


def test_daemon_that_runs_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with house() as place:
        lived_in(place, monkeypatch)
        assert found(checks.daemon) == [(OK, f"version {__version__}, 0 connections")]


# --- clock, log -----------------------------------------------------------------------------------------


def write(place: House, *, ahead: float = 0.0) -> Path:
    """A log of three records, the last of which may be ahead of the clock; its file."""
    journal = Journal.open(place.state / "audit", clock=lambda: int((time.time() + ahead) * 1e9))
    for _ in range(3):
        journal.append([record.log("start")])
    journal.close()
    (path,) = (place.state / "audit").glob("*.jsonl")
    return path


def test_without_a_log_there_is_nothing_to_doubt(place: House) -> None:
    assert found(checks.clock) == []
    assert [one.level for one in checks.chain()] == [NOTE]


def test_clock_after_the_newest_record_is_fine(place: House) -> None:
    write(place)
    ((level, words),) = found(checks.clock)
    assert level is OK
    assert words.endswith(" UTC, after the newest record")


def test_clock_that_went_back_is_bad(place: House) -> None:
    write(place, ahead=1000)
    one = only(checks.clock)
    assert (one.level, one.fix) == (BAD, "set the clock")


def test_log_is_one_chain(place: House) -> None:
    write(place)
    ((level, words),) = found(checks.chain)
    assert level is OK
    assert words.endswith(" records form one unbroken chain")


def test_tampered_log_is_bad_with_its_line(place: House) -> None:
    path = write(place)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:1], lines[1].replace(b'"start"', b'"other"'), *lines[2:]]))
    one = only(checks.chain)
    assert (one.level, one.fix) == (BAD, "mcpguard audit verify")
    assert one.words.startswith(f"{path.name}:")


# --- policy ---------------------------------------------------------------------------------------------


def test_without_a_policy_nothing_is_refused(place: House) -> None:
    assert found(checks.policy) == [(NOTE, "none is in force: everything is recorded, nothing is refused")]


def test_policy_in_force_is_told_and_a_damaged_one_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    with house() as place:
        lived_in(place, monkeypatch)
        place.policy('version = 1\nmode = "enforce"\n')
        assert found(checks.policy) == [(OK, "test, enforce, 0 rules")]
        for path in (place.state / "policy").iterdir():
            if path.is_file():
                path.write_bytes(b"\xff{")
        one = only(checks.policy)
        assert (one.level, one.fix) == (BAD, "mcpguard policy apply FILE")


# --- configurations -------------------------------------------------------------------------------------


def test_no_hosts_no_findings(place: House) -> None:
    assert found(checks.configurations) == []


def test_host_that_starts_servers_without_mcpguard_is_a_note(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b"))
    one = only(checks.configurations)
    assert (one.level, one.words, one.fix) == (NOTE, f"{path}: a, b start without mcpguard", "mcpguard init")


def test_wrapped_host_is_fine_and_one_that_came_back_is_bad(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b"))
    place.mcpguard("host", "wrap", "--yes")
    wrapped = path.read_bytes()
    assert found(checks.configurations) == [(OK, f"{path}: 2 servers, all behind mcpguard")]
    content = json.loads(wrapped)
    content["mcpServers"] |= servers("b")["mcpServers"]
    put(path, content)
    one = only(checks.configurations)
    assert (one.level, one.words, one.fix) == (
        BAD, f"{path}: b started behind mcpguard once, or came since", "mcpguard host wrap",
    )  # fmt: skip


def test_drift_is_bad_in_the_home_itself_too(place: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    before = path.read_bytes()
    place.mcpguard("host", "wrap", "--yes")
    path.write_bytes(before)
    monkeypatch.chdir(place.root)
    assert only(checks.configurations).level is BAD


def test_file_of_this_folder_is_a_note_and_bad_once_it_was_wrapped(place: House) -> None:
    path = put(place.root / "elsewhere/.vscode/mcp.json", servers("a", key="servers"))
    before = path.read_bytes()
    one = only(checks.configurations)
    assert (one.level, one.words) == (NOTE, f"{path} would start a")
    assert one.fix == "mcpguard host wrap --project ."
    done = place.mcpguard(*one.fix.split()[1:], "--yes", cwd=path.parents[1])
    assert (done.returncode, path.read_bytes() != before) == (0, True)
    path.write_bytes(before)
    one = only(checks.configurations)
    assert (one.level, one.fix) == (BAD, "mcpguard host wrap --project .")


def test_file_that_its_host_does_not_read_any_more_is_a_note(place: House) -> None:
    path = put(place.root / ".kimi/mcp.json", servers("a"))
    one = only(checks.configurations)
    assert (one.level, one.words) == (NOTE, f"{path}: Kimi Code reads ~/.kimi-code/mcp.json now")


def test_file_that_cannot_be_read_is_bad_with_its_line_and_hides_no_other(place: House) -> None:
    bad = put(place.root / ".cursor/mcp.json", '{\n"mcpServers": {,}}')
    put(place.root / ".claude.json", servers("a"))
    (place.root / ".codex/config.toml").mkdir(parents=True)
    levels = {one.words.partition(" ")[0]: one.level for one in checks.configurations()}
    assert levels == {
        f"{bad}:2:": BAD, f"{place.root}/.claude.json:": NOTE, f"{place.root}/.codex/config.toml:": BAD,
    }  # fmt: skip


def test_program_that_is_gone_is_bad(place: House) -> None:
    entry = {"command": "/opt/gone/mcpguard", "args": ["run", "--name", "a", "--", "npx"]}
    path = put(place.root / ".cursor/mcp.json", {"mcpServers": {"a": entry}})
    _, one = checks.configurations()
    assert (one.level, one.words) == (BAD, f"{path} starts /opt/gone/mcpguard, which is not there")
    done = place.mcpguard("host", "unwrap", "--yes")
    assert done.returncode == 0, done
    assert place.mcpguard("host", "wrap", "--yes").returncode == 0
    assert [one.level for one in checks.configurations()] == [OK]


def test_program_by_its_name_is_a_note_where_a_desktop_does_not_find_it(place: House) -> None:
    entry = {"command": "mcpguard", "args": ["run", "--name", "a", "--", "npx"]}
    put(place.root / ".cursor/mcp.json", {"mcpServers": {"a": entry}})
    levels = [one.level for one in checks.configurations()]
    assert levels == (
        [OK] if any(Path(p, "mcpguard").exists() for p in ("/usr/local/bin", "/usr/bin")) else [OK, NOTE]
    )


def test_damaged_record_is_told_as_an_error(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    place.mcpguard("host", "wrap", "--yes")
    (place.state / "wrapped/wrapped.json").write_text("{")
    with pytest.raises(DaemonError, match="it is damaged"):
        list(checks.configurations())


# --- the keyring ----------------------------------------------------------------------------------------

RING = """
import keyring.backend

class Ring(keyring.backend.KeyringBackend):
    priority = 5
    held = {}

    def set_password(self, service, username, password):
        self.held[service, username] = password

    def get_password(self, service, username):
        return self.held.get((service, username))
"""
KEYS = "import json; from mcpguard.cli.checks import keyring; print(json.dumps([[f.level.value, f.words] for f in keyring()]))"


def ringed(place: House, backend: str, before: str = "") -> list[list[str]]:
    """What is found where this is the keyring of the desktop; `before` is done first."""
    env = {
        **place.env,
        "PYTHON_KEYRING_BACKEND": backend,
        "PYTHONPATH": str(put(place.root / "r/ring.py", RING).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", before + KEYS], env=env, capture_output=True, text=True, check=True
    )
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(importlib.util.find_spec("keyring") is None, reason="needs the keyring extra")
def test_keyring_is_named_and_what_it_means_is_said(place: House) -> None:
    for name in ("fail", "null"):
        backend = f"keyring.backends.{name}.Keyring"
        ((level, words),) = ringed(place, backend)
        assert level == "ok"
        assert words.startswith(
            f"no keyring of this desktop keeps secrets ({backend} was found): signing keys are"
        )
    assert ringed(place, "ring.Ring") == [
        ["ok", "ring.Ring: mcpguard key generate --keyring keeps a key there"]
    ]
    assert ringed(place, "no.such.Ring")[0][1].startswith("the keyring refused: ModuleNotFoundError: signing")


@pytest.mark.skipif(importlib.util.find_spec("keyring") is None, reason="needs the keyring extra")
def test_key_in_a_keyring_that_is_not_there_any_more_is_bad(place: House) -> None:
    make = "from mcpguard.cli.signer import generated; generated('', keyring=True)\n"
    ((level, words),) = ringed(place, "ring.Ring", make)
    assert level == "ok"
    ident = words.partition("it keeps ")[2]
    assert ident.startswith("SHA256:")
    ((level, words),) = ringed(place, "keyring.backends.fail.Keyring")
    assert level == "bad"
    assert words.endswith(f"your key {ident} is in one: nothing can be signed with it")


def test_without_the_keyring_extra_keys_are_in_files(place: House) -> None:
    ((level, words),) = ringed(place, "", "import sys; sys.modules['keyring'] = None\n")
    assert (level, words) == (
        "ok", "the keyring library is not installed: signing keys are kept in files, encrypted with a passphrase",
    )  # fmt: skip


# --- managed lists, impostors ---------------------------------------------------------------------------


def test_managed_list_of_servers_is_a_note(tmp_path: Path) -> None:
    assert list(checks.managed(tmp_path)) == []
    settings = put(tmp_path / "etc/claude-code/managed-settings.json", {"permissions": {}})
    assert list(checks.managed(tmp_path)) == []
    put(settings, {"allowedMcpServers": [{"serverCommand": ["npx", "x"]}]})
    codex = put(tmp_path / "etc/codex/requirements.toml", "[mcp_servers.x]\n")
    assert [(one.level, one.words) for one in checks.managed(tmp_path)] == [
        (NOTE, f"{settings} lists servers that Claude Code may start, by their command"),
        (NOTE, f"{codex} lists servers that Codex may start, by their command"),
    ]
    codex.unlink()
    codex.mkdir()
    assert [one.words for one in checks.managed(tmp_path)][1].startswith(f"{codex}: a folder")


def test_impostors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with house() as place:
        lived_in(place, monkeypatch)
        levels = {one.level for one in checks.impostors()}
        assert OK in levels
        assert BAD not in levels


def test_without_a_daemon_nobody_can_be_tried(place: House) -> None:
    place.run_dir.write_text("in the way")
    one = only(checks.impostors)
    assert one.level is BAD
    assert one.words.startswith("no daemon to try it with: ")


def test_every_check_is_run() -> None:
    names = {check.__name__ for check in checks.CHECKS}
    assert names == {
        "program", "directories", "daemon", "clock", "policy", "chain", "configurations", "managed", "impostors",
        "service", "keyring", "vault", "listeners",
    }  # fmt: skip
