"""The runtime directory, as a process with this environment finds it."""

import os
import pwd
import socket
import subprocess
import sys

import pytest

from mcpguard.system import rundir

FIND = "sys.stdout.buffer.write(rundir.runtime_directory().encode('utf-8', 'surrogateescape'))"


def found(env: dict[bytes, bytes], first: str = "") -> bytes:
    code = f"import os, sys; from mcpguard.system import rundir; {first} {FIND}"
    return subprocess.run([sys.executable, "-I", "-c", code], env=env, capture_output=True, check=True).stdout


def test_named_directory_is_taken_byte_for_byte() -> None:
    assert found({b"MCPGUARD_RUNTIME_DIR": b"/r\xff\n"}) == b"/r\xff\n"


def test_system_directory_is_taken_only_if_it_is_ours() -> None:
    uid = os.getuid()
    system = f"/run/user/{uid}"
    ours = os.path.isdir(system) and os.stat(system).st_uid == uid
    expected = f"{system}/mcpguard" if ours else "/h/.local/state/mcpguard/run"
    assert found({b"HOME": b"/h", b"XDG_RUNTIME_DIR": b"/x"}) == expected.encode()


@pytest.mark.root
def test_directory_of_the_home_is_the_last_resort() -> None:
    assert found({b"HOME": b"/h"}, "os.setuid(65533);") == b"/h/.local/state/mcpguard/run"


@pytest.mark.parametrize("home", [b"", b"relative", b"~"])
def test_home_that_is_none_is_asked_from_the_user_database(home: bytes) -> None:
    code = "from mcpguard.system import rundir; print(rundir.home())"
    told = subprocess.run(
        [sys.executable, "-I", "-c", code], env={b"HOME": home}, capture_output=True, check=True
    )
    known = [entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid == os.getuid()]
    assert told.stdout.decode().rstrip("\n") == (known or [""])[0]


@pytest.mark.root
def test_user_without_an_entry_has_a_directory_that_cannot_be_made() -> None:
    assert found({b"HOME": b""}, "os.setuid(54321);") == b"/.local/state/mcpguard/run"


def test_longest_socket_path_is_what_the_kernel_takes() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="too long"):
            sock.bind("x" * (rundir.MAX_SOCKET_PATH + 2))
        name = f"/tmp/{os.getpid()}-".ljust(rundir.MAX_SOCKET_PATH, "x")
        sock.bind(name)
        os.unlink(name)
