"""Secrets for servers: looked up when one starts, given to that one alone, counted, and taken back.

Rule 1: a server gets what its signed manifest names, or, without one, what a person has kept for exactly this server
(`vault.Binding`: name, command, variable). That a host's configuration names a secret gives it to nobody.
Rule 2: a secret that is missing, empty, locked or expired is no reason to start with less: the server does not start.
Rule 3: a value is known to the redactor before it goes anywhere, and the record of it is written before.
Rule 4: whoever runs without a manifest and with a secret has the PATH and the HOME of the person who kept it, and no
variable that they did not see: else whoever starts it chooses the program that reads the secret.

Not here: the verbs of people (`secretdesk`), handles in calls (`gate.handles`).

Decided:
    *Variables with a fixed value must have it*, because `API_HOST=elsewhere` sends the secret there; rejected: to put
    the value of that day there silently, which makes a change of the configuration do nothing.
    *The working directory is the host's*, as the server would not find its project elsewhere. What a command looks
    up there by itself (npx: `node_modules`) is not held; `mcpguard server pin` holds that.
    *Secrets of other places are looked up anew at each start and never kept*, so that theirs is the last word.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.audit import record, redact
from mcpguard.credentials.environment import for_manifest
from mcpguard.credentials.secretref import HOST_PREFIX, SecretRef, host_name, parse_ref
from mcpguard.daemon.launching import SESSION, Launch
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.registry import Registered
from mcpguard.errors import SecretError
from mcpguard.model import HANDLE
from mcpguard.protocol.hello import Hello
from mcpguard.system import vaultkey
from mcpguard.system.secretplaces import resolve, usable
from mcpguard.system.secretuse import SecretUse
from mcpguard.system.vault import Binding, Vault

_log: Final = logging.getLogger("mcpguard")


class Wanted(msgspec.Struct, frozen=True):
    """A variable of a server and where its value comes from."""

    variable: str
    ref: SecretRef


class Given(msgspec.Struct, frozen=True):
    """What one server has.

    Attributes:
        refs: References, as people are told them.
        words: What stands in the place of each value in what the server says.
    """

    refs: tuple[str, ...] = ()
    words: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return f"<Given {self.refs}>"


class Secrets:
    """Gives secrets to the servers of one daemon.

    Args:
        vault: Our own.
        use: The counters.
        recorder: Where it is recorded.
        runtime: The directory in which those of sessions are made.
        clock: Unix seconds.
    """

    def __init__(
        self,
        vault: Vault,
        use: SecretUse,
        recorder: Recorder,
        runtime: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runtime = runtime
        self.vault = vault
        self.use = use
        self.clock = clock
        self._recorder = recorder
        self._held: dict[str, Given] = {}
        self._due = 0.0

    # --- a server starts -----------------------------------------------------------------------------------

    async def give(
        self, ident: str, start: bytes, server: str, found: Registered | None, hello: Hello, launch: Launch
    ) -> Launch:
        """The same launch with the secrets of this server; recorded, counted and held under `ident`.

        Args:
            ident: The connection.
            start: What its records begin with.
            server: The server's name.
            found: Its manifest; None if it has none.
            hello: What the shim asks for.
            launch: How it is started without them.

        Raises:
            SecretError: One of them cannot be had, or is not for this server.
            JournalError: It cannot be recorded.
        """
        named = _named_by_host(hello, found)
        if not named and (found is None or not found.manifest.launch.secret):
            return launch
        wanted = _of_manifest(found)
        if named:
            bindings = await asyncio.to_thread(self._bindings, server, found, hello, named)
            wanted += [
                Wanted(variable, SecretRef("vault", name)) for variable, name in named.items() if bindings
            ]
            if found is None:
                launch = msgspec.structs.replace(launch, env=_narrowed(hello, bindings))
        values = await asyncio.to_thread(self._values, wanted)
        redact.current().learn(pieces(values.values()))
        refs = tuple(dict.fromkeys(one.ref.told for one in wanted))
        self._recorder.append([
            record.secret("given", one.ref.told, start, variable=one.variable) for one in wanted
        ])  # fmt: skip
        for ref in refs:
            self.use.note(ref, server, self.clock())
        self.use.save()
        before = self._held.get(ident)
        words = before.words if before is not None else {}  # the gate of the connection has this very object
        words.update({values[one.variable]: _word(one) for one in wanted})
        self._held[ident] = Given(refs, words)
        taken = {one.variable.encode() for one in wanted}
        env = [entry for entry in launch.env if entry.partition(b"=")[0] not in taken]
        scratch, paths_of = await asyncio.to_thread(self._files, wanted, values, launch.scratch)
        env += [
            one.variable.encode() + b"=" + paths_of.get(one.variable, values[one.variable]) for one in wanted
        ]
        return msgspec.structs.replace(launch, env=env, scratch=scratch)

    def of(self, ident: str) -> Given:
        """What the server of a connection has."""
        return self._held.get(ident, Given())

    def ended(self, ident: str) -> None:
        """A connection is over."""
        self._held.pop(ident, None)

    def holders(self, ref: str) -> list[str]:
        """The connections whose servers have a secret."""
        return [ident for ident, given in self._held.items() if ref in given.refs]

    def expired(self) -> dict[str, str]:
        """Connections whose secrets have expired, and what is said of that. Asked now and then."""
        now = self.clock()
        held = {ref for given in self._held.values() for ref in given.refs if ref.startswith(_VAULT)}
        if not held or now < self._due:
            return {}
        self._due = now + _LOOK_SECONDS
        try:
            facts = self.vault.facts()
        except SecretError as error:
            _log.warning("%s", error.sentence())
            return {}
        over = [
            ref for ref in held
            if (fact := facts.get(ref.removeprefix(_VAULT))) is not None and 0 < fact.expires <= now
        ]  # fmt: skip
        return {
            ident: f"the secret {ref.removeprefix(_VAULT)!a} of its server has expired"
            for ref in over for ident in self.holders(ref)
        }  # fmt: skip

    # --- handles in calls (`gate.handles.Filler`) ----------------------------------------------------------

    def known(self, name: str) -> bool:
        """Whether there is a secret of this name; if the vault cannot be read, any could be there."""
        try:
            return name in self.vault.facts()
        except SecretError:
            return True

    def filler(self, server: str) -> Filler:
        """What fills the handles of calls of one server."""
        return Filler(self, server)

    def text(self, name: str, server: str) -> str:
        """The value of a secret as text; counted.

        Raises:
            SecretError: It cannot be had, or is not text.
        """
        self._unlock()
        value = usable(self._unexpired(name), f"{_VAULT}{name}", variable=False)
        redact.current().learn(pieces([value]))
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise SecretError(f"the secret {name!a} is not text, which arguments are") from error
        self.use.note(f"{_VAULT}{name}", server, self.clock())
        return text

    # --- looking up ----------------------------------------------------------------------------------------

    def unlock(self) -> None:
        """Open the vault where that needs nobody. Blocks.

        Raises:
            SecretError: It does.
        """
        self._unlock()

    def _unlock(self) -> None:
        if self.vault.locked:
            ident, how = self.vault.how()
            self.vault.open(vaultkey.find(how, ident))

    def _values(self, wanted: Iterable[Wanted]) -> dict[str, bytes]:
        """Values by variable. Blocks."""
        found = {}
        for one in wanted:
            ref = one.ref
            try:
                if ref.scheme == "vault" or ref.way == "sealed":
                    self._unlock()
                if ref.scheme == "vault":
                    found[one.variable] = usable(
                        self._unexpired(ref.name), ref.told, variable=not ref.as_file
                    )
                else:
                    found[one.variable] = resolve(ref, self.vault)
            except SecretError as error:
                raise SecretError(
                    f"the server is not started without {one.variable}: {error.message}", hint=error.hint
                ) from error
        return found

    def _files(
        self, wanted: Iterable[Wanted], values: Mapping[str, bytes], scratch: str
    ) -> tuple[str, dict[str, bytes]]:
        """Files for what a server gets as one: their directory, gone with the session, and paths by variable. Blocks.

        Raises:
            SecretError: They cannot be written.
        """
        made, made_here = {}, False
        try:
            for one in wanted:
                if one.ref.as_file:
                    if not scratch:
                        scratch, made_here = tempfile.mkdtemp(prefix=SESSION, dir=self._runtime), True
                    place = os.path.join(scratch, f"secret-{secrets.token_hex(8)}")  # noqa: PTH118 (a name of ours)
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    with open(os.open(place, flags, 0o600), "wb") as file:  # noqa: PTH123 (a descriptor)
                        file.write(values[one.variable])
                    made[one.variable] = os.fsencode(place)
        except OSError as error:
            if made_here:
                shutil.rmtree(scratch, ignore_errors=True)
            why = (error.strerror or str(error)).lower()
            raise SecretError(
                f"the server is not started: its secret cannot be put into a file: {why}"
            ) from error
        return scratch, made

    def _unexpired(self, name: str) -> bytes:
        fact, value = self.vault.entry(name)
        if 0 < fact.expires <= self.clock():
            raise SecretError(f"the secret {name!a} has expired", hint=f"mcpguard secret rotate {name}")
        return value

    def _bindings(
        self, server: str, found: Registered | None, hello: Hello, named: Mapping[str, str]
    ) -> list[Binding]:
        """The bindings of the secrets that a host's configuration names, one for each. Blocks.

        Raises:
            SecretError: One is not kept for this server, or what it was kept for is another one now.
        """
        if hello.kind == "connect":
            raise SecretError(
                f"the server {server!a} runs already, and cannot be given a secret",
                hint="have it started by mcpguard run -- COMMAND",
            )
        self._unlock()
        facts = self.vault.proven()
        chosen = []
        for variable, name in named.items():
            if name not in facts:
                raise SecretError(f"there is no secret {name!a}", hint=f"mcpguard secret set {name}")
            meant = [one for one in facts[name].bindings if one.server == server and one.variable == variable]
            if found is None:
                meant = [one for one in meant if one.argv == argv_digest(hello.argv)]
            if not meant:
                raise SecretError(
                    f"the secret {name!a} is not kept for the server {server!a} with this command, as {variable}",
                    hint=f"mcpguard secret allow {name} --server {server}",
                )
            if found is None:
                _require_constants(meant[0], name, hello)
            chosen.append(meant[0])
        return chosen


_VAULT: Final = "vault://"
_LOOK_SECONDS: Final = 5.0


class Filler:
    """Fills the handles of calls of one server (`gate.handles.Filler`)."""

    def __init__(self, secrets: Secrets, server: str) -> None:
        self._secrets = secrets
        self._server = server

    def known(self, name: str) -> bool:
        """Whether there is a secret of this name."""
        return self._secrets.known(name)

    def value(self, name: str) -> str:
        """Its value.

        Raises:
            SecretError: It cannot be had.
        """
        return self._secrets.text(name, self._server)


def argv_digest(argv: Iterable[bytes]) -> str:
    """What a binding calls a command: SHA-256 of its words, each ended by NUL."""
    return hashlib.sha256(b"".join(word + b"\0" for word in argv)).hexdigest()


def pieces(values: Iterable[bytes]) -> list[bytes]:
    """Values as the redactor can know them: one that is too long in pieces, each of which it finds."""
    most = limits.KNOWN_SECRET_BYTES
    return [value[at : at + most] for value in values for at in range(0, len(value), most)]


def _word(one: Wanted) -> str:
    """What stands in the place of a value: its handle if it has one, else the name of the variable."""
    return f"{HANDLE}{one.ref.name}}}" if one.ref.scheme == "vault" else f"«secret {one.variable}»"


def _of_manifest(found: Registered | None) -> list[Wanted]:
    if found is None:
        return []
    return [Wanted(variable, parse_ref(text)) for variable, text in found.manifest.launch.secret.items()]


def _named_by_host(hello: Hello, found: Registered | None) -> dict[str, str]:
    """Variables whose values a host's configuration leaves to us, and the names of the secrets.

    What the manifest does not pass on never reaches the server, whatever it says.
    """
    named = {}
    passed = None if found is None else {name.encode() for name in found.manifest.launch.env_pass}
    for entry in hello.env:
        variable, _, value = entry.partition(b"=")
        if passed is not None and variable not in passed:
            continue
        if value.startswith(HOST_PREFIX) and (name := host_name(value)) is not None:
            named[variable.decode("utf-8", "replace")] = name
    return named


def _require_constants(binding: Binding, name: str, hello: Hello) -> None:
    """Refuse to start where a variable is another one than the person saw who kept the secret."""
    said = dict(entry.partition(b"=")[::2] for entry in hello.env)
    for variable, digest in binding.constants.items():
        value = said.get(variable.encode())
        if value is None or hashlib.sha256(value).hexdigest() != digest:
            raise SecretError(
                f"the variable {variable} is another one than when {name!a} was kept for {binding.server!a}",
                hint=f"look at it, then: mcpguard secret allow {name} --server {binding.server}",
            )


def _narrowed(hello: Hello, bindings: list[Binding]) -> list[bytes]:
    """The environment of a server without a manifest that gets secrets."""
    passed = {name for one in bindings for name in (*one.passed, *one.constants)}
    fixed = {"PATH": bindings[0].path, "HOME": bindings[0].home}
    return for_manifest(hello.env, passed, {name: value for name, value in fixed.items() if value})
