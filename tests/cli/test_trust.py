"""`mcpguard trust` as a person uses it, against a real desk on a real socket."""

import shutil
import subprocess

import pytest

from mcpguard.cli.signer import local_signer
from mcpguard.errors import TrustError
from mcpguard.identity.keys import PrivateKey
from mcpguard.system.truststore import Seen
from tests.cli.trustdesk import Desk

ACME = PrivateKey(b"a" * 32).public
OTHER = PrivateKey(b"o" * 32).public


@pytest.fixture
def desk(tmp_path):
    """A user with a daemon and a first trust set."""
    desk = Desk(tmp_path)
    with desk.daemon():
        desk.run("trust", "init", "--yes")
        yield desk


def shown(desk):
    return desk.json("trust", "show")["trust"]


def own(desk, number=0):
    return desk.json("key", "list")["keys"][number]["id"]


def at_another_machine(desk, name):
    """Somebody else's home, with a key and the passphrase of tests."""
    home = desk.home / name
    home.mkdir(mode=0o700)
    other = Desk(home)
    other.run("key", "generate")
    return other


# --- the first set --------------------------------------------------------------------------------------


def test_init_makes_a_key_and_the_first_set(tmp_path):
    desk = Desk(tmp_path)
    with desk.daemon():
        assert desk.run("trust", "show").stdout == "no keys are trusted yet\nnext: mcpguard trust init\n"
        assert desk.json("trust", "show")["trust"] is None
        result = desk.run("trust", "init", "--yes")
        trust = shown(desk)
    ident = own(desk)
    assert ident in result.stderr
    assert "kept encrypted with a passphrase" in result.stderr
    assert trust["version"] == 1
    assert {name: role["keys"] for name, role in trust["roles"].items()} == {
        "root": [ident], "revocation": [ident], "local": [ident],
    }  # fmt: skip
    assert [event for event, _ in desk.changes] == ["trust"]


def test_init_asks_and_silence_is_no_yes(tmp_path):
    desk = Desk(tmp_path)
    with desk.daemon():
        assert "say it with --yes" in desk.run("trust", "init", code=5).stderr
        assert not (desk.state / "keys").exists()
        assert not (desk.state / "trust").exists()


def test_init_with_a_key_that_is_there(tmp_path):
    desk = Desk(tmp_path)
    idents = [desk.run("key", "generate").stdout.strip() for _ in range(2)]
    with desk.daemon():
        assert "you have 2 signing keys" in desk.run("trust", "init", "--yes", code=5).stderr
        desk.run("trust", "init", "--yes", "--key", idents[1])
        assert shown(desk)["roles"]["root"]["keys"] == [idents[1]]


def test_init_twice_changes_nothing(desk):
    assert "there is a trust set already" in desk.run("trust", "init", "--yes", code=5).stderr


def test_init_into_a_file_for_another_place(tmp_path):
    desk = Desk(tmp_path)
    desk.run("key", "generate")
    desk.run("trust", "init", "--output", "first.json")
    assert not (desk.state / "trust").exists()
    with desk.daemon():
        result = desk.run("trust", "import", "first.json", "--yes")
        assert "compare the root keys" in result.stderr
        assert shown(desk)["version"] == 1


def test_the_local_signer_is_the_key_of_local(desk, monkeypatch):
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    assert local_signer(None).public.ident == own(desk)
    stranger = desk.run("key", "generate").stdout.strip()
    with pytest.raises(TrustError, match="may not sign your own servers") as caught:
        local_signer(stranger)
    assert caught.value.hint.startswith('mcpguard trust add-key local "ssh-ed25519 ')


def test_without_a_daemon_the_files_are_read_and_not_changed(tmp_path):
    desk = Desk(tmp_path)
    with desk.daemon():
        desk.run("trust", "init", "--yes")
    assert shown(desk)["version"] == 1


# --- changes --------------------------------------------------------------------------------------------


