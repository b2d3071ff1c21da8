"""Private keys on a real disk: nobody else reads them, nothing overwrites them, no wrong passphrase opens them."""

import base64
import importlib.util
import json
import os
import stat
import subprocess
import sys

import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.keys import PrivateKey
from mcpguard.system import keyfiles
from mcpguard.system.keyfiles import KeyFiles

PASSPHRASE = "correct horse \N{LATIN SMALL LETTER E WITH ACUTE}"
QUICK = 2**14


@pytest.fixture
def files(tmp_path):
    return KeyFiles(tmp_path / "state" / "keys", cost=QUICK)


def key(number=1):
    return PrivateKey(bytes([number]) * 32)


def edit(path, **changes):
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, **changes}))


# --- one key --------------------------------------------------------------------------------------------


def test_a_key_comes_back_with_its_passphrase(files):
    path = files.create(key(), PASSPHRASE, "mine")
    assert files.load(key().public.ident, PASSPHRASE).raw() == key().raw()
    (kept,) = files.list()
    assert (kept.ident, kept.comment, kept.place, kept.problem) == (key().public.ident, "mine", "file", "")
    assert kept.line == key().public.line()
    assert kept.path == str(path)


def test_the_file_is_for_its_owner_and_holds_nothing_in_clear(files):
    files.directory.parent.mkdir()
    os.umask(0)
    try:
        path = files.create(key(), PASSPHRASE, "mine")
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    data = path.read_bytes()
    for secret in (key().raw(), key().raw().hex().encode(), base64.b64encode(key().raw()), b"horse"):
        assert secret not in data
    content = json.loads(data)
    assert (content["version"], content["kdf"]["n"], content["cipher"]["name"]) == (
        1,
        QUICK,
        "chacha20-poly1305",
    )


def test_the_default_cost_is_what_the_text_says(tmp_path):
    path = KeyFiles(tmp_path).create(key(), PASSPHRASE)
    assert json.loads(path.read_bytes())["kdf"]["n"] == keyfiles.SCRYPT_COST == 2**17


def test_two_files_of_one_key_share_nothing_secret(tmp_path):
    contents = [
        json.loads(KeyFiles(tmp_path / name, cost=QUICK).create(key(), PASSPHRASE).read_bytes())
        for name in "ab"
    ]
    for part, member in (("kdf", "salt"), ("cipher", "nonce"), ("cipher", "ciphertext")):
        assert contents[0][part][member] != contents[1][part][member]


@pytest.mark.parametrize("passphrase", ["", "correct horse", PASSPHRASE + " ", PASSPHRASE.upper()])
def test_a_wrong_passphrase_opens_nothing(files, passphrase):
    files.create(key(), PASSPHRASE)
    with pytest.raises(TrustError, match="the passphrase does not open"):
        files.load(key().public.ident, passphrase)


def test_a_key_without_a_passphrase_is_not_kept(files):
    with pytest.raises(TrustError, match="without a passphrase"):
        files.create(key(), "")
    assert files.list() == ()


def test_a_key_is_never_overwritten(files):
    path = files.create(key(), PASSPHRASE, "first")
    before = path.read_bytes()
    with pytest.raises(TrustError, match="kept already"):
        files.create(key(), "another", "second")
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_nothing_secret_is_shown_by_what_a_program_prints(files):
    files.create(key(), PASSPHRASE)
    loaded = files.load(key().public.ident, PASSPHRASE)
    shown = f"{loaded!r} {loaded} {files.list()!r} {files!r}"
    for secret in (loaded.raw().hex(), base64.b64encode(loaded.raw()).decode(), PASSPHRASE):
        assert secret not in shown


# --- finding --------------------------------------------------------------------------------------------


def test_a_prefix_finds_one_key(files):
    for number in range(1, 6):
        files.create(key(number), PASSPHRASE)
    wanted = key(3).public.ident
    assert files.find(wanted).ident == wanted
    assert files.find(wanted[:14]).ident == wanted
    assert files.find(wanted.removeprefix("SHA256:")[:7]).ident == wanted
    for much in ("", "SHA256:"):
        with pytest.raises(TrustError, match="5 keys begin with"):
            files.find(much)
    with pytest.raises(TrustError, match="there is no key 'zz'") as caught:
        files.find("zz")
    assert caught.value.hint == "mcpguard key list"


def test_a_directory_that_is_not_there_has_no_keys(files):
    assert files.list() == ()
    with pytest.raises(TrustError, match="there is no key"):
        files.load("SHA256:x", PASSPHRASE)


