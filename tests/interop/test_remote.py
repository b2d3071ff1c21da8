"""Real servers over Streamable HTTP and mutual TLS: a client gets from them what it gets from them over stdio."""

import difflib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import GUARD, daemon_home
from harness import HERE, MODULES, NODE, SERVERS, Run, free_port, run
from scenarios import SCENARIOS
from tlsfront import terminate_tls
from transcript import _PATTERNS

pytestmark = pytest.mark.timeout(150)

POLICY = """
version = 1
mode = "enforce"

[[rule]]
id = "everything"
server = "*"
tools = ["*"]
methods = [
  "resources/*", "prompts/*", "completion/complete", "sampling/createMessage", "elicitation/create",
  "roots/list", "subscriptions/listen", "tasks/*",
]
effect = "allow"
"""

KINDS = ("call", "read", "prompt", "complete")
BACKWARDS = ("roots", "sample", "ask", "ask_twice", "open_url", "slow", "log", "ping_client")
"""Tools of the Python server that need a stream, which it has none of when it answers in JSON."""
VARYING = ("get-resource-reference", "demo://resource/dynamic/blob/2", "state")
"""What `server-everything` makes of the time, in base64; what the Python server has counted, of all its sessions."""


class House:
    """A home with a daemon, a private CA, and real servers behind TLS."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.home = Path(env["HOME"])
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(self.home / "ca.pem"))
        for name in ("localhost", "client@example.org"):
            leaf = self.ca.issue_cert(name)
            leaf.private_key_and_cert_chain_pem.write_to_path(
                str(self.home / f"{name.partition('@')[0]}.pem")
            )
        self.children: list[subprocess.Popen[bytes]] = []

    def mcpguard(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(GUARD), *words], env=self.env, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def start(self, *command: object, **env: str) -> None:
        with open(self.home / "servers.log", "ab") as log:
            words = [str(word) for word in command]
            self.children.append(subprocess.Popen(words, env=os.environ | env, stdout=log, stderr=log))

    def listens(self, port: int) -> int:
        """Wait until a port is listened on."""
        deadline = time.monotonic() + 40
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, (self.home / "servers.log").read_text()
                time.sleep(0.05)
            else:
                return port

    def register(self, name: str, port: int, *more: str) -> None:
        mine = str(self.home / "client.pem")
        self.mcpguard(
            "server", "add", name, "--url", f"https://localhost:{port}/mcp", "--ca", str(self.home / "ca.pem"),
            "--client-cert", mine, "--client-key", mine, "--allow-network", "loopback", "--yes", *more,
        )  # fmt: skip


def context(house: House) -> ssl.SSLContext:
    """What a server of the house listens with: whoever comes must show a certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(house.home / "localhost.pem")
    made.load_verify_locations(house.home / "ca.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, guarded: bool) -> Iterator[House]:
    if not guarded:
        pytest.skip("a server at a URL needs mcpguard")
    for env in daemon_home(tmp_path_factory.mktemp("remote")):
        made = House(env)
        try:
            words, policy = made.home / "words", made.home / "policy.toml"
            words.write_text("correct horse\n", encoding="utf-8")
            words.chmod(0o600)
            env["MCPGUARD_PASSPHRASE_FILE"] = str(words)
            policy.write_text(POLICY, encoding="utf-8")
            made.mcpguard("policy", "apply", str(policy))
            made.mcpguard("trust", "init", "--yes")
            certificate, ca = made.home / "localhost.pem", made.home / "ca.pem"
            for name, more in (("python", ()), ("python-json", ("--json",))):
                port = free_port()
                made.start(sys.executable, HERE / "servers" / "http_server.py", port, certificate, ca, *more)
                made.register(name, made.listens(port))
            inner = free_port()
            made.start(
                NODE, MODULES / "server-everything" / "dist" / "index.js", "streamableHttp", PORT=str(inner)
            )
            for name in ("python", "everything"):
                made.mcpguard("server", "add", f"{name}-stdio", "--yes", "--", *map(str, SERVERS[name]))
            made.register("everything", terminate_tls(context(made), made.listens(inner)))
            yield made
        finally:
            for child in made.children:
                child.kill()
                child.wait()


def told(outcome: Run, server: str, without: tuple[str, ...]) -> list[str]:
    """What the SDK gave to its caller for each call, read and prompt, without what legitimately varies.

    Not what the servers declare and announce: both SDKs declare other capabilities over HTTP.
    """
    found, step, wanted = [], "", False
    for record in outcome.records:
        if "step" in record:
            step = json.dumps(record, sort_keys=True)
            what = record.get("name") or record.get("uri")
            wanted = record["step"] in KINDS and what not in without
        elif wanted and ("result" in record or "error" in record):
            text = f"{step} {json.dumps(record, sort_keys=True)}".replace(outcome.directory, "<dir>")
            for pattern, name in _PATTERNS:
                text = pattern.sub(name, text)
            text = re.sub(rf"(\b(?:of|diff|trust) ){server}\b", r"\1<server>", text)
            found.append(text.replace("session undefined", "session <uuid>"))
    return found


@pytest.mark.parametrize(
    ("client", "mode", "server"),
    [
        ("python", "legacy", "python"), ("python", "modern", "python"), ("python", "auto", "python"),
        ("ts2", "legacy", "python"), ("ts2", "modern", "python"), ("python", "legacy", "python-json"),
        ("python", "modern", "python-json"), ("python", "legacy", "everything"), ("python", "auto", "everything"),
        ("ts1", "legacy", "everything"),
    ],
)  # fmt: skip
def test_same_over_http_as_over_stdio(
    house: House, client: str, mode: str, server: str, tmp_path: Path
) -> None:
    kind = server.partition("-")[0]
    without = VARYING + {"legacy": BACKWARDS, "modern": ("slow", "log")}.get(
        mode * (server == "python-json"), ()
    )
    said = []
    for number, name in enumerate((f"{kind}-stdio", server), 1):
        outcome = run(
            client, mode, kind, SCENARIOS[kind]["features"], wrapper=[str(GUARD), "run", name],
            directory=tmp_path / f"run-{number}", env=house.env, registered=True,
        )  # fmt: skip
        said.append(told(outcome, name, without))
    difference = list(difflib.unified_diff(*said, "stdio", "http", lineterm="", n=0))
    assert not difference, "\n".join(line[:1500] for line in difference)
    assert len(said[1]) > 10
