"""What holds of every policy: adding a denial never allows more, order means nothing, a project never widens."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Caller, Grade, Verdict
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.snapshot import compile_snapshot

CALLERS = st.sampled_from([Caller(), Caller(("any", "uid:1")), Caller(("any", "host:a"), Grade.G3)])
ARGUMENTS = st.sampled_from([{}, {"p": "/a/x"}, {"p": "/b"}, {"p": "~"}, {"p": 7}, {"n": 1, "p": "/a"}])
TOOLS = st.sampled_from(["read", "readx", "write", "w"])
AROUND = Surroundings(home="/home/me", cwd="/a", resolve=lambda path: path)
LABELS = '[[label]]\ntools = ["w*"]\nreads = ["l"]\n[[label]]\ntools = ["read"]\nsends = ["s"]\n'


def words(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def body(effect: str, tools: list[str], who: str, more: str, when: str) -> str:
    evidence = more if effect != "deny" or "args" in more else ""
    return f'effect = "{effect}"\ntools = {words(tools)}\nwho = ["{who}"]\n{evidence}\n{when}\n'


def rules(effects: list[str]) -> st.SearchStrategy[str]:
    return st.builds(
        body,
        st.sampled_from(effects),
        st.lists(st.sampled_from(["*", "read", "read*", "w*", "?"]), min_size=1, max_size=2),
        st.sampled_from(["any", "any", "uid:1", "host:a"]),
        st.sampled_from(
            ["", "", 'grade = "G2"', 'args.p = { under = ["/a"] }', "args.p = { type = 'string', optional = true }",
             'args.p = { under = ["/"], deny = ["/b"] }']
        ),
        st.sampled_from(["", "", 'when = { after = ["l"] }', 'when = { after_not = ["l"] }', 'when = { sends = ["s"] }']),
    )  # fmt: skip


RULES = st.lists(rules(["allow", "ask", "deny"]), max_size=6)
REQUESTS = st.lists(st.tuples(TOOLS, ARGUMENTS, st.booleans()), min_size=1, max_size=6)


def text(bodies: list[str], prefix: str = "r") -> str:
    return LABELS + "".join(f'[[rule]]\nid = "{prefix}{n}"\n{each}' for n, each in enumerate(bodies))


def policy(bodies: list[str], prefix: str = "r"):
    return parse(f'version = 1\nmode = "enforce"\n{text(bodies, prefix)}'.encode(), "p")


def verdicts(decider: Any, requests: list[Any]) -> list[Verdict]:
    found = []
    for tool, arguments, seen in requests:
        circumstances = Circumstances()
        circumstances.saw(["l"] if seen else [], 0)
        found.append(decider.judge("tools/call", tool, arguments, circumstances, 0).verdict)
        assert found[-1] <= decider.tool(tool).verdict  # the name alone is the most that a call can become
    return found


@settings(max_examples=150)
@given(RULES, rules(["deny"]), CALLERS, REQUESTS)
def test_adding_a_denial_never_allows_more(
    bodies: list[str], denial: str, caller: Caller, requests: list[Any]
) -> None:
    before = verdicts(compile_snapshot(policy(bodies), "s", caller, AROUND), requests)
    after = verdicts(compile_snapshot(policy([*bodies, denial]), "s", caller, AROUND), requests)
    assert all(late <= early for late, early in zip(after, before, strict=True))


@settings(max_examples=150)
@given(RULES.flatmap(lambda bodies: st.tuples(st.just(bodies), st.permutations(bodies))), CALLERS, REQUESTS)
def test_the_order_of_rules_means_nothing(both: Any, caller: Caller, requests: list[Any]) -> None:
    first, second = (
        verdicts(compile_snapshot(policy(list(each)), "s", caller, AROUND), requests) for each in both
    )
    assert first == second


@settings(max_examples=150)
@given(RULES, st.lists(rules(["ask", "deny"]), max_size=4), CALLERS, REQUESTS)
def test_a_projects_file_never_widens(
    bodies: list[str], project: list[str], caller: Caller, requests: list[Any]
) -> None:
    outer = compile_snapshot(policy(bodies), "s", caller, AROUND)
    theirs = parse_project(f"version = 1\n{text(project, 'q')}".encode(), ".mcpguard.toml")
    narrowed = narrow(outer, theirs, caller, AROUND)
    before, after = verdicts(outer, requests), verdicts(narrowed, requests)
    assert all(late <= early for late, early in zip(after, before, strict=True))


@settings(max_examples=100)
@given(RULES, CALLERS, REQUESTS)
def test_less_evidence_never_gets_more(bodies: list[str], caller: Caller, requests: list[Any]) -> None:
    known = Caller(caller.principals, Grade.G4)
    unknown = Caller(caller.principals, Grade.G0)
    ruleset = policy(bodies)
    more = verdicts(compile_snapshot(ruleset, "s", known, AROUND), requests)
    less = verdicts(compile_snapshot(ruleset, "s", unknown, AROUND), requests)
    assert all(low <= high for low, high in zip(less, more, strict=True))
