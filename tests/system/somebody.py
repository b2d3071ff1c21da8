"""Do something as an ordinary user, in a process of our own: no interpreter has to be within that user's reach."""

import os
from collections.abc import Callable

from mcpguard.system import warden

SOMEBODY = 65533
_PR_SET_DUMPABLE = 4


def become_somebody() -> None:
    """Be an ordinary user from now on, and as open to others as a program that this user has started.

    Order: what is not imported by now may be out of this user's reach.
    """
    warden.prctl(_PR_SET_DUMPABLE, 1)
    os.setgroups([])
    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
    assert warden.prctl(_PR_SET_DUMPABLE, 1)  # changing one's user id has taken it away


def as_somebody(deed: Callable[[], str]) -> str:
    """What `deed` returns when an ordinary user does it; what it raises, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_somebody()
            said = deed()
        except BaseException as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said
