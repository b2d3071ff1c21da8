"""What commands of runners mean, and which forms are not guessed at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.launchers import (
    NpmCommand,
    PypiCommand,
    parse_launcher,
    parse_npm_spec,
    parse_requirement,
)

NPM = {
    "npx srv": ((("srv", "latest"),), "", ()),
    "npx -y srv@1.4.2 /data --x=y": ((("srv", "1.4.2"),), "", ("/data", "--x=y")),
    "/usr/bin/npx --yes @acme/files@^1 -y": ((("@acme/files", "^1"),), "", ("-y",)),
    "npx -y -- srv@next --": ((("srv", "next"),), "", ("--",)),
    "npx -p @acme/a --package=b@2 prog x": ((("@acme/a", "latest"), ("b", "2")), "prog", ("x",)),
    "npm exec -y srv dir": ((("srv", "latest"),), "", ("dir",)),
    "npm x --package=srv -- prog --flag": ((("srv", "latest"),), "prog", ("--flag",)),
}
PYPI = {
    "uvx my-srv": (("my-srv",), "my-srv", (), "", ""),
    "uvx my-srv@1.2 --x": (("my-srv==1.2",), "my-srv", ("--x",), "", ""),
    "uvx my-srv@latest": (("my-srv",), "my-srv", (), "", ""),
    "uvx my-srv==1.2": (("my-srv==1.2",), "my-srv", (), "", ""),
    "uvx mcp[cli,ws]@2.0 run": (("mcp[cli,ws]==2.0",), "mcp", ("run",), "", ""),
    "uvx --from srv[x]>=1,<2 prog -h": (("srv[x]>=1,<2",), "prog", ("-h",), "", ""),
    "uvx --with a,b==1 -w c --python 3.12 srv": (("srv", "a", "b==1", "c"), "srv", (), "", "3.12"),
    "uv tool run -q srv": (("srv",), "srv", (), "", ""),
    "pipx run --spec srv==1 prog": (("srv==1",), "prog", (), "", ""),
}


@pytest.mark.parametrize("line", NPM)
def test_npm_forms(line: str) -> None:
    assert parse_launcher(line.split()) == NpmCommand(*NPM[line])


@pytest.mark.parametrize("line", PYPI)
def test_python_forms(line: str) -> None:
    assert parse_launcher(line.split()) == PypiCommand(*PYPI[line])


@pytest.mark.parametrize(
    "line",
    [
        "node server.js",
        "/opt/server",
        "npm start",
        "uv run x",
        "pipx list",
        "python server.py",
        "docker run x",
    ],
)
def test_commands_that_run_no_package(line: str) -> None:
    assert parse_launcher(line.split()) is None


def test_module_of_a_package() -> None:
    found = parse_launcher(["python3.12", "-m", "a.b", "x"], "pypi:a-b==1")
    assert found == PypiCommand(("a-b==1",), "", ("x",), module="a.b", python="3.12")
    assert parse_launcher(["python", "-m", "a"], "pypi:a") == PypiCommand(("a",), "", (), module="a")


@pytest.mark.parametrize(
    "line",
    [
        "npx", "npx -y", "npx -c ls", "npx --call=ls srv", "npx --registry=http://x srv", "npx --node-options=-r/x srv",
        "npx -p srv", "npx -p srv -c", "npx -y=no srv", "npx github:a/b", "npx a/b", "npx ./srv", "npx ../srv", "npx /srv",
        "npx srv@npm:other", "npx srv@file:.", "npx srv@https://x/y.tgz", "npx git+ssh://x", "npx @acme", "npx .bin",
        "npx @acme/../x", "npx @acme/x/y", "npx _x", "npm exec srv --yes", "npx --package", "npx -p a -p b",
        "uvx", "uvx --from", "uvx --from a", "uvx --index-url http://x srv", "uvx --from git+https://x/y srv",
        "uvx --from ./dir srv", "uvx --with-editable . srv", "uvx --python /usr/bin/python3 srv", "uvx https://x/y.whl",
        "uvx --from a --from b c", "uvx srv@", "uvx srv@git+x", "uvx --from a ../prog", "uvx --python 3.11 --python 3.12 a",
        "uvx a;os_name=='x'", "pipx run --pip-args=-i srv", "pipx run https://x/y.py", "uvx --overrides x srv",
    ],
)  # fmt: skip
def test_forms_that_are_not_guessed_at(line: str) -> None:
    with pytest.raises(TrustError, match="the command cannot be pinned: ") as caught:
        parse_launcher(line.split())
    assert caught.value.hint
    assert "\n" not in caught.value.sentence()


@pytest.mark.parametrize(
    ("argv", "package"),
    [
        (["python", "x.py"], "pypi:a"),
        (["python", "-m", "a;b"], "pypi:a"),
        (["python", "-m", "a"], "npm:a"),
        (["python", "-m", "a"], "pypi:-r/etc/passwd"),
        (["python", "-m"], "pypi:a"),
        (["npx", "a"], "npm:a"),
    ],
)
def test_package_option_that_does_not_go_with_the_command(argv: list[str], package: str) -> None:
    with pytest.raises(TrustError, match="the command cannot be pinned"):
        parse_launcher(argv, package)


@given(st.text(max_size=30))
def test_what_is_accepted_is_never_an_option_or_an_address(text: str) -> None:
    """What reaches npm and pip as an argument begins with a letter, a digit or `@`, and names no place."""
    for parse in (lambda t: "@".join(parse_npm_spec(t)), parse_requirement):
        try:
            found = parse(text)
        except TrustError:
            continue
        assert found[0] == "@" or (found[0].isascii() and found[0].isalnum())
        assert "://" not in found
        assert ":" not in found
        assert "\n" not in found


@given(
    st.lists(
        st.sampled_from(["npx", "uvx", "-y", "-p", "--from", "--", "a", "@a/b", "a==1", "", "-", "="]),
        min_size=1,
    )
)
def test_any_words_give_a_command_or_a_sentence(argv: list[str]) -> None:
    try:
        found = parse_launcher(argv)
    except TrustError:
        return
    assert found is None or found.command.startswith("-") is False
