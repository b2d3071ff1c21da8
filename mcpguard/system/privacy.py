"""Who may look into this process?

Without this, every process of the same user may: read its memory, its environment and its descriptors, and attach a
debugger, where the system does not restrict ptrace.

Source: prctl(2) PR_SET_DUMPABLE; ptrace(2), Ptrace access mode checking; proc(5).

Not here: root, and whoever has CAP_SYS_PTRACE; what the process has written to files; other systems than Linux.
"""

from __future__ import annotations

import sys
from typing import Final

from mcpguard.system import warden

_PR_SET_DUMPABLE: Final = 4


def keep_private() -> bool:
    """Let nobody of the same user look into this process; False where that cannot be had.

    It holds until the next exec, and takes core dumps away as well.
    """
    return sys.platform == "linux" and warden.prctl(_PR_SET_DUMPABLE, 0)
