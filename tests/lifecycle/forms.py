"""Hosts of every form around the real `mcpguard run`: the test speaks through them, as a user's model does."""

import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, command, until

RELAY = str(Path(__file__).with_name("relay.py"))
NODE = os.path.realpath(shutil.which("node") or "node")
NODE_RELAY = str(Path(__file__).with_name("relay.js"))

FORMS = {
    "node": ["node", NODE_RELAY],
    "pipes": [sys.executable, "-I", RELAY, "pipes"],
    "pairs": [sys.executable, "-I", RELAY, "pairs"],
    "uvloop": [sys.executable, "-I", RELAY, "uvloop"],
    "two": [sys.executable, "-I", RELAY, "two"],
}
WAYS: dict[str, list[str]] = {
    "directly": [],
    "through a shell": ["sh", "-c", '"$@"; true', "sh"],
    "exec of a shell": ["sh", "-c", 'exec "$@"', "sh"],
}
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def arrive(
    place: House, form: list[str], way: tuple[str, ...] | list[str] = (), *, name: str = "", **more: Any
) -> Host:
    """A host of a form that starts `mcpguard run` in some way; the server is called `name`."""
    home = Path(tempfile.mkdtemp(dir=place.root))
    marker = f"m-{secrets.token_hex(8)}"
    name = name or f"s-{secrets.token_hex(4)}"
    words = [*MCPGUARD, "run", "--name", name, "--", *command(home, marker)]
    env = place.env | more.pop("env", {})
    host = Host([*form, *way, *words], env, **more)
    host.home, host.marker = home, marker
    host.name = name  # type: ignore[attr-defined]
    place.hosts.append(host)
    return host


def connection(place: House, host: Host) -> dict[str, Any]:
    """What `status` says of the connection of a host."""
    found: dict[str, Any] = next(
        one
        for one in place.status()["connections"]
        if one["server"] == host.name  # type: ignore[attr-defined]
    )
    return found


def evidence(place: House, host: Host) -> dict[str, Any]:
    """What is known of a host, by `status`."""
    found: dict[str, Any] = connection(place, host)["host"]
    return found


def tell(host: Host, order: str) -> None:
    """Have a host of `relay.py` run a line of Python."""
    host.write(b"!" + order.encode() + b"\n")


def inside(host: Host, *words: str, **more: Any) -> tuple[int, str]:
    """Have a host of `relay.py` run a command: its exit code, and what it says."""
    place = host.home / f"said-{secrets.token_hex(4)}"
    tell(host, f"run({list(words)!r}, {str(place)!r}, **{more!r})")
    assert until(place.exists), f"nothing came of {words}"
    code, said = json.loads(place.read_text())
    return code, said


def leave(host: Host) -> list[str]:
    """End a host in an orderly way; what it and its shim said on stderr."""
    host.close_stdin()
    said = host.errors()
    host.wait()
    return said


def native(directory: Path) -> Path:
    """A program of the user's own: a Python under a name that no interpreter has, so that no script is asked for."""
    directory.mkdir()
    program = directory / "acme"
    shutil.copy(PYTHON, program)
    (directory / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\n")
    return program


def updated(program: Path) -> None:
    """Another release takes the place of a file, as updates do it."""
    new = program.with_name(program.name + ".new")
    shutil.copy(program, new)
    with new.open("ab") as file:
        file.write(b"\n# another release\n")
    new.rename(program)


def socat(program: str, directory: Path, words: list[str]) -> list[str]:
    """A native program as a host: over a socketpair it starts a command, which stands in a file."""
    start = Path(tempfile.mkdtemp(dir=directory)) / "start"
    start.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
    start.chmod(0o755)
    start.parent.chmod(0o755)
    return [program, "-", f"EXEC:{start}"]


def enrol(place: House, host: Host, name: str) -> None:
    """Trust a connected host, as a person does."""
    done = place.mcpguard("host", "trust", name, "--connection", connection(place, host)["id"], "--yes")
    assert done.returncode == 0, done


def some_library() -> str:
    """A library that can be loaded into any program."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[-1] for line in maps if "libc.so" in line)
