import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.bounded import NAME_CHARS
from mcpguard.audit.seen import Seen
from tests.audit.sights import HOST, seen

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("host", "who", "run"),
    [
        (HOST | {"host": "code"}, "host:code", "7-70"),
        (HOST | {"script": "/opt/a.js"}, "/opt/a.js", "7-70"),
        (HOST, "/usr/bin/acme", "7-70"),
        ({"uid": 5}, "uid:5", "1-a"),
        ({}, "uid:?", "1-a"),
        ("rubbish", "uid:?", "1-a"),
    ],
)
def test_who_it_is_and_which_run(host, who, run) -> None:
    one = seen("call", host=host)
    assert (one.who, one.run) == (who, run)


@given(st.dictionaries(st.sampled_from(["type", "event", "host", "conn", "server", "lost"]), JSON))
def test_whatever_a_record_holds_it_can_be_looked_at(body) -> None:
    one = Seen(0.0, body)
    assert max(map(len, (one.type, one.event, one.who, one.text("server")))) <= NAME_CHARS
    assert isinstance(one.number("lost"), int)
    assert isinstance(one.run, str)
