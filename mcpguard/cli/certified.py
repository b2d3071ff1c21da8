"""The certificate registry: from the daemon, or its file where none runs; only the daemon changes it."""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec

from mcpguard import limits
from mcpguard.cli import client
from mcpguard.cli.main import NOT_RUNNING, exit_code
from mcpguard.errors import DaemonError, PeerError, TrustError
from mcpguard.identity.certregistry import Registry
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.certstore import LOCK, ROOT, CertStore
from mcpguard.system.files import private_directory, replace_file

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Held(NamedTuple):
    """The registry, when each certificate was last seen (Unix seconds by fingerprint), what is wrong with sources."""

    registry: Registry
    used: dict[str, float]
    faults: dict[str, str]
    keys: frozenset[str]


def held() -> Held:
    """The registry as it is.

    Raises:
        TrustError: It is damaged.
        DaemonError: The daemon does not answer.
    """
    store = CertStore(paths.certificates_dir())
    keys = frozenset(name for name in (ROOT, LOCK) if store.has_key(name))
    try:
        reply = client.request({"verb": "certificates"})
    except DaemonError as error:
        if exit_code(error) != NOT_RUNNING:
            raise
        return Held(store.load(), store.last_used(), {}, keys)
    try:
        content = base64.b64decode(reply["registry"], validate=True)
        registry = msgspec.json.decode(content, type=Registry)
        used = msgspec.convert(reply["used"], dict[str, float])
        faults = msgspec.convert(reply["sources"], dict[str, str])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DaemonError(
            "the daemon's answer is not understood", hint="mcpguard daemon stop, then again"
        ) from error
    return Held(registry, used, faults, keys)


def ask(verb: str, asked: JsonObject | None = None, **members: str) -> JsonObject:
    """Have the daemon change the registry, starting one if none runs.

    Raises:
        TrustError: It refused; nothing has changed.
        DaemonError: It does not answer, or cannot be started.
    """
    client.ensure()
    text = msgspec.json.encode(asked).decode() if asked is not None else members.pop("text", "")
    return client.request({"verb": verb, "text": text, **members})


def name_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A name for a certificate or an authority: a word."""
    if value is not None and not _NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a name: letters, digits, dot, dash, at most 64")
    return value


def read_file(path: str) -> bytes:
    """A file that a person names.

    Raises:
        TrustError: It cannot be read, or is too large.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(limits.CHAIN_BYTES + 1)
    except OSError as error:
        raise TrustError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}", hint="name another file"
        ) from error
    if len(content) > limits.CHAIN_BYTES:
        raise TrustError(f"{path} is larger than {limits.CHAIN_BYTES} bytes", hint="name another file")
    return content


def write_files(directory: str, files: dict[str, bytes]) -> None:
    """Write files for the owner alone into a directory of the owner alone, each whole or not at all.

    Raises:
        TrustError: It is somebody else's, or cannot be written.
    """
    try:
        descriptor = os.open(private_directory(Path(directory).absolute()), os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, content in files.items():
                replace_file(descriptor, name, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TrustError(
            f"{directory} cannot be written: {(error.strerror or str(error)).lower()}",
            hint="name another place",
        ) from error
    except PeerError as error:
        raise TrustError(error.message, hint=error.hint) from error
