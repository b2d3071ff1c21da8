"""Handles of secrets: who gets a value, who a refusal, and what stands in its place in answers."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import SecretError
from mcpguard.gate.handles import MARK, Filled, Veil, fill
from mcpguard.model import Decision, Verdict
from mcpguard.protocol.strict import encode
from tests.gate.playbook import Playbook, call, denial, request, result, text

VALUE = 'correct "horse" battery\\staple'
HANDLE = "${secret:github}"


class Values:
    """A vault in memory: what was asked for is counted, and a value may be missing."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.given: list[str] = []

    def known(self, name: str) -> bool:
        return name in self.values

    def value(self, name: str) -> str:
        if not self.values[name]:
            raise SecretError(f"the secret {name!a} has expired", hint="rotate it")
        self.given.append(name)
        return self.values[name]


VAULT = Values(github=VALUE, other="another-value", gone="")
LETS = Decision(verdict=Verdict.ALLOW, rule="r", secrets=("github",))


def filled(
    arguments: object, decision: Decision = LETS, *, approved: bool = False, observing: bool = False
) -> Filled:
    params = {"name": "send", "arguments": arguments}
    before = json.dumps(params)
    found = fill(Values(**VAULT.values), decision, params, approved=approved, observing=observing)
    assert json.dumps(params) == before  # what was judged and recorded is left alone
    return found


@pytest.mark.parametrize("observing", [False, True])
def test_a_rule_that_lets_it_pass_gives_the_value(observing: bool) -> None:
    found = filled({"a": [f"x {HANDLE} y", {"b": HANDLE}], "n": 1, HANDLE: None}, observing=observing)
    assert found.params == {
        "name": "send", "arguments": {"a": [f"x {VALUE} y", {"b": VALUE}], "n": 1, HANDLE: None},
    }  # fmt: skip
    assert found.values == {"github": VALUE}
    assert VALUE not in repr(found)


@pytest.mark.parametrize(
    ("decision", "approved", "gives"),
    [
        (Decision(verdict=Verdict.ALLOW, secrets=()), False, False),
        (Decision(verdict=Verdict.ALLOW, secrets=("other",)), False, False),
        (Decision(verdict=Verdict.ASK, secrets=("github",)), False, False),
        (Decision(verdict=Verdict.ASK, secrets=("github",)), True, True),
        (Decision(verdict=Verdict.DENY, secrets=("github",)), True, False),
    ],
)
def test_who_gets_it_and_who_is_refused(decision: Decision, approved: bool, gives: bool) -> None:
    found = filled({"a": HANDLE}, decision, approved=approved)
    assert bool(found.refusal) is not gives
    watched = filled({"a": HANDLE}, decision, approved=approved, observing=True)
    assert watched.refusal == ""
    assert bool(watched.values) is gives


def test_what_is_no_secret_is_text_and_what_cannot_be_had_refuses() -> None:
    assert filled({"a": "${secret:nothing} ${secret:} ${secret:a b} $secret:github"}) == Filled()
    gone = Decision(verdict=Verdict.ALLOW, secrets=("gone",))
    assert filled({"a": "${secret:gone}"}, gone).refusal == "the secret 'gone' has expired: rotate it"
    assert "more than 16" in filled({"a": [HANDLE] * 17}).refusal
    assert filled({"a": [HANDLE] * 16}).params is not None
    assert fill(None, LETS, {"arguments": {"a": HANDLE}}, approved=False, observing=False) == Filled()
    assert fill(VAULT, LETS, None, approved=False, observing=False) == Filled()


def test_a_value_that_holds_a_handle_is_a_value() -> None:
    vault = Values(a="${secret:b} and more", b="the second value")
    both = Decision(verdict=Verdict.ALLOW, secrets=("a", "b"))
    found = fill(vault, both, {"arguments": "${secret:a}"}, approved=False, observing=False)
    assert found.params == {"arguments": "${secret:b} and more"}


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_arguments_without_a_handle_stay_what_they_are(arguments: object) -> None:
    if MARK not in encode({"a": arguments}):
        assert filled(arguments) == Filled()


