"""`mcpguard run`: what a host starts in a server's place.

It hands its stdin, stdout and stderr to the daemon and waits for the exit status. It is not on the path of any
message, decides nothing, and nothing that it says is believed. Hosts start one for every server, so it imports the
interpreter's own C modules only (a test reads `sys.modules`): its start is a bare interpreter's and little more.

Signals: SIGINT is ignored, because hosts share a terminal with us and some open their shutdown with it; SIGTERM and
SIGHUP ask the daemon to end the server; the death of this process ends it too.

Exit: the server's own code, 128 + n for a signal, 125 if mcpguard failed, 126 and 127 if the command did, 5 if it
was refused, 70 if the daemon died while the server ran. If it fails before the server runs it also answers the
host's first request with a JSON-RPC error that carries the sentence, because most hosts hide stderr.
"""

import _json
import _signal  # type: ignore[import-not-found]
import _socket
import errno
import fcntl
import posix
import resource
import select
import sys
import time

from mcpguard import __version__
from mcpguard.system.rundir import MAX_SOCKET_PATH, SYSTEM, listeners, runtime_directory

USAGE = """\
Usage: mcpguard run [--name NAME] -- COMMAND [ARGUMENT...]
       mcpguard run NAME
       mcpguard run [--name NAME] --connect SOCKET
       mcpguard run --system NAME

Start an MCP server behind mcpguard, in place of its command in an agent host's configuration.

  --name NAME        what policy and the audit log call the server (default: derived from the command)
  --connect SOCKET   the server already listens on this Unix socket
  --system           by the daemon of this machine, which runs what root has registered
  -h, --help         show this

Exit codes: the server's own; 128+n if signal n ended it; 2 usage; 5 refused; 70 the daemon was lost;
125 mcpguard failed; 126 the command cannot be executed; 127 it was not found.
"""

REFUSED, FAILED, USAGE_ERROR, LOST = 5, 125, 2, 70
_START_SECONDS = 15.0
_STRANGER_SECONDS = 3.0
_ATTEMPTS = 3
_TERM_SECONDS = 1.5
_FIRST_SECONDS = 2.0
_ADOPTED_SECONDS = 2.0
_GUARD_REFUSED = 40301
_SO_PEERCRED = 17
_KEPT = frozenset(
    (
        b"HOME",
        b"LOGNAME",
        b"USER",
        b"PATH",
        b"SHELL",
        b"LANG",
        b"LC_ALL",
        b"TZ",
        b"XDG_CONFIG_HOME",
        b"XDG_STATE_HOME",
    )
)


class Failed(Exception):
    """No session: the exit code, and the sentence that says why."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Stranger(Failed):
    """Somebody else listens: nobody that we know, or the service manager, which has yet to start a daemon."""

    def __init__(self, pid: int, path: str) -> None:
        super().__init__(
            LOST,
            f"what listens at {path} (pid {pid}) is not the mcpguard daemon that holds the lock; "
            "see: mcpguard daemon status; or remove it and start a daemon: mcpguard daemon start",
        )
        self.pid = pid


def main(argv: list[str] | None = None) -> int:
    """Run the shim; returns an exit code, or does not return."""
    arguments = sys.argv[2:] if argv is None else argv
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _open_standard()
    try:
        request = _parse(arguments)
        if request is None:
            posix.write(1, USAGE.encode())
            return 0
        code = _session(request)
    except Failed as failed:
        _tell(failed.sentence)
        if failed.code != USAGE_ERROR:
            _answer_first(failed.sentence)
        return failed.code
    posix._exit(code)


def _open_standard() -> None:
    """Fill what the host closed of 0, 1 and 2, so that nothing of ours takes their numbers."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)


def _parse(arguments: list[str]) -> tuple[bytes, bytes, list[bytes]] | None:
    """(kind, name, argv) of the command line, or None for help."""
    name = kind = b""
    words = []
    place = 0
    while place < len(arguments):
        word = arguments[place]
        place += 1
        if word in ("-h", "--help"):
            return None
        if word == "--":
            words += arguments[place:]
            break
        if word == "--system":
            posix.environ[b"MCPGUARD_RUNTIME_DIR"] = SYSTEM.encode()
        elif word in ("--name", "--connect") or word.startswith(("--name=", "--connect=")):
            option, equals, value = word.partition("=")
            if not equals:
                if place == len(arguments):
                    raise Failed(USAGE_ERROR, f"{option} needs a value; see: mcpguard run --help")
                value = arguments[place]
                place += 1
            if option == "--name":
                name = _bytes(value)
            else:
                kind = b"connect"
                words = [value]
        elif word.startswith("-"):
            raise Failed(USAGE_ERROR, f"unknown option {word}; see: mcpguard run --help")
        else:
            kind = kind or b"name"
            words.append(word)
    if not words or not words[0]:
        raise Failed(USAGE_ERROR, "which server? see: mcpguard run --help")
    if (kind == b"name" and "--" in arguments) or (kind and len(words) != 1):
        raise Failed(USAGE_ERROR, "put -- before the server's command: mcpguard run -- COMMAND...")
    return kind or b"command", name, [_bytes(word) for word in words]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- reaching the daemon -----------------------------------------------------------------------------------


