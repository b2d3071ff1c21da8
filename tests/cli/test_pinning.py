"""`mcpguard server pin`, with real npm and pip, a registry on the loopback, and the daemon's own registry of servers."""

import datetime as dt
import hashlib
import json
import os
import shutil
import sys

import msgspec
import pytest
from click.testing import CliRunner

from mcpguard.cli.pinning import Desk, differences, pin
from mcpguard.daemon.registry import Registry
from mcpguard.identity.definitions import definition_digest, text_digest
from mcpguard.identity.described import Definitions, encode_definitions
from mcpguard.identity.dsse import encode_envelope, sign
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.pinlevel import LABELS
from mcpguard.identity.trust import LOCAL, Role, TrustSet
from mcpguard.system.packagestore import PackageStore, interpreter
from mcpguard.system.serverstore import ServerStore
from mcpguard.system.tree import tree_digest
from mcpguard.system.truststore import TrustStore
from tests.system.registry import Registry as Packages
from tests.system.registry import serve, wheel

KEY = PrivateKey(bytes([7]) * 32)
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
TOOL = {"name": "echo", "inputSchema": {"type": "object"}}
JS = """\
#!/usr/bin/env node
const tools = TOOLS
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const {id, method} = JSON.parse(line)
  const said = {initialize: {protocolVersion: '2025-11-25', capabilities: {tools: {}},
                             serverInfo: {name: 'srv', version: '1'}}, 'tools/list': {tools}}[method]
  if (id === undefined) return
  console.log(JSON.stringify(said ? {jsonrpc: '2.0', id, result: said}
                                  : {jsonrpc: '2.0', id, error: {code: -32601, message: 'no'}}))
})
"""
PY = """\
import json, sys
TOOL = {"name": "echo", "inputSchema": {"type": "object"}}
SAID = {"initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "srv", "version": "1"}}, "tools/list": {"tools": [TOOL]}}
def main():
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            said = SAID.get(asked["method"])
            body = {"result": said} if said else {"error": {"code": -32601, "message": "no"}}
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **body}), flush=True)
"""

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


class World:
    """A registered server, and the daemon's registry in place of the daemon."""

    def __init__(self, tmp_path):
        self.store = PackageStore(tmp_path / "state" / "store")
        self.trust = TrustStore(tmp_path / "trust")
        mine = Role(keys=(KEY.public.ident,), threshold=1)
        trust = TrustSet(
            version=1, expires="2030-01-01T00:00:00Z", keys={KEY.public.ident: KEY.public},
            root=mine, revocation=mine, publishers={LOCAL: mine, "io.acme": msgspec.structs.replace(mine, prefix="io.acme/")},
        )  # fmt: skip
        self.trust.put_trust(encode_envelope(sign(trust.encode(), KEY)), NOW)
        self.registry = Registry(ServerStore(tmp_path / "servers"), self.trust, lambda: NOW)
        self.signed = 0

    def add(self, *host_argv, name="srv", tools=(TOOL,), **more):
        program = interpreter(sys.executable)
        manifest = Manifest(
            name=name, version=1, not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z",
            launch=Launch((program.path,), tuple(host_argv)),
            executables=(ExecutablePin(program.path, program.sha256, program.size),),
            tools={tool["name"]: definition_digest(tool) for tool in tools}, server_name="srv", **more,
        )  # fmt: skip
        text = encode_envelope(sign(encode_manifest(manifest), KEY)).decode()
        self.registry.put(
            "srv", text, encode_definitions(Definitions(tools={t["name"]: t for t in tools})).decode()
        )

    def request(self, message):
        if message["verb"] == "server-show":
            return self.registry.show(message["name"])
        assert message["verb"] == "server-put"
        return self.registry.put(message["name"], message["text"], message["definitions"])

    def signer(self, key, passphrase_file, yes):
        self.signed += 1
        return KEY

    def pin(self, *words):
        desk = Desk(self.request, self.store, lambda: NOW, self.signer)
        return CliRunner().invoke(pin, ["srv", *words], obj=desk)

    @property
    def manifest(self):
        return self.registry.verified("srv").manifest

    def trees(self, ecosystem="npm"):
        place = self.store.directory / ecosystem
        return os.listdir(place) if place.exists() else []


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    with serve(Packages()) as served:
        served.publish("srv", files={"m.js": JS.replace("TOOLS", json.dumps([TOOL]))}, bin="m.js")
        monkeypatch.setenv("npm_config_registry", served.url)
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
        (tmp_path / "npmrc").write_text("fetch-retries=0\n")
        yield served


@needs_npm
def test_npm_server_is_pinned(world, packages):
    world.add("npx", "-y", "srv", "--flag")
    before = world.registry.verified("srv")
    done = world.pin("--yes")
    assert done.exit_code == 0, done.output
    after = world.manifest
    (package,) = after.packages
    assert (after.version, after.supersedes) == (2, before.verified.digest)
    assert after.launch.host_argv == ("npx", "-y", "srv", "--flag")
    node, program, flag = after.launch.argv
    assert program == f"{{store}}/npm/{package.tree}/node_modules/srv/m.js"
    assert (flag, node) == ("--flag", after.executables[0].path)
    assert after.tools == before.manifest.tools
    assert (package.count, package.integrity, package.install_scripts) == (1, "sha512-all", "none")
    place = world.store.directory / "npm" / package.tree
    assert tree_digest(place).sha256 == package.tree
    assert hashlib.sha256((place / "package-lock.json").read_bytes()).hexdigest() == package.lock_sha256
    assert f"[P0: {LABELS['P0']}]" in done.output
    assert f"srv: version 2, {after.pin}: {LABELS[after.pin]}" in done.output
    assert "(compared, not executed)" in done.output


