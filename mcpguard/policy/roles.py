"""Roles: names for sets of principals, which may hold other roles."""

from __future__ import annotations

from collections.abc import Mapping

from mcpguard.policy.rules import ROLE


def cycle(roles: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Roles that hold each other, the first one at both ends; empty if there are none."""
    done: set[str] = set()
    for start in roles:
        trail = [start]
        steps = [iter(_inner(roles, start))]
        while steps:
            following = next(steps[-1], None)
            if following is None:
                steps.pop()
                done.add(trail.pop())
            elif following in trail:
                return (*trail[trail.index(following) :], following)
            elif following not in done:
                trail.append(following)
                steps.append(iter(_inner(roles, following)))
    return ()


def flattened(roles: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Each role with the principals in it, those of the roles in it among them.

    Order: `cycle(roles)` is empty, and every role that is named exists.
    """
    flat: dict[str, tuple[str, ...]] = {}
    for name in _innermost_first(roles):
        members: dict[str, None] = {}
        for member in roles[name]:
            inner = flat[member.removeprefix(ROLE)] if member.startswith(ROLE) else (member,)
            members |= dict.fromkeys(inner)
        flat[name] = tuple(members)
    return {name: flat[name] for name in roles}


def _innermost_first(roles: Mapping[str, tuple[str, ...]]) -> list[str]:
    order: dict[str, None] = {}
    for start in roles:
        pending = [start]
        while pending:
            missing = [inner for inner in _inner(roles, pending[-1]) if inner not in order]
            if missing:
                pending += missing
            else:
                order[pending.pop()] = None
    return list(order)


def _inner(roles: Mapping[str, tuple[str, ...]], name: str) -> list[str]:
    return [member.removeprefix(ROLE) for member in roles[name] if member.startswith(ROLE)]
