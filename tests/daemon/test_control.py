"""admin.sock, spoken to by everybody."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard import limits
from tests.lifecycle.forms import FORMS, RELAY, arrive, connection, enrol, evidence, inside, leave, native
from tests.lifecycle.stage import MCPGUARD, Host, House, house, until

POLICY = (
    'version = 1\nmode = "enforce"\n\n[[rule]]\nid = "all"\nserver = "*"\ntools = ["*"]\neffect = "allow"\n'
)


@pytest.fixture(scope="module")
def place() -> object:
    with house() as made:
        yield made


def test_status(place: House) -> None:
    reply = place.ask({"verb": "status"})
    assert reply["ok"] is True
    assert reply["pid"] == place.daemon.pid
    assert reply["paths"] == {"runtime": str(place.run_dir), "audit": f"{place.state}/audit"}


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"verb":1}\n', b'{"verb":"status","x":1}\n', b"{" * 100_000 + b"\n",
        b"[" * 100_000 + b"\n", b'{"verb":"status","v":99}\n',
    ],
)  # fmt: skip
def test_garbage_is_answered_with_a_sentence(place: House, line: bytes) -> None:
    reply = json.loads(place.raw("admin.sock", line))
    assert reply["ok"] is False
    assert reply["error"].isprintable()


def test_verb_that_does_not_exist(place: House) -> None:
    reply = place.ask({"verb": "x" * 1000 + "\n"})
    assert reply == {"v": 1, "ok": False, "code": "unknown", "error": f"the daemon has no verb '{'x' * 40}'"}


def test_request_without_end(place: House) -> None:
    reply = json.loads(place.raw("admin.sock", b'{"verb":', end=True))
    assert reply["error"] == "not a control request: it has no end"


def test_request_that_is_too_long(place: House) -> None:
    before = place.status()["memory"]["pss_bytes"]
    with place.connect("admin.sock") as sock:
        try:
            for _ in range(limits.CONTROL_BYTES // limits.MIB + 4):
                sock.sendall(b"x" * limits.MIB)
        except OSError:
            pass
        assert b"it has no end" in sock.recv(1000)
    assert place.status()["memory"]["pss_bytes"] < before + 4 * limits.CONTROL_BYTES


def test_caller_that_says_nothing_holds_up_nobody(place: House) -> None:
    silent = [place.connect("admin.sock") for _ in range(100)]
    began = time.monotonic()
    assert place.answers()
    assert time.monotonic() - began < 1
    for sock in silent:
        sock.close()


def test_caller_that_leaves_before_the_reply(place: House) -> None:
    for _ in range(20):
        with place.connect("admin.sock") as sock:
            sock.sendall(b'{"verb":"status"}\n')
    assert place.answers()


def test_descriptors_come_back(place: House) -> None:
    before = place.descriptors()
    for line in (b"{}\n", b"x", b'{"verb":"status"}\n'):
        place.raw("admin.sock", line, end=True)
    assert until(lambda: place.descriptors() <= before)


def test_policy_is_applied_or_refused_as_a_whole(place: House) -> None:
    good = place.ask({"verb": "policy-apply", "source": "p.toml", "text": POLICY})
    assert good["policy"]["rules"] == 1
    assert good["policy"]["mode"] == "enforce"
    bad = place.ask({"verb": "policy-apply", "source": "p.toml", "text": POLICY + "frob = 1\n"})
    assert (bad["ok"], bad["code"]) == (False, "config")
    assert bad["error"].startswith("p.toml:")
    assert place.status()["policy"] == good["policy"]


# --- who may change anything ----------------------------------------------------------------------------

FORBIDDEN = "a program that an enrolled host has started may not change this"
ORPHAN = (
    "import os, subprocess, sys, time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid(); child = os.getpid()\n"
    "if os.fork(): os._exit(0)\n"
    "while os.getppid() == child: time.sleep(0.001)\n"
    "done = subprocess.run(sys.argv[2:], capture_output=True, text=True)\n"
    "open(sys.argv[1] + '.new', 'w').write(str(done.returncode)); os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
)
DEEP = "import subprocess, sys; n = int(sys.argv[1]); sys.exit(subprocess.run([sys.executable, '-I', '-S', '-c', sys.argv[2], str(n - 1), *sys.argv[2:]] if n else sys.argv[3:]).returncode)"
BELOW = {
    "child": [],
    "grandchild": ["sh", "-c", '"$@"; exit $?', "sh"],
    "nohup": ["nohup"],
    "session of its own": ["setsid", "-w"],
    "deeper than evidence goes": [sys.executable, "-I", "-S", "-c", DEEP, "9", DEEP],
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Host, Path]]:
    """An enrolled host that is connected, and a policy file."""
    with house() as made:
        form = [str(native(made.root / "bin")), "-I", RELAY, "pairs"]
        first = arrive(made, form).greet()
        enrol(made, first, "acme")
        leave(first)
        host = arrive(made, form).greet()
        assert evidence(made, host)["host"] == "acme"
        policy = tmp_path_factory.mktemp("p") / "p.toml"
        policy.write_text(POLICY.replace("\n\n", '\nunpinned = "allow"\n\n', 1))
        yield made, host, policy


@pytest.mark.parametrize("below", BELOW)
def test_program_that_an_enrolled_host_started_may_look(tree: tuple[House, Host, Path], below: str) -> None:
    made, host, _ = tree
    for words in (["status"], ["host", "list"], ["trust", "show"], ["server", "list"]):
        code, said = inside(host, *BELOW[below], *MCPGUARD, *words)
        assert FORBIDDEN not in said
        assert code == 0 or words[0] in ("trust", "server"), said  # there is nothing to show
    assert made.answers()


@pytest.mark.parametrize("below", BELOW)
def test_program_that_an_enrolled_host_started_may_change_nothing(
    tree: tuple[House, Host, Path], below: str
) -> None:
    made, host, policy = tree
    before = made.status()["policy"], (made.state / "hosts" / "enrolled.json").read_bytes()
    for words in (
        ["policy", "apply", str(policy)],
        ["host", "trust", "acme", "--exe", os.path.realpath(shutil.which("cat") or ""), "--yes"],
        ["host", "forget", "acme", "--yes"],
        ["daemon", "stop"],
    ):
        code, said = inside(host, *BELOW[below], *MCPGUARD, *words)
        assert code != 0
        assert FORBIDDEN in said, (words, said)
        assert "call from a terminal of your own" in said
    assert (made.status()["policy"], (made.state / "hosts" / "enrolled.json").read_bytes()) == before


@pytest.mark.parametrize(
    "verb",
    [
        "policy-apply",
        "stop",
        "host-trust",
        "host-forget",
        "trust-put",
        "revocations-put",
        "server-put",
        "server-remove",
    ],
)
def test_every_verb_that_changes_something_is_refused(tree: tuple[House, Host, Path], verb: str) -> None:
    made, host, _ = tree
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())"
    )
    path = str(made.run_dir / "admin.sock")
    _, said = inside(host, sys.executable, "-I", "-c", code, path, json.dumps({"verb": verb, "name": "x"}))
    assert FORBIDDEN in json.loads(said)["error"]


def test_caller_elsewhere_may_change_things_meanwhile(tree: tuple[House, Host, Path]) -> None:
    made, host, policy = tree
    done = made.mcpguard("policy", "apply", str(policy))
    assert done.returncode == 0, done
    assert "result" in host.call("echo") or connection(made, host)


def test_host_that_is_not_enrolled_is_like_any_terminal(tree: tuple[House, Host, Path]) -> None:
    """Whom nobody named is nobody's agent: a shell in which a person tries a server may change policy, too."""
    made, _, policy = tree
    stranger = arrive(made, FORMS["pairs"])
    assert "host" not in evidence(made, stranger.greet())
    code, said = inside(stranger, *MCPGUARD, "policy", "apply", str(policy))
    assert code == 0, said


