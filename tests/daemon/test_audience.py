"""Who is served, what of a caller reaches a server, and how much one user may have."""

import os

import msgspec
import pytest

from mcpguard.daemon.audience import Audience
from mcpguard.errors import DaemonError, PeerError, TrustError
from mcpguard.identity.facts import PeerFacts
from mcpguard.protocol.hello import Hello
from mcpguard.system.peercred import Peer
from tests.daemon.test_registry import FILES

OURS = Audience()
ALL = Audience(everybody=True)
HELLO = Hello(
    version="1", nonce=b"", kind="name", name="", cwd=b"/home/a", habits=(0, 10, 10), argv=(b"files",),
    env=(b"HOME=/home/a", b"PATH=/home/a/bin", b"TOKEN=t", b"OTHER=o", b"LANG=x"),
)  # fmt: skip


def peer(uid: int) -> Peer:
    return Peer(PeerFacts(os.getpid(), uid, uid, pinned=False))


def test_strangers_are_refused_by_the_daemon_of_a_user() -> None:
    with pytest.raises(PeerError, match="may not use the daemon of uid"):
        OURS.require_caller(peer(os.geteuid() + 1))
    OURS.require_caller(peer(os.geteuid()))


def test_stranger_of_whom_nothing_can_be_read_is_refused() -> None:
    with pytest.raises(PeerError):
        ALL.require_caller(peer(os.geteuid() + 1))  # held by no handle


def test_admin_socket_is_the_users_own_or_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65431)
    with pytest.raises(PeerError, match="belongs to uid 65431, not 0"):
        ALL.require_person(peer(65431))
    with pytest.raises(PeerError, match="belongs to uid 0, not 65431"):
        OURS.require_person(peer(0))
    OURS.require_person(peer(65431))


def test_nobody_gets_more_than_there_is_and_no_user_all_of_it() -> None:
    for audience in (OURS, ALL):
        with pytest.raises(DaemonError, match="8 servers run already, the limit of open files"):
            audience.require_share(1, [1, 2, 3, 4, 5, 6, 7, 8], 8)
    OURS.require_share(1, [1] * 7, 8)
    ALL.require_share(1, [1, 2, 2, 3], 8)
    with pytest.raises(DaemonError, match="2 servers of uid 2 run already, and the daemon serves others"):
        ALL.require_share(2, [1, 2, 2, 3], 8)
    ALL.require_share(2, [], 1)


def test_only_what_is_registered_is_started_for_strangers() -> None:
    for kind, registered in (("command", False), ("name", False), ("connect", True), ("connect", False)):
        OURS.require_registered(msgspec.structs.replace(HELLO, kind=kind), registered=registered)
        with pytest.raises(TrustError, match="only what root has registered"):
            ALL.require_registered(msgspec.structs.replace(HELLO, kind=kind), registered=registered)
    for kind in ("command", "name"):
        ALL.require_registered(msgspec.structs.replace(HELLO, kind=kind), registered=True)


def test_what_a_server_loads_is_not_up_to_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    for name in ("LANG", "LC_ALL", "TZ"):
        monkeypatch.delenv(name, raising=False)
    launch = msgspec.structs.replace(FILES.launch, env_pass=("TOKEN", "PATH", "HOME"))
    manifest = msgspec.structs.replace(FILES, launch=launch)
    found = ALL.launched(HELLO, manifest)
    assert sorted(found.env) == [b"HOME=/", b"PATH=/usr/bin", b"TOKEN=t"]
    assert (found.cwd, found.habits) == (b"/", (0o077, -1, 0))
    assert OURS.launched(HELLO, manifest) is HELLO
