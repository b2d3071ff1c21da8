"""What people ask of the daemon about hosts: shown with all that is needed, changed with a record, or not at all."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpguard.daemon.desk import Desk
from mcpguard.daemon.enrolments import Enrolments
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import JournalError
from mcpguard.identity.enrolment import encode_one, propose
from mcpguard.identity.facts import HostFacts
from mcpguard.model import Grade
from mcpguard.protocol.control import Request
from mcpguard.system.hostsfile import HostsFile
from mcpguard.system.journal import Journal
from tests.daemon.loops import run
from tests.lifecycle.forms import FORMS, RELAY, arrive, connection, leave, native
from tests.lifecycle.stage import Host, House, house, until

WHEN = "2026-11-22T10:00:00Z"


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        yield made


def enrolment(place: House, host: Host, name: str) -> str:
    """What the command line makes of what the daemon tells of a connected host."""
    (one,) = [
        one for one in place.ask({"verb": "hosts"})["connected"] if one["id"] == connection(place, host)["id"]
    ]
    return encode_one(propose(name, msgspec.convert(one["facts"], HostFacts), Grade[one["grade"]], WHEN))


def trusted(place: House) -> list[dict[str, Any]]:
    """Records of changes of hosts."""
    return [one for one in place.records() if one["type"] == "host"]


def test_connected_hosts_are_told_with_digests_and_descriptors_come_back(place: House) -> None:
    host = arrive(place, [str(native(place.root / "bin")), "-I", RELAY, "pairs"]).greet()
    assert "sha256" not in connection(place, host)["host"]  # nothing depended on it
    before = place.descriptors()
    (one,) = place.ask({"verb": "hosts"})["connected"]
    assert (one["pid"], one["grade"], one["host"], one["server"]) == (
        host.process.pid,
        "G2",
        "",
        connection(place, host)["server"],
    )
    facts = msgspec.convert(one["facts"], HostFacts)
    assert facts.executable
    assert len(facts.executable.digest) == 64
    for _ in range(5):
        assert place.ask({"verb": "hosts"})["connected"] == [one]
    assert place.descriptors() == before


def test_hosts_that_come_and_go_while_they_are_asked_about_do_no_harm(place: House) -> None:
    for _ in range(5):
        host = arrive(place, FORMS["pipes"])
        asked = [place.ask({"verb": "hosts"}) for _ in range(3)]
        host.close()
        asked += [place.ask({"verb": "hosts"}) for _ in range(3)]
        assert all(one["ok"] for one in asked), asked
    assert until(lambda: place.ask({"verb": "hosts"})["connected"] == [])


def test_trust_and_forget_are_recorded_with_what_was_trusted(place: House) -> None:
    host = arrive(place, FORMS["pairs"]).greet()
    text = enrolment(place, host, "agent")
    reply = place.ask({"verb": "host-trust", "name": "agent", "text": text})
    assert reply["host"] == json.loads(text)
    assert place.ask({"verb": "hosts"})["enrolled"] == [json.loads(text)]
    gone = place.ask({"verb": "host-forget", "name": "agent"})
    assert gone["forgotten"] == "agent"
    assert place.ask({"verb": "hosts"})["enrolled"] == []
    first, second = trusted(place)
    assert (first["event"], first["name"], first["host"]) == ("enrolled", "agent", json.loads(text))
    assert (second["event"], second["name"]) == ("forgotten", "agent")
    assert place.mcpguard("audit", "verify").returncode == 0


def test_a_connection_keeps_what_it_was_given(place: House) -> None:
    """Enrolled or forgotten: what holds is what was known when it came."""
    form = FORMS["pairs"]
    first = arrive(place, form).greet()
    text = enrolment(place, first, "agent")
    place.ask({"verb": "host-trust", "name": "agent", "text": text})
    assert "host" not in connection(place, first)["host"]
    second = arrive(place, form).greet()
    place.ask({"verb": "host-forget", "name": "agent"})
    assert connection(place, second)["host"]["host"] == "agent"
    leave(second)
    assert "host" not in connection(place, arrive(place, form).greet())["host"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"verb": "host-trust", "name": "x", "text": "{}"}, "the enrolment is not one"),
        ({"verb": "host-trust", "name": "x"}, "not strict JSON"),
        ({"verb": "host-trust", "name": "\x1b[2J", "text": "[]"}, "the enrolment"),
        ({"verb": "host-forget", "name": "nobody"}, "no host is enrolled as 'nobody'"),
        ({"verb": "host-forget"}, "no host is enrolled as ''"),
    ],
)
def test_what_is_refused_is_not_recorded(place: House, request_: dict[str, Any], words: str) -> None:
    reply = place.ask(request_)
    assert (reply["ok"], reply["code"]) == (False, "trust")
    assert words in reply["error"]
    assert reply["error"].isprintable()
    assert trusted(place) == []


def test_damaged_list_answers_every_verb_with_how_to_restore_it(place: House) -> None:
    host = arrive(place, FORMS["pairs"]).greet()
    text = enrolment(place, host, "agent")
    for _ in range(2):
        place.ask({"verb": "host-trust", "name": "agent", "text": text})
    before = len(trusted(place))
    enrolled = place.state / "hosts" / "enrolled.json"
    enrolled.write_text("[")
    for request_ in (
        {"verb": "hosts"},
        {"verb": "host-trust", "name": "agent", "text": text},
        {"verb": "host-forget", "name": "agent"},
    ):
        reply = place.ask(request_)
        assert (reply["ok"], reply["code"]) == (False, "trust")
        assert f"cp {enrolled}.previous {enrolled}" in reply["error"]
    assert len(trusted(place)) == before
    assert "result" in host.call("echo")  # what runs was looked at before


def test_change_that_cannot_be_recorded_is_told_as_failed(tmp_path: Path) -> None:
    async def story() -> None:
        recorder = Recorder(Journal.open(tmp_path / "audit"))
        enrolments = Enrolments(HostsFile(tmp_path / "hosts"))
        desk = Desk(recorder, enrolments, None, None, {}, None)  # type: ignore[arg-type]
        await recorder.close()
        with pytest.raises(JournalError):
            desk.changing()["host-trust"](Request("host-trust", name="agent", text=TEXT))

    run(story)


TEXT = json.dumps(
    {
        "name": "agent",
        "executable": {
            "pattern": "/opt/agent",
            "owner": 0,
            "sha256": secrets.token_hex(32),
            "writable": False,
        },
        "grade": "G3",
        "enrolled_at": WHEN,
    }
)
