"""`mcpguard init` besides configurations: the service and the key, which are said before, done once, and undone."""

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.homes import SERVER, argv, guarded, put, servers, tree
from tests.fakes.desktops import NAMES, Desktop
from tests.fakes.screens import Screen
from tests.lifecycle.stage import MCPGUARD, House

ENABLED = [
    "systemctl --user daemon-reload",
    "systemctl --user enable --now mcpguard.socket mcpguard-admin.socket",
]
ON_DEMAND = "the first mcpguard run starts the daemon"
LATER = "key: none yet; the first mcpguard server add makes one\n"


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop() as made:
        put(made.root / ".cursor/mcp.json", servers("a"))
        yield made


def told(place: House, *words: str, code: int = 0) -> str:
    done = place.mcpguard("init", *words)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def answer(place: House, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.mcpguard("init", *words, "--json").stdout)
    return found


def passphrase(place: House, text: str = "correct horse\n", mode: int = 0o600) -> None:
    """A file with a passphrase, which is named as a person names one."""
    file = put(place.root / "words", text)
    file.chmod(mode)
    place.env["MCPGUARD_PASSPHRASE_FILE"] = str(file)


def keys(place: House) -> list[Path]:
    return list((place.state / "keys").glob("*.key"))


# --- the service ----------------------------------------------------------------------------------------


def test_service_is_installed_once_and_its_undo_is_said_and_works(desktop: Desktop) -> None:
    said = told(desktop, "--yes")
    assert f"service: write {desktop.units}/mcpguard.service\n" in said
    assert f"service: installed in {desktop.units}: the daemon starts when a host connects\n" in said
    assert "undo everything: mcpguard host unwrap --all; mcpguard daemon uninstall\n" in said
    assert (desktop.files(), desktop.changes()) == (NAMES, ENABLED)
    before = tree(desktop.units)
    again = told(desktop, "--yes")
    assert "service" not in again
    assert "nothing to do: every server that a host starts is behind mcpguard\n" in again
    assert (tree(desktop.units), desktop.changes()) == (before, [])
    assert answer(desktop)["service"]["state"] == "there"
    desktop.verb("uninstall")
    assert desktop.files() == []


def test_dry_run_shows_the_service_and_asks_for_nothing(desktop: Desktop) -> None:
    before = tree(desktop.root)
    said = told(desktop, "--dry-run")
    assert f"service: write {desktop.units}/mcpguard.socket\n" in said
    assert f"service: run {ENABLED[1]}\n" in said
    assert f"service: would install the daemon as a service in {desktop.units}\n" in said
    assert desktop.changes() == []
    assert answer(desktop, "--dry-run")["service"] == {
        "state": "planned", "words": f"would install the daemon as a service in {desktop.units}", "undo": "",
    }  # fmt: skip
    desktop.asked.unlink()
    assert tree(desktop.root).keys() == before.keys()


def test_no_service_leaves_the_manager_alone(desktop: Desktop) -> None:
    said = told(desktop, "--yes", "--no-service")
    assert f"service: left out; {ON_DEMAND}\n" in said
    assert "undo everything: mcpguard host unwrap --all\n" in said
    assert (desktop.files(), desktop.asked.exists()) == ([], False)
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")


@pytest.mark.parametrize("reads", [True, False])
def test_where_no_manager_answers_one_line_says_so(desktop: Desktop, *, reads: bool) -> None:
    """As it is where one answers that reads the units of another home."""
    if reads:
        desktop.away.touch()
    else:
        desktop.env["READ"] = "/home/somebody/.config/systemd/user"
    said = told(desktop, "--yes")
    assert said.count("service") == 1
    assert f"service: no user manager of systemd answers: {ON_DEMAND}\n" in said
    assert (desktop.files(), desktop.changes()) == ([], [])
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")


def test_manager_that_refuses_does_not_keep_servers_from_being_guarded(desktop: Desktop) -> None:
    Path(f"{desktop.asked}.fail").touch()
    said = told(desktop, "--yes")
    assert "service: systemctl --user enable --now " in said
    assert "failed: Failed to enable unit: no" in said
    assert "daemon uninstall" not in said
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")
    assert desktop.answers()


