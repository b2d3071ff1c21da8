"""An agent with a shell that nothing confines tries to approve its own call, in every way that a shell has.

Its host is a process of its own, enrolled, and trusted with everything but one tool.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.system import warden
from tests.cli.test_presence import chosen
from tests.lifecycle.forms import FORMS, arrive, enrol, inside
from tests.lifecycle.stage import MCPGUARD, Host, House, gone, house, until
from tests.lifecycle.test_approvals import ASKING, approvals, notes, pending, waits

TMUX = shutil.which("tmux") or ""


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(ASKING.format(timeout="60s"))
        yield made


@pytest.fixture(params=["init", "a reaper that nobody knows"])
def reaper(request: pytest.FixtureRequest) -> Iterator[str]:
    """What adopts orphans: process 1, or some program of a name that tells nothing, here this test."""
    if request.param == "init":
        yield request.param
        return
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 1)
    yield request.param
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


@pytest.fixture
def agent(reaper: str, place: House) -> Iterator[Host]:
    """An enrolled host, connected, whose call waits."""
    first = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, first, "acme")
    first.close_stdin()
    first.wait()
    host = arrive(place, FORMS["pipes"], name="box").greet()
    host.calling("note", n=1)
    waits(place)
    yield host
    for name in filter(str.isdigit, os.listdir("/proc")):  # what has left the tree of the host is nobody's
        try:
            mine = f"HOME={place.root}".encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mine and int(name) not in (place.daemon.pid if place.daemon else 0, host.process.pid):
            try:
                os.kill(int(name), signal.SIGKILL)
            except ProcessLookupError:
                continue
            until(lambda pid=int(name): gone(pid))


DETACHED = "import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nos.execvp(sys.argv[1], sys.argv[1:])"
PTY = "import pty, sys\npty.spawn(sys.argv[1:])"
OUT = "{out}"
WAYS = {
    "direct": "{approve} > {out} 2>&1",
    "nohup": "nohup {approve} > {out} 2>&1 &",
    "nohup, orphaned": "sh -c 'nohup {approve} > {out} 2>&1 &'",
    "setsid": "setsid {approve} > {out} 2>&1 &",
    "setsid, orphaned": "sh -c 'setsid -f {approve} > {out} 2>&1'",
    "double fork": "{python} -c '{detached}' sh -c '{approve} > {out} 2>&1'",
    "a pty of its own": "{python} -c '{pty}' sh -c '{approve} > {out} 2>&1'",
    "a pty that has left": "{python} -c '{detached}' {python} -c '{pty}' sh -c '{approve} > {out} 2>&1'",
    "a copied command line": "cp -r {package} {home}/copy && PYTHONPATH={home}/copy {python} -m mcpguard {words} > {out} 2>&1",
    "a copy that has left": (
        "cp -r {package} {home}/copy && PYTHONPATH={home}/copy {python} -c '{detached}' "
        "sh -c '{python} -m mcpguard {words} > {out} 2>&1'"
    ),
}


def attempt(place: House, host: Host, command: str, words: str) -> str:
    """Have the agent run a line of shell that approves; what the command line said to it."""
    out = place.root / "said"
    line = command.format(
        approve=" ".join([*MCPGUARD, words]), words=words, out=out, python=MCPGUARD[0], detached=DETACHED,
        pty=PTY, home=place.root, package=Path(__file__).parents[2] / "mcpguard",
    )  # fmt: skip
    inside(host, "bash", "-c", line)
    assert until(lambda: out.exists() and "mcpguard:" in out.read_text()), (
        out.read_text() if out.exists() else ""
    )
    return out.read_text()


@pytest.mark.parametrize("verb", ["approve", "deny"])
@pytest.mark.parametrize("way", WAYS)
def test_an_agent_does_not_answer_for_a_person(place: House, agent: Host, way: str, verb: str) -> None:
    (ticket,) = pending(place)
    said = attempt(
        place, agent, WAYS[way], f"{verb} {ticket['id']}" + (" --yes" if verb == "approve" else "")
    )
    assert "may not change this" in said or "a host that is connected may have started it" in said, said
    assert [one["id"] for one in pending(place)] == [ticket["id"]]
    assert (notes(agent), approvals(place)) == ([], ["asked"])


@pytest.mark.parametrize("way", ["direct", "setsid, orphaned", "double fork"])
def test_nor_does_it_change_policy_or_trust(place: House, agent: Host, way: str) -> None:
    file = place.root / "mine.toml"
    file.write_text('version = 1\nmode = "observe"\n')
    digest = place.status()["policy"]["digest"]
    for words in (f"policy apply {file}", "host forget acme --yes", "daemon stop"):
        said = attempt(place, agent, WAYS[way], words)
        assert "may not change this" in said or "may have started it" in said, said
        (place.root / "said").unlink()
    assert place.status()["policy"]["digest"] == digest
    assert notes(agent) == []


@pytest.mark.skipif(not TMUX, reason="needs tmux")
def test_a_terminal_multiplexer_that_it_starts_does_not_help(place: House, agent: Host) -> None:
    (ticket,) = pending(place)
    way = f"TMUX= {TMUX} -L own-{os.getpid()} -f /dev/null new-session -d '{{approve}} > {{out}} 2>&1'"
    assert "may have started it" in attempt(place, agent, way, f"approve {ticket['id']} --yes")
    assert notes(agent) == []


@pytest.mark.skipif(not TMUX, reason="needs tmux")
@pytest.mark.parametrize("presence", [False, True])
def test_limit_keys_typed_into_an_older_multiplexer_are_a_persons(place: House, presence: bool) -> None:
    """What the platform cannot tell, and SECURITY.md says so: a terminal that is older than the host is believed.

    Where a rule wants presence, it does not help.
    """
    if presence:
        chosen(place, "open sesame")
        place.policy(ASKING.format(timeout="60s") + 'confirm = "presence"\n')
    name = f"older-{os.getpid()}"
    subprocess.run(
        [TMUX, "-L", name, "-f", "/dev/null", "new-session", "-d", "sh"], env=place.env, check=True
    )
    try:
        time.sleep(0.1)
        host = arrive(place, FORMS["pipes"]).greet()
        host.calling("note", n=1)
        (ticket,) = waits(place)
        approve = " ".join([*MCPGUARD, "approve", ticket["id"], "--yes"])
        inside(host, TMUX, "-L", name, "send-keys", approve, "Enter")
        if presence:
            screen = [TMUX, "-L", name, "capture-pane", "-p"]
            asked = "Passphrase for approvals"
            assert until(
                lambda: asked in subprocess.run(screen, capture_output=True, text=True, check=True).stdout
            )
            inside(host, TMUX, "-L", name, "send-keys", "guess", "Enter")
            wrong = "passphrase is wrong"
            assert until(
                lambda: wrong in subprocess.run(screen, capture_output=True, text=True, check=True).stdout
            )
            assert notes(host) == []
        else:
            assert until(lambda: notes(host) == ["1"])
    finally:
        subprocess.run([TMUX, "-L", name, "kill-server"], env=place.env, check=False)
