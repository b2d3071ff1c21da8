"""News of a real daemon: what changes is told once, silence costs nothing, and a daemon that goes is waited for."""

import queue
import time

import pytest

from mcpguard.cli.consolefeed import Away, DaemonFeed, Happened, Standing, Waiting
from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import House, house
from tests.lifecycle.test_approvals import ASKING


@pytest.fixture
def place(monkeypatch):
    with house() as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        made.policy(ASKING.format(timeout="60s"))
        yield made


@pytest.fixture
def news(place):
    heard = queue.SimpleQueue()
    feed = DaemonFeed()
    feed.start(heard.put)
    yield heard
    feed.stop()


def awaited(heard: queue.SimpleQueue, wanted, seconds: float = 20.0):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        one = heard.get(timeout=left)
        if wanted(one):
            return one
    raise AssertionError("it was never told")


def test_calls_tickets_and_the_standing_are_told(place: House, news) -> None:
    first = awaited(news, lambda one: isinstance(one, Happened))
    assert first.afresh
    host = arrive(place, FORMS["pipes"]).greet()
    host.call("echo")
    told = awaited(
        news, lambda one: isinstance(one, Happened) and any(r.get("tool") == "echo" for r in one.records)
    )
    assert not told.afresh
    host.calling("note", n=1)
    waits = awaited(news, lambda one: isinstance(one, Waiting) and one.tickets)
    assert [ticket["tool"] for ticket in waits.tickets] == ["note"]
    status = awaited(news, lambda one: isinstance(one, Standing) and one.status["connections"]).status
    assert status["policy"]["mode"] == "enforce"
    place.mcpguard("deny", waits.tickets[0]["id"])
    assert awaited(news, lambda one: isinstance(one, Waiting)).tickets == []


def test_a_daemon_that_goes_is_waited_for(place: House, news) -> None:
    awaited(news, lambda one: isinstance(one, Standing))
    assert place.daemon
    place.daemon.kill()
    place.daemon.wait()
    away = [awaited(news, lambda one: isinstance(one, Away)).sentence for _ in range(4)]
    assert any("it ended" in one for one in away[:2]), away
    assert all("not running" in one for one in away[2:]), away
    place.serve()
    assert awaited(news, lambda one: isinstance(one, Happened)).afresh


def test_nothing_is_told_after_the_end(place: House) -> None:
    heard = queue.SimpleQueue()
    feed = DaemonFeed()
    feed.start(heard.put)
    awaited(heard, lambda one: isinstance(one, Standing))
    feed.stop()
    while not heard.empty():
        heard.get()
    arrive(place, FORMS["pipes"]).greet().call("echo")
    time.sleep(0.3)
    assert heard.empty()
