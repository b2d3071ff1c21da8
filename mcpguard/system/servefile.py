"""Where does the daemon listen beside its own sockets? `serve.toml`: what may stand in it, read strictly.

::

    version = 1
    [[listener]]
    name = "build"
    listen = "tls:guard.example:8443"     # or unix:/absolute/path; never plain TCP
    auth = ["cert"]                        # all of them: uid, cert, and what authenticators offer
    certificate = "/etc/guard/server.pem"
    key = "/etc/guard/server.key"
    client_ca = "/etc/guard/clients.pem"

Rule 1. What is not understood is an error with its line; then no listener at all is opened, and that is said.
Rule 2. Without this file nothing listens. It is read when the daemon starts and when a person says so, never because
it was saved: an agent that can write files must not open a door with it.

Not here: whether the files that are named can be used (`system.tlsfiles`), whether there is a server of that name.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import Json, JsonObject
from mcpguard.policy.lines import DEPTH, scan
from mcpguard.policy.lines import Path as KeyPath
from mcpguard.policy.reading import Reader, found
from mcpguard.system.files import intruder, open_entry, repair

FILE: Final = "serve.toml"
UID: Final = "uid"
CERT: Final = "cert"
REGISTRY: Final = "registry:"
"""What a certificate of the registry begins with; its name follows."""
HTTP: Final = "http"
NDJSON: Final = "ndjson"
_KEYS: Final = (
    "name", "listen", "auth", "speak", "server", "uids", "certificate", "key", "client_ca", "hosts", "origins", "url",
    "recheck",
)  # fmt: skip
_TLS_KEYS: Final = ("certificate", "key", "client_ca")
PLUGIN: Final = "plugin:"
"""What begins a kind that a plug-in checks: `plugin:NAME`."""
_KIND: Final = re.compile(r"uid|cert|jwt|apikey|plugin:[a-z0-9][a-z0-9_.-]{0,63}")
_HOST: Final = re.compile(r"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::[0-9]{1,5})?")
_ORIGIN: Final = re.compile(rf"https?://{_HOST.pattern}")
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)")
_PATH_CHARS: Final = 4096
_WORDS: Final = 64


class Listen(msgspec.Struct, frozen=True):
    """One listener as it is configured.

    Attributes:
        name: What people call it; in records.
        path: Of a Unix socket; empty for TLS.
        host: Address that is bound, for TLS.
        port: Its port; 0 for one that the kernel chooses.
        auth: Kinds of credentials, all of which are required.
        speak: `http` or `ndjson`.
        server: The one server that is reached; empty for all that are registered, each at `/mcp/NAME`.
        uids: Users whose processes may connect to a Unix socket; empty for the daemon's own.
        certificate: File of the listener's certificate chain, PEM; or `registry:NAME`, one of the registry, which
            then vouches for clients, too.
        key: File of its private key, PEM.
        client_ca: File of the certificates that clients' certificates must lead to, PEM; empty if none are asked for.
        hosts: Values of `Host` under which the listener may be called, besides its own address.
        origins: Origins whose pages may call; none by default.
        url: How the listener is called from outside, for audiences; without a path.
        recheck: Credentials of open connections are checked again so often, seconds.
    """

    name: str
    path: str = ""
    host: str = ""
    port: int = 0
    auth: tuple[str, ...] = (UID,)
    speak: str = HTTP
    server: str = ""
    uids: tuple[int, ...] = ()
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    url: str = ""
    recheck: float = limits.RECHECK_SECONDS

    @property
    def registered(self) -> str:
        """The name of its certificate in the registry; empty if it is in a file."""
        return self.certificate.removeprefix(REGISTRY) if self.certificate.startswith(REGISTRY) else ""

    @property
    def tls(self) -> bool:
        """Whether it is a TLS listener; else it is a Unix socket."""
        return not self.path

    @property
    def address(self) -> str:
        """As it is written."""
        if self.path:
            return f"unix:{self.path}"
        return f"tls:[{self.host}]:{self.port}" if ":" in self.host else f"tls:{self.host}:{self.port}"


class ServeFile:
    """`serve.toml` in `directory`, which need not exist."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE

    def load(self) -> tuple[Listen, ...]:
        """The listeners; none if there is no file.

        Raises:
            ConfigError: It is not valid, cannot be read, or others may write to it.
        """
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._refused(error) from error
        try:
            if (descriptor := open_entry(directory, FILE)) is None:
                return ()
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                info = os.fstat(descriptor)
                if not stat.S_ISREG(info.st_mode):
                    raise ConfigError("expected a file, found something else", file=str(self.path))
                if who := intruder(info):
                    raise ConfigError(who, file=str(self.path), hint=repair(self.path, info))
                data = file.read(limits.SERVE_BYTES + 1)
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(directory)
        return parse(_decoded(data, str(self.path)), str(self.path))

    def _refused(self, error: OSError) -> ConfigError:
        return ConfigError((error.strerror or str(error)).lower(), file=str(self.path))


