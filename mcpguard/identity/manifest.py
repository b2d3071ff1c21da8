"""The manifest: what a server is, how it is started, and what it may define; a value, and its signed form.

The signed form is an in-toto Statement v1 with a predicate of our own. Its bytes are signed (`identity.dsse`), and
only those bytes are parsed.

Rule 1: *everything below `launch` and `tools` is understood, or the manifest is refused*; a manifest must say so
itself (`crit`), and any name in `crit` that this version does not know refuses it.
Rule 2: *the subjects are the digests of what runs*, no more and no fewer, so that whoever reads the statement with
other tools sees what is vouched for.

Not here: signatures, validity, versions seen, revocation (`identity.verification`); whether the files have these
digests (`system`); whether a variable may be given to a server at all (`credentials.environment`).

Decided:
    *Members outside of `crit` that are not known are named (`ignored`), not refused*, so that a publisher may state
    limits that only later versions enforce; who cannot accept that lists them in `crit`. Rejected: to drop them
    silently.
    *No `args`*: a word with `{arg:...}` is refused, as it would reach the server as text. Other words in braces are
    text.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.identity.pinlevel import command_level
from mcpguard.identity.remote import Remote, check_remote
from mcpguard.identity.statement import check_critical, parse_statement, parse_time, statement
from mcpguard.model import JsonObject

PREDICATE: Final = "urn:mcpguard:server-manifest:v1"
"""`predicateType` of a manifest."""
STORE: Final = "{store}"
"""Stands for the directory of package trees; a tree is at `{store}/ECOSYSTEM/TREE`."""
SESSION_TMP: Final = "{session_tmp}"
"""Stands for a directory that is made for one session and removed with it."""
HOST_CWD: Final = "{host_cwd}"
"""As `cwd`: the directory that the host starts the server in."""

_CRITICAL: Final = ("launch", "tools")
_NAME: Final = r"\A(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?/)?[A-Za-z0-9][A-Za-z0-9._-]*\Z"
_VARIABLE: Final = r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z"
_HEX: Final = r"\A[0-9a-f]{64}\Z"
_DIGEST: Final = r"\A(?:sha256:[0-9a-f]{64})?\Z"
_WORD: Final = r"\A[^\x00]*\Z"
_PLACEHOLDER: Final = re.compile(r"\{(?:store|session_tmp|host_cwd|arg:[^}]*)\}")
_SWITCH: Final = re.compile(r"-[IBEPSsbdqu]+|--(?:enable-source-maps|no-warnings|no-deprecation)")
"""Switches of Python and of Node that load nothing; others make the level lower."""

Name = Annotated[str, msgspec.Meta(pattern=_NAME, max_length=limits.MANIFEST_NAME_CHARS)]
Sha256 = Annotated[str, msgspec.Meta(pattern=_HEX)]
Word = Annotated[str, msgspec.Meta(pattern=_WORD, max_length=limits.MANIFEST_WORD_CHARS)]
Variable = Annotated[str, msgspec.Meta(pattern=_VARIABLE)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.MANIFEST_TITLE_CHARS)]
Label = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]{0,63}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=limits.ID_MAX)]
Argv = Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=limits.MANIFEST_ARGV)]
Variables = Annotated[dict[Variable, Word], msgspec.Meta(max_length=limits.MANIFEST_VARIABLES)]


class Launch(msgspec.Struct, frozen=True):
    """How the server is started.

    Attributes:
        argv: What is executed; `argv[0]` is absolute, or in a package's tree below `{store}`.
        host_argv: What the host's configuration says instead; compared, never executed.
        cwd: Working directory: absolute, `{host_cwd}` or `{session_tmp}`.
        env_set: Variables with their values, in which `{store}` and `{session_tmp}` are replaced as in `argv`.
        env_pass: Names of variables that are taken from the host's environment, where it has them.
        secret: Variables whose values are looked up when the server starts: name to reference.
        remote: The server that is connected to instead of starting one; `argv` is then its URL alone.
    """

    argv: tuple[str, ...]
    host_argv: tuple[str, ...]
    cwd: str = HOST_CWD
    env_set: dict[str, str] = {}
    env_pass: tuple[str, ...] = ()
    secret: dict[str, str] = {}
    remote: Remote | None = None


class ExecutablePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that is executed, or that an interpreter is told to run. `size` in bytes."""

    path: Annotated[Word, msgspec.Meta(min_length=1)]
    sha256: Sha256
    size: Count


