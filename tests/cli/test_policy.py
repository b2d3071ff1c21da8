"""`mcpguard policy` as a person sees it: what is printed, and what the exit code says."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mcpguard.cli.policy import Place, policy
from mcpguard.errors import DaemonError
from mcpguard.system.policystore import PolicyStore

TEXT = """version = 1
mode = "enforce"
[[rule]]
id = "read"
server = "files"
tools = ["read_*"]
methods = ["resources/read"]
effect = "allow"
[[rule]]
id = "no-secret"
tools = ["*secret*"]
effect = "deny"
durable = true
"""


class SimulatedDaemon:
    """A daemon in memory: keeps what it is asked, and stores policies as the real one does."""

    def __init__(self, directory, *, running=True, refusal=""):
        self.store = PolicyStore(directory)
        self.running = running
        self.refusal = refusal
        self.asked = []

    def request(self, message):
        if not self.running:
            raise DaemonError("the mcpguard daemon is not running")
        self.asked.append(message)
        if self.refusal:
            raise DaemonError(self.refusal)
        self.store.apply(message["text"].encode(), message["source"])
        return {"v": 1, "ok": True}


class Desk:
    """One person's terminal in a directory of its own."""

    def __init__(self, tmp_path):
        self.home = tmp_path
        self.directory = tmp_path / "state" / "policy"
        self.daemon = SimulatedDaemon(self.directory, running=False)
        self.store = PolicyStore(self.directory)

    def file(self, text=TEXT, name="p.toml"):
        path = self.home / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def run(self, *args, stdin=None):
        return CliRunner().invoke(policy, args, obj=Place(self.directory, self.daemon.request), input=stdin)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# --- check ----------------------------------------------------------------------------------------------


def test_check_says_that_a_policy_is_valid(desk):
    result = desk.run("check", desk.file())
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{desk.home}/p.toml: valid, enforce, 2 rules\n"
    assert desk.store.load() is None


def test_check_reads_standard_input(desk):
    result = desk.run("check", "-", stdin=TEXT.replace("effect", "efect"))
    assert result.exit_code == 6
    assert result.stderr.startswith("mcpguard: standard input:8: efect: expected a known key")


def test_check_in_json(desk):
    result = desk.run("check", "--json", desk.file())
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["v"], answer["ok"], answer["mode"], answer["text"], answer["rule_count"]) == (
        1, True, "enforce", "neutralise", 2,
    )  # fmt: skip


def test_an_invalid_policy_is_one_sentence_and_6(desk):
    file = desk.file(TEXT.replace('"deny"', '"dney"'))
    for verb in ("check", "apply"):
        result = desk.run(verb, file)
        assert (result.exit_code, result.stdout) == (6, "")
        assert result.stderr == (
            f'mcpguard: {file}:12: effect: expected "allow" or "ask" or "deny", found "dney": did you mean deny?\n'
        )
    assert desk.store.load() is None
    result = desk.run("check", file, "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["error"] == {
        "file": file,
        "line": 12,
        "key": "effect",
        "message": 'expected "allow" or "ask" or "deny", found "dney"',
        "hint": "did you mean deny?",
    }


@pytest.mark.parametrize("verb", [["check"], ["apply"], ["explain", "s", "t", "--file"]])
def test_a_file_that_cannot_be_read_is_one_sentence_and_6(desk, verb):
    for name, words in (
        ("absent", "there is no such file"),
        (".", "expected a file, found a directory"),
        ("p.toml/x", "cannot be read: not a directory"),
    ):
        desk.file()
        result = desk.run(*verb, str(desk.home / name))
        assert (result.exit_code, result.stdout) == (6, "")
        assert result.stderr == f"mcpguard: {desk.home / name}: {words}\n"


