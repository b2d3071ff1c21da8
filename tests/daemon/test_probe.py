"""Probing: real servers in both eras, and servers that do everything wrong; nothing is left of any."""

import asyncio
import json
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.cli import demo_server
from mcpguard.daemon.probe import probe, probe_now
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import UpstreamError
from mcpguard.model import Era

ROOT = Path(__file__).parents[2]
TOOL = {"name": "t", "inputSchema": {"type": "object"}}
# Answers by a table of methods; a value is a result, or text that is printed as it is.
SERVER = """
import json, os, sys, time
answers = json.loads(sys.argv[1])
before = json.loads(sys.argv[2]) if len(sys.argv) > 2 else []
for line in before:
    print(line, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request or "method" not in request:
        continue
    found = answers.get(request["method"])
    if isinstance(found, list):
        found = found.pop(0) if len(found) > 1 else found[0]
    if found is None:
        body = {"error": {"code": -32601, "message": "no such method"}}
    else:
        body = {"result": found}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **body}), flush=True)
"""
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "acme", "version": "3"},
}


@pytest.fixture
def ask(tmp_path):
    """Probe a server that answers from a table."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)

    def probed(answers, before=(), **options):
        argv = [sys.executable, "-I", str(script), json.dumps(answers), json.dumps(before)]
        return probe_now(argv, environ={}, **{"patience": 10.0, **options})

    return probed


@pytest.fixture
def run(tmp_path):
    """Probe a server that is this program."""

    def probed(program, **options):
        script = tmp_path / "server.py"
        script.write_text(textwrap.dedent(program))
        options = {"environ": {}, "patience": 5.0, **options}
        return probe_now([sys.executable, "-I", str(script)], **options)

    return probed


def test_legacy_server_is_asked_and_its_silence_in_the_other_era_is_told(ask):
    probed = ask({"initialize": {**HELLO, "instructions": "Be kind."}, "tools/list": {"tools": [TOOL]}})
    assert [answers.era for answers in probed.answers] == [Era.LEGACY]
    assert probed.silent == {"modern": "server/discover is answered with an error: 'no such method'"}
    assert probed.definitions.tools == {"t": TOOL}
    assert (probed.name, probed.answers[0].release, probed.definitions.instructions) == (
        "acme",
        "3",
        "Be kind.",
    )


def test_modern_server_is_asked(ask):
    found = {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "1"}},
    }
    probed = ask({"server/discover": found, "tools/list": {"tools": [TOOL]}})
    assert [(answers.era, answers.name) for answers in probed.answers] == [(Era.MODERN, "new")]
    assert probed.definitions.tools == {"t": TOOL}


def test_demo_server_is_what_it_says(tmp_path):
    argv = [sys.executable, "-I", demo_server.__file__, str(tmp_path)]
    probed = probe_now(argv, environ={}, patience=10.0)
    assert list(probed.definitions.tools) == ["list_directory", "read_file", "delete_file"]


def test_real_sdk_server_says_the_same_in_both_eras():
    pytest.importorskip("mcp", reason="the SDK is not installed")
    server = str(ROOT / "tests" / "interop" / "servers" / "python_server.py")
    steps = []
    probed = probe_now([sys.executable, server], environ=os.environb, tell=steps.append)
    assert [answers.era for answers in probed.answers] == [Era.LEGACY, Era.MODERN]
    assert steps == ["asking it in the legacy era", "asking it in the modern era"]
    assert probed.findings == ()
    assert len(probed.definitions.tools) > 20
    assert list(probed.definitions.resource_templates)
    assert "umlaut: ä" in probed.definitions.instructions


def test_pages_are_read_to_the_end_and_an_empty_cursor_goes_on(ask):
    pages = [
        {"tools": [TOOL], "nextCursor": ""},
        {"tools": [{**TOOL, "name": "u"}], "nextCursor": "x"},
        {"tools": [{**TOOL, "name": "v"}]},
    ]
    assert list(ask({"initialize": HELLO, "tools/list": pages}).definitions.tools) == ["t", "u", "v"]


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"tools": [TOOL], "nextCursor": "again"}, "more than 64 pages"),
        ({"tools": [TOOL], "nextCursor": 5}, "a cursor that is none"),
        ({"tools": [TOOL], "nextCursor": "x" * 5000}, "a cursor that is none"),
        ({"tools": {}}, "without tools"),
        ({"tools": [TOOL] * 257}, "more than 256 entries"),
    ],
)
def test_list_without_end_or_form_is_refused(ask, listed, words):
    with pytest.raises(UpstreamError, match=words):
        ask({"initialize": HELLO, "tools/list": listed})


def test_method_that_was_promised_and_is_not_there_is_a_finding(ask):
    probed = ask({"initialize": HELLO})
    assert probed.findings == ("tools/list is answered with an error: 'no such method'",)


def test_stray_prints_are_borne_and_told(ask):
    probed = ask({"initialize": HELLO, "tools/list": {"tools": []}}, ["hello", "{'a'", "[]"])
    assert "it prints text on stdout that is not a message" in probed.findings
    assert any("refused" in finding for finding in probed.findings)


def test_duplicate_key_in_an_answer_is_no_answer(run):
    with pytest.raises(UpstreamError, match="the same key twice"):
        run(
            """
            import sys
            for line in sys.stdin:
                print('{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"capabilities":{}}}', flush=True)
            """,
            patience=1.0,
        )


def test_requests_of_the_server_are_answered_and_remembered(run):
    probed = run(
        """
        import json, sys
        def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
        heard = []
        for line in sys.stdin:
            message = json.loads(line)
            method = message.get("method")
            if method == "initialize":
                for ident, asked in enumerate(["ping", "roots/list", "sampling/createMessage"]):
                    say(id=ident, method=asked, params={})
                    heard.append(json.loads(sys.stdin.readline()))
                say(id=message["id"], result={"capabilities": {}, "instructions": json.dumps(heard)})
            elif "id" in message:
                say(id=message["id"], error={"code": -32601, "message": "no"})
        """
    )
    assert probed.requests == ("ping", "roots/list", "sampling/createMessage")
    ping, roots, sampling = json.loads(probed.definitions.instructions)
    assert (ping["result"], roots["result"]) == ({}, {"roots": []})
    assert "error" in sampling


CHANGING = """
    import json, sys
    def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
    times = 0
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if method == "initialize":
            say(id=message["id"], result={"capabilities": {"tools": {"listChanged": True}}})
        elif method == "tools/list":
            times += 1
            tools = [{"name": f"t{n}", "inputSchema": {}} for n in range(times)]
            say(id=message["id"], result={"tools": tools})
            if times < LAST:
                say(method="notifications/tools/list_changed")
        elif "id" in message:
            say(id=message["id"], error={"code": -32601, "message": "no"})
