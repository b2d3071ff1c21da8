"""What is said of servers: secrets in plain text, code that is fetched anew, one command under two names."""

import json
import time

import pytest

from mcpguard.hosts.entries import Dialect, Entry
from mcpguard.hosts.inventory import Remark, Server, fetches, remarks, secrets_of, without_secrets
from mcpguard.hosts.places import Place, Scope, of_hosts
from mcpguard.hosts.wrapping import File

PLAIN = next(of_hosts(("cursor",)))
PROJECT = next(of_hosts(("cursor",), Scope.PROJECT))
OLD = next(place for place in of_hosts(("lm-studio",)) if place.old)
GITHUB = "ghp_" + "a1" * 18
STARS = "********"


def entry(*argv: str, name: str = "s", **env: str) -> Entry:
    """An entry with this command and these variables, as a file has it."""
    one: dict[str, object] = (
        {"command": argv[0], "args": list(argv[1:]), "env": env} if argv else {"env": env}
    )
    (found,) = File(json.dumps({"m": {name: one}}).encode(), "f", Dialect.JSON, (("m",),)).entries()
    return found


def server(*argv: str, name: str = "s", place: Place = PLAIN, file: str = "f", **env: str) -> Server:
    return Server(place, file, entry(*argv, name=name, **env))


def said(*servers: Server) -> list[tuple[str, str]]:
    """Kind and words of what is said of servers."""
    return [(remark.kind, remark.words) for remark in remarks(servers)]


# --- secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "hunter2hunter2"),
        ("X", GITHUB),
        ("X", "github_pat_11AAAAAAA0abcdefgh"),
        ("X", "sk-proj-abcdefghijklmn"),
        ("X", "xoxb-123456789012-abcdef"),
        ("X", "AKIAIOSFODNN7EXAMPLE"),
        ("X", "glpat-abcdefghijklmnop"),
        ("X", "eyJhbGciOiJIUzI1NiJ9.e30.abc"),
        ("HEADER", "Bearer abcdefghijklmnopqrst"),
        ("DB_PASSWORD", "correct horse"),
        ("db_passwd", "correcthorse"),
        ("SERVICE_API_KEY", "0123456789"),
        ("SERVICE_APIKEY", "0123456789"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"),
        ("PASSWORD", "Tr0ub4dor$X3"),  # a dollar inside is no reference
        ("DATABASE", "postgres://u:hunter2@h/db"),
        ("TOKEN", f"{GITHUB}${{x}}"),  # what follows does not make it one
    ],
)
def test_secret_in_plain_text_is_seen(name: str, value: str) -> None:
    assert secrets_of(entry("x", **{name: value})) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "${input:github_token}"),
        ("GITHUB_TOKEN", "${GITHUB_TOKEN}"),
        ("GITHUB_TOKEN", "${GITHUB_TOKEN:-nothing}"),
        ("GITHUB_TOKEN", "$GITHUB_TOKEN"),
        ("GITHUB_TOKEN", "$github_token"),
        ("GITHUB_TOKEN", "Bearer $GITHUB_TOKEN"),
        ("GITHUB_TOKEN", "Bearer ${input:a_long_name_of_one}"),
        ("GITHUB_TOKEN", "{env:GITHUB_TOKEN}"),
        ("GITHUB_TOKEN", "{file:~/.github-token}"),
        ("GITHUB_TOKEN", "%GITHUB_TOKEN%"),
        ("GITHUB_TOKEN", "${{ secrets.GITHUB }}"),
        ("GITHUB_TOKEN", "$(op read op://x/y/z)"),
        ("GITHUB_TOKEN", "<your token here>"),
        ("GITHUB_TOKEN", ""),
        ("MAX_TOKENS", "128000"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/u/key.json"),
        ("TOKEN_FILE", "~/.config/token"),
        ("DATABASE", "postgres://u:${PW}@h/db"),
        ("HOME_FOLDER", "correct horse"),
    ],
)
def test_reference_path_or_number_is_no_secret(name: str, value: str) -> None:
    found = entry("x", **{name: value})
    assert secrets_of(found) == []
    assert (
        without_secrets(json.dumps({name: value}), [found]) == json.dumps({name: value}) or value[0] in "/~"
    )


