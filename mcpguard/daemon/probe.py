"""Start a server only to ask what it is: once for each era, in separate processes, in a scratch directory.

Rule 1: the server gets nothing of ours: a scratch HOME, TMPDIR and working directory, and of the environment only
`credentials.environment.MINIMUM` and what the caller names.
Rule 2: nothing outlives the probe. The server is started through a warden, which ends its whole tree.
Rule 3: everything that the server sends is decoded strictly and bounded (`limits`, section probe).
Rule 4: what it says on stderr or in an error is repeated without secrets, those of its variables first.

A server is asked with every capability of a client declared, because servers define more tools for more capable
hosts; what it then requests is answered with an empty list or an error, and remembered.

Source: MCP basic/lifecycle (2025-11-25), basic/versioning and server/discover (2026-07-28).

Decided: *No sandbox*: a probe runs what its caller was told to run, with the caller's rights; what is scratch keeps
an honest server from disturbing anything, and stops no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import stat
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mcpguard import __version__, limits
from mcpguard.audit.knownvalues import of_environment
from mcpguard.audit.redact import Redactor
from mcpguard.credentials.environment import MINIMUM, for_manifest
from mcpguard.daemon.outgoing import Authorizer
from mcpguard.daemon.probed import Answers, Probed, merged
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.daemon.session import Upstream
from mcpguard.daemon.spawn import Spawner
from mcpguard.daemon.upstream import reach
from mcpguard.errors import ProtocolError, UpstreamError
from mcpguard.identity.remote import Remote
from mcpguard.model import Era, Json, JsonObject
from mcpguard.protocol import meta
from mcpguard.protocol.framing import LineBuffer
from mcpguard.protocol.jsonrpc import error_line, notification_line, result_line
from mcpguard.protocol.strict import Refused, decode, encode, valid_id
from mcpguard.system.descriptors import close_all

LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"

_FAILED: Final = 125
_SHOWN: Final = 300
_LISTS: Final = {
    "tools/list": ("tools", limits.TOOLS, "tools"),
    "prompts/list": ("prompts", limits.TOOLS, "prompts"),
    "resources/list": ("resources", limits.RESOURCES, "resources"),
    "resources/templates/list": ("resourceTemplates", limits.TOOLS, "resources"),
}
"""Method to the member that it answers with, how many entries that may have, and the capability that it needs."""
_CHANGED: Final = frozenset({
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
})  # fmt: skip
_CLIENT: Final = {"name": "mcpguard", "version": __version__}
_CAPABILITIES: Final[JsonObject] = {"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
_NOT_NOW: Final = -32601


def probe_now(
    argv: Sequence[str], *, environ: Mapping[bytes, bytes], passed: Sequence[str] = (),
    fixed: Mapping[str, str] | None = None, cwd: str = "", patience: float = limits.PROBE_START_SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> Probed:  # fmt: skip
    """Probe a server, in an event loop of its own.

    Args:
        argv: Command and arguments; a relative path is relative to `cwd`.
        environ: The caller's environment, of which the server gets little.
        passed: Names of variables that it gets besides; `HOME` and `TMPDIR` too, if they are named.
        fixed: Variables that are set for it.
        cwd: Working directory, absolute; empty for a scratch directory.
        patience: Time for the first answer, seconds.
        tell: Gets a few words before each step.

    Raises:
        UpstreamError: It cannot be started, or answers in no era; the last lines of its stderr are told.
    """
    with tempfile.TemporaryDirectory(prefix="mcpguard-probe-", ignore_cleanup_errors=True) as scratch:
        entries = [name + b"=" + value for name, value in environ.items()]
        env = for_manifest(entries, passed, _places(Path(scratch), passed) | dict(fixed or {}))
        work = cwd or str(_made(Path(scratch), "work"))
        return asyncio.run(probe(argv, env, work, patience=patience, tell=tell))


def probe_remote_now(remote: Remote, *, tell: Callable[[str], None] = lambda _: None) -> Probed:
    """Probe a server that somebody else runs, in an event loop of its own.

    Raises:
        GuardError: As for `probe_remote`.
    """
    return asyncio.run(probe_remote(remote, tell=tell))


async def probe_remote(
    remote: Remote,
    authorizer: Authorizer | None = None,
    registry: Callable[[], RegistryTls] | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Probed:
    """Ask a server that somebody else runs, in both eras.

    Raises:
        TrustError: It is not the server that is meant, or is where it may not be.
        UpstreamError: It cannot be reached, or answers in no era.
    """

    async def start(redactor: Redactor) -> _Talk:
        reached = await reach(remote, {}, authorizer, registry() if registry is not None else None)
        talk = _Talk(reached, redactor)
        source, sink = reached.descriptors()
        silence, nothing = os.pipe()
        os.close(nothing)
        await talk.open(source, silence, sink)
        return talk

    hint = "compare the URL with what its owner says"
    return await _asked(start, limits.REMOTE_BRIEF_SECONDS, tell, hint)


async def probe(
    argv: Sequence[str], env: Sequence[bytes], cwd: str, *, patience: float = limits.PROBE_START_SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> Probed:  # fmt: skip
    """Ask a server in both eras. It gets exactly this environment (`NAME=value`) and working directory.

    Raises:
        UpstreamError: As for `probe_now`.
    """
    words = [os.fsencode(word) for word in argv]
    spawner = Spawner()
    hint = "try the command in a shell; --cwd and --pass give it a directory and variables that it may need"
    try:
        await spawner.start()

        async def start(redactor: Redactor) -> _Talk:
            return await _start(spawner, words, env, os.fsencode(cwd), redactor)

        return await _asked(start, patience, tell, hint)
    finally:
        await spawner.close()


async def _asked(
    start: Callable[[Redactor], Awaitable[_Talk]], patience: float, tell: Callable[[str], None], hint: str
) -> Probed:
    """What a server says in both eras; it is started, or connected to, once for each.

    Raises:
        UpstreamError: It answers in neither.
    """
    answers: list[Answers] = []
    silent: dict[str, str] = {}
    for era in (Era.LEGACY, Era.MODERN):
        tell(f"asking it in the {era.value} era")
        talk = await start(Redactor())
        first = min(patience, limits.PROBE_MODERN_SECONDS) if answers else patience
        try:
            answers.append(await (_legacy if era is Era.LEGACY else _modern)(talk, first))
        except (ProtocolError, TimeoutError) as error:
            silent[era.value] = await talk.complaint(error)
        finally:
            await talk.close()
    if not answers:
        raise UpstreamError(
            f"the server answers in no era; {silent[Era.LEGACY.value]}", code=_FAILED, hint=hint
        )
    return merged(answers, silent)


def _places(scratch: Path, passed: Sequence[str]) -> dict[str, str]:
    """Scratch directories for the variables that lead to the caller's own."""
    wanted = {"HOME": "home", "TMPDIR": "tmp"}
    return {name: str(_made(scratch, place)) for name, place in wanted.items() if name not in passed}


