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
            until(lambda: self.house.ask({"verb": "pending"})["tickets"])  # if none comes, the next command fails
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
        (found,) = [one for one in self.done if one.command.section == section and one.command.text.startswith(words)]
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
            yield made


def test_every_section_has_a_command_of_ours() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE.read_text(), re.MULTILINE)]
    assert numbers == list(range(1, SECTIONS + 1))
    assert {step.section for step in STEPS if "mcpguard " in step.text} == set(range(SECTIONS + 1))


def test_every_command_of_the_page_was_run_and_ended_as_it_says(walk: Walk) -> None:
    wrong = [one for one in walk.done if not one.right()]
    assert not wrong, "\n\n".join(f"{one.command}\nended with {one.code}:\n{one.said}" for one in wrong)
    assert sorted(one.command for one in walk.done) == sorted(STEPS), "a command was left out"
    blocks = re.findall(r"^```(.*)$", PAGE.read_text(), re.MULTILINE)[::2]
    assert set(blocks) == {"sh"}, "what is shown in another block is not run"
