"""What the kernel said about a peer and about the host behind it, as values. Nothing here was said by either."""

from __future__ import annotations

import enum

import msgspec

from mcpguard.model import Grade, JsonObject


class PeerFacts(msgspec.Struct, frozen=True):
    """A process at the other end of a Unix socket.

    Attributes:
        pid: Its process id when it connected; a name for people, never acted upon.
        uid: Its effective user id when it connected.
        gid: Its effective group id when it connected.
        pinned: Whether the kernel gave a handle on this very process (a pidfd).
    """

    pid: int
    uid: int
    gid: int
    pinned: bool


class Program(enum.Enum):
    """What kind of executable a process runs."""

    NATIVE = "native"
    INTERPRETER = "interpreter"
    SHELL = "shell"
    LOADER = "loader"


class FileFacts(msgspec.Struct, frozen=True):
    """A file that was opened by descriptor, so that no other can take its place while it is looked at.

    Attributes:
        path: What the kernel calls it; for people and patterns, not an identity.
        device: `st_dev`.
        inode: `st_ino`.
        size: Bytes.
        owner: User id of its owner.
        writable: Whether the user of the host, or others, may write to it or to a directory above it.
        deleted: Whether its last name is gone: it was replaced while it ran.
        lasting: Whether it is a regular file of a file system that outlives the process (no memfd, no FUSE).
        digest: SHA-256, hex; empty if it was not taken.
        doubt: Why the digest was not taken; empty if it was.
    """

    path: str
    device: int
    inode: int
    size: int
    owner: int
    writable: bool
    deleted: bool = False
    lasting: bool = True
    digest: str = ""
    doubt: str = ""


class HostFacts(msgspec.Struct, frozen=True):
    """The process that holds the other end of the stdio that a shim passed: the host.

    Attributes:
        shim: The peer on run.sock, an untrusted courier.
        pid: The host's process id; 0 if nobody was found to hold stdin. A name for people.
        uid: Its user id; -1 if not known.
        instance: Inode of its pidfd, which no other process of this boot has (Linux 6.9); 0 if not known.
        name: `comm`, chosen by the process; shown, never believed.
        stdin: `socket`, `pipe` or `other`: what was passed as stdin.
        holds_both: Whether the same process holds the far ends of stdin and of stdout.
        is_parent: Whether it is the direct parent of the shim.
        pinned: Whether a pidfd of it is held.
        alone: Whether its user, pid and mount namespaces are the daemon's; None if that cannot be told.
        program: What kind of executable it runs; None if that cannot be told.
        executable: Its executable; None if it cannot be opened.
        script: What an interpreter was told to run, by its command line; None if there is none. Weak evidence.
        cgroup: Its control group.
        unit: systemd unit of that group; empty if there is none.
        label: Security label; empty if the system enforces none.
        confined: Whether that label confines it.
        tracer: Process that traces it; 0 if none does, -1 if that is not told.
        injected: Signs of injected code: names of variables, options and mapped files. That they could not be looked
            for is one, too.
        chain: Paths of the executables above the shim, nearest first, the host's own among them if it is there; then
            those above the host, if it is not. `?` for one that we may not know. Evidence for refusing only.
        team: Team id of a valid code signature (macOS); empty elsewhere.
        signing: Signing identifier of a valid code signature (macOS); empty elsewhere.
        doubts: Sentences: what the kernel could not tell.
    """

    shim: PeerFacts
    pid: int = 0
    uid: int = -1
    instance: int = 0
    name: str = ""
    stdin: str = "other"
    holds_both: bool = False
    is_parent: bool = False
    pinned: bool = False
    alone: bool | None = None
    program: Program | None = None
    executable: FileFacts | None = None
    script: FileFacts | None = None
    cgroup: str = ""
    unit: str = ""
    label: str = ""
    confined: bool = False
    tracer: int = 0
    injected: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    team: str = ""
    signing: str = ""
    doubts: tuple[str, ...] = ()


class Appraisal(msgspec.Struct, frozen=True):
    """What facts are worth.

    Attributes:
        grade: The grade that they reach.
        reasons: Sentences: what keeps them from the next one, most important first.
    """

    grade: Grade
    reasons: tuple[str, ...]


def evidence(facts: HostFacts, appraisal: Appraisal, host: str = "") -> JsonObject:
    """The members that every audit record of a connection carries, and `status` shows.

    Args:
        facts: What the kernel said.
        appraisal: What that is worth.
        host: Name of the enrolled host that it was recognised as; empty if it was not.
    """
    found: JsonObject = {
        "uid": facts.shim.uid,
        "pid": facts.pid,
        "shim": facts.shim.pid,
        "grade": appraisal.grade.name,
        "stdin": facts.stdin,
    }
    if host:
        found["host"] = host
    if facts.instance:
        found["instance"] = facts.instance
    if facts.executable is not None:
        found["exe"] = facts.executable.path
        if facts.executable.digest:
            found["sha256"] = facts.executable.digest
    if facts.script is not None:
        found["script"] = facts.script.path
    for key in ("name", "unit", "label", "tracer", "injected", "team", "signing"):
        if value := getattr(facts, key):
            found[key] = value
    if appraisal.reasons:
        found["because"] = appraisal.reasons[0]
    return found
