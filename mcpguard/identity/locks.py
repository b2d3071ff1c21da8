"""What a resolver decided, as a lock that names the content of every package.

npm: `package-lock.json`, version 3, in which every package but the root has an SHA-512. pip: an installation report,
from which a requirements file with an SHA-256 for each wheel is made. Where the bytes come from is not part of a
lock: it holds no address, so that the same lock can be installed from another mirror, and the digest decides.

Source: npm documentation, package-lock.json; pip documentation, Installation Report; PEP 503, normalised names.

Not here: whether the bytes have these digests. npm and pip refuse others; `system.tree` sees what they made of them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.statement import parse_json
from mcpguard.model import JsonObject

NPM_KIND: Final = "package-lock.json@3"
"""`PackagePin.lock_kind` of npm."""
PYPI_KIND: Final = "requirements.txt+sha256"
"""`PackagePin.lock_kind` of Python packages."""

_PLACE: Final = re.compile(
    r"(?:node_modules/(?:@[^/@]+/)?[^/@.][^/@]*/)*node_modules/(?:@[^/@]+/)?[^/@.][^/@]*"
)
_TAG: Final = re.compile(r"(?![vV][0-9]|[xX](?:\.|$))[A-Za-z][A-Za-z0-9._-]*")
_ELSEWHERE: Final = re.compile(r"[:/]")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")


class Lock(msgspec.Struct, frozen=True):
    """What a lock says.

    Attributes:
        text: The bytes of the lock file, without addresses.
        versions: Name to version; of packages that are there more than once, the one at the top.
        count: Packages.
        scripts: Packages that want to run scripts when they are installed; they will not.
        wanted: npm: what the root depends on; the version that was found, where a tag was asked for.
    """

    text: bytes
    versions: dict[str, str]
    count: int
    scripts: tuple[str, ...] = ()
    wanted: dict[str, str] = {}


def npm_lock(data: bytes, wanted: dict[str, str]) -> Lock:
    """Check a `package-lock.json`: every package is a registry's, and has a strong digest.

    Args:
        data: Its bytes.
        wanted: Name to version, range or tag of the packages that it must be of. A tag moves; in the result it is
            replaced by the version in the lock. Not checked here: that a version is in its range; npm does that.

    Raises:
        TrustError: Some package has no SHA-512, is a link, or comes from a repository, a path or an address.
    """
    lock = parse_json(data, "the lock file")
    packages = lock.get("packages")
    if lock.get("lockfileVersion") != 3 or not isinstance(packages, dict) or "" not in packages:
        raise _refuse("is not a package-lock.json of version 3", "make it with npm 7 or later")
    if len(packages) > limits.LOCK_PACKAGES:
        raise _refuse(f"has more than {limits.LOCK_PACKAGES} packages", "this server cannot be pinned")
    versions: dict[str, str] = {}
    scripts: list[str] = []
    for place, entry in packages.items():
        _check_dependencies(place, entry)
        if place == "":
            continue
        _check_entry(place, entry)
        name = place.rpartition("node_modules/")[2]
        if place == f"node_modules/{name}":
            versions[name] = entry["version"]
        if entry.get("hasInstallScript"):
            scripts.append(f"{name}@{entry['version']}")
        entry.pop("resolved", None)
    fixed = _fixed(packages[""], wanted, versions)
    text = json.dumps(lock, indent=2, ensure_ascii=False).encode() + b"\n"
    return Lock(text, versions, len(packages) - 1, tuple(sorted(set(scripts))), fixed)


def _fixed(root: JsonObject, wanted: dict[str, str], versions: dict[str, str]) -> dict[str, str]:
    """What the root depends on, without tags; the root is made to say so."""
    if root.get("dependencies", {}).keys() != wanted.keys() or wanted.keys() - versions.keys():
        raise _refuse(
            "is of other packages than the command", "resolve it for this command, or leave --lock out"
        )
    fixed = {name: versions[name] if _TAG.fullmatch(spec) else spec for name, spec in wanted.items()}
    root["dependencies"] = fixed
    return fixed


def _check_dependencies(place: str, entry: JsonObject) -> None:
    """Refuse a dependency on an address, a repository or a path, whatever npm made of it."""
    if not isinstance(entry, dict):
        raise _refuse(f"has {place!a} as something else than an object", "this server cannot be pinned")
    for member in ("dependencies", "optionalDependencies"):
        wanted = entry.get(member, {})
        for name, spec in wanted.items() if isinstance(wanted, dict) else [(member, wanted)]:
            if not isinstance(spec, str) or (_ELSEWHERE.search(spec) and not spec.startswith("npm:")):
                raise _refuse(f"takes {name!a} from {spec!a}, no registry", "this server cannot be pinned")


def _check_entry(place: str, entry: JsonObject) -> None:
    if not _PLACE.fullmatch(place):
        raise _refuse(f"puts a package in {place!a}", "only node_modules is for packages")
    if entry.get("link") or entry.get("inBundle"):
        raise _refuse(f"has {place!a} as a link or inside another package", "this server cannot be pinned")
    if not isinstance(entry.get("version"), str):
        raise _refuse(f"names no version of {place!a}", "this server cannot be pinned")
    resolved = entry.get("resolved", "https://")
    if not isinstance(resolved, str) or not resolved.startswith(("https://", "http://")):
        raise _refuse(f"takes {place!a} from {resolved!a}, no registry", "this server cannot be pinned")
    if not _has_sha512(entry.get("integrity")):
        raise _refuse(f"has no SHA-512 for {place!a}", "this server cannot be pinned")


def _has_sha512(integrity: object) -> bool:
    """Whether SHA-512 is the only digest stated, so that no weaker one is enough."""
    if not isinstance(integrity, str) or not integrity:
        return False
    for word in integrity.split():
        algorithm, _, digest = word.partition("-")
        try:
            known = len(base64.b64decode(digest, validate=True)) == 64
        except binascii.Error:
            return False
        if algorithm != "sha512" or not known:
            return False
    return True


def pypi_lock(report: bytes) -> Lock:
    """The requirements file, with hashes, of an installation report of pip.

    Raises:
        TrustError: Something in it is no wheel of an index, or has no SHA-256.
    """
    found = parse_json(report, "pip's report").get("install")
    if not isinstance(found, list) or not 0 < len(found) <= limits.LOCK_PACKAGES:
        raise _refuse(f"has no packages, or more than {limits.LOCK_PACKAGES}", "this server cannot be pinned")
    versions: dict[str, str] = {}
    lines: list[str] = []
    for entry in found:
        name, version, digest = _wheel(entry)
        if name in versions:
            raise _refuse(f"has {name} twice", "this server cannot be pinned")
        versions[name] = version
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return Lock("".join(sorted(lines)).encode(), versions, len(lines))


def _wheel(entry: JsonObject) -> tuple[str, str, str]:
    try:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        source, direct = entry["download_info"], entry["is_direct"]
        url, digest = source["url"], source["archive_info"]["hashes"]["sha256"]
    except (KeyError, TypeError) as error:
        raise _refuse(f"says no {error} of a package", "update pip: 23.0 or later is needed") from error
    if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version) and _SHA256.fullmatch(digest)):
        raise _refuse(f"has a package {name!a} with an odd version or digest", "this server cannot be pinned")
    if direct or not url.partition("#")[0].endswith(".whl"):
        raise _refuse(
            f"has {name} as something else than a wheel of an index", "ask for a release with wheels"
        )
    return normalised(name), version, digest


def normalised(name: str) -> str:
    """The name of a Python package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _refuse(what: str, hint: str) -> TrustError:
    return TrustError(f"the lock {what}", hint=hint)
