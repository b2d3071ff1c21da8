"""Archives from strangers: what is unpacked, and what is refused before or while it is."""

import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.system.bundles import read_source

MANIFEST = json.dumps({
    "name": "srv",
    "version": "1",
    "server": {"mcp_config": {"command": "node", "args": ["${__dirname}/server/index.js"]}},
})  # fmt: skip


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def archive(
    tmp_path: Path, *more: tuple[zipfile.ZipInfo | str, bytes], manifest: str | None = MANIFEST
) -> Path:
    path = tmp_path / "srv.mcpb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        if manifest is not None:
            file.writestr("manifest.json", manifest)
        file.writestr("server/index.js", "run()")
        for name, data in more:
            file.writestr(name, data, zipfile.ZIP_DEFLATED)
    return path


def refused(tmp_path: Path, path: Path, why: str) -> None:
    with pytest.raises(TrustError, match=why) as caught:
        read_source(path, tmp_path / "bundles")
    assert "\n" not in caught.value.sentence()
    assert not (tmp_path / "bundles").exists() or os.listdir(tmp_path / "bundles") == []


def test_bundle_is_unpacked_for_the_owner_alone(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        (member("bin/go", stat.S_IFREG | 0o6777), b"#!"),
        (member("empty/", stat.S_IFDIR | 0o777), b""),
    )
    found = read_source(path, tmp_path / "bundles")
    root = Path(found.directory)
    assert root.parent == tmp_path / "bundles"
    assert found.argv == ("node", f"{root}/server/index.js")
    assert (root / "server/index.js").read_text() == "run()"
    modes = [
        stat.S_IMODE((root / name).stat().st_mode)
        for name in ("", "server", "server/index.js", "bin/go", "empty")
    ]
    assert modes == [0o700, 0o700, 0o600, 0o700, 0o700]


def test_server_json(tmp_path: Path) -> None:
    package = {"registryType": "npm", "identifier": "srv", "version": "1.0.0"}
    (tmp_path / "server.json").write_text(
        json.dumps({"name": "a/srv", "version": "1.0.0", "packages": [package]})
    )
    assert read_source(tmp_path / "server.json", tmp_path / "bundles").argv == ("npx", "-y", "srv@1.0.0")
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a/./x",
        "a//x",
        "..",
        "C:/x",
        "c:x",
        "a\\..\\x",
        "a\nb",
        "a\x1bb",
        "a/..",
        "./x",
    ],
)
def test_names_that_leave_the_bundle(tmp_path: Path, name: str) -> None:
    info = member("placeholder")
    info.filename = info.orig_filename = name
    refused(tmp_path, archive(tmp_path, (info, b"x")), "leaves the bundle|has a character in its name")
    assert sorted(os.listdir(tmp_path)) in (["bundles", "srv.mcpb"], ["srv.mcpb"])


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_members_that_are_no_files(tmp_path: Path, kind: int) -> None:
    refused(
        tmp_path,
        archive(tmp_path, (member("odd", kind | 0o777), b"/etc/passwd")),
        "'odd' is a link, a device",
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("a", "a"), "is there twice"),
        (("manifest.json",), "is there twice"),
        (("Manifest.json",), "only by case"),
        (("A/x", "a/y"), "only by case"),
        (("caf\u00e9", "cafe\u0301"), "only by case"),
        (("a", "a/b"), "is there twice"),
        (("a/b", "a"), "is there twice"),
        (("server/index.js/x",), "is there twice"),
    ],
)
def test_names_that_are_there_twice(tmp_path: Path, names: tuple[str, ...], why: str) -> None:
    refused(tmp_path, archive(tmp_path, *((name, b"x") for name in names)), why)


def test_bomb(tmp_path: Path) -> None:
    refused(
        tmp_path, archive(tmp_path, ("zeros", bytes(8 << 20))), "'zeros' unpacks to far more than it should"
    )


def test_member_that_is_larger_than_it_says(tmp_path: Path) -> None:
    """The central directory says one byte; the data has a megabyte."""
    path = archive(tmp_path, ("big", os.urandom(1 << 20)))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02" + data[data.rindex(b"PK\x01\x02") + 4 :][:2])
    struct.pack_into("<I", data, place + 24, 1)
    path.write_bytes(data)
    refused(tmp_path, path, "is larger than the bundle says|the bundle is damaged")


@pytest.mark.parametrize("count", [limits.BUNDLE_FILES + 1])
def test_more_members_than_allowed(tmp_path: Path, count: int) -> None:
    path = archive(tmp_path, *((str(number), b"") for number in range(count)))
    refused(tmp_path, path, f"more than {limits.BUNDLE_FILES} members")


def test_more_bytes_than_allowed(tmp_path: Path) -> None:
    path = archive(tmp_path, *((f"f{number}", b"x") for number in range(3)))
    data = bytearray(path.read_bytes())
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        struct.pack_into("<I", data, place + 24, limits.BUNDLE_BYTES // 4)
    path.write_bytes(data)
    refused(tmp_path, path, f"unpacks to more than {limits.BUNDLE_BYTES} bytes")


def flip(data: bytearray) -> None:
    data[data.index(b"server/index.js") + 16] ^= 0xFF


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def encrypt(data: bytearray) -> None:
    data[data.rindex(b"PK\x01\x02") + 8] |= 1


@pytest.mark.parametrize("damage", [flip, cut, encrypt])
def test_damaged_archives(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    path = archive(tmp_path)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    refused(tmp_path, path, "the bundle is damaged|is encrypted")


def test_bundles_without_a_manifest(tmp_path: Path) -> None:
    refused(tmp_path, archive(tmp_path, manifest=None), "has no manifest.json")
    refused(tmp_path, archive(tmp_path, manifest="{"), "not strict JSON")
    refused(tmp_path, archive(tmp_path, manifest="{}"), "says no command")


def test_files_that_are_neither(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    refused(tmp_path, tmp_path / "text", "not strict JSON")
    (tmp_path / "large").write_bytes(b" " * (limits.SOURCE_BYTES + 1))
    refused(tmp_path, tmp_path / "large", "is larger than")
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "none", tmp_path / "bundles")
    (tmp_path / "prefixed").write_bytes(
        b"#!/bin/sh\n" + io.BytesIO(archive(tmp_path).read_bytes()).getvalue()
    )
    refused(tmp_path, tmp_path / "prefixed", "not strict JSON")
