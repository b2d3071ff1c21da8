"""How answers are written, and the time that a request may take."""

import json
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.daemon.httpcheck import Refusal
from mcpguard.daemon.httpwire import failure
from tests.daemon.doorway import Doorway, story
from tests.daemon.loops import eventually
from tests.lifecycle.peers import Peer


def peer(doorway: Doorway) -> Peer:
    doorway.keys.add("key")
    made = Peer(doorway.path)
    made.extra["Authorization"] = "Bearer key"
    return made


def test_what_comes_soon_is_json_and_what_does_not_is_a_stream_kept_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEEP_WARM_SECONDS", 0.1)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with peer(doorway) as mine:
                mine.greet("2025-06-18")
                assert mine.call(1, "now").kind == "application/json"
            with peer(doorway) as mine:
                mine.greet("2025-06-18")
                answer = mine.call(2, "hang")
                assert answer.kind == "text/event-stream"
                assert answer.field("X-Accel-Buffering") == "no"
                lines = [answer.response.readline() for _ in range(4)]
                assert lines == [b": still here\n", b"\n"] * 2

        await doorway.do(play)

    story(tmp_path, told)


def test_a_body_that_does_not_come_is_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with peer(doorway) as mine:
                answer = mine.send("POST", b"{", Content_Length="1000")
                assert answer.status == 408
                assert "too long" in answer.error()[1]

        await doorway.do(play)

    story(tmp_path, told)


def test_a_chunked_body_is_bounded_as_one_with_a_length(tmp_path: Path) -> None:
    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with peer(doorway) as mine:
                chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
                sock = mine.connected()
                head = (
                    "POST /mcp/talk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                    "Authorization: Bearer key\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                sock.sendall(head.encode())
                try:
                    for _ in range(12):
                        sock.sendall(chunk)
                except OSError:
                    pass  # it hung up on us, having said why
                assert b" 413 " in sock.recv(4096)
                sock.close()

        await doorway.do(play)

    story(tmp_path, told)


def test_a_bug_is_an_answer_that_tells_nothing_and_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def told(doorway: Doorway) -> None:
        async def broken(*_: object) -> None:
            raise ZeroDivisionError("a secret of ours")

        doorway.keys.authenticate = broken  # type: ignore[method-assign]

        def play() -> None:
            with peer(doorway) as mine:
                answer = mine.greet()
                assert answer.status == 500
                assert answer.error() == (-32603, "an internal error")

        await doorway.do(play)

    story(tmp_path, told)
    assert "because of a bug" in caplog.text


def test_a_refusal_is_a_json_rpc_error() -> None:
    response = failure(Refusal(429, "too many", fields={"Retry-After": "3"}), "x")
    assert (response.status, response.headers["Retry-After"], response.headers["Server"]) == (
        429,
        "3",
        "mcpguard",
    )
    assert json.loads(response.body) == {
        "jsonrpc": "2.0",
        "id": "x",
        "error": {"code": -32600, "message": "too many"},
    }  # type: ignore[arg-type]


def test_idle_sessions_and_servers_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSION_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(limits, "POOL_IDLE_SECONDS", 0.3)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with peer(doorway) as mine:
                mine.greet()
                assert mine.modern(1, "tools/list").drained() == 400  # it has a session: another era
                assert mine.modern(1, "tools/list", Mcp_Session_Id=None).drained() == 200
                with mine.again() as busy:
                    busy.call(1, "hang")
                    time.sleep(1)
                    assert (
                        mine.post({"jsonrpc": "2.0", "id": 9, "method": "ping"}).drained() == 200
                    )  # it was not idle

        await doorway.do(play)
        assert len(doorway.sessions) == 2
        assert await eventually(lambda: doorway.door.described()["sessions"] == 0)

    story(tmp_path, told)


def test_one_credential_has_no_more_sessions_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEER_SESSIONS", 3)

    async def told(doorway: Doorway) -> None:
        def play() -> None:
            with peer(doorway) as mine:
                for _ in range(3):
                    mine.session = ""
                    assert mine.greet().status == 200
                mine.session = ""
                answer = mine.greet()
                assert (answer.drained(), answer.field("Retry-After")) == (429, "60")
                mine.extra["Authorization"] = "Bearer other"
                doorway.keys.add("other")
                assert mine.greet().status == 200

        await doorway.do(play)

    story(tmp_path, told)
