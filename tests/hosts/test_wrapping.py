"""mcpguard put before commands and taken away again; and what is refused."""

import contextlib
import json

import pytest

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.wrapping import Edit, check, edited, from_words, is_wrapped, original, unwrap, wrap
from tests.hosts.configs import WRITTEN, C, J, T, Y
from tests.hosts.steps import PROGRAM, again, of, unwrapped, words, wrapped

GOOSE = (("extensions",),)
CODEX = (("mcp_servers",),)
P = json.dumps(PROGRAM, ensure_ascii=False)
RUN = '"run", "--name", "n-a", "--"'
LINES = '- "run"\n    - "--name"\n    - "n-a"\n    - "--"\n    - "x"\n    '


@pytest.mark.parametrize(
    ("dialect", "paths", "before", "after"),
    [
        (J, (("s",),), '{"s": {"a": {"command": "x", "args": ["y"]}}}', f'{{"s": {{"a": {{"command": {P}, "args": [{RUN}, "x", "y"]}}}}}}'),
        (J, (("s",),), '{"s": {"a": {"command": "x"}}}', f'{{"s": {{"a": {{"command": {P}, "args": [{RUN}, "x"]}}}}}}'),
        (J, (("s",),), '{"s": {"a": {\r\n\t"command": "x"}}}', f'{{"s": {{"a": {{\r\n\t"command": {P},\r\n\t"args": [{RUN}, "x"]}}}}}}'),
        (J, (("s",),), '{"s": {"a": {"command": ["x"]}}}', f'{{"s": {{"a": {{"command": [{P}, {RUN}, "x"]}}}}}}'),
        (J, (("s",),), '{"s": {"a": {"command": "x", "args": null}}}', f'{{"s": {{"a": {{"command": {P}, "args": [{RUN}, "x"]}}}}}}'),
        (Y, GOOSE, "extensions:\n  a:\n    args:\n    cmd: x\n", f'extensions:\n  a:\n    args: [{RUN}, "x"]\n    cmd: {P}\n'),
        (Y, GOOSE, "extensions:\n  a:\n    args: ~ # none\n    cmd: x\n", f'extensions:\n  a:\n    args: [{RUN}, "x"] # none\n    cmd: {P}\n'),
        (C, (("s",),), '{"s": {"a": {"command": "x", // c\n"args": [ ],}}}', f'{{"s": {{"a": {{"command": {P}, // c\n"args": [{RUN}, "x" ],}}}}}}'),
        (T, CODEX, "[mcp_servers.a]\ncommand = 'x'\nargs = [# , ]\n]", f'[mcp_servers.a]\ncommand = {P}\nargs = [{RUN}, "x"# , ]\n]'),
        (T, CODEX, "mcp_servers.a.command = 'x' # c", f'mcp_servers.a.command = {P} # c\nmcp_servers.a.args = [{RUN}, "x"]'),
        (T, CODEX, "mcp_servers = { a.command = 'x' }", f'mcp_servers = {{ a.command = {P}, a.args = [{RUN}, "x"] }}'),
        (Y, GOOSE, "extensions:\n  a:\n    cmd: x # c\n    args:\n    - -y\n", f"extensions:\n  a:\n    cmd: {P} # c\n    args:\n    {LINES}- -y\n"),
        (Y, GOOSE, "extensions:\n  a:\n    cmd: x # c\n", f'extensions:\n  a:\n    cmd: {P} # c\n    args: [{RUN}, "x"]\n'),
    ],
)  # fmt: skip
def test_edits(dialect, paths, before, after):
    file = of(before, dialect, paths)
    new, done = wrapped(file)
    assert new.data.decode() == after
    assert unwrapped(new, done).data == file.data
    assert words(unwrapped(new)) == words(file)


