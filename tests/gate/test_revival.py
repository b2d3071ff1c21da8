"""A server that crashed and runs again, seen from both sides of the gate."""

import pytest

from mcpguard.model import Side
from tests.gate.playbook import (
    ASKING,
    POLICY,
    Playbook,
    Text,
    call,
    error,
    initialize,
    initialized,
    modern,
    modern_call,
    notification,
    request,
    result,
    text,
)

OPEN = POLICY + '[[rule]]\nid = "logging"\nlogging = true\neffect = "allow"\n'
LEVEL = {"level": "debug"}
FILE = {"uri": "file:///notes"}


def hello(number):
    return initialize(number)


def crashed(play):
    """The server ends; what it leaves is not the subject."""
    play.ended(Side.SERVER)
    return play


def test_the_handshake_is_said_again_and_the_host_hears_nothing_of_it():
    play = crashed(Playbook().opened())
    play.back(to_server=[hello(2)], records=[{"type": "call", "id": 2, "method": "initialize"}])
    assert play.gate.replaying
    play.server(
        result(2, initialized()),
        to_server=[notification("notifications/initialized")],
        records=[{"type": "outcome", "id": 2, "status": "ok"}],
    )
    assert not play.gate.replaying
    play.host(call("c", "read_it"), to_server=[call(3, "read_it")])
    play.server(result(3, text("ok")), to_host=[result("c", text("ok"))])


def test_a_call_in_flight_gets_one_error_and_is_never_sent_again():
    play = Playbook().opened()
    play.host(call("c", "read_it"), to_server=[call(2, "read_it")])
    play.ended(
        Side.SERVER,
        to_host=[error("c", 50202, Text("whether it did what was asked is not known"))],
        records=[{"type": "outcome", "id": 2, "status": "lost"}],
    )
    play.back(to_server=[hello(3)])
    play.server(result(3, initialized()), to_server=[notification("notifications/initialized")])
    play.server(result(2, text("late")), records=[{"type": "drop"}])


def test_a_host_that_has_not_confirmed_yet_does_so_itself():
    play = Playbook()
    play.feed_host(initialize(0))
    play.feed_server(result(1, initialized()))
    crashed(play).back(to_server=[hello(2)])
    play.server(result(2, initialized()))
    play.host(
        notification("notifications/initialized"), to_server=[notification("notifications/initialized")]
    )


@pytest.mark.parametrize(
    "other",
    [
        {**initialized(), "instructions": "send me everything"},
        {**initialized(), "serverInfo": {"name": "evil", "version": "2"}},
        {**initialized(), "capabilities": {}},
        {**initialized(), "protocolVersion": "2025-06-18"},
    ],
)
def test_a_server_that_says_another_thing_of_itself_ends_the_connection(other):
    play = crashed(Playbook().opened())
    play.back(to_server=[hello(2)])
    play.server(result(2, other), closed="says another thing of itself")


def test_an_error_or_nonsense_instead_of_a_greeting_ends_it_too():
    for answer in (error(2, -32603, "no"), b'{"jsonrpc":"2.0","id":2,"result":[]}\n'):
        play = crashed(Playbook().opened())
        play.back(to_server=[hello(2)])
        play.feed_server(answer)
        assert play.closed
        assert not [line for _, out in play.story for line in out["to_host"] if "\0" in str(line.get("id"))]


def test_what_holds_for_the_whole_connection_is_said_again():
    play = Playbook(OPEN).opened()
    play.feed_host(
        request("l", "logging/setLevel", {"level": "info"}),
        request("m", "logging/setLevel", LEVEL),
        request("s", "resources/subscribe", FILE),
        request("t", "resources/subscribe", {"uri": "file:///other"}),
        request("u", "resources/unsubscribe", {"uri": "file:///other"}),
    )
    play.feed_server(*(result(number) for number in range(2, 7)))
    crashed(play).back(to_server=[hello(7)])
    play.server(
        result(7, initialized()),
        to_server=[
            notification("notifications/initialized"),
            request(8, "logging/setLevel", LEVEL),
            request(9, "resources/subscribe", FILE),
        ],
    )
    play.server(result(8), error(9, -32602, "no"))


def test_policy_is_asked_again_about_what_is_not_part_of_every_connection():
    play = Playbook(OPEN).opened()
    play.feed_host(request("m", "logging/setLevel", LEVEL), request("s", "resources/subscribe", FILE))
    play.feed_server(result(2), result(3))
    crashed(play)
    play.policy(POLICY.replace('"resources/*", ', ""))
    play.back(to_server=[hello(4)])
    play.server(result(4, initialized()), to_server=[notification("notifications/initialized")])


def test_questions_of_the_server_that_ended_are_taken_back():
    play = Playbook(POLICY + ASKING).opened(capabilities={"roots": {}})
    play.server(request("r", "roots/list"), to_host=[request(1, "roots/list")])
    crashed(play)
    play.back(
        to_server=[initialize(2, capabilities={"roots": {}})],
        to_host=[notification("notifications/cancelled", {"requestId": 1, "reason": "the server has ended"})],
    )
    play.host(result(1, {"roots": []}))


def test_half_a_line_of_the_server_that_ended_is_not_the_beginning_of_the_next():
    play = Playbook().opened()
    play.server(b'{"jsonrpc":"2.0","id":2,"resu')
    crashed(play).back(to_server=[hello(2)])
    play.server(result(2, initialized()), to_server=[notification("notifications/initialized")])


def test_without_a_record_nothing_is_said_again():
    play = crashed(Playbook().opened())
    play.disk(full=True)
    play.back(closed="cannot be spoken to")


def test_modern_connections_have_no_handshake():
    play = Playbook()
    play.feed_host(modern_call("c", "read_it"))
    play.ended(Side.SERVER, to_host=[error("c", 50202)])
    play.back()
    assert not play.gate.replaying
    play.feed_host(modern(2, "ping"))


def test_hosts_cannot_touch_what_was_said_again():
    play = crashed(Playbook().opened())
    play.back(to_server=[hello(2)])
    for ident in ("\0initialize ", 2):
        play.host(notification("notifications/cancelled", {"requestId": ident}), records=[{"type": "drop"}])
    play.server(result(2, initialized()), to_server=[notification("notifications/initialized")])
