"""Registered servers by asking: a real registry answers, without a daemon between."""

import datetime as dt

import pytest

from mcpguard.cli.registered import Servers
from mcpguard.daemon.registry import Registry
from mcpguard.errors import DaemonError, TrustError
from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions
from mcpguard.identity.dsse import digest, encode_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.trust import LOCAL, Role, TrustSet
from mcpguard.system.serverstore import ServerStore
from mcpguard.system.truststore import TrustStore

KEY = PrivateKey(bytes(32))
READ = {"name": "read_file", "n": 1.5}
KNOWN = Definitions(tools={"read_file": READ})
FILES = Manifest(
    name="files", version=1, not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z",
    launch=Launch(("/bin/x",), ("x",)), executables=(ExecutablePin("/bin/x", "a" * 64, 5),),
    tools={"read_file": definition_digest(READ)},
)  # fmt: skip


@pytest.fixture
def servers(tmp_path):
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    trust = TrustStore(tmp_path / "trust")
    alone = Role(keys=(KEY.public.ident,), threshold=1)
    first = TrustSet(
        version=1, expires="2030-01-01T00:00:00Z", keys={KEY.public.ident: KEY.public},
        root=alone, revocation=alone, publishers={LOCAL: alone},
    )  # fmt: skip
    trust.put_trust(encode_envelope(sign(first.encode(), KEY)), now)
    registry = Registry(ServerStore(tmp_path / "servers"), trust, lambda: now)

    def ask(content):
        name = content.get("name", "")
        match content["verb"]:
            case "servers":
                return {"servers": registry.described()}
            case "server-show":
                return registry.show(name)
            case "server-put":
                return registry.put(name, content["text"], content["definitions"])
            case "server-remove":
                return registry.remove(name)

    return Servers(ask)


def test_server_is_signed_put_shown_listed_and_removed(servers):
    assert servers.list() == []
    reply = servers.sign_and_put("files", FILES, KNOWN, KEY)
    assert reply["digest"] == digest(encode_manifest(FILES))
    shown = servers.show("files")
    assert (shown.manifest, shown.definitions, shown.observed, shown.problem) == (FILES, KNOWN, (), "")
    assert shown.digest == reply["digest"]
    assert shown.facts["keys"] == [KEY.public.ident]
    assert [each["name"] for each in servers.list()] == ["files"]
    assert servers.remove("files")["kept"].endswith("/.removed/files")
    with pytest.raises(TrustError, match="no server"):
        servers.show("files")


def test_what_is_not_believed_is_not_put(servers):
    with pytest.raises(TrustError):
        servers.sign_and_put("files", FILES, KNOWN, PrivateKey(bytes([1]) * 32))
    with pytest.raises(TrustError, match="pins"):
        servers.sign_and_put("files", FILES, Definitions(tools={"other": READ}), KEY)
    assert servers.list() == []


@pytest.mark.parametrize("reply", [{}, {"manifest": "%"}, {"manifest": "e30=", "definitions": []}])
def test_answer_that_is_not_understood_is_said_so(reply):
    with pytest.raises(DaemonError, match="not understood"):
        Servers(lambda _: reply).show("files")
