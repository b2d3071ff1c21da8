"""What the sessions of a daemon have in common: a run of a host is one, whichever connection it comes by."""

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from mcpguard.approvals.book import Book
from mcpguard.daemon.company import Company
from mcpguard.daemon.instances import Instances
from mcpguard.daemon.registry import Registered
from mcpguard.gate.commands import Finding
from mcpguard.gate.shared import Manners
from mcpguard.identity.described import Definitions
from mcpguard.identity.verification import Verified
from mcpguard.system.memoryfile import MemoryFile
from tests.daemon.hosts import FACTS, TameHost, attested
from tests.daemon.test_registry import FILES, READ

MANNERS = Manners(timeout=7.0, in_band=True)
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
FOUND = Registered(
    "files",
    Verified(FILES, "d" * 64, ("key",), "local"),
    definitions=Definitions(tools={"read_file": {**READ, "inputSchema": SCHEMA}}),
)


class World:
    """A company, and hosts that come."""

    def __init__(self, home) -> None:
        self.memory = MemoryFile(home / "memory")
        self.instances = Instances(self.memory, "boot-1")
        self.book, self.changes = Book(), 0
        self.company = Company(self.book, self.instances, self.changed)
        self.hosts = contextlib.ExitStack()

    def changed(self) -> None:
        self.changes += 1

    def came(self, ident="1-a", found=None, name="", **facts):
        host = attested(TameHost(msgspec.structs.replace(FACTS, **{"instance": 99, **facts})), name)
        self.hosts.callback(host.close)
        return self.company.shared(ident, host, found, MANNERS)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    with made.hosts:
        yield made


def test_connections_of_one_run_share_what_it_has_done_and_those_of_another_do_not(world):
    one, again, other = world.came("1-a"), world.came("2-b"), world.came("3-c", instance=100)
    assert one.instance == again.instance != other.instance
    one.circumstances.saw(["secret"], 0)
    assert set(again.circumstances.labels) == {"secret"}
    assert set(other.circumstances.labels) == set()
    assert one.book is again.book is other.book is world.book
    assert one.circumstances.meters is other.circumstances.meters


def test_a_host_without_a_handle_is_a_run_of_its_own_on_each_connection(world):
    one, other = world.came("1-a", instance=0), world.came("2-b", instance=0)
    assert (one.instance, other.instance) == ("connection 1-a", "connection 2-b")
    one.circumstances.saw(["secret"], 0)
    assert set(other.circumstances.labels) == set()


def test_a_connection_knows_who_asks_under_which_name_and_how_people_are_asked(world):
    shared = world.came("9-x", name="acme")
    assert (shared.conn, shared.manners) == ("9-x", MANNERS)
    assert {"host": "acme", "uid": 1000, "pid": 50}.items() <= shared.host.items()


def test_a_server_without_a_manifest_pins_nothing(world):
    shared = world.came()
    assert (shared.manifest, dict(shared.definitions), shared.schemas) == ("", {}, None)


def test_what_a_manifest_pins_is_what_approvals_are_bound_to(world):
    shared = world.came(found=FOUND)
    assert shared.manifest == "d" * 64
    assert dict(shared.definitions) == FILES.tools
    assert shared.schemas.arguments_fault("read_file", {"path": "/a"}) == ""
    assert shared.schemas.arguments_fault("read_file", {"path": 7})


def test_states_are_sealed_with_one_key_that_no_other_daemon_has(world, tmp_path):
    one, other = world.came("1-a"), world.came("2-b", instance=0)
    assert one.seal == other.seal
    assert len(one.seal) >= 32
    stranger = World(tmp_path / "other")
    with stranger.hosts:
        assert stranger.came().seal != one.seal


@pytest.mark.parametrize(
    ("cgroup", "login"),
    [("/user.slice/user-1000.slice/session-7.scope", "7"), ("/system.slice/cron.service", "")],
)
def test_the_login_session_of_a_host_is_watched(world, cgroup, login):
    shared = world.came(cgroup=cgroup, uid=4_242_424)
    assert world.instances.logins() == ({login} if login else set())
    world.instances.told(lambda _: frozenset({"locked"}))
    assert shared.circumstances.session == (frozenset({"locked"}) if login else frozenset())


def test_what_a_gate_says_reaches_the_daemon(world):
    seen = []
    reach = world.company.outside(seen.append)
    finding = Finding("tools", "read_file", "it is gone")
    reach.noticed((finding,))
    reach.announce()
    assert (seen, world.changes) == ([(finding,)], 1)
    shared = world.came()
    shared.circumstances.saw(["secret"], 0)
    reach.remember()
    assert set(Instances(world.memory, "boot-1").of(shared.instance).labels) == {"secret"}
