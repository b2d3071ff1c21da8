"""From a connection on run.sock to a running session: one straight line, any failing step of which refuses.

attest the peer -> handshake with nonce -> check the three descriptors -> policy snapshot -> start or reach the
server -> gate. Nothing of the host's is read before all of it succeeded.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from mcpguard.audit import record
from mcpguard.credentials.environment import for_server
from mcpguard.daemon.lifeline import Lifeline
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.session import Session, Upstream
from mcpguard.daemon.spawn import Spawner
from mcpguard.daemon.upstream import connect
from mcpguard.errors import GuardError, PeerError, UpstreamError
from mcpguard.gate.gate import Gate
from mcpguard.identity.facts import PeerFacts
from mcpguard.identity.naming import server_name
from mcpguard.model import Grade, Side
from mcpguard.policy.snapshot import Snapshot
from mcpguard.protocol.hello import Hello
from mcpguard.system.descriptors import check_stdio, close_all
from mcpguard.system.peercred import far_process

REFUSED: Final = 5
FAILED: Final = 125


class Admitted:
    """A session that may begin, and the shim that asked for it."""

    def __init__(self, session: Session, lifeline: Lifeline, start: bytes) -> None:
        self.session = session
        self.lifeline = lifeline
        self.start = start


def refusal_code(error: GuardError) -> int:
    """What `mcpguard run` exits with when admission fails."""
    match error:
        case UpstreamError():
            return error.code
        case PeerError():
            return REFUSED
        case _:
            return FAILED


def check(lifeline: Lifeline, hello: Hello, own: frozenset[tuple[int, int] | str]) -> str:
    """Check what was passed; the server's name.

    Raises:
        PeerError: A descriptor cannot serve.
        UpstreamError: The command is not one.
    """
    check_stdio(lifeline.descriptors, own)
    if hello.kind == "name":
        raise UpstreamError(
            f"no server is registered as {os.fsdecode(hello.argv[0])!a}", code=FAILED,
            hint="give its command instead: mcpguard run -- COMMAND...",
        )  # fmt: skip
    return hello.name or server_name([word.decode("utf-8", "backslashreplace") for word in hello.argv])


def evidence(facts: PeerFacts, stdin: int) -> dict[str, object]:
    """What the kernel says of the caller; where stdin is a socket, also which process made it."""
    found: dict[str, object] = {"uid": facts.uid, "pid": facts.pid, "grade": Grade.G0.name}
    if stat.S_ISSOCK(os.fstat(stdin).st_mode):
        found["stdin_pid"] = far_process(stdin)
    return found


async def admit(
    lifeline: Lifeline, hello: Hello, name: str, *, ident: str, facts: PeerFacts, snapshot: Snapshot,
    recorder: Recorder, spawner: Spawner,
) -> Admitted:  # fmt: skip
    """Start or reach the server and make the session.

    Raises:
        UpstreamError: The server cannot be started or reached.
        JournalError: The beginning of the session cannot be recorded.
    """
    found = evidence(facts, lifeline.descriptors[0])
    start = record.prefix(ident, found, name)
    command = [word.decode("utf-8", "backslashreplace") for word in hello.argv]
    recorder.append([record.session(start, "begin", command=command, policy=snapshot.policy)])
    try:
        upstream, source, sink = await _reach(lifeline, hello, spawner)
    except UpstreamError as error:
        recorder.later([record.session(start, "refused", reason=error.sentence())])
        raise
    gate = Gate(snapshot, name, start, recorder.key)
    session = Session(ident, gate, recorder, name, upstream, found)
    stdin, stdout, stderr = lifeline.take()
    os.close(stderr)
    session.attach(Side.HOST, stdin, stdout)
    session.attach(Side.SERVER, source, sink)
    return Admitted(session, lifeline, start)


async def _reach(lifeline: Lifeline, hello: Hello, spawner: Spawner) -> tuple[Upstream, int, int]:
    """The server, and the descriptors to read from and write to it."""
    if hello.kind == "connect":
        listening = await connect(_absolute(hello.cwd, hello.argv[0]), os.geteuid())
        return (listening, *listening.descriptors())
    theirs_in, sink = os.pipe()
    source, theirs_out = os.pipe()
    ours, theirs = [source, sink], [theirs_in, theirs_out]
    try:
        child = await spawner.spawn(
            argv=hello.argv,
            env=for_server(hello.env),
            cwd=hello.cwd,
            habits=hello.habits,
            stdin=theirs_in,
            stdout=theirs_out,
            stderr=lifeline.descriptors[2],
        )
    except ValueError as error:
        close_all(ours)
        raise UpstreamError(
            "the command or its environment cannot be passed on exactly", code=FAILED
        ) from error
    except BaseException:
        close_all(ours)
        raise
    finally:
        close_all(theirs)
    return child, source, sink


def _absolute(cwd: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else cwd + b"/" + path


async def serve(admitted: Admitted, recorder: Recorder) -> int:
    """Run a session to its end and tell the shim."""
    session, lifeline = admitted.session, admitted.lifeline
    lifeline.watch(
        term=lambda: session.end("", now=True),
        gone=lambda: session.end("", now=True),
    )
    lifeline.ready()
    code = FAILED
    try:
        code = await session.run()
    finally:
        counts = {key: session.status()[key] for key in ("allowed", "denied", "dropped")}
        recorder.later([record.session(admitted.start, "end", code=code, reason=session.reason, **counts)])
        if session.reason:
            lifeline.say(session.reason)
        lifeline.exit(code)
    await session.gone()
    return code