def connect() -> _socket.socket:
    """A connection to the daemon's run.sock; starts a daemon if none runs.

    Raises:
        Failed: There is none, and none can be started.
    """
    directory = runtime_directory()
    path = directory + "/run.sock"
    if len(_bytes(path)) > MAX_SOCKET_PATH:
        raise Failed(
            FAILED, f"the socket path {path} is too long; set MCPGUARD_RUNTIME_DIR to a shorter directory"
        )
    sock = _served(path)
    if sock is not None:
        return sock
    if directory == SYSTEM:
        raise Failed(
            FAILED, f"nothing listens at {path}; as root: systemctl enable --now mcpguard-system.socket"
        )
    daemon = _watch(_start_daemon(directory))
    until = time.monotonic() + _START_SECONDS
    pause = 0.004
    while time.monotonic() < until:
        ended = daemon.poll(
            pause * 1000
        )  # before the attempt: of two daemons, one ends when the other answers
        sock = _attempt(path)
        if sock is not None:
            return sock
        if ended:
            break
        pause = min(pause * 1.5, 0.05)
    words = _last_words(directory)
    raise Failed(FAILED, f"the mcpguard daemon does not start ({words}); see why with: mcpguard daemon start")


def _served(path: str) -> _socket.socket | None:
    """As `_attempt`, where a service manager may hold the socket: our first connection has it start a daemon.

    Each further one fills the queue of whoever listens, so they become fewer, and none waits for room in it.
    """
    began = time.monotonic()
    pause = 0.02
    try:
        return _attempt(path)
    except Stranger as stranger:
        until = began + (_START_SECONDS if _is_manager(stranger.pid) else _STRANGER_SECONDS)
        while True:
            time.sleep(pause)
            try:
                sock = _attempt(path, wait=False)
            except Stranger:
                sock = None
            if sock is not None:
                return sock
            if time.monotonic() > until:
                raise
            pause = min(pause * 1.25, 0.25)


