"""Cedar decides at a real daemon: what is permitted passes, what is forbidden does not, what asks waits."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import House, house
from tests.lifecycle.test_abuse_policy import refused
from tests.lifecycle.test_approvals import notes, text, waits

TOP = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n'
CEDAR = """
engine = "cedar"
cedar = '''
@id("echo")
permit (principal, action == Mcpguard::Action::"tools/call", resource)
when { resource.name == "echo" }
unless { context.args.hasTag("piece") && context.args.getTag("piece") == "13" };

@id("within")
permit (principal, action == Mcpguard::Action::"tools/call", resource)
when { resource.name == "where" }
when { context.paths.hasTag("path") && context.paths.getTag("path") in Mcpguard::Path::"DATA" };

@id("notes") @ask
permit (principal, action == Mcpguard::Action::"tools/call", resource) when { resource.name == "note" };
'''
"""


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(TOP + CEDAR.replace("DATA", data(made)))
        yield made


def data(place: House) -> str:
    folder = Path(place.root).resolve() / "data"
    folder.mkdir(exist_ok=True)
    return str(folder)


def test_a_session_where_cedar_decides(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    listed = {tool["name"] for tool in host.ask("tools/list")["result"]["tools"]}
    assert listed == {"echo", "where", "note"}, "what no policy can permit is not shown"
    assert not refused(host.call("echo", piece=12))
    told = host.call("echo", piece=13)
    assert "no Cedar policy permits it" in text(told)
    assert refused(host.call("big")), "what is not shown is not called either"
    folder = Path(data(place))
    (folder / "out").symlink_to("/etc")
    assert not refused(host.call("where", path=f"{folder}/a"))
    assert refused(host.call("where", path=f"{folder}base/a"))
    assert refused(host.call("where", path=f"{folder}/out/passwd")), "a path is where it leads"
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    assert notes(host) == []
    always = place.mcpguard("approve", ticket["id"], "--always", "--yes")
    assert always.returncode != 0
    assert 'no rule can be added where engine = "cedar" decides' in always.stderr
    assert place.mcpguard("approve", ticket["id"], "--yes").returncode == 0
    assert not refused(host.answer(call))
    assert notes(host) == ["1"]
    calls = [one for one in place.records() if one["type"] == "call" and one.get("tool") == "echo"]
    assert [(one["decision"], one["rule"]) for one in calls] == [("allow", "echo"), ("deny", "default")]


def test_another_policy_reaches_a_connection_that_is_open(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    assert not refused(host.call("echo"))
    forbid = '@id("stop") forbid (principal, action, resource) when { resource.name == "echo" };\n\'\'\'\n'
    place.policy(TOP + CEDAR.replace("DATA", "/").removesuffix("'''\n") + forbid)
    assert 'rule "stop" (test:' in text(host.call("echo"))
    place.policy(TOP + '[[rule]]\nid = "echo"\ntools = ["echo"]\neffect = "allow"\n')
    assert not refused(host.call("echo"))


WITHOUT = """
import sys
sys.modules["cedarpy"] = None
sys.argv = ["mcpguard", "daemon", "start"]
from mcpguard.cli.main import main
sys.exit(main())
"""


def test_a_daemon_without_the_library_does_not_start(place: House) -> None:
    """It does not watch instead: what was applied cannot be read, and nothing runs."""
    assert place.mcpguard("daemon", "stop").returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env=place.env, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 6, done
    assert "Cedar is not installed: pip install 'mcpguard[cedar]'" in done.stderr
