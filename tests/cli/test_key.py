"""`mcpguard key` as a person sees it; nothing private is ever printed."""

import base64
import json
import os
import pty
import select
import stat
import subprocess
import sys
import time

import pytest

from mcpguard.cli.key import local_signer as offered
from mcpguard.cli.signer import local_signer
from mcpguard.identity.keys import parse_public_key
from mcpguard.system.keyfiles import KeyFiles
from tests.cli.trustdesk import PASSPHRASE, Desk


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def made(desk, *words):
    return desk.run("key", "generate", *words).stdout.strip()


def test_a_key_is_made_listed_and_given_away(desk):
    ident = made(desk, "--comment", "laptop")
    assert ident.startswith("SHA256:")
    (listed,) = desk.json("key", "list")["keys"]
    assert (listed["id"], listed["comment"], listed["place"], listed["problem"]) == (
        ident,
        "laptop",
        "file",
        "",
    )
    assert desk.run("key", "list").stdout == f"{ident}  file     laptop\n"
    line = desk.run("key", "export", ident)
    assert line.stdout == f"{listed['public']} laptop\n"
    assert "this is the public half" in line.stderr
    pem = desk.run("key", "export", ident[:14], "--format", "pem").stdout
    assert parse_public_key(pem).ident == parse_public_key(line.stdout).ident == ident
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=line.stdout, capture_output=True, text=True, check=True
    )
    assert ident in shown.stdout


def test_no_output_and_no_file_holds_the_private_half(desk):
    ident = made(desk)
    raw = KeyFiles(desk.state / "keys").load(ident, PASSPHRASE).raw()
    said = "".join(
        desk.run(*words).output
        for words in (
            ["key", "list"],
            ["key", "list", "--json"],
            ["key", "export", ident],
            ["key", "export", ident, "--format", "pem"],
        )
    )
    for secret in (raw.hex(), base64.b64encode(raw).decode().rstrip("="), PASSPHRASE):
        assert secret not in said
    for path in (desk.state / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert raw not in path.read_bytes()


def test_no_keys_yet(desk):
    assert desk.run("key", "list").stderr == "no keys yet: mcpguard key generate\n"
    assert desk.json("key", "list")["keys"] == []
    assert "there is no key 'zz': mcpguard key list" in desk.run("key", "export", "zz", code=5).stderr


def test_a_file_that_others_may_read_is_listed_as_unusable(desk):
    ident = made(desk)
    (path,) = (desk.state / "keys").iterdir()
    path.chmod(0o644)
    assert (
        desk.run("key", "list").stdout == f"unusable  others may read {path} (mode 0644): chmod 600 {path}\n"
    )
    assert "chmod 600" in desk.run("key", "export", ident, code=5).stderr


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("", 0o600, "is empty"),
        ("\nx", 0o600, "is empty"),
        ("x", 0o644, "others may read the passphrase"),
        (None, 0, "cannot be read"),
    ],
)
def test_passphrase_files_that_are_none(desk, content, mode, words):
    desk.passphrase.unlink()
    if content is not None:
        desk.passphrase.write_text(content)
        desk.passphrase.chmod(mode)
    assert words in desk.run("key", "generate", code=5).stderr
    assert not (desk.state / "keys").exists()


def test_the_option_goes_before_the_variable(desk):
    other = desk.home / "other"
    other.write_text("another\r\nrest")
    other.chmod(0o600)
    ident = made(desk, "--passphrase-file", str(other))
    assert KeyFiles(desk.state / "keys").load(ident, "another")


def test_nobody_to_ask(desk):
    result = desk.run("key", "generate", code=5, env={"MCPGUARD_PASSPHRASE_FILE": ""})
    assert "there is no terminal to ask on: name a file with --passphrase-file" in result.stderr


def test_a_comment_is_one_printable_line(desk):
    assert "--comment" in desk.run("key", "generate", "--comment", "a\nb", code=2).stderr


def typed(desk, words, answers):
    """Answer the questions of a verb on a terminal; everything it showed, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(desk.env)
        os.environ.pop("MCPGUARD_PASSPHRASE_FILE")
        os.execv(sys.executable, [sys.executable, "-W", "ignore", "-m", "mcpguard", *words])
    shown, deadline = b"", time.monotonic() + 30
    for question, answer in answers:
        start = len(shown)
        while question not in shown[start:] and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 1000)
        time.sleep(0.05)
        os.write(terminal, answer + b"\n")
    while time.monotonic() < deadline:
        try:
            more = os.read(terminal, 1000)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ([b"hunter2", b"hunter2"], 0, "SHA256:"),
        ([b"hunter2", b"hunter3"], 5, "the passphrases differ"),
        ([b""], 5, "the passphrase is empty"),
    ],
)
def test_on_a_terminal_it_is_typed_twice_and_not_shown(desk, answers, code, words):
    questions = [b"Passphrase for the new key", b"The same again"]
    shown, exited = typed(desk, ["key", "generate"], zip(questions, answers, strict=False))
    assert exited == code, shown
    assert words in shown
    assert "hunter" not in shown
    assert bool(list((desk.state).glob("keys/*.key"))) is (code == 0)


KEYRING = """
import sys, keyring, keyring.backend
class Memory(keyring.backend.KeyringBackend):
    priority = 5
    held = {}
    def set_password(self, service, username, password): self.held[service, username] = password
    def get_password(self, service, username): return self.held.get((service, username))
    def delete_password(self, service, username): del self.held[service, username]
keyring.set_keyring(Memory())
from mcpguard.cli import main
for sys.argv[1:] in (["key", "generate", "--keyring", "--comment", "ring"], ["key", "list", "--json"]):
    main.main()
"""


def test_a_key_in_the_keyring(desk):
    pytest.importorskip("keyring", reason="needs the keyring extra")
    done = subprocess.run(
        [sys.executable, "-c", KEYRING],
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ident, listed = done.stdout.splitlines()
    assert json.loads(listed)["keys"][0]["id"] == ident
    assert json.loads(listed)["keys"][0]["place"] == "keyring"


def test_servers_find_their_signer_here():
    assert offered is local_signer
