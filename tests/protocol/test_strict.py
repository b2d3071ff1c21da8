"""Strict JSON: what every reader reads alike passes, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import ProtocolError
from mcpguard.protocol import strict
from mcpguard.protocol.strict import (
    Refused,
    as_object,
    decode,
    encode,
    escape_separators,
    fold,
    refusal,
    valid_id,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            TEXTS.filter(lambda key: key not in ("__proto__", "constructor", "prototype")), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def typed(value):
    """The value with its types, so that 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return [(key, typed(child)) for key, child in value.items()]
    if isinstance(value, list):
        return [typed(child) for child in value]
    return (float if isinstance(value, float) else type(value), repr(value))


def collides(value):
    if isinstance(value, dict):
        return len({fold(key) for key in value}) < len(value) or any(
            collides(child) for child in value.values()
        )
    return isinstance(value, list) and any(collides(child) for child in value)


@pytest.mark.parametrize(
    ("line", "value", "canonical"),
    [
        (b'{"a":1,"b":[1.0,true,null,"x"]}', {"a": 1, "b": [1.0, True, None, "x"]}, True),
        (b'{ "a" : 1 }', {"a": 1}, False),
        (b'{"\\u0061":"\\/"}', {"a": "/"}, False),
        (b'{"a":1e2}', {"a": 100.0}, False),
        (b'{"a":-0}', {"a": 0}, False),
        (b'{"a":-0.0}', {"a": -0.0}, True),
        (b'{"a":9223372036854775808}', {"a": 2**63}, True),
        (b'{"a":18446744073709551615,"b":-9223372036854775808}', {"a": 2**64 - 1, "b": -(2**63)}, True),
        (b'{"a":":{\\":\\\\","b":"\\\\"}', {"a": ':{":\\', "b": "\\"}, True),
        (b'{"a": ":{\\":\\\\", "b": "\\\\"}', {"a": ':{":\\', "b": "\\"}, False),
        (b'{"z":1,"a":{"z":1,"a":1}}', {"z": 1, "a": {"z": 1, "a": 1}}, True),
        ('{"\u00e9":"\u2028"}'.encode(), {"\u00e9": "\u2028"}, True),
        (b"[]", [], True),
        (b"5", 5, True),
    ],
)
def test_value_is_read_with_its_types_and_its_order(line, value, canonical):
    read, own = decode(line)
    assert typed(read) == typed(value)
    assert own is canonical


