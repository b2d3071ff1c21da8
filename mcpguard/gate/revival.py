"""A server that crashed and runs again: say to it what the host said, so that the host need not know.

Rule 1: what is said again is the handshake, and what holds for the whole connection: the level of logging, resources
that the host watches; both may be said as often as one likes. A call is never sent twice: what was in flight has been
answered with an error by then.
Rule 2: the server must greet as it did before. One that says another thing of itself is another server, and the
connection ends.
Rule 3: policy is asked again about what is not part of every connection.

Modern revisions have no handshake: each request says everything, and a stream of notifications is a request that the
host makes anew when it learns that it ended.
"""

from __future__ import annotations

from typing import Final

from mcpguard import limits
from mcpguard.gate.bounded import remember
from mcpguard.gate.ledger import Ruling
from mcpguard.gate.pending import Call
from mcpguard.gate.state import State
from mcpguard.model import Era, JsonObject, Side
from mcpguard.protocol.jsonrpc import notification_line
from mcpguard.protocol.methods import REQUESTS
from mcpguard.protocol.strict import encode, encode_raw

LASTING: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Requests whose effect lasts as long as the connection."""

_INITIALIZE: Final = "initialize"
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
_GREETING: Final = ("protocolVersion", "capabilities", "serverInfo", "instructions")
_ANOTHER: Final = "the server crashed, and what was started again says another thing of itself"


def note(state: State, name: str, params: JsonObject) -> None:
    """A request of `LASTING` is forwarded."""
    if name == "logging/setLevel":
        state.lasting.level = dict(params)
    elif name == "resources/subscribe":
        remember(state.lasting.watched, params["uri"], None, limits.WATCHED)
    else:
        state.lasting.watched.pop(params["uri"], None)


def greeted(state: State, call: Call, result: JsonObject) -> None:
    """The server has answered the handshake for the first time; what it says is not edited yet."""
    if call.method.name == _INITIALIZE:
        state.lasting.greeting = _essence(result)


def again(state: State) -> None:
    """The server runs again: begin with the handshake, if there was one.

    What it had asked of the host is taken back first: the new one would not know the answers.
    """
    for ask in state.asks.values():
        state.asks.cancel(ask)
        state.out.later.append(state.ledger.settled(ask, b"cancelled", state.now, 0))
        params: JsonObject = {"requestId": ask.number, "reason": "the server has ended"}
        state.out.to_host.append(notification_line("notifications/cancelled", params))
    opening = state.lasting.opening
    if state.era is Era.LEGACY and state.opened and opening is not None:
        _send(state, _INITIALIZE, opening, state.ledger.passed(_INITIALIZE))


def answered(state: State, call: Call, result: JsonObject | None) -> None:
    """The server has answered something that was said again; None: with an error."""
    if call.method.name != _INITIALIZE:
        return
    if result is None or _essence(result) != state.lasting.greeting:
        state.out.closing = _ANOTHER
        return
    if state.lasting.confirmed:
        state.out.to_server.append(_INITIALIZED)
    lasting = state.lasting
    if lasting.level is not None:
        _judged(state, "logging/setLevel", "", lasting.level)
    for uri in lasting.watched:
        _judged(state, "resources/subscribe", uri, {"uri": uri})


def under_way(state: State) -> bool:
    """Whether the handshake that was said again has no answer yet."""
    return any(call.replay and call.method.name == _INITIALIZE for call in state.calls.values())


def _judged(state: State, name: str, target: str, params: JsonObject) -> None:
    ledger = state.ledger
    ruling = ledger.method(name, target)
    if ruling.decision.depends:
        ruling = ledger.judged(name, target, params, state.now)
    if ruling.allowed:
        _send(state, name, params, ruling, target)


def _send(state: State, name: str, params: JsonObject, ruling: Ruling, target: str = "") -> None:
    """Order: recorded like every request, before it travels."""
    method = REQUESTS[Era.LEGACY, Side.HOST][name]
    # no host can have an id like this: it would be refused for its control character
    call = Call(f"\0{name} {target}", method, target, ruling.outcome, state.now, replay=True)
    number = state.calls.add(call)
    state.out.records.append(state.ledger.decided(number, ruling.tail, params))
    line = encode({"jsonrpc": "2.0", "id": number, "method": name, "params": params}) + b"\n"
    state.out.guard(Side.SERVER, number, line)


def _essence(result: JsonObject) -> bytes:
    return encode_raw({key: result.get(key) for key in _GREETING})
