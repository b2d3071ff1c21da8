"""What a manifest says of a server that somebody else runs: where it is, and how we know that it is the one.

Rule 1: a server on the network is known by a private CA or by the key of its certificate. The certificate
authorities of the operating system count only where a manifest says `ca = "system"`: any of them can vouch for
anybody, and so can a proxy whose root was installed beside them (security test 71).
Rule 2: a URL is what every reader takes it for: ASCII, lower-case scheme, no user, no fragment, no dot segments.
Rule 3: nothing of the host, nor of the environment, changes where a connection goes.

Not here: connecting, and checking what is at the other end (`daemon.dialling`).

Decided:
    *The CA certificates stand in the manifest*, not the path of a file: what is signed is what is trusted.
    *No plain HTTP*, not even to this machine, where every user can listen on a port; a Unix socket has an owner.
    *`http+unix:PATH:/URI`*, as nginx writes it; rejected: percent-encoded paths in the place of a host, which URL
    libraries disagree about.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from typing import Annotated, Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.egress import parse_network

SYSTEM: Final = "system"
"""As `ca`: the certificate authorities that the operating system trusts."""
REGISTRY: Final = "registry"
"""As `ca`: the authorities and pins of the certificate registry; `registry:NAME` as `client_cert`: one kept there."""
MCP: Final = "/mcp"
"""Path on a Unix socket, if none is given."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
_DOTS: Final = re.compile(r"(?:^|/)(?:\.|%2[eE]){1,2}(?:/|\?|$)")
_PIN: Final = re.compile(r"sha256[:/](?P<value>[0-9A-Fa-f]{64}|[A-Za-z0-9+/]{43}=)")
_PEM: Final = re.compile(
    r"\A(?:-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)+\Z"
)
_AGAIN: Final = "write https://HOST[:PORT]/PATH, http+unix:/PATH/OF/SOCKET[:/URI] or unix:/PATH/OF/SOCKET"

Short = Annotated[str, msgspec.Meta(max_length=limits.URI_CHARS)]


class Remote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A server that is connected to.

    Attributes:
        url: `https://...`, `http+unix:PATH[:/URI]` or `unix:PATH`.
        ca: Certificates of the authorities that may vouch for it, PEM; `system` for those of the operating system,
            `registry` for the certificate registry; empty where `pins` suffice.
        pins: SHA-256 of the public keys (SubjectPublicKeyInfo, DER) that its certificate may have, `sha256:HEX`;
            empty for any key.
        client_cert: File with our certificate, and those that it needs, PEM; `registry:NAME` for one of the
            certificate registry, which has its key; empty for none.
        client_key: File with its key.
        networks: Networks that it may be in, besides the public Internet.
        proxy: `http://HOST:PORT` of a proxy that tunnels; empty for none.
    """

    url: Short
    ca: Annotated[str, msgspec.Meta(max_length=limits.REMOTE_CA_CHARS)] = ""
    pins: Annotated[tuple[Short, ...], msgspec.Meta(max_length=limits.REMOTE_PINS)] = ()
    client_cert: Short = ""
    client_key: Short = ""
    networks: Annotated[tuple[Short, ...], msgspec.Meta(max_length=limits.REMOTE_NETWORKS)] = ()
    proxy: Short = ""

    @property
    def target(self) -> Target:
        """Where it is.

        Raises:
            TrustError: As `parse_target`.
        """
        return parse_target(self.url)

    @property
    def own(self) -> str:
        """Name of our certificate in the certificate registry; empty if none of it is shown."""
        kind, colon, name = self.client_cert.partition(":")
        return name if colon and kind == REGISTRY else ""

    @property
    def registered(self) -> bool:
        """Whether the certificate registry has a part in it."""
        return self.ca == REGISTRY or bool(self.own)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, hex: what a manifest vouches for."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Target(msgspec.Struct, frozen=True):
    """A URL in its parts.

    Attributes:
        scheme: `https`, `http+unix`, `unix`; `http` from `parse_web` only.
        host: Name or address, without brackets; empty for a Unix socket.
        port: TCP port; 0 for a Unix socket.
        path: Path and query of requests; empty for `unix`.
        socket: Path of the Unix socket; empty for TCP.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    socket: str = ""

    @property
    def literal(self) -> bool:
        """Whether the host is an address."""
        return bool(self.host) and _is_address(self.host)

    @property
    def request(self) -> str:
        """The URL of requests, as an HTTP client takes it."""
        if self.socket:
            return f"http://localhost{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{host}{'' if self.port == usual else f':{self.port}'}{self.path}"

    @property
    def shown(self) -> str:
        """What people are told: without path and query, which may hold what is secret."""
        return self.socket or (f"[{self.host}]" if ":" in self.host else self.host) + f":{self.port}"


def is_url(word: str) -> bool:
    """Whether a word where a command could stand is meant as the URL of a server."""
    return word.partition(":")[0] in ("http", "https", "http+unix", "unix") and ":" in word


