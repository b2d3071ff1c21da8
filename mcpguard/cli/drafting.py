"""Draft a manifest of a command: what it runs, with digests, and what it said of itself when it was probed."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.credentials.environment import for_manifest
from mcpguard.credentials.secretref import parse_ref
from mcpguard.daemon.probed import Probed
from mcpguard.errors import TrustError
from mcpguard.identity.described import Definitions
from mcpguard.identity.manifest import HOST_CWD, SESSION_TMP, STORE, ExecutablePin, Launch, Manifest
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject
from mcpguard.system.pinned import digest_of

EXPIRES: Final = "1y"
"""How long a manifest that is drafted here holds, unless something else is asked for."""

PLACEHOLDER: Final = "mcpguard-probes-without-secrets"
"""What a server that is probed has in the place of a secret."""

_INTERPRETER: Final = re.compile(r"(?:python|pypy|node|ruby|perl|php|bash|sh|dash|zsh|bun|deno)[0-9.]*")
_CODE: Final = frozenset({"-c", "-e", "-m", "-p", "--eval", "--print"})
"""Options after which an interpreter gets code or a module instead of a file."""
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([hdwy])")
_HOURS: Final = {"h": 1, "d": 24, "w": 24 * 7, "y": 24 * 365}


class Asked(msgspec.Struct, frozen=True):
    """What a person asked to be registered.

    Attributes:
        name: Under which name.
        argv: The command.
        host_argv: What the host's configuration has instead; empty for the same.
        cwd: Working directory, absolute; empty for that of the host.
        passed: Names of variables that the server gets from the host.
        fixed: Variables that are set for it.
        secret: Variables whose values are looked up when it starts: name to reference.
    """

    name: str
    argv: tuple[str, ...]
    host_argv: tuple[str, ...] = ()
    cwd: str = ""
    passed: tuple[str, ...] = ()
    fixed: dict[str, str] = {}
    secret: dict[str, str] = {}

    @property
    def probing(self) -> dict[str, str]:
        """The variables for a probe, which gets no secret: servers that only look whether there is one start."""
        return self.fixed | dict.fromkeys(self.secret, PLACEHOLDER)


def draft(asked: Asked, probed: Probed, *, version: int, now: dt.datetime, lasting: dt.timedelta) -> Manifest:
    """A manifest of what was asked and probed; unsigned.

    Raises:
        TrustError: The command, or what it says, cannot be described.
    """
    launch = Launch(
        argv=(resolved(asked.argv[0], asked.cwd), *asked.argv[1:]),
        host_argv=asked.host_argv or asked.argv,
        cwd=asked.cwd or HOST_CWD,
        env_set=asked.fixed,
        env_pass=asked.passed,
        secret=asked.secret,
    )
    if any(word in text for text in (*launch.argv, *asked.fixed.values()) for word in (STORE, SESSION_TMP)):
        raise TrustError(
            f"the command has {STORE} or {SESSION_TMP} in it, which stand for something else in a manifest",
            hint="write it in another way",
        )
    manifest = Manifest(
        name=asked.name,
        version=version,
        not_before=format_time(now),
        expires=format_time(now + lasting),
        launch=launch,
        executables=executables(launch.argv, asked.cwd),
        server_requests=probed.requests,
        capabilities=probed.capabilities,
    )
    return described(manifest, probed.definitions, server_name=probed.name)


def described(manifest: Manifest, definitions: Definitions, *, server_name: str) -> Manifest:
    """The manifest with these definitions pinned.

    Raises:
        TrustError: One of them cannot be pinned.
    """
    return msgspec.structs.replace(
        manifest,
        server_name=server_name,
        instructions_sha256=definitions.instructions_digest,
        tools=definitions.digests("tools"),
        risks={name: risk for name, tool in definitions.tools.items() if (risk := risk_of(tool))},
        prompts=definitions.digests("prompts"),
        resource_templates=definitions.digests("resourceTemplates"),
        resources=definitions.resources[: limits.TOOLS],
    )


def risk_of(tool: JsonObject) -> str:
    """What a tool's annotations say of it: `read`, `write` or `destructive`; empty if they say nothing.

    Source: MCP server/tools, ToolAnnotations; a hint of the server, to be believed only as far as the server is.
    """
    hints = tool.get("annotations")
    if not isinstance(hints, dict):
        return ""
    if hints.get("readOnlyHint") is True:
        return "read"
    if hints.get("destructiveHint") is True:
        return "destructive"
    return "write" if hints.get("destructiveHint") is False or hints.get("readOnlyHint") is False else ""


# --- what runs ---------------------------------------------------------------------------------------------


def resolved(program: str, cwd: str, path: str | None = None) -> str:
    """The absolute path of a program, links and all; a virtual environment is known by its link.

    Raises:
        TrustError: There is none.
    """
    if "/" in program:
        found = os.path.abspath(os.path.join(cwd or "/", program))  # noqa: PTH100, PTH118 (keeps links)
        if not program.startswith("/") and not cwd:
            raise TrustError(
                f"{program!a} depends on the directory that the host starts it in",
                hint="give its absolute path, or name the directory with --cwd",
            )
        return found
    found = shutil.which(program, path=path) or ""
    if not found:
        raise TrustError(
            f"there is no program {program!a} in PATH", hint="install it, or give its absolute path"
        )
    return os.path.abspath(found)  # noqa: PTH100 (as above)


def executables(argv: Sequence[str], cwd: str) -> tuple[ExecutablePin, ...]:
    """Digests of the program, of the interpreter in its first line, and of the script that it is told to run.

    Raises:
        TrustError: One of them cannot be read.
    """
    paths = [argv[0]]
    if behind := _interpreter(argv[0]):
        paths.append(behind)
    if script := _script(argv, cwd):
        paths.append(script)
    return tuple(pinned(path) for path in dict.fromkeys(paths))


def pinned(path: str) -> ExecutablePin:
    """The digest of a file now.

    Raises:
        TrustError: It cannot be read.
    """
    return ExecutablePin(path, digest_of(path), Path(path).stat().st_size)


def _interpreter(program: str) -> str:
    """What the first line of a script names, through env if it does; empty if it is no script."""
    try:
        with Path(program).open("rb") as file:
            line = file.readline(1024)
    except OSError:
        return ""
    if not line.startswith(b"#!"):
        return ""
    words = os.fsdecode(line[2:].strip()).split()
    if words and words[0].rsplit("/", 1)[-1] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        return resolved(words[0], "") if words else ""
    return words[0] if words and words[0].startswith("/") else ""


def _script(argv: Sequence[str], cwd: str) -> str:
    """The file that an interpreter is told to run; empty if there is none, or it is told otherwise."""
    if not _INTERPRETER.fullmatch(argv[0].rsplit("/", 1)[-1]):
        return ""
    for word in argv[1:]:
        if word in _CODE:
            return ""
        path = Path(cwd or "/", word)
        if not word.startswith("-") and (word.startswith("/") or cwd) and path.is_file():
            return os.path.abspath(path)  # noqa: PTH100 (keeps links)
    return ""


# --- words -------------------------------------------------------------------------------------------------


def lasting(text: str) -> dt.timedelta:
    """How long: `12h`, `90d`, `26w`, `1y`.

    Raises:
        TrustError: It is something else.
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) * _HOURS[found[2]] > 24 * 365 * 20:
        raise TrustError(f"{text[:40]!a} is no time that a manifest can hold", hint="write 90d, 26w or 1y")
    return dt.timedelta(hours=int(found[1]) * _HOURS[found[2]])


