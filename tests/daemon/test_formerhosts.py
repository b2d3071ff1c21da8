import os
import subprocess
from types import SimpleNamespace
from typing import Any

from mcpguard.daemon.formerhosts import FormerHosts
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from mcpguard.system.quarantinefile import RUNS, Run


def instance(pid: int) -> int:
    process = Process.find(Kernel(), pid)
    assert process
    try:
        return process.instance
    finally:
        process.close()


def host(pid: int, number: int) -> Any:
    return SimpleNamespace(pid=pid, handle=number, caller=SimpleNamespace(instance=f"{pid}-{number}"))


def test_a_host_counts_as_long_as_its_process_lives() -> None:
    former = FormerHosts(Kernel(), lambda name: 5 if name.startswith(f"{child.pid}-") else 0)
    with subprocess.Popen(["sleep", "60"]) as child:
        one = host(child.pid, instance(child.pid))
        assert former.met(one)
        assert not former.met(one), "it is known"
        assert former.below()[child.pid].adopter == 5
        assert [run.pid for run in former.dump()] == [child.pid]
        child.kill()
    assert former.below() == {}
    assert former.dump() == []


def test_another_process_with_its_number_is_not_it() -> None:
    former = FormerHosts(Kernel(), lambda _: 0)
    mine = instance(os.getpid())
    former.load([Run(os.getpid(), mine + 1)] if mine else [])
    assert former.below() == {}
    former.load([Run(os.getpid(), mine)])
    assert list(former.below()) == [os.getpid()]


def test_hosts_of_which_nothing_is_known_are_not_kept_and_many_are_bounded() -> None:
    former = FormerHosts(Kernel(), lambda _: 0)
    assert not former.met(host(0, 0))
    for number in range(3 * RUNS):
        former.met(host(2**22 - 1 - number % 7, number))
    assert len(former._runs) <= RUNS + 1
