"""A house whose daemon trusts keys that the tests hold, and servers with manifests, registered in it."""

import copy
import datetime as dt
import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from mcpguard.identity.definitions import definition_digest, text_digest
from mcpguard.identity.described import Definitions
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.statement import format_time
from mcpguard.identity.trust import Revocations, Role, TrustSet
from mcpguard.system.pinned import digest_of
from mcpguard.system.truststore import wall_clock
from tests.identity.signing import A, B, C
from tests.identity.trusting import role, signed
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, until

SERVER = Path(__file__).with_name("changing.py")
ALLOW = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "all"\nserver = "*"\ntools = ["*"]\neffect = "allow"\n'
TOOLS = [
    {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}}
    for name in ("look", "read_file", "write_file")
]
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


def moment(**delta: float) -> str:
    """A time relative to now, as manifests have it."""
    return format_time(wall_clock() + dt.timedelta(**delta))


def pin(path: Path | str) -> ExecutablePin:
    """The digest of a file as it is."""
    return ExecutablePin(str(path), digest_of(str(path)), Path(path).stat().st_size)


def trust_set(version: int = 1, root: Role | None = None, **publishers: Role) -> TrustSet:
    """A is root and signs everything; B may revoke; C signs for acme."""
    held = {key.public.ident: key.public for key in (A, B, C)}
    named = {"local": role(A), "acme": role(C, prefix="io.acme/"), **publishers}
    roles = [root or role(A), role(B), *named.values()]
    used = {ident for each in roles for ident in each.keys}
    return TrustSet(
        version, moment(days=365), {ident: key for ident, key in held.items() if ident in used},
        roles[0], roles[1], named,
    )  # fmt: skip


class Registered:
    """A server that was registered: what it runs and says can be changed."""

    def __init__(self, land: "Land", name: str, home: Path) -> None:
        self.land, self.name, self.home = land, name, home
        self.script = home / "server.py"
        self.script.write_bytes(SERVER.read_bytes())
        self.argv = (PYTHON, "-I", "-S", str(self.script), str(home))
        self.says: dict[str, Any] = {"name": "files", "instructions": "Be careful.", "pages": [TOOLS]}
        self.say()
        self.manifest = Manifest(
            name=name, version=1, not_before=moment(days=-1), expires=moment(days=30),
            launch=Launch(self.argv, self.argv), executables=(pin(PYTHON), pin(self.script)),
            server_name="files", instructions_sha256=text_digest("Be careful."),
            tools={tool["name"]: definition_digest(tool) for tool in TOOLS},
        )  # fmt: skip

    def say(self, **changes: Any) -> None:
        """Let the server say something else of itself from its next answer on."""
        self.says |= changes
        (self.home / "says.new").write_text(json.dumps(self.says))
        (self.home / "says.new").replace(self.home / "says.json")

    def tools(self, **changes: dict[str, Any]) -> list[dict[str, Any]]:
        """The tools with members changed, by name."""
        found = copy.deepcopy(TOOLS)
        for tool in found:
            tool |= changes.get(tool["name"], {})
        return found

    def replace(self, **changes: Any) -> Manifest:
        """Change the manifest; nothing is signed yet."""
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        return self.manifest

    def launch(self, **changes: Any) -> Manifest:
        """Change how it is started."""
        return self.replace(launch=msgspec.structs.replace(self.manifest.launch, **changes))

    def envelope(self, *keys: PrivateKey, **changes: Any) -> bytes:
        """The manifest, signed."""
        return signed(encode_manifest(msgspec.structs.replace(self.manifest, **changes)), *(keys or (A,)))

    def put(self, *keys: PrivateKey, definitions: str = "", **changes: Any) -> dict[str, Any]:
        """What the daemon answers to the manifest."""
        text = self.envelope(*keys, **changes).decode()
        request = {"verb": "server-put", "name": self.name, "text": text, "definitions": definitions}
        return self.land.ask(request)

    def registered(self, *keys: PrivateKey) -> "Registered":
        """Put it, with its definitions."""
        known = Definitions(tools={tool["name"]: tool for tool in TOOLS}, instructions="Be careful.")
        reply = self.put(*keys, definitions=msgspec.json.encode(known).decode())
        assert reply["ok"], reply
        return self

    def plant(self, *keys: PrivateKey, **changes: Any) -> None:
        """Put an envelope where the daemon keeps the manifest, past the daemon."""
        self.file("manifest.json").write_bytes(self.envelope(*keys, **changes))

    def file(self, name: str) -> Path:
        return self.land.state / "servers" / self.name / name

    def run(self, *words: str, **more: Any) -> Host:
        """A host that starts it, by its name unless told otherwise."""
        return self.land.host(*(words or (self.name,)), **more)

    def started(self) -> int:
        """How often the command was started."""
        file = self.home / "started"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def called(self) -> list[str]:
        file = self.home / "called"
        return file.read_text().splitlines() if file.exists() else []

    def records(self, kind: str, event: str = "") -> list[dict[str, Any]]:
        """Its records of a type and an event."""
        return [
            record
            for record in self.land.records()
            if record["type"] == kind
            and record.get("server") == self.name
            and record.get("event", "") == event
        ]


