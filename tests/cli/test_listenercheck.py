"""`mcpguard doctor` and `mcpguard status` on listeners and on how their peers are recognised."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lifecycle.land import Land


@pytest.fixture
def land() -> Iterator[Land]:
    with Land() as made:
        yield made


def write(land: Land, folder: str, text: str) -> None:
    path = land.state / folder / f"{folder}.toml"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def found(land: Land) -> list[dict[str, Any]]:
    """What `doctor` says of both; its exit code is that of everything that it looks at."""
    for code in (7, 0):
        try:
            said = land.run("doctor", "--json", code=code)
        except AssertionError:
            continue
        return [each for each in json.loads(said)["findings"] if each["check"] in ("auth", "listeners")]
    raise AssertionError(land.run("doctor", "--json"))


def listener(land: Land, name: str, more: str = "") -> str:
    return f'[[listener]]\nname = "{name}"\nlisten = "unix:{land.root}/{name}.sock"\n{more}'


def test_nothing_is_said_where_there_is_nothing(land: Land) -> None:
    assert found(land) == []


def test_files_are_looked_at_without_a_daemon(land: Land) -> None:
    write(land, "serve", "version = 1\n" + listener(land, "one"))
    (only,) = found(land)
    assert only["level"] == "note"
    assert "one: not open, for no daemon runs" in only["words"]
    write(land, "auth", "version = 1\n[plugin.badge\n")
    write(land, "serve", "version = 1\n" + listener(land, "one", "surprise = 1\n"))
    auth, serve = found(land)
    assert (auth["check"], auth["level"], serve["level"]) == ("auth", "bad", "bad")
    assert "auth.toml:2" in auth["words"]
    assert "no peer of a listener is let in" in auth["words"]
    assert "surprise" in serve["words"]


def test_a_listener_that_is_not_open_is_to_be_mended(land: Land) -> None:
    tls = '[[listener]]\nname = "two"\nlisten = "tls:127.0.0.1:0"\nauth = ["cert"]\ncertificate = "registry:nobody"\n'
    write(land, "serve", "version = 1\n" + listener(land, "one") + tls)
    land.serve()
    bad, fine = found(land)
    assert (bad["level"], fine["level"]) == ("bad", "ok")
    assert bad["words"].startswith("two: ")
    assert "nobody" in bad["words"]
    assert "mcpguard serve --reload" in bad["fix"]
    assert fine["words"] == "open: one"
    shown = land.run("status").splitlines()
    assert any(line.startswith("listens  one: unix:") for line in shown)
    assert any(line.startswith("BAD      the listener two is not open: ") for line in shown)
    write(land, "serve", "version = 1\n" + listener(land, "one") + listener(land, "three"))
    assert any("three stands in serve.toml and is not open" in each["words"] for each in found(land))
