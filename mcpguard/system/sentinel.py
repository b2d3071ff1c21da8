"""Does a process still run the program that was looked at?

Exec changes neither a process's id nor its pidfd nor its start time. Three things show it: a descriptor of its memory
map that was opened before reads nothing afterwards, because it belongs to the memory and not to the process; the
places of code, stack and arguments in memory, which exec draws anew; and the file that is its executable.

Growth of a heap, new threads and loaded libraries change none of the three.

Source: proc_pid_maps(5), measured on Linux 6.18.

Not here: a process that shares its memory with a helper (CLONE_VM) can keep the old map readable, and with a user
namespace of the helper's own it can set another file as its executable *before* anybody looks. The places in memory
show a later exec even then, unless randomisation is switched off and arguments and environment are equally long. No
test in user space shows the former: it is why an executable is evidence and not proof.
"""

from __future__ import annotations

import os

from mcpguard.system.kernel import Place, place
from mcpguard.system.processes import Process


class Sentinel:
    """Watches the image of a process that someone else holds. The holder closes it.

    Attributes:
        blind: What cannot be watched, a sentence; empty if all can.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._map = -1
        self.blind = ""
        self._image: tuple[Place, tuple[int, ...]] | None = None
        try:
            self._map = process.open("maps", os.O_RDONLY)
            self._image = self._looked()
        except OSError:
            self.blind = "the kernel does not show whether the process runs another program later"
            self.close()

    def changed(self) -> str:
        """Why what was seen of the process no longer holds; empty if it does.

        Order: that it is alive is asked last, so that what was read was read of the living process.
        """
        if self._image is not None:
            try:
                kept = self._process.kernel.read(self._map, 1)
                image = self._looked()
            except OSError:
                kept, image = b"", None
            if self._process.alive() and (not kept or image != self._image):
                return "it runs another program than before"
        return "" if self._process.alive() else "it has ended"

    def close(self) -> None:
        """Stop watching."""
        if self._map >= 0:
            os.close(self._map)
            self._map = -1

    def _looked(self) -> tuple[Place, tuple[int, ...]]:
        return place(self._process.stat("exe")), self._process.stated().layout
