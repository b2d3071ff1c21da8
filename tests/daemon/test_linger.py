"""Lingering: awake for a moment where answers come at once, asleep where they do not."""

import asyncio

from mcpguard.daemon import linger
from mcpguard.daemon.linger import Linger
from tests.daemon.loops import both_loops, run


class Turns:
    """A loop that only counts how often it is asked to go on, and goes on when told."""

    def __init__(self):
        self.next = []

    def call_soon(self, callback):
        self.next.append(callback)

    def until_asleep(self):
        turns = 0
        while self.next:
            self.next.pop()()
            turns += 1
        return turns


def test_after_an_event_the_loop_turns_for_a_moment_and_then_sleeps():
    def turned() -> int:
        turns = Turns()
        Linger(turns, alone=False, spare=int).event()
        return turns.until_asleep()

    assert max(turned() for _ in range(50)) > 1  # others may take the core for as long as the window


def test_events_close_together_keep_one_chain_of_turns():
    turns = Turns()
    lingering = Linger(turns, alone=False, spare=int)
    for _ in range(100):
        lingering.event()
    assert len(turns.next) == 1


def test_a_slow_peer_soon_costs_next_to_nothing():
    turns = Turns()
    lingering = Linger(turns, alone=False, spare=int)
    lingered = []
    for _ in range(1000):
        lingering.event()
        lingered.append(turns.until_asleep() > 0)
    assert sum(lingered[:16]) == 16
    assert sum(lingered[16:]) <= 2 * (1000 // 254 + 1)
    assert any(lingered[16:])


def test_a_fast_peer_is_always_awaited():
    turns = Turns()
    lingering = Linger(turns, alone=False, spare=int)
    for _ in range(1000):
        lingering.event()
        lingering.event()  # the answer, within the window
        assert turns.until_asleep() > 0


def test_a_moment_to_spare_is_one_in_which_descriptors_were_looked_at_and_nothing_came():
    turns, spared = Turns(), []
    lingering = Linger(turns, alone=False, spare=lambda: spared.append(1))
    lingering.event()
    turns.next.pop()()
    assert not spared  # nobody has looked yet
    lingering.event()
    turns.next.pop()()
    assert not spared
    turns.until_asleep()
    assert len(spared) == 1  # once in a silence


def test_one_core_never_lingers():
    turns = Turns()
    lingering = Linger(turns, alone=True, spare=int)
    for _ in range(1000):
        lingering.event()
    assert turns.next == []


@both_loops
def test_timers_and_descriptors_go_on_meanwhile(loop):
    async def story():
        lingering = Linger(asyncio.get_running_loop(), alone=False, spare=int)
        for _ in range(5):
            lingering.event()
            async with asyncio.timeout(5):
                await asyncio.sleep(0.001)

    run(story, loop)


def test_cores_are_those_we_may_use():
    assert linger.cores() >= 1
