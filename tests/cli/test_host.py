"""`mcpguard host` as a person sees it: what is shown, what is asked, and what the exit code says."""

import hashlib
import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from mcpguard.cli.host import Desk, host
from mcpguard.daemon.enrolments import Enrolments, connected
from mcpguard.errors import DaemonError
from mcpguard.identity.facts import Appraisal, FileFacts, HostFacts, PeerFacts, Program
from mcpguard.model import Grade
from mcpguard.system.hostsfile import HostsFile
from tests.cli.homes import put, servers

A, B, C = "a" * 64, "b" * 64, "c" * 64
CLAUDE = HostFacts(
    shim=PeerFacts(5, 1000, 1000, pinned=True),
    pid=77,
    uid=1000,
    name="claude",
    stdin="socket",
    holds_both=True,
    is_parent=True,
    pinned=True,
    alone=True,
    program=Program.NATIVE,
    executable=FileFacts(
        "/home/u/.local/share/claude/versions/2.1.328", 1, 2, 3, owner=1000, writable=True, digest=A
    ),
    unit="app-x.scope",
)
CHANGED = FileFacts(
    "/home/u/.local/share/claude/versions/2.1.329", 1, 9, 3, owner=1000, writable=True, digest=B
)
UPDATED = msgspec.structs.replace(CLAUDE, pid=88, executable=CHANGED)
GEMINI = msgspec.structs.replace(
    CLAUDE,
    pid=99,
    name="MainThread",
    program=Program.INTERPRETER,
    executable=FileFacts("/usr/bin/node", 1, 5, 3, owner=0, writable=False, digest=B),
    script=FileFacts("/home/u/gemini.js", 1, 6, 3, owner=1000, writable=True, digest=C),
)


class SimulatedDaemon:
    """A daemon in memory with the real list of enrolled hosts; its connections are made up."""

    def __init__(self, directory):
        self.enrolments = Enrolments(HostsFile(directory))
        self.hosts = []
        self.running = True
        self.asked = []
        self.on_update = "ask"
        self.appraisal = Appraisal(Grade.G2, ("its user can write to the executable",))

    def ensure(self):
        self.running = True

    def request(self, message):
        if not self.running:
            raise DaemonError("the mcpguard daemon is not running", hint="the first mcpguard run starts it")
        self.asked.append(message)
        return json.loads(msgspec.json.encode({"v": 1, "ok": True, **self.answer(message)}))

    def answer(self, message):
        if message["verb"] == "host-trust":
            return self.enrolments.trust(message["text"], message["name"])
        if message["verb"] == "host-forget":
            return self.enrolments.forget(message["name"])
        return {
            "enrolled": self.enrolments.described(),
            "connected": [self.tell(*host) for host in self.hosts],
        }

    def tell(self, ident, server, facts):
        return connected(
            ident, server, facts, self.appraisal, self.enrolments.recognise(facts, self.on_update)
        )


