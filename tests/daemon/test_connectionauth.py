import asyncio
import os
import time

import pytest

from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.daemon.connectionauth import ConnectionAuth, Unknown
from mcpguard.errors import ConfigError, PeerError
from mcpguard.system.servefile import Listen


class Keeper:
    """Certificates by name: `DER` is the name, and those that are revoked are known."""

    def __init__(self) -> None:
        self.revoked: set[bytes] = set()
        self.ends = 0.0

    def context(self) -> object:
        raise NotImplementedError

    def stamp(self) -> object:
        return 0

    def identify(self, der: bytes) -> Authenticated:
        if der == b"nobody":
            raise PeerError("the client certificate names nobody")
        name = f"cert:{der.decode()}"
        return Authenticated(frozenset({name}), {"certificate": der.decode()}, self.ends, instance=name)

    def refused(self, der: bytes) -> str:
        return "the certificate was revoked" if der in self.revoked else ""


class Chain:
    """One key that is right."""

    def __init__(self, **more: object) -> None:
        self.more = more
        self.gone = False

    async def authenticate(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None = None
    ) -> Authenticated:
        if presented.authorization != "Bearer right":
            raise PeerError("the key is wrong")
        return Authenticated(frozenset({"key:k"}), {"key": "k"}, instance="key:k", **self.more)  # type: ignore[arg-type]

    def issuers(self) -> tuple[str, ...]:
        return ()

    def asked_always(self) -> bool:
        return False

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        raise AssertionError("nothing is asked of every peer here")

    async def renew(
        self, found: Authenticated, presented: Presented, connected: Authenticated | None = None
    ) -> Authenticated:
        assert found.instance == "key:k"  # its own part, not what was joined with it
        if self.gone:
            raise PeerError("the key was revoked")
        return await self.authenticate(presented, ())

    def still(self, found: Authenticated) -> str:
        assert found.instance == "key:k"
        return "the key was revoked" if self.gone else ""


def listen(*auth: str, **more: object) -> Listen:
    return Listen(**({"name": "a", "auth": auth} | ({"path": "/a"} if "uid" in auth else {}) | more))  # type: ignore[arg-type]


def found(auth: ConnectionAuth, presented: Presented) -> Found:
    return asyncio.run(auth.authenticate(presented))


def test_a_user_is_a_principal_with_its_groups() -> None:
    whole = found(ConnectionAuth(listen("uid"), None, None), Presented(uid=os.getuid())).whole
    assert f"uid:{os.getuid()}" in whole.principals
    assert any(each.startswith("group:") for each in whole.principals)
    assert whole.instance == f"uid:{os.getuid()}"


def test_another_user_is_refused_unless_it_is_named() -> None:
    with pytest.raises(PeerError, match="uid 4242 may not use"):
        found(ConnectionAuth(listen("uid"), None, None), Presented(uid=4242))
    assert found(
        ConnectionAuth(listen("uid", uids=(4242,)), None, None), Presented(uid=4242)
    ).whole.principals == {"uid:4242"}
    with pytest.raises(PeerError):
        found(ConnectionAuth(listen("uid"), None, None), Presented())


def test_all_kinds_are_required() -> None:
    auth = ConnectionAuth(listen("cert", "apikey"), Keeper(), Chain())  # type: ignore[arg-type]
    good = Presented(certificate=b"build", authorization="Bearer right")
    whole = found(auth, good).whole
    assert whole.principals == {"cert:build", "key:k"}
    assert whole.instance == "cert:build + key:k"
    assert whole.evidence == {"certificate": "build", "key": "k"}
    for bad in (
        Presented(certificate=b"build"),
        Presented(authorization="Bearer right"),
        Presented(certificate=b"nobody", authorization="Bearer right"),
    ):
        with pytest.raises(Unknown):
            found(auth, bad)


def test_the_earliest_end_counts_and_what_has_ended_is_nobody() -> None:
    keeper = Keeper()
    keeper.ends = time.time() + 100
    auth = ConnectionAuth(listen("cert", "apikey"), keeper, Chain(expires=time.time() + 50))  # type: ignore[arg-type]
    whole = found(auth, Presented(certificate=b"b", authorization="Bearer right")).whole
    assert whole.expires < time.time() + 51
    keeper.ends = time.time() - 1
    with pytest.raises(Unknown, match="expired"):
        found(auth, Presented(certificate=b"b", authorization="Bearer right"))


