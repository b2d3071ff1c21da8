"""Requests that a person decides on: asked about, held, and let through at most once for each yes.

Rule 1: what passes is what was shown: the very message that was held, or one with the same binding.
Rule 2: a yes counts only while everything that it was given for is still so: policy, definition, arguments, host.
The request is judged again when the answer comes, and the host is looked at again before it is forwarded.
What it was given for are the exact arguments; a person is shown them without secrets (`audit.redact`).
Rule 3: silence, a full book, a lost connection and an unknown answer are all a no.

Source: MCP server/tools, User Interaction Model; basic/utilities/progress for the notifications that keep a host from
giving up.
"""

from __future__ import annotations

import hashlib
from typing import Final

from mcpguard import limits
from mcpguard.approvals.ticket import Binding, Grant, Question, Ticket
from mcpguard.audit import redact
from mcpguard.gate import inband
from mcpguard.gate.ledger import Ruling
from mcpguard.gate.pending import Call
from mcpguard.gate.state import State
from mcpguard.gate.waiting import Held
from mcpguard.identity.definitions import canonical
from mcpguard.model import Json, JsonObject, Side
from mcpguard.protocol.jsonrpc import notification_line
from mcpguard.protocol.methods import Kind
from mcpguard.protocol.strict import Refused, encode_raw

_ENVELOPE: Final = frozenset({"_meta", "inputResponses", "requestState"})
SPENT: Final = (
    "the approval was for one call and is used up, or what it was for has changed since; "
    "call again to ask again"
)
_STEP: Final = 1e-9
"""What the progress of a request that waits grows by: less than any server's first step."""


def subject(call: Call, params: JsonObject) -> Json:
    """What a person is shown of a request, and what its approval is bound to: without what differs in a retry."""
    if call.method.kind is Kind.TOOL:
        return params.get("arguments") or {}
    return {key: value for key, value in params.items() if key not in _ENVELOPE}


def approve(state: State, held: Held, ruling: Ruling) -> Grant | str | None:
    """Ask about a request, unless a grant covers it.

    Returns:
        The grant that was used up for it; a sentence, if it is denied at once; None, if it waits or was answered.

    Raises:
        Refused: Its arguments have no form that an approval could be bound to.
    """
    shared = state.shared
    value = subject(held.call, held.message.get("params") or {})
    if len(encode_raw(value)) > limits.ASKED_BYTES:
        return (
            f"its arguments are longer than {limits.ASKED_BYTES} bytes, more than a person can be asked about"
        )
    bound = binding(state, held.call, value)
    grant = shared.book.spend(bound, state.now, confirm=ruling.decision.confirm)
    if grant is not None:
        shared.book.went_through(bound, _public(state, held.call, value))
        return grant
    if len(state.waiting) >= limits.HELD:
        return f"more than {limits.HELD} requests of this connection wait for approval already; answer those first"
    decision = ruling.decision
    question = Question(
        binding=bound,
        conn=shared.conn,
        host=shared.host,
        rule=decision.rule,
        origin=decision.origin,
        reason=decision.reason,
        confirm=decision.confirm,
        arguments=_public(state, held.call, value),
        timeout=state.manners.timeout,
    )
    ticket = shared.book.ask(question, state.now)
    if isinstance(ticket, str):
        return ticket
    _opened(state, held, ticket)
    return None


def spend(state: State, call: Call, params: JsonObject, ruling: Ruling) -> Grant | None:
    """Use a grant for a request that waited, as things are now; None if there is none for it."""
    value = subject(call, params)
    bound = binding(state, call, value)
    grant = state.shared.book.spend(bound, state.now, confirm=ruling.decision.confirm)
    if grant is not None:
        state.shared.book.went_through(bound, _public(state, call, value))
    return grant


def _public(state: State, call: Call, value: Json) -> Json:
    """The subject of a request without secrets: those of the schema, and those that cannot be a command."""
    schemas = state.shared.schemas
    marks = schemas.marks(call.target) if schemas is not None and call.method.kind is Kind.TOOL else None
    return redact.current().shown(value, marks)


def _opened(state: State, held: Held, ticket: Ticket) -> None:
    question = ticket.question
    state.out.records.append(
        state.ledger.approval(
            "asked", ticket.ident, side=held.side.value, method=question.binding.method,
            target=question.binding.target, rule=question.rule, arguments=question.binding.arguments,
            times=ticket.times,
        )
    )  # fmt: skip
    state.out.announce = True
    if inband.answered(state, held, ticket):
        state.shared.book.leave(ticket.ident)
        return
    held.ticket = ticket.ident
    state.waiting.add(held)
    inband.elicit(state, held, ticket)


def binding(state: State, call: Call, value: Json) -> Binding:
    """What an approval of this request is for; `value` is its `subject`.

    Raises:
        Refused: The value has no form that could be compared.
    """
    shared = state.shared
    try:
        form = canonical(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused(f"its arguments have no canonical form: {error}") from error
    return Binding(
        instance=shared.instance,
        server=state.name,
        manifest=shared.manifest,
        method=call.method.name,
        target=call.target,
        definition=shared.definitions.get(call.target, "") if call.method.kind is Kind.TOOL else "",
        arguments=hashlib.sha256(form).hexdigest(),
        policy=state.ledger.snapshot.policy,
    )


def forget(state: State, held: Held) -> None:
    """Somebody who waited is gone; the question stays, for an identical retry.

    The host's user is asked as long as an identical request of this connection waits.
    """
    state.shared.book.leave(held.ticket)
    if all(other.ticket != held.ticket for other in state.waiting.values()):
        inband.withdraw(state, held.ticket)
    state.out.later.append(state.ledger.approval("left", held.ticket))
    state.out.announce = True


def keep_alive(state: State) -> None:
    """Tell the host, where it wants to know, that its requests are still being worked on."""
    for held in state.waiting.values():
        if held.side is Side.HOST and held.call.token is not None:
            held.steps += 1
            state.out.to_host.append(
                notification_line(
                    "notifications/progress",
                    {
                        "progressToken": held.call.token,
                        "progress": held.steps * _STEP,
                        "message": f"waiting for approval: mcpguard approve {held.ticket}",
                    },
                )
            )
