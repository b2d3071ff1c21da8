"""A daemon at one step of which something is killed: `failing.py STEP VICTIM ROOT`.

STEP is `before` or `after` and the dotted name of a method (`after mcpguard.system.journal:Journal.append`). Nothing
happens before the file ROOT/armed is there; then, once, VICTIM is killed with SIGKILL: `daemon`, `server` or `shim`, the
last two being those of which a word begins with ROOT. The product has no such points; this wraps its methods.
"""

import functools
import importlib
import inspect
import os
import signal
import sys
import time
from pathlib import Path

from mcpguard.cli import daemonmain

WHEN, NAME = sys.argv[1].split()
VICTIM, ROOT = sys.argv[2:]
ARMED = Path(ROOT, "armed")


def victims() -> list[int]:
    if VICTIM == "daemon":
        return [os.getpid()]
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = any(word.startswith(ROOT.encode()) for word in words) and b"failing" not in words
        if ours and (b"run" in words) is (VICTIM == "shim"):
            found.append(int(name))
    return found


def step() -> None:
    try:
        ARMED.rename(ARMED.with_name("fired"))
    except FileNotFoundError:
        return
    for pid in victims():
        os.kill(pid, signal.SIGKILL)
    if VICTIM == "daemon":
        time.sleep(60)


def wrapped(method):
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def patiently(*args, **kwargs):
            if WHEN == "before":
                step()
            result = await method(*args, **kwargs)
            if WHEN == "after":
                step()
            return result

        return patiently

    @functools.wraps(method)
    def at_once(*args, **kwargs):
        if WHEN == "before":
            step()
        result = method(*args, **kwargs)
        if WHEN == "after":
            step()
        return result

    return at_once


def main() -> None:
    module, _, path = NAME.partition(":")
    owner, _, name = path.rpartition(".")
    holder = importlib.import_module(module)
    for part in filter(None, owner.split(".")):
        holder = getattr(holder, part)
    setattr(holder, name, wrapped(getattr(holder, name)))
    sys.argv = ["mcpguard", "daemon", "start"]
    sys.exit(daemonmain.main())


main()
