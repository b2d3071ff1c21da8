"""The words and shapes of a refusal: what the host, the model and the server are told.

Each sentence names the cause and the next step, and nothing internal. Source of the shapes: MCP server/tools,
Error Handling; protocol revisions differ only in `resultType`.
"""

from __future__ import annotations

from mcpguard.gate.pinning import Withdrawn
from mcpguard.model import Decision, Era, MessageId, Side
from mcpguard.protocol import jsonrpc


class Misfit(Decision, frozen=True):
    """A denial because arguments are not what the pinned definition of the tool takes."""


class Unapproved(Decision, frozen=True):
    """A denial because nobody approved it."""


class Unfilled(Decision, frozen=True):
    """A denial because of a secret that the arguments ask for by its handle."""


def tool(
    ident: MessageId, name: str, server: str, decision: Decision, era: Era, *, shown: bool = False
) -> bytes:
    """A denied tool: named by its rule where a rule forbids it, unknown where nothing allows it.

    `shown`: the tool is in the list that the host gets, since some call of it could pass; this one does not.
    """
    if decision.silent and not shown:  # by policy or because no manifest names it
        return jsonrpc.error_line(ident, jsonrpc.INVALID_PARAMS, f"Unknown tool: {name}")
    if isinstance(decision, Withdrawn):
        text = (
            f'mcpguard refused this call: the tool "{name}" of {server} is withdrawn, because {decision.reason}. '
            f"Retrying will not help; a person can {_compare(server)}"
        )
        return jsonrpc.tool_denial(ident, text, era)
    if isinstance(decision, Misfit):
        text = (
            f'mcpguard refused this call: {decision.reason}, as the definition of the tool "{name}" of {server} '
            "says that is pinned. Call it with arguments that fit"
        )
        return jsonrpc.tool_denial(ident, text, era)
    if isinstance(decision, Unfilled):
        text = f'mcpguard did not let this call of the tool "{name}" of {server} through: {decision.reason}'
        return jsonrpc.tool_denial(ident, text, era)
    if isinstance(decision, Unapproved):
        text = f'mcpguard did not let this call of the tool "{name}" of {server} through: {decision.reason}'
        return jsonrpc.tool_denial(ident, text, era)
    if shown:
        text = (
            f'mcpguard refused this call of the tool "{name}" of {server}: {decision.reason}'
            f"{_named(decision)}. The same call will not pass; a person can look with: "
            f"mcpguard policy explain {server} {name}"
        )
        return jsonrpc.tool_denial(ident, text, era)
    text = (
        f'mcpguard refused this call: rule "{decision.rule}" ({decision.origin}) does not let it use the tool '
        f'"{name}" of {server}. Retrying will not help; a person can look with: '
        f"mcpguard policy explain {server} {name}"
    )
    return jsonrpc.tool_denial(ident, text, era)


def _named(decision: Decision) -> str:
    return "" if decision.silent else f' (rule "{decision.rule}", {decision.origin})'


def _compare(server: str) -> str:
    return f"see what changed with: mcpguard server diff {server} and accept it with: mcpguard server trust {server}"


def another_server(fault: str, server: str) -> str:
    """Why the greeting of a server that calls itself otherwise does not pass."""
    return f"{fault}; a person can {_compare(server)}"


def method(ident: MessageId, name: str, server: str, decision: Decision) -> bytes:
    """A denied request of any other method."""
    if isinstance(decision, Withdrawn):
        text = f"mcpguard refused {name}: {decision.reason}; a person can {_compare(server)}"
        return jsonrpc.error_line(ident, jsonrpc.POLICY_REFUSED, text, {"rule": decision.rule})
    if isinstance(decision, Unapproved):
        text = f"mcpguard did not let {name} through: {decision.reason}"
        return jsonrpc.error_line(ident, jsonrpc.POLICY_REFUSED, text, {"rule": decision.rule})
    text = (
        f"mcpguard refused {name}: {decision.reason} (rule {decision.rule}, {decision.origin}); "
        f"a person can look with: mcpguard policy explain {server} {name}"
    )
    return jsonrpc.error_line(ident, jsonrpc.POLICY_REFUSED, text, {"rule": decision.rule})


def unrecorded(ident: MessageId, reason: str, *, era: Era, is_tool: bool) -> bytes:
    """A request that policy allows and the audit log cannot hold."""
    text = f"mcpguard let nothing through: {reason}. Free the log, then call again; see: mcpguard status"
    if is_tool:
        return jsonrpc.tool_denial(ident, text, era)
    return jsonrpc.error_line(ident, jsonrpc.NO_AUDIT, text)


def invalid(ident: MessageId, fault: str) -> bytes:
    """A request, of either side, that is not a message that may pass."""
    return jsonrpc.error_line(ident, jsonrpc.INVALID_REQUEST, f"mcpguard refused this message: {fault}")


def answer(ident: MessageId, fault: str, side: Side = Side.SERVER) -> bytes:
    """An answer of `side` that may not pass."""
    text = f"mcpguard withheld the {side.value}'s answer: {fault}"
    return jsonrpc.error_line(ident, jsonrpc.ANSWER_REFUSED, text)


def gone(ident: MessageId, reason: str = "") -> bytes:
    """A request whose server ended; `reason`: why mcpguard has ended it."""
    why = f"mcpguard ended this connection: {reason}" if reason else "the server ended before it answered"
    sentence = f"{why}; whether it did what was asked is not known"
    return jsonrpc.error_line(ident, jsonrpc.SERVER_GONE, sentence)


def to_server(ident: MessageId, name: str, reason: str) -> bytes:
    """A server's request that the host never sees, in the shape that the method has for a no."""
    if name == "elicitation/create":
        return jsonrpc.result_line(ident, {"action": "decline"})
    if name == "sampling/createMessage":
        return jsonrpc.error_line(ident, jsonrpc.USER_REJECTED, f"sampling refused: {reason}")
    return jsonrpc.error_line(ident, jsonrpc.METHOD_NOT_FOUND, f"{name} refused: {reason}")
