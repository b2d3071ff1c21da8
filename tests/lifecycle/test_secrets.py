"""Secrets, with a real daemon, real hosts, real servers that tell what they have, and the real command line.

A planted value is in the environment of the one server that it is for, and nowhere else: no file below the home, no
record, no export, no argument, no answer, no line on anybody's stderr.
"""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpguard.audit.knownvalues import forms
from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions
from mcpguard.identity.manifest import Manifest
from tests.lifecycle.forms import FORMS, arrive, inside
from tests.lifecycle.land import Land, Registered, pin
from tests.lifecycle.stage import MCPGUARD, PYTHON, Host, House, until
from tests.lifecycle.teller import TOOLS

VALUE = f"planted/{secrets.token_hex(12)}+é'\""
TELLER = str(Path(__file__).with_name("teller.py"))
POLICY = """\
version = 1
mode = "enforce"
unpinned = "allow"
[[rule]]
id = "all"
tools = ["*"]
effect = "allow"
[[rule]]
id = "gives"
server = "teller"
tools = ["send"]
effect = "allow"
secrets = ["github"]
"""


def keep(place: House, name: str, value: str = VALUE, *words: str, verb: str = "set") -> dict[str, Any]:
    """Keep a value as a person does: on standard input."""
    ran = place.mcpguard("secret", verb, name, "--json", *words, input=value)
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def opened(place: House) -> House:
    """The vault of a house, open, under a passphrase from a file."""
    file = place.root / "passphrase"
    file.write_text("the passphrase of a test\n")
    file.chmod(0o600)
    ran = place.mcpguard("secret", "unlock", "--passphrase-file", str(file))
    assert ran.returncode == 0, ran.stderr
    return place


@pytest.fixture
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        made.found()
        opened(made)
        made.policy(POLICY)
        yield made


def teller(land: Land, name: str = "teller", **launch: Any) -> Registered:
    """A registered server that tells its environment, its command line and its arguments."""
    made = land.server(name)
    made.script.write_bytes(Path(TELLER).read_bytes())
    made.manifest = _pinned_anew(made)
    made.launch(**launch)
    return made


def _pinned_anew(server: Registered) -> Manifest:
    return msgspec.structs.replace(
        server.manifest, executables=(pin(PYTHON), pin(server.script)), server_name="teller", instructions_sha256="",
        tools={tool["name"]: definition_digest(tool) for tool in TOOLS},
    )  # fmt: skip


def registered(server: Registered) -> Registered:
    known = Definitions(tools={tool["name"]: tool for tool in TOOLS})
    reply = server.put(definitions=msgspec.json.encode(known).decode())
    assert reply["ok"], reply
    return server


def run(server: Registered, **more: Any) -> Host:
    """A host in a process of its own that starts it: the test itself stays a person."""
    host = Host(
        [*FORMS["pipes"], *MCPGUARD, "run", server.name], server.land.env | more.pop("env", {}), **more
    )
    server.land.hosts.append(host)
    return host


def told(host: Host) -> dict[str, Any]:
    """What the server has, in a way that nothing hides: it writes it to a file of its own."""
    answer = host.call("tell")
    assert "result" in answer, answer
    found: dict[str, Any] = json.loads(Path(answer["result"]["content"][0]["text"]).read_text())
    return found


