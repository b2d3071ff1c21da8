"""What joins listeners, certificates and authenticators, in a daemon: plug-ins that every peer must pass."""

import json
from collections.abc import Iterator

import pytest

from tests.lifecycle.land import Land
from tests.lifecycle.peers import Peer, Served, talking
from tests.lifecycle.stage import until

BADGE = """\
import json, pathlib, sys
place = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    ok = place.exists()
    print(json.dumps({"id": asked.get("id"), "ok": ok, "reason": "" if ok else "not at work"}), flush=True)
"""

PLUGIN = (
    'version = 1\n[plugin.badge]\ncommand = ["/usr/bin/python3", "{script}", "{at_work}"]\ntimeout = "5s"\n'
)


@pytest.fixture
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        made.found()
        talking(made)
        yield made


def write(land: Land, text: str) -> None:
    folder = land.state / "auth"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / "new"
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.rename(folder / "auth.toml")


def refusals(land: Land) -> list[str]:
    return [str(each.get("reason")) for each in land.records() if each.get("event") == "refused"]


def test_every_peer_of_a_plain_listener_must_pass_a_plugin_that_is_always_asked(land: Land) -> None:
    at_work, script = land.root / "at-work", land.root / "badge.py"
    script.write_text(BADGE)
    path = land.root / "door.sock"
    words = ("--listen", f"unix:{path}", "--name", "door", "--recheck", "1s")
    with Served(land, *words), Peer(path) as peer:
        assert peer.greet().status == 200  # no auth.toml: the user of the socket is enough
        assert peer.call(1, "now").drained() == 200
        write(land, PLUGIN.format(script=script, at_work=at_work))
        assert until(lambda: ends(land) == ["the authenticator badge refuses: not at work"])
        assert peer.call(2, "now").status == 403
        with Peer(path) as other:
            answer = other.greet()
            assert answer.status == 403
            assert "not at work" in answer.error()[1]
        assert until(lambda: any("not at work" in each for each in refusals(land)))
        at_work.touch()
        with Peer(path) as other:
            assert other.greet().status == 200
            assert other.call(1, "now").drained() == 200
        write(land, "version = 1\n[plugin.badge\n")
        with Peer(path) as other:
            answer = other.greet()
            assert answer.status == 403  # it may name a plug-in: nobody is let in
            assert "auth.toml is not valid" in answer.error()[1]
        write(land, "version = 1\n")
        with Peer(path) as other:
            assert other.greet().status == 200


def ends(land: Land) -> list[str]:
    """Why sessions ended."""
    return [each["reason"] for each in land.records() if each["type"] == "session" and each["event"] == "end"]


def test_a_key_still_counts_only_while_a_plugin_lets_it(land: Land) -> None:
    """The chain that a listener requires asks it, too, and a session from before it was named ends."""
    made = json.loads(land.run("apikey", "create", "ci", "--json"))
    at_work, script = land.root / "at-work", land.root / "badge.py"
    script.write_text(BADGE)
    path = land.root / "keys.sock"
    words = (
        "--listen",
        f"unix:{path}",
        "--name",
        "keys",
        "--auth",
        "uid",
        "--auth",
        "apikey",
        "--recheck",
        "1s",
    )
    with Served(land, *words), Peer(path) as peer:
        peer.extra["Authorization"] = f"Bearer {made['key']}"
        assert peer.greet().status == 200
        write(land, PLUGIN.format(script=script, at_work=at_work))
        assert until(lambda: ends(land) == ["the authenticator badge was not asked yet: connect again"]), (
            ends(land)
        )
        assert peer.call(2, "now").status == 401
        at_work.touch()
        with peer.again() as other:
            other.session = ""
            assert other.greet().status == 200
