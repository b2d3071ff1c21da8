"""Configurations as hosts write them, and what editors, people and accidents make of them."""

import json
from typing import NamedTuple

from mcpguard.hosts.entries import Dialect

J, C, T, Y = Dialect.JSON, Dialect.JSONC, Dialect.TOML, Dialect.YAML
SERVERS = (("mcpServers",),)
CODE = (("servers",),)
OPENCODE = (("mcp",), ("mcp", "servers"))
CLAUDE = (("mcpServers",), ("projects", "*", "mcpServers"))


class Config(NamedTuple):
    """One file. `starts` is how many of its entries start a process; None: it is not read at all."""

    ident: str
    data: bytes
    dialect: Dialect
    paths: tuple
    starts: int | None


STD = {
    "command": "npx",
    "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/u"],
    "env": {"A": "b"},
}
NO_ARGS = {"command": "/usr/bin/mcp-time"}
EMPTY_ARGS = {"command": "uvx", "args": []}
REMOTE = {"type": "http", "url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer ${T}"}}

# --- JSON that hosts write themselves: (host, dialect, paths, value, how many start) ---
WRITTEN = [
    ("claude-desktop", J, SERVERS, {"mcpServers": {"files": STD, "time": NO_ARGS}, "globalShortcut": "Ctrl+Space"}, 2),
    ("claude-code", J, CLAUDE, {
        "numStartups": 184, "tipsHistory": {"shift-enter": 12}, "oauthAccount": {"emailAddress": "u@example.com"},
        "mcpServers": {"files": {"type": "stdio", **STD}, "docs": REMOTE},
        "projects": {
            "/home/u/a": {"allowedTools": [], "history": [{"display": 'fix // the "bug" /* , } */'}], "mcpServers": {}},
            "/home/u/b \u00e9": {"mcpServers": {"local": {"type": "stdio", "command": "node", "args": ["s.js"], "env": {}}}},
        },
        "cachedGrowthBookFeatures": {"x": 1e-7, "n": None, "half": "\ud83d"},
    }, 2),
    ("mcp-json", J, SERVERS, {"mcpServers": {"a": {**STD, "timeout": 60000}, "b": EMPTY_ARGS}}, 2),
    ("cursor", C, SERVERS, {"mcpServers": {"a": {**STD, "envFile": "${workspaceFolder}/.env"}, "r": {"url": "https://x.example/sse"}}}, 1),
    ("windsurf", J, SERVERS, {"mcpServers": {"a": {**STD, "disabled": True}, "r": {"serverUrl": "https://x.example/mcp"}}}, 1),
    ("junie", J, SERVERS, {"mcpServers": {"a": STD}}, 1),
    ("gemini", C, SERVERS, {"security": {"auth": {"selectedType": "oauth"}}, "mcpServers": {"a": {**STD, "trust": False, "cwd": "./s"}, "r": {"httpUrl": "https://x.example"}}, "mcp": {"allowed": ["a"]}}, 1),
    ("antigravity", J, SERVERS, {"mcpServers": {"a": {**STD, "disabledTools": []}, "r": {"serverUrl": "https://x.example"}}}, 1),
    ("cline-flat", J, SERVERS, {"mcpServers": {"a": {**STD, "autoApprove": ["read"], "disabled": False, "timeout": 60}}}, 1),
    ("cline-nested", J, SERVERS, {"mcpServers": {"a": {"transport": {"type": "stdio", "command": "npx", "args": ["-y", "p"]}, "disabled": True}, "b": {"transport": {"type": "stdio", "command": "x"}}, "r": {"transport": {"type": "sse", "url": "https://x.example"}}}}, 2),
    ("kilo", C, OPENCODE, {"$schema": "https://kilo.ai/config.json", "mcp": {"a": {"type": "local", "command": ["npx", "-y", "p"], "enabled": True, "environment": {"K": "v"}}}}, 1),
    ("opencode-1", C, OPENCODE, {"$schema": "https://opencode.ai/config.json", "mcp": {"a": {"type": "local", "command": ["bun", "x", "p"], "enabled": False}, "r": {"type": "remote", "url": "https://x.example"}}, "permission": {"*": "ask"}}, 1),
    ("opencode-2", C, OPENCODE, {"mcp": {"servers": {"a": {"type": "local", "command": ["p"], "disabled": True}}, "b": {"type": "local", "command": ["q", ""]}}}, 2),
    ("lm-studio", J, SERVERS, {"mcpServers": {"a": STD, "r": {"url": "https://x.example"}}}, 1),
    ("amp", C, (("amp.mcpServers",),), {"amp.notifications.enabled": True, "amp.mcpServers": {"a": STD}, "amp": {"mcpServers": {"not": STD}}}, 1),
    ("kiro", J, SERVERS, {"mcpServers": {"a": {**STD, "disabled": False, "autoApprove": [], "disabledTools": ["x"]}}}, 1),
    ("copilot", J, SERVERS, {"mcpServers": {"a": {"type": "local", **STD, "tools": ["*"]}, "r": {**REMOTE, "tools": []}}}, 1),
    ("visual-studio", C, CODE, {"inputs": [{"id": "k", "type": "promptString", "password": True}], "servers": {"a": {"type": "stdio", "command": "dnx", "args": ["P@1.0", "--yes"], "env": {"K": "${input:k}"}}}}, 1),
    ("warp", J, SERVERS, {"mcpServers": {"a": {**STD, "working_directory": "/home/u"}}}, 1),
    ("qwen", C, SERVERS, {"$version": 2, "mcpServers": {"a": STD, "r": {"httpUrl": "https://x.example"}}}, 1),
    ("crush", J, (("mcp",),), {"$schema": "https://charm.land/crush.json", "mcp": {"a": {"type": "stdio", "command": "node", "args": ["$HOME/s.js"], "timeout": 120, "disabled": False}, "r": {"type": "sse", "url": "https://x.example"}}}, 1),
    ("kimi", J, SERVERS, {"mcpServers": {"a": {"transport": "stdio", **STD, "toolTimeoutMs": 1000}, "r": {"transport": "http", "url": "https://x.example"}}}, 1),
    ("zed", C, (("context_servers",),), {"theme": {"mode": "system"}, "context_servers": {"a": {"source": "custom", **STD}, "old": {"command": {"path": "/bin/x", "args": ["s"], "env": {}}, "settings": {}}, "ext": {"source": "extension", "settings": {}}}}, 2),
]  # fmt: skip
STYLES = {
    "two": lambda value: json.dumps(value, indent=2) + "\n",
    "tabs": lambda value: json.dumps(value, indent="\t", ensure_ascii=True),
    "minified": lambda value: json.dumps(value, separators=(",", ":")),
}