def test_a_file_without_permission_is_one_sentence_and_6(desk):
    file = desk.file()
    os.chmod(file, 0)
    code = (
        "import os\n"
        "from mcpguard.cli.policy import policy\n"
        f"policy(['check', {desk.file(name='good.toml')!r}], standalone_mode=False)\n"  # all imports are done
        "os.geteuid() or os.setuid(12345)\n"
        f"policy(['check', {file!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (6, f"mcpguard: {file}: cannot be read: permission denied\n")


def test_names_are_shown_without_control_characters(desk):
    file = desk.file(TEXT.replace("tools", "to\u00f6ls"), "a\x1b[31m\n\u202e.toml")
    result = desk.run("check", file)
    assert result.exit_code == 6
    assert "a\\u001b[31m\\u000a\\u202e.toml:6" in result.stderr
    assert result.stderr.count("\n") == 1
    result = desk.run("explain", "s\x1b", "t\x07\r", "--file", desk.file())
    assert "deny  s\\u001b t\\u0007\\u000d\n" in result.stdout


# --- apply ----------------------------------------------------------------------------------------------


def test_apply_without_a_daemon_stores_the_policy(desk):
    result = desk.run("apply", desk.file())
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"applied {desk.home}/p.toml: enforce, 2 rules",
        "first policy: until now everything was let through and recorded",
        "mode: observe -> enforce",
        "text: as-is -> neutralise",
        "unpinned: allow -> refuse (servers without a manifest no longer start; register them: mcpguard server add)",
        "schemas: ignore -> check",
        "added: no-secret (deny), read (allow)",
        "no daemon is running; it is in force when one starts",
    ]
    assert (desk.directory / "active.toml").read_text() == TEXT
    assert desk.store.load().file == f"{desk.home}/p.toml"


def test_apply_goes_through_a_running_daemon(desk):
    desk.daemon.running = True
    result = desk.run("apply", desk.file())
    assert result.exit_code == 0
    assert result.stdout.endswith("running connections get it at their next message\n")
    assert desk.daemon.asked == [{"verb": "policy-apply", "source": f"{desk.home}/p.toml", "text": TEXT}]
    desk.daemon.asked.clear()
    result = desk.run("apply", desk.file(TEXT.replace('"read"', '"look"')))
    assert result.stdout.splitlines()[1:3] == ["added: look (allow)", "removed: read (allow)"]
    assert (
        desk.run("apply", desk.file(TEXT.replace('"read"', '"look"') + "# note\n")).stdout.splitlines()[1]
        == "nothing changes"
    )


def test_what_a_running_daemon_refuses_is_not_stored_behind_its_back(desk):
    desk.daemon = SimulatedDaemon(desk.directory, refusal="this peer may not apply a policy")
    result = desk.run("apply", desk.file())
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mcpguard: this peer may not apply a policy\n"
    assert desk.store.load() is None


def test_a_dry_run_applies_nothing(desk):
    desk.daemon.running = True
    result = desk.run("apply", "--dry-run", desk.file())
    assert result.exit_code == 0
    assert result.stdout.endswith("nothing was applied (dry run)\n")
    assert "added: no-secret (deny), read (allow)" in result.stdout
    assert desk.daemon.asked == []
    assert not desk.directory.exists()


def test_a_policy_that_allows_nothing_says_so(desk):
    result = desk.run("apply", desk.file('version = 1\nmode = "enforce"\n'))
    assert "note: no rule allows anything, so everything is denied" in result.stdout


def test_apply_repairs_a_damaged_store(desk):
    desk.run("apply", desk.file())
    (desk.directory / "active.toml").write_text("garbage")
    broken = desk.run("show")
    assert broken.exit_code == 6
    assert "the applied policy is damaged" in broken.stderr
    assert desk.run("explain", "files", "read_x").exit_code == 6
    result = desk.run("apply", desk.file())
    assert result.exit_code == 0
    assert "what was in force cannot be read and is replaced" in result.stdout
    assert desk.run("show").exit_code == 0


# --- show -----------------------------------------------------------------------------------------------


def test_show_without_a_policy_says_what_happens_and_what_to_do(desk):
    result = desk.run("show")
    assert (result.exit_code, result.stdout) == (
        0, "no policy is applied: watching only\nnext: mcpguard policy apply FILE\n",
    )  # fmt: skip
    answer = json.loads(desk.run("show", "--json").stdout)
    assert (answer["v"], answer["applied"], answer["mode"], answer["rules"]) == (1, False, "observe", [])


