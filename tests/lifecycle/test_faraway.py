"""From an empty HOME to a guarded remote server behind a login, through the real command line; and back out."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator

import pexpect
import pytest
import pytest_asyncio

from tests.lifecycle.farstage import PHRASE, POLICY, Stage, apart, far
from tests.lifecycle.stage import MCPGUARD, until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Stage]:
    async with far() as made:
        yield made


async def registered(place: Stage) -> None:
    assert (await place.verb("trust", "init", "--yes")).returncode == 0
    done = await place.verb("remote", "login", "far", "--yes", *place.place)
    assert done.returncode == 0, done
    done = await place.verb("server", "add", "far", "--yes", *place.place)
    assert done.returncode == 0, done


async def test_add_login_call_refresh_logout() -> None:
    """What a new person does, in the order in which mcpguard says it."""
    async with far(lifetime=8) as place:
        at = place.at
        at.resource.scopes = {"read"}
        assert (await place.verb("trust", "init", "--yes")).returncode == 0

        first = await place.verb("server", "add", "far", "--yes", *place.place)
        assert first.returncode != 0
        assert "wants a login before it says what it offers" in first.stderr
        step = f"mcpguard remote login far {' '.join(place.place)}"
        assert step in first.stderr
        assert at.provider.seen == []
        assert not place.seen.exists()

        done = await place.verb(*step.split()[1:], "--yes")
        assert done.returncode == 0, done
        assert f"logged in at {at.provider.issuer}" in done.stdout
        added = await place.verb("server", "add", "far", "--yes", *place.place)
        assert added.returncode == 0, added
        assert "far: registered, version 1" in added.stdout
        await asyncio.to_thread(place.policy, POLICY)

        def played() -> None:
            host = apart(place, "far").greet()
            assert [tool["name"] for tool in host.ask("tools/list")["result"]["tools"]] == ["look"]
            taken = set(at.resource.taken)
            while len(set(at.resource.taken) - taken) < 2:
                said = host.call("look")
                assert said.get("result", {}).get("content"), said
            assert "error" in host.call("write")
            gone = place.mcpguard("remote", "logout", "far")
            assert gone.returncode == 0, gone
            said = host.call("look")
            assert "mcpguard remote login far" in json.dumps(said)
            host.close_stdin()
            assert host.wait() == 0

        await asyncio.to_thread(played)
        assert len(at.provider.tokens) > 1  # refreshed within the session
        assert all(token.revoked for token in at.provider.tokens[-1:])

        events = [each["event"] for each in place.records() if each["type"] == "token"]
        assert events[0] == "login"
        assert events[-1] == "logout"
        assert "refreshed" in events
        calls = [each for each in place.records() if each["type"] == "call" and each.get("server") == "far"]
        assert {"look", "write"} <= {each.get("tool") for each in calls}
        assert place.values()
        assert place.files_with(place.values()) == []


async def test_tokens_are_in_the_vault_and_nowhere_else(place: Stage) -> None:
    await registered(place)
    assert place.files_with(place.values()) == []
    (vault,) = (place.state / "secrets").glob("vault*")
    head = vault.read_text()
    assert "oauth/server/far" in head
    assert "oauth/place/far" in head


async def test_a_login_outlives_the_daemon(place: Stage) -> None:
    """The place and the token are in the vault, which whoever comes next opens."""
    assert (await place.verb("trust", "init", "--yes")).returncode == 0
    done = await place.verb("remote", "login", "far", "--yes", *place.place)
    assert done.returncode == 0, done
    assert (await place.verb("daemon", "stop")).returncode == 0
    until(lambda: not place.answers())
    phrase = place.env.pop("MCPGUARD_PASSPHRASE_FILE")
    locked = await place.verb("server", "add", "far", "--yes", *place.place, stdin=subprocess.DEVNULL)
    assert locked.returncode == 5, locked
    assert "the vault is locked" in locked.stderr
    assert "mcpguard secret unlock" in locked.stderr
    place.env["MCPGUARD_PASSPHRASE_FILE"] = phrase
    added = await place.verb("server", "add", "far", "--yes", *place.place)
    assert added.returncode == 0, added
    assert len(place.at.provider.asked("/authorize")) == 1


async def test_without_a_vault_and_a_person_nothing_opens() -> None:
    async with far(phrase=False) as place:
        done = await place.verb("remote", "login", "far", "--yes", *place.place, stdin=subprocess.DEVNULL)
        assert done.returncode == 5, done
        assert "there is no vault yet" in done.stderr
        assert "mcpguard secret unlock" in done.stderr
        assert not place.seen.exists()
        assert place.at.provider.seen == []
        assert place.at.resource.refused == []
        # the daemon says so as well, whatever asks it
        place_of = {"url": place.at.resource.url, "ca": place.ca.read_text(), "networks": ["loopback"]}
        told = await asyncio.to_thread(
            place.ask,
            {"v": 1, "verb": "remote-login", "name": "far", "text": json.dumps({"place": place_of})},
        )
        assert not told["ok"]
        assert "there is no vault yet" in told["error"]


async def test_a_locked_vault_is_opened_before_the_browser(place: Stage) -> None:
    assert (await place.verb("remote", "login", "far", "--yes", *place.place)).returncode == 0
    assert (await place.verb("secret", "lock")).returncode == 0
    phrase = place.env.pop("MCPGUARD_PASSPHRASE_FILE")
    opened = place.seen.read_text()
    done = await place.verb("remote", "login", "far", "--yes", *place.place, stdin=subprocess.DEVNULL)
    assert done.returncode == 5, done
    assert "the vault is locked" in done.stderr
    assert place.seen.read_text() == opened
    done = await place.verb("remote", "login", "far", "--yes", "--passphrase-file", phrase)
    assert done.returncode == 0, done


async def test_at_a_terminal_the_login_is_offered_and_the_vault_is_made() -> None:
    async with far(phrase=False) as place:
        phrase = place.root / "phrase"
        phrase.write_text(f"{PHRASE}\n")
        phrase.chmod(0o600)
        more = {"MCPGUARD_PASSPHRASE_FILE": str(phrase)}
        init = await asyncio.to_thread(
            subprocess.run,
            [*MCPGUARD, "trust", "init", "--yes"],
            env=place.env | more,
            check=True,
            capture_output=True,
        )
        assert init.returncode == 0

        def played() -> str:
            child = pexpect.spawn(
                MCPGUARD[0], [*MCPGUARD[1:], "server", "add", "far", *place.place], env=place.env, timeout=60,
                encoding="utf-8", dimensions=(50, 400),
            )  # fmt: skip
            child.expect("wants a login before it says what it offers")
            child.expect(r"Log in at localhost:\d+ now\?")
            child.sendline("y")
            for question in ("Passphrase for the new key", "The same again"):
                child.expect(question)
                child.sendline(PHRASE)
            child.expect(r"Open the browser at localhost:\d+\?")
            child.sendline("y")
            child.expect("Sign this and let hosts use it")
            child.sendline("y")
            child.expect("Passphrase of")
            child.sendline(PHRASE)
            child.expect(pexpect.EOF)
            child.close()
            return f"{child.exitstatus} {child.before}"

        said = await asyncio.to_thread(played)
        assert said.startswith("0 "), said
        assert "far: registered, version 1" in said


async def test_a_token_goes_only_where_the_login_was(place: Stage) -> None:
    """Another description of the same URL is no way to be given a token."""
    await registered(place)
    assert (await place.verb("server", "remove", "far", "--yes")).returncode == 0
    taken = len(place.at.resource.taken)
    pin = ["--pin", "sha256:" + "0" * 64]
    done = await place.verb("server", "add", "far", "--yes", *place.place, *pin)
    assert done.returncode == 5, done
    assert "not pinned" in done.stderr
    other = [*place.place, "--allow-network", "10.0.0.0/8"]
    done = await place.verb("server", "add", "far", "--yes", *other)
    assert done.returncode != 0
    assert "wants a login" in done.stderr
    assert len(place.at.resource.taken) == taken


async def test_places_that_are_none(place: Stage) -> None:
    for place_of, why in (
        (["--url", "http://localhost/mcp"], "plain HTTP"),
        (["--url", "https://localhost:1/mcp"], "nothing says which certificate"),
        (["--url", "unix:/run/x"], "not reached over HTTPS"),
        (["--ca", "system"], "belongs to --url"),
    ):
        done = await place.verb("remote", "login", "far", "--yes", *place_of)
        assert done.returncode != 0
        assert why in done.stderr, done
    await registered(place)
    done = await place.verb(
        "remote", "login", "far", "--yes", "--url", "https://elsewhere.example/", "--ca", "system"
    )
    assert done.returncode == 5
    assert "registered already, and not so" in done.stderr


async def test_logout_after_the_server_was_removed(place: Stage) -> None:
    await registered(place)
    assert (await place.verb("server", "remove", "far", "--yes")).returncode == 0
    gone = await place.verb("remote", "logout", "far")
    assert gone.returncode == 0, gone
    assert all(token.revoked for token in place.at.provider.tokens)
    assert json.loads((await place.verb("remote", "status", "--json")).stdout)["servers"] == []
    assert (await place.verb("remote", "login", "far", "--yes")).returncode == 5
