"""Logging in at a server of the Python SDK behind its own OAuth, and calling it with the token."""

import asyncio
import json
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from harness import free_port
from tlsfront import terminate_tls

from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon.oauth import OAuth
from mcpguard.daemon.oauthlogin import ASKING, LOOKING, Login
from mcpguard.daemon.oauthobtain import Kit, kit
from mcpguard.daemon.oauthstore import MemoryStore, Shelf
from mcpguard.daemon.tasks import spawn_task
from tests.fakes.oauthperson import visit
from tests.fakes.plainfetch import PlainFetch
from tests.lifecycle.farstage import apart, furnish, give_phrase
from tests.lifecycle.stage import House, until

SERVER = Path(__file__).with_name("servers") / "oauth_server.py"
SECONDS = 20
FIELDS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
POLICY = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "shout"\nserver = "*"\ntools = ["shout"]\neffect = "allow"\n'


class Place:
    """The server, and what a daemon has."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.trust = ssl.create_default_context()
        self.fetch = PlainFetch(self.trust)
        self.store = MemoryStore()
        self.late = 0.0
        self.remote = Remote("shouting", self.url)

    def kit(self) -> Kit:
        return kit(self.fetch, Shelf(self.store), lambda: time.time() + self.late, secrets.token_bytes)

    async def log_in(self) -> Login:
        tools = self.kit()
        login = Login("1", self.remote, tools, frozenset(), None, tools.shelf.keep)
        task = spawn_task(login.run(), name="login")
        await login.wait(LOOKING, SECONDS)
        assert login.phase == ASKING, login.described()
        await visit(login.described()["url"], self.trust)
        await task
        return login

    async def call(self, fields: dict[str, str]) -> tuple[int, dict]:
        params = {"name": "shout", "arguments": {"text": "hear"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await self.fetch("POST", self.url, FIELDS | fields, json.dumps(body).encode())
        return answer.status, json.loads(answer.body) if answer.body else {}


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), "600"], stderr=subprocess.PIPE)
    try:
        for _ in range(SECONDS * 20):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.poll() is None, process.communicate()
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield Place(port)
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.mark.asyncio
async def test_login_call_refresh(place: Place) -> None:
    assert (await place.call({}))[0] == 401
    login = await place.log_in()
    assert login.phase == "done", login.failure
    assert login.held.scopes == {"user"}
    assert login.held.resource == place.url
    oauth = OAuth(place.remote, place.kit())
    status, answer = await place.call(dict(await oauth.headers("POST", place.url)))
    assert status == 200
    assert answer["result"]["content"][0]["text"] == "HEAR"

    first = await oauth.headers("POST", place.url)
    place.late = 601
    second = await oauth.headers("POST", place.url)
    assert first != second
    assert (await place.call(dict(second)))[0] == 200


@pytest.mark.asyncio
async def test_a_token_that_the_server_has_forgotten_is_replaced_or_a_person_is_named(place: Place) -> None:
    login = await place.log_in()
    oauth = OAuth(place.remote, place.kit())
    await oauth.headers("POST", place.url)
    server = await oauth.kit.discovery.server(login.held.issuer, plain=True)
    client = await oauth.kit.shelf.client(login.held.issuer)
    assert await oauth.kit.grants.revoke(server, client, login.held.refresh, "refresh_token")
    place.late = 60
    answer = await place.fetch(
        "POST", place.url, FIELDS | dict(await oauth.headers("POST", place.url)), b"{}"
    )
    assert answer.status == 401
    with pytest.raises(Exception, match="is over") as caught:
        await oauth.challenged(401, answer.headers["www-authenticate"])
    assert caught.value.hint == "mcpguard remote login shouting"


@pytest.mark.asyncio
async def test_two_logins_use_one_registration(place: Place) -> None:
    first, second = await place.log_in(), await place.log_in()
    assert first.held.client_id == second.held.client_id
    assert sum("/register" in url for url in place.fetch.urls()) == 1


# --- through the daemon, from an empty home ---------------------------------------------------------------


@pytest.fixture
def shouting() -> Iterator[tuple[House, list[str]]]:
    """An empty home, a browser, and the server behind TLS; how it is reached, as options."""
    authority, inner, outer = trustme.CA(), free_port(), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    words = [sys.executable, str(SERVER), str(inner), "600", f"https://localhost:{outer}"]
    with House() as house, subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            ca, _ = furnish(house, authority)
            give_phrase(house)
            assert until(lambda: listened(inner), SECONDS)
            terminate_tls(context, inner, outer)
            yield (
                house,
                ["--url", f"https://localhost:{outer}/mcp", "--ca", str(ca), "--allow-network", "loopback"],
            )
        finally:
            process.terminate()


def listened(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_host_calls_a_server_of_the_sdk_behind_its_own_oauth(shouting: tuple[House, list[str]]) -> None:
    house, place = shouting
    assert house.mcpguard("trust", "init", "--yes").returncode == 0
    first = house.mcpguard("server", "add", "shouting", "--yes", *place)
    assert first.returncode != 0
    assert "mcpguard remote login shouting" in first.stderr
    done = house.mcpguard("remote", "login", "shouting", "--yes", *place)
    assert done.returncode == 0, done
    added = house.mcpguard("server", "add", "shouting", "--yes", *place)
    assert added.returncode == 0, added
    house.policy(POLICY)
    host = apart(house, "shouting").greet()
    assert [tool["name"] for tool in host.ask("tools/list")["result"]["tools"]] == ["shout"]
    assert host.call("shout", text="hear")["result"]["content"][0]["text"] == "HEAR"
    gone = house.mcpguard("remote", "logout", "shouting")
    assert gone.returncode == 0, gone
    assert "mcpguard remote login shouting" in json.dumps(host.call("shout", text="again"))
    host.close_stdin()
    assert host.wait() == 0
    events = [each["event"] for each in house.records() if each["type"] == "token"]
    assert (events[0], events[-1]) == ("login", "logout")
