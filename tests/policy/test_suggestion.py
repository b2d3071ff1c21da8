"""The least that lets pass what has passed: it is a policy, and it does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Grade, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.replay import Past, Replay
from mcpguard.policy.suggestion import Suggestion, parents
from mcpguard.policy.trials import Trial, World

HOME = "/home/me"


def past(tool: str = "t", shape: dict[str, str] | None = None, server: str = "s", **more: object) -> Past:
    return Past(Trial(server=server, tool=tool, **more), Verdict.ALLOW, "i", shape)  # type: ignore[arg-type]


def suggested(*requests: Past) -> tuple[str, Suggestion]:
    made = Suggestion(HOME)
    for request in requests:
        made.took(request)
    return made.text("since then", unpinned=False), made


def test_one_rule_for_each_host_and_server_with_the_least_evidence() -> None:
    text, _ = suggested(
        past("read", who=("uid:0", "host:acme"), grade=Grade.G3), past("list", who=("uid:0", "host:acme"), grade=Grade.G2),
        past("read", server="other"),
    )  # fmt: skip
    rules = {rule.id: rule for rule in parse(text.encode(), "p").rules}
    assert {rule.who for rule in rules.values()} == {("host:acme",), ("any",)}
    mine = rules["acme-s-tools"]
    assert ([one.text for one in mine.tools], mine.grade) == (["list", "read"], Grade.G2)


def test_folders_and_hosts_become_constraints_and_the_rest_comments() -> None:
    text, _ = suggested(
        past("w", {"path": f"path:{HOME}/src", "mode": "string"}), past("w", {"path": "path:/srv"}),
        past("get", {"url": "url:a.example.com"}), past("mixed", {"x": "path:/a"}), past("mixed", {"x": "string"}),
    )  # fmt: skip
    assert 'args.path = { under = ["~/src", "/srv"] }' in text
    assert 'args.url = { hosts = ["a.example.com"] }' in text
    assert "# 2 times; mode: string, path: path" in text
    assert "# mixed: 2 times; x: path/string" in text
    assert "args.x" not in text


def test_an_argument_that_was_not_always_there_is_optional() -> None:
    text, _ = suggested(past("w", {"path": "path:/srv"}), past("w", {}))
    assert 'under = ["/srv"], optional = true' in text


def test_other_requests() -> None:
    def asked(method: str, target: str = "") -> Past:
        return Past(Trial(server="s", method=method, target=target), Verdict.ALLOW, "i")

    methods = (
        "sampling/createMessage", "roots/list", "logging/setLevel", "elicitation/create", "tasks/get", "subscriptions/listen",
    )  # fmt: skip
    requests = [
        asked("resources/read", "file:///a"),
        asked("prompts/get", "p"),
        asked("completion/complete", "prompt p"),
    ]
    requests += [asked(method) for method in methods]
    text, _ = suggested(*requests)
    again = Replay(parse(text.encode(), "p"), World())
    for request in requests:
        again.asked(request)
    assert (again.same, again.changes) == (len(requests), [])


def test_what_no_pattern_describes_is_named_and_left_out() -> None:
    text, made = suggested(past("a*"), past("b[1]"), past("c\nid = 1"), past("ok"), past("t", server="*"))
    assert len(made.skipped) == 4
    assert [rule.tools[0].text for rule in parse(text.encode(), "p").rules] == ["ok"]
    assert text.count("# left out") == 4


def test_folders_are_reduced_to_few() -> None:
    assert parents(["/a", "/a/b", "/c"]) == ["/a", "/c"]
    assert parents([f"/srv/p{number}" for number in range(9)]) == ["/srv"]
    assert parents(["/", "/a"]) == ["/"]
    assert len(parents([f"/{letter}/x" for letter in "abcdefgh"])) <= 4


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
FOLDERS = st.lists(st.text("ab.~-é ", min_size=1, max_size=4).map(lambda part: f"x{part}x"), max_size=4).map(
    lambda parts: "path:/" + "/".join(parts)
)
WORDS = st.sampled_from(["string", "integer", "null", "url:a.example.com", "url:b"]) | FOLDERS
PASTS = st.builds(
    past,
    st.sampled_from(["read", "write", "Ünï", "a.b"]) | NAMES,
    st.dictionaries(st.sampled_from(["path", "url", "a b", "~/", "ключ"]), WORDS, max_size=4),
    st.sampled_from(["files", "web"]),
    who=st.sampled_from([(), ("host:acme",), ("uid:0", "host:other")]),
    grade=st.sampled_from(list(Grade)),
)


@settings(max_examples=150)
@given(st.lists(PASTS, min_size=1, max_size=12))
def test_it_lets_pass_everything_that_it_was_made_from(requests: list[Past]) -> None:
    text, made = suggested(*requests)
    again = Replay(parse(text.encode(), "p"), World(home=HOME, resolve=str))
    for request in requests:
        again.asked(request)
    for change in again.changes:
        left_out = any(repr(change.name)[1:-1] in each or ascii(change.name) in each for each in made.skipped)
        assert change.becomes is None or left_out, (change, text)
