"""The daemon as a whole: rules that change under running connections, disks that fill, limits, idleness."""

import asyncio
import json
import os
import resource
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.daemon import process
from mcpguard.daemon.app import Daemon
from mcpguard.system.journal import Journal
from mcpguard.system.policystore import PolicyStore
from tests.daemon.loops import run
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, alive, house, until

BOTH = pytest.mark.parametrize("loop", ["", "asyncio"])


def policy(*tools: str, mode: str = "enforce") -> str:
    return (
        f'version = 1\nmode = "{mode}"\nunpinned = "allow"\n\n[[rule]]\nid = "some"\nserver = "*"\n'
        f'tools = {json.dumps(tools)}\neffect = "allow"\n'
    )


@BOTH
def test_sockets_are_private(loop: str) -> None:
    with house(loop) as place:
        assert stat.S_IMODE(place.run_dir.stat().st_mode) == 0o700
        for name in ("run.sock", "admin.sock"):
            assert stat.S_IMODE((place.run_dir / name).stat().st_mode) == 0o600
        for path in place.state.rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


# --- policy ---------------------------------------------------------------------------------------------


@BOTH
def test_policy_holds_from_the_next_message_on(loop: str) -> None:
    with house(loop) as place:
        host = place.play().greet()
        tools = [tool["name"] for tool in host.ask("tools/list")["result"]["tools"]]
        assert {"echo", "note"} <= set(tools)
        hanging = host.calling("sleep", seconds=0.4)
        host.calling("note", n=1)
        place.policy(policy("echo", "sleep"))
        host.notices.clear()
        assert "result" in host.answer(hanging)  # running calls go on
        assert "Unknown tool" in host.call("note", n=2)["error"]["message"]
        changed = [n for n in host.notices if n.get("method") == "notifications/tools/list_changed"]
        assert len(changed) == 1
        assert [t["name"] for t in host.ask("tools/list")["result"]["tools"]] == ["echo", "sleep"]
        host.notices.clear()
        place.policy(policy("echo", "sleep", "tool-that-is-not-there"))
        assert "result" in host.call("echo")
        assert host.notices == []  # what the host sees is the same
        place.policy(policy("echo", mode="observe"))
        assert "result" in host.call("note", n=3)
        host.close_stdin()
        assert host.wait() == 0
        assert (host.home / "notes").read_text().split() in (["1", "3"], ["3"])


def test_policy_survives_a_restart_and_is_recorded() -> None:
    with house() as place:
        assert place.daemon
        place.policy(policy("echo"))
        digest = place.status()["policy"]["digest"]
        place.daemon.terminate()
        place.daemon.wait()
        place.serve()
        assert place.status()["policy"]["digest"] == digest
        host = place.play().greet()
        assert "error" in host.call("note", n=1)
        (applied,) = [record for record in place.records() if record["type"] == "policy"]
        assert applied["new"] == digest
        host.close_stdin()
        host.wait()
        assert not any("no policy is applied" in line for line in host.errors())


# --- the disk -------------------------------------------------------------------------------------------


@pytest.mark.root
@BOTH
def test_full_disk_denies_new_calls_lets_answers_pass_and_heals(loop: str) -> None:
    with House(loop) as place:
        place.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", place.state], check=True)
        place.serve()
        host = place.play().greet()
        slow = host.calling("sleep", seconds=0.8)
        ballast = place.state / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        for n in range(2000):  # until the room that was laid aside ahead of the records is used up
            host.calling("note", n=n)
            if "full" in str(place.status()["audit"]["failure"]):
                break
        else:
            raise AssertionError((host.home / "notes").read_text())
        assert "result" in host.answer(slow)
        log = place.state / "audit" / "audit-000001.jsonl"
        assert until(
            lambda: b'"tool":"sleep","status":"ok"' in log.read_bytes()
        )  # in the reserve, the disk being full
        for n in range(100):  # records that are shorter than the one that did not fit may still have room
            answer = host.call("note", n=f"while full {n}")["result"]
            if "isError" in answer:
                break
        assert answer["isError"] is True
        assert "the disk is full" in answer["content"][0]["text"]
        assert "mcpguard status" in answer["content"][0]["text"]
        assert "the disk is full" in place.mcpguard("status").stdout
        again = place.host("--", "true")
        again.send("initialize", {})
        assert "the disk is full" in json.loads(again.line())["error"]["message"]
        assert again.wait() == 125
        ballast.unlink()
        assert until(lambda: not place.status()["audit"]["failure"])
        assert "isError" not in host.call("note", n="after")["result"]
        assert f"while full {n}" not in (host.home / "notes").read_text()
        assert place.mcpguard("audit", "verify").returncode == 0
        host.close_stdin()
        assert host.wait() == 0


# --- hosts that do not behave ---------------------------------------------------------------------------


