"""The closed tables: every method of MCP, by era and sending side.

Rule 1: what is not in a table is refused (-32601) or dropped. Vendor methods are legal on the wire and refused
here on purpose, not by accident of a schema.
Rule 2: a method is a request or a notification, never both.

Source: MCP schema of revisions 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 (legacy) and 2026-07-28 (modern),
and the tasks extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mcpguard.model import Era, Side

LEGACY_REVISIONS: Final = ("2024-10-07", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""2024-10-07 is a draft that TypeScript SDKs still accept."""
MODERN_REVISIONS: Final = ("2026-07-28",)
BATCH_REVISION: Final = "2025-03-26"
"""The only revision with batches."""


class Kind(enum.Enum):
    """How the gate treats a request."""

    PLUMBING = "plumbing"  # passes; no policy of its own
    HANDSHAKE = "handshake"
    LIST = "list"  # passes; the answer is filtered
    TOOL = "tool"  # judged by tool name
    GATED = "gated"  # judged by method
    LISTEN = "listen"  # the filter is judged and reduced
    TASK = "task"  # follows the decision on the call that made the task


class Method(msgspec.Struct, frozen=True):
    """One request method.

    Attributes:
        name: Exact method string.
        kind: How the gate treats it.
        holds: For lists, the member of the result that holds the definitions.
        asks: Whether its result may be `input_required` (revision 2026-07-28, MRTR).
        needs: Client capability that a server's request needs.
    """

    name: str
    kind: Kind
    holds: str = ""
    asks: bool = False
    needs: str = ""


def _table(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


_LISTS: Final = (
    Method("tools/list", Kind.LIST, holds="tools"),
    Method("resources/list", Kind.LIST, holds="resources"),
    Method("resources/templates/list", Kind.LIST, holds="resourceTemplates"),
    Method("prompts/list", Kind.LIST, holds="prompts"),
)
_TARGETS: Final = (
    Method("tools/call", Kind.TOOL, asks=True),
    Method("resources/read", Kind.GATED, asks=True),
    Method("prompts/get", Kind.GATED, asks=True),
    Method("completion/complete", Kind.GATED),
)
_SERVER_ASKS: Final = (
    Method("sampling/createMessage", Kind.GATED, needs="sampling"),
    Method("elicitation/create", Kind.GATED, needs="elicitation"),
    Method("roots/list", Kind.GATED, needs="roots"),
)
_LEGACY_TASKS: Final = tuple(
    Method(name, Kind.TASK) for name in ("tasks/get", "tasks/result", "tasks/list", "tasks/cancel")
)

REQUESTS: Final[dict[tuple[Era, Side], dict[str, Method]]] = {
    (Era.LEGACY, Side.HOST): _table(
        Method("initialize", Kind.HANDSHAKE),
        Method("ping", Kind.PLUMBING),
        Method("logging/setLevel", Kind.PLUMBING),
        Method("resources/subscribe", Kind.GATED),
        Method("resources/unsubscribe", Kind.PLUMBING),
        *_LISTS,
        *_TARGETS,
        *_LEGACY_TASKS,
    ),
    (Era.LEGACY, Side.SERVER): _table(
        Method("ping", Kind.PLUMBING),
        *_SERVER_ASKS,
        *(Method(method.name, Kind.TASK, needs="tasks") for method in _LEGACY_TASKS),
    ),
    (Era.MODERN, Side.HOST): _table(
        Method("server/discover", Kind.HANDSHAKE),
        Method("subscriptions/listen", Kind.LISTEN),
        *_LISTS,
        *_TARGETS,
        *(Method(name, Kind.TASK) for name in ("tasks/get", "tasks/update", "tasks/cancel")),
    ),
    (Era.MODERN, Side.SERVER): {},
}
"""Requests that one side may send. In the modern era a server sends none."""

EMBEDDED: Final = {method.name: method for method in _SERVER_ASKS}
"""Requests that may travel inside `inputRequests` (revision 2026-07-28, MRTR)."""

_SERVER_CHANGES: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)

NOTIFICATIONS: Final[dict[tuple[Era, Side], frozenset[str]]] = {
    (Era.LEGACY, Side.HOST): frozenset(
        {
            "notifications/initialized",
            "notifications/cancelled",
            "notifications/progress",
            "notifications/roots/list_changed",
            "notifications/tasks/status",
        }
    ),
    (Era.LEGACY, Side.SERVER): _SERVER_CHANGES
    | {
        "notifications/cancelled",
        "notifications/progress",
        "notifications/message",
        "notifications/elicitation/complete",
        "notifications/tasks/status",
    },
    (Era.MODERN, Side.HOST): frozenset({"notifications/cancelled"}),
    (Era.MODERN, Side.SERVER): _SERVER_CHANGES
    | {
        "notifications/cancelled",
        "notifications/progress",
        "notifications/message",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
    },
}
"""Notifications that one side may send."""

ON_A_SUBSCRIPTION: Final = _SERVER_CHANGES | {
    "notifications/tasks",
    "notifications/subscriptions/acknowledged",
}
"""Modern notifications that travel on a `subscriptions/listen` stream only."""

ANY_METHOD: Final = frozenset(name for table in REQUESTS.values() for name in table) | frozenset(
    name for table in NOTIFICATIONS.values() for name in table
)
"""Every method string of any era and side: to tell a wrong direction from an unknown method."""
