"""Drafts of servers from files that nobody signed: a registry's `server.json`, an MCPB bundle."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from mcpguard.cli.terminal import tell
from mcpguard.errors import TrustError
from mcpguard.identity.registry import Source
from mcpguard.identity.statement import parse_json
from mcpguard.system import paths
from mcpguard.system.bundles import read_source

_NONE = Source(kind="", name="", title="", version="", argv=())


def is_draft(data: bytes) -> bool:
    """Whether the bytes of a file are a bundle or a `server.json`; anything else is taken for a signed manifest.

    Raises:
        TrustError: They are neither an archive nor strict JSON.
    """
    if data.startswith(b"PK\x03\x04"):
        return True
    said = parse_json(data, "the file")
    return "payloadType" not in said and not said.keys().isdisjoint({"packages", "remotes", "server"})


@contextlib.contextmanager
def drafted(file: str | None) -> Iterator[Source]:
    """What a file says of a server, told to the person who asked; an empty one without a file.

    A bundle stays unpacked if the block ends well, because the server runs from there; otherwise it is removed.

    Raises:
        TrustError: The file is refused, or cannot be read.
    """
    if file is None:
        yield _NONE
        return
    try:
        found = read_source(Path(file), paths.state_dir() / "bundles")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrustError(f"{file!a} cannot be read: {reason}", hint="give the path of a file") from error
    try:
        tell(*words(found))
        yield found
    except BaseException:
        if found.directory:
            shutil.rmtree(found.directory, ignore_errors=True)
        raise


def words(found: Source) -> list[str]:
    """What it says, in lines for a person."""
    what = {"server.json": "a registry's server.json", "bundle": "an MCPB bundle"}[found.kind]
    lines = [
        f"{found.title} {found.version}, from {what}. Nobody signed it: every word of it is its author's claim.",
        f"  it asks for: {shlex.join(found.argv)}",
    ]
    if found.variables:
        secret = [f"{name} (secret)" if name in found.secrets else name for name in found.variables]
        lines.append(f"  it wants the variables: {', '.join(secret)}")
    return lines + [f"  note: {doubt}" for doubt in found.doubts]
