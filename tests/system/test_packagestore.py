"""The store: all of a tree under its digest, or nothing; and what is no longer what its name says."""

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.system.packagestore import PackageStore, interpreter
from mcpguard.system.tree import tree_digest


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "state" / "store")


def make(store: PackageStore, text: str = "run()") -> tuple[Path, str, bool]:
    with store.stage("npm") as staged:
        (staged / "lib").mkdir()
        (staged / "lib" / "index.js").write_text(text)
        (staged / "lib" / "go").write_text("#!")
        (staged / "lib" / "go").chmod(0o777)
        (staged / "link").symlink_to("lib/go")
        place, digest, fresh = store.keep(staged)
    return place, digest.sha256, fresh


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_kept_under_its_digest_and_read_only(store: PackageStore) -> None:
    place, digest, fresh = make(store)
    assert fresh
    assert place == store.directory / "npm" / digest == store.verified("npm", digest)
    assert tree_digest(place).sha256 == digest
    assert [mode(place / name) for name in (".", "lib", "lib/index.js", "lib/go")] == [
        0o500,
        0o500,
        0o400,
        0o500,
    ]
    assert (mode(store.directory), mode(store.directory / "npm")) == (0o700, 0o700)


def test_the_same_content_is_kept_once(store: PackageStore) -> None:
    first = make(store)
    inode = first[0].stat().st_ino
    assert make(store) == (first[0], first[1], False)
    assert first[0].stat().st_ino == inode
    assert os.listdir(store.directory / "npm") == [first[1]]


def test_what_fails_leaves_nothing(store: PackageStore) -> None:
    def fail() -> None:
        with store.stage("npm") as staged:
            (staged / "ro").mkdir()
            (staged / "ro" / "file").write_text("")
            (staged / "ro").chmod(0o500)
            raise ZeroDivisionError

    def leave() -> None:
        with store.stage("npm") as staged:
            (staged / "link").symlink_to("/etc")
            store.keep(staged)

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(TrustError, match="leaves the tree"):
        leave()
    assert os.listdir(store.directory / "npm") == []


def rewrite(place: Path) -> None:
    (place / "lib/index.js").chmod(0o600)
    (place / "lib/index.js").write_text("ran()")


def add(place: Path) -> None:
    (place / "lib").chmod(0o700)
    (place / "lib" / "more.js").write_text("")


def swap(place: Path) -> None:
    place.chmod(0o700)
    (place / "link").unlink()
    (place / "link").symlink_to("lib/index.js")


def execute(place: Path) -> None:
    (place / "lib/index.js").chmod(0o500)


@pytest.mark.parametrize("change", [rewrite, add, swap, execute])
def test_tree_that_changed(store: PackageStore, change: Callable[[Path], None]) -> None:
    place, digest, _ = make(store)
    change(place)
    with pytest.raises(TrustError, match=f"the package tree {place} has changed: it is ") as caught:
        store.verified("npm", digest)
    assert "mcpguard server pin" in caught.value.hint
    assert make(store) == (place, digest, True)  # made again, the damaged one is replaced
    store.verified("npm", digest)


def test_tree_that_is_not_there(store: PackageStore, tmp_path: Path) -> None:
    place, digest, _ = make(store)
    store.remove("npm", digest)
    store.remove("npm", digest)
    for make_other in (lambda: None, lambda: place.write_text(""), lambda: place.symlink_to(tmp_path)):
        make_other()
        with pytest.raises(TrustError, match="is not in the store"):
            store.verified("npm", digest)
        place.unlink(missing_ok=True)


def test_link_in_place_of_a_tree_with_the_same_content(store: PackageStore, tmp_path: Path) -> None:
    place, digest, _ = make(store)
    shutil.copytree(place, tmp_path / "elsewhere", symlinks=True)
    store.remove("npm", digest)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="is not in the store"):
        store.verified("npm", digest)


@pytest.mark.parametrize(
    ("ecosystem", "digest"),
    [
        ("npm", ""),
        ("npm", "../../x"),
        ("npm", "A" * 64),
        ("npm", "a" * 63),
        ("cargo", "a" * 64),
        ("..", "a" * 64),
    ],
)
def test_names_that_are_no_trees(store: PackageStore, ecosystem: str, digest: str) -> None:
    with pytest.raises(TrustError, match="is not the name of a package tree"):
        store.verified(ecosystem, digest)


def test_leftovers_of_a_killed_installation_are_swept(store: PackageStore) -> None:
    make(store)
    old, young = store.directory / "npm/.new-old", store.directory / "npm/.new-young"
    for path in (old, young):
        (path / "sub").mkdir(parents=True)
        (path / "sub").chmod(0o500)
    moment = time.time() - 5 * limits.INSTALL_SECONDS
    os.utime(old, (moment, moment))
    with store.stage("npm"):
        pass
    assert (old.exists(), young.exists()) == (False, True)


def test_store_in_a_place_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(TrustError, match=r"the package store cannot be used: .*writable by others"):
        make(PackageStore(tmp_path / "open" / "store"))


def test_interpreter(tmp_path: Path) -> None:
    (tmp_path / "node").write_bytes(b"\x7fELF")
    (tmp_path / "link").symlink_to("node")
    found = interpreter(str(tmp_path / "link"))
    assert (found.path, found.size) == (os.path.realpath(tmp_path / "node"), 4)
    assert found.sha256 == hashlib.sha256(b"\x7fELF").hexdigest()
    with pytest.raises(TrustError, match="cannot be read: no such file"):
        interpreter(str(tmp_path / "none"))
