"""The console on a real terminal, with a real daemon, a real host, and a person who types."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.fakes.screens import Screen
from tests.lifecycle.forms import FORMS, arrive, enrol
from tests.lifecycle.stage import MCPGUARD, House, house
from tests.lifecycle.test_approvals import ASKING, notes, pending, waits

PRESENT = ASKING.format(timeout="60s") + 'confirm = "presence"\n'


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(ASKING.format(timeout="60s"))
        yield made


@pytest.fixture
def screen(place: House) -> Iterator[Screen]:
    made = Screen([*MCPGUARD, "console"], place.env)
    yield made
    made.close()


def test_a_call_is_seen_waits_is_approved_and_goes_through_once(place: House, screen: Screen) -> None:
    screen.shows("no calls yet", "q quit")
    host = arrive(place, FORMS["pipes"]).greet()
    host.call("echo")
    screen.shows("echo", "allow", "ok")
    answered = host.calling("note", n=1)
    screen.shows("2 Waiting (1)")
    screen.press("2")
    screen.shows("> ", "/n: 1", "left")
    screen.press("a")
    screen.shows("Approve this call?")
    time.sleep(0.6)
    screen.press("y")
    screen.shows("approved", "nothing waits")
    assert "isError" not in host.answer(answered)["result"]
    assert notes(host) == ["1"]
    screen.press("q")
    assert screen.end() == 0
    assert b"\x1b[?1049l" in screen.raw, "the screen of before is back"


def test_presence_is_asked_for_on_the_plain_terminal(place: House) -> None:
    setting = Screen([*MCPGUARD, "presence", "set", "passphrase"], place.env)
    for prompt in ("New passphrase for approvals:", "The same again:"):
        setting.shows(prompt)
        setting.press("correct horse\n")
    assert setting.end() == 0
    place.policy(PRESENT)
    host = arrive(place, FORMS["pipes"]).greet()
    answered = host.calling("note", n=1)
    waits(place)
    screen = Screen([*MCPGUARD, "console"], place.env)
    screen.shows("2 Waiting (1)")
    screen.press("2")
    screen.shows("whoever approves has to show presence")
    for passphrase, said in (("open barley\n", "passphrase is wrong"), ("correct horse\n", "approved")):
        screen.press("a")
        screen.shows("Approve this call?")
        time.sleep(0.6)
        screen.press("y")
        screen.asks("Passphrase for approvals: ")
        assert notes(host) == []
        screen.press(passphrase)
        screen.shows(said, "q quit")
    assert b"correct horse" not in screen.raw
    assert "isError" not in host.answer(answered)["result"]
    screen.press("q")
    assert screen.end() == 0


def test_for_good_shows_the_rule_asks_and_comes_back(place: House) -> None:
    file = place.root / "policy.toml"
    file.write_text(ASKING.format(timeout="60s"))
    assert place.mcpguard("policy", "apply", str(file)).returncode == 0
    host = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, host, "acme")
    host.close_stdin()
    host.wait()
    host = arrive(place, FORMS["pipes"], name="box").greet()
    answered = host.calling("note", n=1)
    waits(place)
    screen = Screen([*MCPGUARD, "console"], place.env)
    screen.shows("2 Waiting (1)")
    screen.press("2")
    screen.shows("> ")
    screen.press("A")
    screen.shows("+ [[rule]]", "[y/N]")
    time.sleep(0.6)
    screen.press("y\n")
    screen.shows("it is in force", "Enter goes back")
    screen.press("\n")
    screen.shows("nothing waits", "q quit")
    assert "isError" not in host.answer(answered)["result"]
    assert 'answers = ["notes"]' in file.read_text()
    screen.close()


def test_without_colour_everything_can_be_told(place: House) -> None:
    arrive(place, FORMS["pipes"]).greet().calling("note", n=1)
    waits(place)
    screen = Screen([*MCPGUARD, "console"], {**place.env, "NO_COLOR": "1"})
    screen.shows("2 Waiting (1)")
    screen.press("2")
    (ticket,) = pending(place)
    screen.shows(f"> {ticket['id']}", "d deny")
    screen.close()


def test_a_killed_daemon_is_waited_for(place: House, screen: Screen) -> None:
    screen.shows("policy enforce")
    assert place.daemon
    place.daemon.kill()
    place.daemon.wait()
    screen.shows("waiting for the daemon", "not running")
    place.serve()
    screen.shows("policy enforce")
    screen.press("q")
    assert screen.end() == 0


def test_it_needs_a_terminal_and_says_what_works_without(place: House) -> None:
    done = place.mcpguard("console")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mcpguard: the console needs a terminal: elsewhere: mcpguard pending --watch\n"


def test_it_says_which_extra_is_missing(place: House) -> None:
    hide = "import sys; sys.modules['textual'] = None; sys.argv = ['mcpguard', 'console']\n"
    run = "from mcpguard.cli.main import main; sys.exit(main())"
    screen = Screen([sys.executable, "-c", hide + run], {**place.env, "PYTHONPATH": os.getcwd()})
    seen = screen.shows("pip instal", "l 'mcpguard[tui]'")
    assert screen.end() == 1
    assert "textual" in seen
    assert "Traceback" not in seen


def test_the_library_is_imported_by_nothing_else() -> None:
    loaded = "import sys; from mcpguard.cli.main import cli; cli.get_command(None, 'console'); print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
