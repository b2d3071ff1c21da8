"""The listener for one answer, spoken to by everybody."""

import asyncio

import pytest

from mcpguard.credentials.oautherror import OAuthError
from mcpguard.daemon.oauthredirect import Redirect

pytestmark = pytest.mark.asyncio


async def say(port: int, data: bytes) -> bytes:
    """Everything that is said to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def get(port: int, target: str, host: str = "", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{port}'}\r\n\r\n".encode()


async def test_one_answer_then_nobody_listens() -> None:
    redirect = await Redirect.listen("/callback")
    said = await say(redirect.port, get(redirect.port, "/callback?code=x&state=<script>"))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"script" not in said, "nothing of what comes is shown"
    assert b"default-src 'none'" in said
    assert b"no-store" in said
    assert await redirect.answer() == "/callback?code=x&state=<script>"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", redirect.port)


@pytest.mark.parametrize(
    ("target", "host", "method"),
    [
        ("/", "", "GET"), ("/favicon.ico", "", "GET"), ("/callback/", "", "GET"), ("/callbackx?code=x", "", "GET"),
        ("/callback?code=x", "evil.example", "GET"), ("/callback?code=x", "127.0.0.1:1", "GET"),
        ("/callback?code=x", "127.0.0.1", "GET"), ("/callback?code=x", "", "POST"), ("/callback?code=x", "", "OPTIONS"),
        ("http://127.0.0.1/callback?code=x", "", "GET"), ("/callback?code=x#y", "", "GET"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_turned_away_and_the_answer_may_still_come(
    target: str, host: str, method: str
) -> None:
    redirect = await Redirect.listen("/callback")
    assert (await say(redirect.port, get(redirect.port, target, host, method))).startswith(b"HTTP/1.1 404 ")
    await say(redirect.port, get(redirect.port, "/callback?right"))
    assert await redirect.answer() == "/callback?right"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /callback?x HTTP/2\r\nHost: x\r\n\r\n", b"\xff\r\n\r\n",
        b"GET /callback?x HTTP/1.1\r\n\r\n", b"GET /callback?x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /callback?" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
async def test_garbage(data: bytes) -> None:
    redirect = await Redirect.listen("/callback")
    assert b"200" not in await say(redirect.port, data)
    assert redirect.give("typed")
    assert await redirect.answer() == "typed"
    redirect.close()


async def test_connections_that_say_nothing_hold_nobody_up() -> None:
    redirect = await Redirect.listen("/callback")
    silent = [await asyncio.open_connection("127.0.0.1", redirect.port) for _ in range(10)]
    assert b"200 OK" in await say(redirect.port, get(redirect.port, "/callback?x"))
    for _, writer in silent:
        writer.close()


async def test_it_listens_on_this_machine_only_and_at_an_address_that_nobody_knows_before() -> None:
    one, two = await Redirect.listen("/a"), await Redirect.listen("/a")
    assert one.port != two.port
    assert [sock.getsockname()[0] for sock in one._server.sockets] == ["127.0.0.1"]
    with pytest.raises(OAuthError, match="nobody can listen"):
        await Redirect.listen("/a", one.port)
    one.close()
    two.close()


async def test_an_answer_comes_once_whichever_way() -> None:
    redirect = await Redirect.listen("/callback")
    assert redirect.give("first")
    assert not redirect.give("second")
    assert b"404" in await say(redirect.port, get(redirect.port, "/callback?third"))
    assert await redirect.answer() == "first"
    redirect.close()


@pytest.mark.parametrize(
    "uri", ["https://127.0.0.1:1/x", "http://evil.example:1/x", "http://127.0.0.1/x", "x", ""]
)
async def test_a_kept_redirect_is_one_of_ours(uri: str) -> None:
    with pytest.raises(OAuthError, match="none of ours"):
        await Redirect.at(uri)
