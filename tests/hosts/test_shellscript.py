"""What a script of Crush starts, as far as its words tell; nothing of it is ever edited."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect, Form
from mcpguard.hosts.inventory import Server, remarks
from mcpguard.hosts.places import of_hosts
from mcpguard.hosts.shellscript import commands_of
from mcpguard.hosts.wrapping import File, is_wrapped

SCRIPT = r"""# mine: mcp add not --command x
provider add ollama --type ollama
mcp add files --command npx --args -y --args "@scope/files" --env API_KEY 'a b'
mcp add github \
  --type http \
  --url "https://api.example.com/mcp" --header Authorization "Bearer $T"
if [[ $HOSTNAME == x ]]; then mcp add late --command=uvx --args thing; fi
	mcp add off --command x --disabled true # not now
mcp add guarded --command /b/mcpguard --args run --args --name --args g --args -- --args npx
lsp add go --command gopls
mcp remove files
echo "quotes that
mcp add odd --command 'it
"""


def found():
    return {entry.name: entry for entry in commands_of(SCRIPT.encode(), "f")}


def test_what_is_written_out_is_found_with_its_line():
    assert {name: (entry.line, entry.form, entry.argv) for name, entry in found().items()} == {
        "files": (3, Form.SCRIPT, ("npx", "-y", "@scope/files")),
        "github": (4, Form.REMOTE, ()),
        "late": (7, Form.SCRIPT, ("uvx", "thing")),
        "off": (8, Form.SCRIPT, ("x",)),
        "guarded": (9, Form.SCRIPT, ("/b/mcpguard", "run", "--name", "g", "--", "npx")),
        "odd": (13, Form.SCRIPT, ()),
    }
    assert found()["files"].env == {"API_KEY": "a b"}
    assert found()["github"].url == "https://api.example.com/mcp"
    assert [name for name, entry in found().items() if not entry.enabled] == ["off"]


def test_nothing_is_edited_and_what_to_do_is_said():
    file = File(SCRIPT.encode(), "f", Dialect.SHELL, (("mcp",),))
    assert not any(entry.editable for entry in file.entries())
    place = next(one for one in of_hosts(("crush",)) if one.dialect is Dialect.SHELL)
    said = remarks(Server(place, "f", entry) for entry in file.entries())
    unclear = {one.server: one.words for one in said if one.kind == "unclear"}
    assert unclear.keys() == {"files", "late", "off", "odd"}
    assert "by hand: its --command becomes mcpguard" in unclear["files"]
    assert is_wrapped(found()["guarded"].argv)


@pytest.mark.parametrize(
    "text", ["", "mcp add", "mcp add ", "mcp add \\", "mcp", "mcp add a --command", "mcp add 'a", "mcp add a --env K",
             "mcp add # x", "\\", "mcp\nadd x", "xmcp add y", "mcp add a; mcp add b"]
)  # fmt: skip
def test_odd_scripts_are_no_error(text):
    assert all(entry.name for entry in commands_of(text.encode(), "f"))


def test_last_of_a_name_counts():
    (entry,) = commands_of(b"mcp add a --command x\nmcp add a --command y\n", "f")
    assert (entry.argv, entry.line) == (("y",), 2)


def test_several_on_one_line():
    text = (
        b'mcp add a --command x --args "p;q" --args "";mcp add b --command y && mcp add c\n# off; mcp add d\n'
    )
    assert {entry.name: entry.argv for entry in commands_of(text, "f")} == {
        "a": ("x", "p;q", ""), "b": ("y",), "c": (),
    }  # fmt: skip


def test_what_is_no_text_is_refused_with_its_line():
    with pytest.raises(ConfigError) as raised:
        commands_of(b"a\n\xff", "f")
    assert raised.value.sentence().startswith("f:2: not UTF-8")
