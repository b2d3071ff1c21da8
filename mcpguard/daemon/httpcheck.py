"""What is asked of an HTTP request before anybody looks at its credential or its body.

Rule 1: a request that two readers could take for two different ones is refused: fields that come twice, a length and
an encoding, a target or a host that is not ours.
Rule 2: a page in a browser is no peer, unless its origin is named: DNS rebinding makes every page one of this
machine's (CVE-2025-66414, CVE-2025-66416). So `Host` has to be ours, and `Origin` none or one of those named.

Source: RFC 9110, RFC 9112; MCP basic/transports (2025-03-26 to 2026-07-28), Security warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from mcpguard.errors import GuardError
from mcpguard.system.servefile import Listen

METADATA: Final = "/.well-known/oauth-protected-resource"
"""Before the path of a server: where a client finds who gives tokens for it (RFC 9728)."""
_MCP: Final = "/mcp/"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 (what a listener may be bound to)
_ONCE: Final = frozenset({
    "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "authorization", "dpop",
    "origin", "expect", "last-event-id", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name",
})  # fmt: skip
"""Fields that may come once only; what begins with `mcp-param-` likewise."""


class Refusal(GuardError):
    """A request is not answered with what it asks for.

    Attributes:
        status: HTTP status.
        code: JSON-RPC code of the body.
        fields: Header fields of the answer.
        final: Whether the connection ends with it, since where the next request begins is not certain.
    """

    def __init__(
        self, status: int, message: str, *, code: int = -32600, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = dict(fields or {})
        self.final = status in (408, 413, 417)


def one_of_each(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower-case name.

    Raises:
        Refusal: One that may come once came twice, or is not text; or the body has a length and an encoding.
    """
    fields: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        try:
            name, value = name_bytes.decode("ascii").lower(), value_bytes.decode("ascii").strip(" \t")
        except UnicodeDecodeError:
            raise Refusal(400, "a header field has other characters than ASCII") from None
        if name in fields:
            if name in _ONCE or name.startswith("mcp-param-"):
                raise Refusal(400, f"the header field {name} came twice", code=-32020)
            value = f"{fields[name]}, {value}"
        if any(char < " " and char != "\t" for char in value):
            raise Refusal(400, f"the header field {name} has a control character")
        fields[name] = value
    if "content-length" in fields and "transfer-encoding" in fields:
        raise Refusal(400, "a request has Content-Length or Transfer-Encoding, not both")
    if "upgrade" in fields:
        raise Refusal(400, "a connection here is HTTP/1.1 and becomes nothing else")
    if fields.get("transfer-encoding", "chunked").lower() != "chunked":
        raise Refusal(400, "the only transfer encoding here is chunked")
    return fields


def server_of(target: str, listen: Listen) -> str:
    """The name of the server that a request target means.

    Raises:
        Refusal: The target is not `/mcp/NAME`.
    """
    if not target.startswith("/"):
        raise Refusal(421, "this is no proxy: a request target here is a path")
    name = target.removeprefix(_MCP)
    if listen.server and target == "/mcp":
        return listen.server
    if name == target or not _NAME.fullmatch(name):
        raise Refusal(404, "there is nothing here but /mcp/NAME, with the name of a registered server")
    if listen.server and name != listen.server:
        raise Refusal(404, f"there is no server {name!a} at this listener")
    return name


def metadata_url(url: str) -> str:
    """Where the protected-resource metadata of an absolute URL of ours is (RFC 9728, 3.1)."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{METADATA}{slash}{path}"


class Reachable:
    """Under which names a listener may be called, and by which pages.

    Args:
        listen: The listener.
        port: The port that it is bound to; 0 for a Unix socket.
    """

    def __init__(self, listen: Listen, port: int) -> None:
        hosts = set(listen.hosts)
        if not listen.tls:
            hosts |= {"localhost", "mcpguard"}
        else:
            shown = f"[{listen.host}]" if ":" in listen.host else listen.host
            names = [] if listen.host in _ANY else [shown]
            if listen.host in (*_LOOPBACK, "::1"):
                names += _LOOPBACK
            hosts |= {f"{name}:{port}" for name in names}
            if port == 443:
                hosts |= set(names)
        if listen.url:
            hosts.add(listen.url.partition("://")[2])
        self._hosts = frozenset(hosts)
        self._origins = frozenset(listen.origins)

    def require(self, fields: Mapping[str, str]) -> None:
        """Refuse a request that means another host, or that a page sends.

        Raises:
            Refusal: It does.
        """
        host = fields.get("host")
        if host is None:
            raise Refusal(400, "a request has to say which host it means")
        if host.lower() not in self._hosts:
            raise Refusal(
                421,
                "this listener is not called by that Host; name it under `hosts` in serve.toml if it is right",
            )
        origin = fields.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            raise Refusal(
                403, "pages of that Origin may not call here; `origins` in serve.toml names those that may"
            )


def accepts(fields: Mapping[str, str], *kinds: str) -> bool:
    """Whether an `Accept` field takes all of these media types."""
    taken: set[str] = set()
    for entry in fields.get("accept", "").split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not any(re.fullmatch(r"q=0(?:\.0*)?", parameter) for parameter in parameters):
            taken.add(kind)
    return all(kind in taken or "*/*" in taken or f"{kind.partition('/')[0]}/*" in taken for kind in kinds)


def is_json(fields: Mapping[str, str]) -> bool:
    """Whether the body is JSON in UTF-8, by its field: a form or a page can send other types without asking."""
    kind, *parameters = (part.strip().lower() for part in fields.get("content-type", "").split(";"))
    return kind == "application/json" and all(
        parameter.replace('"', "") in ("", "charset=utf-8") for parameter in parameters
    )
