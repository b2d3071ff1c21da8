"""Who may answer for a person, as a table of family trees."""

import msgspec
import pytest

from mcpguard.identity.approver import Link, Watched, objection

USER, ROOT = 1000, 0
HOST_GROUP = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor-7.scope"
TERMINAL = "/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope"
HOST = Watched(500, "a program that a host has started", start=500, group=HOST_GROUP)
INIT = Link(1, 1, ROOT, 1, "systemd", "/init.scope")
MANAGER = Link(90, 90, USER, 90, "systemd", "/user.slice/user-1000.slice/user@1000.service/init.scope")
SSHD = Link(50, 50, ROOT, 50, "sshd", "/system.slice/ssh.service")
TMUX = Link(200, 200, USER, 200, "tmux: server", HOST_GROUP)
OLD_SHELL = Link(210, 210, USER, 210, "bash", HOST_GROUP)


def caller(session: int = 600, start: int = 600, group: str = HOST_GROUP, pid: int = 600) -> Link:
    return Link(pid, start, USER, session, "mcpguard", group)


def shell(group: str = HOST_GROUP, start: int = 590, uid: int = USER, name: str = "bash") -> Link:
    return Link(590, start, uid, 590, name, group)


def host_link() -> Link:
    return Link(500, 500, USER, 210, "node", HOST_GROUP)


REFUSED = {
    "below the host": ([caller(210), shell(), host_link(), OLD_SHELL, INIT], "has started may not"),
    "below the host, under a pty of its own": ([caller(590), shell(), host_link(), INIT], "may not"),
    "nohup: its session began above it": ([caller(210), INIT], "not below the program that began its session"),
    "nohup below a service manager": ([caller(210), MANAGER, INIT], "not below the program"),
    "setsid": ([caller(600), INIT], "has left the programs"),
    "setsid below a service manager": ([caller(600), MANAGER, INIT], "has left the programs"),
    "double fork, then a shell": ([caller(590), shell(), INIT], "has left the programs"),
    "a tmux of its own": (
        [caller(590), shell(), Link(580, 580, USER, 580, "tmux: server", HOST_GROUP), INIT], "has left",
    ),
    "an adopter without a name": ([caller(600), Link(60, 60, USER, 60, "", "/"), INIT], "has left"),
    "adopted in a container": ([caller(600), Link(1, 1, USER, 1, "node", HOST_GROUP)], "has left"),
    "systemd-run --scope": (
        [caller(590, group="/user.slice/app.slice/run-r1f.scope"),
         shell("/user.slice/app.slice/run-r1f.scope"), MANAGER, INIT], "transient",
    ),
    "systemd-run": (
        [caller(600, group="/user.slice/app.slice/run-u12.service"), MANAGER, INIT], "transient",
    ),
    "began in the same tick": ([caller(600, start=500), INIT], "has left the programs"),
}  # fmt: skip

ALLOWED = {
    "the shell that the host was started from": [caller(210), OLD_SHELL, TMUX, INIT],
    "a new window of a terminal multiplexer": [caller(590), shell(), TMUX, INIT],
    "a new terminal of the desktop": [
        caller(590, group=TERMINAL), shell(TERMINAL), Link(580, 580, USER, 580, "gnome-terminal-", TERMINAL),
        MANAGER, INIT,
    ],
    "a login over the network": [
        caller(590, group="/session-9.scope"), shell("/session-9.scope"),
        Link(585, 585, ROOT, 585, "sshd-session", "/session-9.scope"), SSHD, INIT,
    ],
    "a login where there are no control groups": [
        caller(590), shell(), Link(585, 585, ROOT, 585, "login", HOST_GROUP), INIT,
    ],
    "a process from before the host": [caller(210, start=300), INIT],
    "docker exec": [caller(590), shell()],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_host_has_started_or_may_have_is_refused(name: str) -> None:
    line, says = REFUSED[name]
    assert says in objection(line, [HOST]), name


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_because_of_the_host_and_not_otherwise(name: str) -> None:
    assert objection(REFUSED[name][0], []) == ""


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_person_uses_is_allowed(name: str) -> None:
    assert objection(ALLOWED[name], [HOST]) == ""


REAPER = Link(70, 70, USER, 70, "watch-my-agents", HOST_GROUP)


@pytest.mark.parametrize("session", [210, 580, 590, 600])
def test_what_stands_below_the_adopter_that_was_found_is_refused(session: int) -> None:
    line = [caller(session), REAPER, INIT]
    found = msgspec.structs.replace(HOST, adopter=REAPER.pid)
    assert "may have started it" in objection(line, [found])
    assert objection(line, [HOST]) == "", "nothing tells that it adopts"
    assert objection(line, [msgspec.structs.replace(HOST, adopter=71)]) == ""
    assert objection([caller(590), shell(TERMINAL), SSHD, INIT], [found]) == ""


def test_who_cannot_be_left_is_looked_for_above_only() -> None:
    daemon = Watched(500, "a server that mcpguard has started")
    assert "a server" in objection([caller(210), host_link(), INIT], [daemon])
    assert objection([caller(600), INIT], [daemon]) == ""


def test_every_host_is_looked_at() -> None:
    other = Watched(10, "x", start=9999, group="/elsewhere")
    assert objection([caller(600), INIT], [other]) == ""
    assert "has left" in objection([caller(600), INIT], [other, HOST])
