import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.daemon.fresh import MOST, Fresh
from mcpguard.model import Side, Verdict

START = record.prefix("1-a", {"uid": 1, "pid": 7, "exe": '/x","id":9,"side":"'}, "files")


def call(
    ident: int, tool: str = "echo", verdict: Verdict = Verdict.ALLOW, size: int = 10, shape: bytes = b""
) -> bytes:
    tail = record.call_tail(Side.HOST, "tools/call", tool, verdict, "r")
    return record.call(START, ident, tail, b"ab", size, shape)


def answer(ident: int) -> bytes:
    return record.outcome(START, ident, record.outcome_tail(Side.HOST, "tools/call", "echo"), record.OK, 1, 1)


def test_positions_follow_from_those_that_are_known() -> None:
    fresh = Fresh()
    fresh.add(1.0, [record.log("a")])
    fresh.add(1.0, [record.log("b"), record.log("c")], 12)
    fresh.add(2.0, [record.log("d")])
    fresh.anchor(13)
    assert [(each.at, each.seq) for each in fresh.take().records] == [
        (1.0, 10),
        (1.0, 11),
        (1.0, 12),
        (2.0, 13),
    ]
    assert not fresh


def test_answers_are_left_out_and_calls_that_are_alike_are_one() -> None:
    fresh = Fresh()
    fresh.add(
        1.0,
        [call(1, size=5), call(2, size=7), call(3, "other"), call(4, verdict=Verdict.DENY), call(5, size=1)],
        5,
    )
    fresh.add(1.0, [answer(1), call(6, verdict=Verdict.DENY)], 7)
    batch = fresh.take()
    assert [(each.seq, each.count, each.size) for each in batch.records] == [
        (1, 3, 13),
        (3, 1, 10),
        (4, 1, 0),
        (7, 1, 0),
    ]
    assert (batch.allowed, batch.skipped, batch.others) == (4, 0, 0)


def test_arguments_that_look_like_something_else_are_not_read() -> None:
    shape = record.shaped({'"size":9': 1, "size": "x"})
    fresh = Fresh()
    fresh.add(
        1.0, [call(1, 'a","args":{"size":99', size=3, shape=shape), call(2, 'a","args":{"size":99', size=4)]
    )
    (one,) = fresh.take().records
    assert (one.count, one.size) == (2, 7)


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_names_of_others_confuse_nothing(calls) -> None:
    fresh = Fresh()
    fresh.add(1.0, [call(n, name, size=size) for n, (name, size) in enumerate(calls, 1)], len(calls))
    found = {
        msgspec.json.decode(b"{%b}" % each.body)["tool"]: (each.count, each.size)
        for each in fresh.take().records
    }
    expected: dict[str, tuple[int, int]] = {}
    for name, size in calls:
        name = record.cut(name)
        many, whole = expected.get(name, (0, 0))
        expected[name] = many + 1, whole + size
    assert found == expected


def test_beyond_the_bound_what_was_allowed_goes_first() -> None:
    fresh = Fresh()
    fresh.add(1.0, [call(n) for n in range(MOST)], MOST)
    fresh.add(
        1.0, [call(1), answer(1), call(2, verdict=Verdict.DENY), record.drop(START, Side.SERVER, "bad", 1)]
    )
    batch = fresh.take()
    assert (batch.allowed, batch.skipped, batch.others) == (MOST, 1, 0)
    assert [msgspec.json.decode(b"{%b}" % each.body)["type"] for each in batch.records] == [
        "call",
        "call",
        "drop",
    ]


def test_a_flood_of_anything_is_bounded_and_counted() -> None:
    fresh = Fresh()
    for _ in range(3 * MOST):
        fresh.add(1.0, [record.drop(START, Side.SERVER, "bad", 1)])
    batch = fresh.take()
    assert len(batch.records) == 2 * MOST
    assert batch.others == MOST
    assert fresh.take().records == []