# --- the veil ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        VALUE, VALUE.encode().hex(), base64.b64encode(VALUE.encode()).decode(), json.dumps(VALUE),
        VALUE.replace(" ", "%20").replace('"', "%22").replace("\\", "%5C"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("canonical", [True, False])
def test_a_value_becomes_its_handle_in_every_usual_form(form: str, canonical: bool) -> None:
    veil = Veil({VALUE.encode(): HANDLE})
    message = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"text": f"it is {form}!"}], form: 1}}
    assert not veil.untouched(message, encode(message) if canonical else b"")
    text = message["result"]["content"][0]["text"]  # type: ignore[index]
    assert HANDLE in text
    assert form not in json.dumps(message)


def test_of_two_values_that_begin_alike_the_longer_is_hidden_whole() -> None:
    veil = Veil({b"secret-value": "${secret:a}", b"secret-value-2": "${secret:b}"})
    message = {"error": {"code": 1, "message": "bad secret-value-2"}}
    assert not veil.untouched(message, b"")
    assert message["error"]["message"] == "bad ${secret:b}"


def test_messages_without_a_value_are_left_alone() -> None:
    veil = Veil({VALUE.encode(): HANDLE})
    message = {"result": {"a": "nothing of it"}}
    assert veil.untouched(message, encode(message))
    assert message == {"result": {"a": "nothing of it"}}


def test_a_value_that_is_longer_than_can_be_known_is_hidden_in_pieces() -> None:
    long = "".join(f"{number:05d}" for number in range(2000))
    veil = Veil({long.encode(): HANDLE})
    message = {"result": {"a": long}}
    assert not veil.untouched(message, b"")
    assert "01999" not in message["result"]["a"]


# --- in the gate ---------------------------------------------------------------------------------------------

POLICY = (
    'version = 1\nmode = "enforce"\n[[rule]]\nid = "r"\ntools = ["read_*"]\neffect = "allow"\nsecrets = ["github"]\n'
    '[[rule]]\nid = "s"\ntools = ["send"]\neffect = "allow"\n'
)


def test_the_record_has_the_handle_the_server_the_value_and_the_host_the_handle_again() -> None:
    vault = Values(github=VALUE)
    play = Playbook(POLICY, filler=vault).opened()
    play.host(
        call(5, "read_file", {"a": HANDLE}),
        to_server=[call(2, "read_file", {"a": VALUE})],
        records=[
            {"type": "secret", "event": "filled", "credential": "vault://github", "tool": "read_file"},
            {"type": "call", "tool": "read_file", "decision": "allow"},
        ],
    )
    play.server(result(2, text(f"have {VALUE}")), to_host=[result(5, text(f"have {HANDLE}"))])
    assert vault.given == ["github"]
    assert VALUE not in json.dumps(play.records)


def test_no_rule_no_value_and_the_server_hears_nothing() -> None:
    vault = Values(github=VALUE)
    play = Playbook(POLICY, filler=vault).opened()
    play.host(
        call(5, "send", {"a": HANDLE}),
        to_host=[denial(5, 'ask for the secret "github"', 'secrets = ["github"]')],
        records=[{"type": "call", "tool": "send", "decision": "deny", "rule": "secrets"}],
    )
    assert vault.given == []


def test_a_full_disk_sends_no_value() -> None:
    vault = Values(github=VALUE)
    play = Playbook(POLICY, filler=vault).opened()
    play.full = True
    play.host(call(5, "read_file", {"a": HANDLE}), to_host=[denial(5, "mcpguard let nothing through")])


@pytest.mark.parametrize(
    "mark", [rb"\u0024{secret:github}", rb"${\u0073ecret:github}", rb"$\u007bsecret:github\u007D"]
)
def test_escapes_do_not_hide_a_handle(mark: bytes) -> None:
    play = Playbook(POLICY, filler=Values(github=VALUE)).opened()
    raw = json.dumps(call(5, "send", {"a": "@"})).encode().replace(b"@", mark)
    play.host(raw + b"\n", to_host=[denial(5, 'ask for the secret "github"')])


def test_only_tools_have_handles() -> None:
    play = Playbook(
        POLICY.replace('tools = ["send"]', 'prompts = ["*"]'), filler=Values(github=VALUE)
    ).opened()
    params = {"name": "p", "arguments": {"a": HANDLE}}
    play.host(request(5, "prompts/get", params), to_server=[request(2, "prompts/get", params)])
