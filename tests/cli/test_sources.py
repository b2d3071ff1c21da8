"""Files that nobody signed: what is told of them, and what stays unpacked."""

import json
import os
import zipfile

import pytest

from mcpguard.cli.sources import drafted, is_draft
from mcpguard.errors import TrustError

SERVER = {
    "name": "io.github.acme/files",
    "version": "1.4.2",
    "packages": [{
        "registryType": "npm", "identifier": "@acme/files", "version": "1.4.2",
        "environmentVariables": [{"name": "ACME_TOKEN", "isSecret": True, "isRequired": True}, {"name": "LEVEL"}],
    }],
}  # fmt: skip
BUNDLE = {
    "name": "files",
    "version": "2",
    "server": {"mcp_config": {"command": "node", "args": ["${__dirname}/x.js"]}},
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "server.json").write_text(json.dumps(SERVER))
    with zipfile.ZipFile(tmp_path / "files.mcpb", "w") as archive:
        archive.writestr("manifest.json", json.dumps(BUNDLE))
        archive.writestr("x.js", "")
    return tmp_path / "state" / "bundles"


def test_which_files_are_drafts(tmp_path):
    assert is_draft((tmp_path / "server.json").read_bytes())
    assert is_draft((tmp_path / "files.mcpb").read_bytes())
    for text in ('{"payloadType": "x"}', '{"payloadType": "x", "packages": []}', '{"name": "x"}'):
        assert not is_draft(text.encode())
    with pytest.raises(TrustError, match="not strict JSON"):
        is_draft(b"hello")


def test_claims_of_a_server_json_are_told_as_claims(tmp_path, capsys):
    with drafted(str(tmp_path / "server.json")) as found:
        assert found.argv == ("npx", "-y", "@acme/files@1.4.2")
    assert capsys.readouterr().err.splitlines() == [
        "io.github.acme/files 1.4.2, from a registry's server.json. Nobody signed it: every word of it is its author's claim.",
        "  it asks for: npx -y @acme/files@1.4.2",
        "  it wants the variables: ACME_TOKEN (secret), LEVEL",
        "  note: it says that it needs the variable ACME_TOKEN",
    ]


def test_bundle_stays_only_if_it_is_wanted(tmp_path, state):
    def decline() -> None:
        with drafted(str(tmp_path / "files.mcpb")) as found:
            assert os.path.exists(f"{found.directory}/x.js")
            raise SystemExit(1)

    with pytest.raises(SystemExit):
        decline()
    assert os.listdir(state) == []
    with drafted(str(tmp_path / "files.mcpb")) as found:
        pass
    assert found.argv == ("node", f"{found.directory}/x.js")
    assert os.listdir(state) == [os.path.basename(found.directory)]


def test_no_file_is_an_empty_draft(capsys):
    with drafted(None) as found:
        assert (found.argv, found.variables, found.fixed) == ((), (), {})
    assert capsys.readouterr().err == ""


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(TrustError, match="cannot be read: no such file"), drafted(str(tmp_path / "none")):
        pass