def test_orphan_that_left_the_tree_changes_nothing(tree: tuple[House, Host, Path], tmp_path: Path) -> None:
    """A double fork leaves the host's tree; where it ends up shows that."""
    made, host, _ = tree
    note = tmp_path / "code"
    before = made.status()["policy"]["digest"]
    changed = tmp_path / "other.toml"
    changed.write_text(POLICY.replace("\n\n", '\nunpinned = "allow"\n\n', 1) + "durable = true\n")
    inside(host, sys.executable, "-I", "-c", ORPHAN, str(note), *MCPGUARD, "policy", "apply", str(changed))
    assert until(note.exists)
    assert note.read_text() == "5"
    assert made.status()["policy"]["digest"] == before


def test_caller_that_is_gone_before_it_asks_changes_nothing(tree: tuple[House, Host, Path]) -> None:
    """What it was below cannot be told any more."""
    made, host, _ = tree
    code = (
        "import os, socket, sys, time\n"
        "if os.fork(): os.wait(); os._exit(0)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "caller = os.getpid()\n"
        "if os.fork(): time.sleep(0.2); os._exit(0)\n"
        "while os.path.exists(f'/proc/{caller}'): time.sleep(0.001)\n"
        's.sendall(b\'{"verb":"stop"}\\n\'); print(s.makefile().readline())\n'
    )
    _, said = inside(host, sys.executable, "-I", "-c", code, str(made.run_dir / "admin.sock"))
    assert json.loads(said) == {
        "v": 1,
        "ok": False,
        "code": "refused",
        "error": "what the caller is below cannot be told: call from a terminal of your own",
    }
    assert made.answers()


def test_server_that_was_started_here_may_look_and_change_nothing() -> None:
    with house() as made:
        note, words = made.root / "said", shlex.join(MCPGUARD)
        names = ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR")
        script = f"{words} status; {words} daemon stop; echo done"
        values = [f"{name}={made.env[name]}" for name in names]
        made.host("--", "env", *values, "sh", "-c", f"({script}) > {note} 2>&1")
        assert until(lambda: note.exists() and note.read_text().endswith("done\n"))
        said = note.read_text()
        assert f"pid {made.pid()}" in said
        assert "a server that mcpguard has started may not change this" in said


@pytest.mark.root
def test_caller_that_entered_the_daemons_container_has_nobody_above_it() -> None:
    """As with `docker exec`: the parent of the caller is not in its namespaces, and still it may change policy."""
    with House() as made:
        outer = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with subprocess.Popen(
            [*outer, "sh", "-c", '"$@"; sleep 9', "sh", *MCPGUARD, "daemon", "start"],
            env=made.env, stderr=subprocess.DEVNULL,
        ) as unshare:  # fmt: skip
            children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
            first = until(children.read_text).split()[0]
            enter = ["nsenter", "--pid", "--mount", "--target", first]

            def asked(*words: str) -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    [*enter, *MCPGUARD, *words], env=made.env, capture_output=True, text=True, check=False
                )

            assert until(lambda: asked("status").returncode == 0)
            stopped = asked("daemon", "stop")
            assert stopped.returncode == 0, stopped
            unshare.kill()
