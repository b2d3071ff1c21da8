"""The http group of the wire corpus against a listener, by number, and other inputs of the same classes.

`htp-*` with the direction s2c are about remote servers, which we are a client of.
"""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.land import Land, Registered
from tests.lifecycle.peers import BOTH, META, Peer, Served, raw, talking
from tests.lifecycle.stage import until
from tests.wire.corpus import VECTORS

HTTP = {
    each["id"]: each
    for each in map(json.loads, (VECTORS / "attacks.jsonl").read_bytes().splitlines())
    if each["direction"] == "http-c2s"
}


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        yield made.found()


@pytest.fixture(scope="module")
def server(land: Land) -> Registered:
    return talking(land)


@pytest.fixture(scope="module")
def place(land: Land, server: Registered) -> Iterator[Path]:
    """It is called as the corpus calls it, so that nothing but the attack is wrong."""
    path = land.root / "guard.sock"
    with Served(land, "--listen", f"unix:{path}", "--server", "talk", "--host", "127.0.0.1:7777"):
        yield path


def statuses(said: bytes) -> list[int]:
    """The status of each answer, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", said)]


def seen(server: Registered) -> int:
    return server.started()


def bytes_of(ident: str) -> bytes:
    return base64.b64decode(HTTP[ident]["bytes_b64"])


EXPECTED = {
    "htp-002": (400, -32020),
    "htp-005": (400, -32020),
    "htp-008": (403, -32600),
    "htp-009": (421, -32600),
    "htp-010": (400, -32600),
    "htp-012": (403, -32600),
    "htp-013": (400, -32600),
    "htp-015": (421, -32600),
    "htp-026": (400, -32020),
}


def test_every_input_of_the_corpus_for_a_listener_is_here() -> None:
    assert sorted(EXPECTED) == sorted(HTTP)


@pytest.mark.parametrize("ident", EXPECTED)
def test_corpus(land: Land, place: Path, server: Registered, ident: str) -> None:
    """Refused with one sentence and its status; the server is not even started for it; written down."""
    before = server.started()
    refused = len([each for each in land.records() if each.get("event") == "refused"])
    data = bytes_of(ident)
    said = raw(
        place,
        data.replace(b"Content-Type", b"Connection: close\r\nContent-Type", 1)
        if ident not in ("htp-013", "htp-010")
        else data,
    )
    status, code = EXPECTED[ident]
    assert statuses(said) == [status], said
    error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == code
    assert "\n" not in error["message"]
    assert server.started() == before
    if ident not in ("htp-002", "htp-026"):  # whose peer is known: the body of its request is wrong
        assert until(
            lambda: len([each for each in land.records() if each.get("event") == "refused"]) > refused
        )


def test_the_corpus_inputs_pass_once_nothing_is_wrong(place: Path) -> None:
    """So that what is refused is refused for its attack."""
    data = bytes_of("htp-002").replace(b"delete_all", b"now").replace(b"read_file", b"now")
    head, _, body = data.partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
    said = raw(place, b"%b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    assert statuses(said) == [200], said


HEAD = (
    b"POST /mcp/talk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\nConnection: close\r\n"
)
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"%bContent-Length: 5\r\nContent-Length: 6\r\n\r\n" % HEAD, id="two lengths"),
        pytest.param(b"%bContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello" % HEAD, id="two equal lengths"),
        pytest.param(b"%bContent-Length: +5\r\n\r\nhello" % HEAD, id="length with a sign"),
        pytest.param(b"%bContent-Length: 5, 5\r\n\r\nhello" % HEAD, id="list of lengths"),
        pytest.param(b"%bTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" % HEAD, id="two encodings"),
        pytest.param(b"%bTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" % HEAD, id="gzip, chunked"),
        pytest.param(b"%bTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" % HEAD, id="xchunked"),
        pytest.param(b"%bTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" % HEAD, id="space before the colon"),
        pytest.param(b"%bX-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n" % HEAD, id="folded"),
        pytest.param(b"%bMcp-Name: read\r\n\tfile\r\nContent-Length: 0\r\n\r\n" % HEAD, id="folded routing field"),
        pytest.param(b"%bHost: evil.example\r\nContent-Length: 0\r\n\r\n" % HEAD, id="two hosts"),
        pytest.param(b"%bOrigin: null\r\nOrigin: http://localhost\r\nContent-Length: 0\r\n\r\n" % HEAD, id="two origins"),
        pytest.param(b"%bAuthorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0\r\n\r\n" % HEAD, id="two credentials"),
        pytest.param(b"%bMcp-Session-Id: a\r\nmcp-session-id: b\r\nContent-Length: 0\r\n\r\n" % HEAD, id="two sessions"),
        pytest.param(b"%bMcp-Param-X: a\r\nMcp-Param-X: b\r\nContent-Length: 0\r\n\r\n" % HEAD, id="two parameters"),
        pytest.param(b"%bX: a\x00b\r\nContent-Length: 0\r\n\r\n" % HEAD, id="NUL"),
        pytest.param(b"%bX: a\rb\r\nContent-Length: 0\r\n\r\n" % HEAD, id="bare CR"),
        pytest.param(b"%bMcp-Name: \xff\r\nContent-Length: 0\r\n\r\n" % HEAD, id="not ASCII"),
        pytest.param(HEAD.replace(b"HTTP/1.1", b"HTTP/1.1 ") + b"\r\n", id="space after the version"),
        pytest.param(HEAD.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n", id="version"),
        pytest.param(HEAD.replace(b"POST", b"PO ST") + b"\r\n", id="method with a space"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, id="TLS on a plain socket"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n', id="NDJSON"),
        pytest.param(b"%bX: %b\r\n\r\n" % (HEAD, b"a" * 20_000), id="a long field"),
        pytest.param(HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n", id="many fields"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", id="no chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=\r\n\n\r\nhello\r\n0\r\n\r\n", id="LF in a chunk extension"),
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", id="CONNECT"),
        pytest.param(b"%bUpgrade: websocket\r\nContent-Length: 40\r\n\r\n%b" % (HEAD.replace(b"close", b"upgrade"), PING), id="upgrade"),
    ],
)  # fmt: skip
def test_what_two_readers_could_take_for_two_things_is_refused(
    place: Path, server: Registered, data: bytes
) -> None:
    before = server.started()
    said = raw(place, data)
    assert len(statuses(said)) == 1, said
    assert 400 <= statuses(said)[0] < 500, said
    assert server.started() == before


def test_a_smuggled_request_is_not_answered(place: Path, server: Registered) -> None:
    inner = b"POST /mcp/talk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    data = (
        HEAD.replace(b"Connection: close\r\n", b"")
        + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
        + inner
    )
    assert statuses(raw(place, data)) == [400]


def test_pipelined_requests_are_each_judged(place: Path) -> None:
    request = HEAD.replace(b"Connection: close\r\n", b"") + b"Content-Length: %d\r\n\r\n%b" % (
        len(PING),
        PING,
    )
    last = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(PING), PING)
    said = raw(place, request * 2 + last)
    assert statuses(said) == [400, 400, 400]  # none has a session


def test_a_head_that_does_not_end_is_cut(land: Land, place: Path) -> None:
    """Slow loris: bytes now and then do not prolong it. The bound is `limits.HEAD_SECONDS`."""
    with Peer(place).connected() as sock:
        sock.sendall(b"POST /mcp/talk HTTP/1.1\r\n")
        sock.settimeout(0.5)
        said, sent = b"x", 0
        while said:
            try:
                said = sock.recv(1)
            except TimeoutError:
                sent += 1
                assert sent < 60
                try:
                    sock.sendall(b"X-%d: a\r\n" % sent)
                except OSError:
                    break
            except ConnectionError:
                break
        assert 10 < sent < 40
    assert until(
        lambda: any(
            "head of an HTTP request took too long" in str(each.get("reason")) for each in land.records()
        )
    )


def test_connections_are_bounded_and_the_others_go_on(land: Land, place: Path) -> None:
    socks: list[socket.socket] = []
    with Peer(place) as good:
        good.greet()
        try:
            while len(socks) < 300:
                try:
                    socks.append(Peer(place).connected())
                except BlockingIOError:  # the queue of the kernel is full for a moment
                    time.sleep(0.01)
            assert until(
                lambda: any("too many connections" in str(each.get("reason")) for each in land.records())
            )
            assert good.call(1, "now").drained() == 200
        finally:
            for sock in socks:
                sock.close()
        assert until(lambda: land.ask({"verb": "listeners"})["listeners"][0]["connections"] <= 1)
        good.send("DELETE")


def test_no_answer_tells_what_answers(place: Path) -> None:
    for data in (b"nonsense\r\n\r\n", HEAD + b"Content-Length: 0\r\n\r\n", bytes_of("htp-009")):
        said = raw(place, data)
        assert b"aiohttp" not in said, said
        assert b"Python" not in said, said


def test_a_session_of_another_principal_is_not_there(land: Land, place: Path) -> None:
    """Guessing is hopeless (256 bits); whoever learns an id cannot use it. Over a Unix socket: another uid."""
    assert BOTH
    assert META
    with Peer(place) as mine:
        mine.greet()
        found = land.ask({"verb": "listeners"})["listeners"][0]
        assert found["sessions"] >= 1
        assert mine.session not in json.dumps(land.records())
        assert mine.session not in json.dumps(land.status())
        mine.send("DELETE")
