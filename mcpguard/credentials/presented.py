"""What a peer beyond stdio shows of itself, and what came of checking it: values, checked elsewhere.

A listener (`daemon`) fills `Presented` from the connection and the request; authenticators turn it into
`Authenticated`, which policy, records and approvals treat like any other caller.
"""

from __future__ import annotations

import msgspec

from mcpguard.model import JsonObject


class Presented(msgspec.Struct, frozen=True):
    """The evidence of one request or connection, none of it believed yet unless said so here.

    Attributes:
        uid: User id of the peer of a Unix socket, as the kernel says; None for TLS.
        certificate: Leaf of the client's certificate chain, DER, verified against the listener's CA by the TLS
            library; empty if none was shown.
        network: Address of the peer without its port; empty for Unix sockets.
        authorization: The value of the `Authorization` header, or what the first line of a raw connection gave.
        dpop: The value of the `DPoP` header (RFC 9449); empty if there is none.
        method: HTTP method, for DPoP.
        url: Absolute URL of the request as the listener is configured to be called, for DPoP and audiences.
    """

    uid: int | None = None
    certificate: bytes = b""
    network: str = ""
    authorization: str = ""
    dpop: str = ""
    method: str = "POST"
    url: str = ""


class Authenticated(msgspec.Struct, frozen=True):
    """Who a peer was found to be.

    Attributes:
        principals: What policy may name: `key:ID`, `jwt:ISS#SUB`, `cert:SAN`, `spiffe://...`, `uid:N`, and those of
            groups and roles that claims give (`claim:NAME=VALUE`, `role:NAME` where configuration maps it).
        evidence: Members for records, without anything secret.
        expires: Unix seconds after which it no longer counts; 0.0 for never.
        servers: Patterns of servers that it may reach; empty for all that policy allows.
        tools: Patterns of tools that it may call; empty for all that policy allows.
        instance: Names this credential among all: what labels, rates and approvals are kept under. Never the secret.
    """

    principals: frozenset[str]
    evidence: JsonObject
    expires: float = 0.0
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    instance: str = ""


class Found(msgspec.Struct, frozen=True):
    """Who a peer was found to be by all that was asked of it.

    Attributes:
        whole: By all kinds together.
        other: By those kinds alone that the connection does not show by itself; None if none was asked for.
    """

    whole: Authenticated
    other: Authenticated | None = None