def test_show_prints_each_rule_on_a_line(desk):
    file = desk.file()
    desk.store.apply(TEXT.encode(), file, now=0)
    result = desk.run("show")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{file}: enforce, 2 rules"
    assert lines[1].startswith("applied 1970-01-01T00:00:00Z, digest ")
    assert lines[2:] == [
        f"  allow read  server files  tools read_*  methods resources/read  {file}:3",
        f"  deny  no-secret  server *  tools *secret*  durable  {file}:9",
    ]
    answer = json.loads(desk.run("show", "--json").stdout)
    assert (answer["applied"], answer["source"], answer["edited_since"]) == (True, file, False)
    assert answer["rules"][0] == {
        "id": "read", "effect": "allow", "who": ["any"], "server": ["files"], "tools": ["read_*"],
        "methods": ["resources/read"], "durable": False, "origin": f"{file}:3",
    }  # fmt: skip


def test_show_says_that_the_file_was_edited_since(desk):
    desk.run("apply", desk.file())
    file = desk.file(TEXT + "# more\n")
    assert desk.run("show").stdout.endswith(f"the file has been edited since: mcpguard policy apply {file}\n")
    os.unlink(file)
    assert "edited" not in desk.run("show").stdout


# --- explain --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "tool", "code", "verdict", "rule"),
    [
        ("files", "read_file", 0, "allow", "read"),
        ("files", "read_secret", 5, "deny", "no-secret"),
        ("other", "read_file", 5, "deny", "default"),
        ("files", "resources/read", 0, "allow", "read"),
        ("files", "prompts/get", 5, "deny", "default"),
    ],
)
def test_explain_answers_with_verdict_and_exit_code(desk, server, tool, code, verdict, rule):
    result = desk.run("explain", server, tool, "--file", desk.file())
    assert (result.exit_code, result.stderr) == (code, "")
    assert result.stdout.splitlines()[:2] == [f"{verdict}  {server} {tool}", f"  rule    {rule}"]
    desk.run("apply", desk.file())
    answer = json.loads(desk.run("explain", server, tool, "--json").stdout)
    assert (answer["v"], answer["verdict"], answer["rule"], answer["refused"]) == (
        1,
        verdict,
        rule,
        code == 5,
    )
    assert answer["tool"] == (None if "/" in tool else tool)
    assert answer["method"] == (tool if "/" in tool else "tools/call")


def test_explain_names_file_line_reason_and_all_matching_rules(desk):
    file = desk.file()
    result = desk.run("explain", "files", "read_secret", "--file", file, "--args", '{"path": "/x"}')
    assert result.stdout.splitlines() == [
        "deny  files read_secret",
        "  rule    no-secret",
        f"  at      {file}:9",
        "  reason  rule no-secret denies it",
        "  durable its record is on stable storage before the call is forwarded",
        f"  match   allow read  server files  tools read_*  methods resources/read  {file}:3",
        f"  match   deny  no-secret  server *  tools *secret*  durable  {file}:9",
    ]


def test_explain_in_observe_mode_tells_the_verdict_and_that_it_passes(desk):
    file = desk.file(TEXT.replace("enforce", "observe"))
    result = desk.run("explain", "files", "write", "--file", file)
    assert result.exit_code == 5
    assert result.stdout.startswith("deny  files write  (observe: it is recorded and passes)\n")
    assert (
        json.loads(desk.run("explain", "files", "write", "--file", file, "--json").stdout)["refused"] is False
    )


def test_explain_without_a_policy_is_the_built_in_one(desk):
    result = desk.run("explain", "files", "write")
    assert result.exit_code == 0
    assert "  reason  no policy is applied; watching only\n" in result.stdout
    assert json.loads(desk.run("explain", "files", "write", "--json").stdout)["policy"] == "built-in"


@pytest.mark.parametrize(
    "args",
    [
        ["explain", "files"],
        ["explain", "files", "tools/call"],
        ["explain", "files", "x", "--args", "[1]"],
        ["explain", "files", "x", "--args", "{"],
        ["explain", "files", "x", "--args", "[" * 100_000],
        ["apply"],
        ["check", "a", "b"],
        ["unheard-of"],
    ],
)
def test_wrong_usage_is_2(desk, args):
    result = desk.run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error:" in result.stderr