@pytest.mark.parametrize(
    ("inner", "because"),
    [
        (b'"a":1,"a":1', "same key twice"),
        (b'"a":1,"a":2', "same key twice"),
        (b'"a": 1, "b": {"c": 1, "c": 1}', "same key twice"),
        (b'"a":[[{"c":1,"d":{},"c":1}]]', "same key twice"),
        (b'"a":1,"\\u0061":2', "same key twice"),
        (b'"":1,"":2', "same key twice"),
        (b'"a:b":1,"a:b":2', "same key twice"),
        (b'"a\\"":1,"a\\u0022":2', "same key twice"),
        (b'"name":1,"Name":2', "differ only"),
        ('"param\u017f":1,"params":2'.encode(), "differ only"),
        ('"name":1,"na\u200dme":2'.encode(), "differ only"),
        ('"name":1,"\uff4eame":2'.encode(), "differ only"),
        (b'"name":1,"name\\u0000":2', "differ only"),
        (b'"name":1,"name ":2', "differ only"),
        ('"k":1,"\u212a":2'.encode(), "differ only"),
        (b'"__proto__":1', "not allowed"),
        (b'"a":{"constructor":1}', "not allowed"),
        (b'"a":"\\ud800"', "surrogate"),
        (b'"a":"\\udc00\\ud800"', "surrogate"),
        (b'"\\ud800":1', "surrogate"),
        (b'"a":1e999', "range"),
        (b'"a":-1e999', "range"),
        (b'"a":18446744073709551616', "64 bits"),
        (b'"a":-9223372036854775809', "64 bits"),
        (b'"a":[18446744073709551616]', "64 bits"),
        (b'"a":' + b"9" * 5000, "range"),
        (b'"%b":1' % (b"k" * (limits.KEY_CHARS + 1)), "longer than"),
        (b",".join(b'"%d":1' % i for i in range(limits.MEMBERS + 1)), "members"),
        (b'"a":' + b"[" * 71 + b"]" * 71, "deeper"),
        (b'"a":' + b'{"a":' * 71 + b"1" + b"}" * 71, "deeper"),
        (b'"a":' + b"[" * 100_000 + b"]" * 100_000, "deeper"),
        (b'"a":[' + b"0," * limits.TOKENS + b"0]", "elements"),
        (
            b'"a":[' + b",".join([b'{"a":1,"b":1,"c":1}'] * (limits.TOKENS // 3 + 1)) + b"]",
            "members in one message",
        ),
    ],
)
def test_what_readers_take_for_different_things_is_refused_and_the_id_is_told(inner, because):
    with pytest.raises(Refused, match=because) as refused:
        decode(b'{"id":"x","method":"m","deep":{%b}}' % inner)
    assert (refused.value.fatal, refused.value.ident, refused.value.settles) == (False, "x", None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1}x',
        b'{"a":1}{"b":1}',
        b'{"a":1}\r{"b":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":0x7}',
        b'{"a":1}//x',
        b'{"a":"\t"}',
        b'{"a":"\x00"}',
        b'{"a":1}\x00',
        b'\xef\xbb\xbf{"a":1}',
        b"\xff\xfe{\x00}\x00",
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xe2\x80"}',
        b'\x1e{"a":1}',
        b'{"a":1e}',
        b'{"a":"\\x41"}',
        b"[" * 50,
    ],
)
def test_what_is_not_json_is_fatal(line):
    with pytest.raises(Refused) as refused:
        decode(line)
    assert (refused.value.fatal, refused.value.ident, refused.value.settles) == (True, None, None)


def test_limits_themselves_pass():
    for inner in (
        b'"%b":1' % (b"k" * limits.KEY_CHARS),
        b",".join(b'"%d":1' % i for i in range(limits.MEMBERS)),
        b'"a":' + b"[" * limits.DEPTH + b"]" * limits.DEPTH,
        b'"a":[' + b"0," * (limits.TOKENS - 1) + b"0]",
    ):
        assert encode(decode(b"{%b}" % inner)[0]) == b"{%b}" % inner


@pytest.mark.parametrize(
    ("members", "ident", "settles"),
    [
        (b'"id":7,"method":"m"', 7, None),
        (b'"id":"7","result":{}', None, "7"),
        (b'"error":{},"id":0', None, 0),
        (b'"id":"","method":"m","result":{}', "", ""),
        (b'"id":7', 7, 7),
        (b'"id" : 7 , "method" : "m"', 7, None),
        (b'"id":7,"id":8,"method":"m"', None, None),
        (b'"id":7,"id":7,"method":"m"', None, None),
        (b'"id":7.0,"method":"m"', None, None),
        (b'"id":true,"method":"m"', None, None),
        (b'"id":{"id":7},"method":"m"', None, None),
        (b'"params":{"id":7},"method":"m"', None, None),
        (b'"x":"\\"id\\":7","method":"m"', None, None),
        (b'"id":"\\u001b","method":"m"', None, None),
        (b'"id":"%b","method":"m"' % (b"a" * 300), None, None),
        (b'"a":{"result":1,"method":2},"id":7,"result":{}', None, 7),
    ],
)
def test_id_of_a_refused_line_is_told_where_it_cannot_be_mistaken(members, ident, settles):
    with pytest.raises(Refused) as refused:
        decode(b'{%b,"bad":{"a":1,"a":1}}' % members)
    assert (refused.value.ident, refused.value.settles) == (ident, settles)
    assert (type(refused.value.ident), type(refused.value.settles)) == (type(ident), type(settles))


def test_refusal_tells_whose_id_it_is():
    assert refusal("x", 1, {"method"}).settles is None
    assert refusal("x", 1, {"error"}).ident is None
    assert isinstance(refusal("x", None, ()), ProtocolError)


