"""The warden: starts servers, and lets nothing of a server's process tree outlive its session.

A program of its own, `python -I -S warden.py FD EOF_GRACE TERM_GRACE DRAIN MARK` (seconds), and a module
whose view of the process table the daemon shares. Three processes take part::

    daemon --socket--> zygote --fork--> session warden --fork, exec--> server --> whatever it starts
       |                                     |
       +---------- control, one each --------+

Rule 1. Every process of a tree has an ancestor that adopts its orphans and that acts on end of file: its
        session warden, else the zygote, else the daemon. `gone` is said when the kernel says "no child left".
Rule 2. Whoever is to be killed is stopped first, with its group, so that it can neither fork nor reap.
Rule 3. Nothing here waits for a server, and nothing gives up while a process is left.

To the zygote: one byte with four descriptors (control, stdin, stdout, stderr), or a fifth, the opened file to
execute. From it: `ready SUBREAPER` once, then `ended PID` when a warden and all that it left behind are gone.
To a session warden: first a specification (see `parse_spec`), then lines `end`, `term`, `kill`, `signal N`;
end of file means `term`. From it: `warden PID`, then `started PID` or `failed STAGE ERRNO`, `exit N`, `gone`.

Cost: the pages that a session warden writes to are what a session costs, so only the interpreter's own C
modules are imported. CPython 3.11, 50 sessions, PSS: 0.75 MiB a session (0.65 private), 0.95 MiB the zygote.
"""

import _signal  # type: ignore[import-not-found]  # typeshed knows only the Python module on top of it
import _socket
import gc
import posix
import resource
import select
import sys
import time
from posix import _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Spec = tuple[
        bytes, list[int], list[bytes], dict[bytes, bytes]
    ]  # directory, habits, arguments, environment

NEVER = float("inf")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SOFT = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
"""Limits that the daemon changes for itself."""
RLIMIT_LOCKS = 10
"""Linux ignores this limit since 2.4.25, and inherits it through fork and exec whatever a process does to its
environment, session or group: a mark by which the daemon knows orphans of this tree from its own children."""
SPEC_BYTES = 8 * 1024 * 1024
"""Largest specification; the kernel's ARG_MAX is usually 2 MiB."""
DEFAULT_PATH = b"/bin:/usr/bin"
"""Search path when the environment has no PATH, as `confstr(_CS_PATH)` says."""
ROUNDS = 16
"""Looks at the tree in one `cull`: each look stops what the one before has missed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two `cull`s of a tree of which something is left."""
WARDEN_SECONDS = 1.0
"""After the daemon's death, the zygote kills wardens that have not ended by themselves in this time."""
CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
DEAF = ["HUP", "INT", "QUIT", "TERM", "TSTP", "TTIN", "TTOU", "USR1", "USR2", "ALRM"]
"""Signals that mean nothing here: what the wardens do, they do on end of file."""


