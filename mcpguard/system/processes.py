"""A process held so that no other can take its place, and what the kernel says of it.

Two handles hold it: a pidfd, and its directory in /proc opened once. Both belong to the process, not to its number:
when it is gone they answer nothing, whoever has the number then.

Not here: which process is asked about (`system.stdioholder`, `system.ancestry`); what its executable is
(`system.executables`).
"""

from __future__ import annotations

import os
from typing import Final

from mcpguard.errors import PeerError
from mcpguard.system.kernel import Kernel, Place, place
from mcpguard.system.pidinfo import PidInfo, foreign, gone, instance, named, process_info, same_process
from mcpguard.system.procstat import Stat, parse_stat, parse_status

TEXT_BYTES: Final = 64 * 1024
"""What is read of a text that the process does not choose, at most."""


class Process:
    """A pinned process. The holder closes it.

    Attributes:
        pid: Its id; a name for people and for paths that are checked otherwise.
        pidfd: Its pidfd; -1 if the kernel gave none.
    """

    def __init__(self, kernel: Kernel, pidfd: int, pid: int) -> None:
        """Takes over `pidfd`, which must be of the process that is called `pid`, as long as it lives."""
        self.kernel = kernel
        self.pidfd = pidfd
        self.pid = pid
        self._directory = -1
        try:
            self._directory = kernel.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return  # no /proc, or it hides this process: every text is then missing
        # The directory was found by number: it is this process's only if that was alive afterwards.
        if pidfd >= 0 and kernel.exited(pidfd):
            self._leave()

    @classmethod
    def find(cls, kernel: Kernel, pid: int) -> Process | None:
        """Whatever process has this id now; None if there is none, or the kernel has no pidfds."""
        try:
            return cls(kernel, kernel.pidfd_open(pid), pid)
        except OSError:
            return None

    @property
    def instance(self) -> int:
        """A number that no other process of this boot has; 0 if not known."""
        return instance(self.kernel, self.pidfd) if self.pidfd >= 0 else 0

    def same(self, other: Process | None) -> bool:
        """Whether both are one process."""
        if other is None or self.pidfd < 0 or other.pidfd < 0:
            return False
        return self.pid == other.pid and same_process(self.kernel, self.pidfd, other.pidfd)

    def alive(self) -> bool:
        """Whether it still runs; true where the kernel gives no handle."""
        return self.pidfd < 0 or not self.kernel.exited(self.pidfd)

    def close(self) -> None:
        """Let go of it."""
        self._leave()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _leave(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    # --- what the kernel says ------------------------------------------------------------------------------

    def look(self) -> PidInfo:
        """Its id, parent and user, now.

        Raises:
            ForeignError: It lives in a namespace that ours does not contain.
            PeerError: It is gone, or the kernel does not say.
        """
        found = process_info(self.kernel, self.pidfd) if self.pidfd >= 0 else None
        if found is not None:
            return found
        if self.pidfd >= 0 and self.kernel.exited(self.pidfd):
            raise gone()
        if self.pidfd >= 0 and named(self.kernel, self.pidfd) == 0:
            raise foreign()
        try:
            status = self.status()
            return PidInfo(
                self.pid,
                int(status["PPid"]),
                int(status["Uid"].split()[1]),
                int(status["Gid"].split()[1]),
            )
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise PeerError("the kernel does not say who the caller is") from error

    def namespaces(self, kinds: tuple[str, ...]) -> dict[str, Place]:
        """The namespaces that it lives in.

        Raises:
            OSError: The kernel does not say.
        """
        found = {}
        for kind in kinds:
            try:
                found[kind] = self.kernel.namespace(self.pidfd, kind)
            except OSError:
                found[kind] = place(self.stat(f"ns/{kind}"))
        return found

    def stated(self) -> Stat:
        """/proc/PID/stat.

        Raises:
            OSError: The kernel does not say.
        """
        try:
            return parse_stat(self.text("stat"))
        except ValueError as error:
            raise OSError(str(error)) from error

    def status(self) -> dict[str, str]:
        """/proc/PID/status.

        Raises:
            OSError: The kernel does not say.
        """
        return parse_status(self.text("status"))

    def text(self, name: str, limit: int = TEXT_BYTES) -> bytes:
        """At most `limit` bytes of a file in its directory.

        Raises:
            OSError: The kernel does not say.
        """
        fd = self.open(name, os.O_RDONLY)
        try:
            return self.kernel.read(fd, limit)
        finally:
            os.close(fd)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in its directory; the caller closes it.

        Raises:
            OSError: It cannot be opened.
        """
        return self.kernel.open(name, flags, self._at())

    def stat(self, name: str, *, follow: bool = True) -> os.stat_result:
        """What a name in its directory leads to.

        Raises:
            OSError: The kernel does not say.
        """
        return self.kernel.stat(name, self._at(), follow=follow)

    def readlink(self, name: str) -> str:
        """Where a link in its directory points, as text.

        Raises:
            OSError: The kernel does not say.
        """
        return self.kernel.readlink(name, self._at())

    def _at(self) -> int:
        if self._directory < 0:
            raise FileNotFoundError("the process is not to be seen in /proc")
        return self._directory
