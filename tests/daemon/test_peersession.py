"""Which stream a message of a session belongs to: no session runs here, only its other end."""

import json
import os
from typing import Any

import pytest

from mcpguard import limits
from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.daemon.eventstream import EventStream
from mcpguard.daemon.networkparty import NetworkParty
from mcpguard.daemon.peersession import LegacySession, ModernPool
from tests.daemon.loops import run


def party() -> NetworkParty:
    return NetworkParty(
        Found(Authenticated(frozenset({"uid:0"}), {}, instance="uid:0")),
        Presented(uid=0),
        "d",
        0,
        lambda *_: "",
    )


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()


def taken(stream: EventStream) -> list[dict[str, Any]]:
    """Everything on a stream."""
    return [json.loads(data) for _, data in stream._events]


def closing(session: LegacySession | ModernPool) -> None:
    for descriptor in session.inner.take():
        os.close(descriptor)
    session.end()


def test_answers_find_the_request_they_belong_to() -> None:
    async def story() -> None:
        session = LegacySession(party(), "s")
        one = session.expect([{"id": 1, "method": "a"}])
        two = session.expect([{"id": "1", "method": "b"}])
        assert one is not None
        assert two is not None
        session._received(line(id="1", result={}))
        assert (one.over, two.over) == (False, True)
        session._received(line(id=1, error={"code": 1, "message": "m"}))
        session._received(line(id=77, result={}))  # of nobody
        assert [each["id"] for each in taken(one)] == [1]
        assert session.expect([{"method": "n"}, {"id": 5, "result": {}}]) is None
        closing(session)

    run(story)


def test_a_batch_is_one_stream_that_ends_with_its_last_answer() -> None:
    async def story() -> None:
        session = LegacySession(party(), "s")
        stream = session.expect([{"id": 1, "method": "a"}, {"id": 2, "method": "a"}])
        assert stream is not None
        session._received(line(id=2, result={}))
        assert not stream.over
        session._received(line(id=1, result={}))
        assert stream.over
        with pytest.raises(ValueError, match="used again"):
            session.expect([{"id": 3, "method": "a"}, {"id": 3, "method": "b"}])
        closing(session)

    run(story)


def test_progress_goes_with_its_call_and_the_rest_where_somebody_reads() -> None:
    async def story() -> None:
        session = LegacySession(party(), "s")
        stream = session.expect([{"id": 1, "method": "a", "params": {"_meta": {"progressToken": "t"}}}])
        assert stream is not None
        session._received(line(method="notifications/progress", params={"progressToken": "t", "progress": 1}))
        assert len(taken(stream)) == 1
        session._received(line(method="notifications/message", params={}))
        assert len(taken(session.standalone)) == 1  # nobody reads anything: it waits there
        stream.attach()
        session._received(line(method="notifications/message", params={}))
        assert len(taken(stream)) == 2
        session.standalone.attach()
        session._received(line(method="notifications/message", params={}))
        assert len(taken(session.standalone)) == 2
        closing(session)

    run(story)


def test_requests_that_wait_are_bounded() -> None:
    async def story() -> None:
        session = LegacySession(party(), "s")
        for number in range(limits.PEER_REQUESTS):
            session.expect([{"id": number, "method": "a"}])
        with pytest.raises(ValueError, match="have no answer yet"):
            session.expect([{"id": "more", "method": "a"}])
        closing(session)

    run(story)


def test_finished_streams_are_forgotten_and_those_that_wait_are_not() -> None:
    async def story() -> None:
        session = LegacySession(party(), "s")
        waiting = session.expect([{"id": "w", "method": "a"}])
        for number in range(limits.STREAMS + 20):
            stream = session.expect([{"id": number, "method": "a"}])
            assert stream is not None
            session._received(line(id=number, result={}))
            reader = stream.attach()
            await stream.next(0, reader)
            stream.detach(reader)
        assert len(session.streams) <= limits.STREAMS + 3
        assert waiting in session.streams.values()
        closing(session)

    run(story)


def test_ids_of_modern_requests_are_ours_inside_and_theirs_outside() -> None:
    async def story() -> None:
        pool = ModernPool(party(), "s")
        asked = [
            pool.ask({"jsonrpc": "2.0", "id": "x", "method": "m", "params": {"_meta": {"progressToken": 9}}})
            for _ in range(2)
        ]
        sent = [json.loads(data) for _, data, _ in asked]
        assert [each["id"] for each in sent] == [1, 2]
        assert [each["params"]["_meta"]["progressToken"] for each in sent] == [1, 2]
        pool._received(line(method="notifications/progress", params={"progressToken": 2, "progress": 1}))
        pool._received(b'{"jsonrpc":"2.0","id":2,"result":{"n":1e+22,"s":"\\u2028"}}')
        (first, _, _), (second, _, _) = asked
        assert taken(first) == []
        assert taken(second)[0]["params"]["progressToken"] == 9
        assert b'"id":"x"' in second._events[-1][1]
        assert b'{"n":1e+22,"s":"\\u2028"}' in second._events[-1][1]  # what the gate said, letter by letter
        assert second.over
        assert pool.named("x") == 1
        assert pool.named("y") is None
        closing(pool)

    run(story)


def test_what_belongs_to_no_modern_request_for_certain_is_not_sent() -> None:
    async def story() -> None:
        pool = ModernPool(party(), "s")
        logs = {"io.modelcontextprotocol/logLevel": "info"}
        quiet, _, _ = pool.ask({"id": 1, "method": "m"})
        loud, _, _ = pool.ask({"id": 1, "method": "m", "params": {"_meta": logs}})
        assert pool.named(1) is None  # there are two
        pool._received(line(method="notifications/message", params={"level": "info", "data": 1}))
        assert (len(taken(quiet)), len(taken(loud))) == (0, 1)
        pool.ask({"id": 2, "method": "m", "params": {"_meta": logs}})
        pool._received(line(method="notifications/message", params={"level": "info", "data": 1}))
        assert len(taken(loud)) == 1
        pool._received(line(method="notifications/progress", params={"progressToken": 1, "progress": 1}))
        assert taken(quiet) == []  # it asked for none
        pool._received(line(id=1, method="sampling/createMessage", params={}))  # MUST NOT
        assert taken(quiet) == []
        closing(pool)

    run(story)


def test_a_subscription_is_told_under_its_own_id() -> None:
    async def story() -> None:
        pool = ModernPool(party(), "s")
        stream, _, number = pool.ask({"id": "sub", "method": "subscriptions/listen", "params": {}})
        tag = {"io.modelcontextprotocol/subscriptionId": number}
        pool._received(line(method="notifications/tools/list_changed", params={"_meta": tag}))
        assert taken(stream)[0]["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "sub"}
        pool._received(
            line(
                method="notifications/tools/list_changed",
                params={"_meta": {"io.modelcontextprotocol/subscriptionId": 99}},
            )
        )
        assert len(taken(stream)) == 1
        closing(pool)

    run(story)


def test_a_cancelled_request_is_told_to_the_session_once() -> None:
    async def story() -> None:
        pool = ModernPool(party(), "s")
        said: list[bytes] = []
        pool.inner.send_now = said.append  # type: ignore[method-assign]
        _, _, number = pool.ask({"id": 1, "method": "m"})
        pool.cancel(number)
        pool.cancel(number)
        assert [json.loads(each)["params"]["requestId"] for each in said] == [number]
        assert pool.streams == {}
        closing(pool)

    run(story)
