import json

import pytest

from mcpguard.audit import sealed
from mcpguard.audit.sealed import KEY_BYTES, member, number_of, opened
from mcpguard.errors import JournalError

KEY = bytes(range(KEY_BYTES))


def body(raw: bytes) -> dict:
    return {"args": json.loads(b'{"size":1%b}' % raw)}


def test_what_is_sealed_is_opened_with_its_key_alone():
    kept = body(member(7, KEY, b'{"arguments":{"a":1}}'))
    assert number_of(kept) == 7
    assert opened(kept, KEY) == {"arguments": {"a": 1}}
    with pytest.raises(JournalError, match="cannot be opened"):
        opened(kept, bytes(KEY_BYTES))


def test_the_number_and_every_bit_of_the_data_are_authenticated():
    kept = body(member(7, KEY, b'{"arguments":{}}'))
    kept["args"]["sealed"]["key"] = 8
    with pytest.raises(JournalError):
        opened(kept, KEY)
    kept["args"]["sealed"]["key"] = 7
    data = kept["args"]["sealed"]["data"]
    for at in range(len(data)):
        kept["args"]["sealed"]["data"] = data[:at] + ("A" if data[at] != "A" else "B") + data[at + 1 :]
        with pytest.raises(JournalError):
            opened(kept, KEY)


@pytest.mark.parametrize(
    "args", [None, {}, {"sealed": 1}, {"sealed": {"key": True}}, {"sealed": {"key": -1}}, {"sealed": {}}]
)
def test_other_records_keep_nothing(args):
    assert number_of({"args": args}) == 0
    assert number_of({}) == 0


def test_what_could_not_be_kept_says_so():
    assert number_of(body(sealed.NOT_KEPT)) == 0
