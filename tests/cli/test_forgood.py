"""An approval for good: the file is as it was, or it is as it was shown and in force."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.approvals.book import ApprovalError
from mcpguard.cli import forgood
from mcpguard.cli.forgood import Addition
from mcpguard.errors import ConfigError, GuardError
from mcpguard.policy.document import digest
from mcpguard.system.policystore import PolicyStore
from tests.cli.questioned import Counter

POLICY = '# mine\nversion = 1\nmode = "enforce"\n[[rule]]\nid = "asks"\ntools = ["*"]\neffect = "ask"'
TICKET = {
    "id": "bcdf1", "host": {"host": "acme", "grade": "G2"}, "method": "tools/call", "server": "files", "tool": "write_file", "rule": "asks",
    "arguments": {"path": "/srv/a"},
}  # fmt: skip


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    with Counter() as made:
        for name in ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR"):
            monkeypatch.setenv(name, made.env[name])
        yield made


def applied(place: Counter, text: str = POLICY, name: str = "policy.toml") -> Path:
    """A policy file that is in force."""
    file = place.home / name
    file.write_text(text)
    place.store.apply(text.encode(), str(file))
    return file


def in_force(place: Counter) -> bytes:
    return (place.store.directory / "active.toml").read_bytes()


def beside(file: Path) -> list[str]:
    """What was left behind."""
    return [each.name for each in file.parent.iterdir() if each.name.startswith(file.name) and each != file]


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_what_is_shown_is_the_rule_and_what_it_changes(place):
    file = applied(place)
    plan = forgood.addition(TICKET)
    assert (plan.file, plan.source, plan.old) == (file.resolve(), str(file), POLICY.encode())
    shown = plan.lines()
    assert shown[0] == f"for good: this rule is added to {file}"
    assert shown[1 : 1 + len(plan.rule.splitlines())] == [f"+ {line}" for line in plan.rule.splitlines()]
    assert shown[-1] == "  added: always-write_file (allow)"
    assert plan.new == POLICY.encode() + b"\n\n" + plan.rule.encode()
    assert (file.read_text(), in_force(place)) == (POLICY, POLICY.encode()), "looking changes nothing"


def test_what_is_shown_is_visible():
    plan = Addition(Path("/p"), "/p\x1b[2J\u202e", b"", 'id = "x"\n', ["added: \x1b[2J"])
    assert plan.lines() == [
        "for good: this rule is added to /p\\u001b[2J\\u202e",
        '+ id = "x"',
        "  added: \\u001b[2J",
    ]


def test_a_rule_of_that_name_is_not_overwritten(place):
    applied(place, POLICY.replace('"asks"', '"always-write_file"'))
    assert 'id = "always-write_file-2"' in forgood.addition({**TICKET, "rule": "always-write_file"}).rule


# --- what a rule cannot be added to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.write_text(POLICY + "\n"), "it is not what was applied"), (lambda file: file.write_bytes(b""), "it is not what was applied"),
        (lambda file: file.write_bytes(b"x" * (5 << 20)), "it is not what was applied"), (lambda file: file.write_bytes(b"\xff\xfe"), "it is not what was applied"),
        (lambda file: file.unlink(), "cannot be read: no such file"), (lambda file: (file.unlink(), file.mkdir()), "cannot be read: is a directory"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_was_applied_is_not_added_to(place, change, says):
    file = applied(place)
    change(file)
    with pytest.raises(ConfigError, match=says) as caught:
        forgood.addition(TICKET)
    assert caught.value.file == str(file)
    assert in_force(place) == POLICY.encode()


@pytest.mark.parametrize("source", ["policy.toml", "./policy.toml", "-", "standard input"])
def test_a_policy_that_came_from_no_known_place_has_no_file_to_add_to(place, source, monkeypatch):
    monkeypatch.chdir(place.home)
    (place.home / "policy.toml").write_text(POLICY)
    place.store.apply(POLICY.encode(), source)
    with pytest.raises(ConfigError, match="it is not what was applied"):
        forgood.addition(TICKET)


def test_without_a_policy_nothing_can_be_added(place):
    with pytest.raises(ConfigError, match="no policy is applied"):
        forgood.addition(TICKET)


@pytest.mark.parametrize(
    "more", [{"host": {}}, {"method": "prompts/get"}, {"tool": "w*"}, {"server": ""}, {"arguments": {"*": 1}}, {"arguments": {"x": "\ud800"}}]
)  # fmt: skip
def test_what_no_rule_describes_is_refused_before_anything_is_asked(place, more):
    applied(place)
    with pytest.raises((ApprovalError, UnicodeEncodeError)):
        forgood.addition({**TICKET, **more})
    assert place.asked == []


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_what_was_shown_is_written_and_in_force_with_the_old_mode(place, mode):
    file = applied(place)
    file.chmod(mode)
    plan = forgood.addition(TICKET)
    forgood.add(plan)
    assert file.read_bytes() == in_force(place) == plan.new
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert beside(file) == []
    (request,) = place.asked
    assert (request.verb, request.source, request.text) == ("policy-apply", str(file), plan.new.decode())


def test_a_link_stays_a_link_and_the_file_behind_it_gets_the_rule(place):
    real = applied(place, name="real.toml")
    link = place.home / "link.toml"
    link.symlink_to(real)
    place.store.apply(POLICY.encode(), str(link))
    plan = forgood.addition(TICKET)
    forgood.add(plan)
    assert link.is_symlink()
    assert real.read_bytes() == plan.new
    assert place.store.current()[0].source == str(link)


def test_one_rule_after_another(place):
    file = applied(place)
    for number in range(3):
        forgood.add(forgood.addition({**TICKET, "arguments": {"n": number}}))
    rules = place.store.load().rules
    assert [rule.id for rule in rules] == [
        "asks",
        "always-write_file",
        "always-write_file-2",
        "always-write_file-3",
    ]
    assert file.read_text().startswith(POLICY)


# --- what is not -----------------------------------------------------------------------------------------------------


def test_a_file_that_was_edited_since_it_was_shown_is_left_alone(place):
    file = applied(place)
    plan = forgood.addition(TICKET)
    edited = POLICY.replace("# mine", "# edited")
    file.write_text(edited)
    with pytest.raises(ConfigError, match="edited in the meantime; no rule was added"):
        forgood.add(plan)
    assert (file.read_text(), place.asked) == (edited, [])


def test_a_file_that_is_gone_or_cannot_be_replaced_is_a_sentence(place):
    file = applied(place)
    plan = forgood.addition(TICKET)
    left = file.with_name(file.name + ".mcpguard-new")
    left.write_text("somebody else is at it")
    with pytest.raises(ConfigError, match="no rule was added: file exists"):
        forgood.add(plan)
    assert (file.read_text(), left.read_text()) == (POLICY, "somebody else is at it")
    file.unlink()
    with pytest.raises(ConfigError, match="no rule was added: no such file"):
        forgood.add(plan)
    assert place.asked == []


def test_what_the_daemon_refuses_leaves_the_file_as_it_was(place):
    file = applied(place)
    file.chmod(0o640)
    plan = msgspec.structs.replace(forgood.addition(TICKET), rule="[[rule]]\nnonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        forgood.add(plan)
    assert file.read_bytes() == in_force(place) == POLICY.encode()
    assert (stat.S_IMODE(file.stat().st_mode), beside(file)) == (0o640, [])


def test_a_daemon_that_is_gone_leaves_the_file_as_it_was(place, monkeypatch):
    file = applied(place)
    plan = forgood.addition(TICKET)
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(place.home))
    with pytest.raises(GuardError, match="not running"):
        forgood.add(plan)
    assert (file.read_text(), beside(file)) == (POLICY, [])


@settings(max_examples=40)
@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["", "\n", "[[rule]]\n", "x = 1\n"]))
def test_whatever_is_in_the_file_it_is_byte_for_byte_as_before_if_nothing_was_applied(old, now, rule):
    before = os.environ.get("MCPGUARD_RUNTIME_DIR")
    with tempfile.TemporaryDirectory() as home:
        os.environ["MCPGUARD_RUNTIME_DIR"] = home  # nobody listens there
        try:
            file = Path(home) / "policy.toml"
            file.write_bytes(now)
            text = old.decode("latin-1").encode()
            for known in (text, now.decode("latin-1").encode()):
                with pytest.raises(GuardError):
                    forgood.add(Addition(file, str(file), known, rule, []))
                assert file.read_bytes() == now
            assert os.listdir(home) == ["policy.toml"]
        finally:
            del os.environ["MCPGUARD_RUNTIME_DIR"]
            os.environ.update({} if before is None else {"MCPGUARD_RUNTIME_DIR": before})


# --- the verb --------------------------------------------------------------------------------------------------------


def enrolled(place: Counter, **more):
    return place.ask({"path": "/srv/a"}, host={"host": "acme", "grade": "G2"}, rule="asks", **more)


def test_a_yes_for_good_lets_this_call_through_and_adds_its_rule(place):
    file, ticket = applied(place), enrolled(place)
    told = place.json("approve", ticket.ident, "--always", "--yes")
    assert (told["scope"], told["rule_added_to"]) == ("once", str(file))
    assert [request.verb for request in place.asked] == ["pending", "approve", "policy-apply"], (
        "the call comes first"
    )
    assert digest(file.read_bytes()) == PolicyStore(place.store.directory).current()[0].digest


def test_a_rule_that_cannot_be_made_approves_nothing(place):
    file, ticket = applied(place), place.ask(host={"uid": 1000})
    done = place.run("approve", ticket.ident, "--always", "--yes", code=1)
    assert "who asks is not enrolled" in done.stderr
    file.write_text("# edited")
    other = enrolled(place, tool="other")
    assert (
        "it is not what was applied" in place.run("approve", other.ident, "--always", "--yes", code=6).stderr
    )
    assert place.waiting() == [ticket.ident, other.ident]


def test_a_rule_that_cannot_be_added_is_said_and_the_call_was_approved_nevertheless(place):
    file, ticket = applied(place), enrolled(place)
    (file.parent / "policy.toml.mcpguard-new").write_text("")
    done = place.run("approve", ticket.ident, "--always", "--yes", code=1)
    assert "the call was approved, and no rule was added" in done.stderr
    assert f"approved {ticket.ident}" in done.stdout
    assert "in force" not in done.stdout
    assert (file.read_text(), place.spent(ticket)) == (POLICY, True)
