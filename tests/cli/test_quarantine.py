"""The words of `mcpguard quarantine`; what it does is in tests/lifecycle/test_quarantine.py."""

import json
from collections.abc import Iterator

import pytest

from tests.lifecycle.stage import House, house


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with house() as made:
        yield made


def test_it_says_what_it_did_and_how_to_undo_it(place: House) -> None:
    done = place.mcpguard("quarantine", "files", "--reason", "a\x1b[2Jb")
    assert done.stdout.splitlines() == [
        "server:files is in quarantine: 0 connections ended, new ones are refused",
        "undo: mcpguard quarantine --lift files",
    ]
    shown = place.mcpguard("quarantine", "--list").stdout
    assert shown.startswith("server:files  refused since 20")
    assert "\x1b" not in shown
    entry = json.loads(place.mcpguard("quarantine", "list", "--json").stdout)["entries"][0]
    assert (entry["subject"], entry["how"], entry["reason"]) == ("server:files", "refuse", "a\x1b[2Jb")
    lifted = json.loads(place.mcpguard("quarantine", "--lift", "server:files", "--json").stdout)
    assert lifted["lifted"] == "server:files"
    assert place.mcpguard("quarantine", "--list").stdout == "nothing is in quarantine\n"


def test_a_server_that_is_called_list_can_be_named(place: House) -> None:
    assert "server:list is in quarantine" in place.mcpguard("quarantine", "server:list").stdout
    assert place.mcpguard("quarantine", "--lift", "list").stdout == "lifted server:list\n"


def test_what_is_not_there_cannot_be_lifted(place: House) -> None:
    done = place.mcpguard("quarantine", "--lift", "nobody")
    assert (done.returncode, "mcpguard quarantine --list" in done.stderr) == (5, True)
    done = place.mcpguard("quarantine", "--lift", "nobody", "--json")
    assert json.loads(done.stdout)["ok"] is False
