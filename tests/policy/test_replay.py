"""Another policy and the past: what would change, what stays, and what cannot be told."""

import pytest

from mcpguard.model import Grade, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.replay import Past, Replay, representative
from mcpguard.policy.trials import Trial, World

TOP = 'version = 1\nmode = "enforce"\n'
ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY


def rule(more: str, effect: str = "allow", ident: str = "r") -> str:
    return f'[[rule]]\nid = "{ident}"\neffect = "{effect}"\n{more}\n'


def past(tool: str = "t", was: Verdict = ALLOW, shape: dict[str, str] | None = None, **more: object) -> Past:
    instance = str(more.pop("instance", "i"))
    return Past(Trial(server="s", tool=tool, **more), was, instance, shape)  # type: ignore[arg-type]


def replayed(policy: str, *requests: Past) -> Replay:
    found = Replay(parse((TOP + policy).encode(), "p.toml"), World(home="/home/me", resolve=str))
    for request in requests:
        found.asked(request)
    return found


def outcome(policy: str, request: Past) -> tuple[Verdict | None, str]:
    """What it becomes, and why; the verdict that it had if nothing changes."""
    changes = replayed(policy, request).changes
    return (changes[0].becomes, changes[0].reason) if changes else (request.was, "")


def test_what_stays_is_counted_and_what_changes_is_put_together() -> None:
    found = replayed(
        rule('tools = ["read"]'),
        past("read", at=1.0),
        past("write", at=2.0),
        past("write", at=5.0),
        past("write", DENY),
    )
    assert found.same == 2
    (change,) = found.changes
    assert (change.name, change.was, change.becomes, change.count) == ("write", ALLOW, DENY, 2)
    assert (change.first, change.last) == (2.0, 5.0)


@pytest.mark.parametrize(
    ("said", "shape", "becomes"),
    [
        ('args.path = { under = ["/srv"] }', {"path": "path:/srv/x"}, ALLOW),
        ('args.path = { under = ["/srv"] }', {"path": "path:/etc"}, DENY),
        ('args.path = { under = ["~/src"] }', {"path": "path:/home/me/src/a"}, ALLOW),
        ('args.path = { under = ["/srv"] }', {}, DENY),
        ('args.path = { under = ["/srv"], optional = true }', {}, ALLOW),
        ('args.path = { under = ["/srv"] }', None, None),
        ('args.path = { under = ["/srv"] }', {"path": "string"}, None),
        ('args.path = { under = ["/srv"] }', {"path": "integer"}, DENY),
        ('args.path = { under = ["/srv"], deny = ["**/.env"] }', {"path": "path:/srv"}, None),
        ('args.url = { hosts = ["*.example.com"] }', {"url": "url:a.example.com"}, ALLOW),
        ('args.url = { hosts = ["*.example.com"] }', {"url": "url:example.com"}, DENY),
        ("args.n = { maximum = 3 }", {"n": "integer"}, None),
        ('args."/a/b" = { const = 1 }', {"a": "object"}, None),
    ],
)
def test_arguments(said: str, shape: dict[str, str] | None, becomes: Verdict | None) -> None:
    found, reason = outcome(rule(f'tools = ["t"]\n{said}'), past(shape=shape))
    assert found is becomes
    assert ("the log does not have" in reason) == (becomes is None)


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ('who = ["host:acme"]', ALLOW), ('who = ["host:other"]', DENY), ('who = ["uid:7"]', ALLOW),
        ('who = ["group:wheel"]', None), ('grade = "G3"', DENY), ('grade = "G2"', ALLOW),
        ('when.session = "unlocked"', None), ('when.cwd = "/srv"', None),
        ('ancestor_not = ["sshd"]', None),
    ],
)  # fmt: skip
def test_who_asked(said: str, becomes: Verdict | None) -> None:
    request = past(shape={}, who=("uid:7", "host:acme"), grade=Grade.G2)
    found, _ = outcome(rule(f'tools = ["t"]\n{said}'), request)
    assert found is becomes


def test_roles_are_known_but_for_groups_in_them() -> None:
    request = past(shape={}, who=("host:acme",))
    said = rule('tools = ["t"]\nwho = ["role:r"]')
    assert outcome('[roles]\nr = ["host:acme"]\n' + said, request)[0] is ALLOW
    assert outcome('[roles]\nr = ["host:other"]\n' + said, request)[0] is DENY
    assert outcome('[roles]\nr = ["group:wheel"]\n' + said, request)[0] is None


def test_what_a_host_has_seen_is_followed() -> None:
    policy = (
        '[[label]]\nserver = "*"\ntools = ["page"]\nreads = ["untrusted"]\n'
        + rule('tools = ["*"]')
        + rule('tools = ["post"]\nwhen.after = ["untrusted"]', "deny", "stop")
    )
    found = replayed(policy)
    found.asked(past("post"))
    reads = found.asked(past("page"))
    assert reads == ("untrusted",)
    found.asked(past("post"))
    assert not found.changes, "no answer came yet"
    found.saw("i", reads)
    found.asked(past("post"))
    found.asked(past("post", instance="another"))
    assert [(one.name, one.rule, one.count) for one in found.changes] == [("post", "stop", 1)]


def test_time_is_that_of_the_request() -> None:
    policy = 'zone = "UTC"\n' + rule('tools = ["t"]\nwhen.hours = ["09:00-17:00"]')
    assert outcome(policy, past(shape={}, at=10 * 3600.0))[0] is ALLOW
    assert outcome(policy, past(shape={}, at=20 * 3600.0))[0] is DENY


def test_other_methods() -> None:
    policy = rule('resources = ["file:///srv/**"]')
    for uri, becomes in (("file:///srv/a", ALLOW), ("file:///etc/a", DENY)):
        request = Past(Trial(server="s", method="resources/read", target=uri), ALLOW, "i")
        assert outcome(policy, request)[0] is becomes


def test_representatives_look_like_the_shape() -> None:
    assert representative({"a": "path:/", "b": "url:h", "c": "array", "d": "null", "e": "what"}) == {
        "a": "/a file", "b": "https://h/", "c": [], "d": None, "e": "",
    }  # fmt: skip
