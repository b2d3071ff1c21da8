"""Tokens that no person has to log in for: client credentials, an assertion, an identity provider that vouches.

Source: MCP extensions `oauth-client-credentials` and `enterprise-managed-authorization`; RFC 6749 4.4, RFC 7523,
RFC 8693.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.credentials import oauthanswer, oauthrequest
from mcpguard.credentials.oauthanswer import Granted
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthscopes import write_scopes
from mcpguard.credentials.oauthsettings import Remote, identity
from mcpguard.credentials.oauthtokens import Held
from mcpguard.daemon import oauthproofs
from mcpguard.daemon.oauthdiscovery import Discovery, Found
from mcpguard.daemon.oauthgrants import Grants
from mcpguard.daemon.oauthstore import Shelf
from mcpguard.daemon.outgoing import Fetch

IDENTITY_SCOPES: Final = frozenset({"openid"})


class Kit(msgspec.Struct, frozen=True):
    """What OAuth for one server works with.

    Attributes:
        fetch: Reaches the server and its authorization server.
        shelf: Where tokens are kept.
        discovery: Finds authorization servers.
        grants: Asks them.
        clock: Unix seconds.
        entropy: Random bytes.
    """

    fetch: Fetch
    shelf: Shelf
    discovery: Discovery
    grants: Grants
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]


def kit(fetch: Fetch, shelf: Shelf, clock: Callable[[], float], entropy: Callable[[int], bytes]) -> Kit:
    """Everything over one way to fetch."""
    return Kit(fetch, shelf, Discovery(fetch, clock), Grants(fetch, clock, entropy), clock, entropy)


def key_for(remote: Remote, found: Found) -> str:
    """A new private key, if tokens are to be bound to one; else empty."""
    return oauthproofs.new_key() if found.dpop or remote.settings.dpop else ""


def hold(
    remote: Remote,
    found: Found,
    client: Client,
    granted: Granted,
    asked: frozenset[str],
    key: str,
    now: float,
) -> Held:
    """A token as it is kept.

    Raises:
        OAuthError: It was to be bound to our key, and is not.
    """
    bound = granted.kind == "DPoP"
    if bound and not key:
        raise OAuthError(
            f"{shown(found.server.issuer)} gives a token that is bound to a key, and we showed none"
        )
    if key and not bound:
        raise OAuthError(
            f"{remote.name!a} wants tokens bound to a key, and {shown(found.server.issuer)} gives others"
        )
    return Held(
        server=remote.name,
        url=remote.url,
        issuer=found.server.issuer,
        resource=found.resource,
        client_id=client.client_id,
        access=granted.access,
        kind=granted.kind,
        scopes=asked if granted.scopes is None else granted.scopes,
        flow=remote.settings.flow,
        refresh=granted.refresh,
        identity=granted.identity,
        expires=now + granted.seconds if granted.seconds else 0.0,
        obtained=now,
        key=key,
    )


async def obtain(kit: Kit, remote: Remote, found: Found, scopes: frozenset[str]) -> Held:
    """A new token for a server whose flow needs no person.

    Raises:
        OAuthError: The authorization server says no, or something is missing that a person has to say.
        UpstreamError: Somebody does not answer.
        GuardError: The store cannot be read.
    """
    server, scope = found.server, write_scopes(scopes)
    client = await _client(kit, server.issuer)
    key = key_for(remote, found)
    match remote.settings.flow:
        case "client":
            form = oauthrequest.client_form(found.resource, scope)
        case "assertion":
            assertion = await kit.shelf.secret(remote.settings.assertion)
            form = oauthrequest.assertion_form(assertion, found.resource, scope)
        case "enterprise":
            jag = await _vouched(kit, remote, found, client, scope)
            form = oauthrequest.assertion_form(jag, found.resource, scope)
        case _:
            raise OAuthError(f"{remote.name!a} needs a person", hint=f"mcpguard remote login {remote.name}")
    granted = await kit.grants.ask(server, client, form, key)
    return hold(remote, found, client, granted, scopes, key, kit.clock())


async def _client(kit: Kit, issuer: str) -> Client:
    client = await kit.shelf.client(issuer)
    if client is None or 0 < client.expires <= kit.clock():
        raise OAuthError(
            f"we are no client of {shown(issuer)}",
            hint="say --issuer, --client-id and --secret-file to mcpguard remote login",
        )
    return client


# --- the identity provider ------------------------------------------------------------------------------


async def _vouched(kit: Kit, remote: Remote, found: Found, client: Client, scope: str) -> str:
    """An ID-JAG of the identity provider for the server's authorization server."""
    provider = await kit.discovery.server(remote.settings.provider, plain=remote.plain)
    ours = await _client(kit, provider.issuer)
    subject = await _subject(kit, remote, ours)
    form = oauthrequest.exchange_form(subject, found.server.issuer, found.resource, scope)
    granted = await kit.grants.ask(provider, ours, form, exchange=True)
    oauthanswer.require_jag(
        granted.access, provider.issuer, found.server.issuer, found.resource, client.client_id, kit.clock()
    )
    return granted.access


async def _subject(kit: Kit, remote: Remote, client: Client) -> str:
    """The ID token of whoever logged in at the identity provider; refreshed if it is over."""
    settings = remote.settings
    if settings.assertion:
        return await kit.shelf.secret(settings.assertion)
    held = await kit.shelf.held(identity(settings.provider))
    if held is None or not held.identity:
        raise _log_in(remote)
    if not _ended(held.identity, kit.clock()):
        return held.identity
    if not held.refresh:
        raise _log_in(remote)
    provider = await kit.discovery.server(settings.provider, plain=remote.plain)
    granted = await kit.grants.ask(provider, client, oauthrequest.refresh_form(held.refresh, ""), held.key)
    renewed = held.renewed(granted, kit.clock())
    await kit.shelf.keep(renewed)
    if _ended(renewed.identity, kit.clock()):
        raise _log_in(remote)
    return renewed.identity


def _ended(token: str, now: float) -> bool:
    _, claims = oauthanswer.assertion_claims(token)
    expires = claims.get("exp")
    return not isinstance(expires, int | float) or expires <= now


def _log_in(remote: Remote) -> OAuthError:
    return OAuthError(
        f"nobody is logged in at {shown(remote.settings.provider)}",
        hint=f"mcpguard remote login {remote.name}",
    )
