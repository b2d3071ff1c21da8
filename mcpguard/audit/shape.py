"""What arguments of a call look like, without what they say: what a policy is suggested from.

Recorded while policy only watches. Rule: of values nothing is kept but the folder of a path and the host of a URL;
both say where an agent works, which is what a person has to decide about. Of a text that holds a secret nothing is.

Decided:
    *The folder is that of the text*, nothing is looked up; so of a path that is itself a folder it is the one above.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from mcpguard.audit.looks import secret_name
from mcpguard.audit.redact import Redactor
from mcpguard.model import Json, JsonObject

NAMES: Final = 16
"""Most arguments that are described."""
BYTES: Final = 2048
"""Longest encoded shape; longer ones are cut."""
_TEXT_CHARS: Final = 256
_TELLING: Final = ("path:", "url:")
_PATH: Final = re.compile(r"/|(?!.*/\.{0,2}/)(?!.*/\.{1,2}\Z)/[^\\%]*")
"""An absolute path that says by its letters alone where it leads."""
_URL: Final = re.compile(
    r"https?://(?:[^/?#@\s\\]*@)?([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?(?:[/?#]|\Z)",
    re.IGNORECASE,
)


def shape(arguments: JsonObject, redactor: Redactor) -> dict[str, str]:
    """Name to `string`, `integer`, `number`, `boolean`, `null`, `array`, `object`, `path:FOLDER` or `url:HOST`."""
    return {
        redactor.name(name): _public(name, value, redactor)
        for name, value in islice(arguments.items(), NAMES)
    }


def _public(name: str, value: Json, redactor: Redactor) -> str:
    word = _word(value)
    if word.startswith(_TELLING) and (secret_name(name) or _word(redactor.text(value)) != word):
        return "string"  # a secret with a slash in it would leave its beginning there
    return word


def _word(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return _of_text(value)
        case dict():
            return "object"
        case _:
            return "array"


def _of_text(text: str) -> str:
    if _PATH.fullmatch(text) and text.isprintable() and text == text.strip():
        folder = text.rpartition("/")[0] or "/"
        return f"path:{folder}" if len(folder) <= _TEXT_CHARS else "string"
    found = _URL.match(text)
    return f"url:{found[1].lower()}" if found else "string"
