"""Cases that a policy is tested with: read strictly, decided as the gate decides."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.model import Grade, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.trials import Trial, World, explained, failing, parse_trials, principal_of, unix_of

POLICY = parse(
    b"""version = 1
mode = "enforce"
zone = "UTC"
[[label]]
tools = ["fetch"]
reads = ["untrusted"]
[[rule]]
id = "read"
who = ["host:claude-code"]
grade = "G2"
server = "files"
tools = ["read_file"]
effect = "allow"
args.path = { under = ["/srv"] }
[[rule]]
id = "office"
tools = ["deploy"]
effect = "allow"
when = { hours = "09:00-17:00", after_not = ["untrusted"], session = ["local"] }
[[rule]]
id = "docs"
resources = ["file:///srv/**"]
prompts = ["sum*"]
effect = "ask"
""",
    "p.toml",
)
READ = 'who = "claude-code"\ngrade = "G2"\nserver = "files"\ntool = "read_file"\n'
DEPLOY = 'server = "ops"\ntool = "deploy"\nat = 2026-11-23T10:00:00Z\nsession = ["local"]\n'
CASES = [
    (READ + 'args = { path = "/srv/a" }', Verdict.ALLOW, "read"),
    (READ + 'args = { path = "/srv/../etc/passwd" }', Verdict.DENY, "default"),
    (READ.replace("G2", "G1") + 'args = { path = "/srv/a" }', Verdict.DENY, "default"),
    (READ.replace("claude-code", "zed") + 'args = { path = "/srv/a" }', Verdict.DENY, "default"),
    (READ, Verdict.DENY, "default"),
    (DEPLOY, Verdict.ALLOW, "office"),
    (DEPLOY.replace("T10", "T20"), Verdict.DENY, "default"),
    (DEPLOY + 'seen = "untrusted"', Verdict.DENY, "default"),
    (DEPLOY.replace('"local"', '"remote"'), Verdict.DENY, "default"),
    ('server = "d"\nmethod = "resources/read"\ntarget = "file:///srv/x"', Verdict.ASK, "docs"),
    ('server = "d"\nmethod = "resources/read"\ntarget = "file:///etc/x"', Verdict.DENY, "default"),
    ('server = "d"\nmethod = "prompts/get"\ntarget = "sum-up"', Verdict.ASK, "docs"),
]


@pytest.mark.parametrize(("text", "verdict", "rule"), CASES)
def test_a_case_is_decided_as_a_request_is(text: str, verdict: Verdict, rule: str) -> None:
    (trial,) = parse_trials(f'[[case]]\nexpect = "allow"\n{text}\n'.encode(), "c.toml", 0.0)
    world = World(resolve=lambda path: path)
    decision = explained(POLICY, trial, world).decision
    assert (decision.verdict, decision.rule) == (verdict, rule), decision.reason


def test_a_near_miss_says_what_would_have_matched() -> None:
    trial = Trial("files", "read_file", args={"path": "/etc/x"}, who=("host:claude-code",), grade=Grade.G2)
    answer = explained(POLICY, trial, World(resolve=lambda path: path))
    assert [one.why for one in answer.missed] == ["rule read would match if args.path were under /srv"]


def test_what_is_not_as_expected_says_how() -> None:
    answer = explained(POLICY, Trial("x", "y"), World())
    assert failing(Trial("x", "y", expect=Verdict.DENY), answer) == ""
    assert "expected allow, found deny: " in failing(Trial("x", "y", expect=Verdict.ALLOW), answer)
    assert "expected rule r, found rule default" in failing(Trial("x", "y", rule="r"), answer)


WRONG = [
    ("", 0, "[[case]]"),
    ("[[case]]\n", 1, "server"),
    ('[[case]]\nserver = "s"\n', 1, "expect"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\n', 1, "a tool, or a method"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\nmethod = "resources/read"\n', 1, "a tool, or a method"),
    ('[[case]]\nserver = "s"\nexpect = "alow"\ntool = "t"\n', 3, "did you mean allow"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\ngrad = "G1"\n', 5, "did you mean grade"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\nmethod = "tools/call"\n', 4, "expected a gated method"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\nat = "soon"\n', 5, "expected a time with its zone"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\nat = 2026-11-22T10:00:00\n', 5, "with its zone"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\nsession = ["away"]\n', 5, "away"),
    ('[[case]]\nserver = "s"\nexpect = "allow"\ntool = "t"\nargs = 7\n', 5, "expected a table"),
    ("[[case]\n", 0, "expected TOML"),
    ("case = 3\n", 0, "[[case]]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_what_is_no_file_of_cases_says_where_and_what(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_trials(text.encode(), "c.toml", 0.0)
    assert words in caught.value.sentence(), caught.value.sentence()
    assert caught.value.file == "c.toml"
    assert not line or caught.value.line in (line, 0)


def test_names_of_people_and_moments() -> None:
    assert [principal_of(name) for name in ("any", "zed", "uid:5", "group:x")] == [
        "",
        "host:zed",
        "uid:5",
        "group:x",
    ]
    assert unix_of("1970-01-01T01:00:00+01:00") == 0.0
    for wrong in ("", "x", "1970-01-01", None, 5):
        with pytest.raises(ValueError, match=r"."):
            unix_of(wrong)
