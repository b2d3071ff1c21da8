"""Where agent hosts keep the servers that they start: files, formats and keys, as data.

A path begins with `~`, `/` or a variable: `{NAME:default}` is the value of NAME where the host honours it, else the
default. `*` is any one component. An empty text: the host is not there on that system.

Each row carries how well it is known (`catalogue.Mark`). Rows for Windows are for people who read the list; nothing
of mcpguard runs there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from mcpguard.hosts.catalogue import Mark
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.tree import Paths

CHECKED: Final = "2026-11-22"
"""The day on which this was last compared with the world."""
_VARIABLE: Final = re.compile(r"\{([A-Z_]+):([^}]*)\}")
_CONFIG: Final = "{XDG_CONFIG_HOME:~/.config}"
_SUPPORT: Final = "~/Library/Application Support"
_SERVERS: Final = (("mcpServers",),)


class Scope(enum.Enum):
    """Whom a file concerns."""

    USER = "user"
    PROJECT = "project"


class Place(msgspec.Struct, frozen=True):
    """One file of one host.

    Attributes:
        host: The host, as `catalogue` and policy call it.
        title: What people call it.
        linux: Its path on Linux.
        macos: Its path on macOS.
        windows: Its path on Windows.
        dialect: How it is written.
        paths: Where in it servers are.
        scope: Whom it concerns; paths of projects are relative to their folder.
        mark: How well this is known.
        program: What is on PATH if the host is installed; empty if nothing is.
        restart: Whether the host has to be started again to see a change.
        old: Where the file has moved to; what is written here is not read any more.
        note: What else is to be known.
    """

    host: str
    title: str
    linux: str
    macos: str
    windows: str
    dialect: Dialect
    paths: Paths = _SERVERS
    scope: Scope = Scope.USER
    mark: Mark = Mark.DOCUMENTED
    program: str = ""
    restart: bool = True
    old: str = ""
    note: str = ""


def _same(path: str, windows: str = "") -> tuple[str, str, str]:
    """One path on Linux and macOS."""
    return path, path, windows


def _code(folder: str) -> tuple[str, str, str]:
    """Where editors of the VS Code family keep a user's servers."""
    return (
        f"{_CONFIG}/{folder}/User/mcp.json",
        f"{_SUPPORT}/{folder}/User/mcp.json",
        f"%APPDATA%\\{folder}\\User\\mcp.json",
    )


def _profiles(folder: str) -> tuple[str, str, str]:
    linux, macos, windows = _code(folder)
    return (
        linux.replace("User/", "User/profiles/*/"),
        macos.replace("User/", "User/profiles/*/"),
        windows.replace("User\\", "User\\profiles\\*\\"),
    )


_VSCODE: Final = (("servers",),)
_OPENCODE: Final = (("mcp",), ("mcp", "servers"))
_OLD_CLINE: Final = "User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
_PROJECT: Final = Scope.PROJECT
_MEASURED: Final = Mark.MEASURED
_RECALLED: Final = Mark.RECALLED
_JSON, _JSONC, _TOML, _YAML, _SHELL = Dialect.JSON, Dialect.JSONC, Dialect.TOML, Dialect.YAML, Dialect.SHELL

