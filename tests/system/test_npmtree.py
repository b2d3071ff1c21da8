"""npm packages from a registry on the loopback: what is installed, what is not run, and what is refused."""

import datetime as dt
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.launchers import NpmCommand, parse_launcher
from mcpguard.system.npmtree import materialise_npm
from mcpguard.system.packagestore import Materialised, PackageStore
from tests.system.registry import Registry, serve

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
JS = "#!/usr/bin/env node\nconsole.log(JSON.stringify([require('dep'), process.argv.slice(2), process.execArgv]))\n"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with serve(Registry()) as served:
        served.publish("dep", files={"index.js": "module.exports = 'dep 1'\n"})
        served.publish("srv", files={"main.js": JS}, bin={"srv": "main.js"}, dependencies={"dep": "^1.0.0"})
        monkeypatch.setenv("npm_config_registry", served.url)
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
        (tmp_path / "npmrc").write_text("fetch-retries=0\n")
        yield served


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "state" / "store")


def quiet(line: str) -> None:
    """Progress that nobody watches."""


def pin(store: PackageStore, *argv: str, lock: bytes | None = None) -> Materialised:
    command = parse_launcher(argv)
    assert isinstance(command, NpmCommand)
    return materialise_npm(command, store, quiet, now=NOW, lock=lock)


def run(made: Materialised) -> str:
    argv = [word.replace("{store}", str(made.directory.parents[1])) for word in made.argv]
    return subprocess.run(argv, cwd="/", capture_output=True, text=True, check=True).stdout


def nothing_left(store: PackageStore) -> bool:
    return not os.path.exists(store.directory / "npm") or os.listdir(store.directory / "npm") == []


def test_runs_from_the_store(registry: Registry, store: PackageStore) -> None:
    made = pin(store, "npx", "-y", "srv", "--flag", "x")
    assert run(made) == '["dep 1",["--flag","x"],[]]\n'
    assert (made.ecosystem, made.package, made.version, made.count) == ("npm", "srv", "1.0.0", 2)
    assert made.lock_kind == "package-lock.json@3"
    assert made.directory == store.directory / "npm" / made.tree.sha256
    assert made.argv[0] == made.interpreter.path == os.path.realpath(made.interpreter.path)
    assert (made.fresh, made.notes) == (True, ())
    assert store.verified("npm", made.tree.sha256) == made.directory
    assert registry.url not in (made.directory / "package-lock.json").read_text()


def test_again_is_the_same_tree_and_a_newer_version_another(registry: Registry, store: PackageStore) -> None:
    first = pin(store, "npx", "srv")
    second = pin(store, "npx", "srv")
    assert (second.tree, second.fresh) == (first.tree, False)
    registry.publish("dep", "1.1.0", files={"index.js": "module.exports = 'dep 2'\n"})
    shutil.rmtree(os.environ["npm_config_cache"])
    assert pin(store, "npx", "srv").tree != first.tree
    assert run(first) == '["dep 1",[],[]]\n'


def test_a_lock_decides_instead_of_the_newest_versions(registry: Registry, store: PackageStore) -> None:
    first = pin(store, "npx", "srv")
    lock = (first.directory / "package-lock.json").read_bytes()
    registry.publish("dep", "1.1.0", files={"index.js": "module.exports = 'dep 2'\n"})
    shutil.rmtree(os.environ["npm_config_cache"])
    again = pin(store, "npx", "srv", lock=lock)
    assert (again.tree, again.lock_sha256) == (first.tree, first.lock_sha256)


def test_tarball_whose_digest_differs(registry: Registry, store: PackageStore) -> None:
    registry.publish("dep", files={"index.js": ""}, integrity="wrong")
    with pytest.raises(TrustError, match=r"npm ci .*EINTEGRITY") as caught:
        pin(store, "npx", "srv")
    assert "\n" not in caught.value.message
    assert nothing_left(store)


def test_tarball_that_changed_since_the_lock(registry: Registry, store: PackageStore) -> None:
    lock = (pin(store, "npx", "srv").directory / "package-lock.json").read_bytes()
    registry.publish("dep", files={"index.js": "steal()"})
    shutil.rmtree(os.environ["npm_config_cache"])
    with pytest.raises(TrustError, match="EINTEGRITY"):
        pin(store, "npx", "srv", lock=lock)


@pytest.mark.parametrize("integrity", [None, "sha1"])
def test_package_without_a_strong_digest(
    registry: Registry, store: PackageStore, integrity: str | None
) -> None:
    registry.publish("dep", files={"index.js": ""}, integrity=integrity)
    with pytest.raises(TrustError, match="the lock has no SHA-512 for 'node_modules/dep'"):
        pin(store, "npx", "srv")
    assert nothing_left(store)


def test_lock_that_lost_a_digest(registry: Registry, store: PackageStore) -> None:
    lock = json.loads((pin(store, "npx", "srv").directory / "package-lock.json").read_text())
    del lock["packages"]["node_modules/dep"]["integrity"]
    with pytest.raises(TrustError, match="no SHA-512"):
        pin(store, "npx", "srv", lock=json.dumps(lock).encode())


