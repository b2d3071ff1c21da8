"""Where does the audit log flow to? `export.toml`: what may stand in it, read strictly, and changed by verbs.

::

    version = 1
    [[sink]]
    name = "siem"
    kind = "syslog"                       # syslog | journald | https | otlp
    to = "tls://logs.example.com:6514"    # udp:// tcp:// tls:// unix:// | https:// | http:// to this machine
    format = "ocsf"                       # json | ocsf | cef

Rule 1. What is not understood is an error with its line; then nothing at all is exported, and that is said.
Rule 2. Nothing leaves this machine in the clear over HTTP, and no certificate goes unchecked. Syslog over UDP and TCP
is in the clear by its nature, and whoever writes `udp` or `tcp` has said so.

Decided: *secrets are files*, named here and read when they are needed: this file can be shown to anybody.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from mcpguard import limits
from mcpguard.audit.syslog import FACILITIES, SHORTEST
from mcpguard.errors import ConfigError, PeerError
from mcpguard.model import Json, JsonObject, toml_text
from mcpguard.policy.lines import DEPTH, scan
from mcpguard.policy.lines import Path as KeyPath
from mcpguard.policy.reading import Reader, found
from mcpguard.system.files import intruder, open_entry, private_directory, repair, replace_file

FILE: Final = "export.toml"
JOURNALD: Final = "unix:///run/systemd/journal/socket"
SIGNALS: Final = ("logs", "metrics", "traces")
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
"""Hosts to which HTTP may go in the clear."""
_COMMON: Final = ("name", "kind", "to", "start")
_KEYS: Final = {
    "syslog": (*_COMMON, "format", "facility", "ca", "most"),
    "journald": _COMMON,
    "https": (*_COMMON, "format", "ca", "token_file"),
    "otlp": (*_COMMON, "ca", "token_file", "signals"),
}
_SCHEMES: Final = {
    "syslog": ("udp", "tcp", "tls", "unix"),
    "journald": ("unix",),
    "https": ("https",),
    "otlp": ("https", "http"),
}
_FORMATS: Final = {"syslog": ("json", "ocsf", "cef"), "https": ("json", "ocsf")}
_PATH_CHARS: Final = 4096
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)")


class Sink(msgspec.Struct, frozen=True):
    """Somewhere that the log flows to.

    Attributes:
        name: What people call it.
        kind: `syslog`, `journald`, `https` or `otlp`.
        to: Its address, a URL.
        format: Of the events.
        start: `beginning` or `now`: which record is the first.
        facility: Of syslog messages, a number.
        most: Longest syslog message, bytes.
        ca: File of certificates that count instead of the system's; empty for those of the system.
        token_file: File of a bearer token; empty for none.
        signals: What is sent to OpenTelemetry.
    """

    name: str
    kind: str
    to: str
    format: str = "json"
    start: str = "beginning"
    facility: int = FACILITIES["local0"]
    most: int = 65_507
    ca: str = ""
    token_file: str = ""
    signals: tuple[str, ...] = SIGNALS

    @property
    def url(self) -> SplitResult:
        """The address in its parts."""
        return urlsplit(self.to)


class SinkFile:
    """`export.toml` in `directory`, which need not exist."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE

    def load(self) -> tuple[Sink, ...]:
        """The sinks; none if there is no file.

        Raises:
            ConfigError: It is not valid, cannot be read, or others may write to it.
        """
        return parse(self.text(), str(self.path))

    def text(self) -> str:
        """What the file says; empty if there is none.

        Raises:
            ConfigError: As for `load`.
        """
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._refused(error) from error
        try:
            descriptor = open_entry(directory, FILE)
            if descriptor is None:
                return ""
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                info = os.fstat(descriptor)
                if not stat.S_ISREG(info.st_mode):
                    raise ConfigError("expected a file, found something else", file=str(self.path))
                if who := intruder(info):
                    raise ConfigError(who, file=str(self.path), hint=repair(self.path, info))
                return _decoded(file.read(limits.SINKS_BYTES + 1), str(self.path))
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(directory)

    def stamp(self) -> tuple[int, int, int]:
        """Changes when the file does; zeros if there is none."""
        try:
            info = self.path.lstat()
        except OSError:
            return 0, 0, 0
        return info.st_ino, info.st_size, info.st_mtime_ns

    def add(self, members: JsonObject) -> Sink:
        """Write a sink behind those that are there; comments stay.

        Raises:
            ConfigError: It is not valid; nothing has changed.
        """
        before = self.text()
        rows = "".join(f"{key} = {_toml(value)}\n" for key, value in members.items())
        after = (
            f"{before.rstrip()}\n\n[[sink]]\n{rows}" if before.strip() else f"version = 1\n\n[[sink]]\n{rows}"
        )
        sinks = parse(after, "the new sink" if not before.strip() else str(self.path))
        self._write(after)
        return sinks[-1]

    def remove(self, name: str) -> None:
        """Take a sink out, with the lines up to the next one.

        Raises:
            ConfigError: There is none of that name, or the file is not valid.
        """
        text = self.text()
        sinks = parse(text, str(self.path))
        at = next((number for number, sink in enumerate(sinks) if sink.name == name), None)
        if at is None:
            known = ", ".join(sink.name for sink in sinks) or "none"
            raise ConfigError(
                f"there is no sink {found(name)}", file=str(self.path), hint=f"known are: {known}"
            )
        lines = text.splitlines(keepends=True)
        begins = {path[1]: line - 1 for path, line in scan(text) if len(path) == 2 and path[0] == "sink"}
        end = begins.get(at + 1, len(lines))
        after = "".join([*lines[: begins[at]], *lines[end:]])
        parse(after, str(self.path))
        self._write(after)

    def _write(self, text: str) -> None:
        try:
            private_directory(self.directory)
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory, FILE, text.encode())
            finally:
                os.close(directory)
        except OSError as error:
            raise self._refused(error) from error
        except PeerError as error:
            raise ConfigError(error.message, file=str(self.path), hint=error.hint) from error

    def _refused(self, error: OSError) -> ConfigError:
        return ConfigError((error.strerror or str(error)).lower(), file=str(self.path))


