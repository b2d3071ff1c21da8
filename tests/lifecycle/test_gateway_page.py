"""docs/gateway.md is run: every command of it, in order, in an empty home with a real daemon.

The test prepares what the page does not make itself: a PATH that begins with this interpreter's programs, the variables
of a `House`, a receiver of syslog messages on loopback, and two free ports in place of 8443 and 5514. Numbers in names
of tests are those of the page's sections.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lifecycle.stage import House, until

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
SECTIONS = 34
PATIENCE = 90.0
"""For one command, on a machine that others use, too."""


class Command(NamedTuple):
    """One command of the page, with its here-documents."""

    section: int
    text: str
    code: int
    lasts: bool
    waits: bool


class Done(NamedTuple):
    """What came of a command."""

    command: Command
    code: int
    said: str

    def right(self) -> bool:
        """Whether it ended as the page says, and not by accident."""
        return self.code == self.command.code and "Traceback" not in self.said


def commands(page: str) -> list[Command]:
    """Every command of every shell block. Section 0 is what stands before the first question."""
    found = []
    for head, part in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        number = int(match[1]) if (match := re.match(r"(\d+)\. ", head)) else 0
        for block in re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL):
            found += [command(number, text) for text in split(block)]
    return found


def split(block: str) -> list[str]:
    """The commands of a block: a line each, with the here-document that it begins."""
    found, lines = [], iter(block.splitlines())
    for line in lines:
        text = [line]
        if here := re.search(r"<<'?([A-Z]+)'?", line):
            text.append(next(lines))
            while text[-1] != here[1]:
                text.append(next(lines))
        found.append("\n".join(text))
    return found


def command(section: int, text: str) -> Command:
    first = text.partition("\n")[0]
    code = int(match[1]) if (match := re.search(r"  # exits (\d+)$", first)) else 0
    lasts = first.endswith("  # until Ctrl-C")
    return Command(section, text, code, lasts, re.search(r" &  #", first) is not None)


class Walk:
    """A walk through the page: a home, a daemon, and what each command said."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.house.state = house.root / ".local" / "state" / "mcpguard"
        self.house.env |= {
            "MCPGUARD_STATE_DIR": str(self.house.state),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NO_COLOR": "1",
        }
        self.house.serve()
        self.syslog = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.syslog.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.ports = {"8443": str(free.getsockname()[1]), "5514": str(self.syslog.getsockname()[1])}
        self.done: list[Done] = []
        self.waiting: list[tuple[Command, subprocess.Popen[str]]] = []

    def shell(self, text: str) -> subprocess.Popen[str]:
        """Bash, in the home, that stops at the first failure."""
        for port, free in self.ports.items():
            text = text.replace(f":{port}", f":{free}")
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            env=self.house.env, cwd=self.house.root, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def go(self, step: Command) -> None:
        """One command, as the page says that it is to be run."""
        if export := re.fullmatch(r"export (\w+)=(\S+)", step.text):
            self.house.env[export[1]] = export[2].replace("$HOME", str(self.house.root))
            self.done.append(Done(step, 0, ""))
        elif step.waits:
            self.waiting.append((step, self.shell(re.sub(r" &  #.*", "", step.text))))
            until(
                lambda: self.house.ask({"verb": "pending"})["tickets"]
            )  # if none comes, the next command fails
        elif step.lasts:
            self.done.append(self.interrupted(step, self.shell(f"exec {step.text}")))
        else:
            process = self.shell(step.text)
            said = process.communicate(timeout=PATIENCE)[0]
            self.done.append(Done(step, process.returncode, said))

    def interrupted(self, step: Command, process: subprocess.Popen[str]) -> Done:
        """Wait for the first line, then Ctrl-C. 130 is how a shell says that, too."""
        assert process.stdout
        assert select.select([process.stdout], [], [], PATIENCE)[0], step
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = first + process.communicate(timeout=PATIENCE)[0]
        code = 1 if not first.strip() or process.returncode not in (0, 130) else 0
        return Done(step, code, said)

    def end(self) -> None:
        """What waited for an answer has got one."""
        for step, process in self.waiting:
            said = process.communicate(timeout=PATIENCE)[0]
            self.done.append(Done(step, process.returncode, said))

    def said(self, section: int, words: str) -> str:
        """What the command of a section that begins so has said."""
        (found,) = [
            one for one in self.done if one.command.section == section and one.command.text.startswith(words)
        ]
        return found.said

    def records(self, **wanted: Any) -> list[dict[str, Any]]:
        """Records of the log with these members."""
        return [one for one in self.house.records() if wanted.items() <= one.items()]


