"""Python packages from a directory of wheels: what is installed, how it runs, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.launchers import PypiCommand, parse_launcher
from mcpguard.system.packagestore import Materialised, PackageStore
from mcpguard.system.pypitree import materialise_pypi
from tests.system.registry import sdist, wheel

MAIN = """\
import json, sys
import dep

def main():
    print(json.dumps([dep.VALUE, sys.argv, sys.flags.isolated, sys.flags.no_site, dep.__cached__ is not None]))
    print(json.dumps([p for p in sys.path if "site-packages" in p or "dist-packages" in p or p in ("", ".")]))
    exit(3)
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "wheels"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    wheel(place, "dep", "1.0", {"dep.py": "VALUE = 'dep 1'\n"})
    wheel(place, "my-srv", "2.0", {"my_srv.py": MAIN}, scripts="my-srv = my_srv:main", requires="dep>=1")
    return place


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "state" / "store")


def quiet(line: str) -> None:
    """Progress that nobody watches."""


def pin(store: PackageStore, *argv: str, package: str = "") -> Materialised:
    command = parse_launcher(argv, package)
    assert isinstance(command, PypiCommand)
    return materialise_pypi(command, store, quiet)


def run(made: Materialised, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [word.replace("{store}", str(made.directory.parents[1])) for word in made.argv]
    return subprocess.run(
        argv, cwd="/", env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_runs_from_the_store(wheels: Path, store: PackageStore) -> None:
    made = pin(store, "uvx", "my-srv", "--flag")
    done = run(made)
    assert done.stdout == '["dep 1", ["my-srv", "--flag"], 1, 1, true]\n[]\n'
    assert (done.returncode, done.stderr) == (3, "")
    assert (made.ecosystem, made.package, made.version, made.count) == ("pypi", "my-srv", "2.0", 2)
    assert made.argv[0] == made.interpreter.path == os.path.realpath(sys.executable)
    lock = (made.directory / "requirements.lock").read_text().splitlines()
    assert [line.split(" --hash=sha256:")[0] for line in lock] == ["dep==1.0", "my-srv==2.0"]
    assert store.verified("pypi", made.tree.sha256) == made.directory


def test_running_changes_nothing_in_the_tree(wheels: Path, store: PackageStore) -> None:
    made = pin(store, "uvx", "my-srv")
    for directory, _, _ in os.walk(made.directory):  # as careless as can be
        os.chmod(directory, 0o700)
    run(made)
    store.verified("pypi", made.tree.sha256)


def test_the_environment_and_the_working_directory_lead_nowhere_else(
    wheels: Path, store: PackageStore, tmp_path: Path
) -> None:
    made = pin(store, "uvx", "my-srv")
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "dep.py").write_text("VALUE = 'evil'\n")
    (evil / "json.py").write_text("raise SystemExit('evil')\n")
    assert '"dep 1"' in run(made, PYTHONPATH=str(evil), PYTHONSTARTUP=str(evil / "json.py")).stdout


def test_again_is_the_same_tree(wheels: Path, store: PackageStore) -> None:
    first, second = pin(store, "uvx", "my-srv"), pin(store, "pipx", "run", "my-srv")
    assert (second.tree, second.lock_sha256, second.fresh) == (first.tree, first.lock_sha256, False)


def test_module_of_a_named_package(wheels: Path, store: PackageStore) -> None:
    wheel(
        wheels,
        "mod",
        "1.0",
        {"mod/__init__.py": "", "mod/__main__.py": "import sys; print(__name__, sys.argv[1:])"},
    )
    assert run(pin(store, "python", "-m", "mod", "x", package="pypi:mod")).stdout == "__main__ ['x']\n"


def test_package_with_sources_only(wheels: Path, store: PackageStore, tmp_path: Path) -> None:
    sdist(wheels, "srconly", "1.0", f"open({str(tmp_path / 'pwned')!r}, 'w')")
    with pytest.raises(
        TrustError, match=r"python.* pip install failed: .*No matching distribution found for srconly"
    ) as caught:
        pin(store, "uvx", "srconly")
    assert (
        caught.value.hint == "only wheels are installed, since building a source distribution runs its code"
    )
    assert not (tmp_path / "pwned").exists()
    assert os.listdir(store.directory / "pypi") == []


def test_dependency_with_sources_only(
    wheels: Path, store: PackageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdist(wheels, "srconly", "1.0", f"open({str(tmp_path / 'pwned')!r}, 'w')")
    wheel(wheels, "top", "1.0", {"top.py": ""}, requires="srconly", scripts="top = top:main")
    (tmp_path / "pip.conf").write_text("[global]\nno-binary = :all:\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    with pytest.raises(TrustError, match="srconly"):
        pin(store, "uvx", "top")
    assert not (tmp_path / "pwned").exists()


def test_wheel_that_changes_between_resolving_and_installing(wheels: Path, store: PackageStore) -> None:
    command = parse_launcher(["uvx", "my-srv"])
    assert isinstance(command, PypiCommand)

    def swap(line: str) -> None:
        if line.startswith("installing"):
            wheel(wheels, "dep", "1.0", {"dep.py": "VALUE = 'evil'\n"})

    with pytest.raises(TrustError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        materialise_pypi(command, store, swap)
    assert os.listdir(store.directory / "pypi") == []


def test_program_that_is_not_there(wheels: Path, store: PackageStore) -> None:
    with pytest.raises(TrustError, match="my-srv has no program 'other'; it has 'my-srv'"):
        pin(store, "uvx", "--from", "my-srv", "other")
    with pytest.raises(TrustError, match="dep has no program 'dep'; it has 'none'"):
        pin(store, "uvx", "dep")


@pytest.mark.parametrize("entry", ["m:f(), __import__('os').system('touch x'", "m:f\\ng", "m", "1m:f", "m:"])
def test_entry_point_that_is_no_function(wheels: Path, store: PackageStore, entry: str) -> None:
    wheel(wheels, "odd", "1.0", {"odd.py": ""}, scripts=f"odd = {entry}")
    with pytest.raises(TrustError, match=r"is not a function|failed"):
        pin(store, "uvx", "odd")


def test_python_that_is_not_installed(wheels: Path, store: PackageStore) -> None:
    with pytest.raises(TrustError, match=r"python3\.2 is not on PATH"):
        pin(store, "uvx", "--python", "3.2", "my-srv")
