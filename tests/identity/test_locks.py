"""Locks: every package with a strong digest, from a registry, or none at all."""

import base64
import copy
import json
from typing import Any

import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.locks import normalised, npm_lock, pypi_lock

WANTED = {"a": "latest", "@s/b": "^2"}
SHA512 = "sha512-" + base64.b64encode(bytes(64)).decode()
NPM: dict[str, Any] = {
    "name": "pinned",
    "lockfileVersion": 3,
    "packages": {
        "": {"dependencies": {"a": "latest", "@s/b": "^2"}},
        "node_modules/a": {"version": "1.0.0", "integrity": SHA512, "resolved": "https://x/a.tgz"},
        "node_modules/@s/b": {
            "version": "2.0.0",
            "integrity": SHA512,
            "hasInstallScript": True,
            "dependencies": {"x": "npm:y@^1"},
        },
        "node_modules/a/node_modules/@s/b": {"version": "1.0.0", "integrity": SHA512, "optional": True},
    },
}


def npm(**changes: Any) -> bytes:
    lock = copy.deepcopy(NPM)
    lock["packages"]["node_modules/a"] |= changes
    return json.dumps(lock).encode()


def test_npm_lock() -> None:
    found = npm_lock(npm(), WANTED)
    assert found.versions == {"a": "1.0.0", "@s/b": "2.0.0"}
    assert (found.count, found.scripts) == (3, ("@s/b@2.0.0",))
    assert (
        found.wanted == json.loads(found.text)["packages"][""]["dependencies"] == {"a": "1.0.0", "@s/b": "^2"}
    )
    assert b"resolved" not in found.text
    assert b"https://x" not in found.text
    assert npm_lock(found.text, WANTED).text == found.text


@pytest.mark.parametrize(
    "integrity",
    [None, "", 7, "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "sha512-AAAA", SHA512[:-4], SHA512 + " sha1-AAAA", "sha512-!", "x",
     SHA512.replace("sha512", "SHA512"), [SHA512]],
)  # fmt: skip
def test_package_without_a_strong_digest(integrity: Any) -> None:
    with pytest.raises(TrustError, match="the lock has no SHA-512 for 'node_modules/a'"):
        npm_lock(npm(integrity=integrity), WANTED)


@pytest.mark.parametrize(
    "changes",
    [
        {"link": True}, {"inBundle": True}, {"version": None}, {"version": 1}, {"resolved": "git+ssh://git@x/y.git#1"},
        {"resolved": "file:../x"}, {"resolved": 1}, {"resolved": "../x"}, {"dependencies": {"x": "github:a/b"}},
        {"dependencies": {"x": "a/b"}}, {"dependencies": {"x": "https://x/y.tgz"}}, {"dependencies": {"x": "file:y"}},
        {"optionalDependencies": {"x": "git://x"}}, {"dependencies": ["x"]}, {"dependencies": {"x": 1}},
    ],
)  # fmt: skip
def test_package_from_elsewhere(changes: dict[str, Any]) -> None:
    with pytest.raises(TrustError, match="the lock "):
        npm_lock(npm(**changes), WANTED)


@pytest.mark.parametrize(
    "place",
    ["a", "../node_modules/a", "/node_modules/a", "node_modules/../x", "node_modules/.bin", "node_modules/a/b",
     "node_modules/", "node_modules/@s", "packages/a", "node_modules/a/node_modules", "node_modules/@s/../../x"],
)  # fmt: skip
def test_package_in_another_place(place: str) -> None:
    lock = copy.deepcopy(NPM)
    lock["packages"][place] = {"version": "1.0.0", "integrity": SHA512}
    with pytest.raises(TrustError, match="the lock puts a package in"):
        npm_lock(json.dumps(lock).encode(), WANTED)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"lockfileVersion": 2, "packages": {"": {}}}', b'{"lockfileVersion": 3}',
     b'{"lockfileVersion": 3, "packages": []}', b'{"lockfileVersion": 3, "packages": {"": []}}', b"\xff",
     b'{"lockfileVersion": 3, "packages": {"": {}}, "packages": {"": {}}}', npm() + b"x"],
)  # fmt: skip
def test_what_is_no_lock(data: bytes) -> None:
    with pytest.raises(TrustError):
        npm_lock(data, WANTED)


@pytest.mark.parametrize("wanted", [{}, {"a": "1"}, {"a": "1", "@s/b": "2", "c": "3"}, {"a": "1", "c": "2"}])
def test_lock_of_other_packages(wanted: dict[str, str]) -> None:
    with pytest.raises(TrustError, match="the lock is of other packages than the command"):
        npm_lock(npm(), wanted)


@pytest.mark.parametrize("spec", ["latest", "next", "beta.1", "vnext", "xyz"])
def test_tags_are_replaced(spec: str) -> None:
    assert npm_lock(npm(), {"a": spec, "@s/b": "x"}).wanted == {"a": "1.0.0", "@s/b": "x"}


@pytest.mark.parametrize("spec", ["1.0.0", "v1.0.0", "^1", "1.x", "x", "x.1", "*", ">=1 <2", "~1.0"])
def test_versions_and_ranges_are_kept(spec: str) -> None:
    assert npm_lock(npm(), {"a": spec, "@s/b": "^2"}).wanted["a"] == spec


def test_more_packages_than_allowed() -> None:
    lock = copy.deepcopy(NPM)
    for number in range(limits.LOCK_PACKAGES):
        lock["packages"][f"node_modules/p{number}"] = {"version": "1", "integrity": SHA512}
    with pytest.raises(TrustError, match="more than"):
        npm_lock(json.dumps(lock).encode(), WANTED)


def wheel(name: str = "My_Pkg", **changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "metadata": {"name": name, "version": "1.0"},
        "is_direct": False,
        "download_info": {
            "url": "https://x/p-1.0-py3-none-any.whl",
            "archive_info": {"hashes": {"sha256": "a" * 64}},
        },
    }
    for path, value in changes.items():
        place = entry
        *above, last = path.split("__")
        for key in above:
            place = place[key]
        place[last] = value
    return entry


def report(*entries: Any) -> bytes:
    return json.dumps({"version": "1", "install": entries}).encode()


def test_pypi_lock() -> None:
    found = pypi_lock(report(wheel("zed"), wheel()))
    assert found.text == b"my-pkg==1.0 --hash=sha256:%b\nzed==1.0 --hash=sha256:%b\n" % (b"a" * 64, b"a" * 64)
    assert (found.versions, found.count) == ({"my-pkg": "1.0", "zed": "1.0"}, 2)


@pytest.mark.parametrize(
    "entries",
    [
        [], ["x"], [{}], [wheel(), wheel("my-pkg")], [wheel(is_direct=True)], [wheel(metadata__version="1 --pre")],
        [wheel(download_info__url="https://x/p-1.0.tar.gz")], [wheel(download_info__url="https://x/p.tar.gz#x.whl")],
        [wheel(download_info__archive_info={"hashes": {"md5": "a"}})], [wheel("-r")], [wheel("a\nb")],
        [wheel(download_info__archive_info__hashes={"sha256": "A" * 64})], [wheel(download_info={"url": "x"})],
    ],
)  # fmt: skip
def test_report_that_is_no_lock(entries: list[Any]) -> None:
    with pytest.raises(TrustError):
        pypi_lock(report(*entries))


def test_names_as_indexes_compare_them() -> None:
    assert normalised("A._-b") == "a-b"
