"""What `init` does besides configurations: the daemon as a service of this user, and a signing key.

Rule: neither is worth losing the rest for. What cannot be done is told, and `init` goes on.

Decided:
    *A key is made and not yet trusted*, because a set of trusted keys cannot be taken back: the log remembers its
    version, and one that went away is an attack. The first `mcpguard server add` asks, and trusts it.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable
from typing import Final

import click
import msgspec

from mcpguard.cli import passphrase, serviceplan, signer, trusted
from mcpguard.cli.serviceplan import AWAY, Installing
from mcpguard.errors import GuardError, TrustError
from mcpguard.model import JsonObject
from mcpguard.system import servicemanager
from mcpguard.system.keyfiles import desktop_keyring
from mcpguard.system.program import stable_program

_ON_DEMAND: Final = "the first mcpguard run starts the daemon"
_BY_ADDING: Final = "the first mcpguard server add makes one"


class State(enum.Enum):
    """How it stands with one of them."""

    THERE = "there"
    """It was there before."""
    LATER = "later"
    """It is not done now, for a reason that is no failure."""
    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"


class Besides(msgspec.Struct, frozen=True):
    """One of them.

    Attributes:
        what: `service` or `key`.
        state: How it stands.
        words: The same in a sentence.
        otherwise: What is so if it is not done, in a sentence.
        plan: What is shown of it before the question.
        marked: Whether it is done unless a person says otherwise.
        undo: The command that takes it back; empty where nothing was done.
        do: Does it, and says what was done in a sentence, and what undoes it.
        back: Takes it back at once.
    """

    what: str
    state: State
    words: str
    otherwise: str = ""
    plan: tuple[str, ...] = ()
    marked: bool = True
    undo: str = ""
    do: Callable[[], tuple[str, str]] | None = None
    back: Callable[[], None] | None = None

    def left(self) -> Besides:
        """The same where a person did not want it."""
        return Besides(self.what, State.LATER, self.otherwise)

    def told(self) -> JsonObject:
        """The same for a script."""
        return {"state": self.state.value, "words": self.words, "undo": self.undo}


def planned(*, service: bool, at_terminal: bool) -> list[Besides]:
    """What can be done here: the service, the key.

    Args:
        service: Whether one is wanted.
        at_terminal: Whether a person can type a passphrase.
    """
    return [_service() if service else _later("service", f"left out; {_ON_DEMAND}"), _key(at_terminal)]


def carried_out(one: Besides) -> Besides:
    """The same after it was done, or could not be."""
    if one.do is None:
        return one
    try:
        words, undo = one.do()
    except click.Abort:
        return _failed(one.what, "interrupted")
    except GuardError as error:
        return _failed(one.what, error.sentence())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(one.what, f"{where}{(error.strerror or str(error)).lower()}")
    return msgspec.structs.replace(one, state=State.DONE, words=words, undo=undo)


def taken_back(one: Besides, why: str) -> Besides:
    """The same after it was done and taken back, because it did not serve."""
    words = f"{why}; it was taken back: {_ON_DEMAND}"
    try:
        if one.back is not None:
            one.back()
    except GuardError as error:
        words = f"{why}; it was not taken back: {error.sentence()}"
    return _failed(one.what, words)


def _later(what: str, words: str) -> Besides:
    return Besides(what, State.LATER, words)


def _failed(what: str, words: str) -> Besides:
    return Besides(what, State.FAILED, words)


# --- the service -------------------------------------------------------------------------------------------


def _service() -> Besides:
    try:
        change = serviceplan.installing(serviceplan.planned(program=stable_program()))
    except GuardError as error:
        return _failed("service", error.sentence())
    scope = change.service.scope
    if not change.answers:
        return _later("service", f"{AWAY[scope]}: {_ON_DEMAND}")
    if not change.needed:
        return Besides("service", State.THERE, "the service is installed, and listens")
    done = f"install the daemon as a service in {change.service.directory}"
    return Besides(
        "service",
        State.PLANNED,
        f"would {done}",
        otherwise=_ON_DEMAND,
        plan=(
            done,
            *(f"write {path}" for path in change.written),
            *(f"run {line}" for line in servicemanager.shown(change.commands)),
        ),
        do=lambda: _install(change),
        back=lambda: _remove(change),
    )


def _install(change: Installing) -> tuple[str, str]:
    serviceplan.install(change)
    words = f"installed in {change.service.directory}: the daemon starts when a host connects"
    return words, "mcpguard daemon uninstall"


def _remove(change: Installing) -> None:
    serviceplan.remove(change.service, change.service.units, answers=change.answers)


# --- the key -----------------------------------------------------------------------------------------------


def _key(at_terminal: bool) -> Besides:
    try:
        kept = signer.key_files().list()
        if kept or trusted.held().trust is not None:
            return Besides("key", State.THERE, "you have one" if kept else "keys are trusted already")
    except GuardError as error:
        return _failed("key", error.sentence())
    named = passphrase.named()
    if named is None and not at_terminal:
        return _later("key", f"none yet; {_BY_ADDING}")
    how = f"the passphrase in {named}" if named else "a passphrase that you type"
    made = f"make a signing key for manifests of your own servers, encrypted with {how}"
    return Besides(
        "key",
        State.PLANNED,
        f"would {made}",
        otherwise=f"none yet; {_BY_ADDING}",
        plan=(made,),
        marked=named is not None,
        do=_make,
    )


def _make() -> tuple[str, str]:
    private = signer.generated("", keyring=_by_keyring())
    kept = signer.key_files().find(private.public.ident)
    where = (
        f"in the keyring, named by {kept.path}" if kept.place == "keyring" else f"encrypted in {kept.path}"
    )
    words = f"{kept.ident}, kept {where}; the first mcpguard server add asks whether to trust it"
    return words, shlex.join(["rm", kept.path])


def _by_keyring() -> bool:
    """Whether the keyring is to keep it: only where nobody has named a passphrase, and a person says so."""
    if passphrase.named() is not None:
        return False
    try:
        desktop_keyring()
    except TrustError:
        return False
    return click.confirm("Keep the key in the keyring of the desktop, without a passphrase", err=True)
