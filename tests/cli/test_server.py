"""`mcpguard server` as people use it: a real daemon, real servers, real keys, and servers that change under us."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mcpguard.cli import demo_server

SERVER = Path(demo_server.__file__).read_text()


class Stage:
    """A HOME of its own, a server that can be changed, and the command line."""

    def __init__(self, home):
        self.home = home
        self.notes = home / "notes"
        self.notes.mkdir()
        (self.notes / "plan.txt").write_text("meet at noon")
        self.script = home / "server.py"
        self.script.write_text(SERVER)
        (home / "words").write_text("correct horse")
        (home / "words").chmod(0o600)
        self.command = [sys.executable, "-I", str(self.script), str(self.notes)]
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "MCPGUARD_RUNTIME_DIR": f"{home}/run",
            "MCPGUARD_STATE_DIR": f"{home}/state", "MCPGUARD_PASSPHRASE_FILE": f"{home}/words",
        }  # fmt: skip

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-I", "-m", "mcpguard", *words],
            env=self.env, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def add(self, *options, name="files", code=0):
        return self("server", "add", name, *options, "--", *self.command, code=code)

    def enforce(self):
        policy = self.home / "policy.toml"
        rule = '[[rule]]\nid = "all"\nserver = "files"\ntools = ["*"]\neffect = "allow"\n'
        policy.write_text(f'version = 1\nmode = "enforce"\n{rule}')
        self("policy", "apply", str(policy))

    def change(self, old, new):
        assert old in self.script.read_text()
        self.script.write_text(self.script.read_text().replace(old, new))

    def envelope(self):
        return self.home / "state" / "servers" / "files" / "manifest.json"

    def tools(self, *words):
        """What a host sees, or why it sees nothing."""
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        }
        lines = [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        ]
        with subprocess.Popen(
            [sys.executable, "-I", "-m", "mcpguard", "run", *(words or ("--", *self.command))],
            env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as host:  # fmt: skip
            answer = {}
            for line in lines:
                host.stdin.write(json.dumps(line).encode() + b"\n")
                host.stdin.flush()
                if "id" in line:
                    answer = json.loads(host.stdout.readline() or b"{}")
                    if "result" not in answer:
                        break
            host.stdin.close()
            host.wait(20)
            said = host.stderr.read().decode()
        if "result" in answer:
            return sorted(tool["name"] for tool in answer["result"]["tools"])
        return host.returncode, answer.get("error", {}).get("message", "") + said


@pytest.fixture
def stage():
    with tempfile.TemporaryDirectory(prefix="mcpguard-test-") as name:
        found = Stage(Path(name))
        yield found
        subprocess.run(
            [sys.executable, "-I", "-m", "mcpguard", "daemon", "stop"],
            env=found.env,
            check=False,
            capture_output=True,
        )


def test_server_is_registered_shown_and_runs_by_name_and_by_command(stage):
    assert "no servers yet" in stage("server", "list")
    said = stage.add("--yes", "--expires", "90d")
    for words in (
        "runs",
        str(stage.script),
        "P1",
        "delete_file",
        "registered, version 1",
        "trusted: SHA256:",
    ):
        assert words in said, words
    assert "files" in stage("server", "list")
    listed = json.loads(stage("server", "list", "--json"))
    assert [each["problem"] for each in listed["servers"]] == [""]
    shown = json.loads(stage("server", "show", "files", "--json"))
    assert shown["manifest"]["launch"]["host_argv"] == stage.command
    assert sorted(shown["definitions"]["tools"]) == ["delete_file", "list_directory", "read_file"]
    assert "signed by" in stage("server", "show", "files")
    assert "2 digests are what was signed" in stage("server", "verify", "files")
    assert "nothing was seen that differs" in stage("server", "diff", "files")
    everything = ["delete_file", "list_directory", "read_file"]
    assert stage.tools("files") == stage.tools() == everything


def test_without_a_yes_nothing_is_registered(stage):
    assert "--yes" in stage.add(code=5)
    assert "no servers yet" in stage("server", "list")
    assert not (stage.home / "state" / "keys").exists()


def test_67_other_command_under_a_registered_name_does_not_start(stage):
    stage.add("--yes")
    evil = stage.home / "evil"
    code, said = stage.tools("--name", "files", "--", "sh", "-c", f"touch {evil}")
    assert code == 5
    assert "another command" in said
    assert not evil.exists()


def test_changed_script_does_not_start_until_it_is_accepted(stage):
    stage.add("--yes")
    stage.change("Read a file.", "Read a file, then send it.")
    assert "server trust files --probe" in stage("server", "verify", "files", code=5)
    faults = json.loads(stage("server", "verify", "files", "--json", code=5).splitlines()[0])["faults"]
    assert len(faults) == 1
    code, said = stage.tools()
    assert code == 5
    assert "has changed" in said
    assert "no terminal" in stage("server", "trust", "files", "--probe", code=5)
    said = stage("server", "trust", "files", "--probe", "--yes")
    assert '+  "description": "Read a file, then send it."' in said
    assert "becomes" in said
    assert "version 2 is in force" in said
    assert "read_file" in stage.tools()


def mutable(stage):
    """A server whose definitions come from a file that no digest covers."""
    stage.change("_TOOLS = [", f"_TOOLS = json.load(open({str(stage.home / 'tools.json')!r})) or [")
    tools = [{"name": name, "description": f"It {name}s.", "inputSchema": {}} for name in ("read", "write")]
    write_tools(stage, tools)
    return tools


def write_tools(stage, tools):
    (stage.home / "tools.json").write_text(json.dumps(tools))


def test_rug_pull_is_withdrawn_shown_and_accepted(stage):
    tools = mutable(stage)
    stage.enforce()
    stage.add("--yes")
    assert stage.tools() == ["read", "write"]
    tools[0]["description"] = "It reads.\u202e And more."
    write_tools(stage, [*tools, {"name": "new", "inputSchema": {}}])
    assert stage.tools() == ["write"]
    said = stage("server", "diff", "files", code=7)
    assert "\u202e" not in said
    assert "\\u202e" in said
    assert "tool new" in said
    assert json.loads(stage("server", "diff", "files", "--json", code=7))["ok"] is False
    assert "cannot be accepted" in stage("server", "trust", "files", "--yes", code=5)
    tools[0]["description"] = "It reads well."
    write_tools(stage, [*tools, {"name": "new", "inputSchema": {}}])
    assert stage.tools() == ["write"]
    said = stage("server", "trust", "files", "--yes")
    assert "tool new is new" in said
    assert "version 2" in said
    assert stage.tools() == ["new", "read", "write"]
    assert "nothing was seen" in stage("server", "diff", "files")
    assert "nothing differs" in stage("server", "trust", "files", "--yes")


def test_manifest_can_be_renewed(stage):
    stage.add("--yes", "--expires", "1d")
    assert "version 2" in stage("server", "trust", "files", "--yes", "--expires", "2y")
    assert json.loads(stage("server", "list", "--json"))["servers"][0]["expires"] > "2027"


def test_removal_is_undone_by_what_it_prints(stage):
    stage.add("--yes")
    said = stage("server", "remove", "files", "--yes")
    kept = said.partition("--from ")[2].strip()
    assert "no servers yet" in stage("server", "list")
    assert "registered, version 1" in stage("server", "add", "files", "--from", kept, "--yes")
    assert stage.tools("files") == ["delete_file", "list_directory", "read_file"]
    assert "Read a file." in stage("server", "show", "files")


def test_registering_again_after_removal_rises(stage):
    stage.add("--yes")
    assert "registered already" in stage.add("--yes", code=5)
    stage("server", "remove", "files", "--yes")
    assert "registered, version 2" in stage.add("--yes")


def test_strangers_manifest_and_other_files_are_refused(stage):
    stage.add("--yes")
    envelope = json.loads(stage.envelope().read_text())
    envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"][:-8] + "AAAAAA=="
    forged = stage.home / "forged.json"
    forged.write_text(json.dumps(envelope))
    stage("server", "remove", "files", "--yes")
    assert "nobody who is trusted signed" in stage(
        "server", "add", "files", "--from", str(forged), "--yes", code=5
    )
    forged.write_text('{"name": "x"}')
    assert "no signed manifest" in stage("server", "add", "files", "--from", str(forged), "--yes", code=5)
    assert "cannot be read" in stage("server", "add", "files", "--from", "/nonesuch", "--yes", code=5)
    assert "no servers yet" in stage("server", "list")


def test_damaged_manifest_is_refused_and_says_how_to_go_on(stage):
    stage.add("--yes")
    stage.envelope().write_text("{}")
    code, said = stage.tools("files")
    assert code == 5
    assert said
    assert "files" in stage("server", "list")
    stage("server", "show", "files", code=5)
    stage("server", "remove", "files", "--yes")


def test_server_that_does_not_answer_is_not_registered(stage):
    said = stage(
        "server", "add", "x", "--yes", "--", "sh", "-c", "echo ACME_TOKEN missing >&2; exit 1", code=1
    )
    assert "ACME_TOKEN missing" in said
    assert "--pass" in said


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["add", "files"], 2),
        (["add", "files", "--from", "x", "--", "sh"], 2),
        (["add", "../x", "--", "sh"], 5),
        (["add", "files", "--set", "A", "--", "sh"], 5),
        (["add", "files", "--expires", "soon", "--", "sh"], 5),
        (["add", "files", "--cwd", "/nonesuch", "--", "sh"], 1),
        (["add", "files", "--", "nonesuch-program"], 5),
        (["show", "files"], 5),
        (["verify", "files"], 5),
        (["diff", "files"], 5),
        (["trust", "files", "--yes"], 5),
        (["remove", "files", "--yes"], 5),
    ],
)
def test_wrong_words_get_a_sentence_and_change_nothing(stage, words, code):
    said = stage("server", *words, code=code)
    assert "Traceback" not in said
    assert said.strip()


def test_environment_is_what_the_manifest_names(stage):
    stage.change(
        "def main() -> None:",
        "def main() -> None:\n    import os\n    open(sys.argv[1] + '/env', 'w').write(repr(dict(os.environ)))",
    )
    stage.env |= {"ACME_TOKEN": "secret", "EDITOR": "vi"}
    stage.add("--yes", "--pass", "EDITOR", "--set", "MODE=quiet")
    stage.tools()
    seen = (stage.notes / "env").read_text()
    assert "'EDITOR': 'vi'" in seen
    assert "'MODE': 'quiet'" in seen
    assert "secret" not in seen
    assert "MCPGUARD" not in seen
