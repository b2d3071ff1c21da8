"""The vault: what is kept is found again, nothing of it is on disk in clear, and nobody can change it unseen."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import SecretError
from mcpguard.system.vault import KEY_BYTES, Binding, KeyHow, Vault

KEY = bytes(range(KEY_BYTES))
VALUE = b"correct-horse-battery-staple-77"
BOUND = Binding(
    "github", "0" * 64, "TOKEN", ("HOST",), {"A": "b"}, "/usr/bin", "/u", "/u/.mcp.json", ("a", "b")
)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "secrets")
    made.create("id", KeyHow("passphrase", "c2FsdA==", 2**14, "eA=="), KEY)
    return made


def test_what_is_kept_is_found_again_by_another_process(vault: Vault) -> None:
    vault.put("github", VALUE, 99.0, now=5.0)
    vault.put("oauth/notion/access", b"\0\xff" * 9, now=6.0)
    other = Vault(vault.directory)
    assert other.locked
    assert {name: fact.expires for name, fact in other.facts().items()} == {
        "github": 99.0, "oauth/notion/access": 0.0,
    }  # fmt: skip
    with pytest.raises(SecretError, match="is locked"):
        other.get("github")
    other.open(KEY)
    assert other.get("github") == VALUE
    assert other.get("oauth/notion/access") == b"\0\xff" * 9
    other.lock()
    with pytest.raises(SecretError, match="is locked"):
        other.get("github")
    assert VALUE.decode() not in repr(other)


def test_a_new_value_keeps_what_else_is_known(vault: Vault) -> None:
    vault.put("github", VALUE, now=5.0, new=True)
    vault.bind("github", (BOUND,))
    vault.put("github", b"another-value", 7.0, now=6.0, new=False)
    found = vault.facts()["github"]
    assert (found.created, found.changed, found.expires, found.bindings) == (5.0, 6.0, 7.0, (BOUND,))
    assert vault.get("github") == b"another-value"
    vault.delete("github")
    assert vault.facts() == {}
    with pytest.raises(SecretError, match="there is no secret 'github'"):
        vault.get("github")


def test_names_and_values_are_bounded(vault: Vault) -> None:
    vault.put("a", b"x", now=0.0)
    for name in ("", "a b", "-a", "../a", "/a", "a" * 65, "a\n"):
        with pytest.raises(SecretError, match="has a name"):
            vault.put(name, VALUE, now=0.0)
    for value in (b"", bytes(limits.SECRET_BYTES + 1)):
        with pytest.raises(SecretError, match="bytes"):
            vault.put("b", value, now=0.0)
    with pytest.raises(SecretError, match="there is a secret 'a' already"):
        vault.put("a", VALUE, now=0.0, new=True)
    for change in (
        lambda: vault.put("c", VALUE, now=0.0, new=False), lambda: vault.delete("c"), lambda: vault.bind("c", ()),
    ):  # fmt: skip
        with pytest.raises(SecretError, match="there is no secret 'c'"):
            change()
    with pytest.raises(SecretError, match="at most"):
        vault.bind("a", (BOUND,) * (limits.BINDINGS + 1))
    with pytest.raises(SecretError, match="a vault already"):
        vault.create("id", KeyHow("keyring"), KEY)


def test_nothing_of_a_value_is_on_disk(vault: Vault) -> None:
    vault.put("github", VALUE, now=0.0)
    vault.put("github", VALUE[::-1], now=0.0)
    for path in vault.directory.rglob("*"):
        data = path.read_bytes()
        assert VALUE not in data
        assert VALUE[::-1] not in data
        assert path.stat().st_mode & 0o777 == 0o600
    assert vault.directory.stat().st_mode & 0o777 == 0o700


def unbound(text: str) -> str:
    file = json.loads(text)
    file["head"]["secrets"]["github"]["bindings"] = []
    return json.dumps(file, separators=(",", ":"))


@pytest.mark.parametrize("part", ["expires", "bindings", "argv", "name", "sealed", "nonce"])
def test_whoever_changes_a_word_of_it_closes_it(vault: Vault, part: str) -> None:
    vault.put("github", VALUE, 100.0, now=5.0)
    vault.bind("github", (BOUND,))
    path = vault.directory / "vault.json"
    text = path.read_text()
    changed = {
        "expires": text.replace('"expires":100.0', '"expires":900.0'),
        "bindings": unbound(text),
        "argv": text.replace("0" * 64, "1" * 64),
        "name": text.replace('"github":{', '"gitlab":{'),
        "sealed": re.sub(r'"sealed":"(.)', lambda m: f'"sealed":"{"A" if m[1] != "A" else "B"}', text),
        "nonce": re.sub(r'"nonce":"(.)', lambda m: f'"nonce":"{"A" if m[1] != "A" else "B"}', text),
    }[part]
    assert changed != text
    path.write_text(changed)
    other = Vault(vault.directory)
    with pytest.raises(SecretError, match="was changed, or belongs elsewhere"):
        other.open(KEY)
    with pytest.raises(SecretError, match="was changed"):
        vault.get("github")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"\xff", b'{"head":{},"nonce":"","sealed":""}', b"[" * 5000]
)
def test_a_damaged_vault_is_an_error_and_no_new_one_is_made(vault: Vault, data: bytes) -> None:
    (vault.directory / "vault.json").write_bytes(data)
    for ask in (lambda: vault.get("a"), vault.facts, lambda: vault.put("a", VALUE, now=0.0)):
        with pytest.raises(SecretError, match="it is damaged"):
            ask()
    with pytest.raises(SecretError, match="it is damaged"):
        vault.create("id", KeyHow("keyring"), KEY)
    assert (vault.directory / "vault.json").read_bytes() == data


def test_another_key_does_not_open_it(vault: Vault) -> None:
    with pytest.raises(SecretError, match="its key does not open it"):
        Vault(vault.directory).open(bytes(32))


def test_a_vault_that_others_may_write_is_refused(vault: Vault) -> None:
    (vault.directory / "vault.json").chmod(0o622)
    with pytest.raises(SecretError, match="writable by others"):
        vault.facts()
    (vault.directory / "vault.json").unlink()
    os.symlink("/etc/passwd", vault.directory / "vault.json")
    with pytest.raises(SecretError, match="cannot be used"):
        vault.facts()


def test_files_are_sealed_and_opened(vault: Vault, tmp_path: Path) -> None:
    sealed = vault.seal(VALUE)
    assert VALUE not in sealed
    assert vault.unseal(sealed) == VALUE
    for wrong in (VALUE, sealed[:-1], sealed[:30], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(SecretError):
            vault.unseal(wrong)
    other = Vault(tmp_path / "other")
    other.create("id", KeyHow("keyring"), KEY[::-1])
    with pytest.raises(SecretError, match="sealed by another one"):
        other.unseal(sealed)


WRITER = """\
import sys
from pathlib import Path
from mcpguard.system.vault import Vault
vault = Vault(Path(sys.argv[1]))
vault.open(bytes(range(32)))
number = 0
while True:
    number += 1
    vault.put("counted", b"%d" % number * 2000, float(number), now=float(number))
    print(number, flush=True)
