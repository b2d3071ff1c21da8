"""How are peers beyond stdio recognised? `auth.toml`: what may stand in it, read strictly.

::

    version = 1

    [jwt.corp]                                   # tokens of one issuer, OpenID Connect or any other JWT
    issuer = "https://login.example.com/realms/main"
    audience = "https://guard.example.com/mcp"
    claims = ["groups"]                          # principals claim:groups=...
    roles = { admin = ["groups=mcp-admins"] }    # principal role:admin

    [introspection.corp]                         # opaque tokens, RFC 7662
    [plugin.badge]                               # daemon.plugins

Rule: what is not understood is an error with its line, and then nobody is let in: the file may name plug-ins that
everybody must pass.

Decided: *secrets are files*, named here: this file can be shown to anybody.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from mcpguard.credentials.jws import ALGORITHMS
from mcpguard.credentials.tokens import Rules
from mcpguard.errors import ConfigError
from mcpguard.model import Json, JsonObject
from mcpguard.policy.lines import DEPTH, scan
from mcpguard.policy.lines import Path as KeyPath
from mcpguard.policy.reading import Reader, found
from mcpguard.system.files import intruder, open_entry, repair

FILE: Final = "auth.toml"
BYTES: Final = 256 * 1024
PROVIDERS: Final = 64
LIST: Final = 256
_TEXT_CHARS: Final = 2048
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)")
_COMMON: Final = (
    "issuer", "audience", "leeway", "max_age", "max_lifetime", "scopes", "clients", "claims", "roles", "revoked",
    "servers", "tools", "dpop", "dpop_nonce",
)  # fmt: skip
_JWT: Final = (*_COMMON, "algorithms", "types", "untyped", "jwks_url", "ttl", "stale", "single_use")
_OPAQUE: Final = (*_COMMON, "url", "client_id", "client_secret_file", "cache")
_PLUGIN: Final = ("command", "entry_point", "env", "sees", "timeout", "always", "settings")
_SEES: Final = ("authorization", "certificate", "dpop", "method", "network", "uid", "url")
_DPOP: Final = ("required", "allowed", "off")
_CLAIM: Final = re.compile(r"[!-<>-~]{1,64}")
_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

Value = TypeVar("Value")


class Issuer(msgspec.Struct, frozen=True):
    """One `[jwt.NAME]`.

    Attributes:
        rules: What its tokens must say.
        jwks_url: Where its keys are; empty to ask its metadata.
        ttl: How long keys count without being looked at again, seconds.
        stale: How long they count while the issuer cannot be reached, seconds.
        nonce: Whether DPoP proofs need a nonce of ours.
    """

    rules: Rules
    jwks_url: str = ""
    ttl: float = 600.0
    stale: float = 86_400.0
    nonce: bool = False


class Opaque(msgspec.Struct, frozen=True):
    """One `[introspection.NAME]`.

    Attributes:
        rules: What its answers must say.
        url: The introspection endpoint.
        client_id: Our name there.
        secret_file: Absolute path of a file with our secret.
        cache: How long an answer counts at most, seconds.
        nonce: As in `Issuer`.
    """

    rules: Rules
    url: str
    client_id: str
    secret_file: str
    cache: float = 60.0
    nonce: bool = False


class Plugin(msgspec.Struct, frozen=True):
    """One `[plugin.NAME]`.

    Attributes:
        name: What principals of it begin with, behind `plugin:`.
        command: The program and its arguments; empty for an entry point.
        entry_point: Name in the group `mcpguard.authenticators`; empty for a program.
        env: Names of variables that a program gets beside `PATH`.
        sees: What it is told of a peer.
        timeout: How long it may take, seconds.
        always: Whether every peer must pass it, or only those of listeners that name it.
        settings: What else it is given at its start.
    """

    name: str
    command: tuple[str, ...] = ()
    entry_point: str = ""
    env: tuple[str, ...] = ()
    sees: tuple[str, ...] = ("network", "uid")
    timeout: float = 2.0
    always: bool = True
    settings: JsonObject = {}


class Auth(msgspec.Struct, frozen=True):
    """The whole file."""

    issuers: tuple[Issuer, ...] = ()
    opaque: tuple[Opaque, ...] = ()
    plugins: tuple[Plugin, ...] = ()


class AuthFile:
    """`auth.toml` in `directory`, which need not exist."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._directory = directory

    def load(self) -> Auth:
        """What the file says; nothing if there is none.

        Raises:
            ConfigError: It is not valid, cannot be read, or others may write to it.
        """
        try:
            data = self._read()
        except OSError as error:
            raise ConfigError((error.strerror or str(error)).lower(), file=str(self.path)) from error
        try:
            return parse(data.decode(), str(self.path))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError("expected UTF-8, found other bytes", file=str(self.path), line=line) from error

    def stamp(self) -> tuple[int, int, int]:
        """Changes when the file does; zeros if there is none."""
        try:
            info = self.path.lstat()
        except OSError:
            return 0, 0, 0
        return info.st_ino, info.st_size, info.st_mtime_ns

    def _read(self) -> bytes:
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            descriptor = open_entry(directory, FILE)
        finally:
            os.close(directory)
        if descriptor is None:
            return b""
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise ConfigError("expected a file, found something else", file=str(self.path))
            if who := intruder(info):
                raise ConfigError(who, file=str(self.path), hint=repair(self.path, info))
            data = file.read(BYTES + 1)
        if len(data) > BYTES:
            raise ConfigError(f"expected at most {BYTES} bytes, found more", file=str(self.path))
        return data


