"""Who the host behind a real `mcpguard run` is: named rightly, graded honestly, held to what policy asks of it."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.forms import (
    FORMS,
    NODE,
    NODE_RELAY,
    RELAY,
    WAYS,
    arrive,
    connection,
    enrol,
    evidence,
    leave,
    native,
    needs_node,
    socat,
    some_library,
    tell,
    updated,
)  # fmt: skip
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, alive, command, gone, house, until

TOP = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n'
RULE = '[[rule]]\nid = "r"\nserver = "*"\ntools = ["*"]\neffect = "allow"\n'
NOT_BEFORE = "it did not start mcpguard itself: something stands between them"
BOTH = "it does not alone hold both far ends of the stdio"


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    """A daemon without a policy: everything is let through and recorded."""
    with house() as made:
        yield made


@pytest.fixture
def own() -> Iterator[House]:
    """A daemon that a story may change."""
    with house() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every story the daemon has as many descriptors as before."""
    name = next(name for name in ("own", "place") if name in request.fixturenames)
    used: House = request.getfixturevalue(name)
    before = used.descriptors()
    yield
    for host in used.hosts:
        host.close()
    if used.daemon and used.daemon.poll() is None:
        assert until(lambda: used.descriptors() <= before, 5)


def told(place: House, host: Host) -> list[dict[str, Any]]:
    """Every record of the connection of a host."""
    return [one for one in place.records() if one.get("server") == host.name]  # type: ignore[attr-defined]


def ended(place: House, host: Host) -> list[str]:
    """Why the connection of a host ended."""
    return [one["reason"] for one in told(place, host) if one.get("event") == "end"]


# --- named rightly --------------------------------------------------------------------------------------

FOUND = {
    "node": {"exe": NODE, "script": NODE_RELAY, "stdin": "socket"},
    "pipes": {"exe": PYTHON, "script": RELAY, "stdin": "pipe"},
    "pairs": {"exe": PYTHON, "script": RELAY, "stdin": "socket"},
    "uvloop": {"exe": PYTHON, "script": RELAY, "stdin": "socket"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [pytest.param("node", marks=needs_node), "pipes", "pairs", "uvloop"])
def test_every_form_is_named_in_status_and_in_every_record(place: House, form: str, way: str) -> None:
    host = arrive(place, FORMS[form], WAYS[way]).greet()
    assert "result" in host.call("echo")
    shown = json.loads(place.mcpguard("status", "--json").stdout)
    (one,) = [each for each in shown["connections"] if each["server"] == host.name]
    seen = one["host"]
    expected = FOUND[form] | {"pid": host.process.pid, "uid": os.geteuid()}
    assert {key: seen[key] for key in expected} == expected
    direct = way != "through a shell"
    assert seen["grade"] == ("G2" if direct else "G1")
    assert ("it is an interpreter" if direct else NOT_BEFORE) in seen["because"]
    assert re.fullmatch("[0-9a-f]{64}", seen["sha256"])
    leave(host)
    assert until(lambda: any(record.get("event") == "end" for record in told(place, host)))
    records = told(place, host)
    assert {record["type"] for record in records} >= {"session", "call", "outcome"}
    assert {record["conn"] for record in records} == {one["id"]}
    assert all(record["host"] == seen for record in records)


def begun(place: House, name: str) -> dict[str, Any]:
    """The evidence in the record of the beginning of a connection that may be over."""
    record = until(
        lambda: next(
            (one for one in place.records() if one.get("server") == name and one["event"] == "begin"), None
        )
    )
    assert record
    found: dict[str, Any] = record["host"]
    return found


@pytest.mark.parametrize("lives", [False, True])
def test_pipeline_of_an_agents_shell_is_not_the_host(place: House, lives: bool) -> None:
    """`printf ... | mcpguard run`: the writer is gone, or it is a shell which is not who reads the answers."""
    name, marker = f"s-{secrets.token_hex(4)}", f"m-{secrets.token_hex(8)}"
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "claude", "version": "1"},
    }
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    home = place.root / name
    home.mkdir()
    words = shlex.join([*MCPGUARD, "run", "--name", name, "--", *command(home, marker)])
    writer = "(printf '%s\\n' \"$0\"; sleep 1)" if lives else "printf '%s\\n' \"$0\""
    done = subprocess.run(
        ["sh", "-c", f"{writer} | {words}", line], env=place.env, capture_output=True, timeout=60, check=False
    )
    assert b'"protocolVersion"' in done.stdout
    seen = begun(place, name)
    if lives:
        assert seen["exe"] in (os.path.realpath("/bin/sh"), os.path.realpath(shutil.which("sleep") or ""))
        assert (seen["grade"], seen["because"]) == ("G1", BOTH)
    else:
        assert (seen["grade"], seen["pid"]) == ("G0", 0)
        assert "exe" not in seen
        assert seen["because"] == "no process was found to hold the far end of stdin"


