"""Putting mcpguard before a server's command in a host's configuration, and taking it away again, byte for byte.

Rule 1: an edit replaces the command and puts words before the first argument; no other byte of the file changes.
Rule 2: an edit is believed only when the file that results says what was meant and nothing else (`check`).
Rule 3: what is taken away is what was put there; an entry that starts something else since is left to its owner.

The entry afterwards: `command: mcpguard, args: [run, --name, NAME, --, COMMAND, ARGUMENTS...]`, so that what stood
there before can be read without any record of ours. With the record (`Wrapped`) every byte comes back; without it, or
after the host has written the file anew in its own manner, the same words do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect, Entry, Form, entries_of, is_null, read
from mcpguard.hosts.shellscript import commands_of
from mcpguard.hosts.tree import Kind, Paths, Tree
from mcpguard.model import Json

PROGRAM: Final = "mcpguard"
_RUN: Final = "run"
_NAME: Final = "--name"
_END: Final = "--"
_COMMA_BEHIND: Final = re.compile(rb"(?:\s|//[^\n]*|#[^\n]*|/\*.*?\*/)*+,", re.DOTALL)
_ARGS_KEY: Final = re.compile(rb"""(?:args|"args"|'args')[ \t]*:""")
_UNPRINTABLE: Final = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


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
        null: What said that there are no arguments, and was replaced; None if nothing did.
    """

    path: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    command: str
    added: str
    member: bool = False
    null: str | None = None


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
        if self.dialect is Dialect.SHELL:
            return commands_of(self.data, self.name)
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
        entry: One of its entries that can be edited and is not wrapped.
        program: The absolute path of mcpguard.
        name: What the server is called in policy.
    """
    before = (program, _RUN, _NAME, name, _END)
    after = (*before, *entry.argv)
    command = _placed(entry.command)
    if entry.form is Form.ARRAY:
        added = _before_first(file, command, before)
        return [added], Wrapped(entry.path, entry.argv, after, "", added.new.decode())
    words, args, null = (*before[1:], entry.argv[0]), entry.args, None
    if args is None:
        added = _member(file, entry, words)
    elif is_null(args):
        null = file.data[args.start : args.end].decode()
        added = Edit(args.start, args.end, _array(words)) if null else _behind_key(file, entry, words)
    else:
        added = _before_first(file, args, words)
    replaced = Edit(command.start, command.end, literal(program))
    raw = file.data[command.start : command.end].decode()
    return [replaced, added], Wrapped(
        entry.path, entry.argv, after, raw, added.new.decode(), member=args is None, null=null
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
    if not done.before:
        raise ConfigError(
            f"the server {entry.name!a} does not say what it started before mcpguard was put before it",
            file=file.name,
            line=entry.line,
            hint="it is left as it is; take mcpguard out by hand",
        )
    command, array = _placed(entry.command), entry.args
    if entry.form is Form.ARRAY:
        return [_first_away(file.data, command, done)]
    replaced = Edit(command.start, command.end, done.command.encode() or literal(done.before[0]))
    place = _member_place(file, entry)
    if done.member and file.data.startswith(done.added.encode(), place):
        return [replaced, Edit(place, place + len(done.added.encode()), b"")]
    if done.null is not None and array is not None:
        start = array.end - len(done.added.encode())
        if file.data[start : array.end] == done.added.encode():
            return [replaced, Edit(start, array.end, done.null.encode())]
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
    trees = [file.tree() for file in (old, new)]
    entries = [entries_of(tree, file.data, file.paths) for tree, file in zip(trees, (old, new), strict=True)]
    argv = {entry.path: entry.argv for entry in entries[1]}
    left = {
        id(entry.holder.value): {entry.key, "args"}
        for entry in (*entries[0], *entries[1])
        if entry.path in wanted and entry.holder is not None
    }
    if not same(trees[0].value, trees[1].value, left) or any(
        argv.get(path) != wanted[path] for path in wanted
    ):
        raise ConfigError(
            "the edit would change more than the commands of servers",
            file=old.name,
            hint="nothing was written",
        )


def same(one: Json, other: Json, left: Mapping[int, set[str]]) -> bool:
    """Whether two values are the same but for some members of some objects, which are known by their identity.

    Not by `==`: for it 1, 1.0 and true are the same, and no number that is none is the same as itself.
    """
    todo, done = [(one, other)], set()
    while todo:
        a, b = todo.pop()
        if (id(a), id(b)) in done:
            continue
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            done.add((id(a), id(b)))
            names = [[name for name in each if name not in left.get(id(each), ())] for each in (a, b)]
            if names[0] != names[1]:
                return False
            todo += [(a[name], b[name]) for name in names[0]]
        elif isinstance(a, list):
            done.add((id(a), id(b)))
            if len(a) != len(b):
                return False
            todo += list(zip(a, b, strict=True))
        elif a != b and not (a != a and b != b):  # noqa: PLR0124 (only what is no number differs from itself)
            return False
    return True


def _before_first(file: File, array: Tree, words: tuple[str, ...]) -> Edit:
    """Words put before the first element of an array."""
    literals = [literal(word) for word in words]
    if array.block:
        start = _element(array, 0)
        after = _ending(file.data) + _indent(file.data, start)
        return Edit(start, start, b"".join(b"- " + one + after for one in literals))
    text = b", ".join(literals)
    if not array.items:
        return Edit(array.start + 1, array.start + 1, text)
    return Edit(array.items[0].start, array.items[0].start, text + b", ")


def _first_away(data: bytes, array: Tree, done: Wrapped) -> Edit:
    """What was put before the first element taken away: as the text that it was, else as so many elements.

    With the last element goes a comma behind it. An array in lines must not be empty: a pair of brackets is left.
    """
    many = len(done.after) - len(done.before)
    start, added = _element(array, 0), done.added.encode()
    known = bool(added) and not done.member and data.startswith(added, start)
    if len(array.items) > many:
        return Edit(start, start + len(added) if known else _element(array, many), b"")
    end = array.items[many - 1].end
    if array.block:
        return Edit(start, end, b" []")
    comma = _COMMA_BEHIND.match(data, end)
    return Edit(start, comma.end() if comma else end, b"")


def _element(array: Tree, number: int) -> int:
    """Where an element begins, the dash of a block included."""
    return array.dashes[number] if array.block else array.items[number].start


def _member(file: File, entry: Entry, words: tuple[str, ...]) -> Edit:
    """A member `args` for an entry that has none, behind its command."""
    holder, key = _placed(entry.holder), _placed(entry.holder).keys[entry.key]
    array = _array(words)
    lead = file.data[file.data.rfind(b"\n", 0, key) + 1 : key]
    place = _member_place(file, entry)
    if file.dialect in (Dialect.JSON, Dialect.JSONC):
        gap = b" " if lead.strip() else _ending(file.data) + lead
        return Edit(place, place, b"," + gap + b'"args": ' + array)
    colon = b": " if file.dialect is Dialect.YAML else b" = "
    if not holder.block:
        return Edit(place, place, b", " + _outer_key(file, entry) + b"args" + colon + array)
    start = _ending(file.data) + _indent(file.data, key) + _outer_key(file, entry)
    return Edit(place, place, start + b"args" + colon + array)


def _behind_key(file: File, entry: Entry, words: tuple[str, ...]) -> Edit:
    """An array behind `args:` where nothing is (YAML).

    Raises:
        ConfigError: The key is written in a way that nobody writes.
    """
    key = _ARGS_KEY.match(file.data, _placed(entry.holder).keys["args"])
    if key is None:
        raise ConfigError(
            f"the args of {entry.name!a} are written where they cannot be edited",
            file=file.name,
            line=entry.line,
            hint="nothing was written",
        )
    return Edit(key.end(), key.end(), b" " + _array(words))


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


def literal(text: str) -> bytes:
    """A text as JSON writes it, which is a text for TOML and YAML, too: what one of them may not hold is escaped."""
    plain = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", plain).encode()


def _array(words: tuple[str, ...]) -> bytes:
    """Words as an array on one line, which every dialect knows."""
    return b"[" + b", ".join(literal(word) for word in words) + b"]"


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
