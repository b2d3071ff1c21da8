"""Secrets, with a real daemon, real hosts, real servers that tell what they have, and the real command line.

A planted value is in the environment of the one server that it is for, and nowhere else: no file below the home, no
record, no export, no argument, no answer, no line on anybody's stderr.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpguard.audit.knownvalues import forms
from tests.lifecycle.land import Land, Registered
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, until

VALUE = f"planted/{secrets.token_hex(12)}+é'\""
TELLER = str(Path(__file__).with_name("teller.py"))
POLICY = """\
version = 1
mode = "enforce"
unpinned = "allow"
[[rule]]
id = "all"
tools = ["*"]
effect = "allow"
[[rule]]
id = "gives"
server = "teller"
tools = ["send"]
effect = "allow"
secrets = ["github"]
"""


def keep(place: House, name: str, value: str = VALUE, *words: str, verb: str = "set") -> dict[str, Any]:
    """Keep a value as a person does: on standard input."""
    ran = place.mcpguard("secret", verb, name, "--json", *words, input=value)
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def opened(place: House) -> House:
    """The vault of a house, open, under a passphrase from a file."""
    file = place.root / "passphrase"
    file.write_text("the passphrase of a test\n")
    file.chmod(0o600)
    ran = place.mcpguard("secret", "unlock", "--passphrase-file", str(file))
    assert ran.returncode == 0, ran.stderr
    return place


@pytest.fixture
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        made.found()
        opened(made)
        made.policy(POLICY)
        yield made


def teller(land: Land, name: str = "teller", **launch: Any) -> Registered:
    """A registered server that tells its environment, its command line and its arguments."""
    made = land.server(name)
    made.script.write_bytes(Path(TELLER).read_bytes())
    made.manifest = _pinned_anew(made)
    made.launch(**launch)
    return made


def _pinned_anew(server: Registered) -> Any:
    import msgspec

    from mcpguard.identity.definitions import definition_digest
    from tests.lifecycle.land import pin
    from tests.lifecycle.teller import TOOLS

    return msgspec.structs.replace(
        server.manifest, executables=(pin(PYTHON), pin(server.script)), server_name="teller", instructions_sha256="",
        tools={tool["name"]: definition_digest(tool) for tool in TOOLS},
    )  # fmt: skip


def registered(server: Registered) -> Registered:
    import msgspec

    from mcpguard.identity.described import Definitions
    from tests.lifecycle.teller import TOOLS

    known = Definitions(tools={tool["name"]: tool for tool in TOOLS})
    reply = server.put(definitions=msgspec.json.encode(known).decode())
    assert reply["ok"], reply
    return server


def told(host: Host) -> dict[str, Any]:
    """What the server has, in a way that nothing hides: it writes it to a file of its own."""
    answer = host.call("tell")
    assert "result" in answer, answer
    found: dict[str, Any] = json.loads(Path(answer["result"]["content"][0]["text"]).read_text())
    return found


def leaks(
    place: House, *more: tuple[str, bytes], value: str = VALUE, allowed: tuple[str, ...] = ("told-",)
) -> list[str]:
    """Where a value is, in any form: below the home, in what verbs print, in command lines and foreign environments."""
    needles = [form for form, _ in forms(value.encode())]
    found = []
    places = [
        (str(path), path.read_bytes()) for path in place.root.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(allowed)
    ]  # fmt: skip
    for words in (
        ("secret", "list"), ("secret", "list", "--json"), ("status", "--json"), ("audit", "tail"), ("doctor", "--json"),
        ("audit", "export", "--format", "ocsf"), ("audit", "export", "--format", "cef"), ("metrics",), ("findings", "--json"),
    ):  # fmt: skip
        ran = place.mcpguard(*words)
        places.append((" ".join(words), (ran.stdout + ran.stderr).encode()))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            places.append((f"command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()))
        except OSError:
            continue
    for where, data in (*places, *more):
        if any(needle in data for needle in needles):
            found.append(where)
    return found


def refused(host: Host) -> str:
    """The sentence of a host whose server was not started."""
    assert host.wait() == 5
    return " ".join(host.errors())


# --- given to one server -------------------------------------------------------------------------------------


def test_a_secret_of_a_manifest_is_in_the_servers_environment_and_nowhere_else(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"GITHUB_TOKEN": "vault://github"}))
    host = server.run().greet()
    assert told(host)["environ"]["GITHUB_TOKEN"] == VALUE
    answer = host.call("repeat", variable="GITHUB_TOKEN")
    assert answer["result"]["content"][0]["text"] == "${secret:github}"
    begins = [one for one in land.records() if one["type"] == "secret" and one["event"] == "given"]
    assert [(one["credential"], one["variable"], one["server"]) for one in begins] == [
        ("vault://github", "GITHUB_TOKEN", "teller"),
    ]  # fmt: skip
    (listed,) = json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"]
    assert (listed["uses"], listed["servers"], listed["running"]) == (1, ["teller"], ["teller"])
    assert leaks(land, ("answer", json.dumps(answer).encode())) == []
    host.close_stdin()
    assert host.wait() == 0
    assert leaks(land, ("stderr", "\n".join(host.errors()).encode())) == []
    land.mcpguard("daemon", "stop")
    assert land.daemon is not None
    assert leaks(land, ("stderr of the daemon", land.daemon.communicate()[1].encode())) == []
    assert land.mcpguard("audit", "verify").returncode == 0


def test_other_servers_have_nothing_of_it(land: Land) -> None:
    keep(land, "github")
    registered(teller(land, secret={"GITHUB_TOKEN": "vault://github"})).run().greet()
    other = (
        registered(teller(land, name="other")).run(env={"GITHUB_TOKEN": "mcpguard-secret://github"}).greet()
    )
    assert VALUE not in json.dumps(told(other))
    assert "GITHUB_TOKEN" not in told(other)["environ"]
