"""Putting mcpguard before a server's command in a host's configuration, and taking it away again, byte for byte.

Rule 1: an edit replaces the command and puts words before the first argument; no other byte of the file changes.
Rule 2: an edit is believed only when the file that results says what was meant and nothing else (`check`).
Rule 3: what is taken away is what was put there; an entry that starts something else since is left to its owner.

The entry afterwards: `command: mcpguard, args: [run, --name, NAME, --, COMMAND, ARGUMENTS...]`, so that what stood
there before can be read without any record of ours. With the record (`Wrapped`) every byte comes back; without it, or
after the host has written the file anew in its own manner, the same words do.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect, Entry, Form, entries_of, read
from mcpguard.hosts.tree import Kind, Paths, Tree
from mcpguard.model import Json

PROGRAM: Final = "mcpguard"
_RUN: Final = "run"
_NAME: Final = "--name"
_END: Final = "--"


class Edit(msgspec.Struct, frozen=True):
    """Bytes that are replaced: from `start` to before `end`, by `new`."""

    start: int
    end: int
    new: bytes


class Wrapped(msgspec.Struct, frozen=True):
    """What was done to one entry; kept to undo it.

    Attributes:
        path: Where the entry is.
        before: The command and arguments that it had.
        after: Those that it has now.
        command: The text of the command as it was written; empty if the command was not replaced.
        added: The text that was put there besides.
        member: Whether that is a whole member, because the entry had no arguments.
    """

    path: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    command: str
    added: str
    member: bool = False


class File(msgspec.Struct, frozen=True):
    """A configuration that is edited.

    Attributes:
        data: Its bytes.
        name: What it is called in errors.
        dialect: How it is written.
        paths: Where its servers are.
    """

    data: bytes
    name: str
    dialect: Dialect
    paths: Paths

    def tree(self) -> Tree:
        """What it says, with places.

        Raises:
            ConfigError: Its format does not allow it.
        """
        return read(self.data, self.name, self.dialect, self.paths)

    def entries(self) -> list[Entry]:
        """Its servers.

        Raises:
            ConfigError: Its format does not allow it.
        """
        return entries_of(self.tree(), self.data, self.paths)


def is_wrapped(argv: tuple[str, ...]) -> bool:
    """Whether a command starts a server behind mcpguard."""
    return len(argv) > 1 and argv[0].replace("\\", "/").rpartition("/")[2] == PROGRAM and argv[1] == _RUN


def original(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command behind a wrapped one, as far as its words tell; empty if they do not, as in `run NAME`."""
    return argv[argv.index(_END) + 1 :] if is_wrapped(argv) and _END in argv else ()


def wrap(file: File, entry: Entry, program: str, name: str) -> tuple[list[Edit], Wrapped]:
    """The edits that put mcpguard before an entry's command.

    Args:
        file: The configuration.
        entry: One of its entries that starts a process and is not wrapped.
        program: The absolute path of mcpguard.
        name: What the server is called in policy.
    """
    before = (program, _RUN, _NAME, name, _END)
    after = (*before, *entry.argv)
    command = _placed(entry.command)
    if entry.form is Form.ARRAY:
        added = _before_first(file, command, before)
        return [added], Wrapped(entry.path, entry.argv, after, "", added.new.decode())
    words = (*before[1:], entry.argv[0])
    added = _member(file, entry, words) if entry.args is None else _before_first(file, entry.args, words)
    replaced = Edit(command.start, command.end, _literal(program))
    raw = file.data[command.start : command.end].decode()
    return [replaced, added], Wrapped(
        entry.path, entry.argv, after, raw, added.new.decode(), member=entry.args is None
    )


def unwrap(file: File, entry: Entry, done: Wrapped) -> list[Edit]:
    """The edits that take away what `wrap` put there.

    Raises:
        ConfigError: The entry starts something else than `wrap` left there.
    """
    if entry.argv != done.after:
        raise ConfigError(
            f"the server {entry.name!a} was changed since mcpguard was put before it",
            file=file.name,
            line=entry.line,
            hint="it is left as it is; take mcpguard out by hand, or wrap it anew with: mcpguard host wrap",
        )
    command, array = _placed(entry.command), entry.args
    if entry.form is Form.ARRAY:
        return [_first_away(file.data, command, done)]
    replaced = Edit(command.start, command.end, done.command.encode() or _literal(done.before[0]))
    place = _member_place(file, entry)
    if done.member and file.data.startswith(done.added.encode(), place):
        return [replaced, Edit(place, place + len(done.added.encode()), b"")]
    return [replaced, _first_away(file.data, _placed(array), done)]


def from_words(entry: Entry) -> Wrapped:
    """What must have been done to a wrapped entry of which there is no record."""
    return Wrapped(entry.path, original(entry.argv), entry.argv, "", "")


def edited(data: bytes, edits: Iterable[Edit]) -> bytes:
    """The file with these edits, none of which touches another."""
    out, place = [], 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        out += [data[place : edit.start], edit.new]
        place = edit.end
    return b"".join([*out, data[place:]])


