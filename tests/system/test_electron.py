"""Fuses of Electron programs, in files made like theirs."""

import os

import pytest

from mcpguard.system.electron import open_fuses

SENTINEL = b"dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX"
ALL = ("RunAsNode", "EnableNodeOptionsEnvironmentVariable", "EnableNodeCliInspectArguments")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", None),
        (b"\x7fELF" + bytes(5000), None),
        (bytes(5000) + SENTINEL + b"\x01\x08" + b"00000000", ()),
        (bytes(5000) + SENTINEL + b"\x01\x08" + b"r0rr0000", ()),
        (SENTINEL + b"\x01\x08" + b"10000000", ("RunAsNode",)),
        (SENTINEL + b"\x01\x08" + b"01100000", ("EnableNodeOptionsEnvironmentVariable",)),
        (SENTINEL + b"\x01\x08" + b"00010000", ("EnableNodeCliInspectArguments",)),
        (SENTINEL + b"\x01\x08" + b"11111111", ALL),
        (SENTINEL + b"\x01\x01" + b"0", ALL[1:]),
        (SENTINEL + b"\x02\x08" + b"00000000", ALL),
        (SENTINEL, ALL),
        (SENTINEL + b"\x01", ALL),
    ],
)
def test_a_door_is_open_unless_its_fuse_says_otherwise(tmp_path, content, found):
    path = tmp_path / "app"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    assert open_fuses(fd) == found
    os.close(fd)
