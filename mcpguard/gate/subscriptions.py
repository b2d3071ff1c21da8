"""`subscriptions/listen`: what was asked for, what may be had, and whose notification is whose.

Source: MCP revision 2026-07-28, basic/utilities/subscriptions: the acknowledgement comes first, then only the
kinds that were honoured, each tagged with the id of the listen request, same JSON type.
"""

from __future__ import annotations

from typing import Final

from mcpguard import limits
from mcpguard.gate.pending import Call
from mcpguard.gate.state import State
from mcpguard.model import Era, Json, JsonObject
from mcpguard.protocol import jsonrpc, meta
from mcpguard.protocol.strict import Refused

_KINDS: Final = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/resources/updated": "resourceSubscriptions",
    "notifications/tasks": "taskIds",
}


def reduce(state: State, params: JsonObject) -> tuple[JsonObject, bool]:
    """The filter that may be forwarded, edited in place to what policy grants, and whether it was edited.

    Raises:
        Refused: The filter is malformed.
    """
    wanted = params.get("notifications")
    if type(wanted) is not dict:
        raise Refused("subscriptions/listen needs notifications, an object")
    edited = False
    uris = wanted.get("resourceSubscriptions")
    if uris is not None:
        if type(uris) is not list or not all(
            type(uri) is str and len(uri) <= limits.URI_CHARS for uri in uris
        ):
            raise Refused("resourceSubscriptions is not a list of URIs")
        granted = [uri for uri in uris if state.granted_uri(uri)]
        if len(granted) != len(uris):
            wanted["resourceSubscriptions"] = granted
            if not granted:
                del wanted["resourceSubscriptions"]
            edited = True
    tasks = wanted.get("taskIds")
    if tasks is not None:
        if type(tasks) is not list:
            raise Refused("taskIds is not a list")
        known = [task for task in tasks if state.knows_task(task)]
        edited = edited or len(known) != len(tasks)
        wanted["taskIds"] = known
    return wanted, edited


def owner(state: State, method: str, params: Json) -> Call | None:
    """The listen request that a notification belongs to, its tag replaced by the host's own id.

    None if it names no living subscription, or a kind that this subscription did not ask for.
    """
    tags = params.get("_meta") if type(params) is dict else None
    if type(tags) is not dict:
        return None
    call = state.calls.get(tags.get(meta.SUBSCRIPTION))
    if call is None or call.wanted is None:
        return None
    kind = _KINDS.get(method)
    if kind is not None and not call.wanted.get(kind):
        return None
    if kind == "taskIds" and params.get("taskId") not in call.wanted[kind]:
        return None
    tags[meta.SUBSCRIPTION] = call.ident
    return call


def announce(state: State, changed: set[str]) -> None:
    """Tell the host which of its visible lists changed, in the way its era has for it."""
    lists = {"resources" if holds.startswith("resource") else holds for holds in changed}
    for method in sorted(f"notifications/{name}/list_changed" for name in lists):
        if state.speaking is Era.LEGACY:
            state.out.to_host.append(jsonrpc.notification_line(method))
            continue
        for call in state.calls.values():
            if call.wanted is not None and call.wanted.get(_KINDS[method]):
                params = {"_meta": {meta.SUBSCRIPTION: call.ident}}
                state.out.to_host.append(jsonrpc.notification_line(method, params))