def test_unit_of_somebody_else_is_left_and_said(desktop: Desktop) -> None:
    unit = put(desktop.units / "mcpguard.service", "[Service]\nExecStart=/bin/true\n")
    said = told(desktop, "--yes")
    assert f"service: {unit}: not written by mcpguard: nothing was done" in said
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")


def test_daemon_that_has_servers_keeps_them_and_the_service_is_said_not_to_be(desktop: Desktop) -> None:
    desktop.serve()
    host = desktop.play().greet()
    said = told(desktop, "--yes")
    assert "service: a daemon started on demand has 1 connection, which would be lost" in said
    assert "result" in host.call("echo")
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")


def test_service_that_does_not_serve_is_taken_back(desktop: Desktop) -> None:
    """A manager that listens and starts nothing: without this every server would be lost."""
    listener = put(
        desktop.root / "listener.py",
        "import os, socket, sys, time\n"
        "os.makedirs(sys.argv[1], mode=0o700, exist_ok=True)\n"
        "socks = [socket.socket(socket.AF_UNIX) for _ in range(2)]\n"
        "for sock, name in zip(socks, ('run.sock', 'admin.sock')):\n"
        "    sock.bind(f'{sys.argv[1]}/{name}')\n"
        "    sock.listen()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n",
    )
    fake, pid = desktop.root / "bin/systemctl", desktop.root / "pid"
    listen = f"{sys.executable} {listener} {desktop.run_dir} > {pid} 2>&1 & while ! [ -s {pid} ]; do sleep 0.02; done;"
    script = fake.read_text()
    for old, new in (('touch "$ASKED.active"', listen), ('rm -f "$ASKED.active"', f"kill $(cat {pid});")):
        assert old in script
        script = script.replace(old, f"{new} {old}")
    fake.write_text(script)
    said = told(desktop, "--yes")
    assert f"it was taken back: {ON_DEMAND}\n" in said
    assert desktop.files() == []
    assert any("disable --now" in line for line in desktop.changes())
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")
    assert desktop.answers()


def test_service_alone_is_something_to_ask_for(desktop: Desktop) -> None:
    (desktop.root / ".cursor/mcp.json").unlink()
    assert "there is no terminal to ask on: say it with --yes\n" in told(desktop, code=5)
    assert desktop.files() == []
    said = told(desktop, "--yes")
    assert "undo everything: mcpguard daemon uninstall\n" in said
    assert desktop.files() == NAMES


# --- the key --------------------------------------------------------------------------------------------


def test_without_a_passphrase_no_key_is_made(desktop: Desktop) -> None:
    for words in (["--dry-run"], ["--yes"], ["--yes"]):
        assert LATER in told(desktop, *words)
    assert keys(desktop) == []
    assert answer(desktop)["key"]["state"] == "later"


def test_key_is_made_once_with_the_passphrase_that_is_named(desktop: Desktop) -> None:
    passphrase(desktop)
    assert "key: would make a signing key" in told(desktop, "--dry-run")
    assert keys(desktop) == []
    said = told(desktop, "--yes")
    (kept,) = keys(desktop)
    assert f", kept encrypted in {kept}; the first mcpguard server add asks whether to trust it\n" in said
    assert said.splitlines()[-1].startswith("key: make") or f"; rm {kept}\n" in said
    assert "correct horse" not in said
    assert "key" not in told(desktop, "--yes")
    assert keys(desktop) == [kept]
    undo = next(line for line in said.splitlines() if line.startswith("undo everything: "))
    os.unlink(undo.rpartition("rm ")[2])
    assert answer(desktop, "--dry-run")["key"]["state"] == "planned"


def test_key_that_init_made_is_the_one_that_server_add_uses(desktop: Desktop) -> None:
    passphrase(desktop)
    told(desktop, "--yes", "--no-service")
    (kept,) = keys(desktop)
    done = desktop.mcpguard("server", "add", "t", "--yes", "--", sys.executable, *SERVER, str(desktop.root))
    assert "becomes root, revoker and signer of your own servers" in done.stderr, done
    assert keys(desktop) == [kept]