def parse(text: str, file: str) -> tuple[Sink, ...]:
    """The sinks that a text speaks of, in order; none if it is empty.

    Raises:
        ConfigError: It is not valid; `line` says where.
    """
    if not text.strip():
        return ()
    for path, line in scan(text):
        if len(path) > DEPTH:
            raise ConfigError(f"expected at most {DEPTH} levels, found more", file=file, line=line)
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        place = _LINE.search(str(error))
        line = int(place[1]) if place else 0
        raise ConfigError(f"expected TOML: {_LINE.sub('', str(error))}", file=file, line=line) from error
    return _Document(file, text).sinks(document)


class _Document(Reader):
    """Reads `export.toml`."""

    def sinks(self, document: JsonObject) -> tuple[Sink, ...]:
        self.known(document, (), ("version", "sink"))
        if document.get("version") != 1 or isinstance(document.get("version"), bool):
            raise (
                self.missing((), "version", "version = 1")
                if "version" not in document
                else self.fault(("version",), f"expected 1, found {found(document['version'])}")
            )
        tables = document.get("sink", [])
        if not isinstance(tables, list):
            raise self.fault(("sink",), "expected [[sink]]", "two brackets")
        if len(tables) > limits.SINKS:
            raise self.fault(("sink", limits.SINKS), f"expected at most {limits.SINKS} sinks, found more")
        sinks: dict[str, Sink] = {}
        for number, table in enumerate(tables):
            sink = self._sink(self.table(table, ("sink", number)), ("sink", number))
            if sink.name in sinks:
                raise self.fault(
                    ("sink", number, "name"), f"expected another name, found {found(sink.name)} twice"
                )
            sinks[sink.name] = sink
        return tuple(sinks.values())

    def _sink(self, table: JsonObject, path: KeyPath) -> Sink:
        if "name" not in table:
            raise self.missing(path, "name", "a name")
        name = self.name(table["name"], (*path, "name"))
        kind = self.choice(table, path, "kind", {kind: kind for kind in _KEYS})
        self.known(table, path, _KEYS[kind])

        def choice(choices: tuple[str, ...]) -> Callable[[Json, KeyPath], str]:
            return lambda value, at: self.word(value, at, {word: word for word in choices})

        sink = Sink(
            name=name,
            kind=kind,
            to=self._address(table, path, kind),
            format=self.optional(table, path, "format", choice(_FORMATS.get(kind, ())), "json"),
            start=self.optional(table, path, "start", choice(("beginning", "now")), "beginning"),
            facility=self.optional(
                table,
                path,
                "facility",
                lambda value, at: self.word(value, at, FACILITIES),
                FACILITIES["local0"],
            ),
            most=self.optional(table, path, "most", self._most, 65_507),
            ca=self.optional(table, path, "ca", self._file, ""),
            token_file=self.optional(table, path, "token_file", self._file, ""),
            signals=self.optional(table, path, "signals", self._signals, SIGNALS),
        )
        if sink.ca and sink.url.scheme not in ("tls", "https"):
            raise self.fault(
                (*path, "ca"), f"expected an address with TLS beside it, found {sink.url.scheme}://"
            )
        return sink

    def _address(self, table: JsonObject, path: KeyPath, kind: str) -> str:
        if "to" not in table:
            if kind == "journald":
                return JOURNALD
            raise self.missing(path, "to", "an address")
        at = (*path, "to")
        value = self.text(table["to"], at, "an address", _PATH_CHARS)
        schemes = _SCHEMES[kind]
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            url = urlsplit(value)
            port = url.port
        except ValueError as error:
            raise self.fault(at, f"expected an address, found {found(value)}", str(error)) from error
        if url.scheme not in schemes or not value.isprintable() or " " in value:
            raise self.fault(at, f"expected an address with {expected}, found {found(value)}")
        if url.username or url.password or url.fragment:
            raise self.fault(
                at, "expected an address without a name, a password or a fragment", "use token_file"
            )
        if url.scheme == "unix":
            if url.netloc or not url.path.startswith("/"):
                raise self.fault(at, f"expected unix:/// and an absolute path, found {found(value)}")
            return value
        if not url.hostname or (kind == "syslog" and url.path not in ("", "/")):
            raise self.fault(at, f"expected a host, found {found(value)}")
        if kind == "syslog" and port is None and url.scheme != "tls":
            raise self.fault(at, f"expected a port, found {found(value)}", f"{value}:514")
        if url.scheme == "http" and url.hostname not in LOCAL:
            raise self.fault(at, "expected https:// for another machine, found http://")
        return value

    def _most(self, value: Json, path: KeyPath) -> int:
        number = self.number(value, path, limits.MIB)
        if number < SHORTEST:
            raise self.fault(path, f"expected at least {SHORTEST}, found {number}")
        return number

    def _file(self, value: Json, path: KeyPath) -> str:
        name = self.text(value, path, "a path", _PATH_CHARS)
        if not name.startswith("/"):
            raise self.fault(path, f"expected an absolute path, found {found(name)}")
        return name

    def _signals(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        items = self.list(value, path, "signals", '["logs"]')
        known = {word: word for word in SIGNALS}
        return tuple(dict.fromkeys(self.word(item, (*path, at), known) for at, item in enumerate(items)))


def _decoded(data: bytes, file: str) -> str:
    if len(data) > limits.SINKS_BYTES:
        raise ConfigError(f"expected at most {limits.SINKS_BYTES} bytes, found more", file=file)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("expected UTF-8, found other bytes", file=file, line=line) from error


def _toml(value: Json) -> str:
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
