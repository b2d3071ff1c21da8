"""Logins from the command line: a real daemon, a real provider, a real browser of a few lines; and who may not."""

import asyncio
import json
import os
import shlex
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pexpect
import pytest
import pytest_asyncio

from tests.fakes.oauthmodels import Client
from tests.lifecycle.farstage import Stage, far
from tests.lifecycle.forms import FORMS, arrive, inside
from tests.lifecycle.stage import MCPGUARD

pytestmark = pytest.mark.asyncio


class Asked(Stage):
    """Says where the server is with each login: it is not registered."""

    async def verb(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        more_words = self.place if words[:3] == ("remote", "login", "files") else []
        return await super().verb(*words, *more_words, **more)


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Asked]:
    async with far(Asked) as made:
        await asyncio.to_thread(made.serve)
        yield made


async def test_login_status_logout(place: Asked) -> None:
    at = place.at
    at.resource.scopes = {"read"}
    done = await place.verb("remote", "login", "files", "--yes")
    assert done.returncode == 0, done
    assert f"logged in at {at.provider.issuer}" in done.stdout
    for shown in (at.provider.issuer, at.resource.url, "read", "http://127.0.0.1:"):
        assert shown in done.stderr
    (token,) = at.provider.tokens
    assert token.resource == at.resource.url

    told = await place.verb("remote", "status", "--json")
    (one,) = json.loads(told.stdout)["servers"]
    assert (one["server"], one["issuer"], one["resource"]) == ("files", at.provider.issuer, at.resource.url)
    assert "read" in one["scopes"]
    words = await place.verb("remote", "status")
    assert "files  logged in until" in words.stdout

    gone = await place.verb("remote", "logout", "files")
    assert "forgotten and revoked" in gone.stdout
    assert token.revoked
    assert json.loads((await place.verb("remote", "status", "--json")).stdout)["servers"] == []
    assert (await place.verb("remote", "logout", "files")).returncode == 5  # nor is its place known any more

    place.daemon.terminate()
    said = place.daemon.communicate(timeout=20)[1]
    everything = done.stdout + done.stderr + told.stdout + words.stdout + gone.stdout + said
    logged = "".join(path.read_text() for path in (place.state / "audit").rglob("*.jsonl"))
    events = [record["event"] for record in place.records() if record["type"] == "token"]
    assert events == ["login", "logout"]
    for value in place.values():
        assert value not in everything
        assert value not in logged
    code = at.provider.asked("/token")[0]["code"]
    assert code not in everything + logged


