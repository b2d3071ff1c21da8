import asyncio
import time

import pytest

from mcpguard import limits
from mcpguard.daemon.recent import Bell, Recent


async def seen(recent, *question):
    """The answer without times, which are now."""
    answer = await recent.since(*question)
    for one in answer["records"]:
        assert abs(one.pop("at") - time.time()) < 60
    return answer


@pytest.mark.asyncio
async def test_a_watcher_gets_what_is_newer_than_what_it_has_seen():
    recent = Recent()
    recent.add([b'"n":1', b'"n":2'])
    assert await seen(recent, -1, 0) == {"records": [{"n": 1}, {"n": 2}], "next": 2}
    assert await seen(recent, 1, 0) == {"records": [{"n": 2}], "next": 2}
    assert await seen(recent, 2, 0.01) == {"records": [], "next": 2}


@pytest.mark.asyncio
async def test_it_waits_for_news_and_no_longer():
    recent = Recent()
    waiting = asyncio.get_running_loop().create_task(recent.since(0, 5))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    recent.add([b'"n":1'])
    assert (await waiting)["next"] == 1


@pytest.mark.asyncio
async def test_what_is_too_old_is_gone_and_the_number_says_so():
    recent = Recent()
    for number in range(limits.RECENT + 10):
        recent.add([b'"n":%d' % number])
    answer = await seen(recent, 0, 0)
    assert len(answer["records"]) == limits.RECENT
    assert answer["records"][-1] == {"n": limits.RECENT + 9}
    assert answer["next"] == limits.RECENT + 10


@pytest.mark.asyncio
async def test_a_watcher_of_another_daemon_gets_everything():
    recent = Recent()
    recent.add([b'"n":1'])
    assert await seen(recent, 999, 0) == {"records": [{"n": 1}], "next": 1}


@pytest.mark.asyncio
async def test_nobody_waits_longer_than_five_seconds_whatever_they_ask():
    bell = Bell()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bell.wait(lambda: False, -1)
    assert loop.time() - began < 1
    await bell.wait(lambda: True, 1e9)
    assert loop.time() - began < 1
