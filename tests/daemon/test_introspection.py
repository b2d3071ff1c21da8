"""Opaque tokens, with a server in memory; with a real one they are in test_authenticators."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from mcpguard.credentials.tokens import Rules
from mcpguard.daemon.introspection import Introspector, marked
from mcpguard.daemon.outgoing import Answer
from mcpguard.errors import PeerError, UpstreamError
from mcpguard.system.authfile import Opaque
from tests.daemon.chains import Clock
from tests.daemon.loops import run


class Server:
    """What it knows of tokens, and what it was asked."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.asked: list[tuple[dict[str, str], str]] = []
        self.away = False

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 0
    ) -> Answer:
        token = parse_qs(body.decode())["token"][0]
        self.asked.append((dict(headers), token))
        if self.away:
            raise UpstreamError("no connection", code=125)
        return Answer(200, {}, json.dumps(self.known.get(token, {"active": False})).encode())


class Stage:
    def __init__(self, place: Path, **more: Any) -> None:
        self.clock, self.server = Clock(), Server()
        (place / "secret").write_text("s3 cret/\n")
        rules = Rules("corp", "https://issuer.example", ("guard",))
        settings = Opaque(rules, "https://issuer.example/i", "our:name", str(place / "secret"), **more)
        self.introspector = Introspector(settings, self.server, self.clock, self.clock)

    def good(self, **more: Any) -> dict[str, Any]:
        return {"active": True, "sub": "7", "exp": self.clock.now + 300, **more}


def test_who_we_are_is_said_as_the_standard_says_and_the_token_in_the_body(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        stage.server.known["a&b=c"] = stage.good()
        await stage.introspector.judge("a&b=c")
        headers, token = stage.server.asked[0]
        assert token == "a&b=c"
        assert headers["authorization"] == "Basic b3VyJTNBbmFtZTpzMytjcmV0JTJG"  # our%3Aname:s3+cret%2F
        assert headers["content-type"] == "application/x-www-form-urlencoded"

    run(story)


def test_answers_count_for_a_while_good_ones_longer_than_bad_ones(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path, cache=60.0)
        stage.server.known["good"] = stage.good()
        for _ in range(5):
            await stage.introspector.judge("good")
            with pytest.raises(PeerError, match="not active"):
                await stage.introspector.judge("bad")
        assert len(stage.server.asked) == 2
        stage.clock.now += 10
        stage.server.known["bad"] = stage.good()
        await stage.introspector.judge("bad")
        await stage.introspector.judge("good")
        assert len(stage.server.asked) == 3
        stage.clock.now += 50
        stage.server.known.pop("good")
        with pytest.raises(PeerError, match="not active"):
            await stage.introspector.judge("good")

    run(story)


def test_a_token_ends_within_the_time_that_its_answer_counts(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path, cache=3600.0)
        stage.server.known["t"] = stage.good()
        await stage.introspector.judge("t")
        stage.clock.now += 330
        with pytest.raises(PeerError, match="has expired"):
            await stage.introspector.judge("t")
        assert len(stage.server.asked) == 1

    run(story)


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        stage.server.known["t"] = stage.good()
        stage.server.away = True
        with pytest.raises(PeerError, match="does not say whether it counts: no connection"):
            await stage.introspector.judge("t")
        stage.server.away = False
        await stage.introspector.judge("t")

    run(story)


@pytest.mark.parametrize("active", ["true", 1, None, [True]])
def test_only_true_is_active(tmp_path: Path, active: Any) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        stage.server.known["t"] = stage.good(active=active)
        with pytest.raises(PeerError, match="not active"):
            await stage.introspector.judge("t")

    run(story)


@pytest.mark.parametrize("token", ["", "a b\n", "é", "x" * 5000])
def test_what_can_be_no_token_is_not_asked_about(tmp_path: Path, token: str) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        with pytest.raises(PeerError, match="no token of 1 to 4096"):
            await stage.introspector.judge(token)
        assert stage.server.asked == []

    run(story)


def test_bad_tokens_do_not_displace_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpguard.daemon.introspection.TOKENS", 8)

    async def story() -> None:
        stage = Stage(tmp_path)
        stage.server.known["t"] = stage.good()
        await stage.introspector.judge("t")
        for number in range(100):
            with pytest.raises(PeerError):
                await stage.introspector.judge(f"bad{number}")
        await stage.introspector.ask_again(marked("t"))
        assert len(stage.server.asked) == 101
        with pytest.raises(PeerError, match="not known any more"):
            await stage.introspector.ask_again(marked("other"))

    run(story)
