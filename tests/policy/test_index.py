"""Which rules speak of a name: the same ones that asking every rule in turn would find, and none looked at in vain."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Verdict
from mcpguard.policy.globs import compile_glob
from mcpguard.policy.index import COMPLETION, PROMPT, RESOURCES, TARGETED, Index, Names
from mcpguard.policy.match import Pattern, compile_pattern
from mcpguard.policy.rules import GATED_METHODS, Elicit, Rule

TASKS = sorted(method for method in GATED_METHODS if method.startswith("tasks/"))
PATTERNS = st.text("ab/*?", min_size=1, max_size=6)
NAMES = st.text("ab/", max_size=7)


def rule(ident="r", **selectors):
    compiled = {
        key: tuple(map(compile_pattern, value)) if isinstance(value, list) else value
        for key, value in selectors.items()
    }
    return Rule(ident, Verdict.ALLOW, **compiled)


def ids(rules):
    return sorted(each.id for each in rules)


# --- names ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=12), NAMES)
def test_a_name_finds_what_asking_every_pattern_finds(patterns, name):
    names, compiled = Names(), []
    for number, (text, is_glob) in enumerate(patterns):
        pattern = compile_glob(text) if is_glob else compile_pattern(text)
        names.add(pattern, number)
        compiled.append(pattern)
    assert bool(names) is bool(patterns)
    assert sorted(names.of(name)) == [n for n, pattern in enumerate(compiled) if pattern.matches(name)]
    assert sorted(names.all()) == list(range(len(patterns)))


class Counted:
    """A pattern that counts how often it is asked."""

    asked = 0

    def __init__(self, text):
        self.text, self.inner = text, compile_pattern(text)

    def matches(self, name):
        Counted.asked += 1
        return self.inner.matches(name)


def test_a_name_costs_the_patterns_that_begin_like_it_and_no_others():
    names = Names()
    for number in range(1000):
        names.add(Counted(f"tool-{number:03}-*"), f"like {number}")
        names.add(Counted(f"exact-{number:03}"), f"just {number}")
    Counted.asked = 0
    assert list(names.of("tool-007-read")) == ["like 7"]
    assert list(names.of("exact-007")) == ["just 7"]
    assert list(names.of("t")) == []
    assert Counted.asked == 1


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("/srv/**", "/srv"), ("/**", ""), ("a?", "ab"), ("**", ""), ("?", "x"), ("/srv/**/", "/srv/")],
)
def test_a_name_that_is_shorter_than_its_pattern_is_found_all_the_same(pattern, name):
    names = Names()
    names.add(compile_glob(pattern), "found")
    assert list(names.of(name)) == ["found"]


# --- which selector speaks of which method -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selectors", "methods"),
    [
        ({"sampling": True}, ["sampling/createMessage"]),
        ({"roots": True}, ["roots/list"]),
        ({"elicitation": Elicit()}, ["elicitation/create"]),
        ({"elicitation": Elicit(("url",))}, ["elicitation/create"]),
        ({"logging": True}, ["logging/setLevel", "notifications/message"]),
        ({"tasks": True}, TASKS),
        ({"methods": ["tasks/*"]}, TASKS),
        ({"methods": ["*"]}, sorted(GATED_METHODS)),
        ({"methods": ["resources/*subscribe"]}, ["resources/subscribe", "resources/unsubscribe"]),
        ({"methods": ["tools/call", "prompts/list"]}, []),
        ({"resources": ["**"]}, sorted(RESOURCES)),
        ({"prompts": ["*"]}, [PROMPT]),
        ({"completions": ["*"]}, [COMPLETION]),
        ({"resources": ["*"]}, []),
        ({"prompts": ["**"]}, []),
        ({"tools": ["*"]}, []),
        ({"extensions": ["*"]}, []),
    ],
)  # fmt: skip
def test_a_selector_speaks_of_whole_methods(selectors, methods):
    index = Index([rule(**selectors)])
    assert [method for method in sorted(GATED_METHODS) if index.whatever(method)] == methods


@pytest.mark.parametrize(
    ("selectors", "fits", "others"),
    [
        ({"resources": ["file:///srv/*"]}, [(m, "file:///srv/a") for m in RESOURCES], [(m, "file:///srv/a/b") for m in RESOURCES]),
        ({"resources": ["file:///srv/**"]}, [(RESOURCES[0], "file:///srv"), (RESOURCES[0], "file:///srv/a/b")], [(RESOURCES[0], "file:///srvx"), (PROMPT, "file:///srv")]),
        ({"resources": ["*"]}, [(RESOURCES[0], "x:y")], [(RESOURCES[0], "file:///a")]),
        ({"prompts": ["plan-*"]}, [(PROMPT, "plan-a/b")], [(PROMPT, "plan"), (COMPLETION, "plan-a"), (RESOURCES[0], "plan-a")]),
        ({"completions": ["prompt plan*"]}, [(COMPLETION, "prompt plan/a")], [(COMPLETION, "resource plan"), (PROMPT, "prompt plan")]),
        ({"completions": ["resource file:///*"]}, [(COMPLETION, "resource file:///a")], [(COMPLETION, "resource file:///a/b")]),
        ({"completions": ["resource file:///**"]}, [(COMPLETION, "resource file:///a/b")], [(COMPLETION, "prompt file:///a/b")]),
        ({"sampling": True}, [("sampling/createMessage", ""), ("sampling/createMessage", "x")], [("roots/list", "")]),
    ],
)  # fmt: skip
def test_a_selector_speaks_of_targets(selectors, fits, others):
    index = Index([rule(**selectors)])
    assert [one for one in fits if not index.method(*one)] == []
    assert [one for one in others if index.method(*one)] == []


def test_tools_extensions_and_methods_are_rooms_of_their_own():
    index = Index([rule("t", tools=["x"]), rule("e", extensions=["x"]), rule("p", prompts=["x"])])
    assert (ids(index.tool("x")), ids(index.extension("x")), ids(index.method(PROMPT, "x"))) == (
        ["t"],
        ["e"],
        ["p"],
    )


def test_a_rule_that_speaks_of_something_in_many_ways_is_named_once():
    many = rule(
        tools=["*", "a*", "a", "?"],
        extensions=["*", "a"],
        methods=["*", "prompts/*", PROMPT],
        prompts=["*", "a", "a*"],
    )
    index = Index([many])
    assert (index.tool("a"), index.extension("a"), index.method(PROMPT, "a")) == ([many], [many], [many])
    assert (index.whatever(PROMPT), index.aimed(PROMPT)) == ([many], [])


def test_rules_that_say_the_same_are_two_rules():
    twice = [rule(tools=["a"], prompts=["a"]), rule(tools=["a"], prompts=["a"])]
    index = Index(twice)
    assert len(index.tool("a")) == len(index.method(PROMPT, "a")) == len(index.aimed(PROMPT)) == 2


def test_a_method_without_targets_has_no_rule_that_is_aimed():
    index = Index([rule(methods=["*"], resources=["a"], prompts=["a"], sampling=True)])
    assert [method for method in GATED_METHODS - TARGETED if index.aimed(method)] == []
    with pytest.raises(KeyError):
        index.method("tools/call", "a")


# --- any rules, any names ------------------------------------------------------------------------------------


def speaks(each: Rule, method: str, target: str) -> bool:
    """What the module says a rule speaks of, word for word."""

    def some(patterns: tuple[Pattern, ...], glob: bool = False) -> bool:
        return any((compile_glob(one.text) if glob else one).matches(target) for one in patterns)

    of_resources = tuple(one for one in each.completions if one.text.startswith("resource "))
    others = tuple(one for one in each.completions if one not in of_resources)
    return any(
        [
            any(pattern.matches(method) for pattern in each.methods),
            method in RESOURCES and some(each.resources, glob=True),
            method == PROMPT and some(each.prompts),
            method == COMPLETION and (some(of_resources, glob=True) or some(others)),
            method == "sampling/createMessage" and each.sampling,
            method == "roots/list" and each.roots,
            method == "elicitation/create" and each.elicitation is not None,
            method in ("logging/setLevel", "notifications/message") and each.logging,
            method.startswith("tasks/") and each.tasks,
        ]
    )


SOME = st.lists(PATTERNS, max_size=2)
METHODS = st.lists(
    st.sampled_from(["*", "tasks/*", "resources/*", "*/get", "roots/list", "?ools/call", "*ing*"]), max_size=2
)
COMPLETIONS = st.lists(
    PATTERNS | PATTERNS.map("resource ".__add__) | PATTERNS.map("prompt ".__add__), max_size=2
)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "tools": SOME, "extensions": SOME, "methods": METHODS, "resources": SOME, "prompts": SOME, "completions": COMPLETIONS,
            "sampling": st.booleans(), "roots": st.booleans(), "logging": st.booleans(), "tasks": st.booleans(),
            "elicitation": st.sampled_from([None, Elicit(), Elicit(("url",))]),
        }
    ),
    max_size=5,
)  # fmt: skip


@settings(max_examples=150)
@given(RULES, NAMES | NAMES.map("resource ".__add__) | NAMES.map("prompt ".__add__))
def test_an_index_finds_what_asking_every_rule_finds(bodies, name):
    rules = [rule(f"r{number}", **body) for number, body in enumerate(bodies)]
    index = Index(rules)
    assert ids(index.tool(name)) == ids(
        each for each in rules if any(one.matches(name) for one in each.tools)
    )
    assert ids(index.extension(name)) == ids(
        each for each in rules if any(one.matches(name) for one in each.extensions)
    )
    for method in GATED_METHODS:
        found, whatever, aimed = (
            ids(each) for each in (index.method(method, name), index.whatever(method), index.aimed(method))
        )
        assert found == ids(each for each in rules if speaks(each, method, name)), method
        assert set(whatever) <= set(found) <= {*whatever, *aimed}
        assert set(whatever).isdisjoint(aimed)