class Terminal:
    def __init__(self, daemon):
        self.daemon = daemon

    def run(self, *args, typed=None):
        desk = Desk(self.daemon.request, self.daemon.ensure, lambda: 1795341600.0)
        return CliRunner().invoke(host, args, obj=desk, input=typed)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of nobody, and a PATH without hosts."""
    for name in (
        "XDG_CONFIG_HOME",
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "CLINE_DIR",
        "COPILOT_HOME",
        "KIMI_CODE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "home"


@pytest.fixture
def daemon(tmp_path):
    return SimulatedDaemon(tmp_path / "hosts")


@pytest.fixture
def terminal(daemon):
    return Terminal(daemon)


def names(daemon):
    return [entry["name"] for entry in daemon.enrolments.described()]


# --- trust ----------------------------------------------------------------------------------------------


def test_trust_shows_what_the_kernel_says_asks_once_and_enrols(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE), ("c2", "git", CLAUDE)]
    result = terminal.run("trust", typed="y\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "process  pid 77 of uid 1000, which calls itself claude",
        "likely   Claude Code, by its path",
        "program  /home/u/.local/share/claude/versions/2.1.328",
        "  owner  uid 1000; others than root can replace it",
        f"  sha256 {A}",
        "stdio    socket, both ends in one process, the direct parent",
        "unit     app-x.scope",
        "label    none",
        "grade    G2",
        "because  its user can write to the executable",
        "uses     files (c1), git (c2)",
        "it will be known by the path /home/u/.local/share/claude/versions/*, owner uid 1000, its digest",
        "Trust this program as host:claude-code? [y/N]: y",
        'trusted: policy can say who = ["host:claude-code"]',
        "connections that it has now are as they were; its next ones are recognised",
    ]
    assert daemon.enrolments.recognise(CLAUDE, "ask").name == "claude-code"
    assert daemon.enrolments.described()[0]["enrolled_at"] == "2026-11-22T10:00:00Z"


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_a_no_changes_nothing(daemon, terminal, typed):
    daemon.hosts = [("c1", "files", CLAUDE)]
    result = terminal.run("trust", "me", typed=typed)
    assert result.exit_code == 1
    assert result.stdout.endswith("nothing was changed\n")
    assert names(daemon) == []


def test_silence_is_no_answer(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    assert terminal.run("trust", "me", typed="").exit_code == 1
    assert names(daemon) == []


def test_yes_asks_nothing_and_a_name_is_taken(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    result = terminal.run("trust", "my-claude", "--yes", "--unit", "app-*.scope")
    assert result.exit_code == 0
    assert "[y/N]" not in result.stdout
    assert "the unit app-*.scope" in result.stdout
    assert [(entry["name"], entry["unit"]) for entry in daemon.enrolments.described()] == [
        ("my-claude", "app-*.scope")
    ]


def test_an_updated_host_shows_both_digests_under_its_name(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "mine", "--yes")
    daemon.hosts = [("c1", "files", UPDATED)]
    result = terminal.run("trust", typed="y\n")
    assert result.exit_code == 0
    assert (
        "mine is trusted since 2026-11-22T10:00:00Z\n"
        f"program  changed\n  old    {A}\n  new    {B}\n"
        "Trust this program as host:mine?"
    ) in result.stdout
    assert "note     host mine is not recognised: its executable changed" in result.stdout
    assert daemon.enrolments.recognise(UPDATED, "ask").name == "mine"
    daemon.hosts = [("c1", "files", CLAUDE)]
    assert f"  new    {A}  (it had this one before)" in terminal.run("trust", typed="n\n").stdout


def test_a_host_behind_an_interpreter_is_shown_with_its_script(daemon, terminal):
    daemon.hosts = [("c1", "files", GEMINI)]
    result = terminal.run("trust", "--yes")
    assert result.exit_code == 0
    assert "script   /home/u/gemini.js\n  owner  uid 1000; others than root can replace it\n" in result.stdout
    assert "with its digest, which is weak evidence" in result.stdout
    assert names(daemon) == ["gemini"]
    daemon.hosts = [
        (
            "c1",
            "files",
            msgspec.structs.replace(GEMINI, script=msgspec.structs.replace(GEMINI.script, digest=A)),
        )
    ]
    result = terminal.run("trust", "--yes")
    assert f"program  as it was\nscript   changed\n  old    {C}\n  new    {A}\n" in result.stdout


def test_of_several_hosts_one_is_asked_for(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE), ("c2", "git", GEMINI)]
    result = terminal.run("trust", typed="2\ny\n")
    assert result.exit_code == 0
    assert (
        "1  /home/u/.local/share/claude/versions/2.1.328, likely Claude Code, pid 77, G2, uses files (c1)\n"
        in (result.stdout)
    )
    assert (
        "2  /usr/bin/node running /home/u/gemini.js, likely Gemini CLI, pid 99, G2, uses git (c2)\n"
        in result.stdout
    )
    assert names(daemon) == ["gemini"]
    assert terminal.run("trust", typed="y\n").exit_code == 0
    assert names(daemon) == ["claude-code", "gemini"]


def test_several_hosts_and_nobody_to_ask_is_wrong_usage(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE), ("c2", "git", GEMINI)]
    result = terminal.run("trust", "--yes")
    assert result.exit_code == 2
    assert "--connection ID" in result.stderr
    assert terminal.run("trust", "--yes", "--connection", "c2").exit_code == 0
    assert names(daemon) == ["gemini"]


def test_a_name_that_is_known_means_the_host_that_is_there(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    daemon.hosts = [("c1", "files", UPDATED), ("c2", "git", GEMINI)]
    assert terminal.run("trust", "claude-code", "--yes").exit_code == 0
    assert names(daemon) == ["claude-code"]
    assert daemon.enrolments.recognise(UPDATED, "ask").name == "claude-code"


def test_a_name_given_to_another_program_shows_what_it_was(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "x", "--yes")
    daemon.hosts = [("c2", "git", GEMINI)]
    result = terminal.run("trust", "x", typed="n\n")
    assert "x is another program until now:\nx, trusted since" in result.stdout


def test_nothing_to_do_is_said(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    result = terminal.run("trust")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "trusted already: /home/u/.local/share/claude/versions/2.1.328 as claude-code"
    )


def test_without_a_connected_host_the_next_step_is_told(terminal):
    result = terminal.run("trust")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "mcpguard: no host is connected: start a server through mcpguard run from the host, then: mcpguard host trust; "
        "or name the program: mcpguard host trust NAME --exe PATH\n"
    )


def test_without_a_daemon_it_is_3(daemon, terminal):
    daemon.running = False
    result = terminal.run("trust")
    assert (result.exit_code, result.stderr) == (
        3, "mcpguard: the mcpguard daemon is not running: the first mcpguard run starts it\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (msgspec.structs.replace(CLAUDE, executable=None), "nothing is known of its executable"),
        (msgspec.structs.replace(CLAUDE, program=Program.SHELL), "a shell, a loader"),
        (msgspec.structs.replace(CLAUDE, pinned=False), "no handle on its process"),
        (
            msgspec.structs.replace(
                CLAUDE,
                executable=msgspec.structs.replace(
                    CLAUDE.executable, digest="", doubt="somebody writes to it"
                ),
            ),
            "no digest of its executable was taken (somebody writes to it)",
        ),
    ],
)
def test_what_cannot_be_recognised_again_is_refused(daemon, terminal, facts, words):
    daemon.hosts = [("c1", "files", facts)]
    result = terminal.run("trust", "x", "--yes")
    assert result.exit_code == 5
    assert words in result.stderr
    assert names(daemon) == []


@pytest.mark.parametrize(
    "args", [["trust", "Bad"], ["trust", "a b"], ["trust", ""], ["show"], ["forget"], ["x"]]
)
def test_wrong_usage_is_2(terminal, args):
    assert terminal.run(*args).exit_code == 2


def test_a_stranger_needs_a_name(daemon, terminal):
    facts = msgspec.structs.replace(
        CLAUDE, executable=msgspec.structs.replace(CLAUDE.executable, path="/opt/acme")
    )
    daemon.hosts = [("c1", "files", facts)]
    result = terminal.run("trust", "--yes")
    assert result.exit_code == 2
    assert "mcpguard host trust NAME" in result.stderr
    assert terminal.run("trust", "acme", "--yes").exit_code == 0


def test_one_program_under_two_names_is_refused(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "one", "--yes")
    result = terminal.run("trust", "two", "--yes", "--connection", "c1")
    assert result.exit_code == 5
    assert "is enrolled as one" in result.stderr


def test_a_connection_that_is_not_there_is_refused(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    result = terminal.run("trust", "--connection", "c\x1b9")
    assert result.exit_code == 5
    assert "\x1b" not in result.stderr


def test_nothing_that_others_chose_steers_the_terminal(daemon, terminal):
    evil = "\x1b[2J\u202e\n"
    facts = msgspec.structs.replace(
        CLAUDE,
        name=evil,
        unit=evil,
        label=evil,
        injected=(evil,),
        doubts=(evil,),
        executable=msgspec.structs.replace(CLAUDE.executable, path=f"/opt/{evil}"),
    )
    daemon.hosts = [("c1", evil, facts), ("c2", "git", GEMINI)]
    daemon.appraisal = Appraisal(Grade.G1, (evil,))
    for args, typed in ((["list"], None), (["trust", "x"], "1\ny\n"), (["list", "--json"], None)):
        result = terminal.run(*args, typed=typed)
        for text in (result.stdout, result.stderr):
            assert "\x1b" not in text
            assert "\u202e" not in text
    assert len(terminal.run("list", "--json").stdout.splitlines()) == 1


# --- programs that are not connected --------------------------------------------------------------------


def test_a_program_that_is_not_connected_is_described_and_enrolled(daemon, terminal, tmp_path):
    daemon.running = False
    (tmp_path / "link").symlink_to("/usr/bin/true")
    result = terminal.run("trust", "acme", "--exe", str(tmp_path / "link"), typed="y\n")
    assert (result.exit_code, result.stderr) == (0, "")
    path, digest = (
        os.path.realpath("/usr/bin/true"),
        hashlib.sha256(Path("/usr/bin/true").read_bytes()).hexdigest(),
    )
    assert result.stdout.splitlines()[:3] == [
        f"program  {path}", "  owner  uid 0; only root can replace it", f"  sha256 {digest}",
    ]  # fmt: skip
    assert "connections that it has" not in result.stdout
    (entry,) = daemon.enrolments.described()
    assert (entry["name"], entry["grade"], entry["executable"]["sha256"]) == ("acme", "G0", digest)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "it is not a file"),
        (os.mkfifo, "it is not a file"),
        (lambda path: path.write_text("#!/usr/bin/node\n"), "it is not a native program"),
        (lambda path: path.write_bytes(b""), "it is not a native program"),
        (lambda path: path.symlink_to(sys.executable), "it is an interpreter"),
        (lambda path: path.symlink_to("/bin/sh"), "a shell, a loader"),
    ],
)
def test_what_is_no_program_of_its_own_is_refused(daemon, terminal, tmp_path, make, words):
    make(tmp_path / "x\x1b")
    result = terminal.run("trust", "x", "--yes", "--exe", str(tmp_path / "x\x1b"))
    assert result.exit_code == 5
    assert words in result.stderr
    assert "\x1b" not in result.stderr
    assert names(daemon) == []


@pytest.mark.parametrize("option", [["--connection", "c1"], ["--unit", "x"]])
def test_a_program_that_is_not_connected_has_no_connection_and_no_unit(terminal, option):
    assert terminal.run("trust", "x", "--exe", "/usr/bin/true", *option).exit_code == 2


# --- list, show, forget ---------------------------------------------------------------------------------


def test_list_names_trusted_and_other_hosts(daemon, terminal):
    assert terminal.run("list").stdout == (
        "no host is trusted\nnext: start a server through mcpguard run from the host, then: mcpguard host trust; "
        "or name the program: mcpguard host trust NAME --exe PATH\n"
    )
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    daemon.hosts = [("c1", "files", CLAUDE), ("c2", "git", GEMINI), ("c3", "x", UPDATED)]
    assert terminal.run("list").stdout.splitlines() == [
        "claude-code  /home/u/.local/share/claude/versions/*  G2, 1 connection",
        "not trusted: /usr/bin/node running /home/u/gemini.js, likely Gemini CLI, pid 99, G2, uses git (c2)",
        "not trusted: /home/u/.local/share/claude/versions/2.1.329, likely Claude Code, pid 88, G2, uses x (c3)",
        f"  {daemon.enrolments.recognise(UPDATED, 'ask').sentence}",
        "next: mcpguard host trust",
    ]
    answer = json.loads(terminal.run("list", "--json").stdout)
    assert answer["v"] == 1
    assert [one["name"] for one in answer["enrolled"]] == ["claude-code"]
    assert [one["host"] for one in answer["connected"]] == ["claude-code", "", ""]


def test_show_tells_by_what_a_host_is_recognised(daemon, terminal, home):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    daemon.hosts = [("c1", "files", UPDATED)]
    terminal.run("trust", "--yes")
    daemon.hosts = [("c1", "files", CLAUDE), ("c2", "git", UPDATED), ("c3", "x", GEMINI)]
    lines = terminal.run("show", "claude-code").stdout.splitlines()
    assert lines[:6] == [
        "claude-code, trusted since 2026-11-22T10:00:00Z, G2 then",
        "program  /home/u/.local/share/claude/versions/*",
        "  owner  uid 1000; others than root can replace it",
        f"  sha256 {B}",
        f"  before {A}",
        "connection c1 to files: pid 77, G2, not recognised",
    ]
    assert lines[7] == "connection c2 to git: pid 88, G2, recognised"
    assert lines[8:] == [f"file     none; looked for {home}/.claude.json"]
    answer = json.loads(terminal.run("show", "claude-code", "--json").stdout)
    assert (answer["host"]["name"], [one["id"] for one in answer["connected"]]) == (
        "claude-code",
        ["c1", "c2"],
    )


def test_signatures_and_labels_are_told(daemon, terminal):
    signed = msgspec.structs.replace(
        CLAUDE,
        team="Q6L2SF6YDW",
        signing="com.x",
        label="snap.x",
        confined=True,
        tracer=7,
        injected=("LD_PRELOAD",),
    )
    daemon.hosts = [("c1", "files", signed)]
    shown = terminal.run("trust", "--yes").stdout
    for line in (
        "label    snap.x (enforced)",
        "signed   by Q6L2SF6YDW as com.x",
        "traced   by pid 7: what it does may be another's will",
        "injected LD_PRELOAD",
    ):
        assert f"{line}\n" in shown
    assert "its digest, the label snap.x, the signature of Q6L2SF6YDW\n" in shown
    lines = terminal.run("show", "claude-code").stdout.splitlines()
    assert lines[4:6] == ["label    snap.x", "signed   by Q6L2SF6YDW as com.x"]


def test_forget_asks_and_forgets(daemon, terminal):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    assert terminal.run("forget", "claude-code", typed="n\n").exit_code == 1
    assert names(daemon) == ["claude-code"]
    result = terminal.run("forget", "claude-code", typed="y\n")
    assert (result.exit_code, names(daemon)) == (0, [])
    result = terminal.run("forget", "claude-code")
    assert (result.exit_code, result.stderr) == (
        5, "mcpguard: no host is trusted as 'claude-code': mcpguard host list\n",
    )  # fmt: skip


# --- hosts that are found -------------------------------------------------------------------------------


def configured(home):
    """Two hosts with configurations, one of which cannot be read, and one that is installed and has none."""
    cursor = put(home / ".cursor/mcp.json", servers("a", "b"))
    content = json.loads(cursor.read_text())
    content["mcpServers"]["a"] = {
        "command": "/opt/mcpguard",
        "args": ["run", "--name", "a", "--", "npx", "a"],
    }
    content["mcpServers"]["far"] = {"url": "https://u:hunter2@h.test/mcp"}
    put(cursor, content)
    zed = put(home / ".config/zed/settings.json", '{\n"context_servers": {,}}')
    program = put(home.parent / "bin/codex", "")
    program.chmod(0o755)
    return cursor, zed


def test_list_names_the_hosts_that_are_found(daemon, terminal, home):
    cursor, zed = configured(home)
    lines = terminal.run("list").stdout.splitlines()
    assert lines[0] == "no host is trusted"
    assert lines[2] == "found by their configurations:"
    assert lines[3] == f"  cursor  {cursor}  2 servers, 1 guarded, 1 remote"
    assert lines[4].startswith(f"  zed  {zed}  cannot be read: not JSON")
    assert lines[5:] == ["  codex  no configuration with servers; codex is on PATH"]
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "cursor", "--yes")
    told = json.loads(terminal.run("list", "--json").stdout)
    assert [one["name"] for one in told["enrolled"]] == ["cursor"]
    assert [(one["name"], one["program"], len(one["files"])) for one in told["found"]] == [
        ("cursor", "", 1), ("zed", "", 1), ("codex", "codex", 0),
    ]  # fmt: skip
    (file,) = told["found"][0]["files"]
    assert [(one["name"], one["wrapped"]) for one in file["servers"]] == [
        ("a", True), ("b", False), ("far", False),
    ]  # fmt: skip


def test_show_tells_of_a_host_that_is_found_and_not_trusted(terminal, home):
    cursor, _ = configured(home)
    result = terminal.run("show", "cursor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        "cursor, Cursor, is not trusted", f"file     {cursor}: 2 servers, 1 guarded, 1 remote",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[2:]] == [["guarded", "a"], ["open", "b"], ["-", "far"]]
    assert "hunter2" not in result.stdout
    told = json.loads(terminal.run("show", "cursor", "--json").stdout)
    assert (told["host"], told["connected"], told["found"]["title"]) == (None, [], "Cursor")
    lines = terminal.run("show", "goose").stdout.splitlines()
    assert lines == [
        "goose, Goose, is not trusted", f"file     none; looked for {home}/.config/goose/config.yaml",
    ]  # fmt: skip


def test_show_of_a_trusted_host_tells_of_its_configurations_too(daemon, terminal, home):
    cursor, _ = configured(home)
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "cursor", "--yes")
    lines = terminal.run("show", "cursor").stdout.splitlines()
    assert lines[0] == "cursor, trusted since 2026-11-22T10:00:00Z, G2 then"
    assert f"file     {cursor}: 2 servers, 1 guarded, 1 remote" in lines


@pytest.mark.parametrize(
    ("name", "hint"), [("cursr", "did you mean cursor?"), ("zzzz", "mcpguard host list")]
)
def test_host_that_nobody_knows_is_5(terminal, name, hint):
    result = terminal.run("show", name)
    assert (result.exit_code, result.stderr) == (
        5,
        f"mcpguard: no host is known or trusted as {name!r}: {hint}\n",
    )


@pytest.mark.parametrize("args", [["list"], ["show", "x"], ["forget", "x", "--yes"]])
def test_the_list_can_be_asked_for_without_a_running_daemon(daemon, terminal, args):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "x", "--yes")
    daemon.running = False
    assert terminal.run(*args).exit_code == 0


def test_a_damaged_list_is_refused_with_its_way_out(daemon, terminal, tmp_path):
    daemon.hosts = [("c1", "files", CLAUDE)]
    terminal.run("trust", "--yes")
    (tmp_path / "hosts" / "enrolled.json").write_bytes(b"{")
    for args in (["list"], ["trust", "--yes"], ["show", "x"], ["forget", "x"]):
        result = terminal.run(*args)
        assert result.exit_code == 5
        assert "cannot be relied on" in result.stderr


def test_a_daemon_of_another_version_is_one_sentence(daemon, terminal):
    daemon.answer = lambda message: {"enrolled": [], "connected": [{"id": 1}]}
    result = terminal.run("list")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "mcpguard daemon stop" in result.stderr


@pytest.mark.parametrize("verb", ["trust", "list", "show", "forget"])
def test_every_verb_has_help(terminal, verb):
    assert "Usage:" in terminal.run(verb, "--help").stdout
