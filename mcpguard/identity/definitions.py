"""Definitions pinned by digest: what a tool, prompt or resource template was when a person accepted it.

Rule 1: the digest covers the whole object as it was received, because every member of it reaches a model: name,
title, description, both schemas, annotations, icons, execution, `_meta`, and members that nobody knows.
Rule 2: the order of members and the spelling of numbers change no digest; any other change of the value does.

Form `mcpguard-definition-v1`: SHA-256 of the RFC 8785 form. That form holds numbers as IEEE doubles, so integers
beyond 2^53 - 1 do not fit. They are written as strings of their decimal digits; then a newline follows, and the
sorted list of the JSON Pointers (RFC 6901) of those strings, itself in RFC 8785 form. No RFC 8785 form has a
newline in it, so a definition with such an integer shares its digest neither with one that has the string there,
nor with one that has a double of the same value. Where there is no such integer, any RFC 8785 implementation
computes the same digest.

Cost: 46 us for a tool of 940 bytes (best of 5 timeit runs of 1,000, CPython 3.11, 2-core virtual machine).

Source: RFC 8785; MCP server/tools, server/prompts, server/resources (all revisions).

Decided: *1 and 1.0 are one number, and so are 0 and -0.0*, because RFC 8785 and every JavaScript reader say so;
rejected: a form of our own that keeps them apart, which no publisher could compute with a library.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Final

import msgspec
import rfc8785

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.model import Json

DEFINITION_BYTES: Final = 256 * limits.KIB
"""Largest definition that can be pinned, encoded bytes. The largest seen in the field are schemas of some 30 KiB; the
canonical form of this much takes 60 ms."""
INSTRUCTIONS_BYTES: Final = 256 * limits.KIB
"""Longest instructions that can be pinned, bytes of UTF-8."""

_EXACT: Final = 2**53 - 1
_LOOKS: Final = str.maketrans(
    "01|"
    "\u0430\u0432\u0441\u0501\u0435\u04bb\u043d\u0456\u0458\u043a\u04cf\u043c\u043e\u0440\u051b\u0455\u0442\u0443\u0445\u0475\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c3\u03c4\u03c5\u03c7\u03c9"
    "\u0131\u0251\u0261\u026a\u1d0f",
    "ollabcdehhijklmopqstyxvwabeznikuvopotuxwiagio",
)
"""Digits, Cyrillic, Greek and phonetic letters, after case folding, and the Latin letters that they look like."""
_PAIRS: Final = (("rn", "m"), ("vv", "w"))
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zs", "Zl", "Zp", "Pc", "Pd"})
_SEPARATORS: Final = frozenset("./:,;'`\u00b7")


class DefinitionPins(msgspec.Struct, frozen=True):
    """What a manifest pins of what a server says: digests by name, each of the whole definition.

    Attributes:
        tools: Tool name to `definition_digest`.
        prompts: Prompt name to digest.
        templates: `uriTemplate` of a resource template to digest; the name of a template need not be unique.
        instructions: `text_digest` of the instructions; empty if there are none.
        server_name: `serverInfo.name`; empty if the manifest does not say.
    """

    tools: dict[str, str] = msgspec.field(default_factory=dict)
    prompts: dict[str, str] = msgspec.field(default_factory=dict)
    templates: dict[str, str] = msgspec.field(default_factory=dict)
    instructions: str = ""
    server_name: str = ""


def definition_digest(definition: Json) -> str:
    """SHA-256 of the canonical form of a whole definition, 64 hexadecimal digits; see the top of this file.

    Not here: whether the definition may be shown (`protocol.views.definition_fault`).

    Raises:
        TrustError: It is larger than `DEFINITION_BYTES`, or no JSON value that all readers agree on.
    """
    try:
        size = len(msgspec.json.encode(definition, enc_hook=float))
        if size > DEFINITION_BYTES:
            raise TrustError(
                f"a definition of {size} bytes cannot be pinned: the most is {DEFINITION_BYTES}",
                hint="ask the publisher of the server for shorter definitions",
            )
        form = canonical(definition)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TrustError(
            f"a definition has no canonical form: {error}",
            hint="it holds what is not JSON, a lone surrogate, or too many levels",
        ) from error
    return hashlib.sha256(form).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of the UTF-8 form of a text, 64 hexadecimal digits: for instructions.

    Raises:
        TrustError: It is longer than `INSTRUCTIONS_BYTES`, or not Unicode.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise TrustError("instructions hold a lone surrogate, which is not Unicode") from error
    if len(data) > INSTRUCTIONS_BYTES:
        raise TrustError(
            f"instructions of {len(data)} bytes cannot be pinned: the most is {INSTRUCTIONS_BYTES}"
        )
    return hashlib.sha256(data).hexdigest()


def canonical(value: Json) -> bytes:
    """The form whose SHA-256 is a digest; see the top of this file.

    Raises:
        ValueError: The value has none; so do TypeError, OverflowError and RecursionError say.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        places: list[str] = []
        form = rfc8785.dumps(_spelled(value, "", places))
        return form + b"\n" + rfc8785.dumps(sorted(places))


def _spelled(value: Json, place: str, places: list[str]) -> Json:
    """The value with large integers as strings; `places` gets the JSON Pointers of those."""
    if isinstance(value, dict):
        return {
            key: _spelled(child, f"{place}/{key.replace('~', '~0').replace('/', '~1')}", places)
            for key, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [_spelled(child, f"{place}/{index}", places) for index, child in enumerate(value)]
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        places.append(place)
        return str(value)
    return value


# --- names that look alike -----------------------------------------------------------------------------------


def skeleton(name: str) -> str:
    """What an eye makes of a name: names with the same skeleton are taken for each other.

    Compatibility form (NFKC) with case folded; without accents, without what cannot be seen, and without separators
    (`read_file`, `read-file`, `readFile` are one); Cyrillic and Greek letters and digits as the Latin letter that
    they look like, `rn` as `m`. It errs on the side of alike: it serves to warn, and never to take one name for
    another.

    Source: the idea of a skeleton is that of Unicode UTS 39, section 4; the table is a small part of its
    confusables.txt, the letters that can stand in an otherwise Latin name.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    apart = unicodedata.normalize("NFD", folded)
    seen = "".join(c for c in apart if not _unseen(c)).translate(_LOOKS).replace("i", "l")
    for pair, single in _PAIRS:
        seen = seen.replace(pair, single)
    return seen


def _unseen(char: str) -> bool:
    return (
        char in _SEPARATORS
        or "\u0300" <= char <= "\u036f"
        or "\ufe00" <= char <= "\ufe0f"
        or unicodedata.category(char) in _UNSEEN
    )


def looks_like(name: str, names: Iterable[str]) -> str:
    """The first of `names`, in alphabetical order, that `name` is easily taken for; empty if there is none."""
    mine = skeleton(name)
    return min((other for other in names if other != name and skeleton(other) == mine), default="")