class PackagePin(msgspec.Struct, frozen=True):
    """An installed package tree.

    Attributes:
        ecosystem: `npm` or `pypi`.
        lock_kind: Format of the lock file, as `package-lock.json@3`.
        lock_sha256: Digest of the lock file's bytes, hex.
        count: Packages in the tree.
        integrity: What the lock file holds for each of them, as `sha512-all`.
        install_scripts: `none`: none was run.
        tree: `mcpguard-tree-v1` digest of the installed tree, hex.
    """

    ecosystem: str
    lock_kind: str
    lock_sha256: str
    count: int
    integrity: str
    install_scripts: str
    tree: str


class Manifest(msgspec.Struct, frozen=True):
    """What one version of a server is.

    Attributes:
        name: `io.github.acme/files`, or a plain local name.
        version: From 1, rising.
        not_before: RFC 3339: valid from.
        expires: RFC 3339: no longer valid from.
        supersedes: `sha256:HEX` of the payload of the version before; empty for none.
        launch: How it is started.
        executables: Files whose digests are pinned; that of `launch.argv[0]` among them unless it is in the store.
        packages: Installed trees whose digests are pinned.
        server_name: What the server calls itself in its handshake.
        instructions_sha256: Digest of its instructions, hex; empty: it gives none.
        capabilities: Names of the capabilities that it declared.
        server_requests: Requests that it may make of its host.
        tools: Name to digest of the whole definition.
        risks: Name of a tool to what the manifest's author says of it; shown, never believed.
        reads: Name of a tool to labels of what its answers carry, such as `untrusted` or `private`.
        sends: Name of a tool to labels of where it sends what it is given, such as `external`.
        prompts: Name to digest.
        resource_templates: URI template to digest.
        resources: URI patterns.
        ignored: Members that this version does not know; shown with a manifest.
    """

    name: str
    version: int
    not_before: str
    expires: str
    launch: Launch
    executables: tuple[ExecutablePin, ...] = ()
    packages: tuple[PackagePin, ...] = ()
    supersedes: str = ""
    server_name: str = ""
    instructions_sha256: str = ""
    capabilities: tuple[str, ...] = ()
    server_requests: tuple[str, ...] = ()
    tools: dict[str, str] = {}
    risks: dict[str, str] = {}
    reads: dict[str, tuple[str, ...]] = {}
    sends: dict[str, tuple[str, ...]] = {}
    prompts: dict[str, str] = {}
    resource_templates: dict[str, str] = {}
    resources: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """What precedes the slash of the name; `local` if there is none."""
        return self.name.partition("/")[0] if "/" in self.name else "local"

    @property
    def subject(self) -> dict[str, str]:
        """Name to SHA-256, hex, of everything that is vouched for."""
        files = {pin.path: pin.sha256 for pin in self.executables}
        if self.launch.remote is not None:
            files[self.launch.remote.url] = self.launch.remote.digest
        return files | {f"tree:{pin.ecosystem}": pin.tree for pin in self.packages}

    @property
    def pin(self) -> str:
        """`pin_level` on a machine that enforces nothing."""
        return self.pin_level()

    def pin_level(self, *, guarded: bool = False, immutable: bool = False) -> str:
        """`P0` to `P4`; `identity.pinlevel` has the words.

        Args:
            guarded: The running server cannot write to the store.
            immutable: The kernel keeps everybody from writing to it (read-only image, fs-verity, owned by root).
        """
        if self.launch.remote is not None:
            return "P1"  # who answers is known, what runs there is not
        whole = all(pin.install_scripts == "none" and pin.integrity.endswith("-all") for pin in self.packages)
        if not self.packages or not whole or not _starts_in_tree(self):
            return command_level(self.launch.host_argv)
        if not guarded or not self.executables:  # without a digest of the interpreter
            return "P2"
        return "P4" if immutable else "P3"

    def pins(self) -> DefinitionPins:
        """What the gate compares definitions with."""
        return DefinitionPins(
            tools=self.tools,
            prompts=self.prompts,
            templates=self.resource_templates,
            instructions=self.instructions_sha256,
            server_name=self.server_name,
        )