def variables(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` words as a table.

    Raises:
        TrustError: One has no `=`, or one name is there twice.
    """
    table: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in table:
            raise TrustError(
                f"--set {text[:80]!a} is not NAME=VALUE, or there twice", hint="--set NAME=VALUE"
            )
        table[name] = value
    return table


def secrets(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=REFERENCE` words as a table.

    Raises:
        TrustError: One has no `=`, or one name is there twice.
        SecretError: One is no reference; it is not repeated, since it may be the secret.
    """
    table: dict[str, str] = {}
    for text in texts:
        name, equals, reference = text.partition("=")
        if not equals or not name or name in table:
            raise TrustError(
                "--secret is not NAME=REFERENCE, or there twice", hint="--secret NAME=vault://NAME"
            )
        parse_ref(reference)
        table[name] = reference
    return table


def doubts(asked: Asked, environ: Mapping[bytes, bytes]) -> list[str]:
    """Sentences about variables that are passed on and will not arrive."""
    names = [name.encode() for name in asked.passed]
    kept = for_manifest([name + b"=" for name in names], asked.passed, {})
    return [
        *(f"{name} is never given to a server" for name in asked.passed if name.encode() + b"=" not in kept),
        *(
            f"{name} is passed on, and is not set here now"
            for name in asked.passed
            if name.encode() not in environ
        ),
    ]
