"""Servers that listen on a socket: reached, left alone, and refused if they are somebody else's."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard.daemon.upstream import connect
from mcpguard.errors import UpstreamError
from tests.daemon.loops import both_loops, run


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@both_loops
@pytest.mark.parametrize("name", [b"s", b"\xff \n\xe2\x80\xae"])
def test_server_is_reached_and_left_alone(tmp_path: Path, name: bytes, loop: str) -> None:
    async def story() -> None:
        path = os.fsencode(tmp_path) + b"/" + name
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            server = await connect(path, os.geteuid())
            theirs, _ = listener.accept()
        with theirs:
            assert server.pid == os.getpid()
            source, sink = server.descriptors()
            os.write(sink, b"hello")
            assert theirs.recv(9) == b"hello"
            theirs.send(b"welcome")
            assert os.read(source, 9) == b"welcome"
            server.end()
            assert await server.wait() == 0
            assert theirs.recv(9) == b""
            theirs.send(b"one last word")
            assert os.read(source, 99) == b"one last word"
            server.term()
            server.kill()
            await server.gone()
            server.end()
            os.close(source)
            os.close(sink)
            assert theirs.recv(9) == b""

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@both_loops
def test_nobody_there(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "dead"))
        (tmp_path / "file").write_text("")
        for path, code in (
            (tmp_path / "none", 127),
            (tmp_path / "none" / "s", 127),
            (tmp_path / "dead", 126),
            (tmp_path / "file", 126),
            (tmp_path / "file" / "s", 126),
            (tmp_path / ("x" * 200), 126),
        ):
            with pytest.raises(UpstreamError) as caught:
                await connect(os.fsencode(path), os.geteuid())
            assert caught.value.code == code, path
            assert caught.value.hint
            assert "\n" not in caught.value.sentence()

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@pytest.mark.root
@both_loops
def test_listener_must_be_ours_or_roots(tmp_path: Path, loop: str) -> None:
    code = (
        "import os, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.setuid(int(sys.argv[2])); s.listen()\n"
        "print(flush=True); time.sleep(60)\n"
    )

    async def story() -> None:
        for uid, ours, good in ((65533, 0, False), (65533, 65533, True), (0, 65533, True)):
            path = str(tmp_path / f"{uid}-{ours}")
            with subprocess.Popen(
                [sys.executable, "-I", "-c", code, path, str(uid)], stdout=subprocess.PIPE
            ) as other:
                assert other.stdout
                await asyncio.to_thread(other.stdout.readline)
                if good:
                    server = await connect(os.fsencode(path), ours)
                    assert server.pid == other.pid
                    await server.gone()
                else:
                    with pytest.raises(UpstreamError, match="belongs to uid 65533, not to you") as caught:
                        await connect(os.fsencode(path), ours)
                    assert caught.value.code == 126
                other.kill()

    before = descriptors()
    run(story, loop)
    assert descriptors() == before
