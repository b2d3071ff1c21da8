"""What a run of a host has seen, and when."""

from mcpguard.policy.circumstances import Circumstances, unresolved


def test_only_new_labels_are_told_and_the_first_time_stays() -> None:
    around = Circumstances()
    assert around.saw(["a", "b"], 1) == ["a", "b"]
    assert around.saw(["b", "c", "c"], 2)[0] == "c"
    assert around.labels == {"a": 1, "b": 1, "c": 2}


def test_the_clock_is_the_monotonic_one_with_an_offset() -> None:
    around = Circumstances(offset=5_000_000_000)
    assert around.unix(1_500_000_000) == 6.5


def test_each_has_meters_of_its_own_unless_they_are_shared() -> None:
    one, other = Circumstances(), Circumstances()
    assert one.meters is not other.meters
    assert Circumstances(one.meters).meters is one.meters


def test_without_a_file_system_nothing_is_known_of_a_path() -> None:
    assert unresolved("/srv") is None
