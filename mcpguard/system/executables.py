"""What does a process run: which file, whose, who could change it, and of what kind is it?

The file is opened through /proc/PID/exe, which leads to the very inode, whatever name it has by now and in whichever
namespace. The text of that link is shown and matched, never trusted: a file may be mounted over, renamed, or be
called `claude (deleted)`. Files are opened as places (O_PATH) first: nothing is read from them, and no device or
pipe is woken.

Source: proc_pid_exe(5), proc_pid_mountinfo(5).

Not here: digests (`system.digests`). A file that only root can write may still run anything, if it is a debugger or
an editor: that it is known by its path and digest is all that is claimed.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Final

from mcpguard.identity.facts import FileFacts, Program
from mcpguard.system.kernel import Kernel, place
from mcpguard.system.processes import Process

_DELETED: Final = " (deleted)"
_OTHERS_WRITE: Final = 0o022
_LASTING: Final = re.compile(
    "bcachefs|btrfs|erofs|ext[234]|f2fs|iso9660|jfs|ntfs3|overlay|reiserfs|squashfs|vfat|xfs|zfs"
)
"""File systems of disks. Of others (memory, FUSE, network) the content can change without anybody writing here."""
_VERSION: Final = r"(?:[-.]?v?\d[\w.]*)?(?:-dbg|d)?"
_INTERPRETERS: Final = re.compile(
    "(?:node|nodejs|python|pypy|ruby|perl|php|lua|luajit|deno|bun|tclsh|wish|guile|gjs|java|mono|dotnet|electron"
    f"|osascript|Rscript|erl|beam\\.smp|qemu-[a-z0-9_]+|wine|wine64-preloader|wine-preloader){_VERSION}"
)
_SHELLS: Final = re.compile(
    "(?:ash|bash|busybox|csh|dash|elvish|fish|ksh|mksh|nu|pwsh|rbash|sh|tcsh|toybox|xonsh|yash|zsh|env|sudo|su|script"
    f"|expect){_VERSION}"
)
_LOADERS: Final = re.compile(r"ld(?:-linux[-\w.]*|-musl[-\w.]*|64|-[\d.]+)?\.so(?:\.\d+)*")
_VALUES: Final = {
    "python": re.compile("-[A-Za-z]*[WX]|--check-hash-based-pycs"),
    "node": re.compile(
        "-[rC]|--(?:require|import|loader|experimental-loader|conditions|env-file|env-file-if-exists|title"
        "|icu-data-dir|openssl-config|input-type|diagnostic-dir|redirect-warnings|disable-warning)"
    ),
}
_OTHER_VALUES: Final = re.compile("-[Ir]|-cp|-classpath")
"""Options that take the next word as their value."""
_PYTHON_CODE: Final = re.compile("-[A-VYZa-z]*[cm].*")
"""A cluster of short options after which no script follows. What stands after W or X is their value."""
_NO_SCRIPT: Final = frozenset(("-e", "--eval", "-p", "--print", "-pe", "-E", "-"))
_SUBCOMMANDS: Final = {"bun": ("run",), "deno": ("run",), "node": ("inspect",)}


def kind_of(path: str) -> Program:
    """What kind of program a file is, by its name. A copy of an interpreter under another name is not recognised."""
    name = path.rpartition("/")[2].removesuffix(_DELETED)
    if _INTERPRETERS.fullmatch(name):
        return Program.INTERPRETER
    if _SHELLS.fullmatch(name):
        return Program.SHELL
    return Program.LOADER if _LOADERS.fullmatch(name) else Program.NATIVE


def open_executable(process: Process) -> int:
    """The file that a process executes, as a place; the caller closes it.

    Raises:
        OSError: The kernel does not let us.
    """
    return process.open("exe", os.O_PATH)


def open_script(process: Process, script: str) -> int:
    """The file that an interpreter was told to run, as a place; the caller closes it.

    A relative name is looked up in the process's working directory as it is now.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    if script.startswith("/"):
        fd = process.kernel.open(script, os.O_PATH)
    else:
        fd = process.open(f"cwd/{script}", os.O_PATH)
    if stat.S_ISREG(process.kernel.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(f"{script!a} is no regular file")


def describe(kernel: Kernel, fd: int) -> FileFacts:
    """An opened file, without a digest.

    Raises:
        OSError: The kernel does not say.
    """
    info = kernel.fstat(fd)
    path = kernel.readlink(f"/proc/self/fd/{fd}")
    deleted = info.st_nlink == 0
    if deleted:
        path = path.removesuffix(_DELETED)
    return FileFacts(
        path=path,
        device=info.st_dev,
        inode=info.st_ino,
        size=info.st_size,
        owner=info.st_uid,
        writable=_writable(kernel, path, info),
        deleted=deleted,
        lasting=stat.S_ISREG(info.st_mode) and _LASTING.fullmatch(_file_system(kernel, fd)) is not None,
    )


def _writable(kernel: Kernel, path: str, info: os.stat_result) -> bool:
    """Whether anybody but root may change the file, or put another one in its place.

    Its owner may make it writable. A directory with a sticky bit counts as writable; what is not known, too.
    """
    if not _roots(info):
        return True
    try:
        found = kernel.stat(path, follow=False) if info.st_nlink else info
        above = path
        while above not in ("/", ""):
            above = above.rpartition("/")[0] or "/"
            directory = kernel.stat(above, follow=False)
            if not stat.S_ISDIR(directory.st_mode) or not _roots(directory):
                return True
    except OSError:
        return True
    return place(found) != place(info)


def _roots(info: os.stat_result) -> bool:
    return info.st_uid == 0 and not info.st_mode & _OTHERS_WRITE


def _file_system(kernel: Kernel, fd: int) -> str:
    """The type of the file system that a descriptor is on; empty if it is mounted nowhere that we can see.

    By mount and not by device, which some file systems make up for each of their parts.
    """
    mount = ""
    for line in _lines(kernel, f"/proc/self/fdinfo/{fd}"):
        key, _, value = line.partition(":")
        if key == "mnt_id":
            mount = value.strip()
    for line in _lines(kernel, "/proc/self/mountinfo"):
        if mount and line.startswith(f"{mount} "):
            return line.rpartition(" - ")[2].partition(" ")[0]
    return ""


def _lines(kernel: Kernel, path: str) -> list[str]:
    return os.fsdecode(kernel.content(path, 1 << 20)).splitlines()


def script_of(path: str, arguments: list[str]) -> tuple[str, str]:
    """What an interpreter was told to run, and why that is not known; one of the two is empty.

    Args:
        path: The interpreter's.
        arguments: Its command line, the program's name first. The process may have changed it.
    """
    name = path.rpartition("/")[2]
    family = next((one for one in ("python", "node", "bun", "deno") if name.startswith(one)), name)
    rest = iter(arguments[1:])
    subcommands = _SUBCOMMANDS.get(family, ())
    for word in rest:
        if word == "--":
            following = next(rest, "")
            return following, "" if following else "it was told to run nothing"
        if word in subcommands:
            subcommands = ()
        elif not word.startswith("-"):
            return word, ""
        elif word in _NO_SCRIPT or (family == "python" and _PYTHON_CODE.fullmatch(word)):
            return "", "its code was given on the command line or by the name of a module"
        elif _VALUES.get(family, _OTHER_VALUES).fullmatch(word):
            next(rest, "")
    return "", "it was told to run nothing"
