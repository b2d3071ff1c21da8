"""A host in the forms that hosts have: `relay.py FORM COMMAND...` passes lines on between its stdio and the command's.

FORM is `pipes`, `pairs` (two socketpairs, as Bun makes), `uvloop`, or `two` (another process reads the answers). A
line that begins with `!` is an order: Python that the host runs; `near` is what it writes to, `far` what it reads from.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading


def copy(source: int, sink: int) -> None:
    while data := os.read(source, 1 << 16):
        os.write(sink, data)


def run(words: list[str], place: str, **more: object) -> None:
    """An order: run a command, and leave its exit code and what it says in a file."""
    done = subprocess.run(
        words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **more
    )
    with open(f"{place}.new", "w") as file:
        json.dump([done.returncode, done.stdout + done.stderr], file)
    os.rename(f"{place}.new", place)


def obey(near: int, far: int) -> None:
    """Until our own input ends."""
    for line in iter(sys.stdin.buffer.readline, b""):
        if line.startswith(b"!"):
            exec(line[1:].decode(), globals() | {"near": near, "far": far})
        else:
            os.write(near, line)


def relay(near: int, far: int) -> None:
    threading.Thread(target=copy, args=(far, 1), daemon=True).start()
    obey(near, far)
    os.dup2(os.open(os.devnull, os.O_RDWR), near)


def pipes(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    relay(child.stdin.fileno(), child.stdout.fileno())
    return child.wait()


def pairs(command: list[str]) -> int:
    (near, stdin), (far, stdout) = socket.socketpair(), socket.socketpair()
    child = subprocess.Popen(command, stdin=stdin, stdout=stdout)
    stdin.close()
    stdout.close()
    relay(near.detach(), far.detach())
    return child.wait()


def two(command: list[str]) -> int:
    """The reader is a child that was forked before the shim is started, so that it has no end of its stdin."""
    (theirs, near), (far, answers) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(near)
        os.close(theirs)
        os.close(answers)
        copy(far, 1)
        os._exit(0)
    os.close(far)
    child = subprocess.Popen(command, stdin=theirs, stdout=answers)
    os.close(theirs)
    os.close(answers)
    obey(near, -1)
    os.close(near)
    return child.wait()


async def looped(command: list[str]) -> int:
    child = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20
    )
    ours = threading.Thread(target=feed, args=(asyncio.get_running_loop(), child.stdin), daemon=True)
    ours.start()
    while data := await child.stdout.read(1 << 16):
        os.write(1, data)
    return await child.wait()


def feed(loop: asyncio.AbstractEventLoop, sink: asyncio.StreamWriter) -> None:
    for line in iter(sys.stdin.buffer.readline, b""):
        loop.call_soon_threadsafe(sink.write, line)
    loop.call_soon_threadsafe(sink.close)


def uvloop(command: list[str]) -> int:
    import uvloop as loops  # noqa: PLC0415 (only this form needs it)

    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        return runner.run(looped(command))


if __name__ == "__main__":
    code = {"pipes": pipes, "pairs": pairs, "two": two, "uvloop": uvloop}[sys.argv[1]](sys.argv[2:])
    os._exit(code if code >= 0 else 128 - code)
