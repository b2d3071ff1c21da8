"""One file for each verb. What is here decides which of them is imported: hosts start `run` for every server."""

import sys

_DAEMON = ("daemon", "start"), ("daemon", "start", "--on-demand")


def dispatch() -> int:
    """Do what the command line says; returns the exit code.

    `run` imports no library, and the daemon none that only verbs need: one has to be quick, the other lives long.
    """
    words = tuple(sys.argv[1:])
    if words[:1] == ("run",):
        from mcpguard.cli import shim as command
    elif words in _DAEMON:
        from mcpguard.cli import daemonmain as command  # type: ignore[no-redef]
    else:
        return _verb()
    return command.main()


def _verb() -> int:
    """Any other verb; Ctrl-C is answered from the first moment on, before there is anything to answer it with."""
    try:
        from mcpguard.cli import main

        return main.main()
    except KeyboardInterrupt:
        sys.stderr.write("mcpguard: interrupted\n")
        return 130
