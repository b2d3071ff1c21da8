"""Cedar policies of one file, compiled: asked in full, or only which of them may speak of a name.

Rule 1: an error in the diagnostics is no answer. Cedar skips a policy that fails, a forbid included, and may allow.
Rule 2: which policies may speak of a name is asked of Cedar itself, with policies that say less (`_weakened`): what
turns on the context is taken out of their conditions, and all of them permit, so that the answer names each.
Whatever may hold of some request is among them. What is not can hold of none, and may fail unseen.

Decided:
    *No partial evaluation*, which the library calls experimental and forbids as a final answer; rejected:
    `is_authorized_partial` with an unknown context.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mcpguard.model import Json, JsonObject
from mcpguard.policy.cedartext import MISSING, Unusable, called, library, schema
from mcpguard.policy.cedarworld import CONTEXT
from mcpguard.policy.rules import Rule

_CONTEXT: Final = "context"
_RESOURCE: Final = "resource"
_SERVER: Final = "Mcpguard::Server"
_KEPT: Final = 4


class Program:
    """Policies that are parsed once; made by `program`.

    Attributes:
        exact: Policies that speak of a name whatever the context is.
        aimless: Likewise, and whatever the request is about.
        uses: Members of the context that each policy looks at.
    """

    __slots__ = ("_aimless", "_cedar", "_named", "_policies", "aimless", "exact", "uses")

    def __init__(self, rules: Iterable[Rule]) -> None:
        cedar = library()
        if cedar is None:
            raise Unusable(MISSING)
        schema()
        bodies: dict[str, JsonObject] = {rule.id: msgspec.json.decode(rule.cedar) for rule in rules}
        self._cedar = cedar
        self._policies = _handle(cedar, bodies)
        self._named = _handle(cedar, {name: _weakened(body, {_CONTEXT}) for name, body in bodies.items()})
        self._aimless = _handle(
            cedar, {name: _weakened(body, {_CONTEXT, _RESOURCE}) for name, body in bodies.items()}
        )
        mentions = {name: _mentions(body["conditions"]) for name, body in bodies.items()}
        self.exact = frozenset(name for name, (variables, _) in mentions.items() if _CONTEXT not in variables)
        self.aimless = frozenset(
            name
            for name, (variables, _) in mentions.items()
            if not variables & {_CONTEXT, _RESOURCE} and _whatever(bodies[name]["resource"])
        )
        self.uses = {name: members for name, (_, members) in mentions.items()}

    def entities(self, listed: list[JsonObject]) -> Any:
        """Entities that fit the schema, as a handle.

        Raises:
            Unusable: They do not.
        """
        return called(self._cedar.Entities.from_json_str, _text(listed), schema())

    def more(self, entities: Any, listed: list[JsonObject]) -> Any:
        """These and others; as `entities`."""
        return called(entities.with_added_json_str, _text(listed), schema())

    def speaking(self, request: JsonObject, entities: Any, *, aimless: bool) -> tuple[frozenset[str], bool]:
        """The policies that may speak of a name, and whether some of them failed, of which nothing is known then.

        Raises:
            Unusable: Cedar gives no answer.
        """
        handle = self._aimless if aimless else self._named
        answer = called(self._cedar.is_authorized, {**request, "context": "{}"}, handle, entities)
        if answer.decision is self._cedar.Decision.NoDecision:
            raise Unusable("; ".join(answer.diagnostics.errors) or "Cedar gives no decision")
        return frozenset(answer.diagnostics.reasons), bool(answer.diagnostics.errors)

    def asked(self, request: JsonObject, entities: Any) -> tuple[bool, frozenset[str]]:
        """Whether a request is allowed, and the policies that say so.

        Raises:
            Unusable: A policy fails, the request does not fit the schema, or Cedar gives no answer (rule 1).
        """
        answer = called(self._cedar.is_authorized, request, self._policies, entities, schema())
        errors, decisions = answer.diagnostics.errors, self._cedar.Decision
        if errors:
            raise Unusable(errors[0])
        if answer.decision is decisions.NoDecision:
            raise Unusable("Cedar gives no decision")
        return answer.decision is decisions.Allow, frozenset(answer.diagnostics.reasons)


@functools.lru_cache(maxsize=_KEPT)
def _program(bodies: tuple[Rule, ...]) -> Program:
    return Program(bodies)


def program(rules: tuple[Rule, ...]) -> Program:
    """Compile policies; the same ones are compiled once.

    Raises:
        Unusable: Cedar is not installed, or does not take what it took when the policies were read.
    """
    return _program(tuple(Rule(rule.id, rule.effect, cedar=rule.cedar) for rule in rules))


def _handle(cedar: Any, bodies: JsonObject) -> Any:
    whole = {"staticPolicies": bodies, "templates": {}, "templateLinks": []}
    return called(cedar.PolicySet.from_json_str, _text(whole))


def _weakened(body: JsonObject, unknown: set[str]) -> JsonObject:
    """A policy that permits wherever this one may speak, whatever the variables in `unknown` are."""
    conditions = []
    for condition in body["conditions"]:
        if condition["kind"] != "when":
            parts = [condition["body"]] if unknown.isdisjoint(_mentions(condition)[0]) else []
        else:
            parts = [part for part in _conjuncts(condition["body"]) if unknown.isdisjoint(_mentions(part)[0])]
        conditions += [{"kind": condition["kind"], "body": part} for part in parts]
    scope = body[_RESOURCE]
    if _RESOURCE in unknown and not _whatever(scope):
        kind = scope.get("entity_type")
        scope = {"op": "is", "entity_type": kind} if kind else {"op": "All"}
    return {**body, "effect": "permit", "conditions": conditions, _RESOURCE: scope}


def _whatever(scope: JsonObject) -> bool:
    """Whether the scope of a resource tells only servers and types apart, which are known where nothing else is."""
    inside = scope.get("in", scope) if scope["op"] == "is" else scope
    entity = inside.get("entity")
    return entity is None or (entity["type"] == _SERVER and scope["op"] in ("in", "is"))


def _conjuncts(body: JsonObject) -> list[JsonObject]:
    """The parts of `a && b && c`, in order: the tree leans to the left, or has brackets to the right."""
    found, pending = [], [body]
    while pending:
        part = pending.pop()
        both = part.get("&&")
        if both is None:
            found.append(part)
        else:
            pending += [both["right"], both["left"]]
    return found


def _mentions(tree: Json) -> tuple[frozenset[str], frozenset[str]]:
    """The variables in an expression, and the members of the context; all of these if it is used as a whole."""
    variables, members = set(), set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is list:
            pending += node
        elif type(node) is dict:
            member = _member(node)
            if member:
                variables.add(_CONTEXT)
                members.add(member)
                continue
            name = node.get("Var")
            if type(name) is str:
                variables.add(name)
                members |= CONTEXT if name == _CONTEXT else set()
            pending += node.values()  # a member of a record may be called like an operator: all is looked at
    return frozenset(variables), frozenset(members)


def _member(node: JsonObject) -> str:
    """The member that `context.member` or `context has member` is about; empty if a node is neither."""
    for operator in (".", "has"):
        body = node.get(operator)
        if type(body) is dict and body.get("left") == {"Var": _CONTEXT} and type(body.get("attr")) is str:
            member: str = body["attr"]
            return member
    return ""


def _text(value: Json) -> str:
    return msgspec.json.encode(value).decode()
