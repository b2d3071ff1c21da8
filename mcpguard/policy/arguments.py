"""What a rule says of arguments: whether a request's are such, are not, or whether that cannot be told.

Rule 1: a value that two programs could read differently cannot be told: what counts is what the server makes of it.
Rule 2: a list or object of which some elements fit and some do not cannot be told either; so a rule that denies or
asks speaks of it, and a rule that allows does not. Where there is nothing to look at, the constraint does not hold.
Rule 3: a path is where the file system leads (`Surroundings.resolve`), compared component by component with where the
folders of the rule lead. Folders are resolved once for a connection.
Rule 4: nothing raises. What cannot be compiled is an error of the policy and was found when it was read.

What cannot be told of a path: it is no text, or empty; it begins with `~` or `$`; it has a backslash, a control
character, a space around it, or encodes a separator; it is a URI; it is relative and the server's folder is not
known; the file system does not say; or `..` leads to one place for the kernel and to another for who only looks at
the text.

What cannot be told of a URL: a scheme other than http, https, ws and wss; user information; a backslash, a percent
sign or a space in its host; a trailing dot; letters beyond ASCII; and numbers that stand for an address, unless the
pattern says the very same.

Cost: 2 us for one `under` where resolving costs nothing, 6 us with the kernel asked (timeit, CPython 3.11).

Not here: what the answer means for a rule (`cases`). Between the answer and the server's use of a path, whoever may
write there can exchange a link: only a sandbox prevents that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mcpguard.model import Json
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.globs import compile_glob
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import Argument
from mcpguard.policy.schema import Schema, compile_schema

_EVERY: Final = "*"
_ENCODED: Final = re.compile(r"%(?:2e|2f|5c|00)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SIMPLE: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.+@-]+)+")
"""Most paths: absolute, each character its own meaning, and nothing that leads back."""
_ABSENT: Final = object()
_URL: Final = re.compile(r"(?:https?|wss?)://([^/?#]*)(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_HOST: Final = re.compile(r"(?=.{1,253}(?::|$))[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*(:[0-9]{1,5})?")
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class Test:
    """One argument's constraints, compiled for one connection; made by `compile_argument`."""

    __slots__ = ("_deny", "_hosts", "_name", "_optional", "_path", "_places", "_plain", "_schema", "_under")

    def __init__(self, argument: Argument, surroundings: Surroundings) -> None:
        self._name = argument.name
        self._path = _pointer(argument.name)
        self._plain = len(self._path) == 1 and self._path[0] == argument.name != _EVERY
        self._optional = argument.optional
        self._under = argument.under
        self._places = _Places(argument.under, surroundings) if argument.under or argument.deny else None
        self._deny = tuple(compile_glob(text) for text in argument.deny)
        self._hosts = argument.hosts
        self._schema: Schema | None = None
        if argument.schema is not None:
            self._schema = compile_schema(argument.schema, what=f"the schema of args.{argument.name}")

    def holds(self, arguments: Json) -> bool | None:
        """Whether the argument is such; None if that cannot be told."""
        if self._plain and type(arguments) is dict:
            value = arguments.get(self._name, _ABSENT)
            return self._optional if value is _ABSENT else self._fits(value)
        values, whole = _found(arguments, self._path)
        if not values:
            return self._optional if whole else None
        answers = {self._fits(value) for value in values}
        if not whole:
            answers.add(None if True in answers else False)
        return answers.pop() if len(answers) == 1 else None

    def wanting(self, arguments: Json) -> str:
        """What would have to be otherwise, as the end of a sentence that begins with `if`; policy's words only."""
        name = f"args.{self._name}" if self._name else "args"
        values, _ = _found(arguments, self._path)
        if not values:
            return f"{name} were given"
        for value in values:
            if self._schema is not None and self._schema.fault(value):
                return f"{name} fitted its schema"
            if self._under and self._placed(value) is not True:
                return f"{name} were under {_or(self._under)}"
            if self._deny and self._clear(value) is not True:
                return f"{name} were not {_or(glob.text for glob in self._deny)}"
            if self._hosts and _at(value, self._hosts) is not True:
                return f"{name} were at {_or(pattern.text for pattern in self._hosts)}"
        return f"{name} were such throughout"

    def _fits(self, value: Json) -> bool | None:
        if self._schema is not None and not self._schema.fits(value):
            return False
        doubt = False
        if self._places is not None:
            spellings = self._places.spellings(value)
            for held in (
                self._places.hold(value, spellings) if self._under else True,
                self._unlike(spellings) if self._deny else True,
            ):
                if held is False:
                    return False
                doubt = doubt or held is None
        if self._hosts:
            held = _at(value, self._hosts)
            if held is False:
                return False
            doubt = doubt or held is None
        return None if doubt else True

    def _placed(self, value: Json) -> bool | None:
        return None if self._places is None else self._places.hold(value, self._places.spellings(value))

    def _clear(self, value: Json) -> bool | None:
        return None if self._places is None else self._unlike(self._places.spellings(value))

    def _unlike(self, spellings: tuple[str, str] | None) -> bool | None:
        """Whether no pattern of `deny` describes a path, neither as it is written nor where it leads."""
        if spellings is None:
            return None
        resolved, lexical = spellings
        for glob in self._deny:
            if glob.matches(resolved) or (lexical != resolved and glob.matches(lexical)):
                return False
        return True


