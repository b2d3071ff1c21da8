"""`mcpguard host`: say which agent hosts you trust, by what the kernel says of them; see those that are here.

Exit codes: 0 done, 1 failed or declined, 2 usage, 3 no daemon runs (so no host is connected), 5 refused.

Rule: everything shown comes from the kernel, from the list of enrolled hosts or from configurations; what a host says
of itself is marked as its own word. The list of known hosts suggests a name, and decides nothing.

Not here: who may ask the daemon. Whatever runs as you can answer yes, too; `--yes` gives it nothing that it lacks.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from mcpguard.audit.record import visible
from mcpguard.cli import client, hostsfound
from mcpguard.cli.hostwrap import backups_, diff_, unwrap_, wrap_
from mcpguard.cli.main import FAILED, exit_code
from mcpguard.errors import DaemonError, GuardError, TrustError
from mcpguard.hosts.catalogue import KnownHost, likely
from mcpguard.identity.enrolment import (
    Enrolled,
    EnrolledFile,
    concerns,
    encode_one,
    is_name,
    propose,
    succeed,
)
from mcpguard.identity.facts import FileFacts, HostFacts, PeerFacts
from mcpguard.identity.statement import format_time
from mcpguard.model import Grade, JsonObject, how_many
from mcpguard.system.executables import describe, kind_of
from mcpguard.system.kernel import Kernel
from mcpguard.system.ownhosts import titles


class Desk:
    """What the verbs speak to: the daemon. Another one may be handed over as click's `obj`."""

    def __init__(
        self,
        request: Callable[[JsonObject], JsonObject],
        ensure: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self.request = request
        self.ensure = ensure
        self.now = now

    def moment(self) -> str:
        """The time now, RFC 3339."""
        return format_time(dt.datetime.fromtimestamp(self.now(), dt.UTC))


class Connected(msgspec.Struct, frozen=True):
    """The host of one connection, as the daemon tells of it (`daemon.enrolments.connected`)."""

    id: str
    server: str
    pid: int
    grade: str
    reasons: tuple[str, ...]
    host: str
    sentence: str
    facts: HostFacts


class _Reply(msgspec.Struct, frozen=True):
    enrolled: tuple[Enrolled, ...]
    connected: tuple[Connected, ...]


@click.group()
def host() -> None:
    """Agent hosts, such as Claude Code or VS Code: trust them, and put mcpguard before their servers."""


for _verb in (wrap_, unwrap_, diff_, backups_):
    host.add_command(_verb)


@host.command()
@click.argument("name", required=False)
@click.option("--connection", metavar="ID", help="The host of this connection; mcpguard status lists them.")
@click.option(
    "--exe", metavar="PATH", help="A program that is not connected now; not one behind an interpreter."
)
@click.option("--unit", default="", metavar="GLOB", help="Ask for this systemd unit as well, from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def trust(name: str | None, connection: str | None, exe: str | None, unit: str, *, yes: bool) -> None:
    """Trust a host: shows what the kernel says of it, and asks once.

    Policy can say who = ["host:NAME"] then. Without NAME, a known host suggests its own. For a host that was updated,
    the old digest and the new one are shown.
    """
    if name is not None and not is_name(name):
        raise click.UsageError("NAME: 1 to 64 of a-z 0-9 _ . -, a letter or digit first")
    if exe is not None and (connection is not None or unit):
        raise click.UsageError(
            "--exe is for a program that is not connected: without --connection and --unit"
        )
    with _errors_told():
        desk = _desk()
        if exe is not None:
            desk.ensure()
        reply = _hosts(desk)
        group = [_unconnected(exe)] if exe is not None else _chosen(reply, name, connection, may_ask=not yes)
        if group is None:
            return
        _say(
            *(_facts_in_words(group) if exe is None else _file_in_words("program", group[0].facts.executable))
        )
        _enrol(desk, reply, group[0], name or _name_for(group[0], reply.enrolled), unit, ask=not yes)


def _enrol(desk: Desk, reply: _Reply, found: Connected, name: str, unit: str, *, ask: bool) -> None:
    """Say what that changes, ask, and have the daemon write it down.

    Raises:
        GuardError: It cannot be recognised again, or the daemon refuses.
    """
    new = propose(name, found.facts, Grade[found.grade], desk.moment(), unit)
    _say(*_compared(next((one for one in reply.enrolled if one.name == name), None), new))
    if ask and not click.confirm(f"Trust this program as host:{name}?", default=False):
        _say("nothing was changed")
        sys.exit(FAILED)
    desk.request({"verb": "host-trust", "name": name, "text": encode_one(new)})
    _say(f'trusted: policy can say who = ["host:{name}"]')
    if found.id:
        _say("connections that it has now are as they were; its next ones are recognised")


@host.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the trusted hosts, the connected ones that are not, and those that are found by their configurations."""
    with _errors_told():
        here = [one for one in hostsfound.found() if one.here]
        desk = _desk()
        desk.ensure()
        reply = _hosts(desk)
    if as_json:
        told = [one.told() for one in here]
        _print_json({"enrolled": reply.enrolled, "connected": reply.connected, "found": told})
        return
    for enrolled in reply.enrolled:
        _say(_enrolled_in_a_line(enrolled, reply.connected))
    strangers = _programs(one for one in reply.connected if not one.host)
    for group in strangers:
        _say(f"not trusted: {_in_a_line(group)}", *([f"  {group[0].sentence}"] if group[0].sentence else []))
    if not reply.enrolled and not strangers:
        _say("no host is trusted", f"next: {_START}")
    elif strangers:
        _say("next: mcpguard host trust")
    if here:
        _say("found by their configurations:", *(f"  {line}" for line in hostsfound.lines(here)))


@host.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, *, as_json: bool) -> None:
    """Show by what a trusted host is recognised, and which servers the configurations of a known one start."""
    with _errors_told():
        known = hostsfound.found((name,))
        desk = _desk()
        desk.ensure()
        reply = _hosts(desk)
        enrolled = next((one for one in reply.enrolled if one.name == name), None)
        if enrolled is None and not known:
            raise _unknown(name, reply.enrolled)
        mine = [
            one for one in reply.connected if one.host == name or (enrolled and concerns(one.facts, enrolled))
        ]
        if as_json:
            found = known[0].told() if known else None
            _print_json({"host": enrolled, "connected": mine, "found": found})
            return
        _say(*(_enrolled_in_words(enrolled) if enrolled else [f"{name}, {known[0].title}, is not trusted"]))
        for one in mine:
            state = "recognised" if one.host == name else "not recognised"
            _say(f"connection {one.id} to {one.server}: pid {one.pid}, {one.grade}, {state}")
            _say(*([f"  {one.sentence}"] if one.sentence else []))
        _say(*(line for one in known for line in hostsfound.in_words(one)))


@host.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(name: str, *, yes: bool) -> None:
    """Trust a host no longer. What it is connected to stays as it is until it ends."""
    with _errors_told():
        desk = _desk()
        desk.ensure()
        _named(_hosts(desk).enrolled, name)
        if not yes and not click.confirm(f"Forget host:{name}?", default=False):
            _say("nothing was changed")
            sys.exit(FAILED)
        desk.request({"verb": "host-forget", "name": name})
        _say(f"forgotten: no host is {name} from now on")


_START = (
    "start a server through mcpguard run from the host, then: mcpguard host trust; or name the program: "
    "mcpguard host trust NAME --exe PATH"
)


# --- to choose ------------------------------------------------------------------------------------------


def _chosen(
    reply: _Reply, name: str | None, connection: str | None, *, may_ask: bool
) -> list[Connected] | None:
    """The connections of the program that is meant; None if there is nothing to do.

    Raises:
        GuardError: No host is connected.
        TrustError: There is no such connection.
    """
    if connection is not None:
        found = [one for one in reply.connected if one.id == connection]
        if not found:
            raise TrustError(f"there is no connection {connection[:64]!a}", hint="mcpguard status lists them")
        return found
    if not reply.connected:
        raise GuardError("no host is connected", hint=_START)
    groups = _programs(_meant(reply, name))
    if not groups:
        _say(*(f"trusted already: {_in_a_line(group)}" for group in _programs(reply.connected)))
        return None
    if len(groups) == 1:
        return groups[0]
    for number, group in enumerate(groups, 1):
        _say(f"{number}  {_in_a_line(group)}")
    if not may_ask:
        raise click.UsageError("several hosts are connected: name one with --connection ID")
    number = click.prompt("Which one?", type=click.IntRange(1, len(groups)))
    return groups[number - 1]


def _meant(reply: _Reply, name: str | None) -> list[Connected]:
    """Without a name, the hosts that nobody is known by; else those where the one of that name is, or all others."""
    strangers = [one for one in reply.connected if not one.host]
    if name is None:
        return strangers
    known = [one for one in reply.enrolled if one.name == name]
    there = [one for one in reply.connected if any(concerns(one.facts, host) for host in known)]
    return there or strangers


def _programs(
    connected: Iterator[Connected] | list[Connected] | tuple[Connected, ...],
) -> list[list[Connected]]:
    """Connections by the program that is behind them."""
    groups: dict[tuple[object, ...], list[Connected]] = {}
    for one in connected:
        facts = one.facts
        files = [
            (file.path, file.device, file.inode, file.digest)
            for file in (facts.executable, facts.script)
            if file
        ]
        key = (tuple(files), facts.label, one.grade, () if files else (one.id,))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _name_for(found: Connected, enrolled: tuple[Enrolled, ...]) -> str:
    """The name that it had before it changed, or that a known host has.

    Raises:
        UsageError: It has none.
    """
    before = next((one.name for one in enrolled if concerns(found.facts, one)), None)
    known = _likely(found.facts)
    if before or known:
        return before or (known.ident if known else "")
    raise click.UsageError("no known host is found there: name it with mcpguard host trust NAME")


def _likely(facts: HostFacts) -> KnownHost | None:
    if facts.executable is None:
        return None
    return likely(facts.executable.path, facts.script.path if facts.script else "")


def _unconnected(path: str) -> Connected:
    """A program as it would be if it were connected, as far as its file tells.

    Raises:
        TrustError: It is no native program, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            file = describe(Kernel(), descriptor)
            digest = _digest(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise TrustError(f"{path} cannot be described: {reason.lower()}", hint=_BY_CONNECTING) from error
    facts = HostFacts(
        shim=PeerFacts(0, os.geteuid(), os.getegid(), pinned=False),
        uid=os.geteuid(),
        pinned=True,  # these two are asked of the process when there is one
        alone=True,
        program=kind_of(file.path),
        executable=msgspec.structs.replace(file, digest=digest),
    )
    return Connected("", "", 0, Grade.G0.name, (), "", "", facts)


def _digest(descriptor: int) -> str:
    """SHA-256 of a native program.

    Raises:
        ValueError: It is something else.
        OSError: It cannot be read.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ValueError("it is not a file")
    with Path(f"/proc/self/fd/{descriptor}").open("rb") as stream:
        if stream.read(len(_ELF)) != _ELF:
            raise ValueError("it is not a native program")
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


_ELF = b"\x7fELF"
_BY_CONNECTING = "start a server through mcpguard run from the host, then: mcpguard host trust NAME"


# --- in words -------------------------------------------------------------------------------------------


def _facts_in_words(group: list[Connected]) -> list[str]:
    """What the kernel says of a host, one fact a line."""
    found, facts = group[0], group[0].facts
    known = _likely(facts)
    lines = [f"process  pid {facts.pid} of uid {facts.uid}, which calls itself {facts.name or 'nothing'}"]
    lines += [f"likely   {known.title}, by its path"] if known else []
    lines += _file_in_words("program", facts.executable)
    lines += _file_in_words("script", facts.script)
    ends = "both ends" if facts.holds_both else "one end"
    parent = "the direct parent" if facts.is_parent else "not the direct parent"
    lines.append(f"stdio    {facts.stdin}, {ends} in one process, {parent}")
    lines.append(f"unit     {facts.unit or 'none'}")
    lines.append(f"label    {facts.label or 'none'}{' (enforced)' if facts.confined else ''}")
    lines += [f"signed   by {facts.team} as {facts.signing}"] if facts.team else []
    lines += [f"traced   by pid {facts.tracer}: what it does may be another's will"] if facts.tracer else []
    lines += [f"injected {sign}" for sign in facts.injected]
    lines += [f"grade    {found.grade}", *(f"because  {reason}" for reason in found.reasons)]
    lines += [f"doubt    {doubt}" for doubt in facts.doubts]
    lines += [f"note     {found.sentence}"] if found.sentence else []
    return [*lines, f"uses     {', '.join(f'{one.server} ({one.id})' for one in group)}"]


def _file_in_words(what: str, file: FileFacts | None) -> list[str]:
    if file is None:
        return [f"{what:<8} not known"] if what == "program" else []
    gone = ", replaced while it runs" if file.deleted else ""
    return [
        f"{what:<8} {file.path}{gone}",
        f"  owner  uid {file.owner}; {_writers(writable=file.writable)}",
        f"  sha256 {file.digest or 'not taken'}{f' ({file.doubt})' if file.doubt else ''}",
    ]


def _writers(*, writable: bool) -> str:
    return "others than root can replace it" if writable else "only root can replace it"


def _compared(old: Enrolled | None, new: Enrolled) -> list[str]:
    """What an enrolment changes."""
    if old is None:
        return [f"it will be known by {_known_by(new)}"]
    if not old.same_program(new):
        return [f"{old.name} is another program until now:", *_enrolled_in_words(old)]
    lines = [f"{old.name} is trusted since {old.enrolled_at}"]
    after = succeed(old, new)
    for what, was, now in (
        ("program", old.executable, after.executable),
        ("script", old.script, after.script),
    ):
        if was and now and was.sha256 == now.sha256:
            lines.append(f"{what:<8} as it was")
        elif was and now:
            again = "  (it had this one before)" if now.sha256 in was.previous else ""
            lines += [
                f"{what:<8} changed",
                f"  old    {was.sha256 or 'none'}",
                f"  new    {now.sha256}{again}",
            ]
    return lines


def _known_by(enrolled: Enrolled) -> str:
    parts = [f"the path {enrolled.executable.pattern}", f"owner uid {enrolled.executable.owner}"]
    parts.append("its digest" if enrolled.executable.sha256 else "no digest, since only root can replace it")
    if enrolled.script:
        parts.append(f"the script {enrolled.script.pattern} with its digest, which is weak evidence")
    parts += [f"the {what} {value}" for what in ("unit", "label") if (value := getattr(enrolled, what))]
    if enrolled.team:
        parts.append(f"the signature of {enrolled.team}")
    return ", ".join(parts)


def _enrolled_in_words(enrolled: Enrolled) -> list[str]:
    lines = [f"{enrolled.name}, trusted since {enrolled.enrolled_at}, {enrolled.grade} then"]
    files: list[tuple[str, EnrolledFile | None]] = [
        ("program", enrolled.executable),
        ("script", enrolled.script),
    ]
    for what, file in files:
        if file is None:
            continue
        lines += [
            f"{what:<8} {file.pattern}",
            f"  owner  uid {file.owner}; {_writers(writable=file.writable)}",
            f"  sha256 {file.sha256 or 'none'}",
            *(f"  before {digest}" for digest in file.previous),
        ]
    lines += [f"{what:<8} {value}" for what in ("unit", "label") if (value := getattr(enrolled, what))]
    if enrolled.team:
        lines.append(f"signed   by {enrolled.team} as {enrolled.signing}")
    return lines


def _enrolled_in_a_line(enrolled: Enrolled, connected: tuple[Connected, ...]) -> str:
    now = sum(one.host == enrolled.name for one in connected)
    script = f" running {enrolled.script.pattern}" if enrolled.script else ""
    count = how_many(now, "connection")
    return f"{enrolled.name}  {enrolled.executable.pattern}{script}  {enrolled.grade}, {count}"


def _in_a_line(group: list[Connected]) -> str:
    found = group[0]
    facts = found.facts
    known = _likely(facts)
    path = facts.executable.path if facts.executable else "a program that is not known"
    script = f" running {facts.script.path}" if facts.script else ""
    title = f", likely {known.title}" if known else ""
    name = f" as {found.host}" if found.host else ""
    uses = ", ".join(f"{one.server} ({one.id})" for one in group)
    return f"{path}{script}{name}{title}, pid {facts.pid}, {found.grade}, uses {uses}"


# --- the daemon -----------------------------------------------------------------------------------------


def _desk() -> Desk:
    found = click.get_current_context().find_object(Desk)
    return found or Desk(client.request, client.ensure, time.time)


def _hosts(desk: Desk) -> _Reply:
    """Enrolled and connected hosts.

    Raises:
        DaemonError: It does not run, or speaks otherwise.
        TrustError: Its list cannot be relied on.
    """
    try:
        return msgspec.convert(desk.request({"verb": "hosts"}), _Reply)
    except msgspec.ValidationError as error:
        raise DaemonError(
            "the mcpguard daemon tells of hosts in another way",
            hint="it is of another version: mcpguard daemon stop",
        ) from error


def _named(enrolled: tuple[Enrolled, ...], name: str) -> Enrolled:
    for one in enrolled:
        if one.name == name:
            return one
    raise TrustError(f"no host is trusted as {name[:64]!a}", hint="mcpguard host list")


def _unknown(name: str, enrolled: tuple[Enrolled, ...]) -> TrustError:
    near = difflib.get_close_matches(name, [*titles(), *(one.name for one in enrolled)], n=1)
    hint = f"did you mean {near[0]}?" if near else "mcpguard host list"
    return TrustError(f"no host is known or trusted as {name[:64]!a}", hint=hint)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """One sentence on standard error and an exit code; a path in it may hold anything."""
    try:
        yield
    except GuardError as error:
        click.echo(f"mcpguard: {visible(error.sentence())}", err=True)
        sys.exit(exit_code(error))


def _print_json(value: JsonObject) -> None:
    """One object on one line; text of others has JSON escapes."""
    click.echo(json.dumps({"v": 1, **msgspec.to_builtins(value)}))


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(visible(line))
