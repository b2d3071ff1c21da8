"""Typed views: what a request is about, and whether a definition or a result may be shown.

Each function takes a decoded object, checks the members that policy reads, and returns them or refuses.
Unknown members are left alone and travel on.

Source: MCP schema, all revisions; names as server/tools "Tool Names" (1 to 128 characters). Real servers use
names with spaces, slashes and non-ASCII letters, so only what deceives an eye or a parser is refused.
"""

from __future__ import annotations

import binascii
import unicodedata
from collections.abc import Container
from typing import Final

from mcpguard import limits
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.strict import Refused, fold

_PARAMS: Final = frozenset({
    "name", "arguments", "uri", "cursor", "ref", "argument", "context", "level", "taskId", "task", "_meta",
    "inputResponses", "requestState", "requestId", "progressToken", "progress", "notifications",
    "protocolVersion", "capabilities", "clientInfo", "messages", "method",
})  # fmt: skip
_FOLDED: Final = {fold(name): name for name in _PARAMS}
_RESULTS: Final = frozenset({
    "content", "structuredContent", "isError", "contents", "messages", "completion", "resultType", "inputRequests",
    "requestState", "task", "tasks", "taskId", "result", "_meta",
})  # fmt: skip
_FOLDED_RESULTS: Final = {fold(name): name for name in _RESULTS}
_CODE_SCHEMES: Final = frozenset({"javascript", "data", "vbscript"})
_ROLES: Final = ("user", "assistant")

_checked: dict[tuple[str, ...], None] = {}
_checked_results: set[tuple[str, ...]] = set()


def check_params(params: JsonObject) -> None:
    """Refuse a member that a lenient reader takes for a protocol member (`Arguments`, `name `)."""
    shape = tuple(params)
    if shape in _checked:
        return
    for key in shape:
        known = _FOLDED.get(fold(key))
        if known is not None and known != key:
            raise Refused(f'a member of params looks like "{known}" and is not')
    if len(_checked) >= limits.SNAPSHOT_NAMES:
        _checked.clear()
    _checked[shape] = None


def honest_name(name: Json) -> bool:
    """Whether a tool or prompt name is what it looks like: printable, trimmed, in compatibility form."""
    if type(name) is not str or not 0 < len(name) <= limits.NAME_CHARS:
        return False
    if name.isascii():
        return name.isprintable() and name[0] != " " and name[-1] != " "
    return name.isprintable() and name == name.strip() and unicodedata.normalize("NFKC", name) == name


def tool_name(params: JsonObject, known: Container[str] = ()) -> str:
    """The tool that a `tools/call` names; `known` holds names that were found honest before.

    Raises:
        Refused: No honest name, or arguments that are not an object.
    """
    name = params.get("name")
    if type(name) is not str or (name not in known and not honest_name(name)):
        raise Refused("tools/call needs the exact name of a tool")
    arguments = params.get("arguments")
    if type(arguments) is not dict and arguments is not None:
        raise Refused("arguments is not an object")
    return name


def target(method: str, params: JsonObject) -> str:
    """What a gated request is about, for the record: a URI, a prompt name, a completion reference.

    Raises:
        Refused: The member is missing or of another type.
    """
    match method:
        case "resources/read" | "resources/subscribe" | "resources/unsubscribe":
            return _uri(params.get("uri"))
        case "prompts/get":
            if not honest_name(params.get("name")):
                raise Refused("prompts/get needs the exact name of a prompt")
            return str(params["name"])
        case "completion/complete":
            return _reference(params.get("ref"))
        case _:
            return ""


def _uri(uri: Json) -> str:
    if type(uri) is not str or not 0 < len(uri) <= limits.URI_CHARS:
        raise Refused("uri is not a string of reasonable length")
    if not uri.isprintable() or uri != uri.strip():
        raise Refused("uri has spaces around it or control characters")
    return uri