def _made(scratch: Path, name: str) -> Path:
    place = scratch / name
    place.mkdir(mode=0o700)
    return place


async def _start(
    spawner: Spawner, argv: list[bytes], env: Sequence[bytes], cwd: bytes, redactor: Redactor
) -> _Talk:
    """Start a server and hold the far ends of its stdio.

    Raises:
        UpstreamError: It does not start.
    """
    theirs_in, sink = os.pipe()
    source, theirs_out = os.pipe()
    complaints, theirs_err = os.pipe()
    ours, theirs = [source, complaints, sink], [theirs_in, theirs_out, theirs_err]
    try:
        child = await spawner.spawn(
            argv=argv, env=env, cwd=cwd, stdin=theirs_in, stdout=theirs_out, stderr=theirs_err
        )
    except ValueError as error:
        close_all(ours)
        raise UpstreamError("the command or a variable contains a NUL", code=_FAILED) from error
    except BaseException:
        close_all(ours)
        raise
    finally:
        close_all(theirs)
    given = frozenset(entry.partition(b"=")[0] for entry in env) - MINIMUM
    redactor.learn(of_environment(env, given))
    talk = _Talk(child, redactor)
    await talk.open(source, complaints, sink)
    return talk


class _Talk:
    """A conversation with one server process: one request at a time."""

    def __init__(self, child: Upstream, redactor: Redactor) -> None:
        self.requests: set[str] = set()
        self.findings: list[str] = []
        self.changed = False
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | ProtocolError | None] = asyncio.Queue()
        self._buffer = LineBuffer()
        self._bytes = 0
        self._odd = 0
        self._ident = 0
        self._last: deque[str] = deque(maxlen=limits.PROBE_STDERR_LINES)
        self.redactor = redactor
        self._stderr, self._line = redactor.stream(), ""
        self._transports: list[asyncio.BaseTransport] = []
        self._sink: asyncio.WriteTransport

    async def open(self, source: int, complaints: int, sink: int) -> None:
        """Take over the descriptors; the first and the last are two of one socket, or pipes."""
        if stat.S_ISSOCK(os.fstat(source).st_mode):
            os.close(sink)
            os.close(complaints)
            sock = socket.socket(fileno=source)
            self._sink, _ = await self._loop.connect_accepted_socket(lambda: _Pipe(self._heard), sock)
            self._transports.append(self._sink)
            return
        for descriptor, heard in ((source, self._heard), (complaints, self._complained)):
            protocol = functools.partial(_Pipe, heard)
            transport, _ = await self._loop.connect_read_pipe(protocol, os.fdopen(descriptor, "rb"))
            self._transports.append(transport)
        self._sink, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(sink, "wb"))

    async def close(self) -> None:
        """End the server: end of file first, then SIGTERM and SIGKILL; nothing of it is left."""
        if not self._sink.is_closing():
            self._sink.abort()
        self._child.end()
        await self._child.gone()
        for transport in self._transports:
            transport.close()

    async def complaint(self, error: Exception) -> str:
        """Why it went wrong, for a person: what happened, and the last lines of stderr."""
        with contextlib.suppress(TimeoutError):  # what explains an end of file may come after it
            await asyncio.wait_for(self._child.wait(), 0.2)
        reason = "it does not answer in time" if isinstance(error, TimeoutError) else str(error)
        reason = self.redactor.text(reason)
        if _ANSWERED in reason:
            return reason
        self._complained(None)
        reason = "; ".join([reason, *map(self.redactor.text, self.findings)])
        return f"{reason}; it says: {' | '.join(self._last)}" if self._last else reason

    def say(self, line: bytes) -> None:
        """Send a line."""
        if not self._sink.is_closing():
            self._sink.write(line)

    async def ask(self, method: str, params: JsonObject, seconds: float) -> JsonObject:
        """The result of a request.

        Raises:
            ProtocolError: It is an error, or the server ended, or sends what it must not.
            TimeoutError: There is no answer.
        """
        self._ident += 1
        ident = self._ident
        self.say(encode({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}) + b"\n")
        async with asyncio.timeout(seconds):
            while True:
                message = await self._message()
                if "method" in message:
                    self._serve(message)
                elif message.get("id") == ident:
                    return _result(method, message, self.redactor)

    async def settle(self) -> None:
        """Listen to what comes unasked, for a while."""
        with contextlib.suppress(TimeoutError, ProtocolError):
            async with asyncio.timeout(limits.PROBE_SETTLE_SECONDS):
                while not self.changed:
                    message = await self._message()
                    if "method" in message:
                        self._serve(message)

    async def _message(self) -> JsonObject:
        """The next line that is a message."""
        while True:
            line = await self._lines.get()
            if line is None:
                raise ProtocolError("it ended")
            if isinstance(line, ProtocolError):
                raise line
            if not line.strip():
                continue
            try:
                value, _ = decode(line)
            except Refused as refused:
                self._bear(
                    f"it sends a line that is refused: {refused.message}" if line[:1] == b"{" else _PRINTS
                )
                continue
            if type(value) is dict:
                return value
            self._bear(_PRINTS)

    def _bear(self, finding: str) -> None:
        """Put up with something, so many times."""
        self._odd += 1
        if self._odd > limits.PROBE_REQUESTS:
            raise ProtocolError(f"it sends more than {limits.PROBE_REQUESTS} lines that nobody asked for")
        if finding and finding not in self.findings:
            self.findings.append(finding)

    def _serve(self, message: JsonObject) -> None:
        method, ident = message["method"], message.get("id")
        self._bear("")
        if method in _CHANGED:
            self.changed = True
        if not isinstance(ident, int | str) or not valid_id(ident) or not isinstance(method, str):
            return
        self.requests.add(method[: limits.NAME_CHARS])
        if method == "ping":
            self.say(result_line(ident, {}))
        elif method == "roots/list":
            self.say(result_line(ident, {"roots": []}))
        else:
            self.say(error_line(ident, _NOT_NOW, "this is only a probe"))

    def _heard(self, data: bytes | None) -> None:
        """Bytes of stdout, None at its end."""
        if data is None:
            self._lines.put_nowait(None)
            return
        self._bytes += len(data)
        try:
            if self._bytes > limits.PROBE_BYTES:
                raise ProtocolError(f"it sends more than {limits.PROBE_BYTES >> 20} MiB")
            for line in self._buffer.feed(data):
                self._lines.put_nowait(line)
        except ProtocolError as error:
            self._lines.put_nowait(error)
            self._transports[0].close()

    def _complained(self, data: bytes | None) -> None:
        shown = self._stderr.flush() if data is None else self._stderr.feed(data)
        *lines, self._line = (self._line + shown).split("\n")
        if data is None:
            lines.append(self._line)
            self._line = ""
        self._line = self._line[: limits.REDACTED_STREAM_BYTES]
        self._last.extend(line[:_SHOWN] for line in lines if line.strip())


