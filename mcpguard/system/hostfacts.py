"""What does the kernel say of a process that is the host?

Each question is asked on its own. What is not answered stays at the value that is worth nothing, and becomes a
sentence among the doubts.

Not here: which process that is, and whether it stayed the same meanwhile (`system.hostprocess`); digests
(`system.digests`); what the answers are worth (`identity.grading`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from mcpguard.errors import PeerError
from mcpguard.identity.facts import FileFacts, HostFacts, Program
from mcpguard.system import executables, injection, placement
from mcpguard.system.kernel import Place
from mcpguard.system.pidinfo import foreign
from mcpguard.system.processes import Process

T = TypeVar("T")
_NOBODY: Final = 65534
_UNSEEN: tuple[str, ...] = ("not to be seen",)
_NO_WORDS: list[str] = []
_ARGUMENT_BYTES: Final = 256 * 1024


def alone(process: Process) -> bool | None:
    """Whether a process lives in our user, pid and mount namespaces; None if that is not told.

    Raises:
        ForeignError: It lives in another user or pid namespace.
    """
    found: list[bool | None] = []
    for kind in ("user", "pid", "mnt"):
        try:
            found.append(process.namespaces((kind,))[kind] == _ours(process, kind))
        except OSError:
            found.append(None)
        if found[-1] is False and kind != "mnt":
            raise foreign()
    return None if None in found else all(found)


def _ours(process: Process, kind: str) -> Place:
    info = process.kernel.stat(f"/proc/self/ns/{kind}")
    return Place(info.st_dev, info.st_ino)


class _Questions:
    """Asks one thing after another, and keeps the files that were opened on the way."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.doubts: list[str] = []
        self.files: dict[str, int] = {}

    def ask(self, call: Callable[[], T], otherwise: T, doubt: str) -> T:
        """What a call says, or `otherwise` and a doubt."""
        try:
            return call()
        except (OSError, PeerError):
            self.doubts.append(doubt)
            return otherwise

    def file(self, role: str, fd: int) -> FileFacts:
        """An opened file, which is kept."""
        self.files[role] = fd
        return executables.describe(self.process.kernel, fd)

    def script(self, path: str, arguments: list[str]) -> FileFacts | None:
        """What an interpreter was told to run."""
        name, why = executables.script_of(path, arguments)
        if not name:
            self.doubts.append(f"the script of the host is not known: {why}")
            return None
        return self.ask(
            lambda: self.file("script", executables.open_script(self.process, name)),
            None,
            f"the script of the host, {name[:80]!a}, cannot be opened",
        )

    def label(self, stdin: int, *, socket: bool) -> placement.Label:
        """Its label, if it was the same when it made stdin."""
        label = placement.label_of(self.process)
        before = placement.label_at_connect(self.process, stdin) if socket else ""
        if before and before != label.text:
            self.doubts.append("the host's label is another one than when it made stdin")
            return placement.Label(label.text)
        return label


def looked(process: Process, known: HostFacts, stdin: int) -> tuple[HostFacts, dict[str, int]]:
    """The facts about a process, added to those known, and its opened files by role, which the caller closes.

    Raises:
        ForeignError: It lives in a user or pid namespace of its own.
    """
    apart = alone(process)
    questions = _Questions(process)
    try:
        return _asked(questions, apart, known, stdin), questions.files
    except BaseException:
        for fd in questions.files.values():
            os.close(fd)
        raise


def _asked(questions: _Questions, apart: bool | None, known: HostFacts, stdin: int) -> HostFacts:
    process, ask = questions.process, questions.ask
    if apart is None:
        questions.doubts.append("the kernel does not say in which namespaces the host lives")
    uid = ask(lambda: process.look().uid, -1, "the kernel does not say whose process the host is")
    if uid == _NOBODY:
        raise foreign()
    executable = ask(
        lambda: questions.file("executable", executables.open_executable(process)),
        None,
        "the executable of the host cannot be opened",
    )
    program = None if executable is None else executables.kind_of(executable.path)
    arguments = ask(lambda: _arguments(process), _NO_WORDS, "the command line of the host cannot be read")
    label = questions.label(stdin, socket=known.stdin == "socket")
    group = ask(lambda: placement.control_group(process), "", "the control group of the host is not told")
    script = None
    if executable is not None and program is Program.INTERPRETER:
        script = questions.script(executable.path, arguments)
    return msgspec.structs.replace(
        known,
        pid=process.pid,
        uid=uid,
        instance=process.instance,
        name=ask(lambda: _name(process), "", "the name of the host is not told"),
        alone=apart,
        program=program,
        executable=executable,
        script=script,
        cgroup=group,
        unit=placement.unit_of(group),
        label=label.text,
        confined=label.confined,
        tracer=ask(
            lambda: placement.tracer(process), -1, "the kernel does not say whether the host is traced"
        ),
        injected=ask(
            lambda: injection.signs(process, executable, arguments),
            _UNSEEN,
            "the environment and memory of the host cannot be looked at",
        ),
        doubts=(*known.doubts, *questions.doubts),
    )


def _arguments(process: Process) -> list[str]:
    text = process.text("cmdline", _ARGUMENT_BYTES)
    return [os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0")] if text else []


def _name(process: Process) -> str:
    return process.text("comm").removesuffix(b"\n").decode("utf-8", "backslashreplace")
