"""A small MCP server with bad manners: `server.py DIRECTORY MARKER TRAIT...`; nothing but the interpreter.

Everything of its tree has the marker in its command line. DIRECTORY/pid is its process; a file DIRECTORY/do that
appears is an order: `exit N` or `signal N`.
"""

import json
import os
import signal
import sys
import threading
import time

HOME, MARKER, *TRAITS = sys.argv[1:]
SLEEPER = "import os, sys, time; os.write(int(sys.argv[2]), b'x'); time.sleep(60)"


def helper(*, detached: bool, holds_stdout: bool) -> None:
    """Leave a process behind, and wait until it is what it shall be."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    if os.fork() == 0:
        if detached:
            os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        if not holds_stdout:
            os.dup2(null, 1)
        argv = [sys.executable, "-I", "-S", "-c", SLEEPER, MARKER, str(writer)]
        os.execve(sys.executable, argv, {} if detached else dict(os.environ))
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def orders() -> None:
    path = os.path.join(HOME, "do")
    while not os.path.exists(path):
        time.sleep(0.01)
    with open(path) as file:
        word, number = file.read().split()
    if word == "signal":
        os.kill(os.getpid(), int(number))
    os._exit(int(number))


def send(message: dict) -> None:
    data = json.dumps(message).encode() + b"\n"
    try:
        with LOCK:
            while data:
                data = data[os.write(1, data) :]
    except BrokenPipeError:
        os._exit(0)


LOCK = threading.Lock()


def flood() -> None:
    note = {"level": "info", "data": "x" * 20_000}
    while True:
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": note})


def call(name: str, arguments: dict) -> str | None:
    match name:
        case "echo":
            return json.dumps(arguments)
        case "hang":
            return None
        case "big":
            return "x" * arguments["bytes"]
        case "note":
            with open(os.path.join(HOME, "notes"), "a") as file:
                file.write(f"{arguments['n']}\n")
            return "noted"
        case "exit":
            os._exit(arguments["code"])
        case "where":
            return json.dumps({"cwd": os.getcwd(), "environ": dict(os.environ), "argv": sys.argv[1:]})
        case "sleep":
            time.sleep(arguments["seconds"])
            return "slept"
    return "?"


TOOLS = [
    {"name": name, "description": name, "inputSchema": {"type": "object"}}
    for name in ("echo", "hang", "big", "note", "exit", "where", "sleep")
]


def answer(request: dict) -> None:
    params = request.get("params", {})
    result: dict = {}
    match request["method"]:
        case "initialize":
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}, "logging": {}},
                "serverInfo": {"name": "server", "version": "1"},
            }
        case "tools/list":
            result = {"tools": TOOLS}
        case "tools/call":
            text = call(params["name"], params.get("arguments", {}))
            if text is None:
                return
            result = {"content": [{"type": "text", "text": text}]}
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})
    if request["method"] == "initialize" and "floods" in TRAITS:
        threading.Thread(target=flood, daemon=True).start()


def main() -> None:
    if "ignores-term" in TRAITS:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if "detached" in TRAITS:
        helper(detached=True, holds_stdout=False)
    if "holds-stdout" in TRAITS:
        helper(detached=False, holds_stdout=True)
    new = os.path.join(HOME, f"pid.{os.getpid()}")
    with open(new, "w") as file:
        file.write(str(os.getpid()))
    os.rename(new, os.path.join(HOME, "pid"))
    threading.Thread(target=orders, daemon=True).start()
    if "never-reads" not in TRAITS:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if "id" in request and "method" in request:
                answer(request)
    if {"never-reads", "ignores-eof"} & set(TRAITS):
        while True:
            time.sleep(60)
    os._exit(0)


main()
