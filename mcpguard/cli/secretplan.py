"""What moving secrets out of configuration files would do, before anybody is asked; and doing it.

Rule 1: what is shown is what is done: a plan holds the new bytes, and a file that somebody has written meanwhile is
left alone.
Rule 2: a value is in the vault before the file loses it, and leaves the vault only after the file has it again.
Rule 3: copies of the file that we have kept lose the value, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.cli import client
from mcpguard.cli.secret import packed
from mcpguard.cli.wrapplan import Fault, Wanted
from mcpguard.errors import ConfigError, SecretError
from mcpguard.hosts.difference import difference
from mcpguard.hosts.entries import Entry
from mcpguard.hosts.inventory import Server, plain_secrets, without_secrets
from mcpguard.hosts.secretvalues import check, moved, reference, referred, written
from mcpguard.hosts.wrapping import Edit, File, edited, original
from mcpguard.identity.naming import server_name
from mcpguard.model import JsonObject
from mcpguard.system import configfile
from mcpguard.system.hostfiles import HostFile
from mcpguard.system.injection import variables
from mcpguard.system.wrapstore import WrapStore

_KEPT: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_EXPANDED: Final = re.compile(r"[$%{]")
_NAMES: Final = 9


class Moving(msgspec.Struct, frozen=True):
    """One value that would be moved.

    Attributes:
        entry: The server's entry.
        variable: The variable.
        value: The secret.
        name: The name that it gets in the vault.
        text: What stands in the file, quotes and all.
    """

    entry: Entry
    variable: str
    value: str
    name: str
    text: bytes

    def __repr__(self) -> str:
        return f"<Moving {self.entry.name} {self.variable}>"


class SecretPlan(msgspec.Struct, frozen=True):
    """One file that would be changed."""

    host_file: HostFile
    edits: tuple[Edit, ...]
    new: bytes
    moves: tuple[Moving, ...]

    def diff(self) -> Iterator[str]:
        """What would change, as a unified diff in which secrets are stars."""
        entries = [server.entry for server in self.host_file.servers]
        data = self.host_file.found.data if self.host_file.found else b""
        values = [move.value for move in self.moves]

        def mask(text: str) -> str:
            for value in values:
                text = text.replace(json.dumps(value)[1:-1], "********").replace(value, "********")
            return without_secrets(text, entries)

        return difference(data, self.edits, str(self.host_file.path), mask)


def to_import(files: Iterable[HostFile], wanted: Wanted) -> tuple[list[SecretPlan], list[Fault]]:
    """Plans for the files in which something is to be moved, and what is left as it is and why."""
    plans, faults = [], []
    named: dict[str, str] = {}
    for host_file in files:
        if host_file.fault:
            faults.append(
                Fault(str(host_file.path), f"{host_file.path}: {host_file.fault}: it is left as it is")
            )
            continue
        moves: list[Moving] = []
        for server in (one for one in host_file.servers if wanted(one.entry)):
            more, left = _of_server(host_file, server, named)
            moves += more
            faults += [
                Fault(str(host_file.path), f"{host_file.path}:{server.entry.line}: {line}") for line in left
            ]
        if not moves:
            continue
        try:
            plans.append(_plan(host_file, moves))
        except ConfigError as error:
            faults.append(Fault(str(host_file.path), error.sentence()))
    return plans, faults


def carry_out(plan: SecretPlan, store: WrapStore, passed: tuple[str, ...]) -> list[str]:
    """Keep the values, bind them to their servers, and write the file; the names in the vault.

    Raises:
        ConfigError: The file cannot be written; nothing was moved.
        GuardError: A value cannot be kept; likewise.
    """
    found = plan.host_file.found
    if found is None or (why := configfile.unwritable(found)):
        raise ConfigError(
            why if found else "it is gone", file=str(plan.host_file.path), hint="nothing was moved"
        )
    fresh: list[str] = []
    texts = {}
    with store.alone():
        try:
            edits = []
            for move in plan.moves:
                name = _kept(move, fresh)
                _bind(name, binding_of(move.entry, move.variable, str(found.target), passed), move.text)
                edits.append(moved(plan.host_file.file(), move.entry, move.variable, name))
                texts[move.text] = json.dumps(reference(name)).encode()
            configfile.replace(found, edited(found.data, edits))
        except BaseException:
            for name in fresh:  # what was not there before is not there now
                with contextlib.suppress(SecretError):
                    client.request({"verb": "secret-remove", "name": name})
            raise
        store.scrub(texts)
    return [move.name for move in plan.moves]


def binding_of(entry: Entry, variable: str, file: str, passed: tuple[str, ...] = ()) -> JsonObject:
    """The binding of a secret to the server of an entry, as the daemon has it (`vault.Binding`)."""
    argv = original(entry.argv)
    others = {name: value for name, value in entry.env.items() if name != variable}
    others = {name: value for name, value in others.items() if name not in referred(entry)}
    mark = hashlib.sha256(
        "\0".join((file, *entry.path, variable)).encode("utf-8", "surrogatepass")
    ).hexdigest()
    expanded = [name for name, value in others.items() if _EXPANDED.search(value)]
    return {
        "server": policy_name(entry.argv),
        "argv": hashlib.sha256(b"".join(os.fsencode(word) + b"\0" for word in argv)).hexdigest()
        if argv
        else "",
        "variable": variable,
        "passed": sorted({*passed, *(name for name in expanded if not variables(f"{name}=x".encode()))}),
        "constants": {
            name: hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
            for name, value in others.items()
            if name not in expanded
        },
        "path": os.environ.get("PATH", ""),
        "home": os.environ.get("HOME", ""),
        "file": file,
        "entry": list(entry.path),
        "undo": f"import/{mark[:32]}",
    }


def policy_name(argv: tuple[str, ...]) -> str:
    """What policy calls the server of a wrapped command."""
    options = argv[2 : argv.index("--")] if "--" in argv else argv[2:]
    if "--name" in options and options.index("--name") + 1 < len(options):
        return options[options.index("--name") + 1]
    behind = original(argv)
    return server_name(behind) if behind else next((word for word in options if not word.startswith("-")), "")


def _of_server(host_file: HostFile, server: Server, named: dict[str, str]) -> tuple[list[Moving], list[str]]:
    entry = server.entry
    found, elsewhere = plain_secrets(entry)
    left = [
        f"{entry.name}: {place} holds a secret, and a command line cannot be given one: let a variable have it"
        for place in elsewhere
    ]
    if found and not server.wrapped:
        names = ", ".join(found)
        return [], [
            *left,
            f"{entry.name}: {names}: it does not start behind mcpguard: first mcpguard host wrap",
        ]
    moves = []
    for variable, value in found.items():
        if len(value.encode("utf-8", "surrogatepass")) < limits.SECRET_LEAST:
            left.append(f"{entry.name}: {variable} is shorter than {limits.SECRET_LEAST} bytes")
            continue
        try:
            text = written(host_file.file(), entry, variable)
        except ConfigError as error:
            left.append(error.message)
            continue
        name = named.setdefault(value, _name(entry, variable))
        moves.append(Moving(entry, variable, value, name, text))
    return moves, left


def _name(entry: Entry, variable: str) -> str:
    return _KEPT.sub("-", f"{policy_name(entry.argv)}.{variable}").strip("-._")[:60] or "secret"


def _plan(host_file: HostFile, moves: list[Moving]) -> SecretPlan:
    file = host_file.file()
    edits = tuple(moved(file, move.entry, move.variable, move.name) for move in moves)
    new = edited(file.data, edits)
    meant: dict[tuple[tuple[str, ...], str], str | None] = {
        (move.entry.path, move.variable): reference(move.name) for move in moves
    }
    check(file, File(new, file.name, file.dialect, file.paths), meant)
    return SecretPlan(host_file, edits, new, tuple(moves))


def _kept(move: Moving, fresh: list[str]) -> str:
    """Keep a value; under the next free name if another value has its own. Adds to `fresh` what was not there."""
    value = packed(move.value.encode("utf-8", "surrogatepass"))
    known = {one["name"] for one in client.request({"verb": "secrets"})["secrets"]}
    for name in (move.name, *(f"{move.name}-{number}" for number in range(2, _NAMES + 1))):
        request = {"verb": "secret-put", "name": name, "text": value, "source": "import"}
        try:
            client.request(request)
        except SecretError:
            if name not in known:
                raise
            continue
        if name not in known:
            fresh.append(name)
        return name
    raise SecretError(f"{_NAMES} secrets are called {move.name}", hint="mcpguard secret list")


def _bind(name: str, binding: JsonObject, text: bytes) -> None:
    bound = [{"binding": binding, "literal": packed(text)}]
    client.request({"verb": "secret-bind", "name": name, "text": json.dumps(bound)})