"""


def test_kill_9_in_the_middle_of_writing_leaves_the_old_vault_or_the_new_one(vault: Vault) -> None:
    vault.put("steady", VALUE, now=0.0)
    for turn in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(vault.directory)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        for _ in range(3):
            last = int(writer.stdout.readline())
        time.sleep(0.0017 * turn)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        last = int(rest[-1]) if rest else last
        other = Vault(vault.directory)
        other.open(KEY)
        assert other.get("steady") == VALUE
        number = int(other.facts()["counted"].changed)
        assert number in (last, last + 1)
        assert other.get("counted") == b"%d" % number * 2000


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("room", [0, 1, 100, 4000, 7000])
def test_a_write_that_is_cut_at_any_byte_leaves_the_old_vault(vault: Vault, killed: bool, room: int) -> None:
    """The kernel ends the writer in the middle of its write (SIGXFSZ), or refuses the rest as a full disk does."""
    vault.put("steady", VALUE, now=0.0)
    vault.put("counted", b"old" * 2000, now=1.0)
    action = "SIG_DFL" if killed else "SIG_IGN"
    code = (
        "import resource, signal\n"
        + WRITER.split("number = 0", maxsplit=1)[0]
        + f"signal.signal(signal.SIGXFSZ, signal.{action})\nresource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "vault.put('counted', b'new' * 2000, now=2.0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(vault.directory)], stderr=subprocess.PIPE, check=False
    )
    assert ran.returncode == (-signal.SIGXFSZ if killed else 1), ran.stderr
    other = Vault(vault.directory)
    other.open(KEY)
    assert other.get("steady") == VALUE
    assert other.get("counted") == b"old" * 2000
    other.put("counted", b"newer", now=3.0)
    assert Vault(vault.directory).facts()["counted"].changed == 3.0


def test_two_processes_lose_nothing_of_each_other(vault: Vault) -> None:
    code = WRITER.split("number = 0", maxsplit=1)[0] + (
        "for number in range(25): vault.put(f'{sys.argv[2]}{number}', b'x' * 20, now=0.0)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(vault.directory), word]) for word in ("a", "b", "c")
    ]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert len(vault.facts()) == 75


def test_it_does_not_grow_without_bound(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECRETS", 3)
    for name in "abc":
        vault.put(name, VALUE, now=0.0)
    with pytest.raises(SecretError, match="no more fit"):
        vault.put("d", VALUE, now=0.0)
    vault.put("a", VALUE[::-1], now=1.0)
    monkeypatch.setattr(limits, "VAULT_BYTES", 2000)
    with pytest.raises(SecretError, match="the vault is full"):
        vault.put("b", b"x" * 3000, now=0.0)
    monkeypatch.undo()
    assert json.loads((vault.directory / "vault.json").read_text())["head"]["version"] == 1
    assert vault.get("b") == VALUE