# --- the signed form ---------------------------------------------------------------------------------------


class _Environment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    set: Variables = {}
    pass_: Annotated[tuple[Variable, ...], msgspec.Meta(max_length=limits.MANIFEST_VARIABLES)] = (
        msgspec.field(name="pass", default=())
    )
    secret: Variables = {}


class _Launch(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    argv: Argv
    host_argv: Argv
    cwd: Word = HOST_CWD
    env: _Environment = _Environment()
    remote: Remote | msgspec.UnsetType = msgspec.UNSET


class _Lock(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    kind: Title
    sha256: Sha256


class _Tree(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    algo: Annotated[str, msgspec.Meta(pattern=r"\Amcpguard-tree-v1\Z")]
    sha256: Sha256


class _Package(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    ecosystem: Annotated[str, msgspec.Meta(pattern=r"\A(?:npm|pypi)\Z")]
    lock: _Lock
    count: Count
    integrity: Title
    install_scripts: Title
    tree: _Tree


class _Protocol(msgspec.Struct, frozen=True):
    server_name: Annotated[str, msgspec.Meta(max_length=limits.MANIFEST_TITLE_CHARS)] = ""
    instructions_sha256: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")] = ""
    capabilities: Annotated[tuple[Title, ...], msgspec.Meta(max_length=64)] = ()
    server_requests: Annotated[tuple[Title, ...], msgspec.Meta(max_length=64)] = ()


class _Definition(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.URI_CHARS)]
    definition_sha256: Sha256
    risk: Annotated[str, msgspec.Meta(max_length=limits.MANIFEST_TITLE_CHARS)] = ""
    reads: Annotated[tuple[Label, ...], msgspec.Meta(max_length=16)] = ()
    sends: Annotated[tuple[Label, ...], msgspec.Meta(max_length=16)] = ()


class _Resource(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.URI_CHARS)]


_Definitions = Annotated[tuple[_Definition, ...], msgspec.Meta(max_length=limits.TOOLS)]


class _Predicate(msgspec.Struct, frozen=True):
    name: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=limits.ID_MAX)]
    not_before: str
    expires: str
    crit: Annotated[tuple[Title, ...], msgspec.Meta(max_length=64)]
    launch: _Launch
    tools: _Definitions
    supersedes: Annotated[str, msgspec.Meta(pattern=_DIGEST)] = ""
    executables: Annotated[tuple[ExecutablePin, ...], msgspec.Meta(max_length=limits.MANIFEST_FILES)] = ()
    packages: Annotated[tuple[_Package, ...], msgspec.Meta(max_length=1)] = ()
    protocol: _Protocol = _Protocol()
    prompts: _Definitions = ()
    resource_templates: _Definitions = ()
    resources: Annotated[tuple[_Resource, ...], msgspec.Meta(max_length=limits.TOOLS)] = ()


def parse_manifest(payload: bytes) -> Manifest:
    """The manifest that a payload states.

    Not here: the signature over the payload. Order: it was verified, or the result is shown and nothing more.

    Raises:
        TrustError: It is not strict JSON, not a manifest, contradicts itself, or demands what is not known here;
            the message names the member.
    """
    subject, predicate = parse_statement(payload, PREDICATE)
    try:
        read = msgspec.convert(predicate, type=_Predicate)
    except msgspec.ValidationError as error:
        raise _refuse(*_placed(str(error))) from error
    known = frozenset(read.__struct_fields__)
    check_critical(predicate, known)
    if missing := [name for name in _CRITICAL if name not in read.crit]:
        raise _refuse("predicate.crit", f'"{missing[0]}" is not listed')
    manifest = _manifest(read, tuple(sorted(set(predicate) - known)))
    _check_times(manifest)
    _check_launch(manifest)
    _check_subject(subject, manifest)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """The payload that states a manifest: what is signed.

    Raises:
        TrustError: `parse_manifest` would refuse it; nothing that cannot be read back is ever signed.
    """
    predicate: JsonObject = msgspec.to_builtins(_predicate(manifest))
    payload = statement(PREDICATE, manifest.subject, predicate)
    parse_manifest(payload)
    return payload