def check(old: File, new: File, wanted: Mapping[tuple[str, ...], tuple[str, ...]]) -> None:
    """Check that a new file says the same as the old one but for the commands of these entries.

    Raises:
        ConfigError: It does not; it must not be written.
    """
    argv = {entry.path: entry.argv for entry in new.entries()}
    if _without(old, wanted) != _without(new, wanted) or any(
        argv.get(path) != wanted[path] for path in wanted
    ):
        raise ConfigError(
            "the edit would change more than the commands of servers",
            file=old.name,
            hint="nothing was written",
        )


def _without(file: File, wanted: Mapping[tuple[str, ...], tuple[str, ...]]) -> Json:
    """All that a file says, without the commands and arguments of these entries."""
    tree = file.tree()
    rest = copy.deepcopy(tree.value)
    for entry in entries_of(tree, file.data, file.paths):
        if entry.path in wanted and entry.holder is not None:
            for holder in _copies(rest, tree.value, entry.holder.value):
                holder.pop(entry.key, None)
                holder.pop("args", None)
    return rest


def _copies(rest: Json, value: Json, holder: Json) -> Iterable[dict[str, Json]]:
    """The copy of one object, found where that very object stands in what was copied."""
    left = [(rest, value)]
    while left:
        ours, theirs = left.pop()
        if theirs is holder:
            yield ours
        elif isinstance(theirs, dict):
            left += [(ours[key], theirs[key]) for key in theirs if key in ours]
        elif isinstance(theirs, list):
            left += list(zip(ours, theirs, strict=True))


def _before_first(file: File, array: Tree, words: tuple[str, ...]) -> Edit:
    """Words put before the first element of an array."""
    literals = [_literal(word) for word in words]
    if array.block:
        start = _element(file.data, array, 0)
        after = _ending(file.data) + _indent(file.data, start)
        return Edit(start, start, b"".join(b"- " + one + after for one in literals))
    text = b", ".join(literals)
    if not array.items:
        return Edit(array.start + 1, array.start + 1, text)
    return Edit(array.items[0].start, array.items[0].start, text + b", ")


def _first_away(data: bytes, array: Tree, done: Wrapped) -> Edit:
    """What was put before the first element taken away: as the text that it was, else as so many elements."""
    many = len(done.after) - len(done.before)
    start, added = _element(data, array, 0), done.added.encode()
    if added and not done.member and data.startswith(added, start):
        return Edit(start, start + len(added), b"")
    if len(array.items) > many:
        return Edit(start, _element(data, array, many), b"")
    return Edit(start, array.items[many - 1].end, b"")


def _element(data: bytes, array: Tree, number: int) -> int:
    """Where an element begins, the dash of a block included."""
    start = array.items[number].start
    return data.rindex(b"-", 0, start) if array.block else start


def _member(file: File, entry: Entry, words: tuple[str, ...]) -> Edit:
    """A member `args` for an entry that has none, behind its command."""
    holder, key = _placed(entry.holder), _placed(entry.holder).keys[entry.key]
    array = b"[" + b", ".join(_literal(word) for word in words) + b"]"
    lead = file.data[file.data.rfind(b"\n", 0, key) + 1 : key]
    place = _member_place(file, entry)
    if file.dialect in (Dialect.JSON, Dialect.JSONC):
        gap = b" " if lead.strip() else _ending(file.data) + lead
        return Edit(place, place, b"," + gap + b'"args": ' + array)
    colon = b": " if file.dialect is Dialect.YAML else b" = "
    if not holder.block:
        return Edit(place, place, b", args" + colon + array)
    start = _ending(file.data) + _indent(file.data, key) + _outer_key(file, entry)
    return Edit(place, place, start + b"args" + colon + array)


def _member_place(file: File, entry: Entry) -> int:
    """Where a member behind the command begins: at once, or on a line of its own."""
    command, holder = _placed(entry.command), _placed(entry.holder)
    if file.dialect in (Dialect.JSON, Dialect.JSONC) or not holder.block:
        return command.end
    end = file.data.find(b"\n", command.end)
    end = len(file.data) if end < 0 else end
    return end - 1 if file.data[end - 1 : end] == b"\r" and end > command.end else end


def _outer_key(file: File, entry: Entry) -> bytes:
    """What stands before the last name of a key with dots (TOML), dot included; empty elsewhere."""
    if file.dialect is not Dialect.TOML:
        return b""
    key = file.data[_placed(entry.holder).keys[entry.key] : _placed(entry.command).start]
    outer, dot, _ = key.rpartition(b"=")[0].rpartition(b".")
    return outer + dot


def _indent(data: bytes, place: int) -> bytes:
    """White space as wide as what stands before a place on its line."""
    lead = data[data.rfind(b"\n", 0, place) + 1 : place]
    return bytes(
        byte if byte == ord("\t") else ord(" ")
        for byte in lead.decode(errors="replace").encode("ascii", "replace")
    )


def _literal(text: str) -> bytes:
    """A text as JSON writes it, which is a text for TOML and YAML, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f").encode()


def _ending(data: bytes) -> bytes:
    """How the file ends its lines, by its first."""
    first = data.find(b"\n")
    return b"\r\n" if first > 0 and data[first - 1 : first] == b"\r" else b"\n"


def _placed(tree: Tree | None) -> Tree:
    """What an entry that starts a process always has.

    Raises:
        ConfigError: It has not, because nobody may edit it.
    """
    if tree is None or tree.kind is Kind.OTHER:
        raise ConfigError(
            "what the entry starts is written where it cannot be edited", file="", hint="nothing was written"
        )
    return tree
