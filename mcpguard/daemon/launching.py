"""How a server is started: from what a manifest says, or, where policy permits it, from what the shim asked for.

Rule 1: with a manifest, nothing that the shim or the host says reaches the server, except variables that the manifest
names and the working directory where it leaves that open.
Rule 2: what runs is what was verified: executables are opened, hashed and executed through one descriptor, and a
package tree is hashed before each start.

Not here: signatures, validity, revocation (`daemon.registry`); the definitions (`gate`); secrets (`daemon.secrets`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import __version__
from mcpguard.credentials.environment import MINIMUM, for_manifest, for_server
from mcpguard.errors import TrustError
from mcpguard.identity.manifest import HOST_CWD, SESSION_TMP, STORE, Manifest
from mcpguard.identity.remote import Remote
from mcpguard.protocol.hello import Hello
from mcpguard.system.pinned import Shelf
from mcpguard.system.tree import tree_digest

_log: Final = logging.getLogger("mcpguard")
_HABITS: Final = (0o077, -1, 0)
"""umask, open files and core size of a server that no shim has asked for."""
SESSION: Final = "session-"
"""How directories of sessions are called; a daemon that starts removes those of the one before."""
_AGAIN: Final = "install it again: mcpguard server pin NAME"


class Launch(msgspec.Struct, frozen=True):
    """What is started, and how.

    Attributes:
        argv: Command and arguments.
        env: `NAME=value` entries.
        cwd: Working directory.
        image: Descriptor of the executable that was hashed, which `tidy` closes; -1 to look `argv[0]` up when it is
            executed.
        scratch: Directory that was made for this session; empty if none was.
        remote: The server that is connected to instead.
    """

    argv: tuple[bytes, ...]
    env: list[bytes]
    cwd: bytes
    image: int = -1
    scratch: str = ""
    remote: Remote | None = None

    def executed(self) -> Launch:
        """Let go of the executable, which runs by now: who wants to write to it would wait for the lease on it."""
        if self.image >= 0:
            os.close(self.image)
        return msgspec.structs.replace(self, image=-1)

    def tidy(self) -> None:
        """Let go of the executable, and remove what was made for this session, in a thread: a server may fill it."""
        if self.image >= 0:
            os.close(self.image)
        if self.scratch:
            _ = asyncio.get_running_loop().run_in_executor(None, _remove, self.scratch)


def unpinned(hello: Hello) -> Launch:
    """What the shim asks for, as it is."""
    return Launch(hello.argv, for_server(hello.env), hello.cwd)


def hello_for(name: str) -> Hello:
    """What is asked for a peer that has no shim: a registered server, as this daemon would start it for itself.

    Nothing of it is the peer's.
    """
    env = tuple(key + b"=" + value for key, value in os.environb.items() if key in MINIMUM)
    home = os.fsencode(Path.home())
    return Hello(__version__, b"", "name", name, home, _HABITS, (name.encode(),), env)


class Launcher:
    """Verifies what manifests pin, in one thread of its own, and keeps what stays verified.

    Args:
        store: Directory of installed package trees.
        scratch: Directory in which those of sessions are made.
    """

    def __init__(self, store: Path, scratch: Path) -> None:
        self._store = store
        self._scratch = scratch
        self._shelf = Shelf()
        self._thread = ThreadPoolExecutor(1, "verify")

    def start(self) -> None:
        """Give up leases as soon as somebody waits for one: the signal's default action would end the daemon.

        What a daemon that was killed made for its sessions is removed.
        """
        loop = asyncio.get_running_loop()
        for left in self._scratch.glob(f"{SESSION}*"):
            self._thread.submit(_remove, os.fspath(left))
        loop.add_signal_handler(signal.SIGIO, lambda: self._thread.submit(self._shelf.release_broken))

    async def prepare(self, manifest: Manifest, hello: Hello) -> Launch:
        """Verify what runs and say how it is started; the caller tidies up after the session.

        Raises:
            TrustError: An executable or a tree is missing, or is not what the manifest says.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._prepare, manifest, hello)

    async def close(self) -> None:
        """Give up everything. The signal is handled until no lease is left, as nobody else would bear it."""
        self._thread.submit(self._shelf.close)
        self._thread.shutdown()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGIO)

    def _prepare(self, manifest: Manifest, hello: Hello) -> Launch:
        try:
            return self._verified(manifest, hello)
        except TrustError as error:
            name = manifest.name if manifest.namespace == "local" else "NAME"
            raise TrustError(error.message, hint=error.hint.replace("NAME", name)) from error

    def _verified(self, manifest: Manifest, hello: Hello) -> Launch:
        launch = manifest.launch
        if launch.remote is not None:
            return Launch(hello.argv, [], hello.cwd, remote=launch.remote)
        opened = {
            pin.path: self._shelf.open(self._placed(pin.path), pin.sha256) for pin in manifest.executables
        }
        self._check_trees(manifest)
        first = opened.get(launch.argv[0])
        scratch = ""
        if any(SESSION_TMP in word for word in (launch.cwd, *launch.argv, *launch.env_set.values())):
            scratch = tempfile.mkdtemp(prefix=SESSION, dir=self._scratch)
        fixed = {
            name: self._placed(value).replace(SESSION_TMP, scratch) for name, value in launch.env_set.items()
        }
        return Launch(
            argv=tuple(os.fsencode(self._placed(word).replace(SESSION_TMP, scratch)) for word in launch.argv),
            env=for_manifest(hello.env, launch.env_pass, fixed),
            cwd=hello.cwd
            if launch.cwd == HOST_CWD
            else os.fsencode(launch.cwd.replace(SESSION_TMP, scratch)),
            image=os.dup(first.fd) if first is not None and not first.script else -1,
            scratch=scratch,
        )

    def _placed(self, word: str) -> str:
        return word.replace(STORE, os.fspath(self._store))

    def _check_trees(self, manifest: Manifest) -> None:
        for pin in manifest.packages:
            place = self._store / pin.ecosystem / pin.tree
            if not place.is_dir():
                raise TrustError(f"the package tree {place} of {manifest.name!a} is missing", hint=_AGAIN)
            found = tree_digest(place).sha256
            if found != pin.tree:
                raise TrustError(
                    f"the package tree {place} of {manifest.name!a} has changed: its digest is {found[:12]} now",
                    hint=_AGAIN,
                )


def _remove(directory: str) -> None:
    """Remove what was made for a session; what cannot be removed is said."""
    try:
        shutil.rmtree(directory)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", directory, error)
