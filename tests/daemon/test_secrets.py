"""What a server is given: by whom it is named, and that nothing of it is there when one thing is wrong."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpguard.audit import redact
from mcpguard.daemon.launching import Launch, unpinned
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.secrets import Given, Secrets, argv_digest, pieces
from mcpguard.errors import SecretError
from mcpguard.protocol.hello import Hello
from mcpguard.system.journal import Journal
from mcpguard.system.secretuse import SecretUse
from mcpguard.system.vault import Binding, KeyHow, Vault

VALUE = b"planted-value-of-a-test"
ENV = (
    b"PATH=/evil",
    b"HOME=/evil",
    b"LANG=C",
    b"TOKEN=mcpguard-secret://a",
    b"API=x",
    b"DIR=/d",
    b"LD_PRELOAD=/e.so",
)
HELLO = Hello(
    version="1",
    nonce=b"",
    kind="command",
    name="gh",
    cwd=b"/",
    habits=(18, -1, 0),
    argv=(b"cat", b"-u"),
    env=ENV,
)
BINDING = Binding(
    "gh",
    argv_digest(HELLO.argv),
    "TOKEN",
    ("DIR",),
    {"API": hashlib.sha256(b"x").hexdigest()},
    "/usr/bin",
    "/home/u",
)


class Room:
    """A vault that is open, with a secret that is kept for one server; the time is what it is said to be."""

    def __init__(self, root: Path, recorder: Recorder) -> None:
        self.now = 100.0
        self.vault = Vault(root / "vault")
        self.vault.create("id", KeyHow("passphrase", "c2FsdA==", 2**14, "eA=="), bytes(32))
        self.vault.put("a", VALUE, 200.0, now=0.0)
        self.vault.bind("a", (BINDING,))
        self.secrets = Secrets(self.vault, SecretUse(root / "vault"), recorder, root, lambda: self.now)

    async def given(self, hello: Hello = HELLO, server: str = "gh") -> Launch:
        return await self.secrets.give("1-a", b'"conn":"1-a",', server, None, hello, unpinned(hello))


def story(root: Path, tell: Callable[[Room], Any]) -> Any:
    async def main() -> Any:
        recorder = Recorder(Journal.open(root / "audit"))
        try:
            return await tell(Room(root, recorder))
        finally:
            await recorder.close()

    return asyncio.run(main())


def refused(
    root: Path, hello: Hello = HELLO, server: str = "gh", change: Callable[[Room], Any] = lambda _: None
) -> str:
    async def tell(room: Room) -> str:
        change(room)
        with pytest.raises(SecretError) as caught:
            await room.given(hello, server)
        assert room.secrets.of("1-a") == Given()
        assert room.secrets.use.all() == {}
        return caught.value.sentence()

    said: str = story(root, tell)
    assert b'"event":"given"' not in b"".join(path.read_bytes() for path in (root / "audit").glob("*.jsonl"))
    return said


def with_env(*entries: bytes) -> Hello:
    names = {entry.partition(b"=")[0] for entry in entries}
    kept = tuple(entry for entry in ENV if entry.partition(b"=")[0] not in names)
    return msgspec.structs.replace(HELLO, env=(*kept, *entries))


def test_a_server_gets_what_is_kept_for_it_and_the_path_of_who_kept_it(tmp_path: Path) -> None:
    async def tell(room: Room) -> Launch:
        launch = await room.given()
        assert room.secrets.of("1-a").refs == ("vault://a",)
        assert room.secrets.holders("vault://a") == ["1-a"]
        assert room.secrets.use.of("vault://a").servers == {"gh": 100.0}
        assert "planted" not in repr(room.secrets.of("1-a"))
        room.secrets.ended("1-a")
        assert room.secrets.holders("vault://a") == []
        return launch

    launch = story(tmp_path, tell)
    assert sorted(launch.env) == [
        b"API=x", b"DIR=/d", b"HOME=/home/u", b"LANG=C", b"PATH=/usr/bin", b"TOKEN=" + VALUE,
    ]  # fmt: skip
    assert redact.current().text(f"x {VALUE.decode()} y") == f"x {redact.current().mark('known', VALUE)} y"


def test_who_names_no_secret_is_left_alone(tmp_path: Path) -> None:
    hello = with_env(b"TOKEN=plain")

    async def tell(room: Room) -> Launch:
        room.vault.lock()
        return await room.given(hello)

    assert story(tmp_path, tell).env == list(hello.env)


@pytest.mark.parametrize(
    ("hello", "server", "words"),
    [
        (HELLO, "other", "is not kept for the server 'other'"),
        (msgspec.structs.replace(HELLO, argv=(b"cat", b"-v")), "gh", "is not kept for"),
        (msgspec.structs.replace(HELLO, argv=(b"cat -u",)), "gh", "is not kept for"),
        (with_env(b"TOKEN=x", b"OTHER=mcpguard-secret://a"), "gh", "as OTHER"),
        (with_env(b"TOKEN=mcpguard-secret://nothing"), "gh", "there is no secret 'nothing'"),
        (with_env(b"TOKEN=mcpguard-secret://../a"), "gh", "not a reference"),
        (with_env(b"API=evil"), "gh", "the variable API is another one"),
        (with_env(b"API="), "gh", "the variable API is another one"),
        (msgspec.structs.replace(HELLO, kind="connect"), "gh", "runs already"),
    ],
)
def test_nobody_else_gets_it(tmp_path: Path, hello: Hello, server: str, words: str) -> None:
    assert words in refused(tmp_path, hello, server)


def test_without_a_value_nothing_starts(tmp_path: Path) -> None:
    def later(room: Room) -> None:
        room.now = 200.0

    assert "'a' has expired: mcpguard secret rotate a" in refused(tmp_path / "1", change=later)
    assert "the vault is locked" in refused(tmp_path / "2", change=lambda room: room.vault.lock())

    def damaged(room: Room) -> None:
        (room.vault.directory / "vault.json").write_text("{")

    assert "it is damaged" in refused(tmp_path / "3", change=damaged)

    def short(room: Room) -> None:
        room.vault.put("a", b"1234", now=0.0)

    assert "fewer than 8 bytes" in refused(tmp_path / "4", change=short)


def test_who_holds_an_expired_secret_is_told(tmp_path: Path) -> None:
    async def tell(room: Room) -> None:
        await room.given()
        assert room.secrets.expired() == {}
        room.now = 250.0
        assert room.secrets.expired() == {"1-a": "the secret 'a' of its server has expired"}

    story(tmp_path, tell)


def test_a_new_value_is_known_to_the_gate_of_the_connection(tmp_path: Path) -> None:
    async def tell(room: Room) -> None:
        await room.given()
        words = room.secrets.of("1-a").words
        room.vault.put("a", b"another-value-2", 0.0, now=1.0)
        await room.given()
        assert words == {VALUE: "${secret:a}", b"another-value-2": "${secret:a}"}

    story(tmp_path, tell)


def test_handles_get_text_and_nothing_else(tmp_path: Path) -> None:
    async def tell(room: Room) -> None:
        filler = room.secrets.filler("gh")
        assert filler.known("a")
        assert not filler.known("b")
        assert filler.value("a") == VALUE.decode()
        room.vault.put("b", b"\xff\xfe" * 8, now=0.0)
        with pytest.raises(SecretError, match="is not text"):
            filler.value("b")
        room.now = 201.0
        with pytest.raises(SecretError, match="has expired"):
            filler.value("a")
        (room.vault.directory / "vault.json").write_text("{")
        assert filler.known("anything")  # it cannot be told, so nothing passes

    story(tmp_path, tell)


def test_long_values_are_known_in_pieces() -> None:
    assert list(map(len, pieces([b"x" * 9000, b"y"]))) == [4096, 4096, 808, 1]
