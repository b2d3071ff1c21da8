"""How often, and how soon, a crashed server is started again. With real sessions: tests/lifecycle/test_crashes.py."""

import asyncio
import os

import pytest

from mcpguard import limits
from mcpguard.daemon.folders import Folders
from mcpguard.daemon.policies import Policies
from mcpguard.daemon.revival import Restarts, covered
from mcpguard.errors import UpstreamError
from mcpguard.system.folderstore import FolderStore
from mcpguard.system.policystore import PolicyStore

POLICY = b'version = 1\nmode = "enforce"\n[restart]\nservers = ["files", "git-*"]\ntimes = 3\nwithin = "1m"\n'


class Server:
    """A source whose server is a number."""

    def __init__(self) -> None:
        self.pid = 0
        self.tidied = 0
        self.refuses = False

    async def start(self, stderr):
        os.fstat(stderr)
        if self.refuses:
            raise UpstreamError("it is gone", code=127)
        self.pid += 1
        return self, 10, 11

    def tidy(self):
        self.tidied += 1


class Stage:
    def __init__(self, folder):
        self.policies = Policies(
            PolicyStore(folder / "policy", lambda: None), Folders(FolderStore(folder / "folders"))
        )
        self.policies.apply(POLICY, "test")
        self.now, self.notes, self.source = 0.0, [], Server()
        self.stderr = os.open(os.devnull, os.O_WRONLY)
        self.restarts = Restarts(
            self.policies, "files", self.stderr, self.source, lambda event, members: self.notes.append((event, members)),
            lambda: self.now,
        )  # fmt: skip


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.restarts.tidy()


def test_policy_names_servers(stage):
    assert [covered(stage.policies, name) for name in ("files", "git-hub", "filesystem")] == [
        True,
        True,
        False,
    ]


def test_each_crash_waits_longer_and_too_many_end_it(stage):
    first = limits.BACKOFF_SECONDS
    assert [stage.restarts.wanted(1) for _ in range(4)] == [first, 2 * first, 4 * first, None]
    assert [members["again"] for _, members in stage.notes] == [True, True, True, False]


def test_crashes_of_long_ago_do_not_count(stage):
    for _ in range(3):
        stage.restarts.wanted(137)
    stage.now = 61.0
    assert stage.restarts.wanted(137) == limits.BACKOFF_SECONDS


def test_an_end_of_its_own_is_no_crash(stage):
    assert stage.restarts.wanted(0) is None
    assert stage.notes == []


def test_the_policy_of_now_counts(stage):
    stage.policies.apply(b'version = 1\nmode = "observe"\n', "test")
    assert stage.restarts.wanted(1) is None


def test_a_start_is_noted_and_a_failure_is_raised(stage):
    upstream, source, sink = asyncio.run(stage.restarts.start())
    assert (upstream.pid, source, sink) == (1, 10, 11)
    assert stage.notes == [("restarted", {"pid": 1})]
    stage.source.refuses = True
    with pytest.raises(UpstreamError):
        asyncio.run(stage.restarts.start())
    assert len(stage.notes) == 1


def test_what_was_kept_for_it_is_let_go_once(stage):
    stage.restarts.tidy()
    stage.restarts.tidy()
    assert stage.source.tidied == 1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(stage.stderr)
    assert stage.restarts.wanted(1) is None
