"""The shape of a JSON-RPC message, and the messages that the guard itself makes.

Source: JSON-RPC 2.0; MCP basic, Messages (all revisions): an id is a string or an integer and never null, params
and results are objects, a message is exactly one of request, notification, result, error. SDKs disagree on
hybrids (`method` with `result`), on null ids and on ids of another type, so each of these is refused here.

Not here: which methods exist (`methods`), what their params mean (`views`).
"""

from __future__ import annotations

import enum
from typing import Final

from mcpguard import limits
from mcpguard.model import Era, Json, JsonObject, MessageId
from mcpguard.protocol.strict import Refused, encode, fold, refusal, valid_id

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
UNSUPPORTED_VERSION: Final = -32022
"""Revision 2026-07-28, UnsupportedProtocolVersion; used for nothing else."""
POLICY_REFUSED: Final = 40301
"""Ours, outside the range that JSON-RPC reserves: policy refuses this request."""
ANSWER_REFUSED: Final = 50201
"""Ours: the server answered with something that may not pass."""
NO_AUDIT: Final = 50301
"""Ours: the audit log cannot be written, so nothing new is let through."""
SERVER_GONE: Final = 50202
"""Ours: the server ended before it answered."""
USER_REJECTED: Final = -1
"""Client to server: sampling was refused (MCP client/sampling, Error Handling)."""

NEWLINE: Final = b"\n"
_REQUEST_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})
_MEMBERS: Final = _REQUEST_MEMBERS | _ANSWER_MEMBERS


class Shape(enum.Enum):
    """What a message is."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"


def shape(message: JsonObject) -> Shape:
    """What a message is; members that JSON-RPC does not know are removed from it.

    Raises:
        Refused: It is not exactly one well-formed message; it carries the id if that can be read.
    """
    if "method" in message:
        return _call_shape(message)
    return _answer_shape(message)


def _call_shape(message: JsonObject) -> Shape:
    method = message["method"]
    if (
        message.get("jsonrpc") != "2.0"
        or type(method) is not str
        or "result" in message
        or "error" in message
    ):
        raise refusal(_why_not_a_call(message), readable_id(message), message)
    if "params" in message and type(message["params"]) is not dict:
        raise refusal("params is not an object", readable_id(message), message)
    if "id" in message:
        if not valid_id(message["id"]):
            raise Refused("an id is a string or an integer up to 2^53 - 1")
        if len(message) > 4 or (len(message) == 4 and "params" not in message):
            _strip(message, _REQUEST_MEMBERS)
        return Shape.REQUEST
    if len(message) > 2:
        _strip(message, _REQUEST_MEMBERS)
    return Shape.NOTIFICATION


def _answer_shape(message: JsonObject) -> Shape:
    has_result = "result" in message
    if message.get("jsonrpc") != "2.0" or has_result == ("error" in message):
        raise refusal(_why_not_an_answer(message), readable_id(message), message)
    if "id" not in message or not valid_id(message["id"]):
        raise Refused("an answer without a well-formed id belongs to no request")
    if len(message) > 3:
        _strip(message, _ANSWER_MEMBERS)
    if has_result:
        if type(message["result"]) is not dict:
            raise Refused("result is not an object", settles=message["id"])
        return Shape.RESULT
    error = message["error"]
    if type(error) is not dict or type(error.get("code")) is not int or type(error.get("message")) is not str:
        raise Refused("error is not an object with an integer code and a message", settles=message["id"])
    return Shape.ERROR


def _strip(message: JsonObject, members: frozenset[str]) -> None:
    """Remove members that do not belong; a key that lenient readers take for a member refuses the message."""
    for key in [key for key in message if key not in members]:
        if key not in _MEMBERS and fold(key) in _MEMBERS:
            raise refusal(f'a member looks like "{fold(key)}" and is not', readable_id(message), message)
        del message[key]


def _why_not_a_call(message: JsonObject) -> str:
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc is not "2.0"'
    if type(message["method"]) is not str:
        return "method is not a string"
    return "a message with both a method and an answer"


def _why_not_an_answer(message: JsonObject) -> str:
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc is not "2.0"'
    return "a message is exactly one of request, notification, result, error"


def readable_id(message: Json) -> MessageId | None:
    """The id of a decoded message if it has a well-formed one."""
    if type(message) is dict and "id" in message and valid_id(message["id"]):
        ident: MessageId = message["id"]
        return ident
    return None


def valid_token(token: Json) -> bool:
    """Whether a value is a progress token: a string or an integer (MCP basic/utilities/progress)."""
    return valid_id(token)


# --- messages the guard makes ------------------------------------------------------------------------------


def error_line(ident: MessageId, code: int, message: str, data: Json = None) -> bytes:
    """A JSON-RPC error with its LF. Never made without an id: SDKs take opposite forms of id-less errors."""
    error: JsonObject = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return encode({"jsonrpc": "2.0", "id": ident, "error": error}) + NEWLINE


def result_line(ident: MessageId, result: JsonObject) -> bytes:
    """A result with its LF."""
    return encode({"jsonrpc": "2.0", "id": ident, "result": result}) + NEWLINE


def notification_line(method: str, params: JsonObject | None = None) -> bytes:
    """A notification with its LF."""
    message: JsonObject = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return encode(message) + NEWLINE


def tool_denial(ident: MessageId, text: str, era: Era) -> bytes:
    """A denied `tools/call` as the model should see it: a tool result with `isError`, no structured content.

    Source: MCP server/tools, Error Handling; in revision 2026-07-28 a result without `resultType` is invalid.
    """
    result: JsonObject = {"content": [{"type": "text", "text": text}], "isError": True}
    if era is Era.MODERN:
        result["resultType"] = "complete"
    return result_line(ident, result)


def batch_refusals(value: list[Json], reason: str) -> list[Refused]:
    """The refusals of the messages of a batch that is refused whole, one for each id.

    Not here: nested batches, which are not looked into.
    """
    by_ident: dict[tuple[MessageId | None, MessageId | None], Refused] = {}
    for element in value[: limits.BATCH]:
        if (ident := readable_id(element)) is not None:
            refused = refusal(reason, ident, element)
            by_ident[refused.ident, refused.settles] = refused
    return list(by_ident.values())


def batch_elements(value: list[Json]) -> list[JsonObject]:
    """The messages of a batch of revision 2025-03-26, refused whole if any element is unfit.

    Raises:
        Refused: Empty, too long, an element is not an object, or two requests share an id.
    """
    if not 0 < len(value) <= limits.BATCH:
        raise Refused(f"a batch has 1 to {limits.BATCH} messages")
    seen: set[MessageId] = set()
    for element in value:
        if type(element) is not dict:
            raise Refused("an element of a batch is not an object")
        ident = readable_id(element)
        if "method" in element and ident is not None:
            if ident in seen:
                raise Refused("two requests of a batch have the same id")
            seen.add(ident)
    return value
