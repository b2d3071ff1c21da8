"""What a record is about, whatever a record holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.facets import Facets, of
from mcpguard.audit.record import Record

HOST = {"uid": 1000, "host": "claude", "name": "node"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([
    "conn", "server", "host", "tool", "target", "decision", "status", "event", "side", "id", "name", "kind",
])  # fmt: skip


def found(kind: str, /, **body: object) -> Facets:
    return of(Record(1, "", "2026-11-18T11:06:40.123456Z", "", kind, {"type": kind, **body}))


@pytest.mark.parametrize(
    ("kind", "body", "facets"),
    [
        ("call", {"conn": "c", "host": HOST, "server": "s", "id": 7, "side": "host", "method": "tools/call",
                  "tool": "t", "decision": "allow"}, Facets("call", "c", "s", "claude", 1000, "t", "allow", "host", 7)),
        ("call", {"target": "file:///x", "decision": "deny", "id": 0},
         Facets("call", target="file:///x", decision="deny", ident=0)),
        ("outcome", {"status": "lost", "tool": "t", "id": 7}, Facets("outcome", target="t", decision="lost", ident=7)),
        ("approval", {"event": "granted", "target": "t"}, Facets("approval", target="t", decision="granted")),
        ("finding", {"kind": "tools", "name": "t"}, Facets("finding", target="t")),
        ("session", {"event": "refused", "host": {"name": "node"}},
         Facets("session", host="(node)", decision="refused")),
        ("session", {"event": "end", "host": {"uid": 7}}, Facets("session", host="(uid 7)", uid=7)),
        ("trust", {"event": "manifest", "name": "files", "manifest": "x"}, Facets("trust", server="files")),
        ("trust", {"event": "trust", "name": "x"}, Facets("trust")),
        ("host", {"event": "enrolled", "name": "claude", "host": {"exe": "/x"}}, Facets("host", host="claude")),
        ("log", {"event": "opened"}, Facets("log")),
        ("call", {"host": "x", "server": 7, "id": "7", "decision": ["x"], "tool": {}}, Facets("call")),
        ("call", {"id": 1 << 70, "host": {"uid": True, "host": ""}}, Facets("call")),
    ],
)  # fmt: skip
def test_what_records_are_about(kind, body, facets):
    assert found(kind, **body) == facets


def test_a_stranger_cannot_pass_for_an_enrolled_host():
    assert found("call", host={"name": "claude"}).host != found("call", host={"host": "claude"}).host


@given(st.sampled_from(["call", "outcome", "finding", "trust", "host", "approval", "session", "new"]),
       st.dictionaries(NAMES, JSON))  # fmt: skip
def test_any_body_has_facets_of_the_right_kinds(kind, body):
    facets = found(kind, **body)
    for name in ("type", "conn", "server", "host", "target", "decision", "side"):
        assert type(getattr(facets, name)) is str
    assert type(facets.uid) is int
    assert -1 <= facets.ident < 1 << 62


def test_cost(benchmark):
    record = Record(1, "", "", "", "call", {"host": HOST, "conn": "c", "server": "s", "tool": "t", "id": 7})
    benchmark(of, record)
