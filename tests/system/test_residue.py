"""What starting leaves in memory is given back, and only what is on disk as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.system.residue import Span, unchanged

HEAD = "7f0000000000-7f0000{size} {mode} 00000000 08:01 {inode} {path}\n"
REST = """Size:               4096 kB
Rss:                 100 kB
Shared_Dirty:          0 kB
Anonymous:      {anonymous:8} kB
KSM:                   0 kB
VmFlags: rd ex mr mw me sd
"""


def mapping(
    size: str = "100000",
    mode: str = "r-xp",
    inode: str = "42",
    path: str = "                   /lib/libx.so",
    anonymous: int = 0,
) -> str:
    return HEAD.format(size=size, mode=mode, inode=inode, path=path) + REST.format(anonymous=anonymous)


def test_code_and_constants_that_are_as_in_their_file_are_found() -> None:
    text = mapping() + mapping(mode="r--p") + mapping(path="   /with space/and [brackets]")
    assert list(unchanged(text)) == [Span(0x7F0000000000, 0x7F0000100000)] * 3


@pytest.mark.parametrize(
    "text",
    [
        mapping(anonymous=4),  # relocated, then made read-only: giving it back would lose that
        mapping(mode="rw-p"),
        mapping(mode="r-xs"),
        mapping(mode="---p"),
        mapping(inode="0", path=""),
        mapping(inode="0", path="[vdso]"),
        mapping(path="    /lib/libx.so (deleted)"),
        mapping(size="010000"),
        HEAD.format(size="100000", mode="r-xp", inode="42", path="/lib/libx.so"),  # nothing is said of it
        "",
    ],
)
def test_everything_else_is_left_alone(text: str) -> None:
    assert list(unchanged(text)) == []
    assert len(list(unchanged(text + mapping()))) == 1


PROGRAM = """
import ctypes, hashlib, os, ssl
import cryptography.hazmat.bindings._rust as rust
from mcpguard.system.residue import give_back_code
def of_files():  # whoever else has them in memory
    return os.path.exists("/proc/self/status") and 1024 * int(open("/proc/self/status").read().split("RssFile:")[1].split()[0])
before = of_files()
asked = give_back_code()
print(asked, before - of_files())
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"x"), b"x")
print(hashlib.sha256(b"abc").hexdigest()[:8], give_back_code() == asked, sum(range(1000)))
ssl.create_default_context()
"""


def test_a_process_goes_on_after_it_with_less_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    asked, freed = map(int, first.split())
    if Path("/proc/self/smaps").exists():
        assert asked > 4 << 20
        assert freed > 2 << 20
    else:
        assert asked == 0
    assert second.split() == ["ba7816bf", "True", "499500"]
