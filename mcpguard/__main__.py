"""`python -m mcpguard`: the same verbs as the `mcpguard` command."""

import sys

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "run":
        from mcpguard.cli import shim as command
    else:
        from mcpguard.cli import main as command  # type: ignore[no-redef]
    sys.exit(command.main())