def parse(text: str, file: str) -> tuple[Listen, ...]:
    """The listeners that a text speaks of, in order; none if it is empty.

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
    return _Document(file, text).listeners(document)


class _Document(Reader):
    """Reads `serve.toml`."""

    def listeners(self, document: JsonObject) -> tuple[Listen, ...]:
        self.known(document, (), ("version", "listener"))
        if "version" not in document:
            raise self.missing((), "version", "version = 1")
        if type(document["version"]) is not int or document["version"] != 1:
            raise self.fault(("version",), f"expected 1, found {found(document['version'])}")
        tables = document.get("listener", [])
        if not isinstance(tables, list):
            raise self.fault(("listener",), "expected [[listener]]", "two brackets")
        if len(tables) > limits.LISTENERS:
            raise self.fault(
                ("listener", limits.LISTENERS), f"expected at most {limits.LISTENERS} listeners, found more"
            )
        made: dict[str, Listen] = {}
        for number, table in enumerate(tables):
            at = ("listener", number)
            each = self._listener(self.table(table, at), at)
            if each.name in made:
                message = f"expected another name, found {found(each.name)} twice"
                raise self.fault((*at, "name"), message)
            made[each.name] = each
        return tuple(made.values())

    def _listener(self, table: JsonObject, at: KeyPath) -> Listen:
        self.known(table, at, _KEYS)
        if "name" not in table:
            raise self.missing(at, "name", "a name")
        if "listen" not in table:
            raise self.missing(at, "listen", "an address")
        path, host, port = self._address(table["listen"], (*at, "listen"))
        speak = self.optional(
            table, at, "speak", lambda value, key: self.word(value, key, {HTTP: HTTP, NDJSON: NDJSON}), HTTP
        )
        made = Listen(
            name=self.name(table["name"], (*at, "name")),
            path=path,
            host=host,
            port=port,
            auth=self.optional(table, at, "auth", self._auth, (UID,) if path else (CERT,)),
            speak=speak,
            server=self.optional(table, at, "server", self.name, ""),
            uids=self.optional(table, at, "uids", self._uids, ()),
            certificate=self.optional(table, at, "certificate", self._certificate, ""),
            key=self.optional(table, at, "key", self._file, ""),
            client_ca=self.optional(table, at, "client_ca", self._file, ""),
            hosts=self.optional(table, at, "hosts", self._hosts, ()),
            origins=self.optional(table, at, "origins", self._origins, ()),
            url=self.optional(table, at, "url", self._url, ""),
            recheck=self.optional(table, at, "recheck", self.duration, limits.RECHECK_SECONDS),
        )
        self._fits(made, table, at)
        return made

    def _fits(self, made: Listen, table: JsonObject, at: KeyPath) -> None:
        """Refuse keys that do not go together."""
        if made.speak == NDJSON and not made.server:
            raise self.missing(at, "server", "the one server that an ndjson listener reaches")
        if made.speak == NDJSON and ("origins" in table or "hosts" in table):
            raise self.fault((*at, "speak"), "expected http where origins or hosts are given, found ndjson")
        if not made.tls:
            for key in _TLS_KEYS:
                if key in table:
                    raise self.fault((*at, key), "expected it with tls: only, found unix:")
            if CERT in made.auth:
                raise self.fault((*at, "auth"), 'expected "cert" with tls: only, found unix:')
            return
        self._certified(made, table, at)

    def _certified(self, made: Listen, table: JsonObject, at: KeyPath) -> None:
        """Likewise, of a TLS listener."""
        if UID in made.auth or made.uids:
            key = "uids" if made.uids else "auth"
            raise self.fault((*at, key), "expected user ids with unix: only, found tls:", 'use "cert"')
        if made.registered:
            for key in ("key", "client_ca"):
                if key in table:
                    raise self.fault((*at, key), "expected it with a certificate in a file only")
            return
        if CERT in made.auth and not made.client_ca:
            raise self.missing(at, "client_ca", 'the CA of client certificates, since auth has "cert"')
        for key, value in (("certificate", made.certificate), ("key", made.key)):
            if not value:
                raise self.missing(at, key, "a PEM file, as TLS needs it")

    def _address(self, value: Json, at: KeyPath) -> tuple[str, str, int]:
        """Path, host and port."""
        text = self.text(value, at, "an address", _PATH_CHARS)
        scheme, _, rest = text.partition(":")
        if scheme == "unix":
            if not rest.startswith("/") or not rest.isprintable() or rest.startswith("//"):
                raise self.fault(at, f"expected unix: and an absolute path, found {found(text)}")
            return rest, "", 0
        if scheme == "tcp":
            raise self.fault(
                at,
                "expected unix:PATH or tls:HOST:PORT, found tcp:, which shows credentials and calls to everybody on "
                "the way",
                "use tls:HOST:PORT with a certificate, or unix:PATH and ssh -L",
            )
        host, colon, port = rest.rpartition(":")
        if scheme != "tls" or not colon or not port.isdecimal() or not port.isascii() or int(port) > 65535:
            raise self.fault(at, f"expected unix:PATH or tls:HOST:PORT, found {found(text)}")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not _HOST.fullmatch(host) and not _is_address(bare):
            raise self.fault(at, f"expected a host name or an address, found {found(host)}")
        return "", bare, int(port)

    def _auth(self, value: Json, at: KeyPath) -> tuple[str, ...]:
        words = self.list(value, at, "kinds of credentials", '["cert"]')
        for number, word in enumerate(words):
            if not isinstance(word, str) or not _KIND.fullmatch(word):
                raise self.fault(
                    (*at, number), f"expected uid, cert, apikey, jwt or plugin:NAME, found {found(word)}"
                )
        if words and all(str(word).startswith(PLUGIN) for word in words):
            raise self.fault(
                at, "expected one of uid, cert, apikey and jwt beside plugin:NAME, which only adds to them"
            )
        return tuple(dict.fromkeys(words))

    def _uids(self, value: Json, at: KeyPath) -> tuple[int, ...]:
        numbers = self.list(value, at, "user ids", "[1000]")
        for number, uid in enumerate(numbers):
            if type(uid) is not int or not 0 <= uid < 65534:
                raise self.fault((*at, number), f"expected a user id from 0 to 65533, found {found(uid)}")
        return tuple(dict.fromkeys(numbers))

    def _file(self, value: Json, at: KeyPath) -> str:
        name = self.text(value, at, "a path", _PATH_CHARS)
        if not name.startswith("/"):
            raise self.fault(at, f"expected an absolute path, found {found(name)}")
        return name

    def _certificate(self, value: Json, at: KeyPath) -> str:
        if isinstance(value, str) and value.startswith(REGISTRY):
            return REGISTRY + self.name(value.removeprefix(REGISTRY), at)
        return self._file(value, at)

    def _hosts(self, value: Json, at: KeyPath) -> tuple[str, ...]:
        return self._texts(value, at, "hosts", "guard.example:8443", _HOST)

    def _origins(self, value: Json, at: KeyPath) -> tuple[str, ...]:
        return self._texts(value, at, "origins", "https://app.example", _ORIGIN)

    def _texts(
        self, value: Json, at: KeyPath, what: str, example: str, form: re.Pattern[str]
    ) -> tuple[str, ...]:
        texts = self.list(value, at, what, f'["{example}"]')
        if len(texts) > _WORDS:
            raise self.fault(at, f"expected at most {_WORDS} {what}, found {len(texts)}")
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not form.fullmatch(text):
                raise self.fault(
                    (*at, number), f"expected one like {example}, in lower case, found {found(text)}"
                )
        return tuple(dict.fromkeys(texts))

    def _url(self, value: Json, at: KeyPath) -> str:
        text = self.text(value, at, "a URL", _PATH_CHARS)
        if not _ORIGIN.fullmatch(text) or not text.startswith("https://"):
            raise self.fault(at, f"expected https://HOST:PORT without a path, found {found(text)}")
        return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _decoded(data: bytes, file: str) -> str:
    if len(data) > limits.SERVE_BYTES:
        raise ConfigError(f"expected at most {limits.SERVE_BYTES} bytes, found more", file=file)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("expected UTF-8, found other bytes", file=file, line=line) from error
