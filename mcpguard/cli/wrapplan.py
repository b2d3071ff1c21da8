"""What wrapping and unwrapping would do to configuration files, before anybody is asked; and doing it.

Rule 1: what is shown is what is done: a plan holds the new bytes. Where somebody else has written the file meanwhile,
as some hosts do all the time, the same is done to the same commands, or nothing if one of them is another now.
Rule 2: each file stands for itself: one that cannot be changed is said, and the others are.
Rule 3: no two commands of mcpguard change a file, or the record of what was done, at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

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
from mcpguard.system.configfile import Found
from mcpguard.system.hostfiles import HostFile, look
from mcpguard.system.wrapstore import FileRecord, WrapStore

_ATTEMPTS: Final = 3
"""Times that a change is tried while somebody else writes the file."""
Wanted: TypeAlias = Callable[[Entry], bool]
"""Whether a server is meant."""


class Plan(msgspec.Struct, frozen=True):
    """One file that would be changed.

    Attributes:
        host_file: The file.
        edits: What is changed in it.
        new: Its bytes then.
        chosen: The servers that are concerned, as they are now.
        done: What is done to them; empty where it is undone.
        again: The same plan for the file as somebody else has written it since.
    """

    host_file: HostFile
    edits: tuple[Edit, ...]
    new: bytes
    chosen: tuple[Entry, ...]
    done: tuple[Wrapped, ...]
    again: Callable[[HostFile], Plan]

    @property
    def names(self) -> tuple[str, ...]:
        """What the servers are called; two in a file may have one name."""
        return tuple(entry.name for entry in self.chosen)

    def entries(self, known: FileRecord | None) -> tuple[Wrapped, ...]:
        """All that is wrapped in it then, where this is what is known of it now."""
        there = {server.entry.path for server in self.host_file.servers}
        there -= {entry.path for entry in self.chosen}
        return (*(one for one in (known.entries if known else ()) if one.path in there), *self.done)

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
    files: Iterable[HostFile], program: str, wanted: Wanted = every
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
        chosen = [server.entry for server in meant if server.entry.editable and not server.wrapped]
        if not chosen or (host_file.found and host_file.found.target in plans):
            continue
        try:
            plan = _wrapped(host_file, chosen, program)
        except ConfigError as error:
            faults.append(Fault(str(host_file.path), error.sentence()))
        else:
            plans[plan.target] = plan
    return list(plans.values()), faults


def unclear(servers: Iterable[Server]) -> list[str]:
    """What is said of entries that nobody understands or can edit, and that are left alone for that."""
    return [
        f"{server.file}:{server.entry.line}: {server.entry.name}: {server.entry.why}"
        for server in servers
        if server.entry.form is Form.UNKNOWN or (server.entry.form is Form.SCRIPT and not server.wrapped)
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
            if not (server.wrapped and server.entry.editable and wanted(server.entry)):
                continue
            try:
                undone.append((server.entry, _done(host_file, server.entry, known, force=force)))
            except ConfigError as error:
                refused.append(Fault(str(host_file.path), error.sentence()))
        faults += refused
        if not undone or host_file.found.target in plans:
            continue
        try:
            plan = _unwrapped(host_file, undone)
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
        ConfigError: The file may not be changed, or the servers that are meant were; it is as it was.
        DaemonError: The change cannot be noted; the file is as it was.
    """
    for attempt in range(_ATTEMPTS, 0, -1):
        with store.alone():
            plan = _renewed(plan)
            found = plan.host_file.found
            if found is None:
                raise ConfigError("there is nothing to change", file=str(plan.host_file.path))
            if why := configfile.unwritable(found):
                raise ConfigError(why, file=str(found.path), hint="nothing was written")
            try:
                _replace(plan, found, store, at)
            except ConfigError:
                now = configfile.read(found.path)
                if attempt == 1 or now is None or now.data == found.data:
                    raise
            else:
                return


def _renewed(plan: Plan) -> Plan:
    """The plan for the file as it is now.

    Raises:
        ConfigError: It cannot be read any more, or the servers that are meant were changed.
    """
    before = plan.host_file
    now = look(before.place, before.path)
    if now is None or now.found is None or before.found is None or now.found.target != before.found.target:
        raise ConfigError("it is not there any more", file=str(before.path), hint="nothing was written")
    if now.found.data == before.found.data:
        return plan
    if now.fault:
        raise ConfigError(now.fault, file=str(now.path), line=now.line, hint="nothing was written")
    return plan.again(now)


def _replace(plan: Plan, found: Found, store: WrapStore, at: str) -> None:
    """Note what is done beside what was, so that at no moment something is done that is not noted."""
    known = store.load().get(str(found.target))
    then = plan.entries(known)
    either = {one.path: one for one in (*(known.entries if known else ()), *then)}
    store.changing(found.target, found.data, plan.new, tuple(either.values()), at)
    try:
        configfile.replace(found, plan.new)
    except ConfigError:
        store.put_back(found.target, known)
        raise
    if len(either) != len(then):
        store.changing(found.target, found.data, plan.new, then, at)


def _still(host_file: HostFile, chosen: Iterable[Entry]) -> list[Entry]:
    """The same entries in the file as it is now.

    Raises:
        ConfigError: One of them starts something else, or is not there.
    """
    now = {server.entry.path: server.entry for server in host_file.servers}
    found = []
    for entry in chosen:
        same = now.get(entry.path)
        if same is None or (same.form, same.argv) != (entry.form, entry.argv):
            raise ConfigError(
                f"the server {entry.name!a} was changed meanwhile",
                file=str(host_file.path),
                line=same.line if same else 0,
                hint="nothing was written; try again",
            )
        found.append(same)
    return found


def _wrapped(host_file: HostFile, chosen: list[Entry], program: str) -> Plan:
    file = host_file.file()
    edits, done = [], {}
    for entry in chosen:
        more, done[entry.path] = wrap(file, entry, program, _policy_name(entry.name))
        edits += more
    new = edited(file.data, edits)
    check(
        file, File(new, file.name, file.dialect, file.paths), {path: one.after for path, one in done.items()}
    )

    def again(now: HostFile) -> Plan:
        return _wrapped(now, _still(now, chosen), program)

    return Plan(host_file, tuple(edits), new, tuple(chosen), tuple(done.values()), again)


def _unwrapped(host_file: HostFile, undone: list[tuple[Entry, Wrapped]]) -> Plan:
    file = host_file.file()
    edits = [edit for entry, done in undone for edit in unwrap(file, entry, done)]
    new = edited(file.data, edits)
    check(
        file, File(new, file.name, file.dialect, file.paths), {one.path: done.before for one, done in undone}
    )
    chosen, what = [entry for entry, _ in undone], [done for _, done in undone]

    def again(now: HostFile) -> Plan:
        return _unwrapped(now, list(zip(_still(now, chosen), what, strict=True)))

    return Plan(host_file, tuple(edits), new, tuple(chosen), (), again)


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
