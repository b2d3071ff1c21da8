"""The keys of a daemon: made once, written down first, revoked at once; that they are recognised is in test_authenticators."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpguard.credentials import apikey
from mcpguard.daemon.apikeys import KEPT_SECONDS, NOTE_SECONDS
from mcpguard.errors import DaemonError, JournalError, PeerError, TrustError
from mcpguard.system import apikeystore
from mcpguard.system.apikeystore import FILE
from tests.daemon.chains import START, Chain
from tests.daemon.test_authenticators import alone


def records(chain: Chain) -> list[dict[str, Any]]:
    return [json.loads(line) for line in chain.log().splitlines() if '"type":"credential"' in line]


def stored(chain: Chain) -> Any:
    return json.loads((chain.place / "auth" / FILE).read_text())["keys"]


def test_a_key_leaves_once_and_is_nowhere_afterwards(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key("ci", '{"servers":["files"],"tools":["read_*"],"uids":[7],"seconds":60}')
        secret = key.rpartition("_")[2]
        told = json.dumps(chain.keys.described())
        assert secret not in told + json.dumps(stored(chain))
        assert apikey.digest(key) not in told, "nor what it could be compared with"
        (found,) = chain.keys.described()
        assert (found["name"], found["state"], found["expires"], found["servers"]) == (
            "ci",
            "valid",
            START + 60,
            ("files",),
        )
        assert found["by"] == "uid 1000 (pid 4242)"

    chain = alone(tmp_path, story)
    (record,) = records(chain)
    assert (record["event"], record["called"], record["servers"], record["uids"]) == (
        "created",
        "ci",
        ["files"],
        [7],
    )
    assert "mcpg_" not in chain.log()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("", "", "is called by 1 to 64"),
        ("A", "", "is called by 1 to 64"),
        ("a b", "", "is called by 1 to 64"),
        ("ci", "{", "not a request for an API key"),
        ("ci", '{"admin":true}', "not a request for an API key"),
        ("ci", '{"seconds":-1}', "time until it expires"),
        ("ci", '{"seconds":1e12}', "time until it expires"),
        ("ci", '{"servers":[""]}', "no pattern"),
        ("ci", '{"tools":["a[b]"]}', "no pattern"),
        ("ci", '{"networks":["home"]}', "is not a network"),
        ("ci", '{"certificates":["x"]}', "SHA-256"),
        ("ci", '{"uids":[-1]}', "user id"),
        ("ci", json.dumps({"tools": ["a"] * 65}), "at most 64 tools"),
    ],
)
def test_what_cannot_be_a_key_is_not_made(tmp_path: Path, name: str, text: str, words: str) -> None:
    async def story(chain: Chain) -> None:
        with pytest.raises(TrustError, match=words):
            chain.key(name, text)
        assert not (chain.place / "auth" / FILE).exists()

    assert records(alone(tmp_path, story)) == []


def test_two_of_one_name_are_refused_and_a_revoked_ones_name_is_free(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        first = chain.key("ci")
        with pytest.raises(TrustError, match="there is an API key ci"):
            chain.key("ci")
        chain.verb("apikey-revoke", "ci")
        second = chain.key("ci")
        assert apikey.parse(first) != apikey.parse(second), (
            "rules for the old one do not hold for the new one"
        )
        with pytest.raises(TrustError, match="is revoked"):
            chain.verb("apikey-rotate", apikey.parse(first))
        assert chain.verb("apikey-revoke", apikey.parse(first))["state"] == "revoked"
        for name in ("nobody", "key:nobody"):
            with pytest.raises(TrustError, match="there is no API key"):
                chain.verb("apikey-revoke", name)
        with pytest.raises(TrustError) as caught:
            chain.verb("apikey-revoke", second)
        assert second not in caught.value.sentence()

    assert [one["event"] for one in records(alone(tmp_path, story))] == ["created", "revoked", "created"]


def test_one_that_expired_can_be_rotated_into_a_later_one(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        old = chain.key("ci", '{"seconds":60}')
        chain.clock.now += 60
        with pytest.raises(PeerError, match="has expired"):
            await chain.bearer(old, "apikey")
        with pytest.raises(TrustError, match="has expired"):
            chain.verb("apikey-rotate", "ci", seconds=60.0)
        new = chain.verb("apikey-rotate", "ci", seconds=0.0, text='{"seconds":600}')
        assert new["expires"] == chain.clock.now + 600
        await chain.bearer(new["key"], "apikey")
        with pytest.raises(TrustError, match="overlap is not a time"):
            chain.verb("apikey-rotate", "ci", seconds=-1.0)

    alone(tmp_path, story)


def test_the_last_use_is_known_at_once_and_written_now_and_then(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key("ci")
        await chain.bearer(key, "apikey")
        chain.keys.tick()
        await chain.bearer(key, "apikey")
        chain.clock.now += 5
        for _ in range(10):
            await chain.bearer(key, "apikey")
            chain.keys.tick()
        assert chain.keys.described()[0]["used"] == START + 5
        assert stored(chain)[0]["used"] == START, "not for each use"
        chain.clock.now += NOTE_SECONDS
        chain.keys.tick()
        assert stored(chain)[0]["used"] == START + 5

    alone(tmp_path, story)


def test_while_the_file_is_damaged_no_key_counts_and_none_is_made(tmp_path: Path) -> None:
    keys: list[str] = []

    async def first(chain: Chain) -> None:
        keys.append(chain.key("ci"))

    alone(tmp_path, first)
    file = tmp_path / "auth" / FILE
    before = file.read_bytes()
    file.write_bytes(before[:-5])

    async def second(chain: Chain) -> None:
        with pytest.raises(PeerError, match="no API key counts"):
            await chain.bearer(keys[0], "apikey")
        with pytest.raises(DaemonError, match="no API key counts"):
            chain.key("other")
        with pytest.raises(DaemonError, match="no API key counts"):
            chain.keys.described()
        with pytest.raises(DaemonError, match="no API key counts"):
            chain.verb("apikey-revoke", "ci")

    alone(tmp_path, second)
    assert file.read_bytes() == before[:-5], "what a person can still repair is not overwritten"
    file.write_bytes(before)

    async def third(chain: Chain) -> None:
        await chain.bearer(keys[0], "apikey")

    alone(tmp_path, third)


def test_a_key_that_cannot_be_recorded_is_not_made_and_a_revocation_holds_all_the_same(
    tmp_path: Path,
) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key("ci")
        await chain.recorder.close()
        with pytest.raises((JournalError, ValueError), match="closed"):
            chain.key("other")
        assert len(stored(chain)) == 1
        with pytest.raises((JournalError, ValueError), match="closed"):
            chain.verb("apikey-revoke", "ci")
        with pytest.raises(PeerError, match="is revoked"):
            await chain.bearer(key, "apikey")
        assert stored(chain)[0]["revoked"] == START

    alone(tmp_path, story)


def test_a_revocation_that_cannot_be_written_holds_until_the_daemon_ends(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key("ci")
        (chain.place / "auth" / ".new").mkdir()
        with pytest.raises(DaemonError, match="cannot write"):
            chain.verb("apikey-revoke", "ci")
        with pytest.raises(PeerError, match="is revoked"):
            await chain.bearer(key, "apikey")
        (chain.place / "auth" / ".new").rmdir()

    alone(tmp_path, story)


def test_keys_are_bounded_and_long_revoked_ones_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpguard.daemon.apikeys.KEYS", 3)
    assert apikeystore.KEYS == 1024

    async def story(chain: Chain) -> None:
        for name in "abc":
            chain.key(name)
        chain.verb("apikey-revoke", "a")
        with pytest.raises(TrustError, match="there are 3 API keys"):
            chain.key("d")
        chain.clock.now += KEPT_SECONDS + 1
        chain.key("d")
        assert [key["name"] for key in chain.keys.described()] == ["b", "c", "d"]

    alone(tmp_path, story)
