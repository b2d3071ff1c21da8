"""What a decision costs with 10 and with 10,000 rules: `pytest --benchmark-enable tests/policy/test_snapshot_bench.py`."""

import pytest

from mcpguard.model import Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import compile_snapshot


def snapshot_of(count):
    rules = "".join(
        f'[[rule]]\nid = "r{n}"\ntools = ["tool_{n}_*", "exact_{n}"]\neffect = "{"deny" if n % 3 else "allow"}"\n'
        for n in range(count - 1)
    )
    last = '[[rule]]\nid = "read"\ntools = ["read_*"]\neffect = "allow"\n'
    return compile_snapshot(parse(f'version = 1\nmode = "enforce"\n{rules}{last}'.encode(), "p"), "files")


@pytest.mark.benchmark(group="remembered")
@pytest.mark.parametrize("count", [10, 10_000])
def test_remembered_decision(benchmark, count):
    snapshot = snapshot_of(count)
    assert benchmark(snapshot.tool, "read_file").verdict is Verdict.ALLOW


@pytest.mark.benchmark(group="first sight")
@pytest.mark.parametrize("count", [10, 10_000])
def test_first_sight_of_a_name(benchmark, count):
    snapshot = snapshot_of(count)
    assert benchmark(snapshot._first_sight, "read_file").verdict is Verdict.ALLOW
