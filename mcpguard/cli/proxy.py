"""`mcpguard proxy`: hosts connect to a Unix socket, and each connection gets a guarded server of its own.

Every connection is handed to a shim, so it is admitted, judged and ended like a server that a host started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import click

from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import DaemonError, PeerError
from mcpguard.system.files import private_socket_path
from mcpguard.system.peercred import require_user
from mcpguard.system.rundir import MAX_SOCKET_PATH

_BACKLOG = 64
_PAUSE_SECONDS = 0.2


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--listen", "path", type=click.Path(path_type=Path), required=True, help="Socket to create, mode 0600."
)
@click.option("--name", default="", help="What policy and the audit log call the server.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def proxy(path: Path, name: str, command: tuple[str, ...]) -> None:
    """Listen on a Unix socket; start COMMAND, guarded, for each connection.

    Example: mcpguard proxy --listen ~/files.sock -- npx -y @modelcontextprotocol/server-filesystem ~/src

    Only processes of the same user may connect. Ends on SIGTERM or SIGINT, and every server with it.
    """
    asyncio.run(_serve(path, name, command))


async def _serve(path: Path, name: str, command: tuple[str, ...]) -> None:
    listening = _listen(path)
    shims: set[asyncio.subprocess.Process] = set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _say(f"listening on {path}")
    stopping = spawn_task(stop.wait(), name="stop")
    try:
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                accepting = spawn_task(loop.sock_accept(listening), name="accept")
                await asyncio.wait((accepting, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not accepting.done():
                    accepting.cancel()
                    break
                try:
                    connection, _ = accepting.result()
                except OSError as error:  # out of descriptors, most likely: others go on
                    _say(f"cannot accept a connection: {error.strerror}")
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                group.create_task(_guard(connection, name, command, shims, stop))
            for shim in shims:
                with contextlib.suppress(ProcessLookupError):
                    shim.terminate()
    finally:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 (one system call, at the end)
        listening.close()


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise PeerError(f"the socket path {path} is too long", hint="choose a shorter one")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            private_socket_path(path)
        else:
            raise DaemonError(f"somebody listens on {path} already", hint="choose another path")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.setblocking(False)
    before = os.umask(0o177)
    try:
        listening.bind(os.fspath(path))
    except OSError as error:
        raise DaemonError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listening.listen(_BACKLOG)
    return listening


async def _guard(
    connection: socket.socket,
    name: str,
    command: tuple[str, ...],
    shims: set[asyncio.subprocess.Process],
    stop: asyncio.Event,
) -> None:
    options = ["--name", name] if name else []
    run = [sys.executable, "-I", "-m", "mcpguard", "run", *options, "--", *command]
    with connection:
        try:
            require_user(connection, os.geteuid())
            fd = connection.fileno()
            shim = await asyncio.create_subprocess_exec(*run, stdin=fd, stdout=fd)
        except PeerError as error:
            _say(f"refused a connection: {error.sentence()}")
            return
        except OSError as error:
            _say(f"cannot serve a connection: {error.strerror}")
            return
    shims.add(shim)
    if stop.is_set():  # it was being started when the others were ended
        shim.terminate()
    await shim.wait()
    shims.discard(shim)


def _say(sentence: str) -> None:
    click.echo(f"mcpguard: {sentence}", err=True)
