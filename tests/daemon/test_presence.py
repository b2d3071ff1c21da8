"""Presence: what counts as having been there, and what does not."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpguard import limits
from mcpguard.cli import touch as device
from mcpguard.daemon.control import Caller, PresenceWanted
from mcpguard.daemon.polkit import Polkit
from mcpguard.daemon.presence import WAYS, Presence
from mcpguard.errors import DaemonError, GuardError, PeerError
from mcpguard.protocol.control import Request
from mcpguard.system.memoryfile import MemoryFile
from tests.fakes.security_key import SecurityKey

ME = Caller(1000, 4711)


class Stage:
    def __init__(self, place: Path, accepted: tuple[str, ...] = WAYS) -> None:
        self.file = MemoryFile(place / "presence", "presence.json")
        self.changes: list[tuple[str, str]] = []
        nowhere = Polkit(installed=place / "no.policy")
        self.presence = Presence(
            self.file, lambda: accepted, nowhere, lambda *change: self.changes.append(change)
        )

    def put(self, **members: Any) -> dict[str, Any]:
        return asyncio.run(self.presence.put(Request("presence-put", **members), ME))

    def proof(self, ticket: str, way: str, **members: Any) -> str:
        challenge = json.loads(self.presence.challenge(ticket))["challenge"]
        return json.dumps({"challenge": challenge, "way": way, **members})

    def check(self, ticket: str, proof: str) -> str:
        return asyncio.run(self.presence.check(ticket, proof, ME))

    def enrol(self, key: SecurityKey, name: str = "key", proof: str = "") -> None:
        asked = asyncio.run(self.presence.begin(Request("presence-begin", proof=proof), ME))["challenge"]
        answer = device.enrol(asked, lambda: [key])
        self.put(name="fido2", source=name, text=self.answer(asked, answer))

    def touch(self, ticket: str, key: SecurityKey, asked: str = "") -> str:
        asked = asked or self.presence.challenge(ticket)
        return self.answer(asked, device.answer(asked, lambda: [key]))

    def answer(self, asked: str, response: Any) -> str:
        challenge = json.loads(asked)["challenge"]
        return json.dumps({"challenge": challenge, "way": "fido2", "response": response})


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def refused(work: Callable[[], object], says: str) -> None:
    with pytest.raises(GuardError) as caught:
        work()
    assert says in caught.value.sentence(), caught.value.sentence()


def test_nothing_is_set_up_at_first(stage: Stage) -> None:
    assert stage.presence.methods() == []
    assert stage.presence.described(Request("presence"))["ways"] == dict.fromkeys(WAYS, False)


def test_a_passphrase_shows_presence_once(stage: Stage) -> None:
    stage.put(name="passphrase", text="sésame")
    assert stage.presence.methods() == ["passphrase"]
    proof = stage.proof("t1", "passphrase", passphrase="sésame")
    assert stage.check("t1", proof) == "passphrase"
    refused(lambda: stage.check("t1", proof), "is over")
    assert stage.changes == [("presence-set", "passphrase")]


def test_it_is_for_its_ticket_only(stage: Stage) -> None:
    stage.put(name="passphrase", text="x")
    refused(lambda: stage.check("t2", stage.proof("t1", "passphrase", passphrase="x")), "is over")
    refused(lambda: stage.check("t1", stage.proof("presence", "passphrase", passphrase="x")), "is over")


def test_the_passphrase_itself_is_nowhere(stage: Stage) -> None:
    stage.put(name="passphrase", text="sesame-open")
    files = list(stage.file.directory.iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]
    assert b"sesame" not in files[0].read_bytes()
    assert "sesame" not in str(stage.changes)


def test_wrong_passphrases_cost_time(stage: Stage) -> None:
    stage.put(name="passphrase", text="right")
    for _ in range(3):
        refused(lambda: stage.check("t", stage.proof("t", "passphrase", passphrase="wrong")), "is wrong")
    refused(
        lambda: stage.check("t", stage.proof("t", "passphrase", passphrase="right")),
        "too many wrong passphrases",
    )
    time.sleep(2.1)
    assert stage.check("t", stage.proof("t", "passphrase", passphrase="right")) == "passphrase"


@pytest.mark.parametrize("text", ["", "x" * (limits.PASSPHRASE_BYTES + 1)])
def test_no_passphrase_at_all_and_an_endless_one_are_refused(stage: Stage, text: str) -> None:
    refused(lambda: stage.put(name="passphrase", text=text), "expected a passphrase of 1 to")
    assert stage.presence.methods() == []


@pytest.mark.parametrize("proof", ["", "{", "[]", '{"challenge":1}', '{"challenge":"a","way":"b","more":1}'])
def test_what_is_no_proof_is_refused(stage: Stage, proof: str) -> None:
    stage.put(name="passphrase", text="x")
    refused(lambda: stage.check("t", proof), "cannot be read")


def test_a_way_that_policy_does_not_accept_is_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path, ("fido2",))
    stage.put(name="passphrase", text="x")
    assert stage.presence.methods() == []
    refused(
        lambda: stage.check("t", stage.proof("t", "passphrase", passphrase="x")),
        "cannot be shown by 'passphrase'",
    )


def test_a_challenge_is_over_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(name="passphrase", text="x")
    proof = stage.proof("t", "passphrase", passphrase="x")
    later = time.monotonic() + limits.CHALLENGE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    refused(lambda: stage.check("t", proof), "is over")


def test_challenges_do_not_pile_up(stage: Stage) -> None:
    stage.put(name="passphrase", text="x")
    first = stage.proof("t", "passphrase", passphrase="x")
    for _ in range(limits.CHALLENGES):
        stage.presence.challenge("t")
    refused(lambda: stage.check("t", first), "is over")


# --- security keys ------------------------------------------------------------------------------------------


def test_a_touch_shows_presence_once(stage: Stage) -> None:
    key = SecurityKey()
    stage.enrol(key, "blue")
    assert stage.presence.methods() == ["fido2"]
    proof = stage.touch("t", key)
    assert stage.check("t", proof) == "fido2 blue"
    refused(lambda: stage.check("t", proof), "is over")


def test_another_key_an_untouched_one_and_another_site_are_refused(stage: Stage) -> None:
    key = SecurityKey()
    stage.enrol(key)
    stranger = SecurityKey()
    stranger.ident = key.ident
    refused(lambda: stage.check("t", stage.touch("t", stranger)), "no enrolled security key was touched")
    for change in ({"touched": False}, {"origin": "https://evil.example"}, {"rp": "evil.example"}):
        other = SecurityKey(**change)
        other.private, other.ident = key.private, key.ident
        refused(
            lambda other=other: stage.check("t", stage.touch("t", other)),
            "no enrolled security key was touched",
        )


def test_an_answer_to_another_challenge_is_refused(stage: Stage) -> None:
    key = SecurityKey()
    stage.enrol(key)
    old = json.loads(stage.touch("t", key))["response"]
    fresh = stage.presence.challenge("t")
    refused(lambda: stage.check("t", stage.answer(fresh, old)), "no enrolled security key was touched")


def test_what_is_no_answer_of_a_key_is_refused(stage: Stage) -> None:
    stage.enrol(SecurityKey())
    for response in ({}, {"id": "x"}, {"rawId": 1, "response": []}):
        asked = stage.presence.challenge("t")
        refused(
            lambda asked=asked, response=response: stage.check("t", stage.answer(asked, response)),
            "no enrolled",
        )
    asked = asyncio.run(stage.presence.begin(Request("b", proof=stage_proof(stage)), ME))["challenge"]
    refused(
        lambda: stage.put(name="fido2", source="x", text=stage.answer(asked, {})),
        "no answer of a security key",
    )


def stage_proof(stage: Stage) -> str:
    """Presence by a key that was just enrolled."""
    stage.file.save({})
    key = SecurityKey()
    stage.enrol(key)
    return stage.touch("presence", key)


def test_which_key_is_plugged_in_has_to_be_clear(stage: Stage) -> None:
    asked = stage.presence.challenge("t")
    refused(lambda: device.answer(asked, list), "no security key is plugged in")
    refused(lambda: device.answer(asked, lambda: [SecurityKey(), SecurityKey()]), "2 security keys are")
    refused(lambda: device.answer(asked, lambda: [SecurityKey()]), "the security key refuses")


# --- changes of the ways ------------------------------------------------------------------------------------


def test_who_changes_the_ways_uses_one_of_them(stage: Stage) -> None:
    stage.put(name="passphrase", text="old")
    for work in (
        lambda: stage.put(name="passphrase", text="new"),
        lambda: asyncio.run(stage.presence.begin(Request("presence-begin"), ME)),
        lambda: asyncio.run(stage.presence.remove(Request("presence-remove", name="passphrase"), ME)),
    ):
        with pytest.raises(PresenceWanted) as caught:
            work()
        assert caught.value.methods == ["passphrase"]
    wrong = stage.proof("presence", "passphrase", passphrase="new")
    refused(lambda: stage.put(name="passphrase", text="new", proof=wrong), "is wrong")
    other = stage.proof("t1", "passphrase", passphrase="old")
    refused(lambda: stage.put(name="passphrase", text="new", proof=other), "is over")
    right = stage.proof("presence", "passphrase", passphrase="old")
    stage.put(name="passphrase", text="new", proof=right)
    assert stage.check("t", stage.proof("t", "passphrase", passphrase="new")) == "passphrase"


def test_a_key_is_not_enrolled_without_a_challenge_that_was_earned(stage: Stage) -> None:
    stage.put(name="passphrase", text="x")
    asked = json.dumps({"challenge": "00" * 32, "keys": []})
    answer = stage.answer(asked, device.enrol(asked, lambda: [SecurityKey()]))
    refused(lambda: stage.put(name="fido2", source="mine", text=answer), "is over")
    for_a_ticket = stage.presence.challenge("t1")
    answer = stage.answer(for_a_ticket, device.enrol(for_a_ticket, lambda: [SecurityKey()]))
    refused(lambda: stage.put(name="fido2", source="mine", text=answer), "is over")


def test_ways_are_removed(stage: Stage) -> None:
    key = SecurityKey()
    stage.enrol(key, "blue")
    request = Request("presence-remove", name="fido2", source="green", proof=stage.touch("presence", key))
    refused(lambda: asyncio.run(stage.presence.remove(request, ME)), "'green' is not set up")
    request = msgspec.structs.replace(request, source="blue", proof=stage.touch("presence", key))
    asyncio.run(stage.presence.remove(request, ME))
    assert stage.presence.methods() == []
    assert stage.changes[-1] == ("presence-removed", "fido2")


def test_there_is_a_bound_on_keys_and_a_name_for_each(stage: Stage) -> None:
    key = SecurityKey()
    stage.enrol(key, "k0")
    for number in range(1, limits.TOUCH_KEYS):
        stage.enrol(SecurityKey(), f"k{number}", stage.touch("presence", key))
    refused(lambda: stage.enrol(SecurityKey(), "more", stage.touch("presence", key)), "no more fit")
    refused(lambda: stage.enrol(SecurityKey(), "", stage.touch("presence", key)), "expected a name")


def test_a_damaged_file_is_no_absence_of_ways(stage: Stage) -> None:
    stage.put(name="passphrase", text="x")
    (stage.file.directory / "presence.json").write_text("{")
    with pytest.raises(DaemonError, match="cannot be relied on"):
        stage.presence.methods()


def test_there_are_no_other_ways(stage: Stage) -> None:
    refused(lambda: stage.put(name="wave", text="x"), "there is no way 'wave'")


def test_a_caller_who_is_gone_shows_nothing_to_polkit(tmp_path: Path) -> None:
    installed = tmp_path / "x.policy"
    installed.write_text("")
    presence = Presence(
        MemoryFile(tmp_path / "p"), lambda: WAYS, Polkit("unix:path=/nowhere", installed), lambda *_: None
    )
    assert presence.methods() == ["polkit"]
    challenge = json.loads(presence.challenge("t"))["challenge"]
    proof = json.dumps({"challenge": challenge, "way": "polkit"})
    with pytest.raises(PeerError, match="the caller is gone"):
        asyncio.run(presence.check("t", proof, Caller(0, 2**22 + 1)))