# --- by hand ---
VSCODE = """\
// What VS Code starts. See https://code.visualstudio.com/docs
{
\t/* "servers": { "no": { "command": "x" } } */
\t"inputs": [
\t\t{ "id": "token", "type": "promptString", "password": true, }, // , }
\t],
\t"servers": {
\t\t// before the entry
\t\t"github": { /* , } */
\t\t\t"type": "stdio", // kind
\t\t\t"command" /* k */ : /* v */ "docker" /* , */ , // what runs
\t\t\t"args": [ // all of it
\t\t\t\t// first
\t\t\t\t"run", /* , ] */ "-i",
\t\t\t\t"-e", "URL=https://x.example//y", // tail
\t\t\t],
\t\t\t"env": { "TOKEN": "${input:token}", "UNSET": null, },
\t\t},
\t\t"time": {
\t\t\t"command": "mcp-time" // no comma, no args
\t\t},
\t\t"none": { "command": "uvx", "args": [ /* none */ ], },
\t\t"one": { "command": "x", "args": [ "y" /* last */, ] },
\t\t"remote": { "type": "http", "url": "https://x.example/mcp" },
\t},
}
// end
"""
ZED = """\
// Zed settings
//
// For information on how to configure Zed, see https://zed.dev/docs/configuring-zed
{
  "ui_font_size": 16.0, "vim_mode": true,
  "lsp": { "rust-analyzer": { "binary": { "path": "ra", "arguments": ["--x"] } } },
  "languages": { "Python": { "language_servers": ["pyright", "!pylsp", "..."], "tab_size": 4, }, },
  "context_servers": {
    "files": { "enabled": true, "command": "npx", "args": ["-y", "p"], "env": {} },
    "old": {
      "command": {
        "path": "/bin/x" /* here */
      }
    },
    // "off": { "command": "y" },
    "ext": { "settings": {} }
  }
}
"""
CODEX = '''\
# Codex
model = "gpt-5"
notify = ["python3", "/home/u/n.py"] # , ]
developer = """
[mcp_servers.fake]
command = "not this"
"""
tui.theme = 'dark'

[projects."/home/u/a.b"]
trust_level = "trusted"

[mcp_servers.plain]
command = "npx"   # runs
args = ["-y", "p"]
startup_timeout_sec = 10.5

[mcp_servers.plain.env]
TOKEN = "x"

[ mcp_servers . "quoted.name" ]
command = 'C:\\bin\\x.exe'
args = [
  # first
  "-a", # second, ]
  'b"c',
]
env = { A = "1", "B.C" = '2' }

[mcp_servers.inline]
args = []
"command" = """uvx"""

[mcp_servers.none]
command = "x" # no args
enabled = false

[mcp_servers.remote]
url = "https://x.example"
bearer_token_env_var = "T"

[tools]
web_search = true
when = 1979-05-27T07:32:00Z
'''
CODEX_DOTTED = """\
mcp_servers.a.command = "npx"
mcp_servers.a.args = ["-y"]
mcp_servers."b c" . command = "x" # end
model = "gpt-5"
"""
CODEX_INLINE = 'mcp_servers = { a = { command = "npx", args = ["p"] }, b = { command = "x" }, c.command = "y", d.command = "z", d.args = [ ] }\n'
GROK = "[mcp_servers]\na = { command = 'npx', args = ['-y', 'p',], env = {} }\n\n[mcp_servers.b]\ncommand='x'\n[mcp_servers.b.env]\n"
VIBE = """\
active_model = "devstral"

[[mcp_servers]]
name = "files"
transport = "stdio"
command = "npx"
args = ["-y", "p"]
[mcp_servers.env]
A = "b"

[[mcp_servers]] # next
name = "r"
transport = "http"
url = "https://x.example"

[[mcp_servers]]
command = "x"
name = "time"

[[tools]]
name = "t"
"""
GOOSE = """\
# goose
GOOSE_PROVIDER: anthropic
extensions:
  developer:
    bundled: true
    enabled: true
    name: developer
    type: builtin
  files:   # , }
    enabled: true
    type: stdio
    cmd: npx  # runs
    args:
      # first - of all
      - -y   # - yes
      # between

      - "@mcp/server-files"
      - '/home/u/it''s'
    envs: {}
    env_keys: [TOKEN]
    timeout: 300
  flow:
    cmd: "uvx"
    args: [-y, pkg, 'a b', ]
    envs:
      A: "1"
  none:
    cmd: /bin/x
    enabled: false
  empty: {cmd: x, args: [], enabled: true}
  bare: {cmd: x}
  script:
    args:
    - -c
    - |
      echo "- a"
      exec x
    - >-
      folded
      text
    cmd: bash
  remote:
    type: streamable_http
    uri: https://x.example
GOOSE_MODE: approve
"""
CONTINUE = """\
name: Local
version: 1.0.0
schema: v1
models:
  - name: m
    provider: ollama
mcpServers:
  - name: files
    command: npx
    args:
      -  -y
      -  "@mcp/files"
    env:
      TOKEN: ${{ secrets.TOKEN }}
  # between
  - command: uvx
    name: time
  - { name: flow, command: npx, args: [ -y ] }
  - name: remote
    type: sse
    url: https://x.example
"""
ANCHORS = """\
x: &pkg pkg
y: &args [-y, pkg]
extensions:
  a: {cmd: npx, args: [*pkg]}
  b: {cmd: npx, args: *args}
  c: &c {cmd: npx, args: [-y]}
  d: *c
  e: {<<: *c, enabled: false}
  f: &unused
    cmd: &cmd npx
    args: &list [ &item -y ]
  g: {cmd: !!str x, args: !!seq []}
  h: {cmd: &used x, args: [*used]}
"""
HAND = [
    ("vscode", VSCODE, C, CODE, 4),
    ("zed-settings", ZED, C, (("context_servers",),), 2),
    ("codex", CODEX, T, (("mcp_servers",),), 4),
    ("codex-dotted", CODEX_DOTTED, T, (("mcp_servers",),), 2),
    ("codex-inline", CODEX_INLINE, T, (("mcp_servers",),), 4),
    ("grok", GROK, T, (("mcp_servers",),), 2),
    ("vibe", VIBE, T, (("mcp_servers",),), 2),
    ("goose", GOOSE, Y, (("extensions",),), 6),
    ("continue", CONTINUE, Y, SERVERS, 3),
    ("goose-anchors", ANCHORS, Y, (("extensions",),), 2),
]
ODD_JSON = [
    (
        "escaped-keys",
        r'{"mcp\u0053ervers": {"\u0061": {"comm\u0061nd": "n\u0070x", "\u0061rgs": ["\u002dy"]}}}',
        1,
    ),
    ("unicode", '{"mcpServers": {"名前 😀": {"command": "/bin/é", "args": ["\\ud83d\\ude00", "é"]}}}', 1),
    ("half-pair-name", r'{"mcpServers": {"\ud800": {"command": "x"}}}', 0),
    ("half-pair-command", r'{"mcpServers": {"a": {"command": "\udfff"}, "b": {"command": "x"}}}', 1),
    ("half-pair-args", r'{"mcpServers": {"a": {"command": "x", "args": ["\ud800"]}}}', 0),
    ("args-null", '{"mcpServers": {"a": {"command": "x", "args": null}}}', 1),
    (
        "args-null-first",
        '{"mcpServers": {"a": {"args":null,"command":"x"}, "b": {"command": "y", "args" :\n null }}}',
        2,
    ),
    ("args-numbers", '{"mcpServers": {"a": {"command": "x", "args": ["-p", 80]}}}', 0),
    ("args-text", '{"mcpServers": {"a": {"command": "x", "args": "y"}}}', 0),
    ("entry-null", '{"mcpServers": {"a": null, "b": {"command": "x"}}}', 1),
    ("entries-that-are-none", '{"mcpServers": {"a": 1, "b": "x", "c": [], "d": {}}}', 0),
    ("command-null", '{"mcpServers": {"a": {"command": null}}}', 0),
    ("command-empty", '{"mcpServers": {"a": {"command": "", "b": []}}}', 0),
    ("servers-list", '{"mcpServers": [{"name": "a", "command": "x"}, {"command": "y"}, 1]}', 1),
    (
        "servers-twice-a-name",
        '{"mcpServers": [{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]}',
        0,
    ),
    ("servers-null", '{"mcpServers": null}', 0),
    ("servers-text", '{"mcpServers": "x"}', 0),
    ("top-array", "[1, {}]", 0),
    ("top-number", "1", 0),
    ("control", r'{"mcpServers": {"a": {"command": "\u0001\u007f\u0085\u2028", "args": ["\n\t\\\"\/"]}}}', 1),
    (
        "numbers",
        '{"x": [-0, 1E400, -1e-999, 0.1, 123456789012345678901234567890], "mcpServers": {"a": {"command": "x"}}}',
        1,
    ),
    ("deep", '{"mcpServers": {"a": {"command": "x", "z": ' + "[" * 800 + "]" * 800 + "}}}", 1),
    ("duplicate-key", '{"mcpServers": {"a": {"command": "x"},\n "a": {"command": "y"}}}', None),
    ("duplicate-escaped", '{"mcpServers": {}, "mcp\\u0053ervers": {}}', None),
    ("nan", '{"x":\nNaN, "mcpServers": {}}', None),
    ("huge-number", '{"x": ' + "1" * 5000 + "}", None),
    ("ten-thousand-open", "[" * 10_000, None),
    ("ten-thousand-deep", "[" * 10_000 + "]" * 10_000, None),
    ("million-open", "[" * 1_000_000, None),
    ("quotes-escaped", '{"' + '\\"' * 100_000, None),
    ("block-comments-open", "/*" * 200_000, None),
    ("single-quotes", "{'mcpServers': {}}", None),
    ("two-values", "{} {}", None),
    ("two-commas", '{"mcpServers": {"a": {"command": "x", "args": ["y",,]}}}', None),
    ("only-comma", '{"mcpServers": {"a": {"command": "x", "args": [,]}}}', None),
    ("raw-newline", '{"mcpServers": {"a": {"command": "x\n"}}}', None),
    ("bad-escape", r'{"mcpServers": {"a": {"command": "\x"}}}', None),
    ("two-boms", "\ufeff\ufeff{}", None),
    ("cr-in-comment", '{"mcpServers": {} // \r, "x": 1\n}', None),
]
ODD_YAML = [
    ("two-documents", "a: 1\n---\nb: 2\n", None), ("tag", "a: !!bool x\n", None), ("unknown-tag", "a: !x y\n", None),
    ("within-itself", "a: &a [*a]\n", None), ("key-twice", "extensions: {1: {cmd: x}, '1': {cmd: y}}\n", None),
    ("anchor-twice", "a: &x 1\nb: &x 2\nextensions: {s: {cmd: x}}\n", 1), ("nan", "a: .nan\nextensions: {s: {cmd: x}}\n", 1),
    ("deep", "[" * 10_000, None), ("dashes", "- " * 5000, None), ("tab", "a:\n\tb: 1\n", None),
    ("merges", "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)), None),
    ("aliases", "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)), None),
    ("comment-with-dash", "extensions:\n  s:\n    cmd: x\n    args:\n      - # a - b\n        y\n", 1),
    ("long", "a: " + "x" * 200_000, None), ("escapes", 'extensions: {s: {cmd: "\\x85\\u2028\\ufeff\\e", args: [x]}}\n', 1),
    ("merged-servers", "b: &b {s: {cmd: x}}\nextensions:\n  <<: *b\n  t: {cmd: y}\n", 0),
    ("version", "%YAML 1.1\n---\na: yes\nextensions: {s: {cmd: x}}\n...\n", 1),
    *(
        (f"args-null-{number}", f"extensions:\n  s:\n    cmd: x\n    args:{text}\n  t: {{cmd: y, args:{inner} }}\n", 2)
        for number, (text, inner) in enumerate(
            [("", ""), (" null", " ~"), ("   # none", " null"), (" ~ # none", " Null "), ("\r", "")]
        )
    ),
    ("nameless", "extensions:\n- cmd: x\n- name: a\n  cmd: y\n- text\n", 1),
    ("explicit-key", "extensions: {? s : {cmd: x, args: [-y]}}\n", 1), ("half-pair", 'extensions: {s: {cmd: "\\ud800"}}\n', 0),
]  # fmt: skip
ODD_TOML = [
    ("huge", "a = " + "1" * 5000, None), ("dots", ".".join("a" * 3000) + " = 1", None), ("deep", "a = " + "[" * 10_000, None),
    ("twice", "a = 1\na = 2\n", None), ("table-twice", "[mcp_servers.a]\n[mcp_servers.a]\n", None), ("long", "a = '" + "x" * 1_100_000 + "'", None),
    ("nan", "a = nan\n[mcp_servers.s]\ncommand = 'x'\n", 1), ("lone-cr", "a = 1\rb = 2", None), ("inline-lines", "a = {\nb = 1}\n", None),
    ("sub-tables", "[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\n[[a.z]]\n[mcp_servers.s]\ncommand = 'x'\n", 1),
    ("args-numbers", "[mcp_servers.s]\ncommand = 'x'\nargs = [1]\n", 0), ("table-late", "[mcp_servers.s.env]\nA = '1'\n[mcp_servers.s]\ncommand = 'x'", 1),
    ("nameless", "[[mcp_servers]]\ncommand = 'x'\n[[mcp_servers]]\nname = 'a'\ncommand = 'x'\n", 1),
    ("delete", '[mcp_servers.s]\ncommand = "\\u007f\\u0085"', 1),
]  # fmt: skip


def _same_ends(data):
    return data.replace(b"\r\n", b"\n")


def _mixed(data):
    """Line ends of both kinds, one after the other."""
    lines = _same_ends(data).split(b"\n")
    return (
        b"".join(line + (b"\r\n" if number % 2 else b"\n") for number, line in enumerate(lines[:-1]))
        + lines[-1]
    )


BOM = b"\xef\xbb\xbf"
GOOD = {
    "plain": lambda data: data,
    "crlf": lambda data: _same_ends(data).replace(b"\n", b"\r\n"),
    "mixed": _mixed,
    "no-final-newline": lambda data: data.rstrip(),
    "bom": lambda data: BOM + data,
    "bom-crlf": lambda data: BOM + _same_ends(data).replace(b"\n", b"\r\n"),
    "blank-after": lambda data: data + b"\n\n  \n",
}
BAD = {
    "nul": lambda data: data[: len(data) // 2] + b"\0" + data[len(data) // 2 :],
    "latin-1": lambda data: data + b"\n# \xe9",
    "utf-16": lambda data: data.decode("utf-8", "replace").encode("utf-16"),
    "utf-16-le": lambda data: data.decode("utf-8", "replace").encode("utf-16-le"),
}
BLANK = {"empty": b"", "spaces": b" \n\r\n  ", "bom-only": BOM}


def _hosts():
    for host, dialect, paths, value, starts in WRITTEN:
        for style, dump in STYLES.items():
            yield f"{host}-{style}", dump(value).encode(), dialect, paths, starts
    for host, text, dialect, paths, starts in HAND:
        yield host, text.encode(), dialect, paths, starts


def _odd():
    for ident, text, starts in ODD_JSON:
        for dialect in (J, C):
            yield Config(f"odd-{dialect.value}-{ident}", text.encode(), dialect, SERVERS, starts)
    for ident, text, starts in ODD_YAML:
        yield Config(f"odd-yaml-{ident}", text.encode(), Y, (("extensions",),), starts)
    for ident, text, starts in ODD_TOML:
        yield Config(f"odd-toml-{ident}", text.encode(), T, (("mcp_servers",),), starts)
    for dialect in Dialect:
        for ident, data in BLANK.items():
            yield Config(f"blank-{dialect.value}-{ident}", data, dialect, SERVERS, 0)
    for dialect, data in ((T, b"# only\n"), (Y, b"# only\n")):
        yield Config(f"blank-{dialect.value}-comment", data, dialect, SERVERS, 0)
    for dialect, data in ((C, b"// only\n"), (J, b"// only\n")):
        yield Config(f"blank-{dialect.value}-comment", data, dialect, SERVERS, None)


def every():
    """All of them."""
    for host, data, dialect, paths, starts in _hosts():
        for how, change in GOOD.items():
            yield Config(f"{host}-{how}", change(data), dialect, paths, starts)
        for how, change in BAD.items():
            yield Config(f"{host}-{how}", change(data), dialect, paths, None)
        if dialect is J:
            yield Config(f"{host}-commented", data + b"\n// c", dialect, paths, None)
    yield from _odd()


def truncated():
    """What is left when a disk is full: at best shorter and right, else not read."""
    for host, data, dialect, paths, _ in _hosts():
        for part in range(1, 8):
            yield Config(f"{host}-{part}/8", data[: len(data) * part // 8], dialect, paths, None)


def large():
    """Five megabytes of a host's own state beside its servers."""
    history = [{"display": 'x "q" // y' * 20, "pasted": {}, "n": [1, 2.5, None]}] * 20
    one = {"mcpServers": {"a": STD}, "history": history}
    return json.dumps(
        {"projects": {f"/p/{i}": one for i in range(650)}, "mcpServers": {"b": NO_ARGS}}, indent=2
    ).encode()