def leaks(
    place: House, *more: tuple[str, bytes], value: str = VALUE, allowed: tuple[str, ...] = ("told-",)
) -> list[str]:
    """Where a value is, in any form: below the home, in what verbs print, in command lines and foreign environments."""
    needles = [form for form, _ in forms(value.encode())]
    found = []
    places = [
        (str(path), path.read_bytes()) for path in place.root.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(allowed)
    ]  # fmt: skip
    for words in (
        ("secret", "list"), ("secret", "list", "--json"), ("status", "--json"), ("audit", "tail"), ("doctor", "--json"),
        ("audit", "export", "--format", "ocsf"), ("audit", "export", "--format", "cef"), ("metrics",), ("findings", "--json"),
    ):  # fmt: skip
        ran = place.mcpguard(*words)
        places.append((" ".join(words), (ran.stdout + ran.stderr).encode()))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            places.append((f"command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()))
        except OSError:
            continue
    for where, data in (*places, *more):
        if any(needle in data for needle in needles):
            found.append(where)
    return found


def said(host: Host) -> str:
    """What a host has on its stderr in the end."""
    host.close_stdin()
    host.wait()
    return " ".join(host.errors())


def refused(host: Host) -> str:
    """The sentence of a host whose server was not started."""
    host.close_stdin()
    assert host.wait() == 5
    return " ".join(host.errors())


# --- given to one server -------------------------------------------------------------------------------------


def test_a_secret_of_a_manifest_is_in_the_servers_environment_and_nowhere_else(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"GITHUB_TOKEN": "vault://github"}))
    host = run(server).greet()
    assert told(host)["environ"]["GITHUB_TOKEN"] == VALUE
    answer = host.call("repeat", variable="GITHUB_TOKEN")
    assert answer["result"]["content"][0]["text"] == "${secret:github}"
    begins = [one for one in land.records() if one["type"] == "secret" and one["event"] == "given"]
    assert [(one["credential"], one["variable"], one["server"]) for one in begins] == [
        ("vault://github", "GITHUB_TOKEN", "teller"),
    ]  # fmt: skip
    (listed,) = json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"]
    assert (listed["uses"], listed["servers"], listed["running"]) == (1, ["teller"], ["teller"])
    assert leaks(land, ("answer", json.dumps(answer).encode())) == []
    host.close_stdin()
    assert host.wait() == 0
    assert leaks(land, ("stderr", "\n".join(host.errors()).encode())) == []
    land.mcpguard("daemon", "stop")
    assert land.daemon is not None
    assert leaks(land, ("stderr of the daemon", land.daemon.communicate()[1].encode())) == []
    assert land.mcpguard("audit", "verify").returncode == 0


def test_other_servers_have_nothing_of_it(land: Land) -> None:
    keep(land, "github")
    run(registered(teller(land, secret={"GITHUB_TOKEN": "vault://github"}))).greet()
    other = run(
        registered(teller(land, name="other")), env={"GITHUB_TOKEN": "mcpguard-secret://github"}
    ).greet()
    assert VALUE not in json.dumps(told(other))
    assert "GITHUB_TOKEN" not in told(other)["environ"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("vault://absent", "there is no secret 'absent'"),
        ("keyring://a/b", "keyring"),
        ("env://NOWHERE_SET", "started without the variable NOWHERE_SET"),
        ("file:///nowhere?plain", "/nowhere cannot be read"),
        ("cmd:///bin/false", "failed with exit code 1"),
        ("cmd:///bin/true", "is empty"),
        ("cmd:///bin/echo short", "fewer than 8 bytes"),
        ("systemd-cred://x", "not given any credentials"),
        ("nonsense-" + "x" * 30, "not a reference to a secret"),
    ],
)
def test_a_server_without_its_secret_is_not_started(land: Land, reference: str, words: str) -> None:
    server = registered(teller(land, secret={"TOKEN": reference}))
    host = server.run()
    host.send("initialize")
    answer = json.loads(host.line())
    assert words in answer["error"]["message"]
    assert words in refused(host)
    assert not list(server.home.glob("told-*"))
    assert not (server.home / "calls").exists()
    (record,) = until(lambda: server.records("session", "refused"))
    assert words in record["reason"]
    if reference.startswith("nonsense"):
        assert reference not in record["reason"]


def test_an_expired_secret_starts_nothing_and_ends_what_runs(land: Land) -> None:
    keep(land, "github", VALUE, "--expires", "4s")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    host = run(server).greet()
    assert "result" in host.call("tell")
    assert until(lambda: not land.status()["connections"])
    assert "has expired" in said(host)
    assert "the secret 'github' has expired" in refused(server.run())
    listed = json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"][0]
    assert listed["expired"]
    assert "expired" in land.mcpguard("secret", "list").stdout
    keep(land, "github", VALUE, verb="rotate")
    assert told(run(server).greet())["environ"]["TOKEN"] == VALUE