def parse(text: str, file: str) -> Auth:
    """What a text says; nothing if it is empty.

    Raises:
        ConfigError: It is not valid; `line` says where.
    """
    if not text.strip():
        return Auth()
    for path, line in scan(text):
        if len(path) > DEPTH:
            raise ConfigError(f"expected at most {DEPTH} levels, found more", file=file, line=line)
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        place = _LINE.search(str(error))
        line = int(place[1]) if place else 0
        raise ConfigError(f"expected TOML: {_LINE.sub('', str(error))}", file=file, line=line) from error
    return _Document(file, text).auth(document)


class _Document(Reader):
    """Reads `auth.toml`."""

    def auth(self, document: JsonObject) -> Auth:
        self.known(document, (), ("version", "jwt", "introspection", "plugin"))
        if type(document.get("version")) is not int or document["version"] != 1:
            raise (
                self.missing((), "version", "version = 1")
                if "version" not in document
                else self.fault(("version",), f"expected 1, found {found(document['version'])}")
            )
        issuers = self._all(document, "jwt", self._issuer)
        opaque = self._all(document, "introspection", self._opaque)
        seen: set[str] = set()
        for number, each in enumerate(issuers):
            if each.rules.issuer in seen:
                path = ("jwt", list(document["jwt"])[number], "issuer")
                raise self.fault(path, "expected another issuer, found one that stands twice")
            seen.add(each.rules.issuer)
        return Auth(issuers, opaque, self._all(document, "plugin", self._plugin))

    def _all(
        self, document: JsonObject, key: str, read: Callable[[str, JsonObject, KeyPath], Value]
    ) -> tuple[Value, ...]:
        tables = self.table(document.get(key, {}), (key,), f"write [{key}.NAME]")
        if len(tables) > PROVIDERS:
            raise self.fault((key,), f"expected at most {PROVIDERS}, found more")
        return tuple(
            read(self.name(name, (key, name)), self.table(table, (key, name)), (key, name))
            for name, table in tables.items()
        )

    def _issuer(self, name: str, table: JsonObject, path: KeyPath) -> Issuer:
        self.known(table, path, _JWT)
        rules = self._rules(name, table, path)
        single_use = self.optional(table, path, "single_use", self.flag, False)
        rules = msgspec.structs.replace(
            rules,
            algorithms=self.optional(table, path, "algorithms", self._algorithms, rules.algorithms),
            types=self.optional(table, path, "types", self._texts, rules.types),
            untyped=self.optional(table, path, "untyped", self.flag, "types" not in table),
            single_use=single_use,
        )
        return Issuer(
            rules,
            self.optional(table, path, "jwks_url", self._https, ""),
            self.optional(table, path, "ttl", self.duration, 600.0),
            self.optional(table, path, "stale", self.duration, 86_400.0),
            self.optional(table, path, "dpop_nonce", self.flag, False),
        )

    def _opaque(self, name: str, table: JsonObject, path: KeyPath) -> Opaque:
        self.known(table, path, _OPAQUE)
        for key, wanted in (
            ("url", "an https:// address"),
            ("client_id", "a name"),
            ("client_secret_file", "a path"),
        ):
            if key not in table:
                raise self.missing(path, key, wanted)
        return Opaque(
            self._rules(name, table, path),
            self._https(table["url"], (*path, "url")),
            self.text(table["client_id"], (*path, "client_id"), "a name", _TEXT_CHARS),
            self._file(table["client_secret_file"], (*path, "client_secret_file")),
            self.optional(table, path, "cache", self.duration, 60.0),
            self.optional(table, path, "dpop_nonce", self.flag, False),
        )

    def _rules(self, name: str, table: JsonObject, path: KeyPath) -> Rules:
        for key, wanted in (("issuer", "an https:// address"), ("audience", "a text, or a list of them")):
            if key not in table:
                raise self.missing(path, key, wanted)
        none: tuple[tuple[str, tuple[str, ...]], ...] = ()
        revoked: tuple[str, ...] = self.optional(table, path, "revoked", self._texts, ())
        return Rules(
            name=name,
            issuer=self._https(table["issuer"], (*path, "issuer")),
            audiences=self._texts(table["audience"], (*path, "audience")),
            leeway=self.optional(table, path, "leeway", self._leeway, 30.0),
            max_age=self.optional(table, path, "max_age", self.duration, 0.0),
            max_lifetime=self.optional(table, path, "max_lifetime", self.duration, 86_400.0),
            scopes=self.optional(table, path, "scopes", self._texts, ()),
            clients=self.optional(table, path, "clients", self._texts, ()),
            claims=self.optional(table, path, "claims", self._claims, ()),
            roles=self.optional(table, path, "roles", self._roles, none),
            revoked=frozenset(revoked),
            servers=self.optional(table, path, "servers", self._patterns, ()),
            tools=self.optional(table, path, "tools", self._patterns, ()),
            dpop=self.optional(table, path, "dpop", self._dpop, "allowed"),
        )

    def _plugin(self, name: str, table: JsonObject, path: KeyPath) -> Plugin:
        self.known(table, path, _PLUGIN)
        if ("command" in table) == ("entry_point" in table):
            raise self.fault(path, "expected either command or entry_point, found both or neither")
        if "env" in table and "command" not in table:
            raise self.fault((*path, "env"), "expected command beside it: an entry point has our environment")
        return Plugin(
            name,
            self.optional(table, path, "command", self._command, ()),
            self.optional(table, path, "entry_point", self._entry_point, ""),
            self.optional(table, path, "env", self._variables, ()),
            self.optional(table, path, "sees", self._sees, ("network", "uid")),
            self.optional(table, path, "timeout", self._timeout, 2.0),
            self.optional(table, path, "always", self.flag, True),
            self.optional(table, path, "settings", self.table, {}),
        )

    # --- values --------------------------------------------------------------------------------------------

    def _https(self, value: Json, path: KeyPath) -> str:
        text = self.text(value, path, "an https:// address", _TEXT_CHARS)
        try:
            url = urlsplit(text)
            good = url.scheme == "https" and bool(url.hostname) and not url.username and url.port != 0
        except ValueError:
            good = False
        if not good or "#" in text or " " in text or not text.isprintable() or text != text.strip():
            raise self.fault(
                path, f"expected an https:// address without # or a name in it, found {found(text)}"
            )
        return text

    def _file(self, value: Json, path: KeyPath) -> str:
        name = self.text(value, path, "a path", _TEXT_CHARS)
        if not name.startswith("/"):
            raise self.fault(path, f"expected an absolute path, found {found(name)}")
        return name

    def _texts(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        if isinstance(value, str):
            return (self.text(value, path, "a text", _TEXT_CHARS),)
        items = self.list(value, path, "texts", '["one"]')
        if len(items) > LIST:
            raise self.fault(path, f"expected at most {LIST}, found more")
        return tuple(self.text(each, (*path, at), "a text", _TEXT_CHARS) for at, each in enumerate(items))

    def _algorithms(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        names = self._texts(value, path)
        for each in names:
            if each.upper().startswith("HS") or each.lower() == "none":
                raise self.fault(
                    path,
                    f"expected signatures by private keys, found {found(each)}",
                    "which is never accepted",
                )
            if each not in ALGORITHMS:
                raise self.fault(path, f"expected some of {', '.join(ALGORITHMS)}, found {found(each)}")
        return names

    def _claims(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        names = self._texts(value, path)
        for each in names:
            if not _CLAIM.fullmatch(each):
                raise self.fault(path, f"expected names of claims without blanks and =, found {found(each)}")
        return names

    def _roles(self, value: Json, path: KeyPath) -> tuple[tuple[str, tuple[str, ...]], ...]:
        table = self.table(value, path, 'write roles = { admin = ["groups=mcp-admins"] }')
        made = []
        for role, wanted in table.items():
            if not _ROLE.fullmatch(role):
                raise self.fault((*path, role), f"expected the name of a role, found {found(role)}")
            texts = self._texts(wanted, (*path, role))
            for each in texts:
                name, sign, rest = each.partition("=")
                if not sign or not rest or not _CLAIM.fullmatch(name):
                    raise self.fault((*path, role), f"expected CLAIM=VALUE, found {found(each)}")
            made.append((role, texts))
        return tuple(made)

    def _patterns(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        return tuple(pattern.text for pattern in self.one_or_more(value, path))

    def _leeway(self, value: Json, path: KeyPath) -> float:
        seconds = self.duration(value, path)
        if seconds > 300:
            raise self.fault(path, f"expected at most 5m, found {found(value)}", "set the clocks instead")
        return seconds

    def _timeout(self, value: Json, path: KeyPath) -> float:
        seconds = self.duration(value, path)
        if seconds > 30:
            raise self.fault(path, f"expected at most 30s, found {found(value)}", "peers wait for it")
        return seconds

    def _dpop(self, value: Json, path: KeyPath) -> str:
        return self.word(value, path, {word: word for word in _DPOP})

    def _sees(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        known = {word: word for word in _SEES}
        items = self.list(value, path, "what it sees", '["network"]')
        return tuple(dict.fromkeys(self.word(each, (*path, at), known) for at, each in enumerate(items)))

    def _command(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        words = self._texts(value, path)
        if not words[0].startswith("/"):
            raise self.fault(path, f"expected an absolute path first, found {found(words[0])}")
        return words

    def _entry_point(self, value: Json, path: KeyPath) -> str:
        return self.text(value, path, "the name of an entry point", 128)

    def _variables(self, value: Json, path: KeyPath) -> tuple[str, ...]:
        names = self._texts(value, path)
        for each in names:
            if not _VARIABLE.fullmatch(each) or each.startswith(("MCPGUARD_", "LD_", "PYTHON")):
                raise self.fault(
                    path, f"expected names of variables that may be passed on, found {found(each)}"
                )
        return names
