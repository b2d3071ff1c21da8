"""Cedar behind the interface of the rules: the same cases, the same verdicts; and whatever goes wrong denies."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.model import Caller, Grade, ToolFacts, Verdict
from mcpguard.policy.cedar import compile_cedar
from mcpguard.policy.cedarprogram import program
from mcpguard.policy.cedartext import Unusable
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.engine import compile_policy
from mcpguard.policy.explanation import Asked
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.rules import GATED_METHODS
from mcpguard.policy.trials import World, explained, parse_trials
from tests.policy.cedars import AROUND, AROUND_BOTH, AS_CEDAR, AS_RULES, CALL, PERMIT, cedar, file, ruleset

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY
RULES, CEDAR = parse(AS_RULES.encode(), "r.toml"), ruleset(AS_CEDAR, AROUND_BOTH)

READ = 'who = "claude-code"\ngrade = "G2"\nserver = "files"\ntool = "read_file"\n'
MANY = 'server = "files"\ntool = "many"\n'
DEPLOY = 'server = "ops"\ntool = "deploy"\nat = 2026-11-23T10:00:00Z\nsession = ["local"]\n'
FETCH = 'server = "web"\ntool = "fetch"\n'
CALM = 'server = "s"\ntool = "calm"\n'
BUILD = 'server = "s"\ntool = "build"\n'
UNIT = 'server = "s"\ntool = "unit"\nunit = "a.service"\n'
ELICIT = 'server = "s"\nmethod = "elicitation/create"\n'
CASES = [
    (READ + 'args = { path = "/srv/src/a" }', ALLOW, "read"),
    (READ + 'args = { path = "/srv/src" }', ALLOW, "read"),
    (READ + 'args = { path = "src/a" }\ncwd = "/srv"', ALLOW, "read"),
    (READ + 'args = { path = "/srv/srcs/a" }', DENY, "default"),
    (READ + 'args = { path = "/srv/src/../../etc/passwd" }', DENY, "default"),
    (READ + 'args = { path = "~/x" }', DENY, "default"),
    (
        READ + 'args = { path = ["/srv/src/a"], x = 1 }',
        None,
        "",
    ),  # a rule has no word for a list under its name
    (READ + "args = { path = 7 }", DENY, "default"),
    (READ + 'args = { path = { path = "/srv/src/a" } }', DENY, "default"),
    (READ, DENY, "default"),
    (READ.replace("G2", "G1") + 'args = { path = "/srv/src/a" }', DENY, "default"),
    (READ.replace("claude-code", "zed") + 'args = { path = "/srv/src/a" }', DENY, "default"),
    (READ.replace("claude-code", "uid:7") + 'args = { path = "/srv/src/a" }', ALLOW, "read"),
    (READ.replace("files", "other") + 'args = { path = "/srv/src/a" }', DENY, "default"),
    (MANY + 'args = { paths = ["/srv/src/a", "/srv/src/b/c"] }', ALLOW, "read-many"),
    (MANY + 'args = { paths = ["/srv/src"] }', ALLOW, "read-many"),
    (MANY + 'args = { paths = ["/srv/src/a", "/etc/x"] }', DENY, "default"),
    (MANY + 'args = { paths = ["/srv/src/a", "~"] }', DENY, "default"),
    (MANY + 'args = { paths = [], "/paths/0" = "/srv/src/a" }', DENY, "default"),
    (DEPLOY, ALLOW, "office"),
    (DEPLOY.replace("T10", "T20"), DENY, "default"),
    (DEPLOY.replace("-23T", "-22T"), DENY, "default"),
    (DEPLOY + 'seen = "untrusted"', DENY, "default"),
    (DEPLOY.replace('"local"', '"remote"'), DENY, "default"),
    (FETCH + 'args = { url = "https://docs.python.org/3/" }', ALLOW, "web"),
    (FETCH + 'args = { url = "https://python.org", limit = 20 }', ALLOW, "web"),
    (FETCH + 'args = { url = "https://python.org", limit = 21 }', DENY, "default"),
    (FETCH + 'args = { url = "https://python.org", limit = "1" }', DENY, "default"),
    (FETCH + 'args = { url = "https://python.org.evil.com/" }', DENY, "default"),
    (FETCH + 'args = { url = "https://python.org@evil.com/" }', DENY, "default"),
    (FETCH + 'args = { url = "https://python.org" }\nseen = "private"', DENY, "no-leaks"),
    ('server = "s"\ntool = "write_file"', ASK, "writes"),
    ('server = "s"\ntool = "write_log"', ASK, "writes"),
    ('server = "s"\ntool = "write_drop"', DENY, "never"),
    (CALM, ALLOW, "harmless"),
    (CALM.replace('"s"', '"t"'), DENY, "default"),
    (CALM.replace('"s"', '"nobody"'), DENY, "default"),
    ('server = "d"\nmethod = "resources/read"\ntarget = "file:///srv/x"', ASK, "docs"),
    ('server = "d"\nmethod = "resources/subscribe"\ntarget = "file:///srv/x/y"', ASK, "docs"),
    ('server = "d"\nmethod = "resources/read"\ntarget = "file:///etc/x"', DENY, "default"),
    ('server = "d"\nmethod = "prompts/get"\ntarget = "sum-up"', ASK, "docs"),
    ('server = "e"\nmethod = "prompts/get"\ntarget = "sum-up"', DENY, "default"),
    (BUILD + 'cwd = "/srv/x"', ALLOW, "here"),
    (BUILD + 'cwd = "/srvx"', DENY, "default"),
    (BUILD, DENY, "default"),
    (UNIT, ALLOW, "unit"),
    (UNIT + 'ancestors = ["/usr/bin/bash"]', DENY, "default"),
    (UNIT.replace("a.s", "b.s"), DENY, "default"),
    (ELICIT, ALLOW, "forms"),
    (ELICIT + 'args = { mode = "form" }', ALLOW, "forms"),
    (ELICIT + 'args = { mode = "url", url = "https://x.org" }', DENY, "default"),
    ('server = "s"\nmethod = "logging/setLevel"', DENY, "no-logging"),
    ('server = "s"\nmethod = "tasks/get"', DENY, "default"),
    ('server = "s"\nmethod = "sampling/createMessage"', DENY, "default"),
]
HARMLESS = ToolFacts({"readOnlyHint": True}, "low")
WORLD = World(
    home="/home/me",
    resolve=lambda path: path if ".." not in path else "/etc/passwd",
    tools={"s": {"calm": HARMLESS}, "t": {"calm": ToolFacts({"readOnlyHint": "yes"}, "low")}},
)


@pytest.mark.parametrize(("text", "verdict", "rule"), CASES)
def test_rules_and_cedar_decide_the_same(text: str, verdict: Verdict | None, rule: str) -> None:
    (trial,) = parse_trials(f'[[case]]\nexpect = "allow"\n{text}\n'.encode(), "c.toml", 0.0)
    one, other = (explained(each, trial, WORLD).decision for each in (RULES, CEDAR))
    if verdict is not None:
        assert (one.verdict, one.rule) == (verdict, rule), one.reason
        assert (other.verdict, other.rule) == (verdict, rule), other.reason
    said = ("durable", "recheck", "confirm", "reads", "sends", "silent")
    assert verdict in (None, DENY) or [getattr(one, key) for key in said] == [
        getattr(other, key) for key in said
    ]
    named = explained(CEDAR, trial, WORLD, whatever=True).decision
    assert other.verdict <= named.verdict, "a name alone says the most that a request can become"


NAMES = [
    "read_file",
    "many",
    "deploy",
    "fetch",
    "write_file",
    "write_log",
    "a_drop",
    "calm",
    "build",
    "unit",
    "else",
]


@pytest.mark.parametrize("server", ["files", "d", "s"])
def test_what_is_shown_is_the_same(server: str) -> None:
    caller = Caller(("any", "host:claude-code"), Grade.G2, cwd="/srv/x", unit="a.service", ancestors=("x",))
    around = msgspec.structs.replace(AROUND, tools={"calm": HARMLESS})
    one, other = (compile_policy(each, server, caller, around) for each in (RULES, CEDAR))
    for name in NAMES:
        assert one.tool(name).verdict is other.tool(name).verdict, name
        assert one.tool(name).silent is other.tool(name).silent, name
    for method in GATED_METHODS:
        assert one.method(method).verdict is other.method(method).verdict, method
        assert one.method(method).silent is other.method(method).silent, method
    for extension in ("bad/x", "good/x"):
        assert one.extension(extension).silent is other.extension(extension).silent
        assert other.extension(extension).verdict is DENY
    assert other.method("tools/call").verdict is DENY


def judged(decider: Any, tool: str, value: Any = None, *, at: int = 0, seen: tuple[str, ...] = ()) -> Any:
    circumstances = Circumstances(offset=at * 10**9)
    circumstances.saw(seen, 0)
    return decider.judge("tools/call", tool, value, circumstances, 0)


def test_what_is_not_known_of_a_resource_is_the_most() -> None:
    found = cedar('@id("r") permit (principal, action, resource) when { resource.name == "file:///a" };')
    assert (found.method("resources/read").verdict, found.method("resources/read").depends) == (ALLOW, True)
    assert [found.method("resources/read", f"file:///{name}").verdict for name in "ab"] == [ALLOW, DENY]
    one = cedar('@id("r") permit (principal, action, resource == Mcpguard::Resource::"s/file:///a");')
    assert one.method("resources/read").depends
    assert [one.method("resources/read", f"file:///{name}").verdict for name in "ab"] == [ALLOW, DENY]
    assert one.judge("resources/read", "file:///a", {}, Circumstances(), 0).verdict is ALLOW
    other = cedar('@id("r") permit (principal, action, resource in Mcpguard::Server::"other");')
    assert other.method("resources/read").silent


def test_what_may_be_forbidden_and_is_never_permitted_is_not_silent() -> None:
    found = cedar('@id("f") forbid (principal, action, resource) when { context.hour == 3 };')
    assert not found.method("tasks/get").silent
    assert found.method("tasks/get").depends
    assert found.judge("tasks/get", "", {}, Circumstances(), 0).silent
    assert not found.extension("x").silent, "nothing is judged later, so what may be forbidden is"


# --- what goes wrong denies ---------------------------------------------------------------------------------

OVERFLOW = "9223372036854775807 + {} > 0"
FAILING = [
    "forbid (principal, action, resource) when { " + OVERFLOW.format("context.weekday") + " };",
    "forbid (principal, action, resource) when { " + OVERFLOW.format("principal.grade") + " };",
    "forbid (principal, action, resource) unless { " + OVERFLOW.format("context.weekday") + " };",
    "permit (principal, action, resource) when { " + OVERFLOW.format("context.weekday") + " };",
]


@pytest.mark.parametrize("text", FAILING)
def test_a_policy_that_fails_denies_even_beside_a_permit(text: str) -> None:
    """Cedar skips it and allows (measured: cedarpy 4.12.2)."""
    found = cedar(f'{PERMIT} @id("fails") {text}', Caller(grade=Grade.G1))
    decision = judged(found, "t", at=86400)
    assert decision.verdict is DENY, decision
    assert "overflow" in decision.reason
    assert not decision.silent, "what passes unless it is denied does not pass"
    assert found.judge("tasks/get", "", {}, Circumstances(offset=86400 * 10**9), 0).verdict is DENY


def test_a_request_that_does_not_fit_the_schema_is_no_answer() -> None:
    rules = ruleset(PERMIT).rules
    asking = program(rules)
    request = {
        "principal": {"type": "Mcpguard::Host", "id": "h"},
        "action": {"type": "Mcpguard::Action", "id": "tools/call"},
        "resource": {"type": "Mcpguard::Tool", "id": "s/t"},
    }
    for context in ("{}", '{"hour": "x"}', "", "[", '{"hour": 1, "more": 2}'):
        with pytest.raises(Unusable):
            asking.asked({**request, "context": context}, asking.entities([]))
    with pytest.raises(Unusable):
        asking.entities([{"uid": {"type": "Mcpguard::Nobody", "id": ""}, "attrs": {}, "parents": []}])


class Anywhere:
    """A resolver that fails: the file system is the world."""

    def __call__(self, _: str) -> str | None:
        raise OSError("the disk is gone")


PATHS = f'{PERMIT} @id("p") forbid (principal, action, resource) when {{ context.paths.hasTag("p") && context.args.hasTag("q") }};'


@pytest.mark.parametrize(
    "value",
    [
        {"p": "\ud800"},
        {"p": [["/a"] * 40] * 40},
        {str(number): "/a" for number in range(limits.CEDAR_VALUES + 1)},
        {str(number): f"/{number}" + "/d" * 90 for number in range(60)},
        ["/a"],
        7,
    ],
)
def test_what_cedar_cannot_be_asked_is_denied(value: Any) -> None:
    assert judged(cedar(PATHS), "t", value).verdict is DENY


def test_a_resolver_that_fails_denies() -> None:
    around = Surroundings(resolve=Anywhere())
    assert judged(cedar(PATHS, around=around), "t", {"p": "/a"}).verdict is DENY


def test_a_policy_that_looks_at_no_arguments_bears_any() -> None:
    many = {str(number): "/a" for number in range(limits.CEDAR_VALUES + 1)}
    assert judged(cedar(PERMIT), "t", many).verdict is ALLOW


def test_hours_that_cannot_be_told_deny() -> None:
    found = cedar(f'{PERMIT} @id("late") forbid (principal, action, resource) when {{ context.hour > 25 }};')
    assert judged(found, "t").verdict is ALLOW
    assert "time of day" in judged(found, "t", at=10**15).reason
    lost = compile_cedar(
        msgspec.structs.replace(ruleset(PATHS.replace('paths.hasTag("p")', "hour > 25")), zone="No/Where"),
        "s",
    )
    assert "time of day" in judged(lost, "t").reason


def test_names_of_any_kind_and_length_are_names() -> None:
    found = cedar('@id("a") permit (principal, action, resource) when { resource.name like "a\\"*" };')
    assert found.tool('a"\\\n\u202e').verdict is ALLOW
    assert found.tool("b" * 100_000).verdict is DENY
    assert found.tool("\ud800").verdict is DENY
    for number in range(limits.SNAPSHOT_PLANS + 10):
        assert found.tool(f'a"{number}').verdict is ALLOW
    assert len(found._plans) <= limits.SNAPSHOT_PLANS


MISSING = """
import sys
sys.modules["cedarpy"] = None
from mcpguard.errors import ConfigError
from mcpguard.model import Mode
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.engine import compile_policy
from mcpguard.policy.rules import Rule, RuleSet
from mcpguard.model import Verdict
try:
    parse(bytes.fromhex(sys.argv[1]), "p.toml")
