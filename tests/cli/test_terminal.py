"""What verbs say and ask: nothing invisible, and only a yes is one."""

import json

import pytest

from mcpguard.cli import terminal
from mcpguard.errors import ConfigError, DaemonError, TrustError

HOSTILE = "a\x1b[2Jb\u202ec\\"


def test_every_character_is_visible(capsys):
    terminal.say(HOSTILE)
    terminal.tell(HOSTILE)
    said = capsys.readouterr()
    assert said.out == said.err == "a\\u001b[2Jb\\u202ec\\\\\n"


def test_json_is_ascii_on_one_line(capsys):
    terminal.print_json({"ok": True, "text": HOSTILE + "\n\u00e9"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out) == {"v": 1, "ok": True, "text": HOSTILE + "\n\u00e9"}


def test_nobody_to_ask_is_no_yes():
    assert not terminal.at_terminal()
    terminal.confirm("Really?", yes=True)
    with pytest.raises(TrustError, match="this needs a yes"):
        terminal.confirm("Really?", yes=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrustError("no\x1b", hint="try"), 5),
        (ConfigError("no\x1b", file="f", hint="try"), 6),
        (DaemonError("not running\x1b", hint="try"), 3),
        (DaemonError("no\x1b", hint="try"), 1),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_sentence_and_its_code(capsys, error, code, as_json):
    with pytest.raises(SystemExit) as stopped, terminal.errors_told(as_json=as_json):
        raise error
    assert stopped.value.code == code
    said = capsys.readouterr()
    assert said.err.startswith("mcpguard: ")
    assert "\\u001b" in said.err
    assert said.err.endswith(": try\n")
    if as_json:
        assert json.loads(said.out) == {
            "v": 1,
            "ok": False,
            "error": {"message": error.message, "hint": "try"},
        }
    else:
        assert said.out == ""


def test_what_is_not_ours_is_a_bug_and_passes():
    with pytest.raises(ValueError, match="bug"), terminal.errors_told():
        raise ValueError("bug")