def compile_argument(argument: Argument, surroundings: Surroundings) -> Test:
    """Compile what a rule says of one argument.

    Raises:
        SchemaError: Its schema cannot be used; the policy was not read by `document`.
    """
    return Test(argument, surroundings)


def led_to(value: Json, surroundings: Surroundings) -> str | None:
    """Where a path leads; None if that cannot be told, or if `..` in it may lead to two places."""
    spellings = _Places((), surroundings).spellings(value)
    if spellings is None:
        return None
    resolved, lexical = spellings
    return None if resolved != lexical and ".." in value.split("/") else resolved


# --- where in the arguments --------------------------------------------------------------------------------


def _pointer(name: str) -> tuple[str, ...]:
    """The steps of a name or of a JSON Pointer (RFC 6901)."""
    if name.startswith("/"):
        return tuple(part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/"))
    return (name,) if name else ()


def _found(value: Json, steps: tuple[str, ...]) -> tuple[list[Json], bool]:
    """The values that a pointer leads to, and whether it leads somewhere in each element on its way."""
    values, whole = [value], True
    for step in steps:
        following: list[Json] = []
        for each in values:
            below = _below(each, step)
            whole = whole and (bool(below) or len(values) == 1)
            following += below
        values = following
    return values, whole


def _below(value: Json, step: str) -> list[Json]:
    if type(value) is dict:
        if step == _EVERY and _EVERY not in value:
            return list(value.values())
        return [value[step]] if step in value else []
    if type(value) is list:
        if step == _EVERY:
            return value
        if step.isascii() and step.isdigit() and (step == "0" or step[0] != "0") and int(step) < len(value):
            return [value[int(step)]]
    return []


# --- paths -------------------------------------------------------------------------------------------------


class _Places:
    """The folders of a rule, and where they lead."""

    __slots__ = ("_around", "_folders", "_inside")

    def __init__(self, under: Iterable[str], surroundings: Surroundings) -> None:
        self._around = surroundings
        self._folders: list[str] = []
        for written in under:
            folder = _expanded(written, surroundings)
            if folder is None:
                continue
            self._folders.append(folder)
            resolved = surroundings.resolve(folder)
            if resolved is not None and resolved != folder:
                self._folders.append(resolved)
        self._inside = tuple(f"{folder.rstrip('/')}/" for folder in self._folders)

    def hold(self, value: Json, spellings: tuple[str, str] | None) -> bool | None:
        """Whether a path, of which these are the spellings, lies in one of the folders."""
        if spellings is None:
            return None
        resolved, lexical = spellings
        inside = self._in(resolved)
        if resolved == lexical:
            return inside
        climbs, seems = ".." in value.split("/"), self._in(lexical)
        if inside and (seems or not climbs):
            return True
        return None if inside or seems else False

    def spellings(self, value: Json) -> tuple[str, str] | None:
        """Where a path leads, and what it says by its letters alone; None if that cannot be told."""
        if type(value) is str and _SIMPLE.fullmatch(value):
            resolved = self._around.resolve(value)
            return None if resolved is None else (resolved, value)
        if type(value) is not str or not value or not value.isprintable() or value != value.strip():
            return None
        if value[0] in "~$" or "\\" in value or _SCHEME.match(value) or _ENCODED.search(value):
            return None
        if value[0] != "/":
            if not self._around.cwd:
                return None
            value = f"{self._around.cwd}/{value}"
        resolved = self._around.resolve(value)
        return None if resolved is None else (resolved, _lexical(value))

    def _in(self, path: str) -> bool:
        return path.startswith(self._inside) or path in self._folders


def _expanded(folder: str, surroundings: Surroundings) -> str | None:
    """A folder of a rule as an absolute path without a slash at its end; None if what it begins with is not known."""
    for mark, place in (("~", surroundings.home), ("{cwd}", surroundings.cwd)):
        if folder == mark or folder.startswith(f"{mark}/"):
            if not place.startswith("/"):
                return None
            folder = place + folder[len(mark) :]
    return _lexical(folder)


def _lexical(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes, by its letters alone."""
    out: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del out[-1:]
        elif part not in ("", "."):
            out.append(part)
    return "/" + "/".join(out)


# --- URLs --------------------------------------------------------------------------------------------------


def _at(value: Json, patterns: tuple[Pattern, ...]) -> bool | None:
    """Whether a URL is at a host that one of the patterns describes; one with a port speaks of that port only."""
    if type(value) is not str or not value.isprintable() or value != value.strip() or "\\" in value:
        return None
    url = _URL.fullmatch(value)
    host = url[1].lower() if url is not None else ""
    if any(pattern.exact and pattern.text.lower() == host for pattern in patterns) and host:
        return True
    form = _HOST.fullmatch(host)
    if form is None:
        return None
    port = form[1] or ""
    name = host.removesuffix(port)
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        return None
    return any(pattern.matches(host if ":" in pattern.text else name) for pattern in map(_lowered, patterns))


def _lowered(pattern: Pattern) -> Pattern:
    text = pattern.text
    return pattern if text == text.lower() else Pattern(text.lower(), tuple(w.lower() for w in pattern.words))


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)