def test_host_that_begins_a_line_and_does_not_end_it_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House() as place:
        monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(place.run_dir))
        monkeypatch.setenv("MCPGUARD_STATE_DIR", str(place.state))

        async def story() -> None:
            place.run_dir.mkdir(mode=0o700)
            lock = process.take_lock(place.run_dir)
            store = PolicyStore(place.state / "policy")
            daemon = Daemon(Journal.open(place.state / "audit"), store, 1.0, line_seconds=0.5)
            serving = asyncio.get_running_loop().create_task(daemon.serve())
            await asyncio.to_thread(hosts)
            await serving  # idle after that
            os.close(lock)

        def hosts() -> None:
            assert until(place.answers)
            good, slow = place.play().greet(), place.play().greet()
            slow.write(b'{"jsonrpc":')
            assert slow.rest() == []
            assert slow.wait() in (0, 143)
            assert "mcpguard: the host began a message and did not end it" in slow.errors()
            assert "result" in good.call("echo")
            good.close_stdin()
            assert good.wait() == 0

        run(story)


def test_flood_from_a_server_to_a_host_that_does_not_read_costs_bounded_memory() -> None:
    with house() as place:
        other = place.play().greet()
        before = place.status()["memory"]["pss_bytes"]
        host = place.play("floods").greet()
        time.sleep(0.7)
        assert place.status()["memory"]["pss_bytes"] < before + (24 << 20)
        assert "result" in other.call("echo")
        flooding = host.server()
        ticks = lambda: int(Path(f"/proc/{flooding}/stat").read_text().split()[13])  # noqa: E731
        used = ticks()
        time.sleep(0.2)
        assert ticks() - used <= 2  # it is stopped, not served
        assert json.loads(host.line())["method"] == "notifications/message"
        host.process.terminate()
        assert host.wait() in (0, 143)


def test_flood_from_a_host_to_a_server_that_does_not_read_costs_bounded_memory() -> None:
    with house() as place:
        before = place.status()["memory"]["pss_bytes"]
        host = place.play("never-reads")
        host.server()
        assert host.fill() < 16 << 20
        assert place.status()["memory"]["pss_bytes"] < before + (24 << 20)
        host.process.kill()
        assert until(lambda: not alive(host.marker), 2)


def test_stopped_daemon_stalls_everything_and_loses_nothing() -> None:
    with house() as place:
        assert place.daemon
        host = place.play().greet()
        place.daemon.send_signal(19)
        idents = [host.calling("echo", n=n) for n in range(20)]
        with pytest.raises(AssertionError, match="nothing came"):
            host.line(0.2)
        place.daemon.send_signal(18)
        assert [host.answer(ident)["id"] for ident in idents] == idents
        host.process.send_signal(19)  # the shim is not on the path
        assert "result" in host.call("echo")
        host.process.send_signal(18)
        os.kill(host.server(), 19)
        late = host.calling("echo", n=99)
        os.kill(host.server(), 18)
        assert "result" in host.answer(late)
        host.close_stdin()
        assert host.wait() == 0


@BOTH
def test_running_out_of_descriptors_does_not_spin_and_heals(loop: str) -> None:
    with house(loop) as place:
        assert place.daemon
        host = place.play().greet()
        now = place.descriptors()
        subprocess.run(["prlimit", f"--pid={place.daemon.pid}", f"--nofile={now}:"], check=True)
        waiting = [place.connect("run.sock") for _ in range(3)]

        def used() -> int:
            fields = Path(f"/proc/{place.daemon.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
            return int(fields[11]) + int(fields[12])

        before = used()
        time.sleep(0.5)
        assert used() - before < 15  # hundredths of a second
        assert "result" in host.call("echo")
        subprocess.run(["prlimit", f"--pid={place.daemon.pid}", "--nofile=4096:"], check=True)
        for sock in waiting:
            assert sock.recv(100).startswith((b"mcpguard 1 ", b"refuse 125 "))
            sock.close()
        assert "result" in place.play().greet().call("echo")
        host.close_stdin()
        assert host.wait() == 0


def test_connection_that_is_being_admitted_when_the_daemon_stops_is_told() -> None:
    with house() as place:
        assert place.daemon
        with place.connect("run.sock") as sock:
            assert sock.recv(1000).startswith(b"mcpguard")
            place.daemon.terminate()
            time.sleep(0.1)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1000).startswith(b"refuse 5 the shim is gone")
        assert place.daemon.wait(10) == 0


def test_server_inherits_nothing_of_the_daemon() -> None:
    code = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getcwd(), sorted(os.environ))"
    with house() as place:
        host = Host([*MCPGUARD, "run", "--", PYTHON, "-I", "-S", "-c", f"import sys; sys.stdout = sys.stderr\n{code}"],
                    {**place.env, "ONLY": "1"}, cwd="/")  # fmt: skip
        place.hosts.append(host)
        assert host.wait() == 0
        (said,) = [line for line in host.errors() if not line.startswith("mcpguard: ")]
        assert said.startswith("['0', '1', '2'] / [")
        assert "MCPGUARD" not in said
        assert "'ONLY'" in said


def test_session_more_than_open_files_allow_is_refused_and_says_why() -> None:
    most = limits.RESERVED_DESCRIPTORS + 2 * limits.SESSION_DESCRIPTORS - 1
    with House() as place:
        place.serve(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
        first = place.play().greet()
        second = place.play()
        second.send("initialize", {})
        assert second.wait() == 125
        assert "1 servers run already, the limit of open files allows no more" in second.errors()[-1]
        assert "result" in first.call("echo")
