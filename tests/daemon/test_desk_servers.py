"""What people change about servers and trust, through a real daemon: it holds at once, and the audit log has it."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mcpguard.identity.definitions import definition_digest
from mcpguard.system.truststore import Seen
from tests.identity.signing import A, B, C, D
from tests.identity.trusting import role
from tests.lifecycle.land import TOOLS, Land, Registered, pin, trust_set
from tests.lifecycle.stage import until


@pytest.fixture
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        yield made.found()


def changes(land: Land) -> list[dict[str, Any]]:
    """The records of what people changed about trust and servers."""
    return [record for record in land.records() if record["type"] == "trust"]


def state(land: Land) -> dict[str, Any]:
    """The rollback state on disk, as records have it."""
    seen = msgspec.json.decode((land.state / "trust" / "seen.json").read_bytes(), type=Seen)
    return seen.record()


def test_every_change_is_recorded_with_the_whole_rollback_state(land: Land) -> None:
    server = land.server().registered()
    server.replace(version=2)
    server.registered()
    land.revoke(manifests={"sha256:" + "0" * 64})
    assert land.ask({"verb": "server-remove", "name": server.name})["ok"]
    found = changes(land)
    assert [record["event"] for record in found] == [
        "trust", "manifest", "manifest", "revocations", "manifest-removed",
    ]  # fmt: skip
    assert found[-1].items() >= state(land).items()
    assert (
        found[2].items() >= {"name": server.name, "version": 2, "keys": [A.public.ident], "pin": "P1"}.items()
    )
    assert [record["manifests"].get(server.name, [0])[0] for record in found] == [0, 1, 2, 2, 2]
    assert found[-1]["revocations"] == 1
    assert Seen.from_record(found[-1]).record() == state(land)


def test_what_is_refused_is_not_recorded_and_changes_nothing(land: Land) -> None:
    server = land.server().registered()
    before, kept = changes(land), server.file("manifest.json").read_bytes()
    for reply in (
        server.put(D, version=2),
        server.put(version=2, definitions=json.dumps({"tools": {"read_file": {"name": "read_file"}}})),
        land.ask(
            {"verb": "server-put", "name": "../x", "text": server.envelope().decode(), "definitions": "{}"}
        ),
        land.ask({"verb": "server-put", "name": server.name, "text": "", "definitions": ""}),
        land.ask({"verb": "server-remove", "name": "nobody"}),
        land.ask({"verb": "server-show", "name": "nobody"}),
        land.trust(trust_set(3), A),
        land.ask({"verb": "revocations-put", "text": "{}"}),
        land.ask({"verb": "host-forget", "name": "nobody"}),
        land.ask({"verb": "host-trust", "name": "x", "text": "{}"}),
    ):
        assert (reply["ok"], reply["code"]) == (False, "trust"), reply
        assert ": " in reply["error"]
    assert changes(land) == before
    assert server.file("manifest.json").read_bytes() == kept
    assert "isError" not in server.run().greet().call("read_file")["result"]


def turned(server: Registered) -> list[dict[str, Any]]:
    return server.tools(read_file={"description": "Does more."})


def test_accepted_definitions_hold_for_the_sessions_that_run(land: Land) -> None:
    server, other = land.server().registered(), land.server().registered()
    for each in (server, other):
        each.say(pages=[turned(each)])
    host, bystander = server.run().greet(), other.run().greet()
    for each in (host, bystander):
        assert [tool["name"] for tool in each.ask("tools/list")["result"]["tools"]] == ["look", "write_file"]
    server.replace(version=2, tools={tool["name"]: definition_digest(tool) for tool in turned(server)})
    assert server.put()["ok"]
    assert json.loads(host.line())["method"] == "notifications/tools/list_changed"
    assert "isError" not in host.call("read_file")["result"]
    assert bystander.call("read_file")["result"]["isError"] is True
    assert server.started() == 1


def test_session_shows_the_version_that_it_was_started_with(land: Land) -> None:
    """What runs is what the old manifest described, whatever was signed since."""
    server = land.server().registered()
    server.run().greet()
    server.replace(version=2)
    server.registered()
    server.run().greet()
    assert [each["pin"] for each in land.status()["connections"]] == ["P1 version 1", "P1 version 2"]


def test_sessions_of_a_publisher_who_is_no_longer_trusted_end(land: Land) -> None:
    server, mine = land.server(), land.server().registered()
    server.replace(name=f"io.acme/{server.name}")
    server.registered(C)
    host, bystander = server.run().greet(), mine.run().greet()
    reply = land.trust(trust_set(2, acme=role(B, prefix="io.acme/")), A)
    assert (reply["ok"], reply["ended"]) == (True, 1)
    assert host.rest(2) == []
    assert "mcpguard" in host.errors()[-1]
    assert "isError" not in bystander.call("read_file")["result"]


def test_superseded_session_ends_when_its_own_manifest_is_revoked(land: Land) -> None:
    server = land.server().registered()
    old = server.run().greet()
    server.script.write_text(server.script.read_text() + "# 2\n")
    first = server.manifest
    server.replace(version=2, executables=(first.executables[0], pin(server.script)))
    server.registered()
    new = server.run().greet()
    assert land.revoke(packages={f"sha256:{'0' * 64}"})["ended"] == 0
    assert land.revoke(packages={f"sha256:{first.executables[1].sha256}"})["ended"] == 1
    assert old.rest(2) == []
    assert "which this session runs, is revoked" in old.errors()[-1]
    assert "isError" not in new.call("read_file")["result"]


def test_removed_server_is_gone_and_its_sessions_end(land: Land) -> None:
    server, other = land.server().registered(), land.server().registered()
    host, bystander = server.run().greet(), other.run().greet()
    reply = land.ask({"verb": "server-remove", "name": server.name})
    assert reply["ok"]
    assert host.rest(2) == []
    assert "its manifest was removed" in host.errors()[-1]
    assert [each["name"] for each in land.ask({"verb": "servers"})["servers"]] == [other.name]
    assert "isError" not in bystander.call("read_file")["result"]


def test_nothing_is_changed_while_the_files_fall_short_of_the_log(land: Land) -> None:
    """A record of such files would be the newest, and the loss would be forgotten."""
    server = land.server().registered()
    shutil.rmtree(land.state / "trust")
    land.again()
    before = changes(land)
    for reply in (
        server.put(),
        land.trust(trust_set(), A),
        land.ask({"verb": "server-remove", "name": server.name}),
        land.ask({"verb": "trust"}),
    ):
        assert not reply["ok"]
        assert "state went back" in reply["error"]
        assert "mcpguard trust restore FILE" in reply["error"]
    assert changes(land) == before
    reply = land.trust(trust_set(), A, name="restore")
    assert reply["ok"], reply
    assert changes(land)[-1]["event"] == "trust-restored"
    assert until(lambda: changes(land)[-1]["manifests"]) == {
        server.name: changes(land)[-2]["manifests"][server.name]
    }
    assert "isError" not in server.run().greet().call("read_file")["result"]


def test_what_is_registered_is_told(land: Land) -> None:
    server = land.server().registered()
    (line,) = land.ask({"verb": "servers"})["servers"]
    assert (line["name"], line["version"], line["pin"], line["problem"]) == (server.name, 1, "P1", "")
    shown = land.ask({"verb": "server-show", "name": server.name})
    assert list(shown["definitions"]["tools"]) == [tool["name"] for tool in TOOLS]
    assert shown["observed"] == []
    server.script.write_text("")
    assert (
        land.ask({"verb": "servers"})["servers"][0]["problem"] == ""
    )  # digests are for a start, and for `verify`
    server.plant(D, version=2)
    assert "nobody who is trusted signed" in land.ask({"verb": "servers"})["servers"][0]["problem"]
