"""The handshake of the shim: bytes that may hold anything but NUL, and nothing believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ProtocolError
from mcpguard.protocol.hello import Hello, greeting, one_line, parse_hello

FIELDS = st.binary(min_size=1, max_size=8).map(lambda data: data.replace(b"\0", b"x"))


def block(
    head=b"run1",
    version=b"1.0",
    nonce=b"n",
    kind=b"command",
    name=b"files",
    cwd=b"/home",
    habits=b"18 1024 -1",
    argv=(b"npx", b"-y"),
    env=(),
    count=None,
):
    count = b"%d" % len(argv) if count is None else count
    return b"\0".join([head, version, nonce, kind, name, cwd, habits, count, *argv, *env])


def test_greeting_is_one_line():
    assert greeting("1.2", b"abc") == b"mcpguard 1 1.2 abc\n"


def test_block_is_read_as_it_was_said():
    argv, env = (b"/bin/\xff", b"", b"a b"), (b"PATH=/bin", b"X=\xff=\n")
    assert parse_hello(block(argv=argv, env=env)) == Hello(
        "1.0", b"n", "command", "files", b"/home", (18, 1024, -1), argv, env
    )
    assert parse_hello(block(env=(b"A=1", b""))).env == (b"A=1",)
    assert parse_hello(block(name=b"", kind=b"connect", argv=(b"/run/x",))).kind == "connect"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"run1",
        block(head=b"run2"),
        block(kind=b"other"),
        block(kind=b""),
        block(cwd=b"home"),
        block(cwd=b""),
        block(argv=()),
        block(argv=(b"", b"x")),
        block(habits=b""),
        block(habits=b"18 1024"),
        block(habits=b"18 1024 0 0"),
        block(habits=b"-1 1024 0"),
        block(habits=b"18 many 0"),
        block(count=b"3"),
        block(count=b"0"),
        block(count=b"-1"),
        block(count=b""),
        block(count=b"1e1"),
        block(count=b"\xb2"),
        block(count=b"9999999"),
        block(version=b"\xff"),
        block(name=b"\xff"),
        block(name=b"a\nb"),
        block(name="a\u202e".encode()),
        block(name=b"a" * 129),
    ],
)
def test_other_blocks_are_refused(body):
    with pytest.raises(ProtocolError):
        parse_hello(body)


@given(st.lists(FIELDS, min_size=1, max_size=4), st.lists(FIELDS, max_size=4))
def test_arguments_and_environment_are_told_apart(argv, env):
    hello = parse_hello(block(argv=argv, env=env))
    assert (hello.argv, hello.env) == (tuple(argv), tuple(env))


@given(
    st.binary(max_size=64) | st.lists(FIELDS, max_size=12).map(lambda fields: b"run1\0" + b"\0".join(fields))
)
def test_any_bytes_are_a_handshake_or_refused(body):
    try:
        hello = parse_hello(body)
    except ProtocolError:
        return
    assert hello.argv[0]
    assert hello.cwd.startswith(b"/")


@given(st.text())
def test_text_for_the_shim_stays_on_one_line(text):
    line = one_line(text)
    assert len(line.decode()) <= 2000
    assert line.decode().isprintable()


def test_plain_text_for_the_shim_is_not_changed():
    assert one_line("it's \u00e9") == "it's \u00e9".encode()
    assert one_line("a\nb\x1b\ud800") == rb"a\nb\x1b\ud800"
