"""Run a server and keep a copy of every line it reads: `tap.py DIRECTORY -- CMD...`.

The copy goes to DIRECTORY/<pid>.jsonl: one record per line read from stdin, then one for the exit
status. It stands between the server and whatever started it, so that a test can say what did and what
did not reach the server. Only C modules and `json` are imported: it starts in about 15 ms.

The server's end of stdout is the tap's own stdout, passed on untouched: only stdin is copied.
"""

import json
import os
import signal
import sys
import time


def main():
    directory, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        raise SystemExit("usage: tap.py DIRECTORY -- CMD...")
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(source, 0)
        os.close(source)
        os.close(sink)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"tap: {command[0]}: {error}\n".encode())
        os._exit(127)
    os.close(source)
    # The server holds the only other copy of stdout; ours would keep the pipe open after its death.
    os.close(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: forward(pid, number))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with open(os.path.join(directory, f"{os.getpid()}.jsonl"), "w", encoding="utf-8") as log:
        # Names only: what an environment holds does not belong into a file.
        record(log, {"event": "start", "pid": pid, "at": time.monotonic_ns(), "env": sorted(os.environ)})
        try:
            signal.signal(signal.SIGCHLD, ended)
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                copy(sink, log)
        except ChildProcessError:
            record(log, {"event": "server ended first"})
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(sink)
        record(log, {"event": "eof", "at": time.monotonic_ns()})
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        record(log, {"event": "exit", "status": code, "at": time.monotonic_ns()})
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def forward(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def ended(_number, _frame):
    raise ChildProcessError


def record(log, entry):
    log.write(json.dumps(entry) + "\n")
    log.flush()


def copy(sink, log):
    """Copy stdin to the server until either ends, recording each complete line before it is passed on."""
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            record(log, {"event": "line", "raw": line.decode("utf-8", "surrogateescape")})
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(sink, view) :]
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
