"""What wrapping and unwrapping would do to configuration files, before anybody is asked; and doing it.

Rule 1: what is shown is what is written: a plan holds the new bytes.
Rule 2: each file stands for itself: one that cannot be changed is said, and the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.hosts.difference import difference
from mcpguard.hosts.entries import Entry, Form
from mcpguard.hosts.inventory import Server, without_secrets
from mcpguard.hosts.wrapping import (
    Edit,
    File,
    Wrapped,
    check,
    edited,
    from_words,
    is_wrapped,
    original,
    unwrap,
    wrap,
)
from mcpguard.system import configfile
from mcpguard.system.hostfiles import HostFile
from mcpguard.system.wrapstore import FileRecord, WrapStore

Wanted: TypeAlias = Callable[[Entry], bool]
"""Whether a server is meant."""


class Plan(msgspec.Struct, frozen=True):
    """One file that would be changed.

    Attributes:
        host_file: The file.
        edits: What is changed in it.
        new: Its bytes then.
        chosen: The servers that are concerned, as they are now.
        entries: All that is wrapped in it then.
    """

    host_file: HostFile
    edits: tuple[Edit, ...]
    new: bytes
    chosen: tuple[Entry, ...]
    entries: tuple[Wrapped, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the servers are called; two in a file may have one name."""
        return tuple(entry.name for entry in self.chosen)

    @property
    def target(self) -> Path:
        """The file, links followed."""
        return self.host_file.found.target if self.host_file.found else self.host_file.path


class Fault(msgspec.Struct, frozen=True):
    """A file, or a server of it, that is left as it is, and why."""

    file: str
    sentence: str


def every(_entry: Entry) -> bool:
    """All servers."""
    return True


def called(names: tuple[str, ...]) -> Wanted:
    """The servers of these names, or all."""
    return (lambda entry: entry.name in names) if names else every


def to_wrap(
    files: Iterable[HostFile], records: Mapping[str, FileRecord], program: str, wanted: Wanted = every
) -> tuple[list[Plan], list[Fault]]:
    """Plans that put mcpguard before every server that is wanted; each real file once."""
    plans: dict[Path, Plan] = {}
    faults = []
    for host_file in files:
        if host_file.fault:
            faults.append(_fault(host_file))
            continue
        meant = [server for server in host_file.servers if wanted(server.entry)]
        if wanted is not every:
            faults += [Fault(str(host_file.path), line) for line in unclear(meant)]
        chosen = [server.entry for server in meant if server.entry.starts and not server.wrapped]
        if not chosen or (host_file.found and host_file.found.target in plans):
            continue
        try:
            plan = _wrapped(host_file, chosen, records, program)
        except ConfigError as error:
            faults.append(Fault(str(host_file.path), error.sentence()))
        else:
            plans[plan.target] = plan
    return list(plans.values()), faults


def unclear(servers: Iterable[Server]) -> list[str]:
    """What is said of entries that nobody understands, and that are left alone for that."""
    return [
        f"{server.file}:{server.entry.line}: {server.entry.name}: {server.entry.why}"
        for server in servers
        if server.entry.form is Form.UNKNOWN
    ]


def to_unwrap(
    files: Iterable[HostFile],
    records: Mapping[str, FileRecord],
    wanted: Wanted = every,
    *,
    force: bool,
) -> tuple[list[Plan], list[Fault]]:
    """Plans that take mcpguard away again; `force`: also where the command behind it was changed since."""
    plans: dict[Path, Plan] = {}
    faults = []
    for host_file in files:
        if host_file.fault or host_file.found is None:
            faults.append(_fault(host_file))
            continue
        record = records.get(str(host_file.found.target))
        known = {done.path: done for done in record.entries} if record else {}
        undone, refused = [], []
        for server in host_file.servers:
            if not server.wrapped or not wanted(server.entry):
                continue
            try:
                undone.append((server.entry, _done(host_file, server.entry, known, force=force)))
            except ConfigError as error:
                refused.append(Fault(str(host_file.path), error.sentence()))
        faults += refused
        if not undone or host_file.found.target in plans:
            continue
        try:
            plan = _unwrapped(host_file, undone, known)
        except ConfigError as error:
            faults.append(Fault(str(host_file.path), error.sentence()))
        else:
            plans[plan.target] = plan
    return list(plans.values()), faults


