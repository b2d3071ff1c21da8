"""JSON over HTTPS: a batch is taken when the answer says so, and a token goes nowhere else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpguard.audit.event import event_of
from mcpguard.system.delivery import SinkError
from mcpguard.system.httpssink import HttpsSink
from mcpguard.system.sinkfile import Sink
from tests.audit.exported import lines
from tests.system.receivers import Certificates, Web, until

EVENTS = [event_of(line) for line in lines()]
IDS = [event.id for event in EVENTS]


class Place:
    def __init__(self, folder: Path) -> None:
        self.made = Certificates(folder)
        self.web = Web(self.made.server())
        self.token = folder / "token"
        self.token.write_text("s3cret\n")
        self.token.chmod(0o600)
        self.sinks: list[HttpsSink] = []

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()
        self.web.close()

    def sink(self, **more: Any) -> HttpsSink:
        to = f"https://localhost:{self.web.port}/in?tenant=a"
        sink = Sink("w", "https", to, ca=str(self.made.ca), token_file=str(self.token), **more)
        self.sinks.append(HttpsSink(sink, "box"))
        return self.sinks[-1]

    def ids(self) -> list[str]:
        return [each["event_id"] for _, _, body in self.web.requests for each in json.loads(body)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("form", ["json", "ocsf"])
def test_a_batch_is_an_array(place: Place, form: str) -> None:
    sink = place.sink(format=form)
    sink.send(EVENTS)
    sink.send(EVENTS)
    sink.close()
    (path, headers, body), (_, again, _) = place.web.requests
    assert path == "/in?tenant=a"
    assert headers["authorization"] == "Bearer s3cret"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == again["idempotency-key"]
    found = json.loads(body)
    assert [each["event_id"] if form == "json" else each["metadata"]["uid"] for each in found] == IDS


def test_redirects_are_not_followed(place: Place, tmp_path: Path) -> None:
    thief = Web()
    place.web.answer = lambda _: (307, {"Location": f"http://127.0.0.1:{thief.port}/"})
    with pytest.raises(SinkError, match="answers 307") as caught:
        place.sink().send(EVENTS)
    assert "redirects are not followed" in caught.value.sentence()
    assert thief.requests == []
    thief.close()


@pytest.mark.parametrize(("status", "wait"), [(500, 0.0), (401, 0.0), (404, 0.0), (503, 7.0), (429, 7.0)])
def test_any_other_answer_is_a_failure(place: Place, status: int, wait: float) -> None:
    place.web.answer = lambda _: (status, {"Retry-After": "7"})
    with pytest.raises(SinkError, match=str(status)) as caught:
        place.sink().send(EVENTS)
    assert caught.value.wait == wait


def test_a_batch_that_is_too_large_goes_in_halves_and_an_event_that_is_says_so(place: Place) -> None:
    place.web.answer = lambda body: (413 if len(body) > 4000 else 200, {})
    event = event_of(lines("y" * 400)[0])
    huge = type(event)(event.id, event.record, event.severity, '{"pad":"' + "x" * 9000 + '"}')
    place.sink().send([EVENTS[1], huge, EVENTS[2], EVENTS[3]])
    taken = [json.loads(body) for _, _, body in place.web.requests if len(body) <= 4000]
    flat = [each for batch in taken for each in batch]
    assert [each["event_id"] for each in flat] == [EVENTS[1].id, huge.id, EVENTS[2].id, EVENTS[3].id]
    assert flat[1]["cut"] is True


def test_a_stranger_gets_nothing(place: Place, tmp_path: Path) -> None:
    other = Certificates(tmp_path / "other")
    sink = HttpsSink(Sink("w", "https", f"https://localhost:{place.web.port}/", ca=str(other.ca)), "")
    with pytest.raises(SinkError, match="certificate is not accepted"):
        sink.send(EVENTS)
    assert place.web.requests == []


def test_a_name_that_the_certificate_does_not_have_is_refused(place: Place, tmp_path: Path) -> None:
    theirs = Certificates(tmp_path / "theirs", "elsewhere.example")
    web = Web(theirs.server())
    sink = HttpsSink(Sink("w", "https", f"https://localhost:{web.port}/", ca=str(theirs.ca)), "")
    with pytest.raises(SinkError, match="certificate is not accepted"):
        sink.send(EVENTS)
    assert web.requests == []
    web.close()


def test_a_connection_that_was_closed_while_idle_is_made_anew(place: Place) -> None:
    sink = place.sink()
    sink.send(EVENTS[:1])
    port = place.web.port
    place.web.close()
    place.web = Web(place.made.server(), port)
    sink.send(EVENTS[1:2])
    assert until(lambda: place.ids() == IDS[1:2])
    place.web.close()
    with pytest.raises(SinkError, match="connection refused"):
        sink.send(EVENTS)
    place.web = Web(place.made.server())