def test_host_of_two_processes_is_worth_no_more_than_one_that_is_seen(place: House) -> None:
    host = arrive(place, FORMS["two"]).greet()
    seen = evidence(place, host)
    assert (seen["pid"], seen["grade"], seen["because"]) == (host.process.pid, "G1", BOTH)


def test_who_holds_a_copy_of_an_end_takes_the_grade_away(place: House) -> None:
    """A child of the host that kept the pipes could speak in its place."""
    code = (
        "import os, subprocess, sys\n"
        "theirs, near = os.pipe(); far, answers = os.pipe()\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "sys.exit(subprocess.run(sys.argv[1:], stdin=theirs, stdout=answers).returncode)\n"
    )
    host = arrive(place, [sys.executable, "-I", "-c", code])
    seen = begun(place, host.name)  # type: ignore[attr-defined]
    assert (seen["grade"], seen["because"]) == ("G1", BOTH)
    host.close()


# --- what happens to a host -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pipes", "pairs"])
def test_death_of_the_host_ends_the_connection_though_a_child_keeps_its_ends(own: House, form: str) -> None:
    host = arrive(own, FORMS[form]).greet()
    server = host.server()
    note = host.home / "child"
    tell(
        host,
        f"child = os.fork(); child or __import__('time').sleep(60); open({str(note)!r}, 'w').write(str(child)); os._exit(0)",
    )
    host.process.wait(20)
    child = int(note.read_text())
    try:
        assert not gone(child)
        assert until(lambda: not own.status()["connections"], 3)
        assert until(lambda: gone(server), 3)
        assert until(lambda: ended(own, host)) == ["the host is gone"]
    finally:
        os.kill(child, signal.SIGKILL)


WAIT = "import os, sys; print(os.read(int(sys.argv[2]), 1), flush=True)"
CALL = (
    "import os, sys\n"
    'os.write(int(sys.argv[1]), b\'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"note","arguments":{"n":1}}}\\n\')\n'
    "print(os.read(int(sys.argv[2]), 1 << 16).decode().strip(), flush=True)"
)


def become(host: Host, code: str) -> None:
    """Another program takes the place of the host's, with both ends of the stdio: no death, no end of file."""
    argv = f"[{sys.executable!r}, '-I', '-c', {code!r}, str(near), str(far)]"
    tell(
        host,
        f"os.set_inheritable(near, True); os.set_inheritable(far, True); os.execv({sys.executable!r}, {argv})",
    )


CHANGED = "the host is not what it was: it runs another program than before"


def test_another_program_in_the_hosts_place_is_ended_at_the_next_recheck(own: House) -> None:
    own.policy(TOP + 'recheck = "1s"\n' + RULE)
    host = arrive(own, FORMS["pairs"]).greet()
    time.sleep(1.2)
    assert connection(own, host)  # that somebody looks at it changes nothing
    became = time.monotonic()
    become(host, WAIT)
    assert host.line() == b"b''"  # it hears the end
    assert time.monotonic() - became < 4
    assert until(lambda: ended(own, host)) == [CHANGED]


def test_another_program_in_the_hosts_place_makes_no_call_of_a_rule_that_looks_again(own: House) -> None:
    own.policy(TOP + RULE + "recheck = true\n")
    host = arrive(own, FORMS["pairs"]).greet()
    assert "result" in host.call("note", n=0)
    become(host, CALL)
    assert "result" not in json.loads(host.line() or b"{}")
    assert until(lambda: ended(own, host)) == [CHANGED]
    assert (host.home / "notes").read_text() == "0\n"


def test_limit_another_program_in_the_hosts_place_is_not_seen_while_nobody_looks(own: House) -> None:
    """Linux tells nobody that a process executes: without `recheck` the next start is when it is seen."""
    own.policy(TOP + RULE)
    host = arrive(own, FORMS["pairs"]).greet()
    become(host, CALL)
    assert "result" in json.loads(host.line())
    assert (host.home / "notes").read_text() == "1\n"


# --- signs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "variable", "value"),
    [
        ("pipes", "LD_PRELOAD", some_library()),
        pytest.param("node", "NODE_OPTIONS", "--no-warnings", marks=needs_node),
    ],
)
def test_variables_that_load_code_are_shown(place: House, form: str, variable: str, value: str) -> None:
    host = arrive(place, FORMS[form], env={variable: value}).greet()
    seen = evidence(place, host)
    assert (seen["injected"], seen["grade"]) == ([variable], "G2")
    assert variable in next(
        one["reasons"][-2]
        for one in place.ask({"verb": "hosts"})["connected"]
        if one["server"] == host.name  # type: ignore[attr-defined]
    )


