"""The gate's pen: rulings follow the snapshot that holds, and records say what was decided."""

import msgspec
import pytest

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.gate.commands import Finding
from mcpguard.gate.ledger import Ledger
from mcpguard.gate.pending import Call
from mcpguard.gate.pinning import Pinning
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side, Verdict
from mcpguard.protocol.methods import Kind, Method
from tests.gate.playbook import ASKING, POLICY, snapshot


def ledger(policy=POLICY, key=b"k", pins=None):
    return Ledger(snapshot(policy), record.prefix("c1", {"uid": 1}, "files"), key, pins)


def read(body):
    return msgspec.json.decode(b"{%b}" % body)


def test_rulings_on_tools_are_remembered_until_the_policy_changes():
    pen = ledger()
    first = pen.tool("read_file")
    assert pen.tool("read_file") is first
    assert (first.allowed, pen.tool("rm").allowed) == (True, False)
    pen.change(snapshot(POLICY.replace('effect = "allow"', 'effect = "deny"')))
    assert pen.tool("read_file").allowed is False


def test_remembered_rulings_are_bounded():
    pen = ledger()
    for number in range(limits.SNAPSHOT_NAMES + 1):
        pen.tool(f"read_{number}")
    assert len(pen.tools) <= limits.SNAPSHOT_NAMES


def test_observing_allows_and_says_that_the_verdict_did_not_bind():
    pen = ledger(POLICY.replace("enforce", "observe"))
    ruling = pen.tool("delete_all")
    assert (ruling.allowed, ruling.decision.verdict) == (True, Verdict.DENY)
    body = read(pen.decided(5, ruling.tail, {}))
    assert (body["decision"], body["binding"], body["rule"]) == ("deny", False, "no-deleting")
    assert "binding" not in read(ledger().decided(0, ledger().tool("delete_all").tail, {}))


@pytest.mark.parametrize(
    ("policy", "method", "allowed", "rule"),
    [
        (POLICY, "tasks/get", True, "protocol"),
        (POLICY, "tools/list", True, "protocol"),
        (POLICY, "resources/unsubscribe", True, "reading"),
        (
            POLICY + '[[rule]]\nid = "default"\nmethods = ["tasks/*"]\neffect = "deny"\n',
            "tasks/get",
            False,
            "default",
        ),
        (None, "tasks/get", True, "observe"),
    ],
)
def test_method_that_rules_are_silent_about_passes_where_silence_is_leave(policy, method, allowed, rule):
    ruling = ledger(policy).unless_denied(method)
    assert (ruling.allowed, ruling.decision.rule) == (allowed, rule)


def test_method_that_rules_are_silent_about_is_denied_where_it_needs_leave():
    assert ledger().method("roots/list").allowed is False
    assert ledger(POLICY + ASKING).method("roots/list").allowed is True
    assert ledger().unknown("x").allowed is False
    assert ledger(None).unknown("x").allowed is False
    assert ledger().passed("ping").allowed is True


def test_digest_of_arguments_depends_on_the_key_and_on_every_byte():
    tail = ledger().tool("read_file").tail
    digests = {
        read(ledger(key=key).decided(1, tail, arguments))["args"]["digest"]
        for key in (b"k", b"l")
        for arguments in ({"a": 1}, {"a": 1.0}, {"a": "1"}, {})
    }
    assert len(digests) == 8
    assert read(ledger().decided(1, tail, None))["args"] == {"size": 0}


def test_outcome_joins_its_call_by_id_and_side():
    pen = ledger()
    ruling = pen.tool("read_file")
    call = Call("x", Method("tools/call", Kind.TOOL), "read_file", ruling.outcome, 1_000_000, number=4)
    decided, settled = read(pen.decided(4, ruling.tail, {})), read(pen.settled(call, b"ok", 3_500_000, 12))
    assert {key: decided[key] for key in ("conn", "side", "id", "method", "tool")} == {
        key: settled[key] for key in ("conn", "side", "id", "method", "tool")
    }
    assert (settled["latency_us"], settled["size"], settled["status"]) == (2500, 12, "ok")


def test_pins_narrow_rulings_on_what_the_host_asks_for_and_on_nothing_else():
    pen = ledger(POLICY + ASKING, pins=Pinning(DefinitionPins(tools={"read_a": "0"}, prompts={"p": "0"})))
    assert [pen.tool(name).allowed for name in ("read_a", "read_b")] == [True, False]
    assert [pen.method("prompts/get", name).allowed for name in ("p", "q")] == [True, False]
    assert pen.method("resources/read", "a:b").allowed
    assert pen.method("sampling/createMessage", "", Side.SERVER).allowed
    pen.repin(DefinitionPins(tools={"read_b": "0"}))
    assert [pen.tool(name).allowed for name in ("read_a", "read_b")] == [False, True]
    free = ledger()
    assert free.tool("read_a").allowed
    free.repin(DefinitionPins())
    assert not free.tool("read_a").allowed


def test_finding_is_recorded_with_both_digests_and_without_the_definition():
    body = read(ledger().found(Finding("tools", "read_file", "differs", "aa", "bb", {"name": "read_file"})))
    assert {key: body[key] for key in ("type", "conn", "server")} == {
        "type": "finding",
        "conn": "c1",
        "server": "files",
    }
    rest = {key: body[key] for key in body if key not in ("type", "conn", "host", "server")}
    assert rest == {"kind": "tools", "name": "read_file", "fault": "differs", "pinned": "aa", "seen": "bb"}


def test_dropped_bytes_are_recorded_with_side_reason_and_size():
    body = read(ledger().dropped(Side.SERVER, 'a "reason"\n', 3))
    assert (body["type"], body["side"], body["reason"], body["bytes"]) == (
        "drop",
        "server",
        'a "reason"\n',
        3,
    )


def test_the_shape_of_arguments_is_recorded_while_policy_only_watches_and_of_tools_alone():
    arguments = {"path": "/srv/x/secret.txt", "n": 3}
    watching = ledger(POLICY.replace("enforce", "observe"))
    args = read(watching.decided(1, watching.tool("read_file").tail, arguments))["args"]
    assert args["shape"] == {"path": "path:/srv/x", "n": "integer"}
    for pen, tail in (
        (ledger(), ledger().tool("read_file").tail),
        (watching, watching.method("prompts/get", "p").tail),
    ):
        assert "shape" not in read(pen.decided(1, tail, arguments))["args"]
