"""Everything that can be wrong before, around and inside a connection: one sentence, the right code, no hang."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard.daemon.process import take_lock
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, alive, house, until

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}}


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with house() as made:
        yield made


def refused(host: Host, code: int, words: str) -> str:
    """The host sees the code, one sentence on stderr, and the same one as the answer to its first request."""
    ident = host.send("initialize", HELLO)
    answer = json.loads(host.line())
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert answer["id"] == ident
    assert host.line() == b""
    assert host.wait() == code
    (sentence,) = host.errors()
    assert sentence.startswith("mcpguard: ")
    assert words in sentence
    assert answer["error"]["message"] == sentence
    assert answer["error"]["code"] == 40301
    return sentence


# --- the command ----------------------------------------------------------------------------------------


def test_command_not_found(place: House) -> None:
    refused(place.host("--", "no-such-command-anywhere", "x"), 127, "not found in the server's PATH")


def test_command_is_not_executable(place: House, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    refused(place.host("--", str(tmp_path / "tool")), 126, "may not be executed")


def test_command_is_a_directory(place: House, tmp_path: Path) -> None:
    refused(place.host("--", str(tmp_path)), 126, "may not be executed")


def test_command_is_empty(place: House) -> None:
    host = place.host("--", "")
    assert host.wait() == 2
    assert host.errors() == ["mcpguard: which server? see: mcpguard run --help"]


def test_working_directory_is_gone(place: House, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    run = f"rmdir {gone}; exec {' '.join(MCPGUARD)} run -- true"
    host = Host(["/bin/sh", "-c", run], place.env, cwd=gone)
    place.hosts.append(host)
    refused(host, 125, "the working directory is gone")


def test_working_directory_with_strange_bytes_is_where_the_server_runs(place: House, tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/a\x1b[31m\n\xff \xe2\x80\xae"
    os.mkdir(strange)
    host = place.play(cwd=strange).greet()
    where = json.loads(host.call("where")["result"]["content"][0]["text"])
    assert os.fsencode(where["cwd"]) == strange
    host.close_stdin()
    assert host.wait() == 0


def test_name_of_a_server_that_is_not_registered(place: House) -> None:
    refused(
        place.host("files"), 125, "no server is registered as 'files': register it: mcpguard server add files"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "which server?"),
        (["--"], "which server?"),
        (["--frob", "x"], "unknown option --frob"),
        (["--name"], "--name needs a value"),
        (["--connect"], "--connect needs a value"),
        (["--connect", "/x", "y"], "put -- before"),
        (["npx", "-y", "server"], "unknown option -y"),
        (["npx", "server"], "put -- before the server's command"),
        (["--connect", "/x", "--", "cat"], "put -- before"),
        (["name", "--", "cat"], "put -- before"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(place: House, words: list[str], sentence: str) -> None:
    host = place.host(*words)
    assert host.wait() == 2
    assert sentence in host.errors()[0]
    assert host.line() == b""


@pytest.mark.parametrize("name", ["a\nb", "x" * 129, "\x1b[31m"])
def test_name_that_is_no_name(place: House, name: str) -> None:
    refused(place.host("--name", name, "--", "true"), 125, "the name of a server is short printable text")


# --- the server -----------------------------------------------------------------------------------------


def script(place: House, code: str) -> Host:
    return place.host("--", PYTHON, "-I", "-S", "-c", code)


def test_server_dies_before_its_first_answer(place: House) -> None:
    host = script(place, "import sys; sys.stdin.readline(); sys.exit(9)")
    ident = host.send("initialize", HELLO)
    assert [answer["id"] for answer in host.rest() if "error" in answer] == [ident]
    assert host.wait() == 9


def test_server_exits_at_once(place: House) -> None:
    host = place.host("--", "false")
    host.close_stdin()
    assert host.rest() == []
    assert host.wait() == 1


def test_server_dies_with_calls_pending(place: House) -> None:
    host = place.play().greet()
    pending = [host.calling("hang") for _ in range(5)]
    last = host.calling("exit", code=4)
    answers = host.rest()
    assert [answer["id"] for answer in answers] == [*pending, last]
    assert {answer["error"]["code"] for answer in answers} == {50202}
    assert host.wait() == 4


def test_server_that_prints_garbage_is_not_in_the_way(place: House) -> None:
    code = (
        "import sys, json\n"
        "print('Starting up...', flush=True)\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe\\x00 not utf-8\\n\\x1b[2J\\n{half\\n'); sys.stdout.flush()\n"
        "for line in sys.stdin:\n"
        "    r = json.loads(line)\n"
        "    print('debug: got', r['method'], flush=True)\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': r['id'], 'result': {'protocolVersion': '2025-11-25',"
        " 'capabilities': {}, 'serverInfo': {'name': 'x', 'version': '1'}}}), flush=True)\n"
    )
    host = script(place, code)
    assert host.ask("initialize", HELLO)["result"]["protocolVersion"] == "2025-11-25"
    host.close_stdin()
    assert host.rest() == []
    assert host.wait() == 0


def test_server_that_prints_only_garbage_is_ended_and_the_host_is_told(place: House) -> None:
    host = script(place, "import time\nwhile 1: print('{' * 10, flush=True); time.sleep(0.001)")
    ident = host.send("initialize", HELLO)
    assert [answer["id"] for answer in host.rest()] == [ident]
    assert host.wait() in (1, 120, 143)  # a traceback, a flush that failed at its exit, or our SIGTERM
    assert any("keeps printing lines that are not MCP messages" in line for line in host.errors())


@pytest.mark.parametrize(
    "result",
    [
        {"protocolVersion": "2026-07-28", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}},
        {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}},
    ],
)
def test_server_that_answers_in_another_era_is_not_believed(place: House, result: dict[str, object]) -> None:
    code = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        f"    print(json.dumps({{'jsonrpc': '2.0', 'id': json.loads(line)['id'], 'result': {result!r}}}), flush=True)\n"
    )
    host = script(place, code)
    assert "revision that mcpguard does not know" in host.ask("initialize", HELLO)["error"]["message"]
    assert "error" in host.ask("tools/list")
    host.close_stdin()
    assert host.wait() == 0


def test_server_never_answers_and_the_host_leaves(place: House) -> None:
    host = place.play().greet()
    pending = host.calling("hang")
    host.close_stdin()
    (answer,) = host.rest()
    assert answer["id"] == pending
    assert answer["error"]["code"] == 50202
    assert host.wait() == 0
    assert until(lambda: not alive(host.marker), 2)


def test_first_line_that_is_garbage_gets_no_invented_answer(place: House) -> None:
    for line in (
        b"\n",
        b"{}\n",
        b"[1]\n",
        b'{"jsonrpc":"2.0","method":"x"}\n',
        b'{"id":1,"result":{}}\n',
        b'"' * 9,
    ):
        host = place.host("--", "no-such-command-anywhere")
        host.write(line)
        host.close_stdin()
        assert host.line() == b""
        assert host.wait() == 127


@pytest.mark.parametrize(
    ("ident", "shown"),
    [("7", 7), ('"7"', "7"), ('"\\u2028\\ud83d\\ude00"', "\u2028\U0001f600"), ("-3", -3)],
)
def test_refusal_carries_the_id_as_it_was(place: House, ident: str, shown: object) -> None:
    host = place.host("--", "no-such-command-anywhere")
    host.write(b'{"params":{"id":5},"method":"server/discover","id":%b,"jsonrpc":"2.0"}\n' % ident.encode())
    assert json.loads(host.line())["id"] == shown
    assert host.wait() == 127


@pytest.mark.parametrize("ident", ["null", "true", "1.5", "[1]", "{}", "1" * 5000])
def test_refusal_answers_no_id_that_is_none(place: House, ident: str) -> None:
    host = place.host("--", "no-such-command-anywhere")
    host.write(b'{"jsonrpc":"2.0","method":"initialize","id":%b}\n' % ident.encode())
    assert host.line() == b""
    assert host.wait() == 127


def test_refusal_survives_a_first_line_nested_without_end(place: House) -> None:
    host = place.host("--", "no-such-command-anywhere")
    host.write(b"[" * 200_000 + b"\n")
    assert host.line() == b""
    assert host.wait() == 127
    assert len(host.errors()) == 1


# --- the daemon -----------------------------------------------------------------------------------------


def test_runtime_directory_that_cannot_be_made(place: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": f"{tmp_path}/file/run"})
    refused(host, 125, f"cannot reach the mcpguard daemon at {tmp_path}/file/run/run.sock: Not a directory")
    host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": "/proc/run"})
    refused(host, 125, "cannot make /proc/run: No such file or directory; set MCPGUARD_RUNTIME_DIR")


def test_runtime_directory_whose_path_is_too_long(place: House) -> None:
    host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": "/tmp/" + "x" * 200})
    refused(host, 125, "is too long; set MCPGUARD_RUNTIME_DIR to a shorter directory")


def test_runtime_directory_that_others_may_write_is_refused_at_once(place: House, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": f"{tmp_path}/open/run"})
    refused(
        host, 125, f"the mcpguard daemon does not start ({tmp_path}/open is writable by others: chmod go-w"
    )


def test_file_in_the_place_of_the_socket(place: House, tmp_path: Path) -> None:
    (tmp_path / "run.sock").write_text("precious")
    host = place.host(
        "--", "true", env={"MCPGUARD_RUNTIME_DIR": str(tmp_path), "MCPGUARD_STATE_DIR": f"{tmp_path}/state"}
    )
    refused(host, 125, "run.sock is not a socket of ours: remove it, then try again")
    assert (tmp_path / "run.sock").read_text() == "precious"


def test_damaged_policy_keeps_the_daemon_from_starting_and_says_so() -> None:
    with House() as other:
        (other.state / "policy").mkdir(parents=True, mode=0o700)
        (other.state / "policy" / "active.toml").write_text("version = 1\n")
        os.chmod(other.state / "policy" / "active.toml", 0o600)
        refused(other.host("--", "true"), 125, "the applied policy is damaged")


def test_something_else_listens_in_the_place_of_the_daemon(place: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run.sock"))
        listener.listen()
        lock = take_lock(tmp_path)  # it holds even that
        for said, words in ((b"220 ready\n", "is not the mcpguard daemon"), (b"", "does not answer")):
            answering = threading.Thread(target=answer, args=(listener, said, 3 if not said else 1))
            answering.start()
            refused(place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": str(tmp_path)}), 125, words)
            answering.join()
        os.close(lock)


def answer(listener: socket.socket, said: bytes, times: int) -> None:
    for _ in range(times):
        sock, _ = listener.accept()
        with sock:
            sock.sendall(said)


@pytest.mark.parametrize("wire", ["1 9.9.9", "2 0.1.0"])
def test_daemon_of_another_version(place: House, tmp_path: Path, wire: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run.sock"))
        listener.listen()
        lock = take_lock(tmp_path)  # it holds even that
        answering = threading.Thread(target=answer, args=(listener, f"mcpguard {wire} abc\n".encode(), 1))
        answering.start()
        host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": str(tmp_path)})
        assert "end it with: mcpguard daemon stop" in refused(host, 125, "the running daemon is mcpguard")
        answering.join()
        os.close(lock)


def test_daemon_that_goes_away_in_the_handshake(place: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run.sock"))
        listener.listen()
        lock = take_lock(tmp_path)  # it holds even that
        words = subprocess.run(
            [*MCPGUARD, "version"], capture_output=True, text=True, check=True
        ).stdout.split()
        said = f"mcpguard 1 {words[1]} abc\n".encode()
        answering = threading.Thread(target=answer, args=(listener, said, 1))
        answering.start()
        host = place.host("--", "true", env={"MCPGUARD_RUNTIME_DIR": str(tmp_path)})
        refused(host, 125, "the mcpguard daemon went away before the server was started")
        answering.join()
        os.close(lock)


# --- the host's own descriptors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "words"),
    [
        ("<&-", "stdin is neither a pipe nor a socket"),
        ("</dev/null", "stdin is neither a pipe nor a socket"),
        (">/dev/null", "stdout is neither a pipe nor a socket"),
        (">&-", "stdout is neither a pipe nor a socket"),
    ],
)
def test_host_without_stdin_or_stdout(place: House, closed: str, words: str) -> None:
    told = subprocess.run(
        ["/bin/sh", "-c", f"exec {' '.join(MCPGUARD)} run -- cat {closed}"],
        env=place.env, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert told.returncode == 5
    assert told.stdout == ""
    assert words in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_host_that_closed_stderr_is_served(place: House) -> None:
    told = subprocess.run(
        ["/bin/sh", "-c", f"exec {' '.join(MCPGUARD)} run -- true 2>&-"],
        env=place.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, timeout=20, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (0, b"")


def test_host_that_closed_stderr_is_still_told(place: House) -> None:
    host = Host(
        ["/bin/sh", "-c", f"exec {' '.join(MCPGUARD)} run -- no-such-command-anywhere 2>&-"], place.env
    )
    place.hosts.append(host)
    host.send("initialize", HELLO)
    assert "not found" in json.loads(host.line())["error"]["message"]
    assert host.wait() == 127


def test_person_at_a_terminal_is_told_at_once_what_run_is_for(place: House) -> None:
    controller, terminal = os.openpty()
    try:
        shim = subprocess.Popen(
            [*MCPGUARD, "run", "--", "cat"], env=place.env, stdin=terminal, stderr=subprocess.PIPE
        )
        _, told = shim.communicate(timeout=1.5)
    finally:
        os.close(controller)
        os.close(terminal)
    assert shim.returncode == 5
    assert b"stdin is a terminal: mcpguard run is started by an agent host" in told


# --- --connect ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(path: Path) -> Iterator[list[bytes]]:
    """A server that listens on a socket and answers every request with its method; what it heard."""
    heard: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        with sock, sock.makefile("rwb") as file:
            for line in file:
                heard.append(line)
                request = json.loads(line)
                result = {**HELLO, "serverInfo": {"name": "x", "version": "1"}}
                file.write(
                    json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\n"
                )
                file.flush()
        heard.append(b"")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", ["s.sock", "\udcff \u2028.sock"])
def test_connect_reaches_a_server_that_listens(place: House, tmp_path: Path, name: str) -> None:
    with listening(tmp_path / name) as heard:
        host = place.host("--connect", name, cwd=tmp_path)
        assert "result" in host.ask("initialize", HELLO)
        host.close_stdin()
        assert host.rest() == []
        assert host.wait() == 0
    assert len(heard) == 2
    assert heard[-1] == b""


def test_connect_to_a_missing_socket(place: House, tmp_path: Path) -> None:
    refused(place.host("--connect", str(tmp_path / "none")), 127, "start the server first")


def test_connect_to_a_socket_nobody_listens_on(place: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    refused(place.host("--connect", str(tmp_path / "dead")), 126, "is the server running?")


def test_connect_to_a_path_that_is_too_long(place: House, tmp_path: Path) -> None:
    refused(place.host("--connect", "/tmp/" + "x" * 200), 126, "cannot connect")


@pytest.mark.root
def test_connect_to_a_socket_of_another_user(place: House, tmp_path: Path) -> None:
    code = (
        "import os, socket, sys, time\n"
        "os.setgid(65533); os.setuid(65533)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); os.chmod(sys.argv[1], 0o777)\n"
        "print(flush=True); time.sleep(60)\n"
    )
    tmp_path.chmod(0o777)
    for above in tmp_path.parents[:-1]:
        above.chmod(above.stat().st_mode | 0o011)
    path = str(tmp_path / "theirs")
    with subprocess.Popen([sys.executable, "-I", "-c", code, path], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        refused(place.host("--connect", path), 126, "belongs to uid 65533, not to you")
        other.kill()
