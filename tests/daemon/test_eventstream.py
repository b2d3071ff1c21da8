import asyncio

from mcpguard import limits
from mcpguard.daemon.eventstream import EventStream
from tests.daemon.loops import run


def test_events_come_in_order_and_can_be_had_again() -> None:
    async def story() -> None:
        stream = EventStream("1", {1})
        reader = stream.attach()
        for data in (b"a", b"b", b"c"):
            stream.put(data)
        assert await stream.next(0, reader) == (1, b"a")
        assert await stream.next(1, reader) == (2, b"b")
        again = stream.attach()
        assert await stream.next(2, reader) is None  # a newer reader took over
        assert await stream.next(0, again) == (1, b"a")
        stream.close()
        assert await stream.next(2, again) == (3, b"c")
        assert await stream.next(3, again) is None

    run(story)


def test_a_reader_waits_for_news_and_for_the_end() -> None:
    async def story() -> None:
        stream = EventStream("1")
        reader = stream.attach()
        waiting = asyncio.get_running_loop().create_task(stream.next(0, reader))
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.put(b"x")
        assert await waiting == (1, b"x")
        ending = asyncio.get_running_loop().create_task(stream.next(1, reader))
        await asyncio.sleep(0)
        stream.close()
        assert await ending is None

    run(story)


def test_only_what_was_delivered_is_forgotten() -> None:
    async def story() -> None:
        stream = EventStream("1")
        reader = stream.attach()
        for _ in range(3):
            stream.put(b"12345")
        assert stream.forget() == 0
        await stream.next(0, reader)
        assert (stream.size, stream.waiting) == (15, 10)
        assert stream.forget() == 5
        assert stream.forget() == 0
        assert not stream.holds(0)
        assert stream.holds(1)
        assert stream.holds(3)
        assert not stream.holds(4)

    run(story)


def test_history_is_bounded() -> None:
    async def story() -> None:
        stream = EventStream("1")
        reader = stream.attach()
        for number in range(limits.STREAM_EVENTS * 2):
            stream.put(b"x")
            await stream.next(number, reader)
        assert len(stream._events) <= limits.STREAM_EVENTS + 1

    run(story)


def test_who_reads_is_known() -> None:
    stream = EventStream("1")
    assert not stream.read
    old = stream.attach()
    new = stream.attach()
    stream.detach(old)
    assert stream.read
    stream.detach(new)
    assert not stream.read
