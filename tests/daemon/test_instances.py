"""Runs of hosts: what one connection has seen holds for the others, and after a restart of the daemon."""

import time

import pytest

from mcpguard import limits
from mcpguard.daemon.instances import Instances
from mcpguard.errors import DaemonError
from mcpguard.model import DAY, Charge
from mcpguard.system.memoryfile import MemoryFile


@pytest.fixture
def memory(tmp_path):
    return MemoryFile(tmp_path / "memory")


def seen(instances, name):
    return set(instances.of(name).labels)


def test_connections_of_one_run_share_what_it_has_seen(memory):
    instances = Instances(memory, "boot-1")
    instances.of("7-1").saw(["untrusted"], 5)
    assert seen(instances, "7-1") == {"untrusted"}
    assert seen(instances, "7-2") == set()


def test_labels_outlive_the_daemon_but_not_the_boot(memory):
    instances = Instances(memory, "boot-1")
    instances.of("7-1").saw(["untrusted", "private"], 5)
    instances.remember(now=True)
    assert seen(Instances(memory, "boot-1"), "7-1") == {"untrusted", "private"}
    assert seen(Instances(memory, "boot-2"), "7-1") == set()


def test_a_run_that_ended_is_forgotten(memory):
    instances = Instances(memory, "boot-1")
    instances.of("7-1").saw(["untrusted"], 5)
    instances.ended("7-1")
    assert seen(Instances(memory, "boot-1"), "7-1") == set()


def test_what_adopts_orphans_is_known_until_the_run_ends(memory):
    instances = Instances(memory, "boot-1")
    instances.adopted_by("7-1", 99)
    assert instances.adopter("7-1") == 0, "nobody of that name is connected"
    instances.of("7-1")
    instances.adopted_by("7-1", 99)
    assert (instances.adopter("7-1"), instances.adopter("7-2")) == (99, 0)
    instances.ended("7-1")
    assert instances.adopter("7-1") == 0


def test_budgets_of_a_day_outlive_the_daemon(memory):
    instances = Instances(memory, "boot-1")
    budget = Charge("rule|host:a", 2, DAY)
    now, unix = time.monotonic_ns(), time.time()
    instances.meters.take([budget, budget], now, unix)
    assert instances.meters.shortage(budget, now, unix)
    instances.remember(now=True)
    assert Instances(memory, "boot-2").meters.shortage(budget, now, unix)


def test_questions_that_were_open_are_told_to_the_next_daemon(memory):
    Instances(memory, "boot-1").tickets(["a1", "a2"])
    assert Instances(memory, "boot-1").open_tickets == ["a1", "a2"]


def test_a_damaged_memory_stops_the_daemon(memory):
    memory.save({})
    (memory.directory / "memory.json").write_text("{")
    with pytest.raises(DaemonError):
        Instances(memory, "boot-1")


def test_a_flood_of_runs_does_not_push_out_those_that_have_seen_something(memory):
    instances = Instances(memory, "boot-1")
    instances.of("7-1").saw(["untrusted"], 5)
    for number in range(limits.INSTANCES + 50):
        instances.of(f"8-{number}")
    assert seen(instances, "7-1") == {"untrusted"}


def test_the_clock_is_followed_when_it_is_set(memory):
    instances = Instances(memory, "boot-1")
    circumstances = instances.of("7-1")
    circumstances.offset += 3_600_000_000_000
    instances.tick()
    assert abs(circumstances.unix(time.monotonic_ns()) - time.time()) < 1
