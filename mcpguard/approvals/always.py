"""An approval for good: a rule that allows exactly one call of one host, and answers the rule that asked.

Rule 1: the rule allows what was shown and nothing beside it: no other argument, member, element, tool, server or
host, and no host of which less is known.
Rule 2: what the language of rules cannot say exactly is not written approximately: it is refused.

Not here: putting the rule in force (`cli.approve`, by the verb that applies policies).

Source: TOML 1.0.0, basic strings and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

import msgspec

from mcpguard.approvals.book import ApprovalError
from mcpguard.approvals.members import token
from mcpguard.model import Grade, Json, JsonObject, toml_text

REDACTED: Final = "«redacted:"
"""What stands where a secret was begins with this (`audit.redact.MARK`)."""
ARGUMENT_BYTES: Final = 16 * 1024
"""Longest arguments that a rule is made of, encoded bytes."""
_PINS: Final = 256
"""Most members and elements that a rule pins."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_NOT_ID: Final = re.compile(r"[^a-z0-9_.-]+")
_ID_CHARS: Final = 56
_WILD: Final = frozenset("*?[]")
_GRADES: Final = frozenset(grade.name for grade in Grade if grade)


def rule_for(shown: JsonObject, taken_ids: Container[str]) -> str:
    """The text of the rule for a ticket (`words.describe`), with its LF; TOML for the policy file.

    Args:
        shown: The ticket.
        taken_ids: Ids of rules that exist.

    Raises:
        ApprovalError: Its host is not enrolled, it is no call of a tool, or no rule describes exactly this call.
    """
    host, grade = shown["host"].get("host"), shown["host"].get("grade")
    if not host:
        raise _refused(
            "an approval for good is for one enrolled host, and who asks is not enrolled",
            hint="mcpguard host trust",
        )
    if shown["method"] != "tools/call":
        raise _refused(f"only calls of tools are approved for good, not {shown['method']!a}")
    for name in (shown["server"], shown["tool"]):
        if not name or not _WILD.isdisjoint(name):
            raise _refused(f"no rule describes exactly the name {name[:40]!a}")
    arguments = shown["arguments"] if shown["arguments"] is not None else {}
    if REDACTED in msgspec.json.encode(arguments).decode():
        raise _refused("its arguments hold a secret, which no policy may hold")
    if len(msgspec.json.encode(arguments)) > ARGUMENT_BYTES:
        raise _refused(f"its arguments are longer than {ARGUMENT_BYTES} bytes, too long for a rule")
    lines = [
        "[[rule]]",
        f"id = {_string(_ident(shown['tool'], taken_ids))}",
        "# approved for good: this host, this tool, these arguments",
        f"who = [{_string(f'host:{host}')}]",
        f"server = [{_string(shown['server'])}]",
        f"tools = [{_string(shown['tool'])}]",
        'effect = "allow"',
        f"answers = [{_string(shown['rule'])}]",
    ]
    if grade in _GRADES:
        lines.append(f"grade = {_string(grade)}")
    for number, (place, schema) in enumerate(_pins(arguments, "")):
        if number >= _PINS:
            raise _refused(f"its arguments have more than {_PINS} members, too many for a rule")
        lines.append(f"args.{_key(place)} = {{ {schema} }}")
    return "\n".join(lines) + "\n"


def with_rule(policy_text: str, rule_text: str) -> str:
    """The policy with one more rule at its end; what it says already is kept to the letter."""
    gap = "" if policy_text.endswith("\n") or not policy_text else "\n"
    return f"{policy_text}{gap}\n{rule_text}"


def _refused(message: str, hint: str = "write the rule by hand: mcpguard policy apply FILE") -> ApprovalError:
    return ApprovalError(message, code="invalid", hint=hint)


def _ident(tool: str, taken: Container[str]) -> str:
    base = f"always-{_NOT_ID.sub('-', tool.lower())}"[:_ID_CHARS]
    if base not in taken:
        return base
    return next(name for number in range(2, 1_000_000) if (name := f"{base}-{number}") not in taken)


def _pins(value: Json, pointer: str) -> Iterator[tuple[str, str]]:
    """Places and what they must hold: how much is in each container, and every value that holds no other.

    A place that is named must be there, so as many members as are named are all that there are.
    """
    if isinstance(value, dict):
        yield pointer, f'type = "object", maxProperties = {len(value)}'
        for key, child in value.items():
            if key == "*":
                raise _refused('no rule describes exactly a member that is called "*"')
            yield from _pins(child, pointer + token(key))
    elif isinstance(value, list):
        yield pointer, f'type = "array", maxItems = {len(value)}'
        for index, child in enumerate(value):
            yield from _pins(child, f"{pointer}/{index}")
    elif value is None:
        yield pointer, 'type = "null"'  # TOML has no word for it
    else:
        yield pointer, f"const = {_scalar(value)}"


def _key(pointer: str) -> str:
    """The key of a place: the bare name of an argument where that is one, else the pointer."""
    name = pointer[1:]
    return name if _BARE.fullmatch(name) else _string(pointer)


def _scalar(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else _string(value)


def _string(text: str) -> str:
    """A TOML basic string in which every character can be seen."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise _refused("TOML cannot say half a character (a lone surrogate)")
    return toml_text(text)
