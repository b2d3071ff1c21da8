"""What `mcpguard doctor` looks at: one function a check, each with findings and what to do about them.

A check asks and never changes; what can be mended without asking a person is a command of its own (`mend`), run by
`doctor --fix`.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from mcpguard import __version__
from mcpguard.audit.chain import State
from mcpguard.audit.record import parse_line
from mcpguard.cli import client
from mcpguard.cli.checked import Finding, bad, note, ok
from mcpguard.cli.listenercheck import listeners
from mcpguard.cli.scan import here
from mcpguard.cli.secretcheck import vault
from mcpguard.cli.servicecheck import service
from mcpguard.cli.signer import key_files
from mcpguard.errors import ConfigError, DaemonError, GuardError, JournalError, TrustError
from mcpguard.hosts.places import Scope
from mcpguard.model import how_many
from mcpguard.system import configfile, journalcheck, journalfiles, paths
from mcpguard.system.decoy import Result, decoys
from mcpguard.system.hostfiles import HostFile
from mcpguard.system.keyfiles import backend_name, desktop_keyring
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.program import stable_program
from mcpguard.system.wrapstore import WrapStore

_AHEAD: Final = 300.0
"""A log may be so many seconds ahead of the clock before the clock is doubted."""
_WHOLE: Final = 64 * 1024 * 1024
"""A longer log is not verified here, bytes."""
_DESKTOP_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
"""What programs get that a desktop starts: there `npx` and `uvx` of a home are not found."""
_MANAGED: Final = {
    "etc/claude-code/managed-settings.json": ("Claude Code", ("allowedMcpServers", "deniedMcpServers")),
    "Library/Application Support/ClaudeCode/managed-settings.json": (
        "Claude Code",
        ("allowedMcpServers", "deniedMcpServers"),
    ),
    "etc/codex/requirements.toml": ("Codex", ("mcp_servers",)),
}


def program() -> Iterator[Finding]:
    """The path that configurations name."""
    try:
        path = stable_program()
    except GuardError as error:
        yield bad("program", error.message, error.hint)
        return
    if shutil.which("mcpguard", path=_DESKTOP_PATH):
        yield ok("program", f"{path}, on the PATH of programs that a desktop starts, too")
    else:
        yield ok("program", f"{path}, which configurations name in full: a desktop's PATH does not have it")


def directories() -> Iterator[Finding]:
    """Sockets, state and log belong to this user alone."""
    for path in (paths.runtime_dir(), paths.state_dir(), paths.audit_dir(), paths.policy_dir()):
        try:
            info = path.lstat()
        except FileNotFoundError:
            continue
        if info.st_uid != os.geteuid():
            yield bad(
                "owner", f"{path} belongs to uid {info.st_uid}", f"remove it, or: chown {os.geteuid()} {path}"
            )
        elif stat.S_IMODE(info.st_mode) & 0o077:
            mode = f"{stat.S_IMODE(info.st_mode):04o}"
            mend = functools.partial(path.chmod, 0o700)
            yield bad("owner", f"{path} is open to others (mode {mode})", f"chmod 700 {path}", mend)
        else:
            yield ok("owner", f"{path} is yours alone")


def daemon() -> Iterator[Finding]:
    """It runs, is of this version, and can record."""
    try:
        status = client.request({"verb": "status"})
    except DaemonError as error:
        yield note("daemon", error.message, "it starts with the first server")
        return
    if status["version"] != __version__:
        yield bad(
            "daemon", f"it is version {status['version']}, and this is {__version__}", "mcpguard daemon stop"
        )
    elif failure := status["audit"]["failure"]:
        yield bad(
            "daemon",
            f"nothing can be recorded, so nothing passes: {failure}",
            "make room, or see the log: mcpguard daemon logs",
        )
    else:
        yield ok(
            "daemon", f"version {status['version']}, {how_many(len(status['connections']), 'connection')}"
        )


def clock() -> Iterator[Finding]:
    """It does not go back: expiry of what is trusted depends on it."""
    try:
        lines, _, _ = journalfiles.last(paths.audit_dir(), 1)
        newest = datetime.fromisoformat(parse_line(lines[-1]).time).timestamp()
    except (JournalError, IndexError, ValueError):
        return
    ahead = newest - time.time()
    if ahead > _AHEAD:
        yield bad(
            "clock", f"the log has a record from {ahead:.0f} seconds ahead of the clock", "set the clock"
        )
    else:
        yield ok("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC, after the newest record")


def policy() -> Iterator[Finding]:
    """The one that was applied can be read, and is the file that it came from."""
    try:
        current = PolicyStore(paths.policy_dir()).current()
    except GuardError as error:
        yield bad("policy", error.sentence(), "mcpguard policy apply FILE")
        return
    if current is None:
        yield note(
            "policy",
            "none is in force: everything is recorded, nothing is refused",
            "mcpguard policy suggest",
        )
    else:
        yield ok(
            "policy",
            f"{current[0].source}, {current[1].mode.value}, {how_many(len(current[1].rules), 'rule')}",
        )


def chain() -> Iterator[Finding]:
    """The log is one unbroken chain."""
    directory = paths.audit_dir()
    try:
        segments = journalfiles.segments(directory)
        if sum(path.stat().st_size for path in segments) > _WHOLE:
            yield note(
                "audit",
                f"{how_many(len(segments), 'file')}, which takes a while to verify",
                "mcpguard audit verify",
            )
            return
        report = journalcheck.check(directory).report
    except JournalError as error:
        yield note("audit", error.message)
        return
    if report.state is State.TAMPERED:
        yield bad("audit", f"{report.file}:{report.line}: {report.problem}", "mcpguard audit verify")
    else:
        yield ok("audit", f"{report.records} records form one unbroken chain")


def configurations() -> Iterator[Finding]:
    """Every configuration can be read, and what was wrapped still is."""
    records = WrapStore(paths.wrapped_dir()).load()
    for file in here(Path.cwd()):
        place = f"{file.path}:{file.line}" if file.line else str(file.path)
        if file.fault:
            yield bad(
                "configuration", f"{place}: {file.fault}", "mend the file; its host cannot read it either"
            )
            continue
        yield from _drift(file, str(file.found.target if file.found else file.path) in records)
        yield from _programs(file)


def _drift(file: HostFile, touched: bool) -> Iterator[Finding]:
    started = [server for server in file.servers if server.entry.starts]
    away = [server.entry.name for server in started if not server.wrapped]
    if file.place.old and started:
        yield note(
            "configuration",
            f"{file.path}: {file.place.title} reads {file.place.old} now",
            f"remove {file.path}",
        )
    elif away and touched:
        yield bad(
            "configuration",
            f"{file.path}: {', '.join(away)} started behind mcpguard once, or came since",
            "mcpguard host wrap --project ." if file.place.scope is Scope.PROJECT else "mcpguard host wrap",
        )
    elif file.place.scope is Scope.PROJECT and away:
        yield note(
            "configuration",
            f"{file.path} would start {', '.join(away)}",
            "mcpguard host wrap --project .",
        )
    elif away:
        yield note("configuration", f"{file.path}: {', '.join(away)} start without mcpguard", "mcpguard init")
    elif started:
        yield ok("configuration", f"{file.path}: {how_many(len(started), 'server')}, all behind mcpguard")


def _programs(file: HostFile) -> Iterator[Finding]:
    """What is to start mcpguard is there."""
    named = {server.entry.argv[0] for server in file.servers if server.wrapped}
    for path in sorted(named):
        if "/" in path and not os.access(path, os.X_OK):
            yield bad(
                "configuration",
                f"{file.path} starts {path}, which is not there",
                "mcpguard host unwrap, then: mcpguard host wrap",
            )
        elif "/" not in path and not shutil.which(path, path=_DESKTOP_PATH):
            yield note(
                "configuration",
                f"{file.path} starts {path} by its name, which a desktop does not find",
                "name it in full",
            )


def managed(root: Path = Path("/")) -> Iterator[Finding]:
    """Lists of an organisation that look at commands could refuse what mcpguard is put before."""
    for name, (title, keys) in _MANAGED.items():
        try:
            found = configfile.read(root / name)
        except ConfigError as error:
            yield note("managed", error.sentence())
            continue
        if found is not None and any(key.encode() in found.data for key in keys):
            yield note(
                "managed", f"{root / name} lists servers that {title} may start, by their command",
                "have the command with mcpguard added to it",
            )  # fmt: skip


def keyring() -> Iterator[Finding]:
    """Whether the keyring of the desktop can keep keys. It is not opened: that could ask for a password."""
    ringed = [kept.ident for kept in key_files().list() if kept.place == "keyring"]
    try:
        found = backend_name(desktop_keyring())
    except TrustError as error:
        if ringed:
            words = (
                f"{error.message}, and your key {', '.join(ringed)} is in one: nothing can be signed with it"
            )
            yield bad("keyring", words, "run mcpguard where that keyring is, or: mcpguard key generate")
        else:
            yield ok(
                "keyring", f"{error.message}: signing keys are kept in files, encrypted with a passphrase"
            )
        return
    kept = f"it keeps {', '.join(ringed)}" if ringed else "mcpguard key generate --keyring keeps a key there"
    yield ok("keyring", f"{found}: {kept}")


def impostors() -> Iterator[Finding]:
    """Who should be refused is refused: tried, by a child with the wrong identity."""
    try:
        client.ensure()
    except DaemonError as error:
        yield bad("impostor", f"no daemon to try it with: {error.message}", error.hint)
        return
    for decoy in decoys(paths.admin_socket(), paths.run_socket()):
        if decoy.result is Result.LET_IN:
            yield bad("impostor", f"{decoy.who} was let in: {decoy.words}", "please report this")
        elif decoy.result is Result.REFUSED:
            yield ok("impostor", f"{decoy.who} was refused: {decoy.words}")
        else:
            yield note("impostor", f"{decoy.who} could not be tried: {decoy.words}")


CHECKS: Final = (
    program,
    directories,
    daemon,
    service,
    listeners,
    clock,
    policy,
    chain,
    keyring,
    vault,
    configurations,
    managed,
    impostors,
)
"""In the order in which they are shown."""