def _reference(ref: Json) -> str:
    kind = ref.get("type") if type(ref) is dict else None
    if kind == "ref/prompt" and honest_name(ref.get("name")):
        return f"prompt {ref['name']}"
    if kind == "ref/resource":
        return f"resource {_uri(ref.get('uri'))}"
    raise Refused("ref names neither a prompt nor a resource")


def cursor(params: JsonObject) -> str | None:
    """The cursor of a list request, None for the first page; the empty string is a legal cursor.

    Raises:
        Refused: Not a string, or too long.
    """
    if "cursor" not in params:
        return None
    value = params["cursor"]
    if type(value) is not str or len(value) > limits.CURSOR_CHARS:
        raise Refused(f"cursor is not a string of at most {limits.CURSOR_CHARS} characters")
    return value


# --- definitions -------------------------------------------------------------------------------------------


def definition_fault(entry: Json, known_by: str = "name") -> str:
    """Why a listed definition must be withdrawn, or the empty string.

    `known_by` is the member by which entries of this list are used: `name` for tools and prompts, `uri` for
    resources, `uriTemplate` for their templates. What else an entry carries does not change what it is.

    Not here: comparison with pinned definitions, and what a description *says*.
    """
    if type(entry) is not dict:
        return "is not an object"
    name = entry.get(known_by)
    if known_by == "name" and not honest_name(name):
        return "has a name that is not what it looks like"
    if type(name) is not str:
        return f"has no {known_by}"
    description = entry.get("description")
    if type(description) is str and len(description) > limits.DESCRIPTION_CHARS:
        return f"has a description longer than {limits.DESCRIPTION_CHARS} characters"
    if "inputSchema" in entry and (fault := _schema_fault(entry["inputSchema"])):
        return fault
    if _icon_fault(entry.get("icons")):
        return "has an icon that is neither https nor an image"
    return "holds invisible or control characters" if _deceives(entry) else ""


def _schema_fault(schema: Json) -> str:
    if type(schema) is not dict:
        return "has an input schema that is not an object"
    depth, references = _measure(schema)
    if depth > limits.SCHEMA_DEPTH:
        return f"has an input schema nested deeper than {limits.SCHEMA_DEPTH} levels"
    if references > limits.SCHEMA_REFS:
        return f"has an input schema with more than {limits.SCHEMA_REFS} references"
    if references and _fan_out(schema) > limits.SCHEMA_REFS * 16:
        return "has an input schema whose references multiply without bound"
    return ""


def _measure(value: Json) -> tuple[int, int]:
    """Depth of a JSON value and the number of `$ref` members in it."""
    if type(value) is dict:
        parts = [_measure(child) for child in value.values()]
        references = sum(count for _, count in parts) + ("$ref" in value)
    elif type(value) is list:
        parts = [_measure(child) for child in value]
        references = sum(count for _, count in parts)
    else:
        return 0, 0
    return 1 + max((depth for depth, _ in parts), default=0), references


def _fan_out(schema: JsonObject) -> int:
    """How many references a validator meets when it follows local references once each; capped."""
    cap = limits.SCHEMA_REFS * 16 + 1
    spent = 0
    pending: list[tuple[Json, frozenset[str]]] = [(schema, frozenset())]
    while pending and spent < cap:
        value, trail = pending.pop()
        if type(value) is list:
            pending.extend((child, trail) for child in value)
        elif type(value) is dict:
            pending.extend(
                (child, trail) for key, child in value.items() if key not in ("$defs", "definitions")
            )
            reference = value.get("$ref")
            if type(reference) is str:
                spent += 1
                if reference not in trail and (aim := _resolve(schema, reference)) is not None:
                    pending.append((aim, trail | {reference}))
    return spent


def _resolve(schema: JsonObject, reference: str) -> Json:
    value: Json = schema
    if not reference.startswith("#/"):
        return None
    for part in reference[2:].split("/"):
        if type(value) is not dict:
            return None
        value = value.get(part.replace("~1", "/").replace("~0", "~"))
    return value


