"""From nothing to another machine that calls a tool: our authority, a certificate, an API key, and their ends.

Everything is made by the verbs that a person uses. Numbers in names are those of the penetration-test plan.
"""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.land import Land
from tests.lifecycle.peers import BOTH, Authority, Peer, Served, talking
from tests.lifecycle.stage import until

POLICY = """\
version = 1
mode = "enforce"
[[rule]]
id = "alice"
who = ["cert:mcpguard://mcpguard.internal/alice"]
server = "talk"
tools = ["now", "hang"]
effect = "allow"
[[rule]]
id = "key"
who = ["{key}"]
server = "*"
tools = ["now", "hang", "big"]
effect = "allow"
"""


class Place(Land):
    """A house with an authority, the certificate of a listener, and what clients were given."""

    def authority(self) -> None:
        words = self.root / "words"
        words.write_text("correct horse battery staple\n")
        words.chmod(0o600)
        self.run("ca", "init", "--yes", "--passphrase-file", str(words))
        self.run("ca", "issue", "guard", "--server")
        talking(self)

    def issued(self, name: str, *more: str) -> Path:
        """A client's certificate, key and root in a directory, as they are carried to another machine."""
        out = self.root / name
        self.run("ca", "issue", name, "--client", "--out", str(out), *more)
        return out

    def key(self, name: str, *more: str) -> tuple[str, str]:
        """An API key, and its principal."""
        made = json.loads(self.run("apikey", "create", name, "--json", *more))
        return made["key"], made["principal"]

    def said(self, words: str) -> bool:
        """Whether records say something within the deadline."""
        return bool(until(lambda: [each for each in self.records() if words in str(each.get("reason"))]))


def spoken(out: Path, name: str = "") -> ssl.SSLContext:
    """How a client speaks that has what is in a directory."""
    context = ssl.create_default_context(cafile=str(out / "ca.crt"))
    if name:
        context.load_cert_chain(out / f"{name}.crt", out / f"{name}.key")
    return context


def bearing(peer: Peer, key: str) -> Peer:
    peer.extra["Authorization"] = f"Bearer {key}"
    return peer


def listed(peer: Peer) -> list[str]:
    answer = peer.post({"jsonrpc": "2.0", "id": 90, "method": "tools/list"}).message()
    return [tool["name"] for tool in answer["result"]["tools"]]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        made.serve()
        made.found()
        made.authority()
        yield made


@pytest.fixture(scope="module")
def alice(place: Place) -> Path:
    return place.issued("alice")


@pytest.fixture(scope="module")
def key(place: Place, alice: Path) -> str:
    made, principal = place.key("ci", "--server", "talk")
    place.policy(POLICY.replace("{key}", principal))
    return made


def door(place: Place, name: str, *auth: str) -> Served:
    kinds = [word for kind in auth for word in ("--auth", kind)]
    return Served(
        place, "--listen", "tls:127.0.0.1:0", "--cert", "guard", "--name", name, "--recheck", "1s", *kinds
    )


@pytest.fixture(scope="module")
def port(place: Place) -> Iterator[int]:
    with door(place, "both", "cert", "apikey") as served:
        yield served.port


def test_who_has_the_certificate_and_the_key_calls(place: Place, alice: Path, key: str, port: int) -> None:
    with bearing(Peer(port, tls=spoken(alice, "alice")), key) as peer:
        assert peer.greet().status == 200
        assert "content" in peer.call(1, "now").message()["result"]
        assert set(listed(peer)) == {"now", "hang", "big"}  # what either principal may
        peer.send("DELETE").drained()
    calls = until(
        lambda: [each for each in place.records() if each["type"] == "call" and each.get("tool") == "now"]
    )
    assert calls[-1]["host"]["listener"] == "both"
    assert calls[-1]["host"]["network"] == "127.0.0.1"


