"""What the gate asks of any policy: the contract holds for a snapshot, the built-in policy and a narrowed one."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Mode, Verdict
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.decider import Decider
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.rules import GATED_METHODS
from mcpguard.policy.snapshot import compile_snapshot

POLICY = """version = 1
mode = "enforce"
text = "as-is"
schemas = "ignore"
[[rule]]
id = "some"
tools = ["read"]
effect = "allow"
rate = "1/min"
[[rule]]
id = "open"
tools = ["list"]
methods = ["*"]
extensions = ["org.*"]
effect = "allow"
[[rule]]
id = "mine"
tools = ["write"]
effect = "ask"
args.path = { under = ["/srv"] }
[[rule]]
id = "no-forms"
elicitation = { mode = "form" }
effect = "deny"
"""
PROJECT = 'version = 1\n[[rule]]\nid = "p"\ntools = ["list", "write"]\neffect = "ask"\nargs.path = { type = "string" }\n'

RULESET = parse(POLICY.encode(), "p.toml")
PLAIN = compile_snapshot(RULESET, "files")
NARROWED = narrow(PLAIN, parse_project(PROJECT.encode(), "q"))
TWICE = narrow(NARROWED, parse_project(PROJECT.replace('"p"', '"q"').encode(), "r"))
BUILT_IN = observe_snapshot("files")
ALL = {"plain": PLAIN, "narrowed": NARROWED, "twice": TWICE, "built in": BUILT_IN}
every = pytest.mark.parametrize("decider", ALL.values(), ids=ALL)


@every
def test_it_has_every_member_with_the_same_parameters(decider):
    for name in Decider.__annotations__:
        assert isinstance(getattr(decider, name), (str, bool, Mode)), name
    verbs = [name for name, member in vars(Decider).items() if inspect.isfunction(member) and name[0] != "_"]
    assert sorted(verbs) == ["extension", "judge", "method", "tool"]
    for name in verbs:
        mine, wanted = (
            list(inspect.signature(getattr(each, name)).parameters.values())
            for each in (type(decider), Decider)
        )
        assert [(each.name, each.default) for each in mine] == [(each.name, each.default) for each in wanted]


@pytest.mark.parametrize("decider", [PLAIN, NARROWED, TWICE], ids=["plain", "narrowed", "twice"])
def test_what_holds_for_the_connection_is_what_the_policy_says(decider):
    assert (decider.mode, decider.observing, decider.server) == (Mode.ENFORCE, False, "files")
    assert (decider.neutralise, decider.schemas) == (False, False)
    assert decider.policy.split("+")[0] == RULESET.digest


def test_until_a_policy_is_applied_everything_passes_and_is_watched():
    assert (BUILT_IN.policy, BUILT_IN.mode, BUILT_IN.observing) == ("built-in", Mode.OBSERVE, True)
    assert (BUILT_IN.neutralise, BUILT_IN.schemas) == (False, False)
    around = Circumstances()
    for found in (BUILT_IN.tool("anything"), BUILT_IN.judge("tools/call", "anything", {}, around, 0)):
        assert (found.verdict, found.rule) == (Verdict.ALLOW, "observe")


@every
@pytest.mark.parametrize(
    "method", ["", "tools/list", "prompts/list", "ping", "nonsense", "TASKS/GET", "tools/call"]
)
def test_what_is_no_gated_method_is_denied(decider, method):
    found = decider.method(method)
    assert (found.verdict, found.depends) == (Verdict.DENY, False)
    if method != "tools/call":
        assert decider.judge(method, "x", {}, Circumstances(), 0).verdict is Verdict.DENY


def test_policies_that_narrow_others_have_digests_of_their_own():
    digests = {decider.policy for decider in ALL.values()}
    assert len(digests) == len(ALL)


TOOLS = st.sampled_from(["read", "list", "write", "other", ""])
VALUES = st.sampled_from(
    [None, {}, {"path": "/srv/a"}, {"path": "/etc"}, {"path": 7}, {"mode": "url", "url": "https://x"}, [], 7]
)


@settings(max_examples=60)
@given(
    st.sampled_from(list(ALL.values())), TOOLS | st.sampled_from(sorted(GATED_METHODS)), VALUES, st.booleans()
)
def test_a_request_gets_at_most_what_its_name_gets_and_just_that_where_nothing_depends(
    decider, name, value, used
):
    around = Circumstances()
    gated = name in GATED_METHODS
    method, target = (name, "x") if gated else ("tools/call", name)
    bound = decider.method(name, "x") if gated else decider.tool(name)
    if used:
        around.meters.take(decider.judge(method, target, value, around, 0).charges, 0, 0.0)
    found = decider.judge(method, target, value, around, 0)
    assert found.verdict <= bound.verdict
    assert not found.depends
    assert (found == bound) or bound.depends
    assert decider.judge(method, target, value, around, 0) == found, "looking takes nothing"
    if gated:
        assert bound.verdict <= decider.method(name).verdict, "without a target, the most that any can become"


@every
def test_an_extension_that_no_rule_speaks_of_is_silent(decider):
    found = decider.extension("com.other/x")
    if decider is BUILT_IN:
        assert found.verdict is Verdict.ALLOW
    else:
        assert found.silent
        assert decider.extension("org.known").verdict is Verdict.ALLOW