def test_a_publisher_comes_and_goes(desk):
    result = desk.run(
        "trust", "add-key", "io.acme", ACME.line(), "--prefix", "io.acme/", "--expires", "2099-01-31", "--yes"
    )
    assert f"+ io.acme: {ACME.ident}" in result.stdout
    assert "signs manifests called io.acme/*, 1 of 1, until 2099-01-31T00:00:00Z" in result.stdout
    (desk.home / "other.pub").write_text(OTHER.line() + " from\u202eacme\n".replace("\u202e", ""))
    desk.run("trust", "add-key", "io.acme", "other.pub", "--threshold", "2", "--key-expires", "30d", "--yes")
    trust = shown(desk)
    assert (trust["version"], trust["roles"]["io.acme"]["threshold"]) == (3, 2)
    assert trust["keys"][OTHER.ident]["expires"]
    assert (
        "wants 2 signatures"
        in desk.run("trust", "remove-key", "io.acme", OTHER.ident, "--yes", code=5).stderr
    )
    desk.run("trust", "remove-key", "io.acme", OTHER.ident, "--threshold", "1", "--yes")
    result = desk.run("trust", "remove-key", "io.acme", ACME.ident[:15], "--yes")
    assert "publisher io.acme is no longer trusted" in result.stdout
    trust = shown(desk)
    assert trust["version"] == 5
    assert set(trust["keys"]) == {own(desk)}
    assert [event for event, _ in desk.changes] == ["trust"] * 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add-key", "io.acme", "ssh-ed25519 !"], 5, "is not a public key"),
        (["add-key", "io.acme", "absent.pub"], 5, "'absent.pub' cannot be read"),
        (["add-key", "io.acme", "rsa.pub"], 5, "keys of kind 'ssh-rsa' are not accepted"),
        (["add-key", "io acme", ACME.line()], 5, "is no prefix of names"),
        (["add-key", "io.acme", ACME.line(), "--threshold", "2"], 5, "1 keys and wants 2 signatures"),
        (["add-key", "io.acme", ACME.line(), "--expires", "soon"], 2, "expected a day"),
        (["add-key", "io.acme", ACME.line(), "--prefix", ""], 5, "both have the prefix"),
        (["remove-key", "io.acme", "SHA256:x"], 5, "0 trusted keys begin with"),
        (["remove-key", "root", ""], 5, "trusted keys begin with"),
        (["revoke"], 2, "name one thing to revoke"),
        (["revoke", "files", "--renew"], 2, "name one thing to revoke"),
        (["revoke", "files"], 5, "for a name say --below VERSION"),
        (["revoke", "sha256:1234"], 5, "neither a key nor a digest"),
        (["revoke", "sha256:" + "a" * 64, "--below", "2"], 5, "--below goes with the name"),
        (["rotate", "--key", "SHA256:nobody"], 5, "0 trusted keys begin with"),
        (["export", "/nowhere/x"], 5, "cannot be written: no such file"),
        (["export", "-", "--revocations"], 5, "nothing is revoked"),
        (["import", "absent"], 5, "cannot be read"),
        (["restore", "absent"], 5, "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence_and_changes_nothing(desk, words, code, said):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"], cwd=desk.home, check=True
    )
    more = [] if words[0] == "export" else ["--yes"]
    result = desk.run("trust", *words, *more, code=code)
    assert said in result.stderr
    assert shown(desk)["version"] == 1


def test_every_change_is_asked_about(desk):
    for words in (
        ["add-key", "io.acme", ACME.line()], ["renew"], ["revoke", OTHER.ident], ["rotate"],
    ):  # fmt: skip
        assert "this needs a yes" in desk.run("trust", *words, code=5).stderr
    assert shown(desk)["version"] == 1


def test_a_wrong_passphrase_changes_nothing(desk):
    desk.passphrase.write_text("wrong\n")
    assert "the passphrase does not open" in desk.run("trust", "renew", "--yes", code=5).stderr
    assert shown(desk)["version"] == 1


def test_the_root_key_is_replaced_everywhere_and_signed_by_both(desk):
    old = own(desk)
    result = desk.run("trust", "rotate", "--yes")
    trust = shown(desk)
    (new,) = trust["keys"]
    assert new != old
    assert {name: role["keys"] for name, role in trust["roles"].items()} == {
        "root": [new], "revocation": [new], "local": [new],
    }  # fmt: skip
    assert f"- root: {old}" in result.stdout
    assert f"+ root: {new}" in result.stdout
    assert f"sign again what {old} signed" in result.stderr
    desk.run("trust", "renew", "--expires", "2099-01-01", "--yes")  # with the new key alone
    assert shown(desk)["expires"] == "2099-01-01T00:00:00Z"


def test_text_of_others_is_shown_with_every_character_visible(desk):
    (desk.home / "k.pub").write_text(ACME.line() + " caf\u00e9\n")
    desk.run("trust", "add-key", "io.acme", "k.pub", "--yes")
    assert "caf\u00e9" in desk.run("trust", "show").stdout
    (desk.home / "k.pub").write_text(OTHER.line() + " a\u202eb\x1b[31m\n")
    assert "one printable line" in desk.run("trust", "add-key", "io.acme", "k.pub", "--yes", code=5).stderr


# --- several people -------------------------------------------------------------------------------------


def test_two_of_two_sign_on_two_machines(desk):
    other = at_another_machine(desk, "elsewhere")
    line = other.run("key", "export", other.json("key", "list")["keys"][0]["id"]).stdout
    result = desk.run("trust", "add-key", "root", line, "--threshold", "2", "--yes")
    assert "needs 2 more" not in result.stderr
    assert "needs 1 more signature of: " + other.json("key", "list")["keys"][0]["id"] in result.stderr
    assert "written to trust-2.json; nothing is in force yet" in result.stderr
    assert shown(desk)["version"] == 1
    assert (
        "needs 2 signatures of its own root keys, and has 1"
        in desk.run("trust", "import", "trust-2.json", "--yes", code=5).stderr
    )
    shutil.copy(desk.home / "trust-2.json", other.home / "trust-2.json")
    signed = other.run("sign", "trust-2.json")
    assert "trust set version 2" in signed.stderr
    shutil.copy(other.home / "trust-2.json", desk.home / "trust-2.json")
    desk.run("trust", "import", "trust-2.json", "--yes")
    assert shown(desk)["roles"]["root"]["threshold"] == 2
    revoked = desk.run("trust", "revoke", OTHER.ident, "--yes")  # one key suffices for that
    assert "in force: version 1" in revoked.stderr
    assert "trust-3.json; nothing is in force" in desk.run("trust", "renew", "--yes").stderr