def test_curl_calls_with_what_it_was_given(alice: Path, key: str, port: int) -> None:
    hello: dict[str, Any] = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    }  # fmt: skip
    words = [
        "curl", "--silent", "--show-error", "--max-time", "30", "--cacert", str(alice / "ca.crt"),
        "--cert", str(alice / "alice.crt"), "--key", str(alice / "alice.key"), "--header", f"Accept: {BOTH}",
        "--header", "Content-Type: application/json", "--data", json.dumps(hello),
        f"https://127.0.0.1:{port}/mcp/talk",
    ]  # fmt: skip
    good = subprocess.run(
        [*words, "--header", f"Authorization: Bearer {key}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(good.stdout)["result"]["serverInfo"]
    bad = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "no API key was shown" in json.loads(bad.stdout)["error"]["message"]


def test_70_both_are_required_and_each_refusal_is_recorded(
    place: Place, alice: Path, key: str, port: int
) -> None:
    with Peer(port, tls=spoken(alice, "alice")) as peer:
        answer = peer.greet()
        assert answer.status == 401
        assert "no API key was shown" in answer.error()[1]
    with (
        bearing(Peer(port, tls=spoken(alice)), key) as peer,  # the key alone
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        peer.greet()
    assert place.said("no API key was shown")
    assert place.said("TLS handshake failed")


def test_a_certificate_of_another_authority_is_nobody(place: Place, alice: Path, key: str, port: int) -> None:
    stranger = Authority(place.root).client("mcpguard.internal")
    stranger.load_verify_locations(alice / "ca.crt")
    with bearing(Peer(port, tls=stranger), key) as peer, pytest.raises((ssl.SSLError, ConnectionError)):
        peer.greet()


def test_a_key_that_is_bound_to_another_certificate_is_worth_nothing(
    place: Place, alice: Path, key: str, port: int
) -> None:
    bob = place.issued("bob")
    bound, _ = place.key("bobs", "--cert", str(bob / "bob.crt"))
    with bearing(Peer(port, tls=spoken(alice, "alice")), bound) as peer:
        assert peer.greet().status == 401
    with bearing(Peer(port, tls=spoken(bob, "bob")), bound) as peer:
        assert peer.greet().status == 200
        peer.send("DELETE").drained()


def test_the_scope_of_a_key_narrows_lists_and_calls(place: Place, alice: Path, key: str, port: int) -> None:
    narrow, _ = place.key("narrow", "--server", "talk", "--tool", "now")
    with bearing(Peer(port, tls=spoken(alice, "alice")), narrow) as peer:
        assert peer.greet().status == 200
        assert listed(peer) == ["now"]
        refused = peer.call(2, "hang").message()["result"]  # its certificate may, the key may not
        assert refused["isError"]
        assert "mcpguard refused" in refused["content"][0]["text"]
        peer.send("DELETE").drained()
    elsewhere, _ = place.key("elsewhere", "--server", "other")
    with bearing(Peer(port, tls=spoken(alice, "alice")), elsewhere) as peer:
        answer = peer.greet()
        assert answer.status == 403
        assert "not for the server" in answer.error()[1]


def ends(place: Place, peer: Peer, revoke: Callable[[], object], why: str) -> None:
    """A call that waits is answered with why when something is revoked, and what comes next is refused."""
    assert peer.greet().status == 200
    waiting = peer.call(1, "hang", token="t")  # the head comes once there is something to say
    revoke()
    told = json.dumps(waiting.message())
    assert why in told, told
    assert place.said(why)


def test_70_a_key_that_is_revoked_ends_the_session_that_came_with_it(
    place: Place, alice: Path, key: str, port: int
) -> None:
    gone, principal = place.key("gone", "--server", "talk")
    place.policy(POLICY.replace("{key}", principal))
    with bearing(Peer(port, tls=spoken(alice, "alice")), gone) as peer:
        ends(place, peer, lambda: place.run("apikey", "revoke", "gone", "--yes"), "revoked")
        with peer.again() as other:
            assert other.call(2, "now").status == 401


def test_70_a_certificate_that_is_revoked_ends_the_session_that_came_with_it(
    place: Place, key: str, port: int
) -> None:
    carol = place.issued("carol")
    with bearing(Peer(port, tls=spoken(carol, "carol")), key) as peer:
        assert peer.greet().status == 200
        place.run("ca", "revoke", "carol", "--yes", "--reason", "key-compromise")
        assert place.said("revoked")
        assert until(
            lambda: (
                [
                    each
                    for each in place.records()
                    if each.get("event") == "end" and "revoked" in str(each.get("reason"))
                ]
                or None
            )
        )
        answer = peer.call(1, "now")  # the connection that is open
        assert answer.status == 401
        assert "revoked" in answer.error()[1]
    with (
        bearing(Peer(port, tls=spoken(carol, "carol")), key) as peer,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        peer.greet()


def test_the_walk_through_of_the_docs_from_nothing_to_a_call() -> None:
    """`docs/serve.md`, "From nothing to another machine that calls a tool": each command as it stands there."""
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    block = text.partition("## From nothing to another machine that calls a tool")[2].partition("\n## ")[0]
    commands = [
        line.partition(" #")[0].split() for line in block.splitlines() if line.startswith("    mcpguard ")
    ]
    made, served = commands[:-1], commands[-1]
    assert [words[1] for words in made] == ["ca", "ca", "ca", "apikey", "policy"]
    assert served[1] == "serve"
    with Place() as place:
        place.serve()
        place.found()
        talking(place, "files")
        (place.root / "words").write_text("correct horse battery staple\n")
        (place.root / "words").chmod(0o600)
        policy = block.partition("```toml\n")[2].partition("```")[0]
        (place.root / "policy.toml").write_text(policy.replace("read_*", "now"))
        for words in made:
            place.run(*words[1:], cwd=place.root)
        at = served.index("--listen") + 1
        served[at] = "tls:127.0.0.1:0"
        with Served(place, *served[2:]) as door:
            url = f"https://guard.example:{door.port}/mcp/files"
            key = (place.root / "build" / "key").read_text().strip()
            hello = {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "c", "version": "1"},
            }
            words = [
                "curl", "--silent", "--show-error", "--max-time", "30", "--resolve", f"guard.example:{door.port}:127.0.0.1",
                "--cacert", "build/ca.crt", "--cert", "build/build.crt", "--key", "build/build.key",
                "--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json",
                "--header", f"Accept: {BOTH}", "--header", "Host: guard.example:8443",
                "--data", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}), url,
            ]  # fmt: skip
            done = subprocess.run(
                words, cwd=place.root, capture_output=True, text=True, timeout=60, check=True
            )
            assert "result" in json.loads(done.stdout), done.stdout
            context = spoken(place.root / "build", "build")
            with bearing(Peer(door.port, "files", tls=context), key) as peer:
                assert peer.greet().status == 200
                assert listed(peer) == ["now"]
                assert "content" in peer.call(1, "now").message()["result"]