@pytest.mark.parametrize(
    ("argv", "numbers"),
    [
        (("x", GITHUB), [1]),
        (("x", "--token", "hunter2hunter2"), [2]),
        (("x", "--api-key", "hunter2hunter2", "y"), [2]),
        (("x", "--token=hunter2hunter2"), [1]),
        (("docker", "run", "-e", "GITHUB_TOKEN=hunter2hunter2", "image"), [3]),
        (("docker", "run", "-e", "GITHUB_TOKEN", "image-of-somebody"), []),
        (("x", "--header", "Authorization: Bearer abcdefghijklmnopqrst"), [2]),
        (("x", "postgres://u:hunter2@h/db"), [1]),
        (("x", "--token", "${TOKEN}"), []),
        (("x", "--token=$TOKEN"), []),
        (("x", "--token-file", "/run/secrets/token"), []),
        (("x", "--no-token", "--verbose-output"), []),
        (("x", "/srv/folder", "https://example.test/mcp"), []),
    ],
)
def test_secret_among_arguments_is_seen(argv: tuple[str, ...], numbers: list[int]) -> None:
    assert secrets_of(entry(*argv)) == [f"argument {number}" for number in numbers]


def test_remark_names_variables_and_no_values_and_not_more_than_four() -> None:
    env = {f"TOKEN_{number}": f"hunter2-{number}-hunter2" for number in range(6)}
    ((kind, words),) = said(server("x", **env))
    assert kind == "secret"
    assert words == "a secret in plain text: TOKEN_0, TOKEN_1, TOKEN_2, TOKEN_3, ..."
    assert "hunter2" not in words


# --- what a screen sees ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2hunter2",
        'hunter2"hunter2',
        "hunter2\\hunter2",
        "hunter2\thunter2",
        "hünter2hünter2",
        "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----",
        GITHUB,
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_secret_is_starred_however_the_file_writes_it(secret: str, ascii_only: bool) -> None:
    one = {"command": "x", "args": ["--token", secret], "env": {"TOKEN": secret}}
    text = json.dumps({"m": {"s": one}}, ensure_ascii=ascii_only)
    found = File(text.encode(), "f", Dialect.JSON, (("m",),)).entries()
    shown = without_secrets(text, found)
    assert json.loads(shown)["m"]["s"] == {
        "command": "x",
        "args": ["--token", STARS],
        "env": {"TOKEN": STARS},
    }
    spread = "\n".join(without_secrets(line, found) for line in f"TOKEN: |\n{secret}".splitlines())
    assert not any(line in spread for line in secret.splitlines())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"X-Api-Key": "hunter2hunter2",', f'"X-Api-Key": "{STARS}",'),
        ('{"Authorization":"Basic dTpwYXNz"}', f'{{"Authorization":"{STARS}"}}'),
        ("api_key = 'hunter2hunter2' # mine", f"api_key = '{STARS}' # mine"),
        ('"token" = "hunter2 \\" hunter2"', f'"token" = "{STARS}"'),
        ("  DB_PASSWORD: hunter2hunter2", f"  DB_PASSWORD: {STARS}"),
        ('"args": ["--token=hunter2hunter2", "x"]', f'"args": ["--token={STARS}", "x"]'),
        ('"url": "https://u:hunter2@h/mcp"', f'"url": "https://u:{STARS}@h/mcp"'),
        ('"url": "https://h/mcp?token=hunter2hunter2"', f'"url": "https://h/mcp?token={STARS}"'),
        (f'"note": "{GITHUB}"', f'"note": "{STARS}"'),
        ('"Authorization": "Bearer ${input:token}"', '"Authorization": "Bearer ${input:token}"'),
        ('"command": "npx", "args": ["-y", "pkg"]', '"command": "npx", "args": ["-y", "pkg"]'),
        ('"bearer_token_env_var": "SHORT"', '"bearer_token_env_var": "SHORT"'),
        ("ssh://git@host:22/x", "ssh://git@host:22/x"),
    ],
)
def test_secret_outside_of_entries_is_starred_by_its_name_or_its_look(text: str, shown: str) -> None:
    assert without_secrets(text, []) == shown