def _manifest(read: _Predicate, ignored: tuple[str, ...]) -> Manifest:
    launch, environment = read.launch, read.launch.env
    return Manifest(
        name=read.name, version=read.version, not_before=read.not_before, expires=read.expires,
        supersedes=read.supersedes,
        launch=Launch(
            argv=launch.argv, host_argv=launch.host_argv, cwd=launch.cwd,
            env_set=environment.set, env_pass=environment.pass_, secret=environment.secret,
            remote=launch.remote or None,
        ),
        executables=read.executables,
        packages=tuple(
            PackagePin(
                pin.ecosystem, pin.lock.kind, pin.lock.sha256, pin.count, pin.integrity, pin.install_scripts,
                pin.tree.sha256,
            )
            for pin in read.packages
        ),
        server_name=read.protocol.server_name,
        instructions_sha256=read.protocol.instructions_sha256,
        capabilities=read.protocol.capabilities,
        server_requests=read.protocol.server_requests,
        tools=_table("tools", read.tools),
        risks={tool.name: tool.risk for tool in read.tools if tool.risk},
        reads={tool.name: tool.reads for tool in read.tools if tool.reads},
        sends={tool.name: tool.sends for tool in read.tools if tool.sends},
        prompts=_table("prompts", read.prompts),
        resource_templates=_table("resource_templates", read.resource_templates),
        resources=tuple(resource.pattern for resource in read.resources),
        ignored=ignored,
    )  # fmt: skip


def _predicate(manifest: Manifest) -> _Predicate:
    launch = manifest.launch
    environment = _Environment(launch.env_set, launch.env_pass, launch.secret)
    return _Predicate(
        name=manifest.name, version=manifest.version, not_before=manifest.not_before, expires=manifest.expires,
        supersedes=manifest.supersedes, crit=_CRITICAL,
        launch=_Launch(launch.argv, launch.host_argv, launch.cwd, environment, launch.remote or msgspec.UNSET),
        executables=manifest.executables,
        packages=tuple(
            _Package(
                pin.ecosystem, _Lock(pin.lock_kind, pin.lock_sha256), pin.count, pin.integrity,
                pin.install_scripts, _Tree("mcpguard-tree-v1", pin.tree),
            )
            for pin in manifest.packages
        ),
        protocol=_Protocol(
            manifest.server_name, manifest.instructions_sha256, manifest.capabilities, manifest.server_requests
        ),
        tools=tuple(
            _Definition(
                name, digest, manifest.risks.get(name, ""), manifest.reads.get(name, ()),
                manifest.sends.get(name, ()),
            )
            for name, digest in manifest.tools.items()
        ),
        prompts=tuple(_Definition(name, digest) for name, digest in manifest.prompts.items()),
        resource_templates=tuple(
            _Definition(name, digest) for name, digest in manifest.resource_templates.items()
        ),
        resources=tuple(_Resource(pattern) for pattern in manifest.resources),
    )  # fmt: skip


def _table(member: str, definitions: tuple[_Definition, ...]) -> dict[str, str]:
    table: dict[str, str] = {}
    for place, definition in enumerate(definitions):
        if definition.name in table:
            raise _refuse(f"predicate.{member}[{place}].name", f"{definition.name!a} is there twice")
        table[definition.name] = definition.definition_sha256
    return table


def _check_times(manifest: Manifest) -> None:
    begin = parse_time(manifest.not_before, "predicate.not_before")
    if parse_time(manifest.expires, "predicate.expires") <= begin:
        raise _refuse("predicate.expires", "is not after not_before")


