"""The built-in policy watches and refuses nothing that is gated."""

import pytest

from mcpguard.model import Mode, Verdict
from mcpguard.policy.builtin import OBSERVE, observe_snapshot
from mcpguard.policy.rules import GATED_METHODS


@pytest.mark.parametrize("name", ["", "read_file", "\x1b[31m", "resources/read"])
def test_every_tool_is_allowed_by_observe(name):
    decision = observe_snapshot("files").tool(name)
    assert decision is OBSERVE
    assert (decision.verdict, decision.rule, decision.origin) == (Verdict.ALLOW, "observe", "built in")
    assert decision.reason == "no policy is applied; watching only"
    assert not decision.durable


def test_every_gated_method_is_allowed_and_nothing_else():
    snapshot = observe_snapshot("files")
    assert {snapshot.method(method) for method in GATED_METHODS} == {OBSERVE}
    assert snapshot.method("tools/call").verdict is Verdict.DENY


def test_it_says_that_it_observes():
    snapshot = observe_snapshot("files")
    assert (snapshot.mode, snapshot.observing, snapshot.neutralise) == (Mode.OBSERVE, True, False)
    assert (snapshot.policy, snapshot.server) == ("built-in", "files")
    assert snapshot.explain("x").matching == ()
