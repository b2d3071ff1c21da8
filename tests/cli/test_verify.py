"""`mcpguard verify`: who vouches, and which check failed; 0 believed, 5 refused."""

import base64
import json
import subprocess

import pytest

from mcpguard.identity.dsse import encode_envelope, parse_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import encode_manifest
from mcpguard.system.truststore import wall_clock
from tests.cli.test_sign import manifest
from tests.cli.trustdesk import Desk

STRANGER = PrivateKey(b"s" * 32)
ACME = PrivateKey(b"a" * 32)


@pytest.fixture
def desk(tmp_path):
    """A user with a daemon, a first trust set, and a signed manifest."""
    desk = Desk(tmp_path)
    with desk.daemon():
        desk.run("trust", "init", "--yes")
        (tmp_path / "m.json").write_bytes(encode_manifest(manifest()))
        desk.run("sign", "m.json")
        yield desk


def by(desk, file, key, **changes):
    (desk.home / file).write_bytes(encode_envelope(sign(encode_manifest(manifest(**changes)), key)))
    return file


def test_a_manifest_of_ones_own_is_believed(desk):
    said = desk.run("verify", "m.signed.json").stdout.splitlines()
    assert said[-1] == "believed"
    assert "decides  you, for your own servers, 1 of 1 keys; trust set version 1" in said
    answer = desk.json("verify", "m.signed.json")
    ident = desk.json("key", "list")["keys"][0]["id"]
    assert answer["ok"] is True
    assert answer["signers"] == [{"ident": ident, "roles": ["local", "root", "revocation"], "comment": ""}]
    assert (answer["publisher"], answer["threshold"], answer["unknown_signatures"]) == ("local", "1 of 1", 0)
    assert answer["manifest"]["expires"] == "2099-01-01T00:00:00Z"
    assert answer["digest"].startswith("sha256:")


def test_a_stranger_is_not(desk):
    by(desk, "s.json", STRANGER)
    result = desk.run("verify", "s.json", code=5)
    assert "refused  nobody who is trusted signed this manifest" in result.stdout
    assert "signed   1 more that do not count" in result.stdout
    answer = desk.json("verify", "s.json", code=5)
    assert answer["ok"] is False
    assert answer["error"]["hint"].startswith("if you trust who did")
    assert (answer["signers"], answer["unknown_signatures"]) == ([], 1)


def test_a_publisher_counts_for_its_names_only(desk):
    desk.run("trust", "add-key", "io.acme", ACME.public.line(), "--yes")
    by(desk, "a.json", ACME, name="io.acme/files")
    assert desk.json("verify", "a.json")["publisher"] == "io.acme"
    by(desk, "b.json", ACME, name="io.other/files")
    answer = desk.json("verify", "b.json", code=5)
    assert "belong to the publisher local" in answer["error"]["message"]
    desk.run("trust", "add-key", "io.acme", STRANGER.public.line(), "--threshold", "2", "--yes")
    assert "needs 2 signatures, and 1 count" in desk.json("verify", "a.json", code=5)["error"]["message"]


def test_an_ssh_key_counts_once_it_is_trusted(desk):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id"], cwd=desk.home, check=True)
    (desk.home / "s.json").write_bytes(encode_manifest(manifest(name="io.acme/files")))
    desk.run("sign", "s.json", "--ssh-key", "id")
    desk.run("verify", "s.signed.json", code=5)
    desk.run("trust", "add-key", "io.acme", "id.pub", "--yes")
    assert desk.json("verify", "s.signed.json")["publisher"] == "io.acme"


def test_what_was_revoked_is_not_believed(desk):
    desk.run("trust", "add-key", "io.acme", ACME.public.line(), "--yes")
    for number, what in enumerate(("SHA", "digest", "executable", "below")):
        by(desk, f"{number}.json", ACME, name=f"io.acme/{what}", version=number + 1)
    digest = desk.json("verify", "1.json")["digest"]
    desk.run("trust", "revoke", "io.acme/below", "--below", "5", "--yes")
    assert "5 is the lowest" in desk.json("verify", "3.json", code=5)["error"]["message"]
    desk.run("trust", "revoke", digest, "--yes")
    assert "is revoked" in desk.json("verify", "1.json", code=5)["error"]["message"]
    desk.run("verify", "0.json")
    desk.run("trust", "revoke", "sha256:" + "e" * 64, "--yes")
    assert (
        "runs '/usr/bin/files', which is revoked" in desk.json("verify", "0.json", code=5)["error"]["message"]
    )
    desk.run("trust", "revoke", ACME.public.ident, "--yes")
    assert "which is revoked" in desk.json("verify", "2.json", code=5)["error"]["message"]


def test_older_than_what_was_seen(desk):
    now = wall_clock()
    desk.store.note_manifest("files", 2, "sha256:" + "0" * 64, now)
    assert "is older than 2, which was seen" in desk.run("verify", "m.signed.json", code=5).stdout
    assert desk.store.load().seen.manifests["files"].version == 2  # looking raises no floor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"not_before": "2098-01-01T00:00:00Z"}, "is not valid before 2098-01-01T00:00:00Z"),
        ({"expires": "2021-01-01T00:00:00Z"}, "expired at 2021-01-01T00:00:00Z"),
    ],
)
def test_out_of_its_time(desk, change, words):
    by(desk, "t.json", ACME, **change)
    desk.run("trust", "add-key", "local", ACME.public.line(), "--yes")
    assert words in desk.run("verify", "t.json", code=5).stdout


def test_a_changed_byte_is_seen(desk):
    envelope = json.loads((desk.home / "m.signed.json").read_bytes())
    payload = parse_envelope((desk.home / "m.signed.json").read_bytes()).payload
    envelope["payload"] = base64.b64encode(payload.replace(b"--stdio", b"--shell")).decode()
    (desk.home / "x.json").write_text(json.dumps(envelope))
    result = desk.run("verify", "x.json", code=5)
    assert "nobody who is trusted signed this manifest" in result.stdout


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "not strict JSON"), (b"{}", "does not say what its payload is"), (b"\xff", "JSON")],
)
def test_what_is_no_envelope(desk, data, words):
    (desk.home / "x.json").write_bytes(data)
    assert words in desk.run("verify", "x.json", code=5).stderr
    assert words in desk.json("verify", "x.json", code=5)["error"]["message"]


def test_before_anything_is_trusted(tmp_path):
    desk = Desk(tmp_path)
    by(desk, "m.json", STRANGER)
    assert "no keys are trusted yet: mcpguard trust init" in desk.run("verify", "m.json", code=5).stderr


def test_a_trust_set_is_no_manifest(desk):
    desk.run("trust", "export", "t.json")
    assert "refused  " in desk.run("verify", "t.json", code=5).stdout


def test_text_of_others_is_visible(desk):
    payload = json.loads(encode_manifest(manifest()))
    payload["predicate"]["launch"]["argv"] = ["/usr/bin/files", "\u202e\x1b]0;x\x07"]
    (desk.home / "x.json").write_bytes(encode_envelope(sign(json.dumps(payload).encode(), STRANGER)))
    said = desk.run("verify", "x.json", code=5).stdout
    assert "\\u202e\\u001b]0;x\\u0007" in said
    assert not {"\u202e", "\x1b", "\x07"} & set(said)


def test_as_a_process(desk):
    done = desk.process("verify", str(desk.home / "m.signed.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("believed\n")
