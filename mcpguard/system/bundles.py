"""What is in this file: a `server.json`, or an MCPB bundle, which is a zip archive from somebody?

A bundle is unpacked into a directory of its own. Members decide nothing but their content: names with `..`, absolute
names, backslashes, control characters, names that are there twice or differ only by case, links, devices, encrypted
members and bombs are refused before the first byte is written, and sizes are counted again while writing, since an
archive may lie about them. Of the modes only the executable bit is kept.

Nothing of the file is run here, and nothing of it is signed; `identity.registry` says what it claims.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.registry import Source, from_bundle, from_server_json
from mcpguard.system.files import private_directory

_ZIP: Final = b"PK\x03\x04"
_MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = 0x1
_REFUSED: Final = "ask its author for a bundle that is whole"


def read_source(path: Path, bundles: Path) -> Source:
    """What a `server.json` or a bundle says of a server.

    Args:
        path: The file.
        bundles: Directory below which a bundle is unpacked, in a new directory that is the caller's to remove
            (`Source.directory`).

    Raises:
        TrustError: It is neither, it is too large, or it holds something that is refused; nothing is left unpacked.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            return _bundle(path, bundles)
        file.seek(0)
        data = file.read(limits.SOURCE_BYTES + 1)
    if len(data) > limits.SOURCE_BYTES:
        raise TrustError(
            f"{path} is larger than {limits.SOURCE_BYTES} bytes", hint="give a server.json or a bundle"
        )
    return from_server_json(data)


def _bundle(path: Path, bundles: Path) -> Source:
    if path.stat().st_size > limits.BUNDLE_BYTES:
        raise TrustError(f"the bundle is larger than {limits.BUNDLE_BYTES} bytes", hint=_REFUSED)
    private_directory(bundles)
    directory = Path(tempfile.mkdtemp(prefix="bundle-", dir=bundles))
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive)
            for member in members:
                _unpack(archive, member, directory)
        manifest = directory / _MANIFEST
        if not manifest.is_file() or manifest.stat().st_size > limits.SOURCE_BYTES:
            raise TrustError(f"the bundle has no {_MANIFEST} of a sensible size", hint=_REFUSED)
        return from_bundle(manifest.read_bytes(), str(directory))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        shutil.rmtree(directory)
        raise TrustError(f"the bundle is damaged: {error}", hint=_REFUSED) from error
    except BaseException:
        shutil.rmtree(directory)
        raise


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """All members, none of which is refused; nothing was written yet."""
    members = archive.infolist()
    if len(members) > limits.BUNDLE_FILES:
        raise TrustError(f"the bundle has more than {limits.BUNDLE_FILES} members", hint=_REFUSED)
    if sum(member.file_size for member in members) > limits.BUNDLE_BYTES:
        raise TrustError(f"the bundle unpacks to more than {limits.BUNDLE_BYTES} bytes", hint=_REFUSED)
    files: set[str] = set()
    directories: set[str] = set()
    spelled: dict[str, str] = {}
    for member in members:
        why = _unacceptable(member)
        parts = PurePosixPath(member.filename).parts
        for end in range(1, len(parts) + 1):
            place = "/".join(parts[:end])
            if spelled.setdefault(_folded(place), place) != place:
                why = why or "differs from another one only by case"
        whole = "/".join(parts)
        above = {"/".join(parts[:end]) for end in range(1, len(parts))}
        if whole in files or (whole in directories and not member.is_dir()) or above & files:
            why = why or "is there twice"
        directories |= above | ({whole} if member.is_dir() else set())
        files |= set() if member.is_dir() else {whole}
        if why:
            raise TrustError(f"the bundle is refused: {member.filename[:200]!a} {why}", hint=_REFUSED)
    return members


def _unacceptable(member: zipfile.ZipInfo) -> str:
    """Why one member is refused, whatever the others are; empty if it is not."""
    name, original = member.filename, member.orig_filename
    parts = name.removesuffix("/").split("/")
    if "\\" in original or "\0" in original or any(unicodedata.category(char) == "Cc" for char in name):
        return "has a character in its name that names do not have"
    if name.startswith("/") or any(part in {"", ".", ".."} for part in parts) or ":" in parts[0]:
        return "leaves the bundle"
    if len(parts) > limits.TREE_DEPTH:
        return f"is deeper than {limits.TREE_DEPTH} directories"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG}:
        return "is a link, a device or something else than a file"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.file_size > limits.MIB and member.file_size > limits.BUNDLE_RATIO * member.compress_size:
        return "unpacks to far more than it should"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, directory: Path) -> None:
    place = directory / member.filename
    if member.is_dir():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    executable = (member.external_attr >> 16) & 0o100
    written = 0
    with (
        archive.open(member) as source,
        open(os.open(place, flags, 0o700 if executable else 0o600), "wb") as target,  # noqa: PTH123
    ):
        while data := source.read(_CHUNK):
            written += len(data)
            if written > member.file_size:
                raise TrustError(f"{member.filename[:200]!a} is larger than the bundle says", hint=_REFUSED)
            target.write(data)
