"""Drafts from `server.json` and from manifests of bundles: what is read, what is left to a person, what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.registry import from_bundle, from_server_json, local_name

NPM: dict[str, Any] = {
    "registryType": "npm",
    "identifier": "@acme/files",
    "version": "1.4.2",
    "transport": {"type": "stdio"},
    "runtimeHint": "npx",
    "packageArguments": [
        {"type": "positional", "value": "stdio"},
        {"type": "named", "name": "--depth", "default": "3"},
        {"type": "named", "name": "--read-only"},
        {"type": "positional", "valueHint": "target_dir", "isRequired": True},
        {"type": "named", "name": "--root", "value": "{root}"},
    ],
    "environmentVariables": [
        {"name": "ACME_TOKEN", "isRequired": True, "isSecret": True},
        {"name": "ACME_LEVEL", "default": "info"},
    ],
}


def server(*packages: Any, **more: Any) -> bytes:
    return json.dumps(
        {"name": "io.github.acme/files", "version": "1.4.2", "packages": packages, **more}
    ).encode()


def test_npm_package() -> None:
    found = from_server_json(server(NPM))
    assert found.argv == ("npx", "-y", "@acme/files@1.4.2", "stdio", "--depth", "3", "--read-only")
    assert (found.kind, found.name, found.title, found.version) == (
        "server.json",
        "files",
        "io.github.acme/files",
        "1.4.2",
    )
    assert (found.variables, found.secrets) == (("ACME_TOKEN", "ACME_LEVEL"), ("ACME_TOKEN",))
    assert found.doubts == (
        "an argument is left to you: 'target_dir'",
        "an argument is left to you: '--root'",
        "it says that it needs the variable ACME_TOKEN",
    )


def test_python_package_of_an_older_schema_and_as_the_registry_wraps_it() -> None:
    package = {"registry_name": "pypi", "name": "my-srv", "version": "1.0"}
    assert from_server_json(server(package)).argv == ("uvx", "my-srv==1.0")
    wrapped = json.dumps({"server": json.loads(server(package)), "_meta": {}}).encode()
    assert from_server_json(wrapped).argv == ("uvx", "my-srv==1.0")


def test_the_first_package_that_can_be_started() -> None:
    image = {"registryType": "oci", "identifier": "acme/files", "version": "1"}
    remote = NPM | {"transport": {"type": "streamable-http", "url": "https://x"}}
    assert from_server_json(server(image, remote, NPM)).argv[0] == "npx"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", server(), server("x"), server({"registryType": "oci", "identifier": "a", "version": "1"}),
        server(NPM | {"identifier": "../x"}), server(NPM | {"identifier": "git+ssh://x"}), server(NPM | {"identifier": "-g"}),
        server(NPM | {"version": "latest"}), server(NPM | {"version": "1 --registry=http://x"}), server(NPM | {"version": 1}),
        server(NPM | {"transport": {"type": "sse"}}), server(NPM | {"transport": 1}), server(NPM | {"packageArguments": ["x"]}),
        server(NPM | {"packageArguments": [{"type": "positional", "value": "a\0b"}]}),
        server(NPM | {"environmentVariables": [{"name": "A=B"}]}), server(NPM | {"environmentVariables": ["A"]}),
        server(NPM)[:-1], server(NPM) + b"x", b'{"packages": [], "packages": []}',
    ],
)  # fmt: skip
def test_what_gives_no_command(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        from_server_json(data)
    assert "\n" not in caught.value.sentence()


BUNDLE: dict[str, Any] = {
    "manifest_version": "0.3",
    "name": "my files!",
    "display_name": "My Files",
    "version": "2.0.0",
    "server": {
        "type": "node",
        "entry_point": "server/index.js",
        "mcp_config": {
            "command": "node",
            "args": ["${__dirname}/server/index.js", "--root", "${user_config.root}"],
            "env": {"MODE": "prod", "TOKEN": "${user_config.token}", "DATA": "${__dirname}${/}data"},
        },
    },
    "user_config": {"token": {"type": "string", "sensitive": True}, "root": {"type": "directory"}},
}


def bundle(**config: Any) -> bytes:
    said = json.loads(json.dumps(BUNDLE))
    said["server"]["mcp_config"] |= config
    return json.dumps(said).encode()


def test_bundle() -> None:
    found = from_bundle(bundle(), "/b")
    assert found.argv == ("node", "/b/server/index.js", "--root")
    assert (found.kind, found.name, found.title, found.version) == ("bundle", "my-files", "My Files", "2.0.0")
    assert (found.variables, found.secrets) == (("TOKEN",), ("TOKEN",))
    assert found.fixed == {"MODE": "prod", "DATA": "/b/data"}
    assert found.doubts == (
        "an argument is left to you: '${user_config.root}'",
        "the variable TOKEN is left to you: '${user_config.token}'",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b'{"server": {}}', b'{"server": {"mcp_config": 1}}', bundle(command=""), bundle(command=1), bundle(args="x"),
        bundle(args=[1]), bundle(args=["a\0"]), bundle(env=[]), bundle(env={"A=B": "x"}), bundle(env={"A": 1}),
        bundle(command="${user_config.root}"), bundle() + b"x",
    ],
)  # fmt: skip
def test_bundle_without_a_command(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        from_bundle(data, "/b")
    assert caught.value.hint


@given(st.text())
def test_local_names(title: str) -> None:
    name = local_name(title)
    assert name
    assert name.isascii()
    assert not set(name) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert name[0] not in "-."
