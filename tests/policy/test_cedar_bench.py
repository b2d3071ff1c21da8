"""What a decision of Cedar costs: `pytest --benchmark-enable tests/policy/test_cedar_bench.py`."""

import pytest

from mcpguard.model import Verdict
from mcpguard.policy.circumstances import Circumstances
from tests.policy.cedars import CALL, cedar

PATH = 'context.paths.hasTag("path") && context.paths.getTag("path") in Mcpguard::Path::"/srv"'


def policy_of(count):
    return cedar(
        "\n".join(
            f'@id("p{number}") permit (principal, {CALL}, resource) when {{ resource.name == "t{number}" && {PATH} }};'
            for number in range(count)
        )
        + f'@id("plain") permit (principal, {CALL}, resource) when {{ resource.name == "plain" }};'
    )


@pytest.mark.benchmark(group="a request")
@pytest.mark.parametrize("count", [10, 100, 900])
def test_a_request(benchmark, count):
    found, around = policy_of(count), Circumstances()
    decision = benchmark(found.judge, "tools/call", "t3", {"path": "/srv/a"}, around, 0)
    assert decision.verdict is Verdict.ALLOW


@pytest.mark.benchmark(group="remembered")
@pytest.mark.parametrize("count", [10, 900])
def test_a_name_that_decides_alone(benchmark, count):
    found = policy_of(count)
    assert benchmark(found.tool, "plain").verdict is Verdict.ALLOW
