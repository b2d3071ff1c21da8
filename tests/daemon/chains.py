"""A chain of authenticators with everything real behind it: files, a log, an issuer on loopback; time is given."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon.apikeys import ApiKeys
from mcpguard.daemon.authenticators import Authenticators
from mcpguard.daemon.control import Caller
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.refused import Refused
from mcpguard.protocol.control import Request
from mcpguard.system.apikeystore import ApiKeyStore
from mcpguard.system.authfile import AuthFile
from mcpguard.system.journal import Journal
from tests.fakes.issuer import AUDIENCE, Issuer, Way

START = 1_800_000_000.0
PERSON = Caller(1000, 4242)


class Clock:
    """Time, which goes on when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


async def nowhere(method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 0) -> Any:
    raise AssertionError(f"{url} was asked, and nothing should be")


class Chain:
    """One daemon's chain in `place`."""

    def __init__(self, place: Path, text: str = "", issuer: Issuer | None = None) -> None:
        self.place = place
        self.clock = Clock()
        if issuer is not None:
            issuer.clock = self.clock
        self.write(text)
        self.recorder = Recorder(Journal.open(place / "audit"))
        self.ended: list[str] = []
        self.keys = ApiKeys(ApiKeyStore(place / "auth"), self.recorder, self.clock, self.ended.append)
        way = Way(issuer.authority) if issuer is not None else nowhere
        self.chain = Authenticators(
            AuthFile(place / "auth"), self.keys, Refused(self.recorder), way, b"n" * 32,
            clock=self.clock, ticks=self.clock,
        )  # fmt: skip

    def write(self, text: str) -> None:
        folder = self.place / "auth"
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder / "new"
        fresh.write_text(text)
        os.rename(fresh, folder / "auth.toml")

    def key(self, name: str = "ci", text: str = "") -> str:
        """Make an API key, as a person does on admin.sock."""
        reply = self.keys.approving()["apikey-create"](Request("apikey-create", name=name, text=text), PERSON)
        assert isinstance(reply, dict)
        return str(reply["key"])

    def verb(self, verb: str, name: str, **more: Any) -> dict[str, Any]:
        reply = self.keys.approving()[verb](Request(verb, name=name, **more), PERSON)
        assert isinstance(reply, dict)
        return reply

    async def bearer(self, token: str, *kinds: str, scheme: str = "Bearer", **more: Any) -> Authenticated:
        presented = Presented(
            authorization=f"{scheme} {token}", url=AUDIENCE, **{"network": "192.0.2.7", **more}
        )
        return await self.chain.authenticate(presented, kinds or ("jwt",))

    async def close(self) -> None:
        await self.chain.close()
        await self.recorder.close()

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.place / "audit").glob("*.jsonl")))


def jwt(issuer: Issuer, more: str = "", name: str = "corp") -> str:
    """`auth.toml` for an issuer."""
    return f'version = 1\n[jwt.{name}]\nissuer = "{issuer.url}"\naudience = "{AUDIENCE}"\nclaims = ["groups"]\n{more}\n'


Story = Callable[[Chain, Issuer], Any]


async def told(place: Path, story: Story, more: str = "") -> Chain:
    """A story with an issuer and a chain that trusts it."""
    async with Issuer() as issuer:
        chain = Chain(place, jwt(issuer, more), issuer)
        try:
            await story(chain, issuer)
        finally:
            await chain.close()
        return chain