PLACES: Final = (
    Place(
        "claude-desktop", "Claude Desktop", f"{_CONFIG}/Claude/claude_desktop_config.json",
        f"{_SUPPORT}/Claude/claude_desktop_config.json", "%APPDATA%\\Claude\\claude_desktop_config.json", _JSON,
        note="remote servers are in its settings, not in the file; on Linux only unofficial builds",
    ),
    Place(
        "claude-code", "Claude Code", *_same("{CLAUDE_CONFIG_DIR:~}/.claude.json", "%USERPROFILE%\\.claude.json"),
        _JSON, (("mcpServers",), ("projects", "*", "mcpServers")), mark=_MEASURED, program="claude",
        note="the host keeps its own state in this file and writes it often",
    ),
    Place("claude-code", "Claude Code", *_same(".mcp.json", ".mcp.json"), _JSON, scope=_PROJECT, program="claude",
          note="Copilot CLI and Mastra Code read this file, too"),
    Place("cursor", "Cursor", *_same("~/.cursor/mcp.json", "%USERPROFILE%\\.cursor\\mcp.json"), _JSONC,
          program="cursor"),
    Place("cursor", "Cursor", *_same(".cursor/mcp.json", ".cursor\\mcp.json"), _JSONC, scope=_PROJECT,
          program="cursor"),
    Place("vscode", "VS Code", *_code("Code"), _JSONC, _VSCODE, program="code"),
    Place("vscode", "VS Code", *_profiles("Code"), _JSONC, _VSCODE, mark=_RECALLED, program="code"),
    Place("vscode", "VS Code", *_same(".vscode/mcp.json", ".vscode\\mcp.json"), _JSONC, _VSCODE, scope=_PROJECT,
          program="code"),
    Place("vscode-insiders", "VS Code Insiders", *_code("Code - Insiders"), _JSONC, _VSCODE,
          program="code-insiders"),
    Place("vscodium", "VSCodium", *_code("VSCodium"), _JSONC, _VSCODE, program="codium"),
    Place("vscode-server", "VS Code Server", *_same("~/.vscode-server/data/User/mcp.json"), _JSONC, _VSCODE),
    Place("code-server", "code-server", *_same("~/.local/share/code-server/User/mcp.json"), _JSONC, _VSCODE,
          mark=_RECALLED, program="code-server"),
    Place("windsurf", "Windsurf", *_same("~/.codeium/windsurf/mcp_config.json",
          "%USERPROFILE%\\.codeium\\windsurf\\mcp_config.json"), _JSON, program="windsurf"),
    Place("windsurf-jetbrains", "Windsurf for JetBrains", *_same("~/.codeium/mcp_config.json",
          "%USERPROFILE%\\.codeium\\mcp_config.json"), _JSON),
    Place("zed", "Zed", f"{_CONFIG}/zed/settings.json", "~/.config/zed/settings.json",
          "%APPDATA%\\Zed\\settings.json", _JSONC, (("context_servers",),), program="zed", restart=False),
    Place("zed", "Zed", *_same(".zed/settings.json", ".zed\\settings.json"), _JSONC, (("context_servers",),),
          scope=_PROJECT, program="zed", restart=False),
    Place("junie", "Junie", *_same("~/.junie/mcp/mcp.json", "%USERPROFILE%\\.junie\\mcp\\mcp.json"), _JSON,
          program="junie", note="AI Assistant of JetBrains keeps its servers in the settings of the IDE"),
    Place("junie", "Junie", *_same(".junie/mcp/mcp.json", ".junie\\mcp\\mcp.json"), _JSON, scope=_PROJECT,
          mark=_RECALLED),
    Place("codex", "Codex", *_same("{CODEX_HOME:~/.codex}/config.toml", "%USERPROFILE%\\.codex\\config.toml"), _TOML,
          (("mcp_servers",),), mark=_MEASURED, program="codex"),
    Place("codex", "Codex", *_same(".codex/config.toml", ".codex\\config.toml"), _TOML, (("mcp_servers",),),
          scope=_PROJECT, program="codex"),
    Place("gemini", "Gemini CLI", *_same("~/.gemini/settings.json", "%USERPROFILE%\\.gemini\\settings.json"), _JSONC,
          mark=_MEASURED, program="gemini"),
    Place("gemini", "Gemini CLI", *_same(".gemini/settings.json", ".gemini\\settings.json"), _JSONC, scope=_PROJECT,
          program="gemini"),
    Place("antigravity", "Antigravity", *_same("~/.gemini/config/mcp_config.json",
          "%USERPROFILE%\\.gemini\\config\\mcp_config.json"), _JSON, program="agy"),
    Place("antigravity", "Antigravity", *_same("~/.gemini/antigravity/mcp_config.json"), _JSON,
          old="~/.gemini/config/mcp_config.json"),
    Place("goose", "Goose", f"{_CONFIG}/goose/config.yaml", "~/.config/goose/config.yaml",
          "%APPDATA%\\Block\\goose\\config\\config.yaml", _YAML, (("extensions",),), program="goose"),
    Place("cline", "Cline", *_same("{CLINE_DIR:~/.cline}/data/settings/cline_mcp_settings.json",
          "%USERPROFILE%\\.cline\\data\\settings\\cline_mcp_settings.json"), _JSON, mark=_MEASURED, program="cline"),
    Place("cline", "Cline", f"{_CONFIG}/Code/{_OLD_CLINE}", f"{_SUPPORT}/Code/{_OLD_CLINE}", "", _JSON,
          old="~/.cline/data/settings/cline_mcp_settings.json"),
    *(
        Place("kilo", "Kilo", f"{_CONFIG}/kilo/{name}", f"~/.config/kilo/{name}", "", _JSONC, _OPENCODE,
              mark=_MEASURED, program="kilo")
        for name in ("kilo.json", "kilo.jsonc")
    ),
    *(
        Place("kilo", "Kilo", *_same(name), _JSONC, _OPENCODE, scope=_PROJECT, program="kilo")
        for name in ("kilo.json", "kilo.jsonc", ".kilo/kilo.json", ".kilocode/kilo.json")
    ),
    Place("continue", "Continue", *_same("~/.continue/config.yaml", "%USERPROFILE%\\.continue\\config.yaml"), _YAML,
          mark=_MEASURED, program="cn", note="its last release was 2.0.0"),
    Place("continue", "Continue", *_same(".continue/mcpServers/*.yaml"), _YAML, scope=_PROJECT, mark=_RECALLED),
    *(
        Place("opencode", "OpenCode", f"{_CONFIG}/opencode/{name}", f"~/.config/opencode/{name}", "", _JSONC,
              _OPENCODE, mark=_MEASURED, program="opencode")
        for name in ("opencode.jsonc", "opencode.json")
    ),
    *(
        Place("opencode", "OpenCode", *_same(name), _JSONC, _OPENCODE, scope=_PROJECT, program="opencode")
        for name in ("opencode.jsonc", "opencode.json", ".opencode/opencode.jsonc", ".opencode/opencode.json")
    ),
    Place("lm-studio", "LM Studio", *_same("~/.lmstudio/mcp.json", "%USERPROFILE%\\.lmstudio\\mcp.json"), _JSON,
          program="lms", restart=False),
    Place("lm-studio", "LM Studio", *_same("~/.cache/lm-studio/mcp.json"), _JSON, old="~/.lmstudio/mcp.json"),
    Place("amp", "Amp", f"{_CONFIG}/amp/settings.json", "~/.config/amp/settings.json",
          "%USERPROFILE%\\.config\\amp\\settings.json", _JSONC, (("amp.mcpServers",),), mark=_MEASURED,
          program="amp"),
    Place("amp", "Amp", *_same(".amp/settings.json", ".amp\\settings.json"), _JSONC, (("amp.mcpServers",),),
          scope=_PROJECT, program="amp"),
    Place("kiro", "Kiro", *_same("~/.kiro/settings/mcp.json", "%USERPROFILE%\\.kiro\\settings\\mcp.json"), _JSON,
          program="kiro"),
    Place("kiro", "Kiro", *_same("~/.kiro/agents/*.json", "%USERPROFILE%\\.kiro\\agents\\*.json"), _JSON,
          program="kiro"),
    Place("kiro", "Kiro", *_same(".kiro/settings/mcp.json", ".kiro\\settings\\mcp.json"), _JSON, scope=_PROJECT,
          program="kiro"),
    Place("amazon-q", "Amazon Q CLI", *_same("~/.aws/amazonq/mcp.json"), _JSON, program="q",
          note="gets security fixes only; Kiro CLI follows it"),
    Place("copilot", "Copilot CLI", *_same("{COPILOT_HOME:~/.copilot}/mcp-config.json",
          "%USERPROFILE%\\.copilot\\mcp-config.json"), _JSON, mark=_MEASURED, program="copilot"),
    Place("copilot", "Copilot CLI", *_same(".github/mcp.json", ".github\\mcp.json"), _JSON, scope=_PROJECT,
          program="copilot"),
    Place("copilot-jetbrains", "Copilot for JetBrains", *_same(f"{_CONFIG}/github-copilot/intellij/mcp.json"), _JSONC,
          _VSCODE, mark=_RECALLED),
    Place("copilot-xcode", "Copilot for Xcode", "", "~/.config/github-copilot/xcode/mcp.json", "", _JSONC, _VSCODE),
    Place("visual-studio", "Visual Studio", "", "", "%USERPROFILE%\\.mcp.json", _JSONC, _VSCODE,
          note="reads .vscode and .cursor files of a solution, too"),
    Place("warp", "Warp", *_same("~/.warp/.mcp.json"), _JSON, program="warp-terminal",
          note="can start the servers of other hosts, too"),
    Place("warp", "Warp", *_same(".warp/.mcp.json"), _JSON, scope=_PROJECT),
    Place("qwen-code", "Qwen Code", *_same("~/.qwen/settings.json", "%USERPROFILE%\\.qwen\\settings.json"), _JSONC,
          mark=_MEASURED, program="qwen"),
    Place("qwen-code", "Qwen Code", *_same(".qwen/settings.json", ".qwen\\settings.json"), _JSONC, scope=_PROJECT,
          program="qwen"),
    Place("crush", "Crush", f"{_CONFIG}/crush/crush.json", "~/.config/crush/crush.json", "", _JSON, (("mcp",),),
          program="crush", note="deprecated by its host for crushrc"),
    Place("crush", "Crush", f"{_CONFIG}/crush/crushrc", f"{_CONFIG}/crush/crushrc", "", _SHELL, (("mcp",),),
          program="crush", note="a shell script: what it starts is told, with what to do by hand, and not edited"),
    *(
        Place("crush", "Crush", *_same(name), _SHELL, (("mcp",),), scope=_PROJECT, program="crush",
              note="a shell script, which is not edited")
        for name in (".crushrc", "crushrc")
    ),
    *(
        Place("crush", "Crush", *_same(name), _JSON, (("mcp",),), scope=_PROJECT, program="crush")
        for name in ("crush.json", ".crush.json")
    ),
    Place("kimi-code", "Kimi Code", *_same("{KIMI_CODE_HOME:~/.kimi-code}/mcp.json",
          "%USERPROFILE%\\.kimi-code\\mcp.json"), _JSON, program="kimi"),
    Place("kimi-code", "Kimi Code", *_same("~/.kimi/mcp.json"), _JSON, old="~/.kimi-code/mcp.json"),
    Place("kimi-code", "Kimi Code", *_same(".kimi-code/mcp.json"), _JSON, scope=_PROJECT, program="kimi"),
    Place("vibe", "Mistral Vibe", *_same("~/.vibe/config.toml"), _TOML, (("mcp_servers",),), program="vibe"),
    Place("grok", "Grok Build", *_same("~/.grok/config.toml"), _TOML, (("mcp_servers",),), program="grok"),
    Place("factory", "Factory Droid", *_same("~/.factory/mcp.json"), _JSON, program="droid"),
    Place("pi", "Pi", *_same("~/.pi/agent/mcp.json"), _JSON, program="pi"),
    Place("mastra-code", "Mastra Code", *_same("~/.mastracode/mcp.json"), _JSON),
    Place("trae", "Trae", f"{_CONFIG}/Trae/User/mcp.json", f"{_SUPPORT}/Trae/User/mcp.json",
          "%APPDATA%\\Trae\\User\\mcp.json", _JSONC, program="trae"),
    Place("qoder", "Qoder", *_same("~/.qoder/mcp.json"), _JSON, program="qoder"),
)  # fmt: skip
"""Every file. Where a host has two names for one, the one that it reads first comes first."""


def path_of(place: Place, system: str, home: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Where a file is on `linux` or `darwin`, variables filled in: a path, and the pattern of what is meant below it.

    The pattern is empty if the path is the file; both are if the host is not there. A `*` in a value or in the home
    is a plain character. A variable counts only if it holds an absolute path, as hosts have it.
    """
    template = place.macos if system == "darwin" else place.linux
    pattern = ""
    if "*" in template:
        folder = template.partition("*")[0].rpartition("/")[0]
        template, pattern = folder, template[len(folder) + 1 :]

    def value(found: re.Match[str]) -> str:
        given = env.get(found[1], "")
        return given.rstrip("/") if given.startswith("/") else found[2]

    path = _VARIABLE.sub(value, template)
    return f"{home}{path[1:]}" if path.startswith("~") else path, pattern


def of_hosts(names: tuple[str, ...] = (), scope: Scope = Scope.USER) -> Iterator[Place]:
    """The files of these hosts, or of all."""
    return (place for place in PLACES if place.scope is scope and (not names or place.host in names))