class Land(House):
    """A house in which A is root and signs, B revokes, C is the publisher acme."""

    revoked: Revocations | None = None

    def found(self) -> "Land":
        """Put the first trust set and a policy that allows every call in force."""
        reply = self.trust(trust_set(), A)
        assert reply["ok"], reply
        self.policy(ALLOW)
        return self

    def trust(self, document: TrustSet, *keys: PrivateKey, name: str = "") -> dict[str, Any]:
        """What the daemon answers to a trust set."""
        text = signed(document.encode(), *keys).decode()
        return self.ask({"verb": "trust-put", "text": text, "name": name})

    def revoke(self, **more: Any) -> dict[str, Any]:
        """Revoke something besides what is revoked."""
        old = self.revoked or Revocations(0, moment(days=30))
        merged = {key: getattr(old, key) | value for key, value in more.items()}
        self.revoked = msgspec.structs.replace(old, version=old.version + 1, **merged)
        text = signed(self.revoked.encode(), B).decode()
        reply = self.ask({"verb": "revocations-put", "text": text})
        assert reply["ok"], reply
        return reply

    def server(self, name: str = "") -> Registered:
        """A server that is not registered yet."""
        name = name or f"s{secrets.token_hex(4)}"
        home = self.root / name.replace("/", "-")
        home.mkdir()
        return Registered(self, name, home)

    def run(self, *words: str, code: int = 0, **more: Any) -> str:
        """A verb; what it says on both streams."""
        done = subprocess.run(
            [*MCPGUARD, *words], env=self.env | more.pop("env", {}), text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more,
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout)
        return done.stdout

    def again(self) -> None:
        """End the daemon and start another one."""
        assert self.daemon
        self.daemon.terminate()
        self.daemon.wait(20)
        self.serve()


def refused(server: Registered, host: Host, words: str, *, starts: int = 0) -> str:
    """Whether a start is refused as it should be; the sentence.

    Exit 5; the same sentence on stderr and for the host's first request; a next command in it; nothing started; a
    record.
    """
    ident = host.send("initialize", HELLO)
    (message,) = host.rest(5)
    assert (message["id"], message["error"]["code"]) == (ident, 40301)
    told: str = message["error"]["message"]
    assert host.wait() == 5
    assert host.errors() == [told]
    assert words in told, told
    sentence = told.removeprefix("mcpguard: ")
    assert sentence != told
    assert server.started() == starts, "it was started"
    assert until(lambda: refusals(server.land)[-1:] == [sentence])
    return sentence


def refusals(land: "Land") -> list[str]:
    """What the audit log says of starts that were refused."""
    records = [record for record in land.records() if record["type"] == "session"]
    return [record["reason"] for record in records if record["event"] == "refused"]
