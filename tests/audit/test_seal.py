import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.seal import FirstKey, close, evolve, parse_first_key
from mcpguard.errors import JournalError

KEY = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_a_line_ends_with_its_hmac_sha256_and_the_key_moves_on(key, data):
    mac = hmac.new(key, data + b"}\n", hashlib.sha256).hexdigest().encode()
    assert close(data, key) == (data + b',"mac":"' + mac + b'"}\n', evolve(key))


def test_keys_move_on_and_are_found_again_from_the_first():
    second = hashlib.sha256(b"mcpguard-evolve" + KEY).digest()
    assert evolve(KEY) == second
    assert evolve(KEY, 0) == KEY
    assert FirstKey(7, KEY).at(8) == second
    assert FirstKey(7, KEY).at(10) == evolve(second, 2)


@given(st.integers(1, 10**18), st.binary(min_size=32, max_size=32))
def test_a_first_key_is_read_as_it_is_written(seq, key):
    first = FirstKey(seq, key)
    assert parse_first_key(f"# kept by me\n{first.text()}\nmcpguard-audit/x+y\n") == first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        f"{FirstKey(1, KEY).text()} " * 2,
        FirstKey(1, KEY).text()[:-1],
        "mcpguard-audit-key:1:0:" + "0" * 64,
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(JournalError):
        parse_first_key(text)