"""


def test_tools_added_after_the_handshake_are_seen(run):
    assert list(run(CHANGING.replace("LAST", "3")).definitions.tools) == ["t0", "t1", "t2"]


def test_lists_that_never_rest_are_told(run):
    probed = run(CHANGING.replace("LAST", "99"))
    assert "change again and again" in probed.findings[0]


def test_flood_ends_the_probe(run):
    with pytest.raises(UpstreamError, match="lines that nobody asked for"):
        run(
            """
            import json, sys
            sys.stdin.readline()
            while True:
                print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message"}), flush=True)
            """
        )


def test_flood_of_large_messages_ends_the_probe(run):
    with pytest.raises(UpstreamError, match="more than 32 MiB"):
        run(
            """
            import json, sys
            sys.stdin.readline()
            line = json.dumps({"jsonrpc": "2.0", "method": "x", "params": {"text": "x" * 1_000_000}})
            for _ in range(200): print(line, flush=True)
            sys.stdin.read()
            """
        )


def test_line_without_end_is_not_kept(run):
    with pytest.raises(UpstreamError, match="a line is longer than"):
        run("import os\nwhile True: os.write(1, b'x' * 65536)")


def test_silent_server_is_given_up(run):
    begun = time.monotonic()
    with pytest.raises(UpstreamError, match="does not answer in time"):
        run("import time; time.sleep(60)", patience=0.2)
    assert time.monotonic() - begun < 20


def test_error_repeats_what_the_server_complained_of_last(run):
    with pytest.raises(UpstreamError) as caught:
        run(
            """
            import sys
            for n in range(100): print("line", n, file=sys.stderr)
            print("ACME_TOKEN is missing", "\\x1b[31m", file=sys.stderr)
            """
        )
    assert "ACME_TOKEN is missing" in caught.value.message
    assert "line 98" in caught.value.message
    assert "line 50" not in caught.value.message
    assert "--pass" in caught.value.hint


def test_command_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(UpstreamError, match="not found"):
        probe_now(["nonesuch"], environ={b"PATH": b"/usr/bin"})
    with pytest.raises(UpstreamError, match="NUL"):
        probe_now(["/bin/cat", "a\0b"], environ={})


SHOWS_ENVIRONMENT = """
    import json, os, sys
    def answer(line):
        message = json.loads(line)
        shown = json.dumps({"env": dict(os.environ), "cwd": os.getcwd()})
        result = {"capabilities": {}, "instructions": shown}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    answer(sys.stdin.readline())
    sys.stdin.read()
