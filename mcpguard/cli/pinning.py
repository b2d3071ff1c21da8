"""`mcpguard server pin`: from now on a server runs from a package tree in our store, and from nothing else.

What the host's configuration says does not change, and is compared as before; it is not executed any more. What the
server may define does not change either: the server is started from the tree and asked again, and one that defines
anything else than what was trusted is not pinned.

Exit codes: 0 done, 1 not done, 2 usage, 5 refused.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from mcpguard import limits
from mcpguard.cli import client, signer
from mcpguard.cli.drafting import PLACEHOLDER
from mcpguard.cli.terminal import confirm, errors_told, say, tell
from mcpguard.daemon.probe import probe_now
from mcpguard.errors import TrustError
from mcpguard.identity.described import KINDS, Definitions, encode_definitions, pinned_table
from mcpguard.identity.dsse import digest, encode_envelope, parse_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.launchers import NpmCommand, parse_launcher
from mcpguard.identity.manifest import (
    SESSION_TMP,
    STORE,
    ExecutablePin,
    Manifest,
    PackagePin,
    encode_manifest,
    parse_manifest,
)
from mcpguard.identity.pinlevel import FREE, LABELS
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.npmtree import materialise_npm
from mcpguard.system.packagestore import Materialised, PackageStore
from mcpguard.system.pypitree import materialise_pypi
from mcpguard.system.truststore import wall_clock


class Desk:
    """What the verb acts on: the daemon, the store, the clock, and who signs.

    The command line makes it for this user; another one may be handed over as click's `obj`.
    """

    def __init__(
        self,
        request: Callable[[JsonObject], JsonObject],
        store: PackageStore,
        clock: Callable[[], datetime],
        signer_of: Callable[[str | None, str | None, bool], PrivateKey],
    ) -> None:
        self.request = request
        self.store = store
        self.clock = clock
        self.signer_of = signer_of

    @classmethod
    def of_this_user(cls) -> Desk:
        """The daemon, the store and the keys of the user who runs the command."""

        def signer_of(key: str | None, passphrase_file: str | None, yes: bool) -> PrivateKey:
            return signer.local_signer(key, passphrase_file=passphrase_file, yes=yes)

        def request(message: JsonObject) -> JsonObject:
            client.ensure()
            return client.request(message)

        return cls(request, PackageStore(paths.store_dir()), wall_clock, signer_of)


@click.command()
@click.argument("name")
@click.option(
    "--package", default="", help="For `python -m MODULE`: the package of it, as pypi:NAME==VERSION."
)
@click.option(
    "--lock", type=click.Path(exists=True, dir_okay=False), help="Install from this package-lock.json (npm)."
)
@click.option("--key", help="Sign with this key; the beginning of its id is enough.")
@click.option("--passphrase-file", help="File whose first line is the key's passphrase.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def pin(
    name: str, package: str, lock: str | None, key: str | None, passphrase_file: str | None, yes: bool
) -> None:
    """Install the package that server NAME runs into our store, and run it from there from now on.

    No install script is run, and nothing is built. npx and uvx are not run at a start any more.
    """
    with errors_told():
        desk = click.get_current_context().find_object(Desk) or Desk.of_this_user()
        before, mark = _registered(desk, name)
        with _installed(desk, before, package, lock) as made:
            definitions = _asked_again(desk, before, made)
            after = pinned(before, mark, made)
            tell(*shown(before, after, made))
            confirm(f"Run {name} like this from now on?", yes=yes)
            private = desk.signer_of(key, passphrase_file, yes)
            envelope = encode_envelope(sign(encode_manifest(after), private))
            text = encode_definitions(definitions).decode()
            desk.request({"verb": "server-put", "name": name, "text": envelope.decode(), "definitions": text})
        say(f"{name}: version {after.version}, {after.pin}: {LABELS[after.pin]}")


def _registered(desk: Desk, name: str) -> tuple[Manifest, str]:
    """The manifest in force, and its digest.

    Raises:
        TrustError: There is none, or it is a publisher's, which nobody else can change.
    """
    envelope = parse_envelope(
        base64.b64decode(desk.request({"verb": "server-show", "name": name})["manifest"])
    )
    manifest = parse_manifest(envelope.payload)
    if manifest.namespace != "local":
        raise TrustError(
            f"the manifest of {name!a} is its publisher's ({manifest.name!a}), and says what runs",
            hint="ask the publisher for one with a package tree, or add the server by its command",
        )
    return manifest, digest(envelope.payload)


@contextlib.contextmanager
def _installed(desk: Desk, manifest: Manifest, package: str, lock: str | None) -> Iterator[Materialised]:
    """The tree; one that is new is removed again if the block does not end well.

    Raises:
        TrustError: The command runs no package, or the package cannot be installed as a whole.
    """
    command = parse_launcher(manifest.launch.host_argv, package)
    if command is None:
        raise TrustError(
            f"{manifest.launch.host_argv[0]!a} runs no package of npm or a Python index",
            hint="its manifest has the digest of what is executed; more cannot be pinned (python -m: --package)",
        )
    if isinstance(command, NpmCommand):
        data = _lock(lock) if lock else None
        made = materialise_npm(command, desk.store, _progress, now=desk.clock(), lock=data)
    elif lock:
        raise TrustError("--lock is for npm packages", hint="leave it out")
    else:
        made = materialise_pypi(command, desk.store, _progress)
    try:
        yield made
    except BaseException:
        if made.fresh:
            desk.store.remove(made.ecosystem, made.tree.sha256)
        raise


def _lock(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(limits.LOCK_BYTES + 1)
    if len(data) > limits.LOCK_BYTES:
        raise TrustError(f"{path} is larger than {limits.LOCK_BYTES} bytes", hint="give a package-lock.json")
    return data


def _progress(line: str) -> None:
    tell(f"  {line[:200]}")


def _asked_again(desk: Desk, manifest: Manifest, made: Materialised) -> Definitions:
    """What the server defines when it runs from the tree.

    Raises:
        TrustError: That is not what the manifest pins.
        UpstreamError: It does not start from the tree.
    """
    launch = manifest.launch
    argv = [word.replace(STORE, os.fspath(desk.store.directory)) for word in made.argv]
    probed = probe_now(
        argv,
        environ=os.environb,
        passed=launch.env_pass,
        fixed={name: value for name, value in launch.env_set.items() if SESSION_TMP not in value}
        | dict.fromkeys(launch.secret, PLACEHOLDER),
        cwd=launch.cwd if launch.cwd.startswith("/") else "",
        tell=_progress,
    )
    if differing := differences(manifest, probed.definitions):
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise TrustError(
            f"{made.package} {made.version} defines something else than what was trusted: {differing[0]}{more}",
            hint=f"look at it and accept it first: mcpguard server trust {manifest.name} --probe",
        )
    return probed.definitions


def differences(manifest: Manifest, definitions: Definitions) -> list[str]:
    """Sentences: in what definitions are not those that a manifest pins."""
    found: list[str] = []
    for kind, word in KINDS.items():
        ours, theirs = pinned_table(manifest, kind), definitions.digests(kind)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                how = "is new" if name not in ours else "is gone" if name not in theirs else "is another one"
                found.append(f"{word} {name!a} {how}")
    if manifest.instructions_sha256 != definitions.instructions_digest:
        found.append("the instructions are others")
    return found


def pinned(before: Manifest, mark: str, made: Materialised) -> Manifest:
    """The next version of a manifest: the same server, run from the tree.

    Args:
        before: The manifest in force.
        mark: Its digest, as `dsse.digest` gives it.
        made: The tree.
    """
    interpreter = made.interpreter
    return msgspec.structs.replace(
        before,
        version=before.version + 1,
        supersedes=mark,
        launch=msgspec.structs.replace(before.launch, argv=made.argv),
        executables=(ExecutablePin(interpreter.path, interpreter.sha256, interpreter.size),),
        packages=(
            PackagePin(
                ecosystem=made.ecosystem,
                lock_kind=made.lock_kind,
                lock_sha256=made.lock_sha256,
                count=made.count,
                integrity="sha512-all" if made.ecosystem == "npm" else "sha256-all",
                install_scripts="none",
                tree=made.tree.sha256,
            ),
        ),
    )


def shown(before: Manifest, after: Manifest, made: Materialised) -> list[str]:
    """What changes, in lines for a person."""
    package = after.packages[0]
    size = made.tree.bytes / limits.MIB
    lines = [
        f"{before.name}: {made.package} {made.version} ({made.ecosystem})",
        f"  runs now:    {shlex.join(before.launch.argv)}  [{before.pin}: {LABELS[before.pin]}]",
        f"  will run:    {shlex.join(after.launch.argv)}  [{after.pin}: {LABELS[after.pin]}]",
        f"  the host's:  {shlex.join(after.launch.host_argv)}  (compared, not executed)",
        f"  tree:        {package.count} packages, {made.tree.files} files, {size:.1f} MiB, {package.tree}",
        f"  lock:        {package.lock_kind}, {package.integrity}, {package.lock_sha256}",
        f"  interpreter: {made.interpreter.path}, {made.interpreter.sha256}",
        f"  still free:  {FREE[after.pin]}",
    ]
    return lines + [f"  note: {note}" for note in made.notes]
