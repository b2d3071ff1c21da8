"""The group; what it does is in tests/lifecycle/test_remote_login.py."""

import json
import subprocess

import pytest

from mcpguard.cli.remote import remote
from tests.lifecycle.stage import MCPGUARD, House


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MCPGUARD, *words], capture_output=True, text=True, timeout=20, check=False, **more
    )


def test_every_verb_is_there_and_has_help() -> None:
    assert remote.list_commands(None) == ["document", "login", "logout", "status"]
    for verb in remote.list_commands(None):
        told = run("remote", verb, "--help")
        assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("login",), ("login", "x", "--flow", "implicit"), ("login", "x", "--port", "99999"), ("logout",), ("status", "x"),
        ("document",), ("frob",),
    ],
)  # fmt: skip
def test_wrong_usage(words: tuple[str, ...]) -> None:
    assert run("remote", *words).returncode == 2


def test_status_without_a_daemon() -> None:
    with House() as place:
        done = place.mcpguard("remote", "status", "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["ok"] is False


def test_a_daemon_without_remote_servers() -> None:
    with House() as place:
        place.serve()
        done = place.mcpguard("remote", "status")
        assert (done.returncode, "no remote server has a token" in done.stdout) == (0, True)
        for verb, why in (
            ("login", "there is no vault yet"),
            ("logout", "no remote server is registered as 'files'"),
        ):
            done = place.mcpguard("remote", verb, "files")
            assert done.returncode == 5
            assert why in done.stderr
