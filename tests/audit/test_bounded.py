from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.bounded import KEYS, NAME_CHARS, Burst, Table


def test_a_table_forgets_what_was_used_least_recently() -> None:
    table: Table[str, list[int]] = Table(list, 2)
    table.of("a").append(1)
    table.of("b")
    table.of("a").append(2)
    table.of("c")
    assert list(table) == ["a", "c"]
    assert table.get("b") is None
    table.put("d", [9])
    assert [key for key, _ in table.items()] == ["c", "d"]
    assert table.values() == [[], [9]]


@given(st.lists(st.text(), max_size=200))
def test_a_table_never_grows_beyond_its_bound(names) -> None:
    table: Table[str, int] = Table(int, 5)
    for name in names:
        table.of(name)
    assert len(table) == min(len(set(names)), 5)


def test_a_burst_is_so_many_in_so_long_and_then_begins_anew() -> None:
    burst = Burst((3, 10.0))
    said = [burst.add("a", at, seq) for seq, at in enumerate((0.0, 5.0, 10.0, 10.5, 10.6, 10.7), 1)]
    assert said == [None, None, (1, 3), None, None, (4, 6)]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=60))
def test_a_burst_is_found_exactly_when_there_is_one(times) -> None:
    times.sort()
    burst = Burst((5, 10.0))
    held: list[float] = []
    for at in times:
        held = [*held, at][-5:]
        expected = len(held) == 5 and at - held[0] <= 10.0
        assert (burst.add("k", at) is not None) == expected
        if expected:
            held = []


def test_names_from_outside_take_no_more_than_the_bound() -> None:
    burst = Burst((20, 60.0))
    for number in range(5 * KEYS):
        burst.add(f"{number}" + "x" * 10_000, 0.0)
    assert len(burst) == KEYS
    assert max(map(len, burst._times)) <= NAME_CHARS
