"""`mcpguard sign`: kept keys and SSH keys, statements and envelopes; nothing that is not understood is signed."""

import json
import shutil
import stat
import subprocess

import pytest

from mcpguard.identity.dsse import pae, parse_envelope, signed_by
from mcpguard.identity.keys import parse_public_key
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.statement import statement
from tests.cli.trustdesk import Desk


def manifest(name="files", version=1, **more):
    """A manifest that says little, valid for long."""
    return Manifest(
        **{
            "name": name,
            "version": version,
            "not_before": "2020-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z",
            "launch": Launch(argv=("/usr/bin/files", "--stdio"), host_argv=("files",)),
            "executables": (ExecutablePin("/usr/bin/files", "e" * 64, 100),),
            "tools": {"read_file": "f" * 64},
            **more,
        }
    )


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.run("key", "generate")
    (tmp_path / "m.json").write_bytes(encode_manifest(manifest()))
    return desk


def own(desk, number=0):
    return desk.json("key", "list")["keys"][number]


def signers(desk, file, *lines):
    return signed_by(
        parse_envelope((desk.home / file).read_bytes()), [parse_public_key(line) for line in lines]
    )


def test_a_statement_becomes_an_envelope_beside_it(desk):
    before = (desk.home / "m.json").read_bytes()
    result = desk.run("sign", "m.json")
    assert result.stdout == "m.signed.json\n"
    assert "runs     /usr/bin/files --stdio" in result.stderr
    assert "tools    read_file" in result.stderr
    assert f"signed by {own(desk)['id']}, 1 in all; digest sha256:" in result.stderr
    assert (desk.home / "m.json").read_bytes() == before
    assert parse_envelope((desk.home / "m.signed.json").read_bytes()).payload == before
    assert signers(desk, "m.signed.json", own(desk)["public"]) == {own(desk)["id"]}


def test_an_envelope_gets_one_more_and_a_key_counts_once(desk):
    desk.run("sign", "m.json", "--output", "e.json")
    desk.run("key", "generate")
    keys = desk.json("key", "list")["keys"]
    assert "you have 2 signing keys" in desk.run("sign", "e.json", code=5).stderr
    for _ in range(2):
        for key in keys:
            desk.run("sign", "e.json", "--key", key["id"])
    assert "has this signature already" in desk.run("sign", "e.json", "--key", keys[0]["id"]).stderr
    assert len(parse_envelope((desk.home / "e.json").read_bytes()).signatures) == 2
    assert signers(desk, "e.json", *(key["public"] for key in keys)) == {key["id"] for key in keys}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_an_ssh_key_signs_and_openssh_agrees(desk, kind):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "me", "-f", "id"], cwd=desk.home, check=True
    )
    desk.run("sign", "m.json", "--ssh-key", "id")
    line = (desk.home / "id.pub").read_text()
    assert signers(desk, "m.signed.json", line) == {parse_public_key(line).ident}
    envelope = parse_envelope((desk.home / "m.signed.json").read_bytes())
    (desk.home / "sig").write_bytes(envelope.signatures[0].sig)
    (desk.home / "allowed").write_text(f"me {line}")
    checked = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "me", "-n", "manifest@mcpguard", "-s", "sig"],
        input=pae(envelope.payload_type, envelope.payload), cwd=desk.home, capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_an_ssh_key_that_does_not_count_signs_nothing(desk):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "id"], cwd=desk.home, check=True
    )
    assert "ssh-rsa" in desk.run("sign", "m.json", "--ssh-key", "id", code=5).stderr
    assert "there is no SSH key 'absent'" in desk.run("sign", "m.json", "--ssh-key", "absent", code=5).stderr
    assert not (desk.home / "m.signed.json").exists()


def test_what_is_written_is_not_written_over(desk):
    desk.run("sign", "m.json")
    before = (desk.home / "m.signed.json").read_bytes()
    assert "is there already" in desk.run("sign", "m.json", code=5).stderr
    desk.run("sign", "m.json", "-o", "e.json")
    assert "is there already" in desk.run("sign", "m.signed.json", "-o", "e.json", code=5).stderr
    assert (desk.home / "m.signed.json").read_bytes() == before
    assert not [path for path in desk.home.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not strict JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1}', "neither a statement nor a signed envelope"),
        (b'{"_type": "x", "_type": "y"}', "not strict JSON"),
        (b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}', "which mcpguard does not sign"),
        (statement("urn:mcpguard:server-manifest:v1", {}, {"name": "x"}), "manifest"),
        (encode_manifest(manifest()).replace(b'"version":1', b'"version":0'), "manifest"),
        (b'{"payloadType": "application/json", "payload": "e30=", "signatures": [{"sig": "AAAA"}]}', "the payload is 'application/json'"),
        (b" " * 300_000, "not strict JSON"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_not_signed(desk, data, words):
    (desk.home / "x.json").write_bytes(data)
    assert words in desk.run("sign", "x.json", code=5).stderr
    assert not (desk.home / "x.signed.json").exists()


def test_text_of_others_in_a_manifest_is_visible_before_it_is_signed(desk):
    payload = json.loads(encode_manifest(manifest()))
    payload["predicate"]["launch"]["argv"] = ["/usr/bin/files", "\u202etxt\x1b[2K"]
    (desk.home / "x.json").write_text(json.dumps(payload))
    said = desk.run("sign", "x.json").stderr
    assert "\\u202etxt\\u001b[2K" in said
    assert "\u202e" not in said


def test_usage(desk):
    assert (
        "one signature at a time" in desk.run("sign", "m.json", "--key", "x", "--ssh-key", "y", code=2).stderr
    )
    assert "cannot be read: no such file" in desk.run("sign", "absent.json", code=5).stderr
    assert "there is no key 'zz'" in desk.run("sign", "m.json", "--key", "zz", code=5).stderr
    shutil.rmtree(desk.state / "keys")
    assert "you have no signing key: mcpguard key generate" in desk.run("sign", "m.json", code=5).stderr


def test_a_place_that_cannot_be_written_is_a_sentence(desk):
    (desk.home / "d").mkdir()
    assert "cannot be written" in desk.run("sign", "m.json", "-o", "absent/e.json", code=5).stderr
    assert "is there already" in desk.run("sign", "m.json", "-o", "d", code=5).stderr
    assert stat.S_ISDIR((desk.home / "d").stat().st_mode)
