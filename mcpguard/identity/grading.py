"""What facts about a host are worth.

Each grade needs all of those below it, and what it is called after:

- G0: nothing but a user id.
- G1: one living process in our own namespaces, of the same user as the shim, held so that no other takes its place.
- G2: that process, alone, holds both far ends of the stdio, and started the shim itself.
- G3: it runs a program of its own, from a file that only root can change and whose digest is known, and bears no
  sign of foreign code.
- G4: the system enforces a label on it that confines it. On top of G2: who enforces the label knows the program
  better than its file does.

Rule 1: no grade is worth more than a statement of the kernel. A program of the same user can be made to run anything,
and its executable can be forged: below G4 a grade is evidence against mistakes, other users,
sandboxes and shells of agents, never against a determined program of the same user.
Rule 2: what is not known counts as the worse.
"""

from __future__ import annotations

from mcpguard.identity.facts import Appraisal, HostFacts, Program
from mcpguard.model import Grade

_KINDS = {
    Program.INTERPRETER: "it is an interpreter, and which script it runs only its command line says",
    Program.SHELL: "it is a shell, which runs anything",
    Program.LOADER: "it is a loader, which runs anything",
}

_FORGEABLE = "the system enforces no label that confines it, so a program of the same user can pass for it"


def appraise(facts: HostFacts) -> Appraisal:
    """The grade that facts reach, and what keeps them from the next ones, most important first.

    G4 does not need G3; its reasons are then those of G3.
    """
    reasons = {
        Grade.G1: _held(facts),
        Grade.G2: _bound(facts),
        Grade.G3: _unforged(facts),
        Grade.G4: [] if facts.confined and facts.label else [_FORGEABLE],
    }
    grade = Grade.G0
    for step in (Grade.G1, Grade.G2, Grade.G3):
        if reasons[step]:
            break
        grade = step
    if grade >= Grade.G2 and not reasons[Grade.G4]:
        grade = Grade.G4
    missing = [reason for step in reasons for reason in reasons[step]]
    return Appraisal(grade, tuple(missing))


def _held(facts: HostFacts) -> list[str]:
    """What keeps it from G1."""
    if not facts.pid:
        return ["no process was found to hold the far end of stdin", *facts.doubts]
    found = []
    if not facts.pinned:
        found.append("the kernel gives no lasting handle on it")
    if facts.alone is None:
        found.append("the kernel does not say in which namespaces it lives")
    elif not facts.alone:
        found.append("it lives in a mount namespace of its own, so the files it sees may be others")
    if facts.uid < 0:
        found.append("the kernel does not say whose process it is")
    elif facts.uid != facts.shim.uid:
        found.append(f"it runs as uid {facts.uid}, what it started as uid {facts.shim.uid}")
    return found


def _bound(facts: HostFacts) -> list[str]:
    """What keeps it from G2."""
    found = []
    if not facts.shim.pinned and not facts.signing:
        found.append("this kernel (before Linux 6.5) does not hold on to the process that connected")
    if not facts.holds_both:
        found.append("it does not alone hold both far ends of the stdio")
    if not facts.is_parent:
        found.append("it did not start mcpguard itself: something stands between them")
    return found


def _unforged(facts: HostFacts) -> list[str]:
    """What keeps it from G3."""
    found = []
    if facts.program is not Program.NATIVE:
        found.append("its executable cannot be told" if facts.program is None else _KINDS[facts.program])
    if facts.executable is None:
        found.append("its executable cannot be opened")
    else:
        file = facts.executable
        if file.owner != 0 or file.writable:
            found.append("others than root can change its executable")
        if not file.lasting:
            found.append("its executable is on no disk")
        if not file.digest:
            found.append(f"the digest of its executable is not known{': ' if file.doubt else ''}{file.doubt}")
    if facts.uid == 0:
        found.append("it runs as root, whom nothing keeps from changing its executable")
    if facts.injected:
        found.append(f"it bears signs of foreign code: {', '.join(facts.injected)}")
    if facts.tracer:
        found.append("another process traces it" if facts.tracer > 0 else "whether it is traced is not known")
    return found