class Quiet:
    """Leave a block silently when the system refuses; contextlib is written in Python."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, (OSError, ValueError))


QUIET = Quiet()

# --- the process table ----------------------------------------------------------------------------------


def prctl(option: int, value: int) -> bool:
    """Set an option of this process; False on systems without such options, and without libffi."""
    try:
        import _ctypes  # noqa: PLC0415  # may be missing

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
    except (ImportError, OSError):
        return False
    return bool(_ctypes.call_cdeclfunction(address, (option, value, 0, 0, 0)) == 0)


def slurp(path: str) -> bytes:
    """The content of a file of /proc; empty if the process is gone or not ours to look at."""
    content = b""
    with QUIET:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            while chunk := posix.read(fd, 65536):
                content += chunk
        finally:
            posix.close(fd)
    return content


def names(folder: str) -> list[str]:
    """Directory entries; none if there is no such directory."""
    with QUIET:
        return posix.listdir(folder)
    return []


def listed(pid: int) -> list[int]:
    """Children of a process, as the kernel lists them for each of its threads."""
    tasks = f"/proc/{pid}/task"
    return [int(child) for task in names(tasks) for child in slurp(f"{tasks}/{task}/children").split()]


def scanned() -> "Callable[[int], list[int]]":
    """The same from one scan of the process table, for kernels without CONFIG_PROC_CHILDREN.

    It takes milliseconds: a process that forks, leaves its group and exits without end may stay ahead of it.
    """
    children: dict[int, list[int]] = {}
    for name in names("/proc"):
        if name.isdigit():
            stat = slurp(f"/proc/{name}/stat")
            fields = stat[stat.rfind(b")") + 1 :].split()  # a command name may contain anything, also ")"
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(name))
    return lambda pid: children.get(pid, [])


LISTS = posix.access(f"/proc/self/task/{posix.getpid()}/children", posix.R_OK)


def children(pid: int) -> list[int]:
    """Children of a process at this moment, zombies included. Read while they fork, a list may miss some."""
    return listed(pid) if LISTS else scanned()(pid)


def visit(roots: list[int], act: "Callable[[int], object]", seen: set[int]) -> None:
    """Act on the given processes, the youngest first, and then on all their descendants, once on each."""
    lookup = listed if LISTS else scanned()
    found = roots[::-1]
    for pid in found:  # grows while it is walked
        if pid not in seen:
            seen.add(pid)
            act(pid)
            found += lookup(pid)


def send(pid: int, number: int) -> bool:
    """Signal a process, or with a negative pid a group; False if there is none. One not ours is no error."""
    try:
        posix.kill(pid, number)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def ask(pid: int) -> None:
    """Ask a process or a group to end, also if it is stopped."""
    send(pid, _signal.SIGTERM)
    send(pid, _signal.SIGCONT)


def strike(pid: int, number: int) -> None:
    """Signal a process and its group, unless that is ours. A group is signalled with all who are just born."""
    try:
        group = posix.getpgid(pid)
    except OSError:
        return  # gone
    if group != posix.getpgid(0):
        send(-group, number)
    send(pid, number)


def cull(roots: "Callable[[], list[int]]") -> None:
    """Stop and then kill the trees below `roots()`, which reaps and then lists who shall go.

    Each is stopped when it is seen, the youngest first: what forks and exits without end is ahead of any list
    but not of its group's signals, or is caught while it sleeps. Not here: to ask again until none is left.
    """
    stopped: set[int] = set()
    for _ in range(ROUNDS):
        known = len(stopped)
        visit(roots(), lambda pid: strike(pid, _signal.SIGSTOP), stopped)
        if len(stopped) == known:
            break
    for pid in stopped:
        strike(pid, _signal.SIGKILL)


# --- the server, between fork and exec ------------------------------------------------------------------


def parse_spec(data: bytes) -> "Spec":
    """Parse NUL-separated `cwd, habits, argc, argv..., env...`; habits: umask, soft NOFILE, soft CORE, in decimal.

    Raises:
        ValueError: There are too few fields, or one is not what it should be.
    """
    cwd, habits, count, *fields = data.split(b"\0")
    numbers = [int(number) for number in habits.split(b" ")]
    if len(numbers) != 1 + len(SOFT) or not count.isdigit() or not 0 < int(count) <= len(fields):
        raise ValueError(count)
    argv, entries = fields[: int(count)], fields[int(count) :]
    env = {name: value for name, value in (entry.split(b"=", 1) for entry in entries) if name}
    if len(env) != len(entries):
        raise ValueError(entries)
    return cwd, numbers, argv, env


def execute(argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """Become the command, looked up in the PATH of *its* environment as a shell does; return never.

    Raises:
        OSError: The last resort's reason: what may not be executed is reported before what does not exist.
    """
    name = argv[0]
    if b"/" in name:
        posix.execve(name, argv, env)
    reason: OSError = FileNotFoundError(2, "not found")
    for folder in env.get(b"PATH", DEFAULT_PATH).split(b":") if name else ():
        try:
            posix.execve(folder + b"/" + name if folder else name, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            reason = error
    raise reason


def close_others(*keep: int) -> None:
    """Close every descriptor but 0, 1, 2 and these."""
    for name in names("/proc/self/fd") or names("/dev/fd"):
        if int(name) > 2 and int(name) not in keep:
            with QUIET:  # the one that listed them
                posix.close(int(name))


def restore_signals() -> None:
    """Give every signal its default meaning; those that came meanwhile were held, and count now."""
    _signal.set_wakeup_fd(-1)
    for number in _signal.valid_signals():
        with QUIET:  # SIGKILL, SIGSTOP
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def adopt(habits: list[int]) -> None:
    """Take over what a server inherits from its host: umask and soft limits, -1 for unlimited."""
    posix.umask(habits[0])
    for which, soft in zip(SOFT, habits[1:]):  # noqa: B905 (parse_spec counted them)
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (hard if soft < 0 or 0 <= hard < soft else soft, hard))


def become(spec: "Spec", stdio: list[int], parent: int, report: int) -> None:
    """Turn this freshly forked process into the server, or report why not; return never."""
    stage = b"start"
    cwd, habits, argv, env = spec
    try:
        posix.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)
        if posix.getppid() != parent:  # it died before the line above
            _exit(127)
        restore_signals()
        for target, source in enumerate(stdio[:3]):
            posix.dup2(source, target)
        close_others(report, *stdio[3:])
        stage = b"chdir"
        posix.chdir(cwd)
        stage = b"exec"
        adopt(habits)
        posix.execve(stdio[3], argv, env) if stdio[3:] else execute(argv, env)
    except OSError as error:
        posix.write(report, b"%s %d" % (stage, error.errno or 0))
    finally:
        _exit(127)


def launch(spec: "Spec", stdio: list[int]) -> tuple[int, int]:
    """Fork the server, or raise OSError; its pid, and the descriptor that tells how exec went (end of file: well)."""
    read, write = posix.pipe()
    parent = posix.getpid()
    held = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        pid = posix.fork()
        if pid == 0:
            become(spec, stdio, parent, write)
    except OSError:
        posix.close(read)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, held)
        posix.close(write)
    with QUIET:
        posix.setpgid(pid, pid)  # both sides do: whoever comes first
    return pid, read


# --- the session warden ---------------------------------------------------------------------------------


class Alarm:
    """A descriptor that becomes readable when a child has ended."""

    def __init__(self) -> None:
        self.fd, self.end = posix.pipe()
        for fd in (self.fd, self.end):
            posix.set_blocking(fd, False)
        _signal.set_wakeup_fd(self.end, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)

    def clear(self) -> None:
        """Make it silent again; to be called before children are looked at."""
        with QUIET:
            posix.read(self.fd, 4096)


def milliseconds(until: float) -> int | None:
    """Time to a deadline as poll(2) wants it, never early; None for no deadline."""
    return None if until == NEVER else max(0, int((until - time.monotonic()) * 1000) + 1)


class Session:
    """One server and its descendants. `whole`: orphans come to us; without it only the group is known."""

    def __init__(self, control: _socket.socket, graces: list[float], *, whole: bool) -> None:
        self.control = control
        self.eof_grace, self.term_grace, self.drain = graces
        self.whole = whole
        self.server = 0
        self.alive = False
        self.started = True
        self.report = -1
        self.term_at, self.kill_at, self.pause = NEVER, NEVER, FIRST_PAUSE
        self.pending = b""
        self.poller = select.poll()

    def tell(self, line: bytes) -> None:
        """Send a line to the daemon, who may be gone."""
        with QUIET:
            self.control.send(line + b"\n", _socket.MSG_DONTWAIT)

    def receive(self, count: int) -> bytes:
        """Read so many bytes from control; ValueError if it ended before."""
        data = b""
        while len(data) < count:
            part = self.control.recv(count - len(data))
            if not part:
                raise ValueError(count)
            data += part
        return data

    def spec(self) -> "Spec":
        """Receive the specification, or raise ValueError. A daemon that stalls here stalls one session."""
        length = int.from_bytes(self.receive(4), "big")
        if length > SPEC_BYTES:
            raise ValueError(length)
        return parse_spec(self.receive(length))

    def run(self, stdio: list[int], alarm: Alarm) -> None:
        """Serve one session to its end."""
        self.tell(b"warden %d" % posix.getpid())
        try:
            self.server, self.report = launch(self.spec(), stdio)
        except ValueError:
            return self.tell(b"failed spec 22")
        except OSError as error:
            return self.tell(b"failed fork %d" % (error.errno or 0))
        self.alive = True
        for fd in stdio:
            posix.close(fd)
        return self.watch(alarm)

    def watch(self, alarm: Alarm) -> None:
        """Act on commands, deaths and deadlines until nothing is left."""
        for fd in (self.report, self.control.fileno(), alarm.fd):
            self.poller.register(fd, select.POLLIN)
        while not self.emptied():
            if time.monotonic() >= self.term_at:
                self.term()
            if time.monotonic() >= self.kill_at:
                self.kill()
            for fd, _ in self.poller.poll(milliseconds(min(self.term_at, self.kill_at))):
                if fd == alarm.fd:
                    alarm.clear()
                elif fd == self.report:
                    self.learn()
                else:
                    self.obey()
        self.tell(b"gone")

    def learn(self) -> None:
        """Take the report of the server's start."""
        failure = posix.read(self.report, 64)
        self.poller.unregister(self.report)
        posix.close(self.report)
        self.report = -1
        self.started = not failure
        self.tell(b"failed " + failure if failure else b"started %d" % self.server)

    def obey(self) -> None:
        """Take what the daemon sends; when it is gone, end the session."""
        data = b""
        with QUIET:
            data = self.control.recv(4096)
        if not data:
            self.poller.unregister(self.control.fileno())
            self.term()
            return
        *lines, self.pending = (self.pending + data).split(b"\n")
        for verb, _, number in (line.partition(b" ") for line in lines):
            if verb == b"signal":
                if self.alive:
                    send(self.server, int(number))
            elif verb == b"end":
                self.term_at = min(self.term_at, time.monotonic() + self.eof_grace)
            elif verb == b"kill":
                self.kill_at = 0.0
            else:
                self.term()

    def term(self) -> None:
        """Ask all to end; what is left after the grace is killed."""
        self.term_at = NEVER
        self.kill_at = min(self.kill_at, time.monotonic() + self.term_grace)
        if self.alive or not self.whole:
            ask(-self.server)
        else:
            visit(children(posix.getpid()), ask, set())

    def kill(self) -> None:
        """Kill all that is there now, and set the time to look again."""
        if not self.whole:
            send(-self.server, _signal.SIGKILL)
        cull(lambda: [] if self.emptied() else children(posix.getpid()))
        self.kill_at = time.monotonic() + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def emptied(self) -> bool:
        """Reap; True when no process of the tree is left."""
        try:
            while (pair := posix.waitpid(-1, posix.WNOHANG)) != (0, 0):
                if pair[0] == self.server:
                    self.ended(pair[1])
        except ChildProcessError:
            return self.whole or not send(-self.server, 0)
        return False

    def ended(self, status: int) -> None:
        """Report the server's exit; its descendants get the time to drain."""
        self.alive = False
        if self.report >= 0:
            self.learn()
        if self.started:
            code = posix.waitstatus_to_exitcode(status)
            self.tell(b"exit %d" % (code if code >= 0 else 128 - code))
        self.term_at = min(self.term_at, time.monotonic() + self.drain)