TRACE = (
    "import ctypes, subprocess, sys\n"
    "c = ctypes.CDLL(None); c.ptrace.argtypes = [ctypes.c_long] * 4\n"
    "child = subprocess.Popen(sys.argv[1:])\n"
    "if c.ptrace(0x4206, child.pid, 0, 0): child.kill(); sys.exit(77)\n"  # PTRACE_SEIZE: it runs on
    "sys.exit(child.wait())\n"
)


def test_traced_host_is_shown_with_its_tracer(place: House) -> None:
    host = arrive(place, [sys.executable, "-I", "-c", TRACE, *FORMS["pairs"]])
    if until(lambda: (host.home / "pid").exists() or host.process.poll() == 77) and host.process.poll() == 77:
        pytest.skip("tracing is not allowed here")
    seen = evidence(place, host)
    assert seen["tracer"] == host.process.pid
    assert seen["pid"] != host.process.pid


# --- what policy asks -----------------------------------------------------------------------------------


def allowed(host: Host) -> bool:
    """Whether a call is let through. To a host that may not make it, the tool is unknown."""
    answer = host.call("echo")
    assert "result" in answer or answer["error"]["message"] == "Unknown tool: echo"
    return "result" in answer


def test_policy_asks_for_a_grade(own: House) -> None:
    own.policy(TOP + RULE + 'grade = "G2"\n')
    assert allowed(arrive(own, FORMS["pipes"]).greet())
    assert not allowed(arrive(own, FORMS["pipes"], WAYS["through a shell"]).greet())
    own.policy(TOP + RULE + 'grade = "G3"\n')
    assert not allowed(arrive(own, FORMS["pipes"]).greet())


@needs_node
def test_policy_refuses_hosts_below_a_program(own: House) -> None:
    """The host is not below itself: it is what runs it, and what runs between it and its server."""
    own.policy(TOP + RULE + 'ancestor_not = ["node"]\n')
    assert allowed(arrive(own, FORMS["pipes"]).greet())
    assert allowed(arrive(own, FORMS["node"]).greet())
    assert not allowed(arrive(own, [*FORMS["node"], *FORMS["pipes"]]).greet())
    assert not allowed(arrive(own, [*FORMS["node"], *FORMS["node"]]).greet())
    own.policy(TOP + RULE + 'ancestor_not = ["dash", "bash", "sh"]\n')
    assert not allowed(arrive(own, FORMS["node"], WAYS["through a shell"]).greet())


@pytest.fixture
def scope() -> Iterator[Path]:
    """A control group that is named like a unit of systemd."""
    for above in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        made = Path(above) / f"app-acme-{secrets.token_hex(4)}.scope"
        try:
            if (Path(above) / "cgroup.procs").exists():
                made.mkdir()
                break
        except OSError:
            continue
    else:
        pytest.skip("no control group can be made here")
    yield made
    assert until(lambda: not (made / "cgroup.procs").read_text())
    made.rmdir()


@pytest.mark.root
def test_policy_asks_for_a_unit(own: House, scope: Path) -> None:
    own.policy(TOP + RULE + 'unit = "app-acme-*.scope"\n')
    within = ["sh", "-c", f'echo $$ > {scope}/cgroup.procs; exec "$@"', "sh"]
    host = arrive(own, [*within, *FORMS["pipes"]]).greet()
    assert evidence(own, host)["unit"] == scope.name
    assert allowed(host)
    leave(host)
    outside = arrive(own, FORMS["pipes"]).greet()
    assert not allowed(outside)


# --- enrolled hosts -------------------------------------------------------------------------------------


def test_enrolled_native_host_is_recognised_until_its_program_changes(own: House) -> None:
    program = native(own.root / "bin")
    form = [str(program), "-I", RELAY, "pairs"]
    first = arrive(own, form).greet()
    assert "host" not in evidence(own, first)
    enrol(own, first, "acme")
    assert "host" not in evidence(own, first)  # what it has is as it was
    leave(first)
    own.policy(TOP + RULE + 'who = ["host:acme"]\n')
    known = arrive(own, form).greet()
    assert (evidence(own, known)["host"], allowed(known)) == ("acme", True)
    assert {record["host"].get("host") for record in told(own, known)} == {"acme"}
    assert not allowed(arrive(own, FORMS["pairs"]).greet())
    old = evidence(own, known)["sha256"]
    assert leave(known) == []

    updated(program)
    stranger = arrive(own, form).greet()
    seen = evidence(own, stranger)
    assert "host" not in seen
    assert seen["sha256"] != old
    assert not allowed(stranger)
    (said,) = leave(stranger)
    assert f"sha256 {old[:12]} -> {seen['sha256'][:12]}" in said
    assert said.endswith("; if you wanted that: mcpguard host trust acme")

    again = arrive(own, form).greet()
    enrol(own, again, "acme")
    leave(again)
    trusted = arrive(own, form).greet()
    assert (evidence(own, trusted)["host"], allowed(trusted)) == ("acme", True)


