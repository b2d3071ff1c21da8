"""What docs/ shows is true: every example of a policy is one, every example of cases is one."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mcpguard.cli.main import cli
from mcpguard.policy.document import parse, parse_project
from mcpguard.policy.lint import notices
from mcpguard.policy.trials import parse_trials
from mcpguard.system import servefile
from tests.cli import manpage
from tests.hosts import page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "policy.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_valid(text: str) -> None:
    if text.startswith("[[case]]"):
        assert parse_trials(text.encode(), "example", 0.0)
    elif text.startswith("# .mcpguard.toml"):
        assert parse_project(text.encode(), "example").rules
    else:
        ruleset = parse(text.encode(), "example")
        assert not [
            one.words for one in notices(ruleset) if "never" in one.words or "changes nothing" in one.words
        ]


def test_the_examples_of_listeners_are_valid() -> None:
    text = (ROOT / "docs" / "serve.md").read_text()
    first, listeners, policy = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [each.name for each in servefile.parse(listeners, "example")] == ["build", "containers"]
    assert parse(policy.encode(), "example").rules[0].who == ("role:ci",)
    assert parse(first.encode(), "example").rules[0].who == ("cert:mcpguard://mcpguard.internal/build",)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


def fresh(call: str) -> str:
    """What the page maker says in a process of its own: click remembers how a verb was called before."""
    words = [sys.executable, "-c", f"from tests.cli import manpage; print(manpage.{call}, end='')"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_help_in_the_readme_is_the_help() -> None:
    assert fresh("readme()") == manpage.README.read_text(), "python -m tests.cli.manpage"
    assert "\n  init  " in manpage.README.read_text()


def test_the_manual_page_is_made_of_the_help() -> None:
    text = manpage.FILE.read_text()
    assert text == fresh("page()"), "python -m tests.cli.manpage"
    assert text.count("\n.SS mcpguard ") > 60


def test_the_table_of_hosts_is_the_list_that_is_used() -> None:
    assert page.FILE.read_text() == page.page(), "python -m tests.hosts.page"


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")]), ids=lambda file: file.name
)
def test_every_link_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"]), ids=lambda file: file.name
)
def test_every_command_in_the_pages_exists(file: Path) -> None:
    """Each `mcpguard VERB` of a shell block is a verb, and each long option of it one of that verb's."""
    for block in re.findall(r"^```sh\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = line.partition("#")[0].split("&&")[-1].replace("|", " ").split()
            if words[:1] == ["mcpguard"] and words[1:2] not in ([], ["run"]):
                check(words[1:], line)


def check(words: list[str], line: str) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, line
        command, words = found, words[1:]
        if words[:1] and words[0].isupper():
            break
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--") and word != "--" and not isinstance(command, click.Group):
            assert word.partition("=")[0] in known, line
        if word == "--":
            break
