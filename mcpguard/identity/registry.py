"""What a registry's `server.json` or the manifest of an MCPB bundle says of a server: facts that nobody signed.

They are drafts. Whoever wrote the file chose every word of it, so a command that comes of it is shown and asked
about like any other; nothing here is run, fetched or believed. Of `server.json` only packages that start a process
with stdio are read; of a bundle, only what it starts.

Source: MCP registry `server.json` (schema 2025-12-11 and before: `packages` with `registryType`, `identifier`,
`version`, `runtimeHint`, `runtimeArguments`, `packageArguments`, `environmentVariables`); MCPB `manifest.json` 0.1 to
0.4 (`server.mcp_config`, `user_config`).

Not here: reading the file or the archive (`system.bundles`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from mcpguard.errors import TrustError
from mcpguard.identity.launchers import parse_npm_spec, parse_requirement
from mcpguard.identity.statement import parse_json
from mcpguard.model import Json, JsonObject

DIRECTORY: Final = "${__dirname}"
"""Stands for the unpacked bundle in its command."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_EXACT: Final = re.compile(r"v?[0-9][A-Za-z0-9.+!_-]*")
_PLACEHOLDER: Final = re.compile(r"\$?\{[^}]*\}")
_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Source(msgspec.Struct, frozen=True):
    """The draft of a server.

    Attributes:
        kind: `server.json` or `bundle`.
        name: A name for it here, made of its own.
        title: What it calls itself; text of others.
        version: Its version, as it says.
        argv: The command that it asks for.
        variables: Names of the environment variables that it wants.
        secrets: Those of them that it says are secret.
        fixed: Variables that it wants set, with their values.
        doubts: Sentences: what a person must decide or fill in.
        directory: Where a bundle was unpacked; empty for anything else.
    """

    kind: str
    name: str
    title: str
    version: str
    argv: tuple[str, ...]
    variables: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    fixed: dict[str, str] = {}
    doubts: tuple[str, ...] = ()
    directory: str = ""


def from_server_json(data: bytes) -> Source:
    """The first package of a `server.json` that can be started here.

    Raises:
        TrustError: It is not strict JSON, or no package of it is one of npm or PyPI that speaks over stdio.
    """
    said = parse_json(data, "server.json")
    said = said["server"] if isinstance(said.get("server"), dict) else said  # as the registry's API wraps it
    title, version = _text(said, "name"), _text(said, "version")
    packages = said.get("packages")
    problems: list[str] = []
    for package in packages if isinstance(packages, list) else []:
        try:
            return _of_package(package, title, version)
        except TrustError as error:
            problems.append(error.message)
    reason = problems[0] if problems else "it has no packages, so it is not started on this machine"
    raise TrustError(
        f"server.json gives no command: {reason}", hint="add the server by its command: -- CMD..."
    )


def _of_package(package: Json, title: str, version: str) -> Source:
    if not isinstance(package, dict):
        raise TrustError("a package is not an object")
    transport = package.get("transport", {"type": "stdio"})
    if not isinstance(transport, dict) or transport.get("type") != "stdio":
        raise TrustError("its package does not speak over stdio")
    kind = _text(package, "registryType", "registry_type", "registry_name")
    name, exact = _text(package, "identifier", "name"), _text(package, "version") or version
    if not _EXACT.fullmatch(exact):
        raise TrustError(f"{exact!a} is not a version")
    doubts: list[str] = []
    before = _arguments(package.get("runtimeArguments"), doubts)
    after = _arguments(package.get("packageArguments"), doubts)
    if kind == "npm":
        spec = "@".join(parse_npm_spec(f"{name}@{exact}"))
        argv = ("npx", *(before if "-y" in before else ("-y", *before)), spec, *after)
    elif kind == "pypi":
        argv = ("uvx", *before, parse_requirement(f"{name}=={exact}"), *after)
    else:
        raise TrustError(f"packages of {kind!a} cannot be added, only npm and pypi")
    variables, secrets = _variables(package.get("environmentVariables"), doubts)
    return Source(
        kind="server.json",
        name=local_name(title),
        title=title,
        version=version,
        argv=argv,
        variables=variables,
        secrets=secrets,
        doubts=tuple(doubts),
    )