def test_one_bad_file_does_not_hide_the_others(files):
    files.create(key(1), PASSPHRASE)
    (files.directory / "a.key").write_bytes(b"{")
    (files.directory / "a.key").chmod(0o600)
    problems = {kept.ident: kept.problem for kept in files.list()}
    assert problems[key(1).public.ident] == ""
    assert "is not a key file" in problems[""]
    assert files.find(key(1).public.ident)
    with pytest.raises(TrustError, match=r"a\.key cannot be used"):
        files.find("zz")


# --- files that others could have had a hand in ------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_file_that_others_may_touch_is_refused(files, mode):
    path = files.create(key(), PASSPHRASE)
    path.chmod(mode)
    assert f"others may read {path} (mode {mode:04o}): chmod 600 {path}" in files.list()[0].problem
    with pytest.raises(TrustError):
        files.load(key().public.ident, PASSPHRASE)
    path.chmod(0o600)
    assert files.load(key().public.ident, PASSPHRASE).raw() == key().raw()


def test_an_open_directory_is_closed(files):
    files.create(key(), PASSPHRASE)
    files.directory.chmod(0o755)
    files.list()
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700


@pytest.mark.root
def test_a_key_of_somebody_else_is_refused(files):
    path = files.create(key(), PASSPHRASE)
    os.chown(path, 65533, 65533)
    assert "belongs to uid 65533" in files.list()[0].problem


def test_a_link_a_pipe_and_a_directory_are_no_keys(files):
    path = files.create(key(), PASSPHRASE)
    (files.directory / "link.key").symlink_to(path)
    os.mkfifo(files.directory / "pipe.key", 0o600)
    (files.directory / "dir.key").mkdir(mode=0o700)
    assert sum(1 for kept in files.list() if kept.problem) == 3
    assert files.load(key().public.ident, PASSPHRASE)


@pytest.mark.parametrize("member", ["public", "comment", "kind"])
def test_the_clear_part_belongs_to_the_key(files, member):
    path = files.create(key(1), PASSPHRASE, "mine")
    other = {"public": key(2).public.line(), "comment": "yours", "kind": "ssh-ed25519"}
    edit(path, **{member: other[member]})
    (kept,) = files.list()
    with pytest.raises(TrustError, match="does not open"):
        files.load(kept.ident, PASSPHRASE)


def test_a_key_passed_off_as_another_one_is_found_even_if_the_cipher_agrees(files):
    """Somebody who knows the passphrase seals one key under the name of another."""
    files.create(key(1), PASSPHRASE)

    class Liar(PrivateKey):
        def raw(self):
            return key(2).raw()

    files.create(Liar(bytes([3]) * 32), PASSPHRASE)
    with pytest.raises(TrustError, match="names another public key than its own"):
        files.load(key(3).public.ident, PASSPHRASE)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("kdf", {"n": 2**30}), ("kdf", {"n": 2}), ("kdf", {"r": 64}), ("kdf", {"p": 16}), ("kdf", {"name": "argon2id"}),
        ("kdf", {"n": -1}), ("cipher", {"name": "none"}), ("", {"version": 2}), ("", {"place": "cloud"}),
    ],
)  # fmt: skip
def test_parameters_are_not_taken_from_whoever_wrote_the_file(files, part, change):
    path = files.create(key(), PASSPHRASE)
    content = json.loads(path.read_bytes())
    edit(path, **({part: {**content[part], **change}} if part else change))
    assert "is not a key file of this version" in files.list()[0].problem


@pytest.mark.parametrize(
    ("part", "member", "value"),
    [
        ("kdf", "salt", "!"),
        ("cipher", "nonce", "AAAA"),
        ("cipher", "ciphertext", ""),
        ("cipher", "nonce", "\u00e9"),
    ],
)
def test_damage_is_a_sentence(files, part, member, value):
    path = files.create(key(), PASSPHRASE)
    content = json.loads(path.read_bytes())
    edit(path, **{part: {**content[part], member: value}})
    with pytest.raises(TrustError) as caught:
        files.load(key().public.ident, PASSPHRASE)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_file_without_its_private_part(files):
    path = files.create(key(), PASSPHRASE)
    edit(path, cipher=None)
    with pytest.raises(TrustError, match="holds no private key"):
        files.load(key().public.ident, PASSPHRASE)


# --- the keyring ----------------------------------------------------------------------------------------