def _icon_fault(icons: Json) -> bool:
    if type(icons) is not list:
        return icons is not None
    sources = [icon.get("src") if type(icon) is dict else None for icon in icons]
    return not all(type(src) is str and src.startswith(("https:", "data:image/")) for src in sources)


def _deceives(value: Json) -> bool:
    if type(value) is str:
        plain = value.isascii() and value.isprintable()  # variation selectors count as printable
        return not plain and any(_deceptive(c) for c in value)
    if type(value) is dict:
        return any(_deceives(key) or _deceives(child) for key, child in value.items())
    if type(value) is list:
        return any(_deceives(child) for child in value)
    return False


def _deceptive(char: str) -> bool:
    """Control, format (zero width, bidi, tags) and line separators, which hide text; newline and tab do not.

    A zero-width joiner between emoji is not told apart: definitions can do without.
    """
    return char not in "\n\t" and (
        unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")
        or 0xFE00 <= ord(char) <= 0xFE0E
        or 0xE0100 <= ord(char) <= 0xE01EF
    )


# --- results -----------------------------------------------------------------------------------------------


def result_fault(method: str, result: JsonObject) -> str:
    """Why an answer may not pass, or the empty string. Not here: pinned output schemas."""
    if (shape := tuple(result)) not in _checked_results and (fault := _masked(shape)):
        return fault
    if method in ("tools/call", "tasks/result"):
        return _content_fault(result.get("content"))
    if method == "prompts/get":
        messages = result.get("messages")
        if type(messages) is not list:
            return ""
        for message in messages:
            if type(message) is not dict or message.get("role") not in _ROLES:
                return "a prompt message has a role other than user and assistant"
            if fault := _content_fault([message.get("content")]):
                return fault
        return ""
    if method == "resources/read":
        contents = result.get("contents")
        items = contents if type(contents) is list else []
        return "a blob is not base64" if any(_bad_base64(item, "blob") for item in items) else ""
    return ""


def _masked(shape: tuple[str, ...]) -> str:
    """The fault of a member that a lenient reader takes for another (`Content`), or the empty string."""
    for key in shape:
        known = _FOLDED_RESULTS.get(fold(key))
        if known is not None and known != key:
            return f'a member of the result looks like "{known}" and is not'
    if len(_checked_results) >= limits.SNAPSHOT_NAMES:
        _checked_results.clear()
    _checked_results.add(shape)
    return ""


def _content_fault(content: Json) -> str:
    if type(content) is not list:
        return ""
    for item in content:
        if type(item) is not dict:
            return "a content block is not an object"
        kind = item.get("type")
        if kind == "text":
            continue
        if kind in ("image", "audio") and _bad_base64(item, "data"):
            return f"{kind} data is not base64"
        if kind == "resource_link" and _unsafe(item.get("uri")):
            return "a resource link with a scheme that runs code"
        if kind == "resource" and (fault := _embedded_fault(item.get("resource"))):
            return fault
    return ""


def _embedded_fault(resource: Json) -> str:
    if type(resource) is dict and "uri" in resource and _unsafe(resource["uri"]):
        return "an embedded resource with a scheme that runs code"
    return "a blob is not base64" if _bad_base64(resource, "blob") else ""


def _unsafe(uri: Json) -> bool:
    """Whether opening it runs code; readers of URLs skip controls and spaces in front, tabs and newlines anywhere."""
    if type(uri) is not str:
        return True
    scheme, colon, _ = uri.partition(":")
    return bool(colon) and "".join(c for c in scheme if c > " ").lower() in _CODE_SCHEMES


def _bad_base64(item: Json, member: str) -> bool:
    if type(item) is not dict or member not in item:
        return False
    try:
        binascii.a2b_base64(item[member], strict_mode=True)
    except (ValueError, TypeError):
        return True
    return False
