"""Credentials at a listener: who is let in, how far, for how long, and what of it is written down."""

import json
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.credentials.dpop import NonceWanted
from mcpguard.daemon.peering import covers
from mcpguard.errors import PeerError
from tests.daemon.doorway import Doorway, story
from tests.daemon.loops import eventually
from tests.lifecycle.peers import Peer

PING = {"jsonrpc": "2.0", "id": 9, "method": "ping"}


def peer(doorway: Doorway, key: str) -> Peer:
    made = Peer(doorway.path)
    made.extra["Authorization"] = f"Bearer {key}"
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def test_a_key_is_a_principal_and_a_wrong_one_is_nobody(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("good")

        def play() -> None:
            with peer(doorway, "good") as mine, peer(doorway, "bad") as wrong:
                assert mine.greet().status == 200
                answer = wrong.greet()
                assert answer.status == 401
                assert answer.field("WWW-Authenticate") == 'Bearer realm="mcpguard"'
                assert "not one of ours" in answer.error()[1]

        await doorway.do(play)
        assert doorway.sessions[0].host.evidence()["principal"] == "key:good"
        (refused,) = await eventually(lambda: doorway.records("refused"))
        assert refused["host"]["listener"] == "door"
        assert refused["host"]["shown"] == "apikey"
        assert "bad" not in json.dumps(refused)

    story(directory, told)


def test_a_session_is_its_principals_alone(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("mine")
        doorway.keys.add("theirs")

        def play() -> None:
            with peer(doorway, "mine") as mine, peer(doorway, "theirs") as thief:
                mine.greet()
                thief.session = mine.session
                assert thief.post(PING).drained() == 404
                assert thief.send("GET", Accept="text/event-stream").drained() == 404
                assert thief.send("DELETE").drained() == 404
                assert mine.post(PING).drained() == 200

        await doorway.do(play)

    story(directory, told)


def test_modern_requests_of_two_keys_share_nothing(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("one")
        doorway.keys.add("two")

        def play() -> None:
            with peer(doorway, "one") as one, peer(doorway, "two") as two:
                for each in (one, two, one, two):
                    assert each.modern(1, "tools/list").drained() == 200

        await doorway.do(play)
        assert len(doorway.sessions) == 2

    story(directory, told)


def test_scopes_narrow_lists_and_calls_and_servers_even_while_policy_only_watches(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("narrow", tools=("no*",))
        doorway.keys.add("elsewhere", servers=("other",))

        def play() -> None:
            with peer(doorway, "narrow") as mine, peer(doorway, "elsewhere") as other:
                mine.greet()
                listed = mine.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).message()
                assert [tool["name"] for tool in listed["result"]["tools"]] == ["now"]
                assert "content" in mine.call(2, "now").message()["result"]
                denied = mine.call(3, "write").message()
                assert denied["result"]["isError"] is True
                assert "credential" in json.dumps(denied)
                assert "mcpguard refused" in json.dumps(denied)
                answer = other.greet()
                assert answer.status == 403
                assert "is not for the server 'talk'" in answer.error()[1]

        await doorway.do(play)

    story(directory, told)


def test_what_a_key_is_for_changes_during_a_session(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def begin() -> Peer:
            mine = peer(doorway, "key")
            mine.greet()
            assert "content" in mine.call(1, "write").message()["result"]
            return mine

        mine = await doorway.do(begin)
        doorway.keys.add("key", tools=("now",))
        session = doorway.sessions[0]
        assert await eventually(
            lambda: session.host.caller.tools == ("now",)
        )  # no request was needed for that

        def go_on() -> None:
            assert mine.call(2, "write").message()["result"]["isError"] is True
            assert "content" in mine.call(3, "now").message()["result"]
            mine.close()

        await doorway.do(go_on)

    story(directory, told)


def test_a_revoked_key_ends_what_is_open_within_the_interval_and_says_why(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def begin() -> tuple[Peer, object]:
            mine = peer(doorway, "key")
            mine.greet()
            return mine, mine.call(5, "hang").events()

        mine, events = await doorway.do(begin)
        began = time.monotonic()
        del doorway.keys.known["key"]
        last = await doorway.do(lambda: [message for _, message in events if message][-1])  # type: ignore[attr-defined]
        assert "the API key was revoked" in last["error"]["message"]
        assert time.monotonic() - began < 10  # the interval is 0.2 s
        assert doorway.sessions[0].reason == "the API key was revoked"

        def go_on() -> None:
            assert mine.post(PING).status == 401
            mine.close()

        await doorway.do(go_on)

    story(directory, told)


def test_a_key_that_leaves_the_server_ends_the_session(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def begin() -> Peer:
            mine = peer(doorway, "key")
            mine.greet()
            return mine

        mine = await doorway.do(begin)
        doorway.keys.add("key", servers=("other",))
        assert await eventually(lambda: "no longer for the server" in doorway.sessions[0].reason)
        mine.close()

    story(directory, told)


def test_a_sensitive_call_looks_again_at_once(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key")

        def begin() -> Peer:
            mine = peer(doorway, "key")
            mine.greet()
            return mine

        mine = await doorway.do(begin)
        assert doorway.sessions[0].host.recheck() == ""
        del doorway.keys.known["key"]
        assert (
            doorway.sessions[0].host.recheck() == "the API key was revoked"
        )  # what `recheck` of a rule asks
        mine.close()

    story(directory, told, recheck=600.0)


def test_a_session_expires_with_its_key(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("key", expires=time.time() + 1.5)

        def begin() -> Peer:
            mine = peer(doorway, "key")
            mine.greet()
            return mine

        mine = await doorway.do(begin)
        assert await eventually(lambda: "expired" in doorway.sessions[0].reason)
        mine.close()

    story(directory, told)


def test_wrong_keys_are_kept_away_and_the_right_one_beside_them_is_not(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.add("good")

        def play() -> None:
            with peer(doorway, "good") as mine, peer(doorway, "bad") as wrong:
                mine.greet()
                seen = [wrong.post(PING) for _ in range(1)]
                statuses = [seen[0].drained()]
                for _ in range(60):
                    statuses.append(wrong.post(PING).drained())
                assert statuses[0] == 401
                assert statuses[-1] == 429
                assert statuses.count(401) == limits.FAILURES + 1
                answer = wrong.post(PING)
                assert 0 < int(answer.field("Retry-After")) <= limits.LOCKOUT_SECONDS
                assert "come back in" in answer.error()[1]
                asked = doorway.keys.asked
                assert wrong.post(PING).drained() == 429
                assert doorway.keys.asked == asked  # nobody looks at it
                assert mine.post(PING).drained() == 200
                with peer(doorway, "also-good") as new:
                    doorway.keys.add("also-good")
                    assert new.greet().status == 429  # a key that was not seen before the flood waits, too

        await doorway.do(play)
        assert doorway.door.described()["kept_away"] >= 48
        records = doorway.records("refused")
        assert len(records) < 40  # a flood fills no log

    story(directory, told)


def test_a_proof_that_needs_a_nonce_is_told_so_and_counts_as_no_failure(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        async def wants(*_: object) -> None:
            raise NonceWanted("n-1")

        doorway.keys.authenticate = wants  # type: ignore[method-assign]

        def play() -> None:
            with peer(doorway, "key") as mine:
                for _ in range(limits.FAILURES + 5):
                    answer = mine.greet()
                    assert answer.drained() == 401
                    assert answer.field("DPoP-Nonce") == "n-1"
                    assert answer.field("WWW-Authenticate") == 'DPoP error="use_dpop_nonce"'

        await doorway.do(play)

    story(directory, told)


@pytest.mark.parametrize(
    ("patterns", "server", "covered"),
    [
        ((), "x", True),
        (("x",), "x", True),
        (("x",), "y", False),
        (("f*", "g"), "files", True),
        (("f*",), "g", False),
    ],
)
def test_what_a_credential_is_for(patterns: tuple[str, ...], server: str, covered: bool) -> None:
    assert covers(patterns, server) is covered


def test_who_gives_tokens_is_told_to_everybody_and_nowhere_else_where_none_count(directory: Path) -> None:
    """RFC 9728, 2 and 5.1: what a client of the MCP SDK looks for after a 401."""
    issuers = ("https://login.example.com",)

    async def told(doorway: Doorway) -> None:
        async def none(*_: object) -> None:
            raise PeerError("no token was shown")

        doorway.keys.authenticate = none  # type: ignore[method-assign]
        doorway.keys.issuers = lambda: issuers  # type: ignore[method-assign]

        def play() -> None:
            with peer(doorway, "none") as mine:
                answer = mine.greet()
                assert answer.drained() == 401
                place = answer.field("WWW-Authenticate").partition('resource_metadata="')[2].rstrip('"')
                assert place == "http://localhost/.well-known/oauth-protected-resource/mcp/talk"
                path = place.removeprefix("http://localhost")
                found = mine.send("GET", path=path)
                assert found.status == 200
                assert found.json() == {
                    "resource": "http://localhost/mcp/talk",
                    "authorization_servers": list(issuers),
                    "bearer_methods_supported": ["header"],
                }
                assert mine.send("POST", {}, path=path).drained() == 405
                assert mine.send("GET", path=path + "/../x").drained() == 404
                assert mine.send("GET", path=path, Host="evil.example").drained() in (400, 403, 421)

        await doorway.do(play)

    story(directory, told, auth=("jwt",))


def test_a_listener_for_keys_alone_names_no_issuer(directory: Path) -> None:
    async def told(doorway: Doorway) -> None:
        doorway.keys.issuers = lambda: ("https://login.example.com",)  # type: ignore[method-assign]

        def play() -> None:
            with peer(doorway, "bad") as mine:
                answer = mine.greet()
                assert answer.drained() == 401
                assert "resource_metadata" not in answer.field("WWW-Authenticate")
                path = "/.well-known/oauth-protected-resource/mcp/talk"
                assert mine.send("GET", path=path).drained() == 404

        await doorway.do(play)

    story(directory, told)
