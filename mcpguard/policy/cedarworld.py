"""What Cedar is asked about: caller, thing and request as entities and a context that fit our schema.

Rule 1: what is not known, or cannot be told, is not there: an attribute or a tag is missing. Cedar knows two truths
and not three, so a policy that permits demands what it wants to see, and one that forbids says `unless`.
Rule 2: a path is where it leads (`arguments.led_to`), and in every folder above that; a host is in every domain above
it. Of a list of them there is what holds all of its elements, or nothing if one of them cannot be told.
Rule 3: nothing of a request that a policy looks at is left out for its size: it is refused instead (`NotAsked`).

Not here: what is decided (`cedar`), the schema (`cedarschema`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.model import Caller, Json, JsonObject
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.conditions import Facts
from mcpguard.policy.elicited import host_of
from mcpguard.policy.index import CALL, COMPLETION, PROMPT, RESOURCES
from mcpguard.policy.rules import HOST, ROLE
from mcpguard.policy.zones import local

EXTENSION: Final = "extension"
UNKNOWN: Final = "?"
"""The id of a host that is not enrolled; no enrolled one can be called so."""

MOMENT: Final = frozenset({"hour", "minute", "weekday"})
REQUEST: Final = frozenset({"args", "numbers", "paths", "sites"})
CONTEXT: Final = frozenset({*MOMENT, *REQUEST, "seen", "session"})
"""The members of the context."""

_SPACE: Final = "Mcpguard::"
_TAGGED: Final = {"args": "Arguments", "numbers": "Numbers", "paths": "Paths", "sites": "Sites"}
_TYPES: Final = {
    CALL: "Tool", PROMPT: "Prompt", COMPLETION: "Completion", EXTENSION: "Extension",
    **dict.fromkeys(RESOURCES, "Resource"),
}  # fmt: skip
_HINTS: Final = {
    "readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True,
}  # fmt: skip
_LONG: Final = range(-(2**63), 2**63)
_TIMELESS: Final = "the time of day cannot be told, and a Cedar policy looks at it"
_DELETED: Final = " (deleted)"


class NotAsked(Exception):
    """Cedar is not asked about a request, which is denied: a sentence."""


def action(method: str) -> JsonObject:
    """The action of a method."""
    return _uid("Action", method)


def principal(caller: Caller) -> JsonObject:
    """The host; `Host::"?"` if it is not enrolled."""
    names = [name.removeprefix(HOST) for name in caller.principals if name.startswith(HOST)]
    return _uid("Host", names[0] if names else UNKNOWN)


def thing(method: str, server: str, target: str) -> JsonObject:
    """What a request is about: the server itself where a method has no target."""
    kind = _TYPES.get(method)
    return _uid("Server", server) if kind is None else _uid(kind, f"{server}/{target}")


def of_connection(caller: Caller, server: str, surroundings: Surroundings) -> list[JsonObject]:
    """The entities that hold for a connection; `caller` has its roles among its principals."""
    known = {"unit": caller.unit, "label": caller.label, "version": caller.release}
    attrs: JsonObject = {"grade": int(caller.grade), **{key: value for key, value in known.items() if value}}
    folders = {}
    for key, path in (("cwd", caller.cwd), ("home", surroundings.home)):
        if path.startswith("/"):
            folders[path] = _entity("Path", path, parents=[_uid("Path", each) for each in _above_path(path)])
            attrs[key] = _reference("Path", path)
    above = [path.removesuffix(_DELETED) for path in caller.ancestors[1:]]
    if caller.ancestors:
        attrs["ancestors"] = sorted({name for path in above for name in (path, path.rpartition("/")[2])})
    mine = [
        _uid("Role", name.removeprefix(ROLE)) if name.startswith(ROLE) else _uid("Principal", name)
        for name in caller.principals
    ]
    host = _entity("Host", principal(caller)["id"], attrs, mine)
    empty = [_entity(kind, "", tags={}) for kind in _TAGGED.values()]
    return [host, _entity("Server", server, {"name": server, "server": server}), *folders.values(), *empty]


def of_thing(method: str, server: str, target: str, facts: Facts) -> list[JsonObject]:
    """What a request is about, as entities; the server is among those of the connection."""
    if method not in _TYPES:
        return []
    attrs: JsonObject = {"name": target, "server": server}
    if method == CALL:
        attrs |= {"reads": list(facts.reads), "sends": list(facts.sends)}
        if facts.stated is not None:
            attrs["annotations"] = _hints(facts.stated.annotations)
            if facts.stated.risk:
                attrs["risk"] = facts.stated.risk
    return [_entity(_TYPES[method], f"{server}/{target}", attrs, [_uid("Server", server)])]


def context(uses: frozenset[str], circumstances: Circumstances, now: int, zone: str) -> JsonObject:
    """The context, with arguments that are empty.

    Args:
        uses: Members that a policy looks at; the others have a value that is always the same.
        circumstances: What the host has done so far.
        now: Monotonic nanoseconds.
        zone: Time zone of the policy.

    Raises:
        NotAsked: The time of day cannot be told.
    """
    found: JsonObject = {member: _reference(kind, "") for member, kind in _TAGGED.items()}
    found["seen"] = sorted(circumstances.labels) if "seen" in uses else []
    found["session"] = sorted(circumstances.session) if "session" in uses else []
    found |= dict.fromkeys(MOMENT, 0)
    if not MOMENT.isdisjoint(uses):
        try:
            moment = local(circumstances.unix(now), zone)
        except (OverflowError, ValueError, OSError) as error:
            raise NotAsked(_TIMELESS) from error
        if moment is None:
            raise NotAsked(_TIMELESS)
        found |= {"hour": moment.hour, "minute": moment.minute, "weekday": moment.weekday()}
    return found


def of_request(
    uses: frozenset[str], method: str, value: Json, surroundings: Surroundings
) -> tuple[list[JsonObject], JsonObject]:
    """The arguments of a request as entities, and the members of the context that refer to them.

    Raises:
        NotAsked: They are more than Cedar is asked about.
    """
    given = _given(method, value)
    if given is None:
        raise NotAsked("its arguments are no object")
    made, members = [], {}
    tags: JsonObject
    for member in REQUEST & uses:
        match member:
            case "args":
                tags = {key: each if type(each) is str else _json(each) for key, each in _leaves(given)}
            case "numbers":
                tags = {key: each for key, each in _leaves(given) if type(each) is int and each in _LONG}
            case "paths":
                tags, places = _placed(given, "Path", _resolver(surroundings), _path_steps, "/".join)
                made += places
            case _:
                tags, places = _placed(given, "Site", host_of, _site_steps, _domain)
                made += places
        made.append(_entity(_TAGGED[member], "this", tags=tags))
        members[member] = _reference(_TAGGED[member], "this")
    return made, members


# --- arguments ----------------------------------------------------------------------------------------------


def _given(method: str, value: Json) -> JsonObject | None:
    if method == PROMPT and type(value) is dict:
        value = value.get("arguments")
    if value is None:
        return {}
    return value if type(value) is dict else None


def _leaves(given: JsonObject) -> Iterator[tuple[str, Json]]:
    """The values that are no list or object, each by its tag."""
    for key, each in _walked(given):
        if type(each) is not dict and type(each) is not list:
            yield key, each


def _walked(given: JsonObject) -> Iterator[tuple[str, Json]]:
    """Every value by its tag: its name, or a pointer. A name that looks like a pointer is written as one."""
    count = 0
    pending = [
        (_pointed(name) if name.startswith("/") or not name else name, _pointed(name), each)
        for name, each in given.items()
    ]
    while pending:
        tag, pointer, value = pending.pop()
        count += 1
        if count > limits.CEDAR_VALUES:
            raise NotAsked(f"it has more than {limits.CEDAR_VALUES} values, and a Cedar policy looks at them")
        yield tag, value
        inner: Iterable[tuple[str, Json]] = ()
        if type(value) is dict:
            inner = value.items()
        elif type(value) is list:
            inner = ((str(number), each) for number, each in enumerate(value))
        for name, each in inner:
            below = pointer + _pointed(name)
            pending.append((below, below, each))


def _pointed(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _placed(
    given: JsonObject,
    kind: str,
    place_of: Callable[[Json], str | None],
    steps_of: Callable[[str], tuple[str, ...]],
    joined: Callable[[tuple[str, ...]], str],
) -> tuple[JsonObject, list[JsonObject]]:
    """Tags of places, and the places: what texts lead to, and what all elements of a list are in."""
    tags: dict[str, Json] = {}
    places: dict[str, JsonObject] = {}
    steps = 0
    for tag, value in _walked(given):
        found = [place_of(each) for each in (value if type(value) is list else [value])]
        known = [steps_of(each) for each in found if each is not None]
        if not known or len(known) != len(found):
            continue
        shared = _shared(known)
        if not shared:
            continue
        name = joined(shared) or "/"
        tags[tag] = _reference(kind, name)
        if name not in places:
            steps += len(shared)
            if steps > limits.CEDAR_STEPS:
                raise NotAsked(f"its paths or hosts are in more than {limits.CEDAR_STEPS} others")
            above = [joined(shared[:end]) or "/" for end in range(1, len(shared))]
            places[name] = _entity(kind, name, parents=[_uid(kind, each) for each in above])
    return tags, list(places.values())


def _shared(several: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The first steps that all have in common."""
    least, most = min(several), max(several)
    end = 0
    while end < min(len(least), len(most)) and least[end] == most[end]:
        end += 1
    return least[:end]


