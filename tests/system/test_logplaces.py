"""Places and the lines that stand there."""

import os

import pytest

from mcpguard import limits
from mcpguard.errors import JournalError
from mcpguard.system.logplaces import Lines, offset_of, place_of, segment_of


@pytest.fixture
def log(tmp_path):
    lines = [b"%d %s\n" % (number, b"x" * (number * 7919 % 3000)) for number in range(600)]
    (tmp_path / "audit-000001.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "audit-000002.jsonl").write_bytes(b"a\nb\nincomplete")
    return tmp_path, lines


def places(lines: list[bytes]) -> list[int]:
    found, offset = [], 0
    for line in lines:
        found.append(place_of(1, offset))
        offset += len(line)
    return found


def test_places_are_in_the_order_of_the_log():
    found = [place_of(number, offset) for number in (1, 2, 999_999_999) for offset in (0, 1, (1 << 33) - 1)]
    assert found == sorted(set(found))
    assert all(one < 1 << 63 for one in found)
    assert [(segment_of(one), offset_of(one)) for one in found][4] == (2, 1)


@pytest.mark.parametrize("step", [1, -1, 7, -13])
def test_lines_in_any_order(log, step):
    directory, lines = log
    reader = Lines(directory)
    for place, line in list(zip(places(lines), lines, strict=True))[::step]:
        assert reader.line(place) == line
        assert reader.line(place_of(2, 2)) == b"b\n" if step in (7, -13) else True
    reader.close()


def test_what_is_no_line(log):
    directory, _ = log
    reader = Lines(directory)
    assert reader.line(place_of(1, 1)) == b"", "the middle of one"
    assert reader.line(place_of(2, 4)) == b"", "an incomplete one"
    assert reader.line(place_of(2, 99)) == b"", "behind the end"
    assert reader.line(place_of(3, 0)) is None, "no such segment"
    (directory / "audit-000004.jsonl").write_bytes(b"x" * limits.RECORD_BYTES + b"\n")
    assert reader.line(place_of(4, 0)) == b"", "longer than a record may be"
    reader.close()


def test_a_line_is_seen_when_it_is_complete(log):
    directory, _ = log
    reader = Lines(directory)
    assert reader.line(place_of(2, 4)) == b""
    with (directory / "audit-000002.jsonl").open("ab") as file:
        file.write(b"!\n")
    assert reader.line(place_of(2, 4)) == b"incomplete!\n"
    reader.close()


def test_numbers_of_lines(log):
    directory, lines = log
    reader = Lines(directory)
    assert [reader.number(place) for place in places(lines)[:5]] == [1, 2, 3, 4, 5]
    with pytest.raises(JournalError):
        reader.number(place_of(3, 0))


def test_a_segment_that_cannot_be_read_is_a_sentence(log):
    directory, _ = log
    os.mkdir(directory / "audit-000005.jsonl")
    with pytest.raises(JournalError, match="cannot be read: is a directory"):
        Lines(directory).line(place_of(5, 0))