def _check_launch(manifest: Manifest) -> None:
    launch = manifest.launch
    if launch.remote is not None:
        _check_remote(manifest, launch.remote)
    for place, word in enumerate(launch.argv):
        _check_placeholders(f"predicate.launch.argv[{place}]", word)
    for name, value in launch.env_set.items():
        _check_placeholders(f"predicate.launch.env.set.{name}", value)
    if launch.cwd not in (SESSION_TMP, HOST_CWD) and (
        not launch.cwd.startswith("/") or _PLACEHOLDER.search(launch.cwd)
    ):
        raise _refuse("predicate.launch.cwd", f"is none of an absolute path, {HOST_CWD} and {SESSION_TMP}")
    for pin in manifest.executables:
        if not pin.path.startswith(("/", STORE + "/")):
            raise _refuse("predicate.executables", f"{pin.path!a} is neither absolute nor below {STORE}")
    if strange := [word for word in _words(manifest) if not _in_trees(manifest, word)]:
        raise _refuse("predicate.packages", f"no tree of it holds {strange[0]!a}")
    if not _vouched(manifest):
        raise _refuse("predicate.executables", f"nothing vouches for {launch.argv[0]!a}")
    names = [*launch.env_set, *launch.env_pass, *launch.secret]
    if twice := [name for name in names if names.count(name) > 1]:
        raise _refuse("predicate.launch.env", f"{twice[0]} is there twice")


def _check_remote(manifest: Manifest, remote: Remote) -> None:
    launch = manifest.launch
    try:
        check_remote(remote)
    except TrustError as error:
        raise _refuse("predicate.launch.remote", error.message) from error
    if launch.argv != (remote.url,):
        raise _refuse("predicate.launch.argv", "is not the URL of the remote server alone")
    if manifest.executables or manifest.packages or launch.env_set or launch.env_pass:
        raise _refuse("predicate.launch.remote", "nothing is started, so there are no files and no variables")


def _words(manifest: Manifest) -> tuple[str, ...]:
    launch = manifest.launch
    return (*launch.argv, *launch.env_set.values(), *(pin.path for pin in manifest.executables))


def _trees(manifest: Manifest) -> list[str]:
    return [f"{STORE}/{pin.ecosystem}/{pin.tree}" for pin in manifest.packages]


def _in_trees(manifest: Manifest, word: str) -> bool:
    """Whether every place in the store that a word names is in a tree whose digest is stated, and stays there."""
    _, *places = word.split(STORE)
    return all(
        ".." not in place.split("/")
        and any(f"{STORE}{place}/".startswith(tree + "/") for tree in _trees(manifest))
        for place in places
    )


def _vouched(manifest: Manifest) -> bool:
    """Whether the digest of what is executed is stated: of the file, or of the tree that it is in."""
    program = manifest.launch.argv[0]
    if manifest.launch.remote is not None:
        return True
    return program.startswith(STORE + "/") or any(pin.path == program for pin in manifest.executables)


def _starts_in_tree(manifest: Manifest) -> bool:
    """Whether the program, or the script that it is given after switches that load nothing, is in a tree."""
    argv = manifest.launch.argv
    words = [argv[0], *(word for word in argv[1:] if not _SWITCH.fullmatch(word))]
    return any(word.startswith(STORE + "/") for word in words[:2])


def _check_placeholders(path: str, word: str) -> None:
    for found in _PLACEHOLDER.findall(word):
        if found not in (STORE, SESSION_TMP):
            raise _refuse(path, f"{found!a} cannot be used here")


def _check_subject(stated: dict[str, str], manifest: Manifest) -> None:
    vouched = manifest.subject
    remote = manifest.launch.remote is not None
    if len(vouched) != len(manifest.executables) + len(manifest.packages) + remote:
        raise _refuse("predicate.executables", "the same path is there twice")
    if sorted(stated.values()) != sorted(vouched.values()):
        raise _refuse("subject", "its digests are not those of the executables and packages")


def _placed(message: str) -> tuple[str, str]:
    """What msgspec says, as path and reason: ` - at ` precedes the path, of a key it says ``key` in `PATH``."""
    reason, _, place = message.partition(" - at ")
    place = place.removeprefix("`key` in ").strip("`").removeprefix("$")
    return f"predicate{place}", reason[:1].lower() + reason[1:]


def _refuse(path: str, reason: str) -> TrustError:
    return TrustError(
        f"the manifest is not acceptable: {path}: {reason}", hint="ask whoever signed it for one that is"
    )
