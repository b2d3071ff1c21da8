from mcpguard.protocol import sse


def test_an_event_is_one_message() -> None:
    assert sse.event(b'{"a":1}') == b'event: message\ndata: {"a":1}\n\n'
    assert sse.event(b"{}", "3-7") == b"id: 3-7\nevent: message\ndata: {}\n\n"


def test_a_priming_event_has_an_id_and_no_data() -> None:
    assert sse.priming("3-0", 1000) == b"id: 3-0\nretry: 1000\ndata: \n\n"


def test_a_comment_is_no_event() -> None:
    assert sse.COMMENT.startswith(b":")
    assert sse.COMMENT.endswith(b"\n\n")
