"""Where passphrases come from: a file that is named, or a terminal; never an argument, never a variable's value."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import click

from mcpguard.cli.terminal import at_terminal
from mcpguard.errors import TrustError

VARIABLE: Final = "MCPGUARD_PASSPHRASE_FILE"
"""Names the file when no option does."""
_BYTES: Final = 4096


def new(file: str | None = None) -> str:
    """A passphrase for a new key: from the file, or typed twice.

    Raises:
        TrustError: It is empty, the two differ, or there is neither file nor terminal.
    """
    if (path := named(file)) is not None:
        return _from(path)
    _need_terminal()
    first = _typed("Passphrase for the new key")
    if not first:
        raise TrustError("the passphrase is empty", hint="choose one, or keep the key with --keyring")
    if _typed("The same again") != first:
        raise TrustError("the passphrases differ", hint="try again")
    return first


def of(ident: str, file: str | None = None) -> str:
    """The passphrase of a key: from the file, or typed.

    Raises:
        TrustError: It is empty, or there is neither file nor terminal.
    """
    if (path := named(file)) is not None:
        return _from(path)
    _need_terminal()
    typed = _typed(f"Passphrase of {ident}")
    if not typed:
        raise TrustError("the passphrase is empty", hint="try again")
    return typed


def named(file: str | None = None) -> Path | None:
    """The file that says the passphrase, if one is named."""
    name = file or os.environ.get(VARIABLE, "")
    return Path(name) if name else None


def _need_terminal() -> None:
    if not at_terminal():
        raise TrustError(
            "a passphrase is needed and there is no terminal to ask on",
            hint=f"name a file with --passphrase-file or {VARIABLE}",
        )


def _typed(words: str) -> str:
    text: str = click.prompt(words, hide_input=True, default="", show_default=False, err=True)
    return text


def _from(path: Path) -> str:
    """The first line of a file that only its owner may read."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o077:
                raise TrustError(f"others may read the passphrase in {path}", hint=f"chmod 600 {path}")
            line = file.read(_BYTES).partition(b"\n")[0].removesuffix(b"\r")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrustError(
            f"the passphrase file {path} cannot be read: {reason}", hint="name another one"
        ) from error
    if not line:
        raise TrustError(f"the passphrase in {path} is empty", hint="its first line is the passphrase")
    return line.decode("utf-8", "surrogateescape")