def test_an_ssh_key_as_second_root(desk):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id"], cwd=desk.home, check=True)
    desk.run("trust", "add-key", "root", "id.pub", "--threshold", "2", "--yes")
    desk.run("sign", "trust-2.json", "--ssh-key", "id")
    desk.run("trust", "import", "trust-2.json", "--yes")
    desk.run("trust", "renew", "--expires", "2099-01-01", "--output", "next.json", "--yes")
    desk.run("sign", "next.json", "--ssh-key", "id.pub")
    desk.run("trust", "import", "next.json", "--yes")
    assert shown(desk)["version"] == 3


def test_versions_are_imported_one_by_one(desk):
    desk.run("trust", "renew", "--expires", "2098-01-01", "--yes")
    desk.run("trust", "export", "two.json")
    desk.run("trust", "renew", "--expires", "2099-01-01", "--yes")
    desk.run("trust", "export", "three.json")
    assert "does not follow version 3" in desk.run("trust", "import", "two.json", "--yes", code=5).stderr
    assert (
        "in force: version 3" in desk.run("trust", "import", "three.json", "--yes").stderr
    )  # the same again


def test_a_file_is_never_overwritten(desk):
    desk.run("trust", "export", "x.json")
    before = (desk.home / "x.json").read_bytes()
    assert "is there already" in desk.run("trust", "export", "x.json", code=5).stderr
    assert "is there already" in desk.run("trust", "renew", "--output", "x.json", "--yes", code=5).stderr
    assert (desk.home / "x.json").read_bytes() == before
    assert {path.name for path in desk.home.iterdir()} == {"x.json", "state", "run", "passphrase"}


# --- revocations ----------------------------------------------------------------------------------------


def test_keys_digests_and_versions_are_revoked(desk):
    digest = "sha256:" + "d" * 64
    desk.run("trust", "add-key", "io.acme", ACME.line(), "--yes")
    result = desk.run("trust", "revoke", ACME.ident[:15], "--yes")
    assert f"revoked: key {ACME.ident}" in result.stdout
    desk.run("trust", "revoke", digest, "--yes")
    desk.run("trust", "revoke", "io.acme/files", "--below", "7", "--expires", "2099-01-01", "--yes")
    revocations = desk.json("trust", "show")["revocations"]
    assert revocations == {
        "version": 3, "expires": "2099-01-01T00:00:00Z", "stale": False, "keys": [ACME.ident], "manifests": [digest],
        "packages": [digest], "minimum": {"io.acme/files": 7},
    }  # fmt: skip
    desk.run("trust", "revoke", "--renew", "--expires", "2099-02-01", "--yes")
    assert desk.json("trust", "show")["revocations"]["version"] == 4
    assert "io.acme/files below version 7" in desk.run("trust", "show").stdout
    assert desk.run("trust", "export", "-", "--revocations").stdout.startswith('{"payloadType"')


def test_what_a_root_key_does_is_not_revoked_silently(desk):
    result = desk.run("trust", "revoke", own(desk), "--yes")
    assert "stays in the root or revocation role; to replace it there: mcpguard trust rotate" in result.stderr


# --- going back -----------------------------------------------------------------------------------------


def test_damaged_files_are_refused_and_restored_from_a_copy(desk):
    desk.run("trust", "renew", "--expires", "2098-01-01", "--yes")
    desk.run("trust", "export", "copy.json")
    (desk.state / "trust" / "trust.json").write_bytes(b"torn")
    for words in (["show"], ["show", "--json"], ["renew", "--yes"], ["init", "--yes"]):
        result = desk.run("trust", *words, code=5)
        assert "are damaged, trust.json is not what was put there" in result.stderr
        assert "mcpguard trust restore FILE" in result.stderr
    desk.run("trust", "restore", "copy.json", "--yes")
    assert shown(desk)["version"] == 2
    assert desk.changes[-1][0] == "trust-restored"


def test_files_that_the_audit_log_does_not_recognise_are_refused_until_a_person_restores(tmp_path):
    desk = Desk(tmp_path)
    with desk.daemon():
        desk.run("trust", "init", "--yes")
        desk.run("trust", "export", "one.json")
        desk.run("trust", "renew", "--expires", "2099-01-01", "--yes")
    remembered = Seen.from_record(desk.store.load().seen.record())
    shutil.rmtree(desk.state / "trust")
    with desk.daemon(remembered):
        for words in (["show"], ["init", "--yes"], ["import", "one.json", "--yes"]):
            result = desk.run("trust", *words, code=5)
            assert "the audit log has seen version 2 of the trust set, the files say none" in result.stderr
        assert "this needs a yes" in desk.run("trust", "restore", "one.json", code=5).stderr
        desk.run("trust", "restore", "one.json", "--yes")
        assert shown(desk)["version"] == 1
