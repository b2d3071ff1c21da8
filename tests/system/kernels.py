"""Kernels that lack what this one has. Each changes single answers; all else is asked of the real one."""

import errno
import os

from mcpguard.system.kernel import Kernel


def _refuse(number):
    raise OSError(number, os.strerror(number))


class Old(Kernel):
    """Linux before 6.5: no pidfd of a peer, and nothing that came later."""

    def peer_pidfd(self, sock):
        _refuse(errno.ENOPROTOOPT)

    def pidfd_info(self, pidfd):
        _refuse(errno.ENOTTY)

    def namespace(self, pidfd, kind):
        _refuse(errno.ENOTTY)

    def numbered(self, pidfd):
        return False


class Middle(Kernel):
    """Linux 6.5 to 6.8: pidfds of peers, without numbers of their own and without information."""

    pidfd_info = Old.pidfd_info
    namespace = Old.namespace
    numbered = Old.numbered


class NoPidfds(Old):
    """Linux before 5.3, or a sandbox that forbids the call."""

    def pidfd_open(self, pid):
        _refuse(errno.ENOSYS)


class NoProc(Kernel):
    """A system on which /proc is not mounted."""

    def open(self, path, flags, at=None):
        if path.startswith("/proc"):
            _refuse(errno.ENOENT)
        return super().open(path, flags, at)

    def stat(self, path, at=None, *, follow=True):
        if path.startswith("/proc"):
            _refuse(errno.ENOENT)
        return super().stat(path, at, follow=follow)

    def readlink(self, path, at=None):
        if path.startswith("/proc"):
            _refuse(errno.ENOENT)
        return super().readlink(path, at)

    def listdir(self, path):
        if isinstance(path, str) and path.startswith("/proc"):
            _refuse(errno.ENOENT)
        return super().listdir(path)


class Hidden(Kernel):
    """/proc mounted with hidepid=2: processes other than our own are not there."""

    def open(self, path, flags, at=None):
        if at is None and path.startswith("/proc/") and path.split("/")[2] not in ("self", str(os.getpid())):
            _refuse(errno.ENOENT)
        return super().open(path, flags, at)

    def listdir(self, path):
        if path == "/proc":
            return ["self", str(os.getpid())]
        return super().listdir(path)


class Strict(Kernel):
    """A process that may not be looked into: of another user, or not dumpable."""

    _CLOSED = ("maps", "exe", "environ", "ns/", "fd", "cwd")

    def open(self, path, flags, at=None):
        if at is not None and path.startswith(self._CLOSED):
            _refuse(errno.EACCES)
        return super().open(path, flags, at)

    def stat(self, path, at=None, *, follow=True):
        if at is not None and path.startswith(self._CLOSED):
            _refuse(errno.EACCES)
        return super().stat(path, at, follow=follow)

    def readlink(self, path, at=None):
        if at is not None and path.startswith(self._CLOSED):
            _refuse(errno.EACCES)
        return super().readlink(path, at)

    def namespace(self, pidfd, kind):
        _refuse(errno.EACCES)


class Remote(Kernel):
    """Every process lives in a pid namespace that ours does not contain."""

    def pidfd_info(self, pidfd):
        _refuse(errno.EREMOTE)


class Reaped(Kernel):
    """What a kernel answers about a reaped process when exit information is asked for: rc 0, all numbers 0."""

    def pidfd_info(self, pidfd):
        return (0xC).to_bytes(8, "little") + bytes(56)


class Another(Kernel):
    """A kernel whose pidfd of a peer is of another process: our own."""

    def peer_pidfd(self, sock):
        return os.pidfd_open(os.getpid())


class Labelled(Kernel):
    """A kernel with a security module, whose labels grow between two calls."""

    label = b"snap.acme.acme (enforce)"

    def peer_label(self, sock):
        return self.label
