"""`python -m mcpguard`: the same verbs as the `mcpguard` command."""

import sys

from mcpguard.cli import dispatch

if __name__ == "__main__":
    sys.exit(dispatch())