# --- the zygote -----------------------------------------------------------------------------------------


class Zygote:
    """Forks a session warden on request, and kills what a session warden leaves behind."""

    def __init__(self, sock: _socket.socket, graces: list[float]) -> None:
        self.sock = sock
        self.graces = graces
        self.alarm = Alarm()
        self.poller = select.poll()
        self.wardens: set[int] = set()
        self.ended: list[int] = []
        self.open = True
        self.give_up_at, self.look_at, self.pause = NEVER, NEVER, FIRST_PAUSE

    def run(self) -> None:
        """Serve until the daemon is gone and no process is left."""
        self.poller.register(self.sock.fileno(), select.POLLIN)
        self.poller.register(self.alarm.fd, select.POLLIN)
        while self.reap() or self.open:
            if time.monotonic() >= self.look_at:
                self.tidy()
            if time.monotonic() >= self.give_up_at:
                self.give_up_at = NEVER
                for pid in self.wardens:
                    send(pid, _signal.SIGKILL)
            for fd, _ in self.poller.poll(milliseconds(min(self.look_at, self.give_up_at))):
                if fd == self.alarm.fd:
                    self.alarm.clear()
                else:
                    self.serve()

    def reap(self) -> bool:
        """Reap; True while there are children. Who lost a parent among the dead is now our child."""
        try:
            while (pid := posix.waitpid(-1, posix.WNOHANG)[0]) != 0:
                self.look_at = 0.0
                if pid in self.wardens:
                    self.wardens.remove(pid)
                    self.ended.append(pid)
        except ChildProcessError:
            return False
        return True

    def strays(self) -> list[int]:
        """Living children that are no wardens."""
        self.reap()
        return [pid for pid in children(posix.getpid()) if pid not in self.wardens]

    def tidy(self) -> None:
        """Kill strays; when there are none, tell which wardens are gone with all they left."""
        self.look_at = time.monotonic() + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        if self.strays():
            cull(self.strays)
            return
        try:
            while self.ended:
                self.sock.send(b"ended %d\n" % self.ended[-1], _socket.MSG_DONTWAIT)
                self.ended.pop()
        except BlockingIOError:
            return  # the daemon is slow: look again
        except OSError:
            self.ended.clear()
        self.look_at, self.pause = NEVER, FIRST_PAUSE

    def serve(self) -> None:
        """Take one request, or the daemon's end."""
        byte, fds = b"", list[int]()
        with QUIET:
            byte, extra, _, _ = self.sock.recvmsg(1, _socket.CMSG_SPACE(20), CLOEXEC)
            fds = [fd for _, _, data in extra for fd in memoryview(data).cast("i").tolist()]
        if not byte:
            self.open = False
            self.give_up_at = time.monotonic() + WARDEN_SECONDS
            self.poller.unregister(self.sock.fileno())
        elif 4 <= len(fds) <= 5:
            self.fork(fds[0], fds[1:])
        for fd in fds:
            posix.close(fd)

    def fork(self, control: int, stdio: list[int]) -> None:
        """Fork a session warden; the descriptors stay the caller's."""
        try:
            pid = posix.fork()
        except OSError as error:
            with QUIET:
                posix.write(control, b"failed fork %d\n" % (error.errno or 0))
            return
        if pid:
            self.wardens.add(pid)
            return
        try:
            alarm = Alarm()
            close_others(alarm.fd, alarm.end, control, *stdio)
            posix.setsid()
            whole = prctl(PR_SET_CHILD_SUBREAPER, 1)
            Session(_socket.socket(fileno=control), self.graces, whole=whole).run(stdio, alarm)
        except Exception as error:  # noqa: BLE001  # the zygote kills what is left; nobody else can tell
            posix.write(2, f"mcpguard: warden failed: {error!r}\n".encode())
        finally:
            _exit(0)


def isolate(fd: int) -> _socket.socket:
    """Keep one socket and stderr, and leave the daemon's session, directory and signals."""
    kept = posix.dup(fd)
    null = posix.open("/dev/null", posix.O_RDWR)
    posix.dup2(null, 0)
    posix.dup2(null, 1)
    close_others(kept)
    posix.chdir("/")
    with QUIET:  # started as the leader of a group: by hand, from a shell
        posix.setsid()
    for name in DEAF:
        _signal.signal(getattr(_signal, "SIG" + name), _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    return _socket.socket(fileno=kept)


def main(argv: list[str]) -> None:
    """Be the zygote."""
    fd, *graces, mark = argv[1:]
    sock = isolate(int(fd))
    with QUIET:  # below a daemon that has set a lower one; or not Linux
        resource.setrlimit(RLIMIT_LOCKS, (int(mark), int(mark)))
    sock.send(b"ready %d\n" % prctl(PR_SET_CHILD_SUBREAPER, 1))
    zygote = Zygote(sock, [float(grace) for grace in graces])
    gc.disable()
    gc.freeze()
    zygote.run()


if __name__ == "__main__":
    main(sys.argv)
