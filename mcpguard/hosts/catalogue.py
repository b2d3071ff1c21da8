"""Agent hosts that are known: what they are called and where they are usually found.

Used only to suggest a name and a title for a host that the kernel has shown. Nothing here makes a host trusted: who
can choose a path can choose one of these.

Each kind of fact carries its mark, that of the weakest one: `mark` for what runs and what it gives a server as stdin,
`paths`, and `ids`. Nothing was measured on macOS but text inside programs.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import Final

import msgspec

CHECKED: Final = "2026-11-22"
"""The day on which this was last compared with the world."""


class Kind(enum.Enum):
    """What runs when the host runs."""

    NATIVE = "native"
    ELECTRON = "electron"
    NODE = "node script"
    JVM = "jvm"


class Stdio(enum.Enum):
    """What the host gives a server as stdin."""

    SOCKETPAIR = "socketpair"
    PIPE = "pipe"


class Mark(enum.Enum):
    """How well a fact is known.

    MEASURED: seen with the host itself, on Linux. DOCUMENTED: by the vendor, its source code, or a list of
    installers. RECALLED: said by people who use it.
    """

    MEASURED = "measured"
    DOCUMENTED = "documented"
    RECALLED = "recalled"


class KnownHost(msgspec.Struct, frozen=True):
    """One host.

    Attributes:
        ident: The name that is suggested for it in policy.
        title: What people call it.
        kind: What runs when it runs.
        stdio: What it gives a server as stdin.
        mark: How well `kind` and `stdio` are known.
        executables: Where its executable is on Linux, or its interpreter if it is a script. `*` is a run of
            characters in a component, `**` any number of components.
        scripts: Where its script is; empty unless it is one.
        paths: How well both are known.
        bundle: Bundle identifier (macOS); empty if there is none or it is not known.
        team: Team id of its signature (macOS); empty likewise.
        ids: How well both are known.
    """

    ident: str
    title: str
    kind: Kind
    stdio: Stdio
    mark: Mark
    executables: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    paths: Mark = Mark.RECALLED
    bundle: str = ""
    team: str = ""
    ids: Mark = Mark.RECALLED


KNOWN: Final = (
    KnownHost(
        "claude-code",
        "Claude Code",
        Kind.NATIVE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=(
            "/**/claude/versions/*",
            "/**/.local/bin/claude",
            "/**/claude-code/bin/claude.exe",
        ),
        paths=Mark.RECALLED,
        bundle="com.anthropic.claude-code",
        team="Q6L2SF6YDW",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "claude-desktop",
        "Claude Desktop",
        Kind.ELECTRON,
        Stdio.SOCKETPAIR,
        Mark.DOCUMENTED,
        bundle="com.anthropic.claudefordesktop",
        team="Q6L2SF6YDW",
        ids=Mark.DOCUMENTED,
    ),
    KnownHost(
        "codex",
        "Codex CLI",
        Kind.NATIVE,
        Stdio.PIPE,
        Mark.MEASURED,
        executables=("/**/vendor/*-unknown-linux-musl/bin/codex",),
        paths=Mark.MEASURED,
        bundle="com.openai.codex",
        team="2DC432GLL2",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "copilot",
        "Copilot CLI",
        Kind.NATIVE,
        Stdio.PIPE,
        Mark.MEASURED,
        executables=("/**/.cache/copilot/pkg/**",),
        paths=Mark.MEASURED,
        team="VEKTX9H2N7",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "opencode",
        "OpenCode",
        Kind.NATIVE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node_modules/**/opencode",),
        paths=Mark.RECALLED,
    ),
    KnownHost(
        "kilo",
        "Kilo CLI",
        Kind.NATIVE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node_modules/**/kilo",),
        paths=Mark.RECALLED,
    ),
    KnownHost(
        "cline",
        "Cline CLI",
        Kind.NATIVE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node_modules/**/cline",),
        paths=Mark.RECALLED,
    ),
    KnownHost(
        "amp",
        "Amp",
        Kind.NATIVE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node_modules/@ampcode/**/amp",),
        paths=Mark.RECALLED,
    ),
    KnownHost(
        "gemini",
        "Gemini CLI",
        Kind.NODE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node",),
        scripts=("/**/gemini.js",),
        paths=Mark.MEASURED,
    ),
    KnownHost(
        "continue",
        "Continue CLI",
        Kind.NODE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node",),
        scripts=("/**/cn.js",),
        paths=Mark.MEASURED,
    ),
    KnownHost(
        "qwen-code",
        "Qwen Code",
        Kind.NODE,
        Stdio.SOCKETPAIR,
        Mark.MEASURED,
        executables=("/**/node",),
        scripts=("/**/qwen-code/**",),
        paths=Mark.RECALLED,
    ),
    KnownHost(
        "vscode",
        "VS Code",
        Kind.ELECTRON,
        Stdio.SOCKETPAIR,
        Mark.DOCUMENTED,
        executables=(
            "/usr/share/code/code",
            "/snap/code/*/usr/share/code/code",
        ),
        paths=Mark.RECALLED,
        bundle="com.microsoft.VSCode",
        team="UBF8T346G9",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "vscodium",
        "VSCodium",
        Kind.ELECTRON,
        Stdio.SOCKETPAIR,
        Mark.DOCUMENTED,
        executables=("/usr/share/codium/codium",),
        paths=Mark.RECALLED,
        bundle="com.vscodium",
        team="VC39D2VNQ7",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "cursor",
        "Cursor",
        Kind.ELECTRON,
        Stdio.SOCKETPAIR,
        Mark.RECALLED,
        executables=("/tmp/.mount_cursor*/**",),  # noqa: S108 (where AppImages mount themselves)
        paths=Mark.RECALLED,
        bundle="com.todesktop.230313mzl4w4u92",
        team="VDXQ22DGB9",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "windsurf",
        "Windsurf",
        Kind.ELECTRON,
        Stdio.PIPE,
        Mark.RECALLED,
        bundle="com.exafunction.windsurf",
        team="83Z2LHX6XW",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "zed",
        "Zed",
        Kind.NATIVE,
        Stdio.PIPE,
        Mark.DOCUMENTED,
        executables=("/**/.local/zed.app/libexec/zed-editor",),
        paths=Mark.RECALLED,
        bundle="dev.zed.Zed",
        team="MQ55VZLNZQ",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "jetbrains",
        "JetBrains IDE",
        Kind.JVM,
        Stdio.PIPE,
        Mark.RECALLED,
        executables=("/**/JetBrains/Toolbox/apps/**",),
        paths=Mark.RECALLED,
        team="2ZEFAR8TH3",
        ids=Mark.DOCUMENTED,
    ),
    KnownHost(
        "goose",
        "Goose",
        Kind.NATIVE,
        Stdio.PIPE,
        Mark.DOCUMENTED,
        executables=(
            "/**/.local/bin/goose",
            "/**/goosed",
        ),
        paths=Mark.RECALLED,
        bundle="com.block.goose",
        team="W2L75AE9HQ",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "kiro", "Kiro", Kind.ELECTRON, Stdio.SOCKETPAIR, Mark.RECALLED, team="94KV3E626L", ids=Mark.DOCUMENTED
    ),
    KnownHost(
        "lm-studio",
        "LM Studio",
        Kind.ELECTRON,
        Stdio.SOCKETPAIR,
        Mark.DOCUMENTED,
        bundle="ai.elementlabs.lmstudio",
        team="D65G88RHWN",
        ids=Mark.RECALLED,
    ),
    KnownHost(
        "warp",
        "Warp",
        Kind.NATIVE,
        Stdio.PIPE,
        Mark.RECALLED,
        executables=("/opt/warpdotdev/**",),
        paths=Mark.RECALLED,
        bundle="dev.warp.Warp-Stable",
        team="2BBY89MBSN",
        ids=Mark.RECALLED,
    ),
)
"""Every entry, narrow patterns before wide ones: the first that matches is named."""


def likely(executable: str, script: str = "") -> KnownHost | None:
    """The host that is usually found there; None if none is. For a suggestion, never for trust."""
    for host in KNOWN:
        if not any(_compiled(pattern).fullmatch(executable) for pattern in host.executables):
            continue
        if not host.scripts or any(_compiled(pattern).fullmatch(script) for pattern in host.scripts):
            return host
    return None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Only for patterns of this file: none of them takes long on any path."""
    parts = ["(?:/[^/]+)*" if part == "**" else "/" + re.escape(part) for part in pattern.split("/")[1:]]
    return re.compile("".join(parts).replace(r"\*", "[^/]*"))