STEPS = commands(PAGE.read_text())


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    """The whole page, walked once; each test looks at what came of it."""
    with House() as house:
        made = Walk(house)
        with contextlib.closing(made.syslog):
            for step in STEPS:
                made.go(step)
            made.end()
            assert house.daemon
            house.daemon.wait(PATIENCE)  # the page's last word ends it
            house.serve()
            yield made


def test_every_section_has_a_command_of_ours() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE.read_text(), re.MULTILINE)]
    assert numbers == list(range(1, SECTIONS + 1))
    assert {step.section for step in STEPS if "mcpguard " in step.text} == set(range(SECTIONS + 1))


def test_every_command_of_the_page_was_run_and_ended_as_it_says(walk: Walk) -> None:
    wrong = [one for one in walk.done if not one.right()]
    assert not wrong, "\n\n".join(f"{one.command}\nended with {one.code}:\n{one.said}" for one in wrong)
    assert sorted(one.command for one in walk.done) == sorted(STEPS), "a command was left out"
    page = PAGE.read_text()
    assert set(re.findall(r"^```(.*)$", page, re.MULTILINE)[::2]) == {"sh"}, (
        "what is in another block is not run"
    )
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert "".join(f"{step.text}\n" for step in STEPS) == "".join(blocks), "a line of a block was lost"


def test_1_a_server_that_was_changed_does_not_run(walk: Walk) -> None:
    """And its signature is not enough: the digest is that of what lies there now."""
    script = walk.house.root / "server.py"
    good = script.read_bytes()
    script.write_bytes(good + b"# more\n")
    try:
        host = walk.shell("python3 host.py files read_file '{}'")
        said = host.communicate(timeout=PATIENCE)[0]
        assert (host.returncode, "has changed" in said) == (1, True), said
        assert walk.house.mcpguard("server", "verify", "files").returncode == 5
    finally:
        script.write_bytes(good)
    assert walk.house.mcpguard("server", "verify", "files").returncode == 0


def test_2_who_connects_is_known_to_the_kernel_and_graded(walk: Walk) -> None:
    begun = walk.records(type="session", event="begin", server="files")
    assert {one["host"]["uid"] for one in begun if "uid" in one["host"]} == {os.getuid()}
    assert {one["host"]["grade"] for one in begun if one["host"].get("script")} == {"G2"}
    assert {one["host"]["grade"] for one in begun if not one["host"].get("script")} == {"G0"}, (
        "a pipeline is no host"
    )


def test_3_sockets_are_ours_alone_and_impostors_are_refused(walk: Walk) -> None:
    assert [line.split()[0] for line in walk.said(3, "stat").splitlines()] == ["600", "600"]
    assert len(re.findall(r" ok +impostor: .* was refused", walk.said(3, "mcpguard doctor"))) >= 2
    assert any(
        "greeting" in one["reason"] for one in walk.records(type="session", event="refused", server="")
    )


def test_5_and_30_a_client_certificate_is_the_principal_that_is_judged(walk: Walk) -> None:
    (begun, *_) = [
        one for one in walk.records(type="session", event="begin") if one["host"].get("listener") == "far"
    ]
    assert begun["host"]["principals"] == ["cert:mcpguard://mcpguard.internal/build"]
    assert "hello" in walk.said(30, "python3 host.py far")


def test_7_what_was_revoked_is_in_the_list_and_on_record(walk: Walk) -> None:
    (revoked,) = walk.records(type="certificate", event="revoke")
    assert (revoked["name"], revoked["reason"]) == ("lost", "key-compromise")
    assert (walk.house.root / "crl.pem").read_text().startswith("-----BEGIN X509 CRL-----")


