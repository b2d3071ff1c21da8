"""The servers that a host's configuration names: what each starts, and where that is written.

Hosts write an entry in five ways, all of which are found here: a command and its arguments (`command`, `cmd`), a
command that is an array of everything, and the first of these inside `transport` or `command` (older versions). What
is no command is told apart, and never edited: a remote server, what is part of the host, and an entry that nobody
understands. Of every entry that is there something is said: what is not told cannot be guarded.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import msgspec

from mcpguard.hosts import jsontree, tomltree, yamltree
from mcpguard.hosts.tree import Kind, Paths, Tree
from mcpguard.model import Json, JsonObject

_COMMANDS: Final = ("command", "cmd")
_INSIDE: Final = ("transport", "command")
_URLS: Final = ("url", "serverUrl", "httpUrl", "uri", "socket")
_REMOTE: Final = ("http", "sse", "ws", "streamable-http", "streamable_http", "streamableHttp", "remote")
_BUILTIN: Final = ("builtin", "platform", "frontend")
_ENVIRONMENTS: Final = ("env", "environment", "envs")


_NO_OBJECT: Final = "it is no object, or stands for another by an anchor"


class Dialect(enum.Enum):
    """How a file is written."""

    JSON = "json"
    JSONC = "jsonc"
    TOML = "toml"
    YAML = "yaml"
    SHELL = "shell"
    """A script, of which only `hosts.shellscript` tells something; nobody edits it."""


class Form(enum.Enum):
    """What an entry is."""

    COMMAND = "command"
    ARRAY = "array"
    REMOTE = "remote"
    SCRIPT = "shell script"
    BUILTIN = "part of the host"
    UNKNOWN = "unknown"


class Entry(msgspec.Struct, frozen=True):
    """One server of one configuration.

    Attributes:
        name: What the host calls it.
        path: Where in the file: names from the top; in a list the name of the entry.
        line: The line where it begins, from 1.
        form: What it is.
        argv: The command and its arguments; empty for what is no command.
        env: Names and values of variables that the entry sets, as far as they are text.
        cwd: The folder that it starts in, as written; empty if it says nothing.
        url: Where a remote server is.
        enabled: Whether the host starts it.
        holder: The object that has the command and the arguments.
        command: Where the command is; for an array the array itself.
        args: Where the arguments are, or where `null` says that there are none; None if nothing does.
        key: The name of the member that has the command.
        environment: The object that has the variables; None if there is none.
        why: For `UNKNOWN`, what is not understood; for `SCRIPT`, what a person can do.
    """

    name: str
    path: tuple[str, ...]
    line: int
    form: Form
    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    enabled: bool = True
    holder: Tree | None = None
    command: Tree | None = None
    args: Tree | None = None
    key: str = ""
    environment: Tree | None = None
    why: str = ""

    @property
    def starts(self) -> bool:
        """Whether the host starts a process for it."""
        return self.form in (Form.COMMAND, Form.ARRAY, Form.SCRIPT)

    @property
    def editable(self) -> bool:
        """Whether something can be put before its command."""
        return self.form in (Form.COMMAND, Form.ARRAY)


def read(data: bytes, file: str, dialect: Dialect, paths: Paths) -> Tree:
    """The tree of a file, as far as paths lead.

    Raises:
        ConfigError: Its format does not allow it; nothing can be written.
    """
    match dialect:
        case Dialect.TOML:
            return tomltree.read(data, file)
        case Dialect.YAML:
            return yamltree.read(data, file)
        case Dialect.SHELL:
            return Tree(Kind.OTHER, None, len(data), len(data))
        case _:
            return jsontree.read(data, file, paths, comments=dialect is Dialect.JSONC)


def entries_of(tree: Tree, data: bytes, paths: Paths) -> list[Entry]:
    """The servers of a file that was read, in its order.

    Args:
        tree: What it says.
        data: The file.
        paths: Where objects or lists of servers are.
    """
    ends = [end.start() for end in re.finditer(b"\n", data)]
    found: dict[tuple[str, ...], Entry] = {}
    nameless: list[Entry] = []
    for path in paths:
        for place, servers in tree.at(path):
            if path[:-1] in paths and _is_server(servers):
                continue  # it was found as one of those
            for name, one in _named(servers):
                line = bisect_left(ends, one.start) + 1
                if name is None:
                    number = f"#{len(nameless) + 1}"
                    why = "it has no name" if one.kind is Kind.OBJECT else _NO_OBJECT
                    nameless.append(Entry(number, (*place, number), line, Form.UNKNOWN, why=why))
                    continue
                if (*path, name) in paths and not _is_server(one):
                    continue  # what holds servers is none
                entry = _entry(line, name, (*place, name), one)
                if entry.path in found:
                    entry = Entry(
                        name, entry.path, entry.line, Form.UNKNOWN, why="two entries have this name"
                    )
                found[entry.path] = entry
    return sorted([*found.values(), *nameless], key=lambda entry: entry.line)


def _is_server(tree: Tree) -> bool:
    """Whether an object that may hold servers is one itself, which is called as that is: it has what only one has."""
    said = (tree.members.get(word) for word in (*_COMMANDS, *_URLS, "type"))
    return any(one is not None and one.value is not None and one.kind is not Kind.OBJECT for one in said)


def _named(servers: Tree) -> Iterator[tuple[str | None, Tree]]:
    """Names and entries of an object; of a list each entry has its name in it, or None.

    Of what has no places (anchors) each entry is named, so that none is there without anybody knowing.
    """
    yield from servers.members.items()
    if not servers.members and isinstance(servers.value, dict):
        for name, value in servers.value.items():
            yield str(name), Tree(Kind.ALIAS, value, servers.start, servers.end)
    if not servers.items and isinstance(servers.value, list):
        for value in servers.value:
            yield _name(value), Tree(Kind.ALIAS, value, servers.start, servers.end)
    for item in servers.items:
        yield _name(item.value), item


def _name(value: Json) -> str | None:
    """What an entry of a list calls itself."""
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def _entry(line: int, name: str, path: tuple[str, ...], tree: Tree) -> Entry:
    if not all(_is_text(part) for part in path):
        shown = tuple(part.encode("utf-8", "backslashreplace").decode() for part in path)
        return Entry(shown[-1], shown, line, Form.UNKNOWN, why="its name is not Unicode text")
    if tree.kind is not Kind.OBJECT:
        return Entry(name, path, line, Form.UNKNOWN, why=_NO_OBJECT)
    facts = tree.value
    plain = Entry(
        name,
        path,
        line,
        Form.UNKNOWN,
        env=_environment(facts),
        environment=_environment_of(tree),
        cwd=_text(facts.get("cwd")),
        enabled=_enabled(facts),
    )
    holder, key = _holder(tree)
    if holder is None:
        inner = facts.get("transport")
        for said in (facts, inner if isinstance(inner, dict) else {}):
            url = next((said[word] for word in _URLS if _text(said.get(word))), "")
            if url or _text(said.get("type")) in _REMOTE:
                return msgspec.structs.replace(plain, form=Form.REMOTE, url=url)
        if _text(facts.get("type")) in _BUILTIN:
            return msgspec.structs.replace(plain, form=Form.BUILTIN)
        return msgspec.structs.replace(plain, why="it has neither a command nor a url")
    command, args = holder.members[key], holder.members.get("args")
    if command.kind is Kind.ARRAY:
        return _whole(plain, holder, key, command)
    if command.kind is not Kind.STRING or not command.value or not _is_text(command.value):
        return msgspec.structs.replace(plain, why="its command is not text on one line")
    if args is not None and not _texts(args) and not is_null(args):
        return msgspec.structs.replace(plain, why="its args are not a list of texts")
    return msgspec.structs.replace(
        plain,
        form=Form.COMMAND,
        argv=(command.value, *(args.value or () if args else ())),
        holder=holder,
        command=command,
        args=args,
        key=key,
    )


def _whole(plain: Entry, holder: Tree, key: str, command: Tree) -> Entry:
    """An entry whose command is an array of everything."""
    if not command.items or not _texts(command):
        return msgspec.structs.replace(plain, why="its command is not a list of texts")
    return msgspec.structs.replace(
        plain, form=Form.ARRAY, argv=tuple(command.value), holder=holder, command=command, key=key
    )


def _holder(tree: Tree) -> tuple[Tree | None, str]:
    """The object that has the command, and under which name."""
    for word in _COMMANDS:
        said = tree.members.get(word)
        if said is not None and said.value is not None and said.kind is not Kind.OBJECT:
            return tree, word
    for outer in _INSIDE:
        inner = tree.members.get(outer)
        for word in (*_COMMANDS, "path"):
            if inner is not None and word in inner.members:
                return inner, word
    return None, ""


def is_null(tree: Tree) -> bool:
    """Whether `null` is written there, or whatever says nothing in that format."""
    return tree.kind is Kind.OTHER and tree.value is None


def _texts(tree: Tree) -> bool:
    """Whether it is an array of texts, each of which is written there."""
    return tree.kind is Kind.ARRAY and all(
        item.kind is not Kind.ALIAS and _is_text(item.value) for item in tree.items
    )


def _environment(facts: JsonObject) -> dict[str, str]:
    found: JsonObject = next((facts[word] for word in _ENVIRONMENTS if isinstance(facts.get(word), dict)), {})
    return {str(name): value for name, value in found.items() if _is_text(str(name)) and _is_text(value)}


def _environment_of(tree: Tree) -> Tree | None:
    """The same object as `_environment` reads, with places."""
    for word in _ENVIRONMENTS:
        found = tree.members.get(word)
        if found is not None and isinstance(found.value, dict):
            return found if found.kind is Kind.OBJECT else None
    return None


def _enabled(facts: JsonObject) -> bool:
    return facts.get("enabled", True) is not False and facts.get("disabled", False) is not True


def _text(value: Json) -> str:
    return value if _is_text(value) else ""


def _is_text(value: Json) -> bool:
    """Whether it is a text that can be written down: JSON and YAML can say halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
