"""References in the place of secrets: in every dialect, nothing else changes, and every byte comes back."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect, Entry
from mcpguard.hosts.secretvalues import check, moved, put_back, reference, referred, written
from mcpguard.hosts.wrapping import File, edited

JSON = """{"mcpServers": {"gh": {"command": "x", "env": {"A": "1", "TOKEN": "ghp_\\u0061bc\\"def", "B": "2"}}}}"""
JSONC = """{ // hosts write comments
  "mcpServers": {"gh": {"command": "x", "env": {"TOKEN": "ghp_secret-value", /* why */ "B": "2"}}},
}"""
TOML = """[mcp_servers.gh]
command = "x"  # a comment

[mcp_servers.gh.env]
TOKEN = 'ghp_secret-value' # another
B = "2"
"""
INLINE = 'mcp_servers.gh = { command = "x", env = { TOKEN = "ghp_secret-value", B = "2" } }\n'
YAML = """mcpServers:
  gh:
    command: x
    env:
      TOKEN: ghp_secret-value   # plain
      B: "2"
"""
QUOTED = YAML.replace("ghp_secret-value", "'ghp_secret-value'")
CASES = [
    (JSON, Dialect.JSON, ("mcpServers",)), (JSONC, Dialect.JSONC, ("mcpServers",)), (TOML, Dialect.TOML, ("mcp_servers",)),
    (INLINE, Dialect.TOML, ("mcp_servers",)), (YAML, Dialect.YAML, ("mcpServers",)), (QUOTED, Dialect.YAML, ("mcpServers",)),
    (JSON.replace(": ", ":\r\n"), Dialect.JSON, ("mcpServers",)),
]  # fmt: skip


def opened(data: bytes, dialect: Dialect, path: tuple[str, ...]) -> tuple[File, Entry]:
    file = File(data, "config", dialect, (path,))
    (entry,) = file.entries()
    return file, entry


@pytest.mark.parametrize(("text", "dialect", "path"), CASES)
def test_a_value_moves_out_and_back_byte_for_byte(text: str, dialect: Dialect, path: tuple[str, ...]) -> None:
    old, entry = opened(text.encode(), dialect, path)
    literal, value = written(old, entry, "TOKEN"), entry.env["TOKEN"]
    assert value.startswith("ghp_")
    new, after = opened(edited(old.data, [moved(old, entry, "TOKEN", "gh.TOKEN")]), dialect, path)
    check(old, new, {(entry.path, "TOKEN"): reference("gh.TOKEN")})
    assert referred(after) == {"TOKEN": "gh.TOKEN"}
    assert (after.argv, {**after.env, "TOKEN": value}) == (entry.argv, entry.env)
    assert literal not in new.data
    back, _ = opened(edited(new.data, [put_back(new, after, "TOKEN", "gh.TOKEN", literal)]), dialect, path)
    assert back.data == old.data
    check(new, back, {(entry.path, "TOKEN"): None})


def test_an_edit_that_changes_more_is_refused() -> None:
    old, entry = opened(JSON.encode(), *CASES[0][1:])
    good = edited(old.data, [moved(old, entry, "TOKEN", "n")])
    for wrong in (
        good.replace(b'"A": "1"', b'"A": "2"'), good.replace(b'"command": "x"', b'"command": "y"'), old.data,
        good.replace(b'"A": "1", ', b""), good.replace(b"mcpguard-secret://n", b"mcpguard-secret://m"),
        b'{"mcpServers": {}}',
    ):  # fmt: skip
        new = File(wrong, "config", Dialect.JSON, (("mcpServers",),))
        with pytest.raises(ConfigError, match="more than the values of variables"):
            check(old, new, {(entry.path, "TOKEN"): reference("n")})


def test_a_value_that_was_changed_since_is_left_to_its_owner() -> None:
    file, entry = opened(JSON.encode(), *CASES[0][1:])
    with pytest.raises(ConfigError, match="was changed since its secret was moved"):
        put_back(file, entry, "TOKEN", "gh.TOKEN", b'"x"')


def test_what_stands_elsewhere_cannot_be_edited() -> None:
    text = "a: &t ghp_secret-value\nmcpServers:\n  gh:\n    command: x\n    env:\n      TOKEN: *t\n"
    file, entry = opened(text.encode(), Dialect.YAML, ("mcpServers",))
    with pytest.raises(ConfigError, match="cannot be edited"):
        moved(file, entry, "TOKEN", "n")
    with pytest.raises(ConfigError, match="cannot be edited"):
        written(file, entry, "NOTHING")