def test_8_what_no_rule_allows_does_not_reach_the_server(walk: Walk) -> None:
    assert "root:" not in walk.said(8, "python3 host.py files read_file")
    assert "hello" in walk.said(0, "python3 host.py files read_file")
    denied = [one["tool"] for one in walk.records(type="call", decision="deny", method="tools/call")]
    assert {"read_file", "wipe"} <= set(denied)


def test_9_an_approved_call_goes_through_once(walk: Walk) -> None:
    assert (walk.house.root / "src" / "notes").read_text() == "meet at noon\n"
    assert [one["event"] for one in walk.records(type="approval")] == ["asked", "granted"]
    (call,) = [one for one in walk.records(type="call", tool="write_note") if one.get("approval")]
    assert call["approval"] == walk.records(type="approval", event="granted")[0]["ticket"]


def test_12_a_key_that_comes_twice_is_not_passed_on(walk: Walk) -> None:
    assert [
        one["server"] for one in walk.records(type="drop", reason="an object has the same key twice")
    ] == ["files"]


def test_16_18_20_and_28_a_listener_says_why_and_the_log_has_it(walk: Walk) -> None:
    reasons = {
        (one["host"]["listener"], one["reason"])
        for one in walk.records(type="session", event="refused")
        if "listener" in one.get("host", {})
    }
    for listener, words in (
        ("keys", "no API key was shown"),
        ("keys", "is revoked"),
        ("tokens", "is signed with none"),
        ("badges", "nobody is in the house"),
    ):
        assert any(where == listener and words in reason for where, reason in reasons), reasons
    assert '"serverInfo"' in walk.said(16, "curl -sSf --unix-socket keys.sock http://localhost/mcp/files -K")


def test_21_22_and_27_no_secret_is_in_a_configuration_or_in_the_log(walk: Walk) -> None:
    assert "hello" in walk.said(21, "python3 host.py holder")
    log = b"".join(path.read_bytes() for path in (walk.house.state / "audit").rglob("*") if path.is_file())
    files = (walk.house.root / ".cursor" / "mcp.json").read_bytes()
    key = (walk.house.root / "ci.key").read_bytes().strip()
    assert key.startswith(b"mcpg_")
    for secret in (b"a-token-of-some-length", b"another-token", b"ghp_0123456789", key, b"correct horse"):
        assert secret not in log
        assert secret not in files
    events = {one["event"] for one in walk.records(type="secret")}
    assert {"set", "rotated", "bound", "removed"} <= events


def test_25_what_is_in_quarantine_is_refused_until_a_person_lifts_it(walk: Walk) -> None:
    assert "it asked for ~/.ssh" in walk.said(25, "python3 host.py files")
    assert [one["event"] for one in walk.records(type="quarantine")] == ["imposed", "lifted"]


def test_24_and_33_failures_go_out_as_events_and_the_log_verifies(walk: Walk) -> None:
    events = [json.loads(line) for line in (walk.house.root / "week.jsonl").read_text().splitlines()]
    failed = [one for one in events if one["class_uid"] == 3002 and one.get("status_id") == 2]
    assert len(failed) >= 4
    walk.syslog.settimeout(PATIENCE)
    assert b"CEF:" in walk.syslog.recv(65536)
    assert walk.said(33, "mcpguard audit verify").startswith("ok")
    assert "mcpguard-audit/" in (walk.house.root / "anchor").read_text()


def test_28_a_digest_that_was_revoked_does_not_run(walk: Walk) -> None:
    assert "revoked" in walk.said(28, "python3 host.py bad")
    assert walk.records(type="session", event="refused", server="bad")
    assert not walk.records(type="session", event="ready", server="bad")


def test_34_nothing_listens_in_plain_text(walk: Walk) -> None:
    said = walk.said(34, "mcpguard serve --listen tcp:")
    assert "tcp:, which shows credentials and calls to everybody on the way" in said