_ANSWERED: Final = "is answered with an error"
_PRINTS: Final = "it prints text on stdout that is not a message"


class _Pipe(asyncio.Protocol):
    """Hands on what is read."""

    def __init__(self, heard: Callable[[bytes | None], None]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._heard(data)

    def eof_received(self) -> None:
        self._heard(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._heard(None)


def _result(method: str, message: JsonObject, redactor: Redactor) -> JsonObject:
    result = message.get("result")
    if isinstance(result, dict):
        return result
    error = message.get("error")
    words = error.get("message") if isinstance(error, dict) else None
    raise ProtocolError(f"{method} {_ANSWERED}: {redactor.text(str(words))[:_SHOWN]!a}")


# --- the two eras ------------------------------------------------------------------------------------------


async def _legacy(talk: _Talk, first: float) -> Answers:
    hello = {"protocolVersion": LEGACY, "capabilities": _CAPABILITIES, "clientInfo": _CLIENT}
    found = await talk.ask("initialize", hello, first)
    talk.say(notification_line("notifications/initialized"))
    capabilities = _object(found.get("capabilities"))
    lists = await _listed(talk, capabilities, {})
    return _answers(
        talk, Era.LEGACY, str(found.get("protocolVersion")), found, _object(found.get("serverInfo")), lists
    )


async def _modern(talk: _Talk, first: float) -> Answers:
    envelope = {
        "_meta": {meta.VERSION: MODERN, meta.CAPABILITIES: _CAPABILITIES, meta.CLIENT_INFO: _CLIENT},
    }
    found = await talk.ask("server/discover", envelope, first)
    versions = found.get("supportedVersions")
    if not isinstance(versions, list) or MODERN not in versions:
        raise ProtocolError(f"server/discover is answered without {MODERN}")
    lists = await _listed(talk, _object(found.get("capabilities")), envelope)
    info = _object(_object(found.get("_meta")).get("io.modelcontextprotocol/serverInfo"))
    return _answers(talk, Era.MODERN, MODERN, found, info, lists)


def _answers(
    talk: _Talk, era: Era, protocol: str, found: JsonObject, info: JsonObject, lists: dict[str, list[Json]]
) -> Answers:
    instructions = found.get("instructions")
    return Answers(
        era=era,
        protocol=protocol[:_SHOWN],
        name=str(info.get("name", ""))[: limits.MANIFEST_TITLE_CHARS],
        release=str(info.get("version", ""))[:_SHOWN],
        instructions=instructions if isinstance(instructions, str) else "",
        capabilities=tuple(sorted(name for name in _object(found.get("capabilities")) if name)),
        lists=lists,
        requests=tuple(sorted(talk.requests)),
        findings=tuple(map(talk.redactor.text, talk.findings)),
    )


async def _listed(talk: _Talk, capabilities: JsonObject, params: JsonObject) -> dict[str, list[Json]]:
    """All lists of what the server says it has, read again when it says that they have changed."""
    lists: dict[str, list[Json]] = {}
    for _ in range(1 + limits.PROBE_ROUNDS):
        talk.changed = False
        for method, (member, most, capability) in _LISTS.items():
            if capability in capabilities:
                lists[member] = await _paged(talk, method, params)
                if len(lists[member]) > most:
                    raise ProtocolError(f"{method} has more than {most} entries")
        await talk.settle()
        if not talk.changed:
            break
    else:
        talk.findings.append("its lists change again and again: what is pinned is the last that was seen")
    return lists


async def _paged(talk: _Talk, method: str, params: JsonObject) -> list[Json]:
    """The entries of all pages. A method that the server does not have is an empty list, and a finding."""
    member = _LISTS[method][0]
    entries: list[Json] = []
    cursor: JsonObject = {}
    for _ in range(limits.LIST_PAGES):
        try:
            page = await talk.ask(method, {**params, **cursor}, limits.PROBE_ANSWER_SECONDS)
        except ProtocolError as error:
            if _ANSWERED not in error.message:
                raise
            talk.findings.append(error.message)
            return entries
        found = page.get(member)
        if not isinstance(found, list):
            raise ProtocolError(f"{method} is answered without {member}")
        entries += found
        following = page.get("nextCursor")
        if following is None:
            return entries
        if not isinstance(following, str) or len(following) > limits.CURSOR_CHARS:
            raise ProtocolError(f"{method} has a cursor that is none")
        cursor = {"cursor": following}
    raise ProtocolError(f"{method} has more than {limits.LIST_PAGES} pages")


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
