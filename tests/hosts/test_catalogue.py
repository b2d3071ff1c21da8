"""Known hosts: which path suggests which name, and that the data is what it says it is."""

import datetime as dt
import re
import time

import pytest

from mcpguard.hosts.catalogue import CHECKED, KNOWN, Kind, likely


@pytest.mark.parametrize(
    ("executable", "script", "ident"),
    [
        ("/home/u/.local/share/claude/versions/2.1.328", "", "claude-code"),
        ("/usr/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe", "", "claude-code"),
        ("/home/u/.local/bin/claude", "", "claude-code"),
        ("/usr/lib/node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex", "", "codex"),
        ("/home/u/.cache/copilot/pkg/universal/1.0.102/copilot", "", "copilot"),
        ("/usr/lib/node_modules/opencode-ai/node_modules/opencode-linux-x64/bin/opencode", "", "opencode"),
        ("/usr/lib/node_modules/@ampcode/cli/bin/amp", "", "amp"),
        ("/home/u/.nvm/versions/node/v20.1.0/bin/node", "/x/@google/gemini-cli/bundle/gemini.js", "gemini"),
        ("/usr/bin/node", "/x/dist/cn.js", "continue"),
        ("/usr/bin/node", "/usr/lib/node_modules/@qwen-code/qwen-code/cli.js", "qwen-code"),
        ("/usr/share/code/code", "", "vscode"),
        ("/snap/code/172/usr/share/code/code", "", "vscode"),
        ("/usr/share/codium/codium", "", "vscodium"),
        ("/tmp/.mount_cursorAbCdEf/usr/share/cursor/cursor", "", "cursor"),
        ("/home/u/.local/zed.app/libexec/zed-editor", "", "zed"),
        ("/home/u/.local/share/JetBrains/Toolbox/apps/pycharm/jbr/bin/java", "", "jetbrains"),
        ("/opt/warpdotdev/warp-terminal/warp", "", "warp"),
        ("/usr/lib/goose/resources/bin/goosed", "", "goose"),
    ],
)
def test_a_path_suggests_a_host(executable, script, ident):
    host = likely(executable, script)
    assert host is not None
    assert host.ident == ident


@pytest.mark.parametrize(
    ("executable", "script"),
    [
        ("", ""),
        ("/usr/bin/node", ""),
        ("/usr/bin/node", "/home/u/server.js"),
        ("/usr/bin/python3", "/x/gemini.js"),
        ("/usr/bin/bash", ""),
        ("/usr/share/code/codex", ""),
        ("/opt/usr/share/code/code", ""),
        ("claude/versions/1", ""),
        ("/x/claude/versions/1/evil", ""),
        ("/usr/share/code/code\n", ""),
    ],
)
def test_other_paths_suggest_nothing(executable, script):
    assert likely(executable, script) is None


def test_names_are_unique_and_fit_for_policy():
    idents = [host.ident for host in KNOWN]
    assert len({*idents}) == len(idents)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", ident) for ident in idents)
    assert all(host.title.isprintable() and host.title for host in KNOWN)


def test_entries_are_consistent():
    assert dt.date.fromisoformat(CHECKED) >= dt.date(2026, 11, 22)
    for host in KNOWN:
        assert bool(host.scripts) is (host.kind is Kind.NODE), host.ident
        assert all(pattern.startswith("/") for pattern in host.executables + host.scripts)
        assert all(
            "**" not in part or part == "**" for pattern in host.executables for part in pattern.split("/")
        )
        assert re.fullmatch(r"([A-Z0-9]{10})?", host.team), host.ident
        assert re.fullmatch(r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?", host.bundle), host.ident


def test_hostile_paths_stay_fast():
    started = time.perf_counter()
    for path in ("/a" * 2048, "/node_modules" * 315, "/claude/versions" * 250, "/" * 4096, "a" * 4096):
        assert likely(path, path) is None
    assert time.perf_counter() - started < 20  # seconds, where backtracking would need years
