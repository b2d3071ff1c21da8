"""Units of service managers: what is written where, and is what stands there still what was written?

The texts are in `units/`, with the places of this installation left open. Each file carries a line with the version
and the digest of its other lines. What some mcpguard has written and nobody touched since may be replaced and
removed; everything else is somebody's work and stays.

Not here: the managers themselves (`system.servicemanager`).
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import html
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.errors import ConfigError

_TEXTS: Final = Path(__file__).with_name("units")
_MARK: Final = re.compile(rb"^(?:# |<!-- )mcpguard (\S+) sha256:([0-9a-f]{64})[^\n]*\n", re.MULTILINE)
_STARTS: Final = re.compile(rb'^ExecStart=(?:"([^"\n]+)"|(\S+))', re.MULTILINE)
_NOTIFY_RELOAD: Final = 253
"""First systemd that knows Type=notify-reload."""
_PLAIN: Final = re.compile(r"[\w./+~:@=,% -]*", re.ASCII)
_MOST: Final = 64 * 1024


class Scope(enum.Enum):
    """Whose service it is, of which manager."""

    USER = "user"
    SYSTEM = "system"
    AGENT = "agent"


class Filling(msgspec.Struct, frozen=True):
    """What differs between installations.

    Attributes:
        version: Of mcpguard.
        program: Absolute path of mcpguard.
        runtime: Directory of the sockets; `%t` is systemd's word for that of the user.
        environment: Variables of the daemon.
        systemd: Version of the systemd that will read the units.
        log: Where a launchd job writes its errors.
    """

    version: str
    program: str
    runtime: str = "%t/mcpguard"
    environment: Mapping[str, str] = {}
    systemd: int = _NOTIFY_RELOAD
    log: str = "/dev/null"


class Unit(msgspec.Struct, frozen=True):
    """A file that belongs to a service: its place below that of the scope, and its text."""

    name: str
    data: bytes


class Standing(enum.Enum):
    """What stands where a unit belongs."""

    MISSING = "missing"
    CURRENT = "current"
    OLDER = "of another version or place of mcpguard"
    CHANGED = "changed since it was written"
    FOREIGN = "not written by mcpguard"


_UNITS: Final = {
    Scope.USER: ("mcpguard.socket", "mcpguard-admin.socket", "mcpguard.service"),
    Scope.SYSTEM: ("mcpguard-system.socket", "mcpguard-system-admin.socket", "mcpguard-system.service"),
}
_AGENT: Final = "io.github.mcpguard.agent.plist"


def units(scope: Scope, filling: Filling) -> list[Unit]:
    """The files of a service.

    Raises:
        ConfigError: A path has characters that a unit cannot carry.
    """
    for word in (filling.program, filling.runtime, filling.log, *filling.environment.values()):
        if not _PLAIN.fullmatch(word):
            raise ConfigError("expected letters, digits, spaces and . / _ + ~ : @ = , % -", file=ascii(word))
    if scope is Scope.AGENT:
        return [Unit(_AGENT, _agent(filling))]
    below = "" if scope is Scope.USER else "systemd/system/"
    found = [Unit(below + name, _unit(name, filling)) for name in _UNITS[scope]]
    if scope is Scope.SYSTEM:
        for kind in ("sysusers", "tmpfiles"):
            text = _text(f"systemd/mcpguard.{kind}")
            found.append(Unit(f"{kind}.d/mcpguard.conf", _commented(text, filling.version)))
    return found


def _unit(name: str, filling: Filling) -> bytes:
    """A unit of systemd. Values go to the end of a line; a command with spaces is quoted; % begins a specifier."""
    plain = filling.program.replace("%", "%%")
    runtime = filling.runtime if filling.runtime.startswith("%t/") else filling.runtime.replace("%", "%%")
    variables = [f'Environment="{k}={v.replace("%", "%%")}"' for k, v in filling.environment.items()]
    text = _filled(
        _text(f"systemd/{name}"), variables, PROGRAM=f'"{plain}"' if " " in plain else plain, RUNTIME=runtime
    )
    if filling.systemd < _NOTIFY_RELOAD:
        text = text.replace("Type=notify-reload\n", "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n")
    return _commented(text, filling.version)


def _agent(filling: Filling) -> bytes:
    variables = [
        f"\t\t<key>{html.escape(k)}</key>\n\t\t<string>{html.escape(v)}</string>"
        for k, v in filling.environment.items()
    ]
    text = _filled(
        _text(f"launchd/{_AGENT}"),
        variables,
        PROGRAM=html.escape(filling.program),
        RUNTIME=html.escape(filling.runtime),
        LOG=html.escape(filling.log),
    )
    head, tag, rest = text.partition("<plist ")
    mark = f"<!-- mcpguard {filling.version} sha256:{_digest(text.encode())} -->\n"
    return (head + mark + tag + rest).encode()


def _filled(text: str, variables: list[str], **values: str) -> str:
    text = text.replace("@ENVIRONMENT@\n", "".join(f"{line}\n" for line in variables))
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _text(name: str) -> str:
    return (_TEXTS / name).read_text(encoding="utf-8")


def _commented(text: str, version: str) -> bytes:
    mark = f"# mcpguard {version} sha256:{_digest(text.encode())}, written by mcpguard daemon install\n"
    return (mark + text).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- what stands there -------------------------------------------------------------------------------------


def written_by(data: bytes) -> str:
    """The version of mcpguard that wrote a file which nobody has touched since; empty for every other file."""
    mark = _MARK.search(data)
    if mark is None:
        return ""
    rest = data[: mark.start()] + data[mark.end() :]
    return mark[1].decode("ascii", "replace") if _digest(rest) == mark[2].decode() else ""


def program_of(data: bytes) -> str:
    """The program that a unit starts; empty if it starts none."""
    if found := _STARTS.search(data):
        return (found[1] or found[2]).decode("utf-8", "replace").replace("%%", "%")
    import plistlib  # noqa: PLC0415 (only who looks at a service of launchd pays for it)
    from xml.parsers.expat import ExpatError  # noqa: PLC0415

    try:
        words = plistlib.loads(data)["ProgramArguments"]
    except (ValueError, TypeError, KeyError, ExpatError):
        return ""
    return str(words[0]) if words else ""


def standing(directory: Path, unit: Unit) -> Standing:
    """What stands where a unit belongs."""
    data = found(directory / unit.name)
    if data is None:
        return Standing.MISSING
    if data == unit.data:
        return Standing.CURRENT
    if written_by(data):
        return Standing.OLDER
    return Standing.CHANGED if _MARK.search(data) else Standing.FOREIGN


def found(place: Path) -> bytes | None:
    """A file as it is; None if there is none. What is no plain file of a unit's size reads as foreign."""
    try:
        info = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode) or info.st_size > _MOST:
        return b""
    return place.read_bytes()


def write(directory: Path, unit: Unit) -> None:
    """Put a unit in its place, whole: what reads it sees the old one or the new one."""
    place = directory / unit.name
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
        os.fchmod(descriptor, 0o644)
        file.write(unit.data)
        file.flush()
        os.fsync(descriptor)
    new.rename(place)


def refuse_others(directory: Path, wanted: list[Unit]) -> None:
    """Refuse to replace or remove what is not as mcpguard has written it.

    Raises:
        ConfigError: A file is somebody else's, or was changed.
    """
    for unit in wanted:
        how = standing(directory, unit)
        if how in (Standing.CHANGED, Standing.FOREIGN):
            raise ConfigError(
                f"{how.value}: nothing was done",
                file=str(directory / unit.name),
                hint="keep your changes in a drop-in (systemctl edit) and move this file away",
            )


def remove(directory: Path, wanted: list[Unit]) -> list[Path]:
    """Remove units; which were there. Folders stay.

    Order: `refuse_others` was asked before.
    """
    gone = []
    for unit in wanted:
        with contextlib.suppress(FileNotFoundError):
            (directory / unit.name).unlink()
            gone.append(directory / unit.name)
    return gone
