"""Where things are, and that both sides look in the same place."""

import os
from pathlib import Path

import pytest

from mcpguard.system import paths


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/a")
    return monkeypatch


def test_named_directories_win(env: pytest.MonkeyPatch) -> None:
    env.setenv("MCPGUARD_RUNTIME_DIR", "/r")
    env.setenv("MCPGUARD_STATE_DIR", "/s")
    assert paths.run_socket() == Path("/r/run.sock")
    assert paths.admin_socket() == Path("/r/admin.sock")
    assert paths.audit_dir() == Path("/s/audit")
    assert paths.policy_dir() == Path("/s/policy")
    assert paths.daemon_log() == Path("/s/daemon.log")


def test_state_is_below_home_otherwise(env: pytest.MonkeyPatch) -> None:
    assert paths.state_dir() == Path("/home/a/.local/state/mcpguard")
    env.setenv("XDG_STATE_HOME", "/x")
    assert paths.state_dir() == Path("/x/mcpguard")


@pytest.mark.parametrize("relative", ["", "r", "./r", "~/r"])
def test_relative_place_is_ignored_because_daemon_and_caller_stand_elsewhere(
    env: pytest.MonkeyPatch, relative: str
) -> None:
    before = paths.runtime_dir(), paths.state_dir()
    env.setenv("MCPGUARD_RUNTIME_DIR", relative)
    env.setenv("MCPGUARD_STATE_DIR", relative)
    assert (paths.runtime_dir(), paths.state_dir()) == before


def test_nothing_is_created(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.setenv("MCPGUARD_RUNTIME_DIR", f"{tmp_path}/r")
    env.setenv("MCPGUARD_STATE_DIR", f"{tmp_path}/s")
    for place in (paths.runtime_dir, paths.run_socket, paths.state_dir, paths.audit_dir, paths.daemon_log):
        place()
    assert os.listdir(tmp_path) == []