class MemoryKeyring:
    """A keyring that lives as long as the test."""

    def __init__(self):
        self.held = {}

    def set_password(self, service, username, password):
        self.held[service, username] = password

    def get_password(self, service, username):
        return self.held.get((service, username))


class Forgetful(MemoryKeyring):
    def set_password(self, service, username, password):
        pass


class Locked(MemoryKeyring):
    def get_password(self, service, username):
        raise RuntimeError("the collection with the secret 1234 is locked")

    def set_password(self, service, username, password):
        raise RuntimeError(f"cannot keep {password} or 1234")


@pytest.fixture
def ringed(tmp_path):
    return KeyFiles(tmp_path / "keys", cost=QUICK, keyring=MemoryKeyring())


def test_a_key_in_the_keyring(ringed):
    path = ringed.create_in_keyring(key(), "mine")
    (kept,) = ringed.list()
    assert (kept.place, kept.comment, kept.ident) == ("keyring", "mine", key().public.ident)
    assert ringed.load(kept.ident).raw() == key().raw()
    assert base64.b64encode(key().raw()) not in path.read_bytes()
    with pytest.raises(TrustError, match="kept already"):
        ringed.create_in_keyring(key())
    with pytest.raises(TrustError, match="kept already"):
        ringed.create(key(), PASSPHRASE)


def test_a_keyring_that_lost_the_key(ringed, tmp_path):
    ringed.create_in_keyring(key())
    other = KeyFiles(tmp_path / "keys", keyring=MemoryKeyring())
    with pytest.raises(TrustError, match="the keyring has no key"):
        other.load(key().public.ident)


def test_a_keyring_that_holds_another_key(ringed):
    ringed.create_in_keyring(key(1))
    held = ringed._keyring.held
    held.update(dict.fromkeys(held, base64.b64encode(key(2).raw()).decode()))
    with pytest.raises(TrustError, match="names another public key"):
        ringed.load(key(1).public.ident)
    held.update(dict.fromkeys(held, "not a key"))
    with pytest.raises(TrustError, match="what the keyring holds is not a key"):
        ringed.load(key(1).public.ident)


@pytest.mark.parametrize(
    ("ring", "words"), [(Forgetful(), "does not give back"), (Locked(), "refused: RuntimeError")]
)
def test_a_keyring_that_keeps_nothing_gets_no_key(tmp_path, ring, words):
    files = KeyFiles(tmp_path, keyring=ring)
    with pytest.raises(TrustError, match=words) as caught:
        files.create_in_keyring(key())
    assert "1234" not in caught.value.sentence()
    assert files.list() == ()


BACKENDS = """
import sys
from pathlib import Path
import keyring, keyring.backend
from keyring.backends import fail, null
from mcpguard.errors import TrustError
from mcpguard.identity.keys import PrivateKey
from mcpguard.system.keyfiles import KeyFiles

class Memory(keyring.backend.KeyringBackend):
    priority = 5
    held = {}
    def set_password(self, service, username, password): self.held[service, username] = password
    def get_password(self, service, username): return self.held.get((service, username))
    def delete_password(self, service, username): del self.held[service, username]

files = KeyFiles(Path(sys.argv[1]))
for bad in (fail.Keyring(), null.Keyring()):
    keyring.set_keyring(bad)
    try:
        files.create_in_keyring(PrivateKey(b"1" * 32))
    except TrustError as error:
        print(error.sentence())
keyring.set_keyring(Memory())
files.create_in_keyring(PrivateKey(b"1" * 32))
print(files.load(files.list()[0].ident).raw() == b"1" * 32)
"""


@pytest.mark.skipif(importlib.util.find_spec("keyring") is None, reason="needs the keyring extra")
def test_the_real_library_and_backends_that_keep_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BACKENDS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("no keyring of this desktop keeps secrets (keyring.backends." in line for line in lines[:2])
    assert lines[2] == "True"


def test_without_the_library(tmp_path):
    code = (
        "import sys; sys.modules['keyring'] = None\n"
        "from pathlib import Path; from mcpguard.errors import TrustError\n"
        "from mcpguard.identity.keys import PrivateKey; from mcpguard.system.keyfiles import KeyFiles\n"
        "try: KeyFiles(Path(sys.argv[1])).create_in_keyring(PrivateKey(b'1' * 32))\n"
        "except TrustError as error: print(error.sentence())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("the keyring library is not installed: pip install 'mcpguard[keyring]'"), (
        done.stderr
    )
