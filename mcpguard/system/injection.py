"""Does foreign code seem to run inside a process?

Signs are looked for where a process that was tampered with from outside shows them: variables that make a loader or
a runtime load code, options that open a debugger, and code in memory that comes from files anybody could have put
there. That what is said to be the executable is not in memory is one, too: so it looks when the link was forged by
the plain form of PR_SET_MM_MAP. Who forges with care maps the file as well.

Source: ld.so(8); node(1); proc_pid_maps(5).

Not here: proof of absence. Code that runs can remove its own traces. That no sign was found is worth something only
of a program that outsiders started, and nothing of one that the user's own programs could tamper with.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Final

from mcpguard.identity.facts import FileFacts
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process

ENVIRONMENT_BYTES: Final = 4 << 20
MAP_BYTES: Final = 4 << 20
_MOST: Final = 16
_ABSENT: Final = "its executable is not in its memory"
_MORE: Final = "more than can be read"
_VARIABLES: Final = re.compile(
    "LD_.*|DYLD_.*|GCONV_PATH|GLIBC_TUNABLES|NODE_OPTIONS|NODE_PATH|NODE_REPL_EXTERNAL_MODULE|BUN_OPTIONS|BUN_INSPECT.*"
    "|ELECTRON_RUN_AS_NODE|PYTHON.*|PERL5OPT|PERL5LIB|RUBYOPT|RUBYLIB|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|DOTNET_STARTUP_HOOKS"
)
_HARMLESS: Final = re.compile(
    "PYTHON(?:ASYNCIODEBUG|COERCECLOCALE|DEVMODE|DONTWRITEBYTECODE|FAULTHANDLER|HASHSEED|IOENCODING|NOUSERSITE|OPTIMIZE"
    "|SAFEPATH|UNBUFFERED|UTF8)"
)
"""Variables that change how a runtime behaves and not what it loads; many desktops set some."""
_DEBUGGERS: Final = re.compile(r"(--inspect(?:-brk|-wait|-port)?|--remote-debugging-(?:port|pipe))(?:=.*)?")
_LINE: Final = re.compile(rb"[0-9a-f]+-[0-9a-f]+ ..(.). [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)")
_ANYBODYS: Final = ("/tmp/", "/var/tmp/", "/dev/shm/", "/memfd:", "/run/user/")  # noqa: S108 (looked for, not used)


def signs(process: Process, executable: FileFacts | None, arguments: list[str]) -> tuple[str, ...]:
    """Signs of injected code, at most 16: names of variables, options and mapped files.

    Args:
        process: What is looked at.
        executable: What it executes. If only root could have written that, code from files of others is a sign.
        arguments: Its command line.

    Raises:
        OSError: The kernel does not let us look.
    """
    environment = process.text("environ", ENVIRONMENT_BYTES)
    maps = process.text("maps", MAP_BYTES)
    found = [*variables(environment), *_options(arguments), *_objects(process.kernel, maps, executable)]
    if len(environment) == ENVIRONMENT_BYTES or len(maps) == MAP_BYTES:
        found.insert(0, _MORE)
    return tuple(found[:_MOST])


def variables(environment: bytes) -> list[str]:
    """The names of variables that make a process load code. An empty value has no effect."""
    names = []
    for entry in environment.split(b"\0"):
        name, _, value = entry.partition(b"=")
        text = name.decode("ascii", "replace")
        if value and _VARIABLES.fullmatch(text) and not _HARMLESS.fullmatch(text):
            names.append(text)
    return list(dict.fromkeys(names))


def _options(arguments: list[str]) -> list[str]:
    found = (_DEBUGGERS.fullmatch(word) for word in arguments)
    return list(dict.fromkeys(match[1] for match in found if match))


def _objects(kernel: Kernel, text: bytes, executable: FileFacts | None) -> list[str]:
    """Files in memory as code that are out of place, each once; and that the executable is not in memory at all."""
    strict = executable is not None and executable.owner == 0 and not executable.writable
    found: dict[str, None] = {}
    present = executable is None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] != b"x" or match[3] == b"0":
            continue
        path = os.fsdecode(match[4])
        if executable is not None and (int(match[3]) == executable.inode or path == executable.path):
            present = True
        elif path not in found and (_out_of_place(path) or (strict and not _roots(kernel, path))):
            found[path] = None
    return [*found] if present else [_ABSENT, *found]


def _out_of_place(path: str) -> bool:
    return path.startswith(_ANYBODYS) or path.endswith(" (deleted)")


def _roots(kernel: Kernel, path: str) -> bool:
    try:
        info = kernel.stat(path)
    except OSError:
        return False
    return info.st_uid == 0 and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
