"""Which package does a command like `npx -y pkg@1.2 --flag` start, and how?

Only forms whose meaning is known in full are read. An option that is not known could change what is fetched, so it
is a refusal, never a guess. What the runners do was read in their own sources (npm 11 libnpmexec, uv tool run, pipx).

Not here: whether the package exists, and what its entry point is (`system.npmtree`, `system.pypitree`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from mcpguard.errors import TrustError

_NPM_NAME: Final = r"(?:@[a-z0-9][a-z0-9._~-]*/)?[A-Za-z0-9][A-Za-z0-9._~-]*"
_NPM_SPEC: Final = re.compile(rf"({_NPM_NAME})(?:@([A-Za-z0-9^~<>=|*+._ -]*))?")
_PYPI_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS: Final = rf"(?:\[{_PYPI_NAME}(?:,{_PYPI_NAME})*\])?"
_PYPI_SPEC: Final = re.compile(rf"({_PYPI_NAME})({_EXTRAS})\s*((?:[<>=!~]=?|===)[A-Za-z0-9.,*+!<>=~ -]+)?")
_PYPI_AT: Final = re.compile(rf"({_PYPI_NAME})({_EXTRAS})@(latest|v?[0-9][A-Za-z0-9.+!_-]*)")
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_PYTHON: Final = re.compile(r"python(?:[23](?:\.[0-9]+)?)?")
_PYTHON_VERSION: Final = re.compile(r"(?:(?:cpython|python)@?)?(3\.[0-9]+)(?:\.[0-9]+)?")

_NPX_SWITCHES: Final = frozenset({
    "-y", "--yes", "-q", "--quiet", "-s", "--silent", "--prefer-offline", "--prefer-online", "--no-progress",
})  # fmt: skip
_UV_SWITCHES: Final = frozenset({
    "-q", "--quiet", "-v", "--verbose", "-n", "--no-cache", "--isolated", "--refresh", "--no-progress",
    "--native-tls", "--no-config", "--no-env-file", "-U", "--upgrade",
})  # fmt: skip
_PIPX_SWITCHES: Final = frozenset({"-q", "--quiet", "-v", "--verbose", "--no-cache"})


class NpmCommand(msgspec.Struct, frozen=True):
    """A program of an npm package.

    Attributes:
        packages: Names with a version, range or tag each, never empty (`latest` if the command named none).
        command: Name of the program; empty: the one that the first package is known for.
        args: What follows it.
    """

    packages: tuple[tuple[str, str], ...]
    command: str
    args: tuple[str, ...]


class PypiCommand(msgspec.Struct, frozen=True):
    """A program or module of a Python package.

    Attributes:
        requirements: Requirements as pip reads them, the first one being the package that has the program.
        command: Name of the console script; empty if `module` says what runs.
        module: What `python -m` would run; empty if `command` says it.
        args: What follows it.
        python: Version of Python that was asked for, as `3.12`; empty for any.
    """

    requirements: tuple[str, ...]
    command: str
    args: tuple[str, ...]
    module: str = ""
    python: str = ""


def parse_launcher(argv: Sequence[str], package: str = "") -> NpmCommand | PypiCommand | None:
    """What a command fetches and starts; None if it is not a runner of packages.

    Args:
        argv: The command as the host has it.
        package: `pypi:REQUIREMENT`, for `python -m MODULE`, which does not say what package the module is of.

    Raises:
        TrustError: It is a runner, and this form cannot be pinned: a package from elsewhere than a registry, an
            option that is not known, no package at all.
    """
    program, words = argv[0].rsplit("/", 1)[-1], list(argv[1:])
    if _PYTHON.fullmatch(program):
        return _python_module(program, words, package)
    if package:
        raise _refuse("--package is for commands of the form `python -m MODULE`", "leave it out")
    match program, words[:2]:
        case "npx", _:
            return _npx(words)
        case "npm", ["exec" | "x", *_]:
            return _npx(_before_dashes(words[1:]))
        case "uvx", _:
            return _uvx(words)
        case "uv", ["tool", "run"]:
            return _uvx(words[2:])
        case "pipx", ["run", *_]:
            return _pipx(words[1:])
        case _:
            return None


def parse_npm_spec(text: str) -> tuple[str, str]:
    """`name[@version]` of a registry: name, and version, range or tag.

    Raises:
        TrustError: It names a URL, a repository, a directory or an alias.
    """
    found = _NPM_SPEC.fullmatch(text)
    if not found:
        raise _refuse(f"{text!a} is not a package of the npm registry", "name it as PACKAGE@VERSION")
    return found[1], found[2] or "latest"


def parse_requirement(text: str) -> str:
    """`name[extra]==version` or `name@version` of a package index, as pip reads it.

    Raises:
        TrustError: It names a URL, a repository, a path, or something for some platforms only.
    """
    if found := _PYPI_AT.fullmatch(text):
        return found[1] + found[2] + ("" if found[3] == "latest" else f"=={found[3]}")
    if found := _PYPI_SPEC.fullmatch(text.strip()):
        return found[1] + found[2] + (found[3] or "").replace(" ", "")
    raise _refuse(f"{text!a} is not a package of a Python index", "name it as PACKAGE==VERSION")


def _npx(words: list[str]) -> NpmCommand:
    packages, rest = _options(words, "npx", _NPX_SWITCHES, {"-p": "package", "--package": "package"})
    named = tuple(parse_npm_spec(value) for _, value in packages)
    if named:
        if not rest or not re.fullmatch(r"[A-Za-z0-9@][A-Za-z0-9@._/-]*", rest[0]):
            raise _refuse(
                "npx is told packages and no program of theirs", "write it as npx -p PACKAGE PROGRAM"
            )
        return NpmCommand(named, rest[0], tuple(rest[1:]))
    if not rest:
        raise _refuse("npx is told no package", "write it as npx -y PACKAGE@VERSION")
    return NpmCommand((parse_npm_spec(rest[0]),), "", tuple(rest[1:]))


def _before_dashes(words: list[str]) -> list[str]:
    """`npm exec` takes options behind the package as its own, unless `--` stands before them."""
    if "--" in words:
        return words
    for place, word in enumerate(words):
        if not word.startswith("-"):
            if any(later.startswith("-") for later in words[place + 1 :]):
                raise _refuse("npm exec would take these options as its own", "put -- before the package")
            break
    return words


def _uvx(words: list[str]) -> PypiCommand:
    known = {"--from": "from", "--with": "with", "-w": "with", "--python": "python", "-p": "python"}
    options, rest = _options(words, "uvx", _UV_SWITCHES, known)
    return _tool("uvx", options, rest)


def _pipx(words: list[str]) -> PypiCommand:
    options, rest = _options(words, "pipx", _PIPX_SWITCHES, {"--spec": "from", "--python": "python"})
    return _tool("pipx", options, rest)


def _tool(runner: str, options: list[tuple[str, str]], rest: list[str]) -> PypiCommand:
    if not rest:
        raise _refuse(f"{runner} is told no package", f"write it as {runner} PACKAGE==VERSION")
    sources = [value for key, value in options if key == "from"]
    pythons = [value for key, value in options if key == "python"]
    others = [name for key, value in options if key == "with" for name in value.split(",")]
    if len(sources) > 1 or len(pythons) > 1:
        raise _refuse(f"{runner} is told the same option twice", "leave one out")
    first = parse_requirement(sources[0] if sources else rest[0])
    command = rest[0] if sources else _name_of(first)
    if not re.fullmatch(_PYPI_NAME, command):
        raise _refuse(f"{command!a} is not the name of a program", "name it without a version")
    requirements = (first, *(parse_requirement(other) for other in others))
    return PypiCommand(requirements, command, tuple(rest[1:]), python=_python(pythons[0]) if pythons else "")


def _python_module(program: str, words: list[str], package: str) -> PypiCommand | None:
    if not package:
        return None
    ecosystem, _, name = package.partition(":")
    if ecosystem != "pypi" or words[:1] != ["-m"] or not _MODULE.fullmatch("".join(words[1:2])):
        raise _refuse(
            f"--package {package!a} does not go with this command",
            "for python -m MODULE: pypi:PACKAGE==VERSION",
        )
    version = program.removeprefix("python")
    python = version if "." in version else ""
    return PypiCommand((parse_requirement(name),), "", tuple(words[2:]), module=words[1], python=python)


def _python(text: str) -> str:
    found = _PYTHON_VERSION.fullmatch(text)
    if not found:
        raise _refuse(f"--python {text!a} is not a version", "write it as --python 3.12")
    return found[1]


def _name_of(requirement: str) -> str:
    found = re.match(_PYPI_NAME, requirement)
    return found[0] if found else requirement


def _options(
    words: list[str], runner: str, switches: frozenset[str], valued: dict[str, str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Options before the first word that is none, as (meaning, value); and what follows."""
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(words) and words[place].startswith("-"):
        option, equals, value = words[place].partition("=")
        if words[place] == "--":
            return found, words[place + 1 :]
        if option in valued:
            if not equals:
                place += 1
                value = "".join(words[place : place + 1])
            found.append((valued[option], value))
        elif words[place] not in switches:
            raise _refuse(
                f"what {runner} {words[place]!a} fetches cannot be told",
                "leave the option out of the command",
            )
        place += 1
    return found, words[place:]


def _refuse(message: str, hint: str) -> TrustError:
    return TrustError(f"the command cannot be pinned: {message}", hint=hint)
