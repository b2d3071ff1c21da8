import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.daemon.httpcheck import Reachable, Refusal, accepts, is_json, one_of_each, server_of
from mcpguard.system.servefile import Listen

UNIX = Listen("a", path="/run/a.sock")


def tls(**more: object) -> Listen:
    return Listen(**({"name": "a", "host": "192.0.2.1", "port": 8443, "auth": ("cert",)} | more))  # type: ignore[arg-type]


def status(listen: Listen, port: int = 8443, **fields: str) -> int:
    try:
        Reachable(listen, port).require(fields)
    except Refusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    ("listen", "host", "found"),
    [
        (UNIX, "localhost", 200),
        (UNIX, "LOCALHOST", 200),
        (UNIX, "evil.example", 421),
        (tls(), "192.0.2.1:8443", 200),
        (tls(), "192.0.2.1", 421),
        (tls(), "192.0.2.1:8444", 421),
        (tls(host="0.0.0.0"), "0.0.0.0:8443", 421),
        (tls(host="0.0.0.0", hosts=("guard.example:8443",)), "guard.example:8443", 200),
        (tls(host="127.0.0.1"), "localhost:8443", 200),
        (tls(host="127.0.0.1"), "localhost.evil.example:8443", 421),
        (tls(host="::1"), "[::1]:8443", 200),
        (tls(url="https://guard.example"), "guard.example", 200),
    ],
)  # fmt: skip
def test_hosts(listen: Listen, host: str, found: int) -> None:
    assert status(listen, host=host) == found


def test_the_default_port_may_be_left_out() -> None:
    assert status(tls(host="guard.example", port=443), 443, host="guard.example") == 200


def test_origins() -> None:
    assert status(UNIX, host="localhost", origin="https://app.example") == 403
    named = tls(origins=("https://app.example",))
    assert status(named, host="192.0.2.1:8443", origin="https://app.example") == 200
    assert status(named, host="192.0.2.1:8443", origin="https://app.example.evil") == 403
    assert status(named, host="192.0.2.1:8443", origin="null") == 403
    assert status(named, host="192.0.2.1:8443", origin="") == 403


@pytest.mark.parametrize("name", ["Host", "AUTHORIZATION", "mcp-param-x", "Mcp-Name", "Content-Length"])
def test_what_comes_twice(name: str) -> None:
    with pytest.raises(Refusal, match="came twice"):
        one_of_each([(name.encode(), b"1"), (name.lower().encode(), b"1")])


@pytest.mark.parametrize(
    "raw",
    [
        [(b"Content-Length", b"4"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Upgrade", b"websocket")],
        [(b"X", b"a\x00")],
        [(b"X", "ä".encode())],
    ],
)
def test_what_two_readers_could_read_otherwise(raw: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refusal) as caught:
        one_of_each(raw)
    assert caught.value.status == 400


def test_others_are_joined() -> None:
    assert one_of_each([(b"Accept", b"a"), (b"accept", b" b ")]) == {"accept": "a, b"}


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=6))
def test_any_bytes_are_fields_or_refused(raw: list[tuple[bytes, bytes]]) -> None:
    status, fields = 200, {}
    try:
        fields = one_of_each(raw)
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400)
    if fields:
        assert all(name == name.lower() and value.isascii() for name, value in fields.items())
        assert not ("content-length" in fields and "transfer-encoding" in fields)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/mcp/files", "files"), ("/mcp", 404), ("/mcp/", 404), ("/mcp/a/b", 404), ("/mcp/..", 404), ("/mcp/A", 404),
        ("/mcp/files?x", 404), ("/mcp/%66iles", 404), ("http://evil.example/mcp/files", 421), ("*", 421), ("//mcp/files", 404),
    ],
)  # fmt: skip
def test_targets(target: str, found: object) -> None:
    seen: object
    try:
        seen = server_of(target, UNIX)
    except Refusal as refusal:
        seen = refusal.status
    assert seen == found


def test_a_listener_for_one_server_has_no_other() -> None:
    one = Listen("a", path="/a", server="files")
    assert server_of("/mcp", one) == server_of("/mcp/files", one) == "files"
    with pytest.raises(Refusal, match="no server 'other'"):
        server_of("/mcp/other", one)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("application/json, text/event-stream", True), ("text/event-stream,application/json;q=0.1", True), ("*/*", True),
        ("application/*, text/*", True), ("application/json", False), ("", False), ("application/json, text/event-stream; q=0.0", False),
        ("application/jsonx, text/event-stream", False),
    ],
)  # fmt: skip
def test_accept(value: str, found: bool) -> None:
    assert accepts({"accept": value}, "application/json", "text/event-stream") is found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("application/json", True), ("Application/JSON; charset=utf-8", True), ('application/json; charset="utf-8"', True),
        ("application/json; charset=utf-7", False), ("text/plain", False), ("", False), ("multipart/form-data; application/json", False),
        ("application/json, text/plain", False), ("application/json-seq", False),
    ],
)  # fmt: skip
def test_content_type(value: str, found: bool) -> None:
    assert is_json({"content-type": value}) is found
