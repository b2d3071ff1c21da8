"""Where does the system put a process: its control group and unit, its security label, its tracer?

Source: cgroups(7); systemd.unit(5); apparmor(7); selinux(8); proc_pid_attr(5).

Not here: who made a unit. A user may start a scope under any name, so a unit is a hint for people and patterns.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from mcpguard.system.processes import Process

_UNIT: Final = re.compile(r".+\.(?:service|scope)")
_SELINUX: Final = "/sys/fs/selinux/enforce"
_SELINUX_FREE: Final = frozenset(("kernel_t", "init_t", "initrc_t", "unlabeled_t"))
_APPARMOR: Final = re.compile(r"(?P<profile>.+) \((?P<mode>[a-z]+)\)")


class Label(msgspec.Struct, frozen=True):
    """A security label.

    Attributes:
        text: What the security module calls it; empty if the system enforces none.
        confined: Whether the module holds the process to rules by it.
    """

    text: str = ""
    confined: bool = False


def control_group(process: Process) -> str:
    """The control group of a process: the unified one, else systemd's own.

    Raises:
        OSError: The kernel does not say.
    """
    found = {}
    for line in process.text("cgroup").decode("utf-8", "backslashreplace").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found[controllers] = path
    unified, systemd = found.get("", ""), found.get("name=systemd", "")
    return unified if unified not in ("", "/") or not systemd else systemd


def unit_of(group: str) -> str:
    """The systemd unit of a control group: its innermost service or scope; empty if there is none."""
    units = [part.removeprefix("_") for part in group.split("/") if _UNIT.fullmatch(part)]
    return units[-1] if units else ""


def tracer(process: Process) -> int:
    """Which process traces it; 0 if none does.

    Raises:
        OSError: The kernel does not say.
    """
    value = process.status().get("TracerPid", "")
    if not value.isdecimal():
        raise OSError("the kernel does not say who traces it")
    return int(value)


def label_of(process: Process) -> Label:
    """The label that a process has now; none where no security module has labels.

    The module is asked twice over in its own way: a text alone does not say whether anything is enforced.
    """
    try:
        text = process.text("attr/current").rstrip(b"\0\n").decode("utf-8", "backslashreplace")
    except OSError:
        return Label()
    if not text:
        return Label()
    if (match := _APPARMOR.fullmatch(text)) is not None:
        return Label(text, match["mode"] in ("enforce", "kill"))
    return Label(text, _selinux_confines(process, text))


def _selinux_confines(process: Process, text: str) -> bool:
    """Whether SELinux enforces, and the type is not one of those that may do anything."""
    parts = text.split(":")
    if len(parts) < 3 or parts[2] in _SELINUX_FREE or "unconfined" in parts[2]:
        return False
    kernel = process.kernel
    try:
        return kernel.content(_SELINUX, 8).strip() == b"1"
    except OSError:
        return False


def label_at_connect(process: Process, sock: int) -> str:
    """The label that the far end of a socket had when it was connected; empty if the system has none."""
    try:
        return process.kernel.peer_label(sock).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