@given(VALUES)
def test_encoding_is_read_back_as_it_was_or_refused_for_colliding_keys(value):
    line = encode(value)
    if collides(value):
        with pytest.raises(Refused):
            decode(line)
        return
    read, _ = decode(line)
    assert typed(read) == typed(value)
    assert encode(read) == line


@given(VALUES)
def test_encoding_holds_nothing_that_ends_a_line_anywhere(value):
    line = encode(value)
    assert line.decode().splitlines() in ([line.decode()], [])
    assert json.loads(line) == value


@given(VALUES, st.booleans())
def test_other_spellings_of_a_value_are_read_as_the_value(value, ascii_only):
    line = json.dumps(value, ensure_ascii=ascii_only, indent=None, separators=(" , ", " : ")).encode()
    if not collides(value):
        assert typed(decode(line)[0]) == typed(value)


@given(st.dictionaries(TEXTS, st.integers(0, 9), min_size=1, max_size=5), st.data())
def test_key_written_twice_is_always_seen(value, data):
    key = data.draw(st.sampled_from(sorted(value)))
    members = [f"{json.dumps(name, ensure_ascii=False)}:{number}" for name, number in value.items()]
    members.insert(
        data.draw(st.integers(0, len(members))), f"{json.dumps(key)}:{data.draw(st.integers(0, 9))}"
    )
    with pytest.raises(Refused):
        decode(("{" + ",".join(members) + "}").encode())


def test_separators_are_escaped_and_read_back():
    assert encode({"a": "\u2028\u2029\u0085"}) == rb'{"a":"\u2028\u2029\u0085"}'
    assert escape_separators(b'{"a":1}') == b'{"a":1}'
    assert decode(encode("\u2028"))[0] == "\u2028"


@pytest.mark.parametrize(
    "key", ["Name", "NAME", "na\u200bme", "name\u0000", " name", "\uff2eame", "nam\u0435"]
)
def test_fold_joins_what_lenient_readers_join(key):
    assert (fold(key) == "name") is (key != "nam\u0435")


@pytest.mark.parametrize("ident", [0, -1, 7, 2**53 - 1, -(2**53) + 1, "", "7", " 7", "a" * 256, "\u00e9"])
def test_well_formed_ids(ident):
    assert valid_id(ident) is True


@pytest.mark.parametrize(
    "ident", [None, True, False, 7.0, 2**53, -(2**53), "a" * 257, "\n", "\x1b[m", "\u202e", "\u200b", [7], {}]
)
def test_malformed_ids(ident):
    assert valid_id(ident) is False


def test_message_is_an_object():
    assert as_object({}) == {}
    for value in ([], "", 5, None):
        with pytest.raises(Refused):
            as_object(value)


def test_shapes_that_were_found_safe_are_remembered_up_to_a_bound():
    for number in range(5000):
        decode(b'{"k%d":1}' % number)
    assert len(strict._safe_shapes) <= 4096
    with pytest.raises(Refused):
        decode(b'{"k4999":1,"K4999":1}')


@pytest.mark.parametrize(
    "text", ["1e+22", "1e+16", "-2.5e+300", "1e-7", "1.0", "-0.0", "0.1", "9007199254740993"]
)
def test_numbers_as_common_encoders_write_them_keep_their_text(text):
    for line in (f'{{"n":{text}}}', f'{{ "n" : [{text}] }}'):
        value, _ = decode(line.encode())
        assert text.encode() in encode(value)


@pytest.mark.parametrize(
    ("text", "sent"), [("1e2", b"100.0"), ("1E+5", b"100000.0"), ("0.10000000000000000001", b"0.1")]
)
def test_other_numbers_are_sent_as_they_are_judged(text, sent):
    value, canonical = decode(f'{{"n":{text}}}'.encode())
    assert encode(value) == b'{"n":%b}' % sent
    assert not canonical


@pytest.mark.parametrize("value", [object(), b"x".join, {1}.union])
def test_what_is_not_json_is_not_encoded(value):
    with pytest.raises(TypeError):
        encode({"a": value})
