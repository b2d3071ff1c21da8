"""Who may answer for a person: not the program that asks, nor anything that it has started.

Rule 1: who has a watched host above it is refused.
Rule 2: a program that has left its parents has lost them for good: what adopted it is process 1, a service manager,
or another reaper. Whoever is younger than a watched host and stands below such an adopter is refused, unless
something that the host could not have made shows where it comes from: a process of another user in between (what logs
a user in), or another control group that is not one of a transient unit.
Rule 3: what cannot be told is refused.

What this cannot see, on any system: keys that are typed into a terminal or a terminal multiplexer that is older than
the host; a unit that a service manager was asked for under a name like that of an application; a reaper that is in no
list and that the shim could not find. Where that matters, `confirm = "presence"` is what stops it.

Not here: how the facts are found (`system.approver`), namespaces (`system.peercred`).

Decided:
    *A terminal that was opened after the host is believed by where it stands*, because people open terminals all day;
    rejected: refusing everything younger than the host.

Source: prctl(2) PR_SET_CHILD_SUBREAPER; credentials(7); systemd-run(1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

_REAPERS: Final = frozenset(
    {
        "systemd", "init", "launchd", "upstart", "runit", "s6-svscan", "openrc-init", "tini", "docker-init",
        "dumb-init", "catatonit", "conmon", "containerd-shim", "podman", "bwrap",
    }
)  # fmt: skip
_TRANSIENT: Final = re.compile(r"(?:^|/)run-[^/]*\.(?:scope|service)(?:/|$)")
ELSEWHERE: Final = "call from a terminal of your own"


class Link(msgspec.Struct, frozen=True):
    """A process in the line from a caller upwards.

    Attributes:
        pid: Its id.
        start: When it began, clock ticks since boot.
        uid: Its user.
        session: The id of its session, which is that of the process that began it.
        name: The name that it goes by, `/proc/PID/comm`; empty if not known.
        group: Its control group.
    """

    pid: int
    start: int
    uid: int
    session: int
    name: str = ""
    group: str = ""


class Watched(msgspec.Struct, frozen=True):
    """A process that may not answer for a person, nor may what it has started.

    Attributes:
        pid: Its id.
        words: What is below it, as the beginning of a sentence.
        start: When it began; 0 if what has left it cannot come to be called (its orphans are kept).
        group: Its control group.
        adopter: What is given the orphans of its programs; 0 if that is not known.
    """

    pid: int
    words: str
    start: int = 0
    group: str = ""
    adopter: int = 0


def objection(line: Sequence[Link], watched: Sequence[Watched]) -> str:
    """Why the caller may not answer for a person, as a sentence; empty if it may.

    Args:
        line: The caller and what is above it, nearest first, as far as that can be seen: up to process 1, or to one
            whose parent is outside of our namespaces.
        watched: Hosts, and the daemon itself.
    """
    above = {link.pid for link in line}
    for each in watched:
        if each.pid in above:
            return f"{each.words} may not change this"
    for each in watched:
        if each.start and (why := _left(line, each)):
            return f"{why}, so a host that is connected may have started it"
    return ""


def _left(line: Sequence[Link], host: Watched) -> str:
    """Why the caller may be one that has left the host's tree; empty if it is not."""
    count = 0
    while count < len(line) and line[count].pid != 1 and line[count].start >= host.start:
        count += 1
    younger = line[:count]
    if not younger or count == len(line):
        return ""  # older than the host, or come in from outside
    if not _adopts(line[count], host):
        return ""
    if line[0].session not in {link.pid for link in line}:
        return "the caller is not below the program that began its session"
    if any(link.uid != line[0].uid for link in younger):
        return ""
    group = younger[-1].group
    if group == host.group:
        return "the caller has left the programs that started it"
    return "the caller is in a transient unit" if _TRANSIENT.search(group) else ""


def _adopts(link: Link, host: Watched) -> bool:
    """Whether orphans of what the host starts may have been given to it."""
    return link.pid in (1, host.adopter) or not link.name or link.name in _REAPERS