def test_a_locked_vault_starts_nothing_until_a_person_opens_it(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    land.mcpguard("secret", "lock")
    assert "the vault is locked: open it at a terminal of yours: mcpguard secret unlock" in refused(
        server.run()
    )
    assert "the vault is locked" in land.mcpguard("secret", "list").stderr
    wrong = land.root / "wrong"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    ran = land.mcpguard("secret", "unlock", "--passphrase-file", str(wrong))
    assert (ran.returncode, "does not open the vault" in ran.stderr) == (5, True), ran.stderr
    assert land.mcpguard("secret", "set", "other", input=VALUE).returncode == 5
    land.again()
    assert "the vault is locked" in refused(server.run())
    opened(land)
    assert told(run(server).greet())["environ"]["TOKEN"] == VALUE
    events = [one["event"] for one in land.records() if one["type"] == "secret"]
    assert events == ["created", "set", "locked", "unlock-failed", "unlocked", "given"]


def test_a_damaged_vault_starts_nothing_and_is_not_made_anew(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    file = land.state / "secrets" / "vault.json"
    text = file.read_text()
    file.write_text(text.replace('"expires":0.0', '"expires":9e9'))
    assert "was changed, or belongs elsewhere" in refused(server.run())
    assert land.mcpguard("secret", "set", "other", input=VALUE).returncode == 5
    file.write_text("{")
    assert "it is damaged" in refused(server.run())
    assert land.mcpguard("secret", "set", "other", input=VALUE).returncode == 5
    assert file.read_text() == "{"
    file.write_text(text)
    assert told(run(server).greet())["environ"]["TOKEN"] == VALUE


# --- rotation ------------------------------------------------------------------------------------------------


def test_rotation_starts_the_server_again_once_its_call_is_answered(land: Land) -> None:
    keep(land, "github", "the-first-value-1")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    other = run(registered(teller(land, name="other"))).greet()
    host = run(server).greet()
    before, untouched = told(host), told(other)["pid"]
    assert before["environ"]["TOKEN"] == "the-first-value-1"
    slow = host.calling("slow", seconds=1.0)
    assert keep(land, "github", VALUE, verb="rotate")["restarting"] == ["teller"]
    later = host.calling("tell")
    answer = host.answer(slow)["result"]["content"][0]["text"]
    assert json.loads(Path(answer).read_text())["pid"] == before["pid"]
    after = json.loads(Path(host.answer(later)["result"]["content"][0]["text"]).read_text())
    assert after["pid"] != before["pid"]
    assert after["environ"]["TOKEN"] == VALUE
    assert host.call("repeat", variable="TOKEN")["result"]["content"][0]["text"] == "${secret:github}"
    assert told(other)["pid"] == untouched
    assert leaks(land) == []
    assert leaks(land, value="the-first-value-1") == []
    assert [one["event"] for one in land.records() if one["type"] == "session" and one["server"] == "teller"] == [
        "begin", "ready", "restarted",
    ]  # fmt: skip


def test_rotation_under_load_fails_no_call(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    hosts = [run(server).greet() for _ in range(5)]
    answered = 0
    for turn in range(3):
        asked = [(host, host.calling("repeat", variable="TOKEN")) for host in hosts for _ in range(10)]
        keep(land, "github", f"{VALUE}{turn}", verb="rotate")
        asked += [(host, host.calling("repeat", variable="TOKEN")) for host in hosts for _ in range(10)]
        for host, ident in asked:
            text = host.answer(ident)["result"]["content"][0]["text"]
            assert text == "${secret:github}"
            answered += 1
    assert answered == 300


def test_a_secret_that_is_removed_ends_its_servers(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    host = run(server).greet()
    assert land.mcpguard("secret", "rm", "github").returncode == 5  # nobody to ask
    ran = land.mcpguard("secret", "rm", "github", "--yes", "--json")
    assert json.loads(ran.stdout)["ended"] == ["teller"], ran.stderr
    assert "was removed" in said(host)
    assert "there is no secret 'github'" in refused(server.run())


def test_a_new_value_elsewhere_reaches_those_who_hold_it(land: Land) -> None:
    file = land.root / "told-token"
    file.write_text("the-first-value-1\n")
    file.chmod(0o600)
    server = registered(teller(land, secret={"TOKEN": f"file://{file}?plain"}))
    host = run(server).greet()
    assert told(host)["environ"]["TOKEN"] == "the-first-value-1"
    file.write_text("the-second-value-2\n")
    ran = land.mcpguard("secret", "rotate", f"file://{file}?plain", "--json")
    assert json.loads(ran.stdout)["restarting"] == ["teller"], ran.stderr
    assert until(lambda: told(host)["environ"]["TOKEN"] == "the-second-value-2")
    assert host.call("repeat", variable="TOKEN")["result"]["content"][0]["text"] == "«secret TOKEN»"


# --- handles -------------------------------------------------------------------------------------------------


def sent(server: Registered) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((server.home / "told-sent").read_text())
    return found


def test_a_handle_is_replaced_behind_the_gate_and_put_back_in_the_answer(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    answer = host.call("send", header="Bearer ${secret:github}", deep=[{"x": "${secret:github}"}], plain="$5")
    assert sent(server) == {"header": f"Bearer {VALUE}", "deep": [{"x": VALUE}], "plain": "$5"}
    text = answer["result"]["content"][0]["text"]
    assert json.loads(text.removeprefix("sent "))["header"] == "Bearer ${secret:github}"
    (call,) = [one for one in server.records("call") if one.get("tool") == "send"]
    (filled,) = server.records("secret", "filled")
    assert (filled["credential"], filled["tool"]) == ("vault://github", "send")
    assert filled["seq"] < call["seq"]
    assert call["decision"] == "allow"
    assert (server.home / "calls").read_text().count("github") == 0  # what the server has is the value
    (server.home / "calls").rename(server.home / "told-calls")
    assert leaks(land, ("answer", json.dumps(answer).encode())) == []
    (listed,) = json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"]
    assert (listed["uses"], listed["servers"]) == (1, ["teller"])


def test_a_handle_that_is_written_with_escapes_is_one(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    host.write(
        rb'{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"send","arguments":'
        rb'{"a":"\u0024{sec\u0072et:github}"}}}' + b"\n"
    )
    host.answer(77)
    assert sent(server) == {"a": VALUE}


@pytest.mark.parametrize("tool", ["tell", "slow"])
def test_no_rule_no_value(land: Land, tool: str) -> None:
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    answer = host.call(tool, a="${secret:github}", seconds=0)
    assert answer["result"]["isError"]
    text = answer["result"]["content"][0]["text"]
    assert 'its arguments ask for the secret "github", and no rule that lets it pass gives it one' in text
    assert not (server.home / "calls").exists()
    (call,) = [one for one in server.records("call") if one.get("tool") == tool]
    assert (call["decision"], call["rule"]) == ("deny", "secrets")
    assert server.records("secret", "filled") == []


def test_another_server_does_not_get_it_and_unknown_names_are_text(land: Land) -> None:
    keep(land, "github")
    other = registered(teller(land, name="other"))
    host = other.run().greet()
    assert host.call("send", a="${secret:github}")["result"]["isError"]
    assert not host.call("send", a="${secret:nothing}")["result"].get("isError")
    assert sent(other) == {"a": "${secret:nothing}"}


def test_a_handle_in_the_name_of_a_member_is_text(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land))
    run(server).greet().call("send", **{"${secret:github}": "x"})
    assert sent(server) == {"${secret:github}": "x"}


@pytest.mark.parametrize("why", ["expired", "locked"])
def test_a_value_that_cannot_be_had_denies_the_call(land: Land, why: str) -> None:
    keep(land, "github", VALUE, *(("--expires", "1s") if why == "expired" else ()))
    server = registered(teller(land))
    host = run(server).greet()
    if why == "locked":
        land.mcpguard("secret", "lock")
    else:
        assert until(
            lambda: json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"][0]["expired"]
        )
    text = host.call("send", a="${secret:github}")["result"]["content"][0]["text"]
    assert f"{why}" in text
    assert not (server.home / "calls").exists()


def test_one_line_cannot_grow_without_bound(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    text = host.call("send", a="${secret:github}" * 1000)["result"]["content"][0]["text"]
    assert "has 1000 handles of secrets, more than 16" in text.replace("have 1000", "has 1000")
    assert not (server.home / "calls").exists()


def test_whoever_approves_sees_the_handle_and_the_server_gets_the_value(land: Land) -> None:
    land.policy(POLICY.replace('id = "gives"', 'id = "gives"').replace(
        'tools = ["send"]\neffect = "allow"', 'tools = ["send"]\neffect = "ask"'
    ))  # fmt: skip
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    waiting = host.calling("send", a="${secret:github}")
    (ticket,) = until(lambda: land.ask({"verb": "pending"})["tickets"])
    assert "${secret:github}" in json.dumps(ticket)
    assert leaks(land, ("ticket", json.dumps(ticket).encode())) == []
    assert land.mcpguard("approve", ticket["id"], "--yes").returncode == 0
    host.answer(waiting)
    assert sent(server) == {"a": VALUE}


def test_while_policy_watches_a_handle_without_a_rule_is_text(land: Land) -> None:
    land.policy(POLICY.replace('"enforce"', '"observe"'))
    keep(land, "github")
    server = registered(teller(land))
    host = run(server).greet()
    host.call("tell", a="${secret:github}")
    assert json.loads((server.home / "calls").read_text()) == {"a": "${secret:github}"}
    host.call("send", a="${secret:github}")
    assert sent(server) == {"a": VALUE}


def test_an_error_and_a_log_message_of_the_server_do_not_tell_it(land: Land) -> None:
    keep(land, "github")
    server = registered(teller(land, secret={"TOKEN": "vault://github"}))
    host = run(server).greet()
    answer = host.call("fail", variable="TOKEN")
    assert answer["error"]["message"] == "bad token ${secret:github}"


# --- references in the configuration of a host ---------------------------------------------------------------


def configured(place: House, **env: str) -> Path:
    """A host's configuration with a server behind mcpguard that has a secret in plain text."""
    home = place.root / "told-home"
    home.mkdir(exist_ok=True)
    file = place.root / ".claude.json"
    entry = {
        "command": PYTHON, "args": ["-I", "-S", TELLER, str(home)],
        "env": {"GITHUB_TOKEN": VALUE, "API_HOST": "api.example", **env},
    }  # fmt: skip
    file.write_text(json.dumps({"mcpServers": {"gh": entry}}, indent=2, ensure_ascii=False))
    file.chmod(0o600)
    assert place.mcpguard("host", "wrap", "--yes").returncode == 0
    return file


def started(place: House, file: Path, *argv: str, **env: str) -> Host:
    """What a host does with its configuration: the command with the variables of the entry."""
    entry = json.loads(file.read_text())["mcpServers"]["gh"]
    words = [entry["command"], *entry["args"]]
    host = Host([*FORMS["pipes"], *(argv or words)], place.env | entry["env"] | env)
    place.hosts.append(host)
    return host


@pytest.fixture
def moved(land: Land) -> tuple[Land, Path]:
    file = configured(land)
    before = file.read_bytes()
    ran = land.mcpguard("secret", "import", "--yes", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["changed"][0]["secrets"] == [
        {"server": "gh", "variable": "GITHUB_TOKEN", "name": "gh.GITHUB_TOKEN"}
    ]
    (land.root / "told-before").write_bytes(before)
    return land, file


def test_an_imported_secret_leaves_the_configuration_and_reaches_its_server(moved: tuple[Land, Path]) -> None:
    land, file = moved
    assert json.loads(file.read_text())["mcpServers"]["gh"]["env"] == {
        "GITHUB_TOKEN": "mcpguard-secret://gh.GITHUB_TOKEN", "API_HOST": "api.example",
    }  # fmt: skip
    host = started(land, file).greet()
    found = told(host)
    assert found["environ"]["GITHUB_TOKEN"] == VALUE
    assert found["environ"]["API_HOST"] == "api.example"
    assert (
        host.call("repeat", variable="GITHUB_TOKEN")["result"]["content"][0]["text"]
        == "${secret:gh.GITHUB_TOKEN}"
    )
    assert leaks(land) == []
    assert not land.mcpguard("scan").stdout.count("a secret in plain text")
    assert "nothing to do" in land.mcpguard("secret", "import", "--yes").stdout


def test_undo_puts_every_byte_back(moved: tuple[Land, Path]) -> None:
    land, file = moved
    ran = land.mcpguard("secret", "import", "--undo", "--yes")
    assert ran.returncode == 0, ran.stderr
    assert file.read_bytes() == (land.root / "told-before").read_bytes()
    assert told(started(land, file).greet())["environ"]["GITHUB_TOKEN"] == VALUE
    assert "nothing to do" in land.mcpguard("secret", "import", "--undo", "--yes").stdout


def test_a_reference_is_good_for_its_server_and_its_command_only(moved: tuple[Land, Path]) -> None:
    land, file = moved
    run = [*MCPGUARD, "run"]
    thief = ["--", PYTHON, "-c", "import os; print(os.environ)"]
    for words in (
        [*run, "--name", "evil", *thief],  # another name
        [*run, "--name", "gh", *thief],  # the name, another command
        [*run, "--name", "gh", "--", PYTHON, "-I", "-S", TELLER, str(land.root)],  # other arguments
        [*run, "--name", "gh", "--", "env", PYTHON, "-I", "-S", TELLER, str(land.root / "told-home")],
    ):
        assert "is not kept for the server" in refused(started(land, file, *words))
    entry = json.loads(file.read_text())["mcpServers"]["gh"]
    command = [entry["command"], *entry["args"]]
    # another variable, which the server would print
    other = Host([*FORMS["pipes"], *command], land.env | {"LANG": "mcpguard-secret://gh.GITHUB_TOKEN"})
    land.hosts.append(other)
    assert "as LANG" in refused(other)
    # a secret that is kept for somebody else
    keep(land, "private")
    assert "'private' is not kept for the server 'gh'" in refused(
        started(land, file, GITHUB_TOKEN="mcpguard-secret://private")
    )


def test_who_starts_it_chooses_neither_the_program_nor_where_the_secret_goes(
    moved: tuple[Land, Path],
) -> None:
    land, file = moved
    evil = land.root / "evil"
    evil.mkdir()
    host = started(
        land, file, PATH=f"{evil}:/usr/bin", HOME=str(evil), LD_PRELOAD="/evil.so", NODE_OPTIONS="--require=/evil.js",
        PYTHONPATH=str(evil), npm_config_registry="https://evil.example", EXTRA="x",
    ).greet()  # fmt: skip
    environ = told(host)["environ"]
    assert environ["PATH"] == land.env["PATH"]
    assert environ["HOME"] == land.env["HOME"]
    assert not {"LD_PRELOAD", "NODE_OPTIONS", "PYTHONPATH", "npm_config_registry", "EXTRA"} & environ.keys()
    assert "the variable API_HOST is another one" in refused(started(land, file, API_HOST="evil.example"))


def test_a_changed_command_gets_it_after_a_person_has_looked(moved: tuple[Land, Path]) -> None:
    land, file = moved
    content = json.loads(file.read_text())
    content["mcpServers"]["gh"]["args"].append("--more")
    content["mcpServers"]["gh"]["env"]["API_HOST"] = "other.example"
    file.write_text(json.dumps(content, ensure_ascii=False))
    assert "mcpguard secret allow gh.GITHUB_TOKEN --server gh" in refused(started(land, file))
    assert land.mcpguard("secret", "allow", "gh.GITHUB_TOKEN").returncode == 5  # nobody to ask
    ran = land.mcpguard("secret", "allow", "gh.GITHUB_TOKEN", "--server", "gh", "--yes")
    assert (ran.returncode, "--more" in ran.stdout) == (0, True), ran.stderr
    assert told(started(land, file).greet())["environ"]["GITHUB_TOKEN"] == VALUE
    assert land.mcpguard("secret", "allow", "nobody", "--yes").returncode == 6


def test_what_a_host_has_started_cannot_touch_secrets(moved: tuple[Land, Path]) -> None:
    land, _ = moved
    agent = arrive(land, FORMS["pipes"]).greet()
    for words in (
        ("secret", "import", "--undo", "--yes"), ("secret", "rm", "gh.GITHUB_TOKEN", "--yes"), ("secret", "lock"),
        ("secret", "allow", "gh.GITHUB_TOKEN", "--yes"),
    ):  # fmt: skip
        code, said = inside(agent, *MCPGUARD, *words)
        assert (code, "refuse" in said or "started" in said) == (5, True), (words, said)
    assert len(json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"]) == 1


def test_a_configuration_that_cannot_be_written_keeps_its_secret_and_the_vault_does_not(land: Land) -> None:
    file = configured(land)
    os.link(file, land.root / "told-second-name")
    before = file.read_bytes()
    ran = land.mcpguard("secret", "import", "--yes")
    assert (ran.returncode, "hard links" in ran.stderr) == (6, True), ran.stderr
    assert file.read_bytes() == before
    assert json.loads(land.mcpguard("secret", "list", "--json").stdout)["secrets"] == []


# --- where values come from ----------------------------------------------------------------------------------


def test_values_come_from_every_place_at_start_and_go_nowhere(land: Land) -> None:
    pyrage = pytest.importorskip("pyrage", reason="the extra vault")
    identity = pyrage.x25519.Identity.generate()
    home = land.root / "told-places"
    home.mkdir()

    def private(name: str, data: bytes) -> Path:
        path = home / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    key = private("identity", f"# made by a test\n{identity}\n".encode())
    aged = private("aged", pyrage.encrypt(b"value-of-age-file\n", [identity.to_public()]))
    plain = private("plain", b"value-of-plain-file\n")
    sealed = home / "sealed"
    ran = land.mcpguard("secret", "seal", str(sealed), input="value-of-sealed-file\n")
    assert ran.returncode == 0, ran.stderr
    assert b"value-of" not in sealed.read_bytes()
    assert sealed.stat().st_mode & 0o777 == 0o600
    script = private("prints", b"#!/bin/sh\necho value-of-$1-program\n")
    script.chmod(0o700)
    server = registered(teller(land, secret={
        "AGE": f"file://{aged}?identity={key}", "PLAIN": f"file://{plain}?plain", "SEALED": f"file://{sealed}?sealed",
        "CMD": f"cmd://{script} 'a b'", "KEY": f"file://{plain}?plain#file",
    }))  # fmt: skip
    host = run(server).greet()
    environ = told(host)["environ"]
    key_file = Path(environ["KEY"])
    assert (key_file.read_text(), key_file.stat().st_mode & 0o777) == ("value-of-plain-file", 0o600)
    assert key_file.parent.stat().st_mode & 0o777 == 0o700
    assert {name: environ[name] for name in ("AGE", "PLAIN", "SEALED", "CMD")} == {
        "AGE": "value-of-age-file", "PLAIN": "value-of-plain-file", "SEALED": "value-of-sealed-file",
        "CMD": "value-of-a b-program",
    }  # fmt: skip
    for value in environ.values():
        if value.startswith("value-of"):
            assert leaks(land, value=value, allowed=("told-", "plain", key_file.name)) == []
    host.close_stdin()
    assert until(lambda: not key_file.parent.exists())
    plain.chmod(0o640)
    assert "others may read" in refused(server.run())
