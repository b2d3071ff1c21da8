"""Where are the package trees that servers run from, and how does one get there?

`DIRECTORY/npm/DIGEST` and `DIRECTORY/pypi/DIGEST`; DIGEST is the `mcpguard-tree-v1` digest of what is inside, so a
tree that changes is no longer what its name says. A tree is made in a directory beside it, made read-only, hashed,
and renamed: under its name there is all of it or nothing.

Read-only modes stop accidents. Whoever runs as the same user can undo them; the digest is what is relied on, and it
is taken again at each start (`system.tree` says what even that cannot give).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import PeerError, TrustError
from mcpguard.system.files import private_directory
from mcpguard.system.tree import TreeDigest, tree_digest

STORE: Final = "{store}"
"""Stands for the directory of the store, in commands and paths; behind it are ecosystem and digest."""

_NEW: Final = ".new-"
_ECOSYSTEMS: Final = ("npm", "pypi")


class Interpreter(msgspec.Struct, frozen=True):
    """What runs the entry point: absolute path without links, SHA-256 in hex, bytes."""

    path: str
    sha256: str
    size: int


class Materialised(msgspec.Struct, frozen=True):
    """A package tree in the store, and how to run it.

    Attributes:
        ecosystem: `npm` or `pypi`.
        package: Name of the package that was asked for.
        version: Its version.
        lock_kind: Format of the lock.
        lock_sha256: Digest of the lock's bytes, hex; the lock is in the tree.
        count: Packages in the tree.
        tree: The tree's digest.
        directory: Where it is.
        argv: How it is run; `{store}` stands for the directory of the store.
        interpreter: What `argv[0]` is.
        fresh: Whether it was not in the store before.
        notes: Sentences for a person: what was left out.
    """

    ecosystem: str
    package: str
    version: str
    lock_kind: str
    lock_sha256: str
    count: int
    tree: TreeDigest
    directory: Path
    argv: tuple[str, ...]
    interpreter: Interpreter
    fresh: bool
    notes: tuple[str, ...] = ()


class PackageStore:
    """The trees below `directory`, which need not exist before the first is made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def place(self, ecosystem: str, digest: str) -> Path:
        """Where the tree with this digest is or would be.

        Raises:
            TrustError: This is not the name of a tree.
        """
        if ecosystem not in _ECOSYSTEMS or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise TrustError(f"{ecosystem!a}, {digest!a} is not the name of a package tree")
        return self.directory / ecosystem / digest

    def verified(self, ecosystem: str, digest: str) -> Path:
        """The directory of a tree, which was read in full and is what its name says.

        Raises:
            TrustError: It is not there, has changed, or holds something that is refused.
        """
        path = self.place(ecosystem, digest)
        if path.is_symlink() or not path.is_dir():
            raise TrustError(
                f"the package tree {digest[:12]} is not in the store",
                hint="install it again: mcpguard server pin",
            )
        found = tree_digest(path).sha256
        if found != digest:
            raise TrustError(
                f"the package tree {path} has changed: it is {found[:12]} now",
                hint="remove it, then install it again: mcpguard server pin",
            )
        return path

    @contextlib.contextmanager
    def stage(self, ecosystem: str) -> Iterator[Path]:
        """An empty directory beside the trees; it is gone afterwards unless `keep` took it.

        Raises:
            TrustError: The store is not for the owner alone.
        """
        try:
            private_directory(self.directory)
            above = private_directory(self.directory / ecosystem)
        except PeerError as error:
            raise TrustError(f"the package store cannot be used: {error.message}", hint=error.hint) from error
        _sweep(above)
        path = Path(tempfile.mkdtemp(prefix=_NEW, dir=above))
        try:
            yield path
        finally:
            _remove(path)

    def keep(self, staged: Path) -> tuple[Path, TreeDigest, bool]:
        """Make a staged tree read-only, hash it, and give it its name.

        Returns:
            Where it is, its digest, and whether it was not there before. A damaged one is replaced.

        Raises:
            TrustError: The tree holds something that is refused.
        """
        _make_read_only(staged)
        digest = tree_digest(staged)
        place = self.place(staged.parent.name, digest.sha256)
        if place.exists():
            with contextlib.suppress(TrustError):
                self.verified(staged.parent.name, digest.sha256)
                return place, digest, False
            _remove(place)
        staged.rename(place)
        descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return place, digest, True

    def remove(self, ecosystem: str, digest: str) -> None:
        """Remove a tree, if it is there."""
        _remove(self.place(ecosystem, digest))


def interpreter(path: str) -> Interpreter:
    """The digest of an executable.

    Raises:
        TrustError: It cannot be read.
    """
    real = os.path.realpath(path)
    try:
        with open(real, "rb") as file:  # noqa: PTH123 (one open, one descriptor)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise TrustError(f"{real} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return Interpreter(real, digest, size)


def _make_read_only(root: Path) -> None:
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            path = os.path.join(directory, name)  # noqa: PTH118 (ten thousand of them)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, 0o500 if mode & 0o100 else 0o400)  # noqa: PTH101 (as above)
        os.chmod(directory, 0o500)  # noqa: PTH101 (as above)


def _remove(path: Path) -> None:
    if not os.path.lexists(path):
        return
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o700)  # noqa: PTH101 (as above)
    shutil.rmtree(path)


def _sweep(above: Path) -> None:
    """Remove what an installation that was killed left behind."""
    old = time.time() - 4 * limits.INSTALL_SECONDS
    for path in above.glob(_NEW + "*"):
        if path.lstat().st_mtime < old:
            _remove(path)
