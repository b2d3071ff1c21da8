"""Tables that the far side fills."""

from mcpguard.gate.bounded import remember


def test_the_oldest_is_forgotten_first():
    table = {}
    for number in range(5):
        remember(table, number, str(number), 3)
    assert table == {2: "2", 3: "3", 4: "4"}


def test_what_is_known_takes_nobodys_place():
    table = {}
    for number in (1, 2, 3, 2):
        remember(table, number, number, 3)
    assert list(table) == [1, 2, 3]
