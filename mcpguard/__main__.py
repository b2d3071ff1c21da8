"""`python -m mcpguard`: the same verbs as the `mcpguard` command."""

import sys

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "run":
        from mcpguard.cli.shim import main
    else:
        from mcpguard.cli.main import main
    sys.exit(main())