def _resolver(surroundings: Surroundings) -> Callable[[Json], str | None]:
    """Leads paths to where they lead; what is longer than a path can be is none."""
    from mcpguard.policy.arguments import led_to  # noqa: PLC0415 (its schemas cost more than all the rest)

    def resolved(value: Json) -> str | None:
        if type(value) is not str or len(value) > limits.FOLDER_CHARS:
            return None
        return led_to(value, surroundings)

    return resolved


def _path_steps(path: str) -> tuple[str, ...]:
    return ("", *filter(None, path.split("/")))


def _site_steps(host: str) -> tuple[str, ...]:
    """The domains of a host, the widest first; an address is in nothing."""
    return (host,) if host.rpartition(".")[2].isdigit() else tuple(reversed(host.split(".")))


def _domain(steps: tuple[str, ...]) -> str:
    return ".".join(reversed(steps))


def _above_path(path: str) -> list[str]:
    steps = _path_steps(path)
    return ["/".join(steps[:end]) or "/" for end in range(1, len(steps))]


# --- entities -----------------------------------------------------------------------------------------------


def _hints(annotations: JsonObject) -> JsonObject:
    """Hints as MCP reads them (schema, ToolAnnotations); one that is no flag says nothing."""
    read_only = annotations.get("readOnlyHint") is True
    missing = {**_HINTS, "destructiveHint": not read_only}
    return {
        key: found if type(found := annotations.get(key)) is bool else value for key, value in missing.items()
    }


def _uid(kind: str, ident: str) -> JsonObject:
    return {"type": _SPACE + kind, "id": ident}


def _reference(kind: str, ident: str) -> JsonObject:
    return {"__entity": _uid(kind, ident)}


def _entity(
    kind: str,
    ident: str,
    attrs: JsonObject | None = None,
    parents: Iterable[JsonObject] = (),
    tags: JsonObject | None = None,
) -> JsonObject:
    made: JsonObject = {"uid": _uid(kind, ident), "attrs": attrs or {}, "parents": list(parents)}
    return made if tags is None else {**made, "tags": tags}


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()