except ConfigError as error:
    print(error.sentence())
rules = RuleSet("p.toml", "d", Mode.ENFORCE, True, (Rule("all", Verdict.ALLOW, cedar="{}"),), engine="cedar")
found = compile_policy(rules, "s")
for decision in (found.tool("t"), found.method("tasks/get"), found.extension("x"), found.judge("tools/call", "t", {}, Circumstances(), 0)):
    print(decision.verdict.name, decision.silent, decision.reason)
"""


def test_without_the_library_nothing_is_read_and_nothing_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING, file(PERMIT).hex()],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    first, *others = done.stdout.splitlines()
    assert first == "p.toml: engine: Cedar is not installed: pip install 'mcpguard[cedar]'"
    assert others == ["DENY False Cedar is not installed: pip install 'mcpguard[cedar]'"] * 4


def test_rules_do_not_cost_the_library() -> None:
    program_text = (
        "import sys; import mcpguard.daemon.policies, mcpguard.cli.policy; print('cedarpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program_text],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "False\n"


def test_a_policy_that_would_fail_later_lets_no_name_decide_alone() -> None:
    """What is asked of the name skips it; at another hour it fails, and that denies."""
    fails = "context.hour > 3 && " + OVERFLOW.format("principal.grade")
    found = cedar(
        f'{PERMIT} @id("f") forbid (principal, action, resource) when {{ {fails} }};', Caller(grade=Grade.G1)
    )
    assert found.tool("t").depends
    assert [judged(found, "t", at=hour * 3600).verdict for hour in (3, 4)] == [ALLOW, DENY]


def test_what_cedar_says_and_what_was_read_must_be_the_same() -> None:
    (forbid,) = ruleset('@id("x") forbid (principal, action, resource);').rules
    told = msgspec.structs.replace(ruleset(PERMIT), rules=(msgspec.structs.replace(forbid, effect=ALLOW),))
    assert judged(compile_cedar(told, "s"), "t").verdict is DENY


def test_a_name_that_looks_like_a_pointer_is_none() -> None:
    at = 'context.paths.hasTag("/p/0") && context.paths.getTag("/p/0") in Mcpguard::Path::"/srv"'
    found = cedar(f'@id("a") permit (principal, action, resource) when {{ {at} }};')
    assert judged(found, "t", {"p": ["/srv/a"]}).verdict is ALLOW
    forged = {"/p/0": "/srv/a", "p": ["/etc/x"]}
    for value in (forged, dict(reversed(forged.items())), {"/p/0": "/srv/a"}):
        assert judged(found, "t", value).verdict is DENY
    named = cedar(
        '@id("a") permit (principal, action, resource) when { context.args.hasTag("/~1p~10") && context.args.hasTag("/") };'
    )
    assert judged(named, "t", {"/p/0": 1, "": 2}).verdict is ALLOW


@pytest.mark.parametrize(
    ("path", "verdict"),
    [("/srv/a", ALLOW), ("/srv/link/a", DENY), ("/srv/x/../a", DENY), ("/etc/back", ALLOW), ("/srv\n/a", DENY),
     ("/srv/" + "d/" * 3000, DENY)],
)  # fmt: skip
def test_a_path_is_where_it_leads(path: str, verdict: Verdict) -> None:
    leads = {"/srv/link/a": "/etc/a", "/srv/x/../a": "/srv/elsewhere/a", "/etc/back": "/srv/back"}
    around = Surroundings(cwd="/srv", resolve=lambda text: leads.get(text, text))
    within = 'context.paths.hasTag("p") && context.paths.getTag("p") in Mcpguard::Path::"/srv"'
    found = cedar(f'@id("a") permit (principal, action, resource) when {{ {within} }};', around=around)
    assert judged(found, "t", {"p": path}).verdict is verdict


# --- explained ----------------------------------------------------------------------------------------------


def test_an_explanation_names_the_policies() -> None:
    found = cedar(
        f'{PERMIT} @id("ask") @ask permit (principal, {CALL}, resource) when {{ context.hour == 3 }};'
        f'@id("no") forbid (principal, {CALL}, resource) when {{ resource.name == "x" }};'
    )
    at = [Asked({}, Circumstances(offset=hour * 3600 * 10**9), 0) for hour in (3, 4)]
    assert [rule.id for rule in found.explain("t").matching] == ["all", "ask"]
    assert [rule.id for rule in found.explain("t", at[0]).matching] == ["all", "ask"]
    late = found.explain("t", at[1])
    assert ([rule.id for rule in late.matching], [one.rule.id for one in late.silent]) == (["all"], ["ask"])
    assert [rule.id for rule in found.explain("x", at[0]).matching] == ["no"]
    near = cedar(f'@id("ask") @ask permit (principal, {CALL}, resource) when {{ context.hour == 3 }};')
    assert [one.why for one in near.explain("t", at[1]).missed] == [
        "rule ask would match if its conditions held"
    ]
    assert near.explain("tasks/get", at[0]).decision.silent
    early = '@id("early") permit (principal, action, resource) unless { context.hour > 3 };'
    other = cedar(
        f'{early} @id("x") permit (principal, action, resource) when {{ resource.name == "x" && context.hour > 3 }};'
    )
    assert [rule.id for rule in other.explain("t").matching] == ["early"], "only what may speak of it"


# --- properties ---------------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [
        'resource.name == "read"', 'resource.name like "w*"', "principal.grade >= 2", 'context.seen.contains("l")',
        'context.args.hasTag("p") && context.args.getTag("p") like "/a*"', 'resource.server == "s"',
        'context.paths.hasTag("p") && context.paths.getTag("p") in Mcpguard::Path::"/a"', "context.hour < 12",
        'principal in Mcpguard::Principal::"uid:1"', OVERFLOW.format("context.hour"), OVERFLOW.format("principal.grade"),
        '(resource.name == "read" && context.hour < 12) || resource.name == "w"', "true", "false",
        'if context.hour < 12 then resource.name == "w" else resource.name == "read"',
        "{ a: context.hour }.a < 12", "{ Value: context.hour }.Value < 12", "{ Var: context.hour }.Var < 12",
    ]
)  # fmt: skip
CONDITIONS = st.lists(
    st.builds(
        lambda kind, parts: f"{kind} {{ {' && '.join(f'({part})' for part in parts)} }}",
        st.sampled_from(["when", "when", "unless"]),
        st.lists(PARTS, min_size=1, max_size=3),
    ),
    max_size=2,
)


def policies(effects: list[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda effect, scope, conditions: f"{effect} {scope} {' '.join(conditions)};",
        st.sampled_from(effects),
        st.sampled_from(["(principal, action, resource is Mcpguard::Tool)", f"(principal, {CALL}, resource)",
                         f'(principal, {CALL}, resource == Mcpguard::Tool::"s/read")']),
        CONDITIONS,
    )  # fmt: skip


EFFECTS = ["permit", "permit", "@ask permit", "forbid"]
POLICIES = st.lists(policies(EFFECTS), min_size=1, max_size=4)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["read", "w", "wx"]),
        st.sampled_from([None, {}, {"p": "/a/x"}, {"p": "/b"}, {"p": 7}, {"p": ["/a/b", "/a/c"]}]),
        st.booleans(),
        st.sampled_from([0, 43200]),
    ),
    min_size=1,
    max_size=4,
)
CALLERS = st.sampled_from([Caller(), Caller(("any", "uid:1")), Caller(("any", "host:a"), Grade.G3)])


def text(several: list[str], prefix: str = "p") -> str:
    return "\n".join(f'@id("{prefix}{number}") {each}' for number, each in enumerate(several))


LOOKING = (
    '@id("z") forbid (principal, action, resource) when { '
    + " + ".join(f"context.{member}" for member in ("hour", "minute", "weekday"))
    + ' > 2000 && context.args.hasTag("z") && context.paths.hasTag("z") && context.seen.contains("z") };'
)


def verdicts(decider: Any, requests: list[Any]) -> list[Verdict]:
    found = []
    for tool, value, seen, at in requests:
        found.append(judged(decider, tool, value, at=at, seen=("l",) if seen else ()).verdict)
        assert found[-1] <= decider.tool(tool).verdict, "a name alone says the most that a request can become"
    return found


@settings(max_examples=120, deadline=None)
@given(POLICIES, policies(["forbid"]), CALLERS, REQUESTS)
def test_adding_a_forbid_never_allows_more(
    several: list[str], another: str, caller: Caller, requests: list[Any]
) -> None:
    before = verdicts(cedar(text(several), caller), requests)
    after = verdicts(cedar(text([*several, another]), caller), requests)
    assert all(late <= early for late, early in zip(after, before, strict=True))


@settings(max_examples=120, deadline=None)
@given(POLICIES, CALLERS, REQUESTS)
def test_a_name_that_decides_alone_decides_as_cedar_does(
    several: list[str], caller: Caller, requests: list[Any]
) -> None:
    """A policy that looks at the context of every name makes all of them depend: then Cedar is asked in full.

    Where it fails in full and not so, what failed could not have had a say of this name.
    """
    found, full = cedar(text(several), caller), cedar(text(several) + LOOKING, caller)
    verdicts(found, requests)
    for tool, value, seen, at in requests:
        asked = {"at": at, "seen": ("l",) if seen else ()}
        one, other = judged(found, tool, value, **asked), judged(full, tool, value, **asked)
        if "overflow" not in other.reason:
            assert (one.verdict, one.rule) == (other.verdict, other.rule)
        elif "overflow" not in one.reason:
            failing = {
                f"p{number}"
                for number, each in enumerate(several)
                if "overflow" in judged(cedar(text([each]) + LOOKING, caller), tool, value, **asked).reason
            }
            assert failing
            assert failing.isdisjoint(rule.id for rule in found.explain(tool).matching)


@settings(max_examples=60, deadline=None)
@given(POLICIES, st.sampled_from(["deny", "ask"]), st.sampled_from(["*", "w*", "read"]), CALLERS, REQUESTS)
def test_a_projects_file_never_widens_cedar(
    several: list[str], effect: str, tools: str, caller: Caller, requests: list[Any]
) -> None:
    outer = cedar(text(several), caller)
    rule = f'version = 1\n[[rule]]\nid = "x"\neffect = "{effect}"\ntools = ["{tools}"]\nargs.p = {{ type = "string" }}\n'
    narrowed = narrow(outer, parse_project(rule.encode(), ".mcpguard.toml"), caller, AROUND)
    before, after = verdicts(outer, requests), verdicts(narrowed, requests)
    assert all(late <= early for late, early in zip(after, before, strict=True))