def _arguments(entries: Json, doubts: list[str]) -> tuple[str, ...]:
    """Words of `runtimeArguments` or `packageArguments`; those that a person must choose are doubts."""
    words: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            raise TrustError("an argument is not an object")
        name = _text(entry, "name")
        value = _text(entry, "value", "default")
        if _PLACEHOLDER.search(value) or (not value and entry.get("type") == "positional"):
            hint = _text(entry, "valueHint") or name or value
            if entry.get("isRequired") or value:
                doubts.append(f"an argument is left to you: {hint!a}")
            continue
        words += [word for word in (name if entry.get("type") == "named" else "", value) if word]
    if any("\0" in word for word in words):
        raise TrustError("an argument contains a NUL")
    return tuple(words)


def _variables(entries: Json, doubts: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names: list[str] = []
    secrets: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        name = _text(entry, "name") if isinstance(entry, dict) else ""
        if not _VARIABLE.fullmatch(name):
            raise TrustError(f"{name!a} is not the name of a variable")
        names.append(name)
        if entry.get("isSecret"):
            secrets.append(name)
        if entry.get("isRequired"):
            doubts.append(f"it says that it needs the variable {name}")
    return tuple(dict.fromkeys(names)), tuple(dict.fromkeys(secrets))


def from_bundle(data: bytes, directory: str) -> Source:
    """What the `manifest.json` of a bundle starts, once it is unpacked in `directory` (absolute).

    Raises:
        TrustError: It is not strict JSON, or says no command.
    """
    said = parse_json(data, "the bundle's manifest")
    server = said.get("server")
    config = server.get("mcp_config") if isinstance(server, dict) else None
    command = _text(config, "command") if isinstance(config, dict) else ""
    args = config.get("args", []) if isinstance(config, dict) else []
    env = config.get("env", {}) if isinstance(config, dict) else {}
    if not command or not isinstance(args, list) or not isinstance(env, dict):
        raise TrustError(
            "the bundle's manifest says no command", hint="add the server by its command: -- CMD..."
        )
    doubts: list[str] = []
    words = [_placed(word, directory) for word in (command, *args)]
    argv = tuple(word for word in words if not _left_open("an argument", word, doubts))
    fixed: dict[str, str] = {}
    variables: list[str] = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise TrustError(
                f"{name!a} is not the name of a variable", hint="ask its author for a bundle that is whole"
            )
        text = _placed(value, directory)
        if _left_open(f"the variable {name}", text, doubts):
            variables.append(name)
        else:
            fixed[name] = text
    if argv[:1] != tuple(words[:1]):
        raise TrustError(
            "the bundle leaves its command open", hint="add the server by its command: -- CMD..."
        )
    title = _text(said, "display_name", "name")
    return Source(
        kind="bundle",
        name=local_name(_text(said, "name")),
        title=title,
        version=_text(said, "version"),
        argv=argv,
        variables=tuple(variables),
        secrets=_secret(said.get("user_config"), env),
        fixed=fixed,
        doubts=tuple(doubts),
        directory=directory,
    )


def _placed(word: Json, directory: str) -> str:
    if not isinstance(word, str) or "\0" in word:
        raise TrustError("the bundle's command is not text", hint="ask its author for a bundle that is whole")
    return word.replace(DIRECTORY, directory).replace("${/}", "/").replace("${pathSeparator}", "/")


def _left_open(what: str, text: str, doubts: list[str]) -> bool:
    found = _PLACEHOLDER.search(text)
    if found:
        doubts.append(f"{what} is left to you: {found[0]!a}")
    return bool(found)


def _secret(config: Json, env: JsonObject) -> tuple[str, ...]:
    """Variables that take a value which the bundle calls sensitive."""
    if not isinstance(config, dict):
        return ()
    keys = [key for key, entry in config.items() if isinstance(entry, dict) and entry.get("sensitive")]
    return tuple(
        name for name, value in env.items() if any("${user_config." + key + "}" in str(value) for key in keys)
    )


def local_name(title: str) -> str:
    """A plain name of what a server calls itself: the last part, in letters that names here may have."""
    return _NAME.sub("-", title.rpartition("/")[2]).strip("-.")[:64].strip("-.") or "server"


def _text(said: JsonObject, *names: str) -> str:
    """The first of these members that is there; it must be text."""
    found: Sequence[Json] = [said[name] for name in names if said.get(name) is not None]
    if found and not isinstance(found[0], str):
        raise TrustError(f"{names[0]} is not text", hint="ask its author for a file that is whole")
    return found[0] if found else ""
