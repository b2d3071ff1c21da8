"""The daemon of a machine: each caller is judged by its uid, and nobody but root changes anything."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.machine import ALICE, BOB, GUARD, Machine
from tests.lifecycle.stage import MCPGUARD, PYTHON, SERVER, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not all(map(shutil.which, ("unshare", "nsenter", "setpriv"))), reason="needs util-linux"
    ),
]
TOP = 'version = 1\nmode = "enforce"\n'
RULE = '[[rule]]\nid = "{1}"\nwho = ["{0}"]\ntools = ["{1}"]\neffect = "allow"\n'
POLICY = TOP + RULE.format(f"uid:{ALICE}", "echo") + RULE.format("group:bob", "note")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as made:
        made.policy(POLICY)
        yield made


def test_each_user_gets_the_decisions_and_the_records_of_its_own(machine: Machine) -> None:
    machine.serve().play()
    alice, bob, root = (machine.host(uid, "play").greet() for uid in (ALICE, BOB, 0))
    assert "result" in alice.call("echo")
    assert "Unknown tool" in alice.call("note", n=1)["error"]["message"]
    assert "Unknown tool" in bob.call("echo")["error"]["message"]
    assert "result" in bob.call("note", n=2)
    assert [tool["name"] for tool in alice.ask("tools/list")["result"]["tools"]] == ["echo"]
    assert [tool["name"] for tool in bob.ask("tools/list")["result"]["tools"]] == ["note"]
    assert "error" in root.call("echo")
    seen = {each["id"]: each["host"]["uid"] for each in machine.status()["connections"]}
    assert sorted(seen.values()) == [0, ALICE, BOB]
    calls = [
        (record["host"]["uid"], record["tool"], record["decision"], record["host"]["grade"])
        for record in machine.records("call")
        if "tool" in record
    ]
    assert calls == [
        (ALICE, "echo", "allow", "G0"), (ALICE, "note", "deny", "G0"), (BOB, "echo", "deny", "G0"),
        (BOB, "note", "allow", "G0"), (0, "echo", "deny", "G0"),
    ]  # fmt: skip
    for host in (alice, bob, root):
        host.close_stdin()
        assert host.wait() == 0


def test_only_root_speaks_to_the_daemon(machine: Machine) -> None:
    machine.serve()
    assert "Permission denied" in machine.admin(ALICE, "status").stderr
    machine.run(0, "chmod", "0666", "/run/mcpguard/admin.sock")  # the mode is not all that keeps them out
    for uid in (ALICE, GUARD):  # a server of the daemon has its uid
        for verb in ("status", "pending"):
            told = machine.admin(uid, verb)
            assert told.returncode == 5, told
            assert told.stderr == f"mcpguard: the other end belongs to uid {uid}, not 0\n"
    assert machine.admin(0, "status").returncode == 0


def test_only_what_root_has_registered_runs_whatever_policy_says(machine: Machine) -> None:
    machine.policy('version = 1\nmode = "observe"\nunpinned = "allow"\n')
    machine.serve().play()
    trace = machine.root / "lib/mcpguard/home/trace"
    for words in (
        ("--", "/bin/sh", "-c", "touch /var/lib/mcpguard/home/trace"),
        ("--name", "play", "--", "/bin/sh", "-c", "touch /var/lib/mcpguard/home/trace"),
        ("--name", "play", "--connect", "/tmp/some.sock"),
        ("--connect", "/tmp/some.sock"),
        ("nobody",),
    ):
        host = machine.host(BOB, *words)
        host.send("initialize", {})
        assert host.wait() == 5, words
        assert host.errors()
    assert not trace.exists()
    refused = [r for r in machine.records("session") if r["event"] == "refused"]
    assert {record["host"]["uid"] for record in refused} == {BOB}


def test_nothing_of_a_caller_chooses_what_a_server_loads(machine: Machine) -> None:
    home = "/var/lib/mcpguard/home"
    script = machine.root / "seeing.py"
    script.write_text(
        "import json, os, sys\n"
        "seen = [dict(os.environ), os.getcwd(), os.umask(0o077), os.getuid()]\n"
        f"open(f'{home}/seen-{{os.getuid()}}', 'w').write(json.dumps(seen))\n"
        "os.execv(sys.executable, [sys.executable, '-I', '-S', *sys.argv[1:]])\n"
    )
    script.chmod(0o644)
    command = (PYTHON, "-I", "-S", str(script), SERVER, home, "marked")
    machine.serve().register("play", *command, options=("--pass", "TOKEN"))
    host = machine.host(
        ALICE, "play", before=("sh", "-c", 'cd /usr; umask 0; exec "$@"', "sh"),
        TOKEN="hers", OTHER="hers", PYTHONPATH="/hers", PATH=f"{machine.env['PATH']}:/hers", HOME="/hers", LD_PRELOAD="",
    ).greet()  # fmt: skip
    assert "result" in host.call("echo")
    seen = (machine.root / f"lib/mcpguard/home/seen-{GUARD}").read_text()
    variables, folder, mask, uid = json.loads(seen)
    assert variables["TOKEN"] == "hers"
    assert variables["HOME"] == home
    assert "hers" not in " ".join(value for name, value in variables.items() if name != "TOKEN")
    assert not {"OTHER", "PYTHONPATH", "LD_PRELOAD"} & set(variables)
    assert (folder, mask, uid) == ("/", 0o077, GUARD)


def test_nobody_else_can_put_sockets_in_the_place_of_the_daemons(machine: Machine) -> None:
    machine.serve().play()
    for words in (
        ("rm", "-f", "/run/mcpguard/run.sock"),
        ("mv", "/run/mcpguard/run.sock", "/run/mcpguard/old"),
        ("mv", "/run/mcpguard", "/run/old"),
        ("touch", "/run/mcpguard/new"),
        ("cat", "/run/mcpguard/lock"),
        ("ls", "/var/lib/mcpguard"),
        ("touch", "/etc/mcpguard/policy.toml"),
    ):
        told = machine.run(ALICE, *words)
        assert told.returncode != 0, words
        assert "denied" in told.stderr or "not permitted" in told.stderr


def squat(machine: Machine, uid: int) -> subprocess.Popen[str]:
    """Somebody who listens where the daemon of the machine should."""
    code = "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('/run/mcpguard/run.sock'); s.listen()\n"
    code += "os.chmod('/run/mcpguard/run.sock', 0o666); print('listens', flush=True); c = s.accept()[0]; print(c.recv(9))"
    return subprocess.Popen(
        machine.inside(uid, sys.executable, "-c", code), stdout=subprocess.PIPE, text=True, env=machine.env
    )


@pytest.mark.parametrize(
    ("owner", "mode", "uid"),
    [
        pytest.param(0, "1777", BOB, id="a folder that everybody may write to"),
        pytest.param(0, "1777", GUARD, id="the same, of the right user"),
        pytest.param(BOB, "0755", BOB, id="a folder of somebody else"),
        pytest.param(GUARD, "0775", BOB, id="a folder that a group may write to"),
    ],
)
def test_shim_hands_nothing_to_whoever_else_listens_there(
    machine: Machine, owner: int, mode: str, uid: int
) -> None:
    machine.run(0, "install", "-d", "-o", str(owner), "-g", str(BOB), "-m", mode, "/run/mcpguard")
    squatter = squat(machine, uid)
    try:
        assert squatter.stdout
        assert squatter.stdout.readline() == "listens\n"
        host = machine.host(ALICE, "play")
        host.send("initialize", {})
        assert host.wait() == 125
        (sentence,) = host.errors()
        assert sentence.endswith(
            f"belongs to uid {uid}, not to the daemon of this machine: not handing anything over"
        )
        assert squatter.stdout.readline() == "b''\n"
    finally:
        squatter.kill()
        squatter.wait()
        squatter.stdout.close()  # type: ignore[union-attr]


def test_shim_starts_no_daemon_of_its_own_in_the_place_of_the_machines(machine: Machine) -> None:
    for uid in (ALICE, 0):
        host = machine.host(uid, "play")
        host.send("initialize", {})
        assert host.wait() == 125
        assert "nothing listens at /run/mcpguard/run.sock; as root: systemctl enable" in host.errors()[0]
    assert machine.run(0, "test", "-e", "/run/mcpguard").returncode == 1


@pytest.mark.parametrize("more", [(), ("--pid", "--fork")])
def test_user_in_a_namespace_of_its_own_is_refused(machine: Machine, more: tuple[str, ...]) -> None:
    machine.serve().play()
    wall = ("unshare", "--user", "--map-current-user", *more)
    host = machine.host(ALICE, "play", before=wall)
    host.send("initialize", {})
    assert host.wait() == 125  # the shim sees nobody there whom it knows
    assert "belongs to uid 65534, not to the daemon of this machine" in host.errors()[0]
    code = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/mcpguard/run.sock'); print(s.recv(999))"
    told = machine.run(ALICE, *wall, sys.executable, "-c", code)
    assert told.stdout.startswith("b'refuse 5 the caller lives in another namespace"), told


def test_pid_namespace_that_root_has_made_is_refused(machine: Machine) -> None:
    machine.serve().play()
    host = machine.host(
        0, "play", before=("unshare", "--pid", "--fork", "setpriv", f"--reuid={ALICE}", "--clear-groups")
    )
    host.send("initialize", {})
    assert host.wait() == 5
    assert "the caller lives in another namespace" in host.errors()[0]


def test_policy_is_the_file_of_root_and_is_read_again_when_the_manager_says_so(machine: Machine) -> None:
    machine.serve().play()
    assert machine.daemon
    (machine.root / "roots" / "p.toml").write_text(TOP)
    told = machine.admin(0, "policy", "apply", str(machine.root / "roots" / "p.toml"))
    assert told.returncode == 6, told
    assert "a daemon for everybody goes by this file alone" in told.stderr
    alice = machine.host(ALICE, "play").greet()
    assert "result" in alice.call("echo")
    machine.policy(TOP + RULE.format(f"uid:{BOB}", "echo"))
    assert "result" in alice.call("echo")  # a saved file changes nothing
    machine.daemon.send_signal(signal.SIGHUP)
    assert until(lambda: "error" in alice.call("echo"))
    machine.run(0, "chown", str(BOB), "/etc/mcpguard/policy.toml")
    machine.daemon.send_signal(signal.SIGHUP)
    assert "result" in machine.host(BOB, "play").greet().call("echo")  # what was in force stays


def test_policy_of_somebody_else_serves_nobody(machine: Machine) -> None:
    machine.run(0, "chown", str(GUARD), "/etc/mcpguard/policy.toml")
    machine.places()
    machine.start()
    assert machine.daemon
    assert machine.daemon.wait(20) == 6
    assert machine.daemon.stderr
    assert "expected to be owned by uid 0" in machine.daemon.stderr.read()


def test_sockets_that_root_has_bound_are_served_by_the_daemons_user(machine: Machine) -> None:
    """As systemd hands them over: made by root, served by another uid."""
    machine.places()
    hand = (
        "import os, socket, sys\n"
        "for n, (name, mode) in enumerate((('run', 0o666), ('admin', 0o600))):\n"
        "    s = socket.socket(socket.AF_UNIX); s.bind(f'/run/mcpguard/{name}.sock'); s.listen(4096)\n"
        "    os.chmod(f'/run/mcpguard/{name}.sock', mode); os.dup2(s.detach(), 203 + n)\n"
        "print('listens', flush=True); sys.stdin.readline()\n"
        "os.dup2(203, 3); os.dup2(204, 4); os.closerange(5, 300)\n"
        f"os.setgroups([]); os.setgid({GUARD}); os.setuid({GUARD})\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='run:admin')\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    machine.daemon = subprocess.Popen(
        machine.inside(0, sys.executable, "-c", hand, *MCPGUARD, "daemon", "start", "--system"),
        env={"PATH": machine.env["PATH"]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert machine.daemon.stdout
    assert machine.daemon.stdin
    assert machine.daemon.stdout.readline() == "listens\n"
    early = machine.host(ALICE, "play")  # it waits: no daemon runs yet
    machine.daemon.stdin.write("\n")
    machine.daemon.stdin.close()
    early.send("initialize", {})
    assert "runs only what root has registered" in json.loads(early.line())["error"]["message"]
    machine.daemon.stdout.close()
    machine.play()
    assert "result" in machine.host(ALICE, "play").greet().call("echo")
    assert machine.admin(0, "daemon", "stop").returncode == 0
    assert Path(f"/proc/{machine.anchor.pid}/root/run/mcpguard/run.sock").is_socket()
