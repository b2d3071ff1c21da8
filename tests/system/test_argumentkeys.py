import json
import os
import resource
import signal
import stat

import pytest

from mcpguard.audit.sealed import KEY_BYTES, member
from mcpguard.errors import JournalError
from mcpguard.system.argumentkeys import NAME, ArgumentKeys, ArgumentReader


def record(number: int, key: bytes) -> dict:
    return {"args": json.loads(b'{"size":1%b}' % member(number, key, b'{"arguments":{"n":%d}}' % number))}


def test_each_key_is_new_and_opens_its_record(tmp_path):
    keys = ArgumentKeys(tmp_path)
    drawn = [keys.draw() for _ in range(5)]
    assert [number for number, _ in drawn] == [1, 2, 3, 4, 5]
    assert len({key for _, key in drawn}) == 5
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    reader = ArgumentReader(tmp_path)
    assert [reader.arguments(record(*one)) for one in drawn] == [{"arguments": {"n": n}} for n in range(1, 6)]
    assert reader.arguments({"args": {"size": 1}}) is None
    reader.close()
    keys.close()


def test_an_erased_key_is_overwritten_and_the_others_stay(tmp_path):
    keys = ArgumentKeys(tmp_path)
    drawn = [keys.draw() for _ in range(5)]
    assert keys.destroy([2, 4, 4, 99, 0]) == 2
    assert keys.destroy([2]) == 0
    data = (tmp_path / NAME).read_bytes()
    for number, key in drawn:
        assert (key in data) is (number not in (2, 4))
    reader = ArgumentReader(tmp_path)
    assert reader.arguments(record(*drawn[1])) == {"erased": True}
    assert reader.kept(record(*drawn[1])) == 0
    assert reader.kept(record(*drawn[2])) == 3
    reader.close()
    keys.close()


@pytest.mark.parametrize("many", [1, 6, 7, 8, 13, 14, 15, 20])
def test_the_ring_goes_on_where_it_was_and_forgets_the_oldest(tmp_path, many):
    drawn = []
    for _ in range(many):
        keys = ArgumentKeys(tmp_path, most=7)
        drawn.append(keys.draw())
        keys.close()
    assert [number for number, _ in drawn] == list(range(1, many + 1))
    assert (tmp_path / NAME).stat().st_size == 40 * min(many, 7)
    reader = ArgumentReader(tmp_path, most=7)
    for number, key in drawn:
        opens = reader.arguments(record(number, key)) != {"erased": True}
        assert opens is (number > many - 7)
    reader.close()


def test_erasing_the_newest_does_not_give_its_number_again(tmp_path):
    keys = ArgumentKeys(tmp_path, most=7)
    for _ in range(9):
        keys.draw()
    keys.destroy(range(1, 10))
    keys.close()
    again = ArgumentKeys(tmp_path, most=7)
    assert again.draw()[0] == 10
    again.close()


def test_a_key_that_a_crash_cut_is_drawn_again(tmp_path):
    keys = ArgumentKeys(tmp_path)
    keys.draw()
    keys.draw()
    keys.close()
    with (tmp_path / NAME).open("r+b") as file:
        file.truncate(40 + 23)
    again = ArgumentKeys(tmp_path)
    assert again.draw()[0] == 2
    assert (tmp_path / NAME).stat().st_size == 80
    again.close()


def test_a_log_that_was_copied_without_its_keys_is_erased(tmp_path):
    assert ArgumentReader(tmp_path).arguments(record(1, bytes(range(KEY_BYTES)))) == {"erased": True}


def test_a_file_that_others_can_read_or_a_link_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(b"")
    os.chmod(tmp_path / NAME, 0o644)
    with pytest.raises(JournalError, match="not a file of this user alone"):
        ArgumentKeys(tmp_path).draw()
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot be kept"):
        ArgumentKeys(tmp_path).draw()
    with pytest.raises(JournalError, match="cannot read"):
        ArgumentReader(tmp_path).arguments(record(1, bytes(range(KEY_BYTES))))


def test_a_full_disk_is_told(tmp_path):
    keys = ArgumentKeys(tmp_path)
    keys.draw()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
    try:
        with pytest.raises(JournalError, match="cannot be kept"):
            keys.draw()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert keys.draw()[0] == 2
    keys.close()