@pytest.mark.parametrize("verb", ["check", "apply", "show", "explain"])
def test_every_verb_has_help(desk, verb):
    result = desk.run(verb, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


# --- evidence -------------------------------------------------------------------------------------------

DEMANDING = """version = 1
mode = "enforce"
unpinned = "allow"
on_update = "allow_same_owner"
recheck = "90s"
[[rule]]
id = "read"
who = ["host:codex"]
tools = ["read_*"]
effect = "allow"
grade = "G2"
unit = "app-*"
label = ["code", "snap.*"]
ancestor_not = ["bash"]
recheck = true
"""
SHOWN = "allow read  who host:codex  server *  tools read_*  grade G2  unit app-*  label code, snap.*  ancestor_not bash"
KNOWN = ["--host", "codex", "--grade", "G2", "--unit", "app-x", "--label", "snap.code"]


def test_explain_for_a_host_of_which_enough_is_known(desk):
    file = desk.file(DEMANDING)
    result = desk.run("explain", "files", "read_x", "--file", file, *KNOWN, "--ancestor", "/usr/bin/zsh")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "allow  files read_x",
        "  rule    read",
        f"  at      {file}:6",
        "  reason  rule read allows it",
        "  recheck the host is looked at again before the call is forwarded",
        f"  match   {SHOWN}  recheck  {file}:6",
    ]
    answer = json.loads(desk.run("explain", "files", "read_x", "--file", file, *KNOWN, "--json").stdout)
    assert answer["caller"] == {
        "principals": ["any", "host:codex"], "grade": "G2", "unit": "app-x", "label": "snap.code", "ancestors": [],
    }  # fmt: skip
    assert (answer["recheck"], answer["missed"]) == (True, [])
    assert answer["matching"][0] == {
        "id": "read", "effect": "allow", "who": ["host:codex"], "server": ["*"], "tools": ["read_*"], "methods": [],
        "durable": False, "grade": "G2", "unit": ["app-*"], "label": ["code", "snap.*"], "ancestor_not": ["bash"],
        "recheck": True, "origin": f"{file}:6",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["--host", "zed"], "rule read is for host:codex and the host is host:zed"),
        (["--grade", "G1"], "rule read needs G2 and the host has G1"),
        (["--unit", ""], "rule read needs unit app-* and the host has none"),
        (["--label", "x"], "rule read needs label code, snap.* and the host has another"),
        (["--ancestor", "/usr/bin/zsh", "--ancestor", "/bin/bash"], "rule read is not for hosts below bash"),
    ],
)
def test_explain_says_what_is_wanting(desk, change, reason):
    file = desk.file(DEMANDING)
    result = desk.run("explain", "files", "read_x", "--file", file, *KNOWN, *change)
    assert result.exit_code == 5
    assert result.stdout.splitlines() == [
        "deny  files read_x",
        "  rule    default",
        "  at      built in",
        f"  reason  {reason}",
        f"  missed  {SHOWN}  recheck  {file}:6",
        f"          {reason}",
    ]
    answer = json.loads(
        desk.run("explain", "files", "read_x", "--file", file, *KNOWN, *change, "--json").stdout
    )
    assert (answer["reason"], answer["missed"][0]["why"], answer["missed"][0]["id"]) == (
        reason,
        reason,
        "read",
    )


def test_show_and_check_tell_what_holds_for_all_hosts(desk):
    settings = [
        "unpinned allow: servers without a manifest run",
        "on_update allow_same_owner: a changed host is recognised if its owner is the same",
        "recheck 90s: hosts are looked at again and again",
    ]
    file = desk.file(DEMANDING)
    assert desk.run("check", file).stdout.splitlines()[1:] == settings
    desk.run("apply", file)
    assert desk.run("show").stdout.splitlines()[2:] == [*settings, f"  {SHOWN}  recheck  {file}:6"]
    answer = json.loads(desk.run("show", "--json").stdout)
    assert (answer["unpinned"], answer["on_update"], answer["recheck_seconds"]) == (
        "allow",
        "allow_same_owner",
        90.0,
    )


@pytest.mark.parametrize("options", [["--host", "A"], ["--host", ""], ["--host", "a\x1b"], ["--grade", "G9"]])
def test_a_host_that_cannot_be_is_wrong_usage(desk, options):
    result = desk.run("explain", "files", "x", "--file", desk.file(), *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "\x1b" not in result.stderr