def _is_manager(pid: int) -> bool:
    """Whether a process may be a service manager, or an ended daemon whose socket one keeps.

    Worth more patience, and nothing else.
    """
    try:
        fd = posix.open(f"/proc/{pid}/comm", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return posix.read(fd, 32) == b"systemd\n"
    finally:
        posix.close(fd)


def _attempt(path: str, *, wait: bool = True) -> _socket.socket | None:
    """A connection whose other end is ours, or None if nobody listens, or nobody has room and we do not `wait`."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.setblocking(wait)
        sock.connect(path)
        sock.setblocking(True)
    except OSError as error:
        sock.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
            return None
        raise Failed(FAILED, f"cannot reach the mcpguard daemon at {path}: {error.strerror}") from None
    if sys.platform == "linux":
        uid = int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)[4:8], sys.byteorder)
    else:
        uid = int.from_bytes(sock.getsockopt(0, 1, 76)[4:8], sys.byteorder)
    directory = path.rpartition("/")[0]
    if uid not in listeners(directory):
        whose = "the daemon of this machine" if directory == SYSTEM else "you"
        raise Failed(FAILED, f"{path} belongs to uid {uid}, not to {whose}: not handing anything over")
    if sys.platform == "linux" and directory != SYSTEM:
        _require_holder(sock, path)
    return sock


def _require_holder(sock: _socket.socket, path: str) -> None:
    """Make sure that who listens is the daemon that holds the lock.

    A program of the same user that forges the lock as well is not stopped. In a namespace that does not know the
    listener nothing can be said here, and the daemon refuses us.
    """
    pid = int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)[:4], sys.byteorder)
    if pid == 0:
        return
    holder = -1
    try:
        fd = posix.open(
            path.rpartition("/")[0] + "/lock", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        )
        try:
            holder = int(posix.read(fd, 20))
            free = _lockable(fd)
        finally:
            posix.close(fd)
    except (OSError, ValueError):
        free = True  # no lock, or it names nobody
    if free or holder != pid:
        raise Stranger(pid, path)


def _lockable(fd: int) -> bool:
    """Whether nobody holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_daemon(directory: str) -> int:
    """Start a daemon that belongs to nobody's process tree, because hosts kill whole trees; its pid."""
    try:
        _make(directory)
    except OSError as error:
        why = f"cannot make {directory}: {error.strerror}"
        raise Failed(FAILED, f"{why}; set MCPGUARD_RUNTIME_DIR to a directory of yours") from None
    try:
        reader, writer = posix.pipe()
        child = posix.fork()
    except OSError as error:
        raise Failed(FAILED, f"cannot start the mcpguard daemon: {error.strerror}") from None
    if child:
        posix.close(writer)
        posix.waitpid(child, 0)
        pid = int(posix.read(reader, 16) or b"0")
        posix.close(reader)
        return pid
    try:
        posix.setsid()
        daemon = posix.fork()
        if daemon == 0:
            _become_daemon(directory)
        posix.write(writer, b"%d" % daemon)
    finally:
        posix._exit(FAILED)


def _watch(pid: int) -> select.poll:
    """What becomes readable when a process ends; never, on systems without pidfds."""
    poll = select.poll()
    try:
        poll.register(posix.pidfd_open(pid), select.POLLIN)
    except (AttributeError, OSError):
        pass  # then the time limit decides
    return poll


def _become_daemon(directory: str) -> None:
    null = posix.open("/dev/null", posix.O_RDWR)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW
    log = posix.open(directory + "/start.log", flags, 0o600)
    posix.dup2(null, 0)
    posix.dup2(null, 1)
    posix.dup2(log, 2)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    env = {k: v for k, v in posix.environ.items() if k in _KEPT or k.startswith(b"MCPGUARD_")}
    posix.execve(
        sys.executable, [sys.executable, "-I", "-m", "mcpguard", "daemon", "start", "--on-demand"], env
    )


def _make(directory: str) -> None:
    """Create a directory and the ones above it, for the owner alone."""
    above = directory.rpartition("/")[0]
    if above and not posix.access(above, posix.F_OK):
        _make(above)
    try:
        posix.mkdir(directory, 0o700)
    except FileExistsError:
        pass  # somebody was faster


def _last_words(directory: str) -> str:
    try:
        fd = posix.open(directory + "/start.log", posix.O_RDONLY)
    except OSError:
        return "it left no message"
    words = posix.read(fd, 65536).decode("utf-8", "replace").strip().rpartition("\n")[2]
    posix.close(fd)
    return words.removeprefix("mcpguard: ") or "it left no message"


# --- the session -------------------------------------------------------------------------------------------


def _session(request: tuple[bytes, bytes, list[bytes]]) -> int:
    """Hand over the descriptors and wait; returns the exit code."""
    sock, buffer, greeting = _greeted()
    words = greeting.split(b" ")
    if words[0] == b"refuse":
        raise _refusal(greeting)
    if len(words) != 4 or words[0] != b"mcpguard":
        raise Failed(FAILED, "what listens there is not the mcpguard daemon; look with: mcpguard status")
    theirs = words[2].decode("utf-8", "replace")
    if words[1] != b"1" or theirs != __version__:
        versions = f"the running daemon is mcpguard {theirs} and this is {__version__}"
        raise Failed(FAILED, f"{versions}; end it with: mcpguard daemon stop")
    _send(sock, request, words[3])
    return _wait(sock, buffer)


def _greeted() -> "tuple[_socket.socket, _Lines, bytes]":
    """A connection and the daemon's first line. A daemon that is just ending hangs up; the next one will not."""
    for _ in range(_ATTEMPTS):
        sock = connect()
        buffer = _Lines(sock)
        greeting = buffer.line(_START_SECONDS)
        if greeting:
            return sock, buffer, greeting
        if greeting is None:
            break
    raise Failed(FAILED, "the mcpguard daemon does not answer; look with: mcpguard status")


def _habits() -> bytes:
    """What a server inherits from its host and a daemon has otherwise: umask, soft limits of files and cores."""
    mask = posix.umask(0o077)
    posix.umask(mask)
    files, cores = (resource.getrlimit(which)[0] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE))
    return b"%d %d %d" % (mask, files, cores)


