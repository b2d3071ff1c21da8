"""`_meta` of requests: which keys may pass, the era they tell, the capabilities they claim.

Source: MCP basic, `_meta` (revisions 2025-11-25 and 2026-07-28): a prefix whose second label is
`modelcontextprotocol` or `mcp` is reserved; keys are made of ASCII letters, digits, `-`, `_`, `.`; W3C trace
context for `traceparent`. The key and size limits are ours.
"""

from __future__ import annotations

import re
from typing import Final

from mcpguard import limits
from mcpguard.model import Json, JsonObject
from mcpguard.protocol.strict import Refused, encode_raw

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"
TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
_PROGRESS: Final = "progressToken"
_FOLDED_PROGRESS: Final = _PROGRESS.lower()
OWN_PREFIX: Final = "dev.mcpguard/"

_KNOWN_RESERVED: Final = frozenset(
    {
        VERSION,
        CAPABILITIES,
        CLIENT_INFO,
        LOG_LEVEL,
        SUBSCRIPTION,
        "io.modelcontextprotocol/related-task",
        "io.modelcontextprotocol/serverInfo",
        "io.modelcontextprotocol/model-immediate-response",
    }
)
_KEY: Final = re.compile(r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9._/-]*")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[0-9a-zA-Z.-]*)?")
_LEVELS: Final = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})


def check_request_meta(meta: Json) -> JsonObject:
    """The `_meta` of a request.

    Raises:
        Refused: Wrong type, too large, an unknown reserved key, a malformed trace context or log level.
    """
    if type(meta) is not dict:
        raise Refused("_meta is not an object")
    if len(encode_raw(meta)) > limits.META_BYTES:
        raise Refused(f"_meta is larger than {limits.META_BYTES} bytes")
    for key in meta:
        if not _KEY.fullmatch(key):
            raise Refused("a key of _meta has characters other than letters, digits, . _ - /")
        if key not in _KNOWN_RESERVED and reserved(key):
            raise Refused(f"_meta key {key} is reserved for MCP and not known here")
        if key != _PROGRESS and key.lower() == _FOLDED_PROGRESS:
            raise Refused(f'a key of _meta looks like "{_PROGRESS}" and is not')
    trace = meta.get("traceparent", "")
    if trace and (type(trace) is not str or not _TRACEPARENT.fullmatch(trace)):
        raise Refused("traceparent is not a W3C trace context")
    if LOG_LEVEL in meta and (type(meta[LOG_LEVEL]) is not str or meta[LOG_LEVEL] not in _LEVELS):
        raise Refused("unknown log level in _meta")
    return meta


def reserved(key: str) -> bool:
    """Whether a `_meta` key has a prefix that MCP keeps for itself."""
    prefix, slash, _ = key.partition("/")
    labels = prefix.lower().split(".")
    return bool(slash) and len(labels) > 1 and labels[1] in ("modelcontextprotocol", "mcp")


def strip_own(meta: Json) -> bool:
    """Remove keys under the guard's own prefix, which only the guard may put there; True if there were any.

    What is not an object has no keys, and is left to others.
    """
    if type(meta) is not dict:
        return False
    own = [key for key in meta if key.lower().startswith(OWN_PREFIX)]
    for key in own:
        del meta[key]
    return bool(own)


def claimed_name(info: Json) -> str:
    """`name version` from clientInfo or serverInfo: shown to people as a claim, never believed."""
    if type(info) is not dict:
        return ""
    return " ".join(str(info.get(key, "")) for key in ("name", "version"))[: limits.NAME_CHARS].strip()