def test_scopes_of_both_are_narrowed_to_what_both_allow() -> None:
    class Scoped(Keeper):
        servers: tuple[str, ...] = ("file*", "git")

        def identify(self, der: bytes) -> Authenticated:
            return Authenticated(frozenset({"cert:a"}), {}, servers=self.servers, instance="cert:a")

    keeper = Scoped()
    auth = ConnectionAuth(listen("cert", "apikey"), keeper, Chain(servers=("files", "web"), tools=("read",)))  # type: ignore[arg-type]
    whole = found(auth, Presented(certificate=b"b", authorization="Bearer right")).whole
    assert (whole.servers, whole.tools) == (("files",), ("read",))
    keeper.servers = ("git",)
    with pytest.raises(PeerError, match="none in common"):
        found(auth, Presented(certificate=b"b", authorization="Bearer right"))


def test_what_holds_is_asked_again_of_both() -> None:
    keeper, chain = Keeper(), Chain()
    auth = ConnectionAuth(listen("cert", "apikey"), keeper, chain)  # type: ignore[arg-type]
    presented = Presented(certificate=b"build", authorization="Bearer right")
    known = found(auth, presented)
    assert auth.still(known, presented) == ""
    assert asyncio.run(auth.renewed(known, presented)) == known
    chain.gone = True
    assert auth.still(known, presented) == "the key was revoked"
    with pytest.raises(PeerError, match="revoked"):
        asyncio.run(auth.renewed(known, presented))
    chain.gone = False
    keeper.revoked.add(b"build")
    assert auth.still(known, presented) == "the certificate was revoked"
    with pytest.raises(PeerError, match="revoked"):
        asyncio.run(auth.renewed(known, presented))


def test_a_kind_that_nothing_checks_opens_no_listener() -> None:
    with pytest.raises(ConfigError, match="jwt"):
        ConnectionAuth(listen("cert", "jwt"), Keeper(), None)  # type: ignore[arg-type]


# --- what every peer is asked, whatever the listener requires ------------------------------------------------------


class Badge(Chain):
    """Asked of every peer while `on`; lets in those that are at work."""

    on = True
    at_work = True

    def issuers(self) -> tuple[str, ...]:
        return ()

    def asked_always(self) -> bool:
        return self.on

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        if not self.at_work:
            raise PeerError("the authenticator badge refuses: not at work")
        seen = max(found.principals)
        return Authenticated(frozenset({f"plugin:badge={seen}"}), {"plugins": ["badge"]}, tools=("now",))

    async def renew(
        self, found: Authenticated, presented: Presented, connected: Authenticated | None = None
    ) -> Authenticated:
        assert found.evidence == {"plugins": ["badge"]}
        assert connected
        return await self.vet(connected, presented)


@pytest.mark.parametrize(
    ("kind", "shown"), [("uid", Presented(uid=os.getuid())), ("cert", Presented(certificate=b"build"))]
)
def test_a_listener_that_requires_only_its_connection_asks_those_that_are_asked_always(
    kind: str, shown: Presented
) -> None:
    badge = Badge()
    auth = ConnectionAuth(listen(kind), Keeper(), badge)  # type: ignore[arg-type]
    whole = found(auth, shown).whole
    assert any(each.startswith("plugin:badge=") for each in whole.principals)
    assert any(each.startswith(f"{kind}:") for each in whole.principals)
    assert whole.tools == ("now",)
    badge.at_work = False
    with pytest.raises(PeerError, match="not at work") as refused:
        found(auth, shown)
    assert not isinstance(refused.value, Unknown)  # another credential would not do: no lockout for it


def test_what_is_asked_always_is_asked_of_open_connections_too() -> None:
    badge = Badge()
    badge.on = False
    auth = ConnectionAuth(listen("uid"), None, badge)
    shown = Presented(uid=os.getuid())
    first = found(auth, shown)
    assert first.other is None
    assert not auth.looks_again
    badge.on, badge.at_work = True, False  # somebody wrote it into auth.toml
    assert auth.looks_again
    with pytest.raises(PeerError, match="not at work"):
        asyncio.run(auth.renewed(first, shown))
    badge.at_work = True
    second = asyncio.run(auth.renewed(first, shown))
    assert second.whole.tools == ("now",)
    badge.at_work = False
    with pytest.raises(PeerError, match="not at work"):
        asyncio.run(auth.renewed(second, shown))
