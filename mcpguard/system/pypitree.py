"""Which files does a Python package run from, with every one of its dependencies?

pip runs twice: once to say what it would install (wheels of the index only: building a source distribution runs its
code), and once to install that, by SHA-256 and nothing else. What comes of it is a directory `site` with every
package, compiled, and `run.py`, which starts the program. It is run by `python -I -S -B`: no environment variables,
no packages of the interpreter or the user, no current directory, and nothing written; so Python imports from the
standard library and from this tree.

What is still free: the interpreter's standard library and shared libraries.

Decided:
    *A directory and a starter*; rejected: a virtual environment, whose interpreter is a link that leaves the tree,
    and whose scripts hold the path of the place that they were made in.
    *Bytecode that is not checked against its source* (PEP 552): times are not part of the tree, and a server that
    compiled at each start would start slower than under uvx. Source and bytecode are both in the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.launchers import PypiCommand
from mcpguard.identity.locks import PYPI_KIND, Lock, normalised, pypi_lock
from mcpguard.system.installer import Progress, find_program, quiet, run
from mcpguard.system.packagestore import STORE, Interpreter, Materialised, PackageStore, interpreter

FLAGS: Final = ("-I", "-S", "-B")
"""Isolated; without site packages of the interpreter; writing no bytecode."""

_WHEELS: Final = ("--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--no-color")
_LOCK: Final = "requirements.lock"
_DOTTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_RUN: Final = '''\
"""Starts the program from this tree and from nothing else; run by `python -I -S -B`."""

import os
import site
import sys

site.setquit()  # `exit` and `quit` belong to the prompt, and programs use them all the same
site.addsitedir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "site"))
'''
_RUN_FUNCTION: Final = """\
sys.argv[0] = {command!r}
from {module} import {first}
sys.exit({function}())
"""
_RUN_MODULE: Final = """\
import runpy
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


_COMPILE: Final = """\
import compileall, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
compileall.compile_dir(sys.argv[1], quiet=2, stripdir=sys.argv[1], invalidation_mode=mode, workers=0)
"""


def materialise_pypi(command: PypiCommand, store: PackageStore, progress: Progress) -> Materialised:
    """Install what a command starts into the store, and say how it is run from there.

    Args:
        command: What `identity.launchers` read.
        store: Where it goes.
        progress: Told every line.

    Raises:
        TrustError: pip failed, something has no wheel, the package has no such program, or the tree holds something
            that is refused. The store is as before.
    """
    with store.stage("pypi") as staged:
        python = _python(command.python, staged)
        pip = _pip(python.path, staged)
        progress("resolving versions")
        lock = _resolved(pip, command, staged, progress)
        (staged / _LOCK).write_bytes(lock.text)
        progress(f"installing {lock.count} packages")
        hashed = ("--require-hashes", "--no-deps", "--no-compile", "--target", "site", "-r", _LOCK)
        run([*pip, "install", *_WHEELS, *hashed], staged, progress)
        name = normalised(re.split(r"[^A-Za-z0-9._-]", command.requirements[0])[0])
        (staged / "run.py").write_text(_RUN + _starter(command, name, staged / "site"))
        run([python.path, *FLAGS, "-c", _COMPILE, "site"], staged, progress)
        place, digest, fresh = store.keep(staged)
    version = lock.versions.get(name, "")
    return Materialised(
        ecosystem="pypi",
        package=name,
        version=version,
        lock_kind=PYPI_KIND,
        lock_sha256=hashlib.sha256(lock.text).hexdigest(),
        count=lock.count,
        tree=digest,
        directory=place,
        argv=(python.path, *FLAGS, f"{STORE}/pypi/{digest.sha256}/run.py", *command.args),
        interpreter=python,
        fresh=fresh,
        notes=(f"pip does not say when {name} {version} was published",),
    )


def _python(version: str, directory: Path) -> Interpreter:
    """Python itself: version managers put scripts of that name on PATH, and environments links."""
    program = find_program(f"python{version}", f"install Python {version}") if version else sys.executable
    said = run([program, "-I", "-S", "-c", "import sys; print(sys.executable)"], directory, quiet)
    return interpreter(said.rpartition("\n")[2])


def _pip(python: str, directory: Path) -> list[str]:
    """Pip of that Python, else ours told to install for it."""
    for found in ([python, "-I", "-m", "pip"], [sys.executable, "-I", "-m", "pip", "--python", python]):
        with contextlib.suppress(TrustError):
            run([*found, "--version"], directory, quiet)
            return found
    raise TrustError(f"{python} has no pip", hint="install pip 23 or later for it")


def _resolved(pip: list[str], command: PypiCommand, staged: Path, progress: Progress) -> Lock:
    report = staged / "report.json"
    dry = ("--dry-run", "--ignore-installed", "--report", report.name)
    try:
        run([*pip, "install", *dry, *_WHEELS, "--", *command.requirements], staged, progress)
    except TrustError as error:
        hint = "only wheels are installed, since building a source distribution runs its code"
        raise TrustError(error.message, hint=hint) from error
    with report.open("rb") as file:
        data = file.read(limits.LOCK_BYTES + 1)
    if len(data) > limits.LOCK_BYTES:
        raise TrustError(f"pip's report is larger than {limits.LOCK_BYTES} bytes")
    report.unlink()
    return pypi_lock(data)


def _starter(command: PypiCommand, name: str, site: Path) -> str:
    """The last lines of `run.py`: names that were checked, never text of a package."""
    if command.module:
        return _RUN_MODULE.format(module=command.module)
    found = next(
        (dist for dist in importlib.metadata.distributions(path=[os.fspath(site)]) if _named(dist) == name),
        None,
    )
    scripts = {
        entry.name: entry.value.partition("[")[0].replace(" ", "")
        for entry in (found.entry_points if found else ())
        if entry.group == "console_scripts"
    }
    if command.command not in scripts:
        offered = ", ".join(sorted(scripts)) or "none"
        raise TrustError(
            f"{name} has no program {command.command!a}; it has {offered[:200]!a}",
            hint="name the program: uvx --from PACKAGE PROGRAM",
        )
    module, _, function = scripts[command.command].partition(":")
    if not (_DOTTED.fullmatch(module) and _DOTTED.fullmatch(function)):
        raise TrustError(
            f"the program {command.command!a} of {name} is not a function", hint="nothing was installed"
        )
    first = function.partition(".")[0]
    return _RUN_FUNCTION.format(command=command.command, module=module, first=first, function=function)


def _named(distribution: importlib.metadata.Distribution) -> str:
    return normalised(distribution.metadata["Name"] or "")
