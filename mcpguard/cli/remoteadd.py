"""`mcpguard server add NAME --url URL`: a server that somebody else runs, and how it is known."""

from __future__ import annotations

import datetime as dt
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from mcpguard.cli import drafting
from mcpguard.daemon.probed import Probed
from mcpguard.errors import TrustError
from mcpguard.identity.egress import parse_network
from mcpguard.identity.manifest import SESSION_TMP, Launch, Manifest
from mcpguard.identity.remote import REGISTRY, SYSTEM, Remote, check_remote, parse_pin
from mcpguard.identity.statement import format_time

_F = TypeVar("_F", bound=Callable[..., Any])
_NAMES: Final = ("ca", "pin", "client_cert", "client_key", "allow_network", "proxy")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


def remote_options(command: _F) -> _F:
    """Add the options that describe a remote server."""
    for option in reversed((
        click.option("--url", metavar="URL", help="Connect to https://..., http+unix:PATH or unix:PATH instead."),
        click.option("--ca", metavar="FILE", help="Certificates of its CA, PEM; `system`; `registry`: mcpguard ca."),
        click.option("--pin", metavar="PIN", multiple=True, help="Its public key, sha256:HEX or sha256/BASE64."),
        click.option("--client-cert", metavar="FILE", help="Show this certificate, PEM; or registry:NAME."),
        click.option("--client-key", metavar="FILE", help="The key of that certificate, PEM."),
        click.option(
            "--allow-network", metavar="CIDR", multiple=True,
            help="It may be in this private network, or `loopback`.",
        ),
        click.option("--proxy", metavar="URL", help="Go through this proxy, http://HOST:PORT."),
    )):  # fmt: skip
        command = option(command)
    return command


def described(options: Mapping[str, Any]) -> Remote | None:
    """The remote server that the options describe; None if they describe none.

    Raises:
        TrustError: They do not make sense together, or a file cannot be read.
        click.UsageError: They are about a remote server, and there is no URL.
    """
    url = options["url"]
    if not url:
        if given := [name for name in _NAMES if options[name]]:
            raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to --url URL")
        return None
    if wrong := [name for name in ("passed", "fixed", "cwd", "host_argv") if options.get(name)]:
        raise click.UsageError(f"nothing is started for a URL: leave out {', '.join(wrong)}")
    remote = Remote(
        url=url,
        ca=_certificates(options["ca"]) if options["ca"] else "",
        pins=tuple(dict.fromkeys(parse_pin(pin) for pin in options["pin"])),
        client_cert=_own(options["client_cert"]) or _absolute(options["client_cert"]),
        client_key=_absolute(options["client_key"]),
        networks=tuple(dict.fromkeys(parse_network(each) for each in options["allow_network"])),
        proxy=(options["proxy"] or "").removesuffix("/"),
    )
    check_remote(remote)
    return remote


def as_options(options: Mapping[str, Any]) -> str:
    """How the place of a server was said, for a command that is to be pasted into a shell."""
    words: list[str] = []
    for name in ("url", *_NAMES):
        given = options[name]
        for value in given if isinstance(given, tuple) else (given,) if given else ():
            words += [f"--{name.replace('_', '-')}", shlex.quote(value)]
    return " ".join(words)


def draft(
    name: str, remote: Remote, found: Probed, *, version: int, now: dt.datetime, lasting: dt.timedelta
) -> Manifest:
    """A manifest of a remote server; unsigned.

    Raises:
        TrustError: What it says cannot be described.
    """
    manifest = Manifest(
        name=name,
        version=version,
        not_before=format_time(now),
        expires=format_time(now + lasting),
        launch=Launch(argv=(remote.url,), host_argv=(remote.url,), cwd=SESSION_TMP, remote=remote),
        server_requests=found.requests,
        capabilities=found.capabilities,
    )
    return drafting.described(manifest, found.definitions, server_name=found.name)


def in_words(remote: Remote) -> list[tuple[str, str]]:
    """How it is known, as a word and a text each."""
    lines = [("connects to", remote.url)]
    if remote.ca == SYSTEM:
        lines.append(("vouched for by", "any certificate authority of the operating system"))
    elif remote.ca == REGISTRY:
        lines.append(("vouched for by", "the authorities and pins of the certificate registry"))
    elif remote.ca:
        count = remote.ca.count(_BEGIN)
        lines.append(("vouched for by", f"{count} CA certificate{'' if count == 1 else 's'} in the manifest"))
    elif remote.target.socket:
        lines.append(("vouched for by", "the owner of the socket: you or root"))
    lines += [("has the key", pin) for pin in remote.pins]
    if remote.own:
        lines.append(("is shown", f"our certificate {remote.own} of the certificate registry"))
    elif remote.client_cert:
        lines.append(("is shown", f"{remote.client_cert} with the key {remote.client_key}"))
    if remote.networks:
        lines.append(("may be in", ", ".join(remote.networks)))
    if remote.proxy:
        lines.append(("through", remote.proxy))
    return lines


def _certificates(file: str) -> str:
    """The certificates of a file, without the text around them that some tools write."""
    if file in (SYSTEM, REGISTRY):
        return file
    try:
        text = Path(file).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise TrustError(f"{file!a} cannot be read: {why.lower()}", hint="give a file in PEM") from error
    if "PRIVATE KEY" in text:
        raise TrustError(f"{file!a} holds a private key", hint="give the certificate of the CA alone")
    parts = [part.partition(_END)[0].split() for part in text.split(_BEGIN)[1:]]
    found = [f"{_BEGIN}\n{os.linesep.join(lines)}\n{_END}\n" for lines in parts if lines]
    if not found:
        raise TrustError(f"{file!a} holds no certificate", hint="give a file in PEM")
    return "".join(found)


def _own(word: str | None) -> str:
    """A certificate of the registry as it was said; empty for a file."""
    kind, colon, _ = (word or "").partition(":")
    return word or "" if colon and kind == REGISTRY else ""


def _absolute(file: str | None) -> str:
    return str(Path(file).resolve()) if file else ""