@pytest.mark.parametrize(
    ("host", "dialect", "paths", "value", "starts"),
    WRITTEN,
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("record", [True, False])
def test_a_host_that_wrote_the_file_anew(host, dialect, paths, value, starts, indent, record):
    file = of(json.dumps(value, indent=2), dialect, paths)
    new, done = wrapped(file)
    anew = again(new, json.dumps(json.loads(new.data), indent=indent, separators=(",", ":")).encode())
    assert words(unwrapped(anew, done if record else None)) == words(file)


@pytest.mark.parametrize(
    ("dialect", "paths", "text"),
    [
        (C, (("s",),), '{"s": {"a": {"command": "/b/mcpguard", "args": ["run", "--name", "a", "--", "x",] } } }'),
        (C, (("s",),), '{"s": {"a": {"command": "/b/mcpguard", "args": ["run", "--name", "a", "--", "x" /* , */,\n] } } }'),
        (T, CODEX, "[mcp_servers.a]\ncommand = '/b/mcpguard'\nargs = [\n 'run', '--name', 'a', '--', 'x',\n]\n"),
        (Y, GOOSE, "extensions:\n  a:\n    args:\n    - run\n    - --name\n    - a\n    - --\n    - x\n    cmd: /b/mcpguard\n"),
        (Y, GOOSE, "extensions:\n  a:\n    cmd: mcpguard\n    args: [run, --name, a, --, x, ]\n"),
    ],
)  # fmt: skip
def test_the_last_element_goes_with_its_comma_and_leaves_an_array(dialect, paths, text):
    new = unwrapped(of(text, dialect, paths))
    assert list(words(new).values()) == [("x",)]


def test_where_null_stood_a_record_puts_it_back_and_without_one_an_empty_array_says_the_same():
    file = of('{"mcpServers": {"a": {"command": "x", "args": null}}}', J)
    new, done = wrapped(file)
    assert unwrapped(new, done).data == file.data
    assert unwrapped(new).data == file.data.replace(b"null", b"[]")
    anew = again(new, json.dumps(json.loads(new.data), indent=4).encode())
    assert json.loads(unwrapped(anew, done).data)["mcpServers"]["a"] == {"command": "x", "args": []}


@pytest.mark.parametrize(
    "args", ["args: &n null", "args: !!null null", "args: !!null # none", '"args" :', "&k args:", "? args\n    :", "? args"]
)  # fmt: skip
def test_null_that_is_written_oddly_is_edited_right_or_the_file_is_left(args):
    file = of(f"extensions:\n  a:\n    cmd: x\n    {args}\n", Y, GOOSE)
    with contextlib.suppress(ConfigError):
        new, done = wrapped(file)
        assert unwrapped(new, done).data == file.data


def test_args_that_cannot_be_edited_are_said_with_their_line():
    with pytest.raises(
        ConfigError, match="the args of 'a' are written where they cannot be edited"
    ) as raised:
        wrapped(of("extensions:\n  a:\n    cmd: x\n    ? args\n", Y, GOOSE))
    assert raised.value.sentence().startswith("/home/u/config:3: ")


@pytest.mark.parametrize("argv", [["run", "a"], ["run", "--name", "a", "--"]])
@pytest.mark.parametrize("array", [True, False])
def test_words_that_do_not_say_what_was_there(argv, array):
    value = {"command": ["/b/mcpguard", *argv]} if array else {"command": "/b/mcpguard", "args": argv}
    file = of('\n{"mcpServers":\n{"a": ' + json.dumps(value) + "}}", J)
    (entry,) = file.entries()
    assert is_wrapped(entry.argv)
    assert original(entry.argv) == ()
    with pytest.raises(ConfigError, match="does not say what it started") as raised:
        unwrap(file, entry, from_words(entry))
    assert raised.value.sentence().startswith("/home/u/config:3: ")


def test_an_entry_that_was_changed_since_is_left():
    new, done = wrapped(of('{"mcpServers": {"a": {"command": "x", "args": ["y"]}}}', J))
    changed = again(new, b"\n" + new.data.replace(b'"y"', b'"z"'))
    (entry,) = changed.entries()
    with pytest.raises(ConfigError, match="'a' was changed since mcpguard was put before it") as raised:
        unwrap(changed, entry, done[entry.path])
    assert (raised.value.file, raised.value.line) == ("/home/u/config", 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"timeout": 1', b'"timeout": 2'),
        (b'"timeout": 1', b'"timeout": 1.0'),
        (b'"timeout": 1', b'"timeout": true'),
        (b'"timeout": 1', b'"timeouts": 1'),
        (b'"timeout": 1', b'"timeout": 1, "more": null'),
        (b'["q"]', b'["q", "r"]'),
        (b'"other": 1', b'"other": null'),
        (b'"command": "z"', b'"command": "zz"'),
        (b'"--name"', b'"--nam"'),
        (b"}", b"},"),
    ],
)
def test_an_edit_that_changes_something_else_is_refused(old, new):
    data = b'{"other": 1, "mcpServers": {"a": {"command": "x", "args": ["y"], "timeout": 1}, "b": {"command": "z", "args": ["q"]}}}'
    file = of(data, J)
    edits, done = wrap(file, file.entries()[0], PROGRAM, "a")
    right = edited(data, edits)
    check(file, again(file, right), {done.path: done.after})
    assert old in right
    with pytest.raises(ConfigError) as raised:
        check(file, again(file, right.replace(old, new, 1)), {done.path: done.after})
    assert raised.value.sentence().startswith("/home/u/config")
    assert "nothing was written" in raised.value.sentence()


def test_edits_do_not_depend_on_their_order():
    edits = [Edit(4, 4, b"x"), Edit(0, 1, b"y"), Edit(2, 4, b"z")]
    assert edited(b"abcdef", edits) == edited(b"abcdef", edits[::-1]) == b"ybzxef"


@pytest.mark.parametrize(("argv", "yes"), [(("mcpguard", "run"), True), (("/a/mcpguard", "run", "x"), True), (("C:\\a\\mcpguard", "run"), True), (("mcpguard",), False), (("mcpguard", "ran"), False), (("xmcpguard", "run"), False), ((), False)])  # fmt: skip
def test_what_is_wrapped(argv, yes):
    assert is_wrapped(argv) is yes


def test_dialects_are_all_tried():
    assert {J, C, T, Y} == set(Dialect) - {Dialect.SHELL}  # which nobody edits
