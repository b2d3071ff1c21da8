"""Which files does an npm package run from, with every one of its dependencies?

Three runs of npm, in a directory of the store: one makes a lock, one installs from it, with no script of any package
run, and one asks how old the version is. Between the first and the second the lock is checked (`identity.locks`):
every package is the registry's and has an SHA-512, which npm enforces.

The entry point is then run by `node` from the tree; npx does not run at all, so nothing is looked up, fetched or
chosen at a start.

What is still free: node's shared libraries; and node itself, which looks for a module that the tree does not have in
every `node_modules` directory above the store.

Decided:
    *Names and versions, no addresses* (`--omit-lockfile-registry-resolved`): the same package from another mirror
    gives the same lock and the same tree; the SHA-512 decides.
    *`node_modules/.package-lock.json` is removed*: npm writes it for itself, and nothing that runs reads it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.launchers import NpmCommand
from mcpguard.identity.locks import NPM_KIND, Lock, npm_lock
from mcpguard.model import Json
from mcpguard.system.installer import Progress, find_program, quiet, run
from mcpguard.system.packagestore import STORE, Interpreter, Materialised, PackageStore, interpreter

_ALWAYS: Final = (
    "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=warn",
    "--omit=dev", "--install-strategy=hoisted", "--package-lock", "--lockfile-version=3", "--no-dry-run",
    "--no-global", "--no-workspaces", "--no-install-links", "--omit-lockfile-registry-resolved",
)  # fmt: skip
_NO_NODE: Final = "install Node.js 20 or later, which brings npm"
_SHEBANG: Final = re.compile(r"#!\s*(?:/usr/bin/env(?:\s+-S)?\s+)?(?:\S*/)?(?:node|nodejs)((?:\s+-\S+)*)\s*")


def materialise_npm(
    command: NpmCommand,
    store: PackageStore,
    progress: Progress,
    *,
    now: dt.datetime,
    lock: bytes | None = None,
) -> Materialised:
    """Install what a command starts into the store, and say how it is run from there.

    Args:
        command: What `identity.launchers` read.
        store: Where it goes.
        progress: Told every line.
        now: The present, for the age of the version.
        lock: A `package-lock.json` to install from; None to resolve one now.

    Raises:
        TrustError: npm failed, the lock is not acceptable, the package has no such program, or the tree holds
            something that is refused. The store is as before.
    """
    npm = find_program("npm", _NO_NODE)
    with store.stage("npm") as staged:
        node = _node(staged)
        _write_package(staged, dict(command.packages))
        if lock is None:
            progress("resolving versions")
            run([npm, "install", "--package-lock-only", *_ALWAYS], staged, progress)
        checked = npm_lock(
            _bounded(staged / "package-lock.json") if lock is None else lock, dict(command.packages)
        )
        _write_package(staged, checked.wanted)
        (staged / "package-lock.json").write_bytes(checked.text)
        progress(f"installing {checked.count} packages")
        run([npm, "ci", "--prefer-offline", *_ALWAYS], staged, progress)
        with contextlib.suppress(FileNotFoundError):
            (staged / "node_modules" / ".package-lock.json").unlink()
        if _bounded(staged / "package-lock.json") != checked.text:
            raise TrustError("npm changed the lock that it installed from", hint="nothing was installed")
        package = command.packages[0][0]
        version = checked.versions.get(package, "")
        notes = (*_about_scripts(checked), *_age(npm, package, version, now, staged))
        flags, program = _entry(staged, command)
        place, digest, fresh = store.keep(staged)
    return Materialised(
        ecosystem="npm",
        package=package,
        version=version,
        lock_kind=NPM_KIND,
        lock_sha256=hashlib.sha256(checked.text).hexdigest(),
        count=checked.count,
        tree=digest,
        directory=place,
        argv=(node.path, *flags, f"{STORE}/npm/{digest.sha256}/{program}", *command.args),
        interpreter=node,
        fresh=fresh,
        notes=notes,
    )


def _node(directory: Path) -> Interpreter:
    """Node itself: version managers put scripts of that name on PATH."""
    said = run([find_program("node", _NO_NODE), "-p", "process.execPath"], directory, quiet)
    return interpreter(said.rpartition("\n")[2])


def _write_package(staged: Path, wanted: dict[str, str]) -> None:
    content = {"name": "pinned", "version": "0.0.0", "private": True, "dependencies": wanted}
    (staged / "package.json").write_text(json.dumps(content, indent=2) + "\n")


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(limits.LOCK_BYTES + 1)
    if len(data) > limits.LOCK_BYTES:
        raise TrustError(f"the lock is larger than {limits.LOCK_BYTES} bytes")
    return data


def _about_scripts(lock: Lock) -> tuple[str, ...]:
    if not lock.scripts:
        return ()
    return (
        f"install scripts were not run: {', '.join(lock.scripts)}; if the server needs them, it will not start",
    )


def _age(npm: str, package: str, version: str, now: dt.datetime, directory: Path) -> tuple[str, ...]:
    """A note if the version is young, or if the registry does not say how old it is."""
    try:
        said = run(
            [npm, "view", f"{package}@{version}", "time", "--json", "--loglevel=silent"], directory, quiet
        )
        moment = dt.datetime.fromisoformat(json.loads(said)[version])
    except (TrustError, ValueError, KeyError, TypeError):
        return (f"the registry does not say when {package}@{version} was published",)
    hours = (now - moment).total_seconds() / 3600
    if hours >= limits.COOL_DOWN_HOURS:
        return ()
    published = f"{package}@{version} was published {max(hours, 0):.0f} hours ago"
    return (f"{published}; most malicious releases are withdrawn within {limits.COOL_DOWN_HOURS}",)


def _entry(staged: Path, command: NpmCommand) -> tuple[list[str], str]:
    """Options of node, and the path below the tree of the file that it runs."""
    candidates = [_programs(staged, name) for name, _ in command.packages]
    found = _chosen(command, candidates)
    if found is None:
        offered = ", ".join(sorted(name for programs in candidates for name in programs)) or "none"
        wanted = repr(command.command) if command.command else "of its own name"
        raise TrustError(
            f"{command.packages[0][0]} has no program {wanted}; it has {offered[:200]!a}",
            hint="name the program: npx -p PACKAGE PROGRAM",
        )
    path = (staged / found).resolve()
    if not path.is_relative_to(staged.resolve()) or not path.is_file():
        raise TrustError(f"the program {found!a} is not in the package", hint="nothing was installed")
    with path.open("rb") as file:
        first = file.readline(512).decode(errors="replace").rstrip()
    shebang = _SHEBANG.fullmatch(first)
    if shebang is None and (first.startswith("#!") or path.suffix not in {".js", ".mjs", ".cjs"}):
        raise TrustError(f"the program {found!a} is not run by node", hint="nothing was installed")
    flags = shlex.split(shebang[1]) if shebang else []
    return flags, path.relative_to(staged.resolve()).as_posix()


def _programs(staged: Path, package: str) -> dict[str, str]:
    """Name of each program of an installed package, and its path below the tree."""
    above = f"node_modules/{package}"
    try:
        said: Json = json.loads(_bounded(staged / above / "package.json"))
    except (OSError, ValueError) as error:
        raise TrustError(
            f"{package} has no package.json that can be read", hint="nothing was installed"
        ) from error
    bins = said.get("bin") if isinstance(said, dict) else None
    if isinstance(bins, str):
        bins = {_unscoped(package): bins}
    if not isinstance(bins, dict):
        return {}
    return {name: f"{above}/{path}" for name, path in bins.items() if isinstance(path, str)}


def _chosen(command: NpmCommand, candidates: list[dict[str, str]]) -> str | None:
    """As npx chooses: the named one; else the only one; else the one that is called like the package."""
    if command.command:
        return next(
            (programs[command.command] for programs in candidates if command.command in programs), None
        )
    first = candidates[0]
    if len(set(first.values())) == 1:
        return next(iter(first.values()))
    return first.get(_unscoped(command.packages[0][0]))


def _unscoped(package: str) -> str:
    return package.rpartition("/")[2]
