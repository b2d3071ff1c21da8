"""Fetching small things: from where, how much, and with which sentence not."""

import asyncio
import socket
from pathlib import Path

import pytest
import trustme

from mcpguard import limits
from mcpguard.daemon.fetching import Fetcher
from mcpguard.errors import UpstreamError
from tests.daemon.loops import both_loops, run
from tests.fakes.remotes import NAME, Pki, Request, answer, listening

HERE = ("loopback",)


async def lookup(host: str, port: int) -> list[tuple[int, str]]:
    return [(socket.AF_INET, "127.0.0.1")]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@both_loops
def test_small_thing_is_fetched_whole(pki: Pki, loop: str) -> None:
    async def story() -> None:
        async with listening(pki.server()) as server:

            async def handler(request: Request) -> bytes:
                return answer(404, {"keys": []}, x_a="1").replace(b"x-a: 1", b"X-A: 1\r\nx-a: 2")

            server.handler = handler
            fetch = Fetcher(pki.pem, HERE, lookup=lookup)
            url = f"https://{NAME}:{server.port}/.well-known/x?a=b"
            found = await fetch("POST", url, {"Accept": "application/json"}, b'{"a":1}')
            assert found.status == 404
            assert found.body == b'{"keys": []}'
            assert found.headers["x-a"] == "1, 2"
            assert found.headers["content-type"] == "application/json"
            (request,) = server.requests
            assert request.body == b'{"a":1}'
            assert request.fields["accept"] == "application/json"
            assert server.connections == 1

    run(story, loop)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (answer(302, location="https://elsewhere.test/"), "a redirect"),
        (answer(200, "x" * 2000), "more than 1000 bytes"),
        (answer(200, {}, content_encoding="gzip"), "compressed"),
        (b"", "broke the connection"),
    ],
)
def test_answer_that_is_not_acceptable_is_refused(pki: Pki, data: bytes, words: str) -> None:
    async def story() -> None:
        async with listening(pki.server()) as server:

            async def handler(request: Request) -> bytes:
                await request.send(data)
                return b""

            server.handler = handler
            fetch = Fetcher(pki.pem, HERE, lookup=lookup)
            with pytest.raises(UpstreamError, match=words):
                await fetch("POST", f"https://{NAME}:{server.port}/", {}, most=1000)
            assert len(server.requests) == 1

    run(story)


def test_wrong_place_is_not_asked(pki: Pki) -> None:
    async def story() -> None:
        async with listening(pki.server()) as server, listening(None) as plain:
            good = Fetcher(pki.pem, HERE, lookup=lookup)
            for fetch, url, words in (
                (Fetcher(pki.pem, (), lookup=lookup), f"https://{NAME}:{server.port}/", "loopback address"),
                (
                    Fetcher(trustme.CA().cert_pem.bytes().decode(), HERE),
                    f"https://127.0.0.1:{server.port}/",
                    "the CA",
                ),
                (Fetcher("", HERE), f"https://127.0.0.1:{server.port}/", "not pinned|nothing says|key is"),
                (good, f"http://{NAME}:{plain.port}/", "plain HTTP"),
                (good, "file:///etc/passwd", "no URL"),
                (good, f"https://u:p@{NAME}/", "no URL"),
                (Fetcher(pki.pem), f"http://127.0.0.1:{plain.port}/", "loopback address"),
            ):
                with pytest.raises(UpstreamError, match=words):
                    await fetch("GET", url, {})
            assert server.requests == []
            assert plain.connections == 0
            assert (await good("GET", f"http://127.0.0.1:{plain.port}/", {})).status == 405

    run(story)


def test_slow_answer_is_given_up(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOTE_BRIEF_SECONDS", 0.3)

    async def story() -> None:
        async with listening(pki.server()) as server:

            async def handler(request: Request) -> bytes:
                while True:  # a byte now and then, for ever
                    await request.send(b"H")
                    await asyncio.sleep(0.05)

            server.handler = handler
            with pytest.raises(UpstreamError):
                await Fetcher(pki.pem, HERE, lookup=lookup)("GET", f"https://{NAME}:{server.port}/", {})

    run(story)