async def test_nothing_opens_without_a_yes(place: Asked) -> None:
    done = await place.verb("remote", "login", "files", stdin=subprocess.DEVNULL)
    assert done.returncode == 5
    assert "say it with --yes" in done.stderr
    assert not place.seen.exists()
    assert place.at.provider.asked("/authorize") == []
    assert place.at.provider.tokens == []
    port = int(done.stderr.partition("back to  http://127.0.0.1:")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_person_is_asked_and_a_no_opens_nothing(place: Asked) -> None:
    def played(answer: str) -> str:
        child = pexpect.spawn(
            MCPGUARD[0],
            [*MCPGUARD[1:], "remote", "login", "files", *place.place],
            env=place.env,
            timeout=20,
            encoding="utf-8",
        )
        child.expect(r"Open the browser at localhost:\d+\?")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        return f"{child.exitstatus} {child.before}"

    assert (await asyncio.to_thread(played, "n")).startswith("1 ")
    assert not place.seen.exists()
    assert (await asyncio.to_thread(played, "y")).startswith("0 ")
    (words,) = place.seen.read_text().splitlines()
    assert words.count("https://localhost") == 1
    assert len(place.at.provider.tokens) == 1


async def test_paste_opens_nothing_and_takes_the_address(place: Asked) -> None:
    process = await asyncio.create_subprocess_exec(
        *MCPGUARD, "remote", "login", "files", "--paste", *place.place, env=place.env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    url = ""
    while not url.startswith("https://"):
        url = (await asyncio.wait_for(process.stderr.readline(), 20)).decode().strip()
    _, address, _ = await visit(place, url)
    out, _ = await process.communicate(address.encode() + b"\n")
    assert process.returncode == 0
    assert b"logged in at" in out
    assert not place.seen.exists()


async def visit(place: Stage, url: str) -> tuple[int, str, str]:
    from tests.fakes.oauthperson import visit as go  # noqa: PLC0415 (a name that is taken here)

    return await go(url, place.at.trust, follow=False)


async def test_a_pasted_address_of_another_login_is_refused(place: Asked) -> None:
    done = await place.verb(
        "remote", "login", "files", "--paste", input="http://127.0.0.1/callback?code=x&state=y\n"
    )
    assert done.returncode == 1
    assert "its state is not ours" in done.stderr
    assert place.at.provider.asked("/token") == []


async def test_a_server_that_is_none_of_ours(place: Asked) -> None:
    done = await place.verb("remote", "login", "other", "--yes")
    assert done.returncode == 5
    assert "no remote server is registered as 'other'" in done.stderr


async def test_what_a_host_has_started_may_not_log_in_or_out(place: Asked) -> None:
    """An agent must not give itself an account."""

    def story() -> list[str]:
        host = arrive(place, FORMS["pairs"]).greet()
        said = []
        for words in (["remote", "login", "files", "--yes"], ["remote", "logout", "files"]):
            code, text = inside(host, *MCPGUARD, *words)
            assert code == 5, text
            said.append(text)
        code, text = inside(host, *MCPGUARD, "remote", "status")
        assert code == 0, text
        return said

    for text in await asyncio.to_thread(story):
        assert "call from a terminal of your own" in text
    assert not place.seen.exists()
    assert place.at.provider.seen == []


async def test_a_registered_client_and_its_secret(place: Asked) -> None:
    place.at.provider.clients["corp"] = Client("corp", "s3cret-of-corp-0001", "client_secret_basic")
    secret = place.root / "secret"
    secret.write_text("s3cret-of-corp-0001\n")
    words = ["remote", "login", "files", "--yes", "--client-id", "corp", "--secret-file", str(secret)]
    without = await place.verb(*words)
    assert without.returncode == 1
    assert "a client belongs to one authorization server" in without.stderr
    done = await place.verb(*words, "--issuer", place.at.provider.issuer)
    assert done.returncode == 0, done
    assert "corp, as you registered it" in done.stderr
    assert place.at.provider.asked("/register") == []
    assert "s3cret" not in done.stdout + done.stderr


async def test_a_client_of_our_own_needs_no_browser(place: Asked) -> None:
    provider = place.at.provider
    provider.clients["svc"] = Client(
        "svc", "s3cret-of-svc-0001", "client_secret_post", grants=("client_credentials",)
    )
    words = [
        "remote",
        "login",
        "files",
        "--flow",
        "client",
        "--issuer",
        provider.issuer,
        "--client-id",
        "svc",
    ]
    words.append("--secret-post")
    wrong = await place.verb(*words, "--secret-file", "-", input="not-that-one-0001")
    assert wrong.returncode == 1
    assert "invalid_client" in wrong.stderr
    done = await place.verb(*words, "--secret-file", "-", input="s3cret-of-svc-0001\n")
    assert done.returncode == 0, done
    assert not place.seen.exists()
    (one,) = json.loads((await place.verb("remote", "status", "--json")).stdout)["servers"]
    assert (one["flow"], one["client_id"], one["refreshes"]) == ("client", "svc", True)
    log = "".join(path.read_text() for path in (place.state / "audit").rglob("*.jsonl"))
    for value in (*place.values(), "not-that-one-0001"):
        assert value not in log + done.stdout + done.stderr + wrong.stderr


async def test_a_browser_that_is_no_program(place: Asked) -> None:
    for named in ("browser", shlex.quote("/bin/sh -c id"), str(place.root)):
        place.env["MCPGUARD_BROWSER"] = named
        done = await place.verb("remote", "login", "files", "--yes")
        assert done.returncode == 6, done
        assert "is no program" in done.stderr
    assert os.listdir(place.root)