def parse_target(url: str) -> Target:
    """The URL of a server.

    Raises:
        TrustError: It is none that is connected to.
    """
    scheme, colon, rest = url.partition(":")
    if scheme in ("unix", "http+unix") and colon:
        return _unix(scheme, rest)
    if scheme == "http":
        raise TrustError(
            f"{url[:120]!a} is plain HTTP, which everybody on the way can read and change",
            hint="give an https URL, or a Unix socket: http+unix:/PATH",
        )
    return _web(url, ("https",))


def parse_web(url: str) -> Target:
    """A URL with `https`, or with `http` for an address of this machine, which the egress policy must allow besides.

    Raises:
        TrustError: It is another.
    """
    target = _web(url, ("https", "http"))
    if target.scheme == "http" and not (target.literal and ipaddress.ip_address(target.host).is_loopback):
        raise TrustError(f"{url[:120]!a} is plain HTTP to another machine", hint="give an https URL")
    return target


def check_remote(remote: Remote) -> Target:
    """Where it is, if all of it makes sense together.

    Raises:
        TrustError: It does not.
    """
    target = parse_target(remote.url)
    for each in remote.networks:
        if parse_network(each) != each:
            raise TrustError(f"the network {each[:80]!a} is not written as {parse_network(each)}")
    for pin in remote.pins:
        if parse_pin(pin) != pin:
            raise TrustError(f"the pin {pin[:80]!a} is not written as {parse_pin(pin)}")
    if remote.ca not in ("", SYSTEM, REGISTRY) and not _PEM.fullmatch(remote.ca):
        raise TrustError("the CA is not a list of certificates in PEM", hint="give a file with nothing else")
    if remote.ca == REGISTRY and remote.pins:
        raise TrustError(
            "with the certificate registry, pins are kept there",
            hint="leave out --pin: mcpguard cert pin NAME FILE",
        )
    if remote.own and remote.client_key:
        raise TrustError("a certificate of the registry has its key there", hint="leave out --client-key")
    if not remote.own and bool(remote.client_cert) != bool(remote.client_key):
        raise TrustError("a client certificate and its key belong together", hint="give both or none")
    if remote.proxy:
        _web(f"{remote.proxy}/", ("http",))
    if target.socket and any((remote.ca, remote.pins, remote.client_cert, remote.networks, remote.proxy)):
        raise TrustError("a Unix socket has no certificates, networks or proxies", hint="leave them out")
    if not target.socket and not remote.ca and not remote.pins:
        raise TrustError(
            f"nothing says which certificate {target.shown} must have",
            hint="give its CA (--ca FILE, or --ca registry) or its key (--pin sha256:...); or --ca system, whose "
            "authorities can vouch for anybody",
        )
    return target


def parse_pin(text: str) -> str:
    """A pin as it is stored, `sha256:HEX`; base64 is read, too (as `curl --pinnedpubkey` has it, with `sha256//`).

    Raises:
        TrustError: It is no SHA-256.
    """
    found = _PIN.fullmatch(text.replace("sha256//", "sha256/"))
    if found is None:
        raise TrustError(f"{text[:80]!a} is no pin", hint="write sha256: and 64 hexadecimal digits")
    value = found["value"]
    if len(value) == 64:
        return f"sha256:{value.lower()}"
    try:
        return f"sha256:{base64.b64decode(value, validate=True).hex()}"
    except binascii.Error as error:
        raise TrustError(
            f"{text[:80]!a} is no pin", hint="write sha256: and 64 hexadecimal digits"
        ) from error


def _unix(scheme: str, rest: str) -> Target:
    path, _, uri = rest.partition(":") if scheme == "http+unix" else (rest, "", "")
    if not path.startswith("/") or "\x00" in path or len(path.encode()) > limits.UNIX_PATH_BYTES:
        raise TrustError(f"{rest[:120]!a} is no absolute path of a socket", hint=_AGAIN)
    if uri and (not _PATH.fullmatch(uri) or _DOTS.search(uri)):
        raise TrustError(f"{uri[:120]!a} is no path of a request", hint=_AGAIN)
    return Target(scheme, path=(uri or MCP) if scheme == "http+unix" else "", socket=path)


def _web(url: str, schemes: tuple[str, ...]) -> Target:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    found = _AUTHORITY.fullmatch(authority)
    if scheme not in schemes or found is None or len(url) > limits.URI_CHARS:
        raise TrustError(f"{url[:120]!a} is no URL that is connected to", hint=_AGAIN)
    host = found["host"].strip("[]")
    port = int(found["port"] or {"https": 443, "http": 80}[scheme])
    if port > 65535 or not (_is_address(host) or (_HOST.fullmatch(host) and not _numeric(host))):
        raise TrustError(f"{authority[:120]!a} is no name or address of a machine", hint=_AGAIN)
    if not _PATH.fullmatch(f"/{path}") or _DOTS.search(path):
        raise TrustError(f"{url[:120]!a} has a path that readers disagree about", hint=_AGAIN)
    return Target(scheme, host=host, port=port, path=f"/{path}" if slash else "/")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _numeric(host: str) -> bool:
    """Whether some resolvers take a name for an address: `0x7f.1`, `2130706433`, `127.1`."""
    last = host.rsplit(".", 1)[-1]
    return last.isdigit() or bool(re.fullmatch(r"0x[0-9a-f]*", last))