def test_program_that_changed_is_recognised_if_policy_lets_its_owner(own: House) -> None:
    program = native(own.root / "bin")
    form = [str(program), "-I", RELAY, "pairs"]
    first = arrive(own, form).greet()
    enrol(own, first, "acme")
    leave(first)
    own.policy(TOP + 'on_update = "allow_same_owner"\n' + RULE + 'who = ["host:acme"]\n')
    updated(program)
    host = arrive(own, form).greet()
    assert (evidence(own, host)["host"], allowed(host)) == ("acme", True)
    (said,) = leave(host)
    assert "its owner is the same (on_update = allow_same_owner)" in said
    (note,) = [one for one in own.records() if one["type"] == "host" and one["event"] == "updated"]
    assert (note["name"], note["new"]) == (
        "acme",
        evidence(own, quiet := arrive(own, form).greet())["sha256"],
    )
    assert note["old"] in note["host"]["executable"]["previous"]
    assert evidence(own, quiet)["host"] == "acme"
    assert leave(quiet) == []  # said once, and written down


def test_script_host_is_known_by_its_script_which_is_said_to_be_weak(own: House) -> None:
    script = own.root / "agent.py"
    shutil.copy(RELAY, script)
    form = [sys.executable, "-I", str(script), "pipes"]
    first = arrive(own, form).greet()
    enrol(own, first, "agent")
    leave(first)
    known = arrive(own, form).greet()
    assert evidence(own, known)["host"] == "agent"
    (told,) = (
        host["sentence"] for host in own.ask({"verb": "hosts"})["connected"] if host["host"] == "agent"
    )
    assert "known by interpreter and script only, which is weak" in told
    assert not any("weak" in line for line in leave(known))  # people are told once, not at each start
    assert "host" not in evidence(
        own, arrive(own, FORMS["pipes"]).greet()
    )  # the same interpreter, another script
    updated(script)
    stranger = arrive(own, form).greet()
    assert "host" not in evidence(own, stranger)
    assert "its script changed, sha256 " in leave(stranger)[0]


@pytest.mark.skipif(shutil.which("socat") is None, reason="needs socat")
def test_native_program_is_a_host_as_any(own: House) -> None:
    program = str(shutil.copy(shutil.which("socat") or "", own.root / "acme"))
    home = own.root / "h"
    home.mkdir()
    for expected in (None, "acme"):
        words = [*MCPGUARD, "run", "--name", "s", "--", *command(home, "m")]
        host = Host(socat(program, own.root, words), own.env)
        host.name = "s"  # type: ignore[attr-defined]
        own.hosts.append(host)
        seen = evidence(own, host.greet())
        assert (seen["exe"], seen["grade"], seen.get("host")) == (program, "G2", expected)
        assert "script" not in seen
        if not expected:
            enrol(own, host, "acme")
        leave(host)
        assert until(lambda: not own.status()["connections"])


@pytest.mark.parametrize("damage", ["corrupt", "gone", "writable"])
def test_list_of_hosts_that_cannot_be_relied_on_refuses_everybody(own: House, damage: str) -> None:
    program = native(own.root / "bin")
    form = [str(program), "-I", RELAY, "pairs"]
    first = arrive(own, form).greet()
    enrol(own, first, "acme")
    enrol(own, first, "acme")  # so that there is a list from before the last change
    leave(first)
    enrolled = own.state / "hosts" / "enrolled.json"
    good = enrolled.read_bytes()
    if damage == "corrupt":
        enrolled.write_bytes(good[:-20])
    elif damage == "gone":
        enrolled.unlink()
    else:
        enrolled.chmod(0o666)
    host = arrive(own, form)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
    answer = host.ask("initialize", hello)
    assert "enrolled" in answer["error"]["message"]
    (said,) = leave(host)
    repair = f"chmod go-w {enrolled}" if damage == "writable" else f"cp {enrolled}.previous {enrolled}"
    assert repair in said
    assert host.wait() == 5
    assert not (host.home / "pid").exists()
    assert not alive(host.marker)
    code = own.mcpguard("host", "list")
    assert (code.returncode, repair in code.stderr) == (5, True)
    subprocess.run(repair, shell=True, check=True)
    assert evidence(own, arrive(own, form).greet())["host"] == "acme"