@pytest.mark.parametrize("script", ["preinstall", "install", "postinstall", "prepare"])
def test_install_scripts_do_not_run(
    registry: Registry, store: PackageStore, tmp_path: Path, script: str
) -> None:
    touch = {script: f"touch {tmp_path}/pwned"}
    registry.publish("dep", files={"index.js": "module.exports = 1"}, scripts=touch, hasInstallScript=True)
    registry.publish("srv", files={"main.js": JS}, bin="main.js", dependencies={"dep": "1"}, scripts=touch)
    (tmp_path / "npmrc").write_text("fetch-retries=0\nignore-scripts=false\nforeground-scripts=true\n")
    made = pin(store, "npx", "srv")
    run(made)
    assert not (tmp_path / "pwned").exists()
    assert any(note.startswith("install scripts were not run: dep@1.0.0") for note in made.notes)


@pytest.mark.parametrize("source", ["file:/etc", "git+file:///nowhere/x.git", "URL/dep/-/dep-1.0.0.tgz"])
def test_dependency_from_elsewhere(registry: Registry, store: PackageStore, source: str) -> None:
    registry.publish(
        "srv", files={"main.js": JS}, bin="main.js", dependencies={"dep": source.replace("URL", registry.url)}
    )
    with pytest.raises(TrustError, match=r"no registry|npm install .*failed|puts a package in"):
        pin(store, "npx", "srv")
    assert nothing_left(store)


def test_version_that_is_young(registry: Registry, store: PackageStore) -> None:
    registry.publish(
        "srv",
        files={"main.js": JS},
        bin="main.js",
        dependencies={"dep": "1"},
        published="2026-05-31T14:00:00Z",
    )
    (note,) = pin(store, "npx", "srv").notes
    assert note == "srv@1.0.0 was published 10 hours ago; most malicious releases are withdrawn within 72"


def test_registry_that_does_not_say_when(registry: Registry, store: PackageStore) -> None:
    registry.documents["srv"]["time"] = {}
    assert pin(store, "npx", "srv").notes == ("the registry does not say when srv@1.0.0 was published",)


def test_programs_are_chosen_as_npx_does(registry: Registry, store: PackageStore) -> None:
    files = {"a.js": JS.replace("'dep'", "'./one.json'"), "b.mjs": "console.log('b')", "one.json": "1"}
    registry.publish("@acme/two", files=files, bin={"two": "a.js", "other": "b.mjs"})
    assert run(pin(store, "npx", "@acme/two@1", "x")) == '[1,["x"],[]]\n'
    assert run(pin(store, "npx", "-p", "@acme/two", "other")) == "b\n"
    with pytest.raises(TrustError, match="has no program 'third'; it has 'other, two'"):
        pin(store, "npx", "-p", "@acme/two", "third")
    registry.publish("many", files=files, bin={"a": "a.js", "b": "b.mjs"})
    with pytest.raises(TrustError, match="has no program of its own name"):
        pin(store, "npx", "many")


def test_options_of_node_in_the_first_line_are_kept(registry: Registry, store: PackageStore) -> None:
    first = "#!/usr/bin/env -S node --no-warnings --stack-size=900\n"
    registry.publish(
        "srv", files={"m.js": first + JS.split("\n", 1)[1]}, bin="m.js", dependencies={"dep": "1"}
    )
    assert run(pin(store, "npx", "srv")) == '["dep 1",[],["--no-warnings","--stack-size=900"]]\n'


@pytest.mark.parametrize(
    ("files", "program", "why"),
    [
        ({"run.sh": "#!/bin/sh\n"}, "run.sh", "is not run by node"),
        ({"elf": "\x7fELF"}, "elf", "is not run by node"),
        ({"x.js": ""}, "none.js", "has no program|is not in the package"),
        ({"x.js": ""}, "../../../package.json", "is not in the package|has no program|is not run by node"),
    ],
)
def test_programs_that_are_not_of_node(
    registry: Registry, store: PackageStore, files: dict[str, str], program: str, why: str
) -> None:
    registry.publish("odd", files=files, bin={"odd": program})
    with pytest.raises(TrustError, match=why):
        pin(store, "npx", "odd")
    assert nothing_left(store)


def test_package_that_does_not_exist(registry: Registry, store: PackageStore) -> None:
    with pytest.raises(TrustError, match=r"npm install .*failed.*404") as caught:
        pin(store, "npx", "nowhere")
    assert caught.value.hint == "nothing was installed"


def test_names_that_collide(registry: Registry, store: PackageStore) -> None:
    registry.publish("srv", files={"main.js": "", "Lib.js": "", "lib.js": ""}, bin="main.js")
    with pytest.raises(TrustError, match="are the same name to some file systems"):
        pin(store, "npx", "srv")
    assert nothing_left(store)