def diff(plan: Plan) -> Iterator[str]:
    """What would change in a file, as a unified diff with little around it; secrets are not shown."""
    old = plan.host_file.found.data if plan.host_file.found else b""
    entries = [server.entry for server in plan.host_file.servers]
    return difference(old, plan.edits, str(plan.host_file.path), lambda text: without_secrets(text, entries))


def carry_out(plan: Plan, store: WrapStore, at: str) -> None:
    """Note the change, then make it.

    Raises:
        ConfigError: The file may not be changed, or was since it was read; it is as it was.
        DaemonError: The change cannot be noted; the file is as it was.
    """
    found = plan.host_file.found
    if found is None:
        raise ConfigError("there is nothing to change", file=str(plan.host_file.path))
    if why := configfile.unwritable(found):
        raise ConfigError(why, file=str(found.path), hint="nothing was written")
    store.changing(found.target, found.data, plan.new, plan.entries, at)
    configfile.replace(found, plan.new)


def _wrapped(
    host_file: HostFile, chosen: list[Entry], records: Mapping[str, FileRecord], program: str
) -> Plan:
    file = host_file.file()
    edits, done = [], {}
    for entry in chosen:
        more, done[entry.path] = wrap(file, entry, program, _policy_name(entry.name))
        edits += more
    new = edited(file.data, edits)
    check(
        file, File(new, file.name, file.dialect, file.paths), {path: one.after for path, one in done.items()}
    )
    target = host_file.found.target if host_file.found else host_file.path
    record = records.get(str(target))
    there = {server.entry.path for server in host_file.servers}
    kept = [one for one in record.entries if one.path not in done and one.path in there] if record else []
    return Plan(host_file, tuple(edits), new, tuple(chosen), (*kept, *done.values()))


def _unwrapped(
    host_file: HostFile, undone: list[tuple[Entry, Wrapped]], known: Mapping[tuple[str, ...], Wrapped]
) -> Plan:
    file = host_file.file()
    edits = [edit for entry, done in undone for edit in unwrap(file, entry, done)]
    new = edited(file.data, edits)
    wanted = {entry.path: done.before for entry, done in undone}
    check(file, File(new, file.name, file.dialect, file.paths), wanted)
    there = {server.entry.path for server in host_file.servers}
    kept = tuple(one for path, one in known.items() if path not in wanted and path in there)
    return Plan(host_file, tuple(edits), new, tuple(entry for entry, _ in undone), kept)


def _done(
    host_file: HostFile, entry: Entry, known: Mapping[tuple[str, ...], Wrapped], *, force: bool
) -> Wrapped:
    """What is to be undone for an entry.

    Raises:
        ConfigError: Its command was changed since, or there is no command to go back to.
    """
    done = known.get(entry.path)
    if done is not None and done.after == entry.argv:
        return done
    before = original(entry.argv)
    if done is not None and not force:
        raise ConfigError(
            f"the server {entry.name!a} was changed since mcpguard was put before it",
            file=str(host_file.path),
            line=entry.line,
            hint="it is left as it is; --force takes mcpguard away and keeps the rest"
            if before
            else f"it is left as it is; it was: {' '.join(done.before)}",
        )
    if not before or is_wrapped(before):
        raise ConfigError(
            f"the server {entry.name!a} says no command to go back to",
            file=str(host_file.path),
            line=entry.line,
            hint="it was registered, and mcpguard server show tells its command",
        )
    return from_words(entry)


def _policy_name(name: str) -> str:
    """The name of a server as policy has it: printable and short, and not the word that ends options."""
    kept = "".join(char if char.isprintable() else "_" for char in name)[: limits.NAME_CHARS]
    return "server" if kept in ("", "--") else kept


def _fault(host_file: HostFile) -> Fault:
    place = f"{host_file.path}:{host_file.line}" if host_file.line else str(host_file.path)
    return Fault(str(host_file.path), f"{place}: {host_file.fault}: it is left as it is")