"""


def test_server_gets_nothing_of_ours_but_what_is_named(run, tmp_path):
    environ = {
        b"PATH": b"/usr/bin", b"HOME": b"/home/me", b"TOKEN": b"secret", b"EDITOR": b"vi",
        b"LD_PRELOAD": b"/nonesuch.so", b"MCPGUARD_STATE_DIR": b"/x", b"LANG": b"C.UTF-8",
    }  # fmt: skip
    probed = run(
        SHOWS_ENVIRONMENT, environ=environ, passed=["EDITOR", "MCPGUARD_STATE_DIR"], fixed={"MODE": "1"}
    )
    shown = json.loads(probed.definitions.instructions)
    env = shown["env"]
    env.pop("LC_CTYPE", None)  # Python's own
    assert set(env) == {"PATH", "HOME", "TMPDIR", "EDITOR", "MODE", "LANG"}
    assert env["HOME"] != "/home/me"
    assert (env["EDITOR"], env["MODE"]) == ("vi", "1")
    for place in (env["HOME"], env["TMPDIR"], shown["cwd"]):
        assert "mcpguard-probe-" in place
        assert not Path(place).exists()


def test_own_home_and_directory_are_given_when_they_are_named(run, tmp_path):
    probed = run(SHOWS_ENVIRONMENT, environ={b"HOME": b"/home/me"}, passed=["HOME"], cwd=str(tmp_path))
    shown = json.loads(probed.definitions.instructions)
    assert shown["env"]["HOME"] == "/home/me"
    assert shown["cwd"] == str(tmp_path)


DETACHED = """
    import json, os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(sys.argv[0] + ".pid." + str(os.getpid()), "w").close()
            time.sleep(300)
        os._exit(0)
    os.wait()
    line = json.loads(sys.stdin.readline())
    print(json.dumps({"jsonrpc": "2.0", "id": line["id"], "result": {"capabilities": {}}}), flush=True)
    time.sleep(300)
"""


def test_nothing_of_the_server_is_left(run, tmp_path):
    run(DETACHED)
    found = [int(path.name.rpartition(".")[2]) for path in tmp_path.glob("*.pid.*")]
    assert found
    assert not [pid for pid in found if Path(f"/proc/{pid}").exists()]


def test_interrupted_probe_leaves_nothing_either(run, tmp_path):
    script = tmp_path / "server.py"
    script.write_text(
        textwrap.dedent(DETACHED.replace("sys.stdin.readline()", '"{}"').replace('line["id"]', "0"))
    )

    async def story():
        task = spawn_task(probe([sys.executable, str(script)], [], str(tmp_path)), name="probe")
        while not list(tmp_path.glob("*.pid.*")):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(story(), 30))
    found = [int(path.name.rpartition(".")[2]) for path in tmp_path.glob("*.pid.*")]
    assert not [pid for pid in found if Path(f"/proc/{pid}").exists()]


def test_bounds_are_those_that_are_documented():
    assert limits.PROBE_BYTES > limits.LINE_BYTES
    assert limits.PROBE_MODERN_SECONDS <= limits.PROBE_START_SECONDS