# --- fetchers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "origin"),
    [
        (("npx", "-y", "x"), "npm"),
        (("/usr/local/bin/npx", "-y", "x"), "npm"),
        (("C:\\Program Files\\nodejs\\npx.cmd", "-y", "x"), "npm"),
        (("NPX.CMD", "-y", "x"), "npm"),
        (("bunx", "x"), "npm"),
        (("npm", "exec", "x"), "npm"),
        (("pnpm", "dlx", "x"), "npm"),
        (("uvx", "x"), "PyPI"),
        (("uv", "tool", "run", "x"), "PyPI"),
        (("pipx", "run", "x"), "PyPI"),
        (("docker", "run", "x"), "a container registry"),
        (("podman", "run", "x"), "a container registry"),
        (("cmd", "/c", "npx", "-y", "x"), "npm"),
        (("cmd.exe", "/c", "npx -y x"), "npm"),
        (("sh", "-c", "npx -y x"), "npm"),
        (("bash", "-lc", "exec uvx x"), "PyPI"),
        (("sh", "-c", "DEBUG=1 npx -y x"), "npm"),
        (("env", "A=b", "npx", "x"), "npm"),
        (("/usr/bin/env", "uvx", "x"), "PyPI"),
        (("npm", "start"), ""),
        (("uv", "run", "x"), ""),
        (("node", "server.js"), ""),
        (("/opt/npx/server",), ""),
        (("sh", "start.sh", "npx"), ""),
        (("sh",), ""),
        (("env",), ""),
        (("bash", "-c", ""), ""),
        ((), ""),
    ],
)
def test_what_is_fetched_each_time_is_told(argv: tuple[str, ...], origin: str) -> None:
    assert fetches(argv) == origin


def test_fetching_is_seen_behind_mcpguard() -> None:
    wrapped = server("/usr/bin/mcpguard", "run", "--name", "s", "--", "npx", "-y", "x")
    assert wrapped.wrapped
    assert wrapped.argv == ("npx", "-y", "x")
    assert said(wrapped) == [("fetches", "fetches code from npm each time it starts")]


# --- everything else ------------------------------------------------------------------------------------


def test_server_that_says_nothing_wrong_gets_no_remark() -> None:
    assert said(server("/usr/bin/server", "--verbose", HOME="/home/u")) == []


def test_same_command_under_two_names_is_told_at_both() -> None:
    servers = (
        server("a", "1", name="one"),
        server("a", "1", name="two", file="g"),
        server("a", "2", name="x"),
    )
    assert remarks(servers) == [
        Remark("twice", "f", 1, "one", "the same command is called two elsewhere"),
        Remark("twice", "g", 1, "two", "the same command is called one elsewhere"),
    ]


def test_same_command_behind_mcpguard_and_without_is_the_same() -> None:
    wrapped = server("/x/mcpguard", "run", "--name", "one", "--", "a", "1", name="one")
    assert [kind for kind, _ in said(wrapped, server("a", "1", name="two"))] == ["twice", "twice"]


def test_same_command_under_one_name_in_two_hosts_is_fine() -> None:
    assert said(server("a", name="one"), server("a", name="one", file="g")) == []


def test_registered_server_says_no_command_and_is_like_no_other() -> None:
    one, two = (server("mcpguard", "run", name, name=name) for name in ("one", "two"))
    assert (one.wrapped, one.argv) == (True, ())
    assert said(one, two) == []


def test_old_place_is_told_with_the_new_one() -> None:
    assert said(server("a", place=OLD)) == [("old", "LM Studio reads ~/.lmstudio/mcp.json now")]


def test_file_of_a_folder_is_told_until_it_is_wrapped() -> None:
    assert [kind for kind, _ in said(server("a", place=PROJECT))] == ["project"]
    assert said(server("/x/mcpguard", "run", "--name", "s", "--", "a", place=PROJECT)) == []


def test_entry_that_nobody_understands_is_told_with_the_reason() -> None:
    assert said(server(place=PROJECT)) == [("unclear", "it has neither a command nor a url")]


def test_remarks_are_sorted_by_file_and_line() -> None:
    data = b'{"m": {\n"b": {"command": "npx", "args": ["b"]},\n"a": {"command": "npx", "args": ["a"]}}}'
    found = [Server(PLAIN, "g", one) for one in File(data, "g", Dialect.JSON, (("m",),)).entries()]
    listed = remarks([*reversed(found), server("uvx", "z")])
    assert [(one.file, one.line, one.server) for one in listed] == [
        ("f", 1, "s"),
        ("g", 2, "b"),
        ("g", 3, "a"),
    ]


@pytest.mark.parametrize("text", ["x" * 200_000, "token" * 40_000, "api-key" * 30_000])
def test_long_texts_without_spaces_are_looked_through_at_once(text):
    began = time.process_time()
    assert without_secrets(text, []) == text
    assert time.process_time() - began < 2  # it was minutes
