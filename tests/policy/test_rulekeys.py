"""Every key of a rule and of a label: what it may say, and one sentence with its line for all else."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.model import DAY, Grade, Verdict
from mcpguard.policy.document import parse, parse_project, parse_system
from mcpguard.policy.rules import PER, Elicit, Limit

HEAD = 'version = 1\nmode = "enforce"\n'


def rule(body: str, before: str = ""):
    text = f'{HEAD}{before}[[rule]]\nid = "r"\n{body}\n'
    return parse(text.encode(), "p.toml").rules[-1]


def fault(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "p.toml")
    assert "\n" not in caught.value.sentence()
    return caught.value


TOOL = 'tools = ["t"]\neffect = "allow"\n'
ASKING = '[[rule]]\nid = "q"\ntools = ["t"]\neffect = "ask"\n'


def test_what_a_rule_speaks_of() -> None:
    found = rule(
        'effect = "ask"\nresources = ["file:///srv/**"]\nprompts = ["p*"]\ncompletions = ["prompt p"]\n'
        'sampling = true\nelicitation = true\nroots = true\nlogging = true\ntasks = true\nextensions = ["x/*"]'
    )
    assert found.effect is Verdict.ASK
    assert (found.sampling, found.roots, found.logging, found.tasks) == (True,) * 4
    assert found.elicitation == Elicit()
    assert [found.resources[0].text, found.prompts[0].text] == ["file:///srv/**", "p*"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ('rate = "60/min"', Limit(60, 60.0)),
        ('rate = "5 / s"', Limit(5, 1.0)),
        ('rate = { limit = "3/h", per = ["tool", "principal"] }', Limit(3, 3600.0, ("principal", "tool"))),
        ("concurrency = 2", Limit(2, 0.0)),
        ("concurrency = { limit = 2 }", Limit(2, 0.0, PER)),
        ('budget = "10/day"', Limit(10, DAY)),
    ],
)
def test_amounts(text: str, limit: Limit) -> None:
    assert rule(TOOL + text).limits == (limit,)


def test_circumstances() -> None:
    when = rule(
        TOOL
        + 'when = { hours = ["22:00-06:00", "12:00-24:00"], days = ["sat-mon", "wed"], zone = "Asia/Tokyo", '
        'after = ["a"], after_not = ["b"], reads = ["c"], sends = ["d"], session = "local", cwd = "~/x", '
        'host_version = [">=1.2", "!= 2.0"], annotations = { readOnlyHint = true }, risk = "lo*" }'
    ).when
    assert when is not None
    assert when.hours == ((1320, 360), (720, 1440))
    assert when.days == {5, 6, 0, 2}
    assert (when.zone, when.after, when.after_not, when.reads, when.sends) == (
        "Asia/Tokyo", ("a",), ("b",), ("c",), ("d",),
    )  # fmt: skip
    assert (when.session, when.cwd, when.release) == (("local",), ("~/x",), ((">=", "1.2"), ("!=", "2.0")))
    assert when.annotations == {"readOnlyHint": True}
    assert when.risk[0].matches("low")


def test_principals_of_every_kind() -> None:
    who = ["any", "uid:0", "uid:1000", "group:dev.team", "host:claude-code", "role:a"]
    text = '[roles]\na = ["host:x", "role:b"]\nb = ["uid:5"]\n'
    assert rule(f"{TOOL}who = {who!r}", text).who == tuple(who)
    ruleset = parse((HEAD + text).encode(), "p")
    assert ruleset.roles == {"a": ("host:x", "uid:5"), "b": ("uid:5",)}


def test_labels() -> None:
    text = '[[label]]\nserver = ["web", "w*"]\ntools = ["fetch"]\nreads = "untrusted"\nsends = ["external"]\n'
    (label,) = parse((HEAD + text).encode(), "p").labels
    assert (label.reads, label.sends, label.line) == (("untrusted",), ("external",), 3)


def test_approvals() -> None:
    text = '[approvals]\ntimeout = "90s"\nelicitation = ["host:a"]\nnotify = false\npresence = ["fido2", "fido2"]\n'
    approving = parse((HEAD + text).encode(), "p").approving
    assert (approving.timeout, approving.elicitation, approving.notify, approving.presence) == (
        90.0, ("host:a",), False, ("fido2",),
    )  # fmt: skip


def test_restart() -> None:
    restarting = parse(
        (HEAD + '[restart]\nservers = ["files", "git-*"]\ntimes = 5\nwithin = "2m"\n').encode(), "p"
    ).restarting
    assert ([pattern.text for pattern in restarting.servers], restarting.times, restarting.seconds) == (
        ["files", "git-*"], 5, 120.0,
    )  # fmt: skip
    assert not parse(HEAD.encode(), "p").restarting.servers


WRONG = [
    # key by key: body of a rule that begins on line 3, line of the fault, words of the sentence
    (TOOL + 'tool = ["x"]', 7, "did you mean tools"),
    (TOOL + "who = []", 7, "expected a list of principals, found an empty list"),
    (TOOL + 'who = "any"', 7, "principals"),
    (TOOL + 'who = ["claude"]', 7, 'write who = ["host:claude-code"]'),
    (TOOL + 'who = ["uid:-1"]', 7, "uid:N"),
    (TOOL + 'who = ["uid:007"]', 7, "uid:N"),
    (TOOL + 'who = ["group:"]', 7, "group:NAME"),
    (TOOL + 'who = ["role:nobody"]', 7, "expected a role of this file"),
    (TOOL + 'grade = "G5"', 7, "G4"),
    (TOOL + "rate = 5", 7, "expected an amount such as 60/min"),
    (TOOL + 'rate = "0/s"', 7, "expected an amount such as 60/min"),
    (TOOL + 'rate = "5/day"', 7, "60/min"),
    (TOOL + 'rate = "5/minute"', 7, "60/min"),
    (TOOL + 'rate = { limit = "5/s", per = ["host"] }', 7, "principal"),
    (TOOL + 'rate = { per = ["tool"] }', 7, "limit"),
    (TOOL + 'budget = "5/h"', 7, "500/day"),
    (TOOL + "concurrency = 0", 7, "expected"),
    (TOOL + 'concurrency = "1"', 7, "expected"),
    (TOOL + "result_bytes = -1", 7, "expected"),
    (TOOL + "result_bytes = true", 7, "expected"),
    (TOOL + 'confirm = "presence"', 7, 'expected effect = "ask" beside confirm'),
    (TOOL + 'confirm = "yes"', 7, "presence"),
    (TOOL + 'answers = ["q"]', 7, "expected the id of a rule that asks"),
    (TOOL + "when = { }", 7, "expected a condition, found none"),
    (TOOL + 'when = { hour = "08:00-09:00" }', 7, "did you mean hours"),
    (TOOL + 'when = { hours = "8-9" }', 7, "expected hours such as 08:00-20:00"),
    (TOOL + 'when = { hours = "08:00-08:00" }', 7, "the whole day is 00:00-24:00"),
    (TOOL + 'when = { hours = "08:60-09:00" }', 7, "expected hours"),
    (TOOL + 'when = { hours = "24:00-09:00" }', 7, "expected hours"),
    (TOOL + 'when = { days = ["monday"] }', 7, "expected mon, tue"),
    (TOOL + 'when = { days = ["mon-"] }', 7, "expected mon, tue"),
    (TOOL + 'when = { hours = "08:00-09:00", zone = "Europe/Bonn" }', 7, "expected a time zone such as Europe/Berlin"),
    (TOOL + 'when = { hours = "08:00-09:00", zone = "../../etc/passwd" }', 7, "expected a time zone"),
    (TOOL + 'when = { zone = "UTC" }', 7, "expected hours or days beside a zone"),
    (TOOL + 'when = { session = ["locked", "unlocked"] }', 7, "which never holds"),
    (TOOL + 'when = { session = "away" }', 7, "local"),
    (TOOL + 'when = { host_version = "1.2" }', 7, "expected a comparison such as >=1.2"),
    (TOOL + "when = { annotations = { readOnly = true } }", 7, "did you mean readOnlyHint"),
    (TOOL + 'when = { annotations = { readOnlyHint = "yes" } }', 7, "true or false"),
    (TOOL + 'when = { cwd = "src" }', 7, "expected an absolute folder"),
    (TOOL + 'when = { after = ["Not A Name"] }', 7, "expected"),
    (TOOL + "args.path = {}", 7, "expected a constraint, found none"),
    (TOOL + 'args.path = { undr = ["/x"] }', 7, "did you mean under"),
    (TOOL + 'args.path = { under = ["x"] }', 7, "expected an absolute folder"),
    (TOOL + 'args.path = { under = ["/a/../b"] }', 7, "expected an absolute folder"),
    (TOOL + 'args.path = { under = ["/a/*"] }', 7, "everything below a folder is meant"),
    (TOOL + 'args.path = { deny = ["a[b"] }', 7, "bad glob"),
    (TOOL + 'args.path = { type = "strnig" }', 7, "cannot be used"),
    (TOOL + 'args.path = { "$ref" = "http://127.0.0.1:1/" }', 7, "never fetched"),
    (TOOL + 'args.path = { pattern = "(?<=a)" }', 7, "cannot be used"),
    (TOOL + "args.path = { properties = { a = { maxLen = 1 } } }", 7, "did you mean maxLength"),
    (TOOL + 'args."/a~2" = { const = 1 }', 7, "~ is written ~0"),
    (TOOL + "args = 5", 7, "expected a table"),
    (TOOL + 'resources = ["file:///a[b"]', 7, "bad glob"),
    ('sampling = true\neffect = "allow"\nargs.x = { const = 1 }', 7, "expected tools or prompts beside args"),
    (TOOL + "sampling = true\nargs.x = { const = 1 }", 8, "write two rules"),
    (TOOL + "elicitation = 5", 7, "expected a table"),
    (TOOL + 'elicitation = { mode = "page" }', 7, "form"),
    (TOOL + 'elicitation = { mode = "form", hosts = ["a.example"] }', 7, 'expected mode "url" beside hosts'),
    (TOOL + 'sampling = "yes"', 7, "true or false"),
    ('effect = "allow"', 3, "tools"),
    ('effect = "allow"\nsampling = false', 3, "tools"),
    ('tools = ["t"]\neffect = "deny"\nrate = "5/s"', 7, "expected no rate in a rule that denies"),
    ('tools = ["t"]\neffect = "deny"\ngrade = "G2"', 7, "expected no grade in a rule that denies"),
    ('tools = ["t"]\neffect = "ask"\nanswers = ["q"]', 7, 'expected effect = "allow" beside answers'),
    ('methods = ["tools/call"]\neffect = "allow"', 5, "tools are named in tools"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "words"), WRONG)
def test_what_a_key_may_not_say(body: str, line: int, words: str) -> None:
    error = fault(f'{HEAD}[[rule]]\nid = "r"\n{body}\n')
    assert words in error.sentence(), error.sentence()
    assert error.line == line, error.sentence()
    assert error.file == "p.toml"


TOP = [
    ("roles = 5", 3, "write [roles]"),
    ('[roles]\nA = ["any"]', 4, "expected"),
    ('[roles]\na = ["role:b"]\nb = ["role:a"]', 4, "hold each other"),
    ('[roles]\na = ["role:a"]', 4, "hold each other: a -> a"),
    ('[roles]\na = ["role:c"]', 4, "expected a role of this file"),
    ('[roles]\na = ["zed"]', 4, "host:NAME"),
    ('zone = "Mars"', 3, "expected a time zone"),
    ('[approvals]\ntimeout = "2h"', 4, "expected at most 1h"),
    ("[approvals]\ntimeout = 5", 4, "expected"),
    ('[approvals]\npresence = ["smile"]', 4, "polkit"),
    ("[approvals]\nwhom = 1", 4, "expected a known key"),
    ("[restart]", 3, "servers"),
    ("[restart]\nservers = []", 4, "expected"),
    ('[restart]\nservers = ["*"]\ntimes = 0', 5, "expected a whole number from 1 to 100"),
    ('[restart]\nservers = ["*"]\nwithin = 5', 5, "expected"),
    ('[restart]\nserver = ["*"]', 4, "did you mean servers"),
    ('schemas = "maybe"', 3, "check"),
    ('engine = "rego"', 3, "cedar"),
    ('engine = "cedar"', 0, "cedar"),
    ('cedar = "permit(principal, action, resource);"', 3, 'engine = "cedar"'),
    ('final = ["mode"]', 3, "expected a known key"),
    ('[[label]]\ntools = ["t"]', 3, "reads or sends"),
    ('[[label]]\nreads = ["x"]', 3, "tools"),
    ('[[label]]\ntools = ["t"]\nreads = ["Not A Name"]', 5, "expected"),
    ("label = 5", 3, "write [[label]]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), TOP)
def test_what_the_top_of_a_file_may_not_say(text: str, line: int, words: str) -> None:
    error = fault(f"{HEAD}{text}\n")
    assert words in error.sentence(), error.sentence()
    assert error.line == line, error.sentence()


def test_answers_of_rules_that_ask() -> None:
    assert rule(TOOL + 'answers = ["q"]', ASKING).answers == ("q",)
    error = fault(f'{HEAD}{ASKING}[[rule]]\nid = "r"\n{TOOL}answers = ["Q"]\n')
    assert "expected" in error.sentence()


def test_a_system_policy_says_what_is_final() -> None:
    text = HEAD + 'final = ["mode", "rule"]\n'
    assert parse_system(text.encode(), "p").final == ("mode", "rule")
    with pytest.raises(ConfigError, match="mode"):
        parse_system((HEAD + 'final = ["moode"]\n').encode(), "p")


PROJECT = 'version = 1\n[[rule]]\nid = "a"\ntools = ["t"]\neffect = "{}"\n'


def test_a_projects_policy_narrows_and_does_nothing_else() -> None:
    assert parse_project(PROJECT.format("deny").encode(), "p").rules[0].effect is Verdict.DENY
    for text, words in (
        (PROJECT.format("allow"), "the policy of a project narrows"),
        ('version = 1\nmode = "observe"\n', "expected a known key"),
        ('version = 1\nunpinned = "allow"\n', "expected a known key"),
        ("version = 1\n[approvals]\nnotify = false\n", "expected a known key"),
        ('version = 1\n[restart]\nservers = ["*"]\n', "expected a known key"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_project(text.encode(), "p")
        assert words in caught.value.sentence()


def test_grades_stand_on_rules_that_allow() -> None:
    assert rule(TOOL + 'grade = "G2"').grade is Grade.G2