def _send(sock: _socket.socket, request: tuple[bytes, bytes, list[bytes]], nonce: bytes) -> None:
    kind, name, argv = request
    try:
        cwd = posix.getcwdb()
    except OSError:
        raise Failed(FAILED, "the working directory is gone; change to one that exists") from None
    env = [k + b"=" + v for k, v in posix.environ.items()]
    head = [b"run1", __version__.encode(), nonce, kind, name, cwd, _habits(), b"%d" % len(argv)]
    body = b"\0".join([*head, *argv, *env])
    block = len(body).to_bytes(4, "big") + body
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    try:
        sent = sock.sendmsg([block], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        sock.sendall(block[sent:])
    except (BrokenPipeError, ConnectionResetError):
        pass  # the daemon has said why, which the next read tells
    except OSError as error:
        raise Failed(FAILED, f"cannot hand over to the daemon: {error.strerror}") from None


def _wait(sock: _socket.socket, buffer: "_Lines") -> int:
    """Follow the daemon's lines until the server's exit code."""

    def forward(number: int, _frame: object) -> None:
        _signal.signal(_signal.SIGALRM, lambda *_: posix._exit(128 + number))
        _signal.setitimer(_signal.ITIMER_REAL, _TERM_SECONDS)  # a daemon that hangs does not keep us
        try:
            sock.send(b"term\n", _socket.MSG_DONTWAIT)
        except OSError:
            pass  # the daemon is gone, which the next read says

    _signal.signal(_signal.SIGTERM, forward)
    _signal.signal(_signal.SIGHUP, forward)
    ready = False
    while True:
        line = buffer.line(None) or b""
        word, _, rest = line.partition(b" ")
        if word == b"say":
            _tell(rest.decode("utf-8", "replace"))
        elif word == b"ready":
            ready = True
            posix.close(0)
            posix.close(1)
            if rest:
                _tell_adopter(sock)
        elif word == b"exit" and rest.isdigit():
            return int(rest)
        elif word == b"refuse":
            raise _refusal(line)
        elif ready:
            _tell("the mcpguard daemon is gone; the connection is closed and nothing was let through")
            return LOST
        else:
            raise Failed(FAILED, "the mcpguard daemon went away before the server was started")


def _tell_adopter(sock: _socket.socket) -> None:
    """Tell the daemon which process is given the orphans of what our host starts, by leaving it one for a moment.

    No kernel interface names it. What stands below it, younger than the host, may have left the host's tree.
    """
    try:
        child = posix.fork()
    except OSError:
        return  # without it, the daemon goes by the names of processes
    if child:
        posix.waitpid(child, 0)
        return
    try:
        between = posix.getpid()
        if posix.fork() == 0:
            until = time.monotonic() + _ADOPTED_SECONDS
            while posix.getppid() == between and time.monotonic() < until:
                time.sleep(0.0005)
            sock.send(b"adopter %d\n" % posix.getppid(), _socket.MSG_DONTWAIT)
    finally:
        posix._exit(0)


def _refusal(line: bytes) -> Failed:
    _, code, sentence = line.split(b" ", 2)
    return Failed(int(code), sentence.decode("utf-8", "replace"))


class _Lines:
    """Lines from a socket. `line` returns None after the timeout and b"" at the end of the stream."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.kept = b""
        self.poll = select.poll()
        self.poll.register(sock.fileno(), select.POLLIN)

    def line(self, timeout: float | None) -> bytes | None:
        while b"\n" not in self.kept:
            if not self.poll.poll(None if timeout is None else timeout * 1000):
                return None
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                return b""
            self.kept += data
        line, _, self.kept = self.kept.partition(b"\n")
        return line


# --- saying no ---------------------------------------------------------------------------------------------


def _tell(sentence: str) -> None:
    try:
        posix.write(2, f"mcpguard: {sentence}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a host that closed stderr hears it in the answer to its first request


def _answer_first(sentence: str) -> None:
    """Answer the host's first request with the sentence, so that hosts that hide stderr can show it."""
    data = b""
    poll = select.poll()
    try:
        if posix.isatty(0):
            return
        poll.register(0, select.POLLIN)
        while b"\n" not in data and len(data) < 1 << 20 and poll.poll(_FIRST_SECONDS * 1000):
            more = posix.read(0, 65536)
            if not more:
                break
            data += more
        ident = _request_id(data.partition(b"\n")[0].decode())
        if ident:
            plain = sentence.encode("utf-8", "backslashreplace").decode()
            text = _json.encode_basestring_ascii(f"mcpguard: {plain}")
            error = f'{{"code":{_GUARD_REFUSED},"message":{text}}}'
            posix.write(1, f'{{"jsonrpc":"2.0","id":{ident},"error":{error}}}\n'.encode())
    except (OSError, ValueError, RecursionError):
        return  # no request came, or nobody listens; stderr has the sentence


def _request_id(line: str) -> str:
    """The id of a request as JSON text; empty if this is none.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        message, end = _json.make_scanner(_Reading())(line.strip(), 0)  # type: ignore[arg-type]  # reads attributes
    except StopIteration:
        return ""
    if type(message) is not dict or "method" not in message or line.strip()[end:]:
        return ""
    ident = message.get("id")
    if type(ident) is str:
        return str(_json.encode_basestring_ascii(ident))
    return str(ident) if type(ident) is int else ""


class _Reading:
    """What the interpreter's own JSON scanner, the C part of `json`, wants to be told."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_int, parse_float, parse_constant = int, float, float