@pytest.mark.parametrize(
    ("text", "mode", "why"), [("\n", 0o600, "is empty"), ("x\n", 0o644, "others may read the passphrase")]
)
def test_passphrase_that_is_no_good_is_said_and_the_rest_is_done(
    desktop: Desktop, text: str, mode: int, why: str
) -> None:
    passphrase(desktop, text, mode)
    said = told(desktop, "--yes")
    assert why in next(line for line in said.splitlines() if line.startswith("key: ") and "make" not in line)
    assert keys(desktop) == []
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")
    assert desktop.files() == NAMES


# --- at a terminal --------------------------------------------------------------------------------------


def asking(place: House) -> Screen:
    screen = Screen([*MCPGUARD, "init"], place.env, columns=160, lines=120)
    screen.asks("Change these files")
    return screen


def test_person_is_offered_both_and_a_yes_makes_no_key(desktop: Desktop) -> None:
    screen = Screen([*MCPGUARD, "init"], desktop.env, columns=160, lines=120)
    screen.shows(
        "  1 [x] Cursor: a",
        f"  2 [x] service: install the daemon as a service in {desktop.units}",
        "  3 [ ] key: make a signing key for manifests of your own servers, encrypted with a passphrase",
    )
    screen.press("y\r")
    screen.shows(LATER.strip())
    assert screen.end() == 0
    assert (desktop.files(), keys(desktop)) == (NAMES, [])


def test_person_wants_a_key_and_no_service(desktop: Desktop) -> None:
    screen = asking(desktop)
    screen.press("2 3\r")
    screen.asks("Change these files")
    screen.press("y\r")
    screen.asks_hidden("Passphrase for the new key")
    screen.press("correct horse\r")
    screen.asks_hidden("The same again")
    screen.press("correct horse\r")
    screen.shows("undo everything: ")
    assert screen.end() == 0
    assert (desktop.files(), len(keys(desktop))) == ([], 1)
    assert argv(desktop.root / ".cursor/mcp.json", "a") == guarded("a")


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


@pytest.mark.skipif(importlib.util.find_spec("keyring") is None, reason="needs the keyring extra")
def test_person_with_a_keyring_may_keep_the_key_there(desktop: Desktop) -> None:
    put(desktop.root / "r/ring.py", RING)
    words = f"[backend]\ndefault-keyring=ring.Ring\nkeyring-path={desktop.root}/r\n"
    put(desktop.root / ".config/python_keyring/keyringrc.cfg", words)
    screen = asking(desktop)
    screen.press("3\r")
    screen.asks("Change these files")
    screen.press("y\r")
    screen.asks("Keep the key in the keyring of the desktop, without a passphrase")
    screen.press("y\r")
    screen.shows(", kept in the keyring, named by ")
    assert screen.end() == 0
    (kept,) = keys(desktop)
    assert json.loads(kept.read_bytes())["place"] == "keyring"


@pytest.mark.parametrize("typed", ["\r", "\x03"])
def test_person_thinks_better_of_the_key_and_the_rest_is_done(desktop: Desktop, typed: str) -> None:
    screen = asking(desktop)
    screen.press("3\r")
    screen.asks("Change these files")
    screen.press("y\r")
    screen.asks_hidden("Passphrase for the new key")
    screen.press(typed)
    screen.shows("undo everything: mcpguard host unwrap --all; mcpguard daemon uninstall")
    assert screen.end() == 0
    assert (desktop.files(), keys(desktop)) == (NAMES, [])


def test_key_alone_is_no_reason_to_ask(desktop: Desktop) -> None:
    told(desktop, "--yes")
    screen = Screen([*MCPGUARD, "init"], desktop.env, columns=160, lines=120)
    screen.shows("nothing to do: every server that a host starts is behind mcpguard", LATER.strip())
    assert screen.end() == 0
