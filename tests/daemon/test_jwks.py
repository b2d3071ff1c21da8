"""The keys of an issuer, with an issuer in memory: how often it is asked, by however many at once."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc.jwk import ECKey

from mcpguard.daemon.jwks import BYTES, KeySet, fetched
from mcpguard.daemon.outgoing import Answer
from mcpguard.errors import PeerError, UpstreamError
from tests.daemon.chains import Clock
from tests.daemon.loops import run


def key(kid: str) -> dict[str, Any]:
    return {**ECKey.generate_key("P-256").as_dict(private=False), "kid": kid}


class Memory:
    """An issuer: what it answers, how long that takes, and what it was asked."""

    def __init__(self, *kids: str) -> None:
        self.keys = [key(kid) for kid in kids]
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.answer: bytes | None = None
        self.status = 200

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 0
    ) -> Answer:
        self.asked.append(url)
        await self.hold.wait()
        if self.status == 0:
            raise UpstreamError("no connection", code=125)
        return Answer(self.status, {}, self.answer or json.dumps({"keys": self.keys}).encode())


def keyset(memory: Memory, clock: Clock) -> KeySet:
    return KeySet("https://issuer.example", "https://issuer.example/keys", memory, clock, ttl=600, stale=3600)


def test_who_comes_while_keys_are_fetched_waits_for_them() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        keys = keyset(memory, clock)
        memory.hold.clear()
        waiting = [asyncio.get_running_loop().create_task(keys.find("a", "ES256")) for _ in range(50)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # whoever gives up does not take it from the others
        await asyncio.sleep(0)
        memory.hold.set()
        found = await asyncio.gather(*waiting[1:])
        assert {each[0].kid for each in found} == {"a"}
        assert len(memory.asked) == 1

    run(story)


def test_a_flood_that_comes_at_once_asks_once() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        keys = keyset(memory, clock)
        await keys.find("a", "ES256")
        outcomes = await asyncio.gather(
            *(keys.find(f"x{n}", "ES256") for n in range(500)), return_exceptions=True
        )
        assert all(isinstance(each, PeerError) for each in outcomes)
        assert len(memory.asked) == 2
        memory.keys.append(key("b"))
        for _ in range(59):
            clock.now += 1
            with pytest.raises(PeerError, match="key that its issuer has not"):
                await keys.find("b", "ES256")
        clock.now += 1
        assert (await keys.find("b", "ES256"))[0].kid == "b"
        assert keys.fetches == 3

    run(story)


def test_without_a_kid_the_only_key_for_the_algorithm_counts() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        keys = keyset(memory, clock)
        assert (await keys.find("", "ES256"))[0].kid == "a"
        with pytest.raises(PeerError, match="does not say which key"):
            await keys.find("", "RS256")
        memory.keys.append(key("b"))
        clock.now += 600
        with pytest.raises(PeerError, match="does not say which key"):
            await keys.find("", "ES256")

    run(story)


def test_the_first_fetch_fails_and_the_next_is_a_minute_later() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        memory.status = 0
        keys = keyset(memory, clock)
        for _ in range(20):
            with pytest.raises(PeerError, match="are not known: no connection"):
                await keys.find("a", "ES256")
        assert len(memory.asked) == 1
        memory.status = 200
        clock.now += 60
        await keys.find("a", "ES256")

    run(story)


def test_the_last_good_set_counts_for_a_bounded_time() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        keys = keyset(memory, clock)
        (found,) = await keys.find("a", "ES256")
        assert keys.fresh
        for status, answer in (
            (0, None),
            (500, None),
            (200, b"{"),
            (200, b"[]"),
            (200, b'{"keys":7}'),
            (302, None),
        ):
            memory.status, memory.answer = status, answer
            clock.now += 600
            assert not keys.fresh
            assert (await keys.find("a", "ES256"))[0].thumbprint == found.thumbprint
        clock.now += 601
        with pytest.raises(PeerError, match="are not known"):
            await keys.refresh()
        assert not keys.holds(found.thumbprint)

    run(story)


def test_an_empty_set_withdraws_every_key() -> None:
    async def story() -> None:
        memory, clock = Memory("a"), Clock()
        keys = keyset(memory, clock)
        (found,) = await keys.find("a", "ES256")
        memory.keys.clear()
        clock.now += 600
        await keys.refresh()
        assert not keys.holds(found.thumbprint)
        with pytest.raises(PeerError):
            await keys.find("a", "ES256")

    run(story)


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"{}"), (200, b"x"), (200, b"[]"), (200, b"[" * 100_000), (200, b"")]
)
def test_what_is_no_object_is_refused(status: int, body: bytes) -> None:
    async def story() -> None:
        memory = Memory()
        memory.status, memory.answer = status, body or b" "
        with pytest.raises(PeerError, match="answer"):
            await fetched(memory, "https://issuer.example/x")

    run(story)


def test_the_answer_is_bounded() -> None:
    asked: list[int] = []

    async def way(
        method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 0
    ) -> Answer:
        asked.append(most)
        return Answer(200, {}, b"{}")

    run(lambda: fetched(way, "https://issuer.example/x"))
    assert asked == [BYTES]