def test_python_server_is_pinned(world, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(tmp_path / "wheels"),
        "CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    wheel(tmp_path / "wheels", "srv", "1.0", {"srv.py": PY}, scripts="srv = srv:main")
    world.add("uvx", "srv")
    done = world.pin("--yes")
    assert done.exit_code == 0, done.output
    (package,) = world.manifest.packages
    assert world.manifest.launch.argv[1:] == ("-I", "-S", "-B", f"{{store}}/pypi/{package.tree}/run.py")
    assert package.integrity == "sha256-all"
    assert "note: pip does not say when srv 1.0 was published" in done.output
    world.store.verified("pypi", package.tree)


@needs_npm
def test_server_that_defines_something_else_is_not_pinned(world, packages):
    packages.publish(
        "srv", "1.0.1", files={"m.js": JS.replace("TOOLS", json.dumps([TOOL | {"title": "x"}]))}, bin="m.js"
    )
    world.add("npx", "srv")
    done = world.pin("--yes")
    assert done.exit_code == 5
    assert "srv 1.0.1 defines something else than what was trusted: tool 'echo' is another one" in done.output
    assert (world.manifest.version, world.trees(), world.signed) == (1, [], 0)


@needs_npm
def test_nobody_to_ask_is_no_yes(world, packages):
    world.add("npx", "srv")
    done = world.pin()
    assert done.exit_code == 5
    assert "say it with --yes" in done.output
    assert (world.manifest.version, world.trees(), world.signed) == (1, [], 0)


@needs_npm
def test_server_that_does_not_start_from_the_tree(world, packages):
    packages.publish(
        "srv", "1.0.1", files={"m.js": "#!/usr/bin/env node\nthrow new Error('needs a build')\n"}, bin="m.js"
    )
    world.add("npx", "srv")
    done = world.pin("--yes")
    assert done.exit_code == 1
    assert "needs a build" in done.output
    assert (world.manifest.version, world.trees()) == (1, [])


@needs_npm
def test_lock_of_the_user(world, packages, tmp_path):
    world.add("npx", "srv")
    assert world.pin("--yes").exit_code == 0
    first = world.manifest.packages[0]
    shutil.copy(world.store.directory / "npm" / first.tree / "package-lock.json", tmp_path / "lock.json")
    packages.publish(
        "srv", "1.0.1", files={"m.js": JS.replace("TOOLS", json.dumps([TOOL])) + "//\n"}, bin="m.js"
    )
    shutil.rmtree(tmp_path / "cache")
    done = world.pin("--yes", "--lock", str(tmp_path / "lock.json"))
    assert done.exit_code == 0, done.output
    assert (world.manifest.version, world.manifest.packages[0]) == (3, first)
    shutil.rmtree(tmp_path / "cache")
    assert world.pin("--yes").exit_code == 0
    assert world.manifest.packages[0].tree != first.tree


@pytest.mark.parametrize(
    ("argv", "words", "why"),
    [
        (("/opt/server",), (), "'/opt/server' runs no package of npm or a Python index"),
        (("python3", "-m", "srv"), (), "runs no package"),
        (("npx", "-c", "ls"), (), "the command cannot be pinned"),
        (("npx", "github:a/b"), (), "the command cannot be pinned"),
        (("uvx", "srv"), ("--lock", "/dev/null"), "Invalid value|--lock is for npm packages"),
    ],
)
def test_commands_that_cannot_be_pinned(world, argv, words, why):
    world.add(*argv)
    done = world.pin("--yes", *words)
    assert done.exit_code in {2, 5}
    assert any(each in done.output for each in why.split("|"))
    assert world.manifest.version == 1


def test_manifest_of_a_publisher_is_left_to_its_publisher(world):
    world.add("npx", "srv", name="io.acme/srv")
    done = world.pin("--yes")
    assert done.exit_code == 5
    assert "is its publisher's ('io.acme/srv')" in done.output


def test_server_that_is_not_registered(world):
    done = world.pin("--yes")
    assert done.exit_code == 5
    assert "no server is registered as 'srv'" in done.output


def test_differences_are_named():
    manifest = Manifest(
        name="x", version=1, not_before="", expires="", launch=Launch(("/x",), ("x",)),
        tools={"a": definition_digest(TOOL), "b": definition_digest(TOOL)}, instructions_sha256=text_digest("hello"),
    )  # fmt: skip
    found = differences(
        manifest, Definitions(tools={"a": {"name": "a"}, "c": TOOL}, prompts={"p": {"name": "p"}})
    )
    assert found == [
        "tool 'a' is another one", "tool 'b' is gone", "tool 'c' is new", "prompt 'p' is new", "the instructions are others",
    ]  # fmt: skip
    same = Definitions(tools={"a": TOOL, "b": TOOL}, instructions="hello")
    assert differences(msgspec.structs.replace(manifest), same) == []
