"""Questions that the host itself puts to its user, for principals whose policy permits it.

Legacy: an `elicitation/create` of ours, under an id of ours, whose answer never reaches the server. Modern: the call
is answered with `input_required` and a sealed state; the retry that brings the state back is a call of its own.

Rule 1: a host that did not declare form elicitation is not asked; nor is it about what wants presence.
Rule 2: only `accept` with the word for yes is a yes. Anything else that the host says is a no; no answer is silence.

Source: MCP client/elicitation (2025-06-18 to 2025-11-25), basic/patterns/mrtr (2026-07-28).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from mcpguard.approvals import seal
from mcpguard.approvals.book import ApprovalError
from mcpguard.approvals.ticket import Answer, Binding, Ticket
from mcpguard.approvals.ticket import State as TicketState
from mcpguard.approvals.words import question_text
from mcpguard.gate.pending import Call
from mcpguard.gate.state import State
from mcpguard.gate.waiting import Held
from mcpguard.model import Era, Json, JsonObject, Side
from mcpguard.protocol import jsonrpc
from mcpguard.protocol.methods import EMBEDDED
from mcpguard.protocol.strict import Refused

KEY: Final = "dev.mcpguard.approval"
"""The key of our question among `inputRequests`."""
_YES: Final = "allow once"
_NO: Final = "deny"
_BY: Final = "elicitation"
_OURS: Final = "dev.mcpguard/approval-"
_ELICITATION: Final = EMBEDDED["elicitation/create"]


def _may_ask(state: State, ticket: Ticket, capabilities: JsonObject | None) -> bool:
    declared = (capabilities or {}).get("elicitation")
    if not state.manners.in_band or ticket.question.confirm or type(declared) is not dict:
        return False
    return "form" in declared or "url" not in declared  # an empty object means forms


def _form(ticket: Ticket) -> JsonObject:
    return {
        "message": question_text(ticket),
        "requestedSchema": {
            "type": "object",
            "properties": {
                "decision": {"type": "string", "title": "Decision", "enum": [_NO, _YES], "default": _NO}
            },
            "required": ["decision"],
        },
    }


def _is_yes(answer: Json) -> bool:
    if type(answer) is not dict or answer.get("action") != "accept":
        return False
    content = answer.get("content")
    return type(content) is dict and content.get("decision") == _YES


# --- legacy ------------------------------------------------------------------------------------------------


def elicit(state: State, held: Held, ticket: Ticket) -> None:
    """Put the question to the host's user, once for each ticket."""
    if state.era is not Era.LEGACY or held.side is not Side.HOST:
        return
    if not _may_ask(state, ticket, state.declared) or _asked(state, ticket.ident) is not None:
        return
    call = Call(f"{_OURS}{ticket.ident}", _ELICITATION, "", b"", state.now, ticket=ticket.ident)
    try:
        number = state.asks.add(call)
    except Refused:
        return  # too much is in flight; the other channels ask
    message = {"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": _form(ticket)}
    state.out.to_host.append(msgspec.json.encode(message) + b"\n")


def withdraw(state: State, ticket: str) -> None:
    """The question is settled, or nobody waits for it: the host need not ask any more."""
    call = _asked(state, ticket)
    if call is None:
        return
    state.asks.cancel(call)
    params = {"requestId": call.number, "reason": "the question was settled"}
    state.out.to_host.append(jsonrpc.notification_line("notifications/cancelled", params))


def taken(state: State, ask: Call, result: Json) -> None:
    """The host answered our question: enter it in the book; what follows comes back as an event."""
    state.out.announce = True
    answer = Answer(granted=_is_yes(result), by=_BY, reason="" if _is_yes(result) else "the user declined")
    try:
        state.shared.book.answer(ask.ticket, answer, state.now)
    except ApprovalError:
        return  # settled in the meantime by somebody else


def _asked(state: State, ticket: str) -> Call | None:
    return state.asks.by_ident(f"{_OURS}{ticket}")


# --- modern ------------------------------------------------------------------------------------------------


def answered(state: State, held: Held, ticket: Ticket) -> bool:
    """Answer a call with `input_required`, if its host may be asked; whether that was done."""
    call = held.call
    if state.era is not Era.MODERN or not call.method.asks or held.side is not Side.HOST:
        return False
    if not _may_ask(state, ticket, call.declared):
        return False
    sealed = seal.seal(state.shared.seal, ticket.ident, _digest(ticket.question.binding), ticket.expires)
    result = {
        "resultType": "input_required",
        "inputRequests": {KEY: {"method": "elicitation/create", "params": {"mode": "form", **_form(ticket)}}},
        "requestState": sealed,
    }
    state.out.to_host.append(jsonrpc.result_line(call.ident, result))
    return True


def returned(state: State, bound: Binding, params: JsonObject) -> str:
    """Take our state, and the answer to our question, out of a retry; the ticket that they are of.

    The empty string: the state is none of ours, and is left to the server's.

    Raises:
        Refused: It was given for another call, or long ago.
    """
    text = params.get("requestState")
    unsealed = seal.unseal(state.shared.seal, text) if type(text) is str else None
    if unsealed is None:
        return ""
    if unsealed.binding != _digest(bound) or state.now >= unsealed.expires:
        raise Refused("requestState was given for another call, or has expired; call again without it")
    del params["requestState"]
    responses = params.pop("inputResponses", None)
    answer = responses.get(KEY) if type(responses) is dict else None
    if answer is not None:
        taken(state, Call("", _ELICITATION, "", b"", state.now, ticket=unsealed.ticket), answer)
    return unsealed.ticket


def verdict(state: State, ticket: str) -> str:
    """Why the retry of a call that was asked about is denied; empty if it was not denied."""
    try:
        found = state.shared.book.find(ticket)
    except ApprovalError:
        return ""
    if found.state in (TicketState.DENIED, TicketState.EXPIRED, TicketState.VOID):
        return found.reason or f"the question was {found.state.value}"
    return ""


def _digest(binding: Binding) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(binding), digest_size=16).digest()
