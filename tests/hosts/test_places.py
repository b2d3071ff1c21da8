"""The table of configuration files: no row contradicts another, and paths come out as hosts have them."""

import datetime as dt
import re
import time
from collections import Counter

import pytest

from mcpguard.hosts import catalogue
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.places import CHECKED, PLACES, Place, Scope, of_hosts, path_of
from mcpguard.policy.document import parse

HOME = "/home/u"
USER = [place for place in PLACES if place.scope is Scope.USER]
PROJECT = [place for place in PLACES if place.scope is Scope.PROJECT]
ENDINGS = {
    ".json": {Dialect.JSON, Dialect.JSONC},
    ".jsonc": {Dialect.JSONC},
    ".toml": {Dialect.TOML},
    ".yaml": {Dialect.YAML},
    "crushrc": {Dialect.SHELL},
    ".crushrc": {Dialect.SHELL},
}

TITLES = {place.host: place.title for place in PLACES}


def row(place: Place) -> str:
    """What a failing test is called."""
    return f"{place.host} {place.linux or place.macos or place.windows}"


def where(place: Place, system: str = "linux", **env: str) -> str:
    """The path of a place, its pattern included."""
    return "/".join(filter(None, path_of(place, system, HOME, env)))


def one(host: str, scope: Scope = Scope.USER) -> Place:
    """The first place of a host."""
    return next(of_hosts((host,), scope))


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("scope", list(Scope))
def test_no_file_belongs_to_two_rows(system: str, scope: Scope) -> None:
    paths = Counter(where(place, system) for place in of_hosts(scope=scope))
    assert {path: many for path, many in paths.items() if path and many > 1} == {}


@pytest.mark.parametrize("place", PLACES, ids=row)
def test_row_is_sane(place: Place) -> None:
    name = (place.linux or place.macos or place.windows).replace("\\", "/").rpartition("/")[2]
    assert place.dialect in ENDINGS[name[max(0, name.rfind(".")) :]]
    assert place.paths
    assert all(path and all(path) for path in place.paths)
    assert place.title == TITLES[place.host]
    assert place.linux.count("\\") == place.macos.count("\\") == place.windows.count("/") == 0
    for text in (place.linux, place.macos):
        if text and place.scope is Scope.USER:
            assert text.startswith(("~/", "{"))
        else:
            assert not text.startswith(("~", "/", "{"))
        assert text.count("*") <= 1
    assert place.note == place.note.strip().rstrip(".")


def test_every_host_has_one_title_and_every_title_one_host() -> None:
    assert len({(place.host, place.title) for place in PLACES}) == len(TITLES)
    assert len(set(TITLES.values())) == len(TITLES)


def test_names_are_those_of_the_catalogue() -> None:
    """Else `host:NAME` of a policy would mean one host here and another there."""
    known = {host.ident: host.title.removesuffix(" CLI") for host in catalogue.KNOWN}
    both = known.keys() & TITLES.keys()
    assert len(both) > 15
    assert {name: TITLES[name].removesuffix(" CLI") for name in both} == {name: known[name] for name in both}
    assert known.keys() - TITLES.keys() == {"jetbrains"}  # keeps its servers in the settings of the IDE


@pytest.mark.parametrize("host", TITLES)
def test_policy_can_name_every_host(host: str) -> None:
    text = f'version = 1\nmode = "enforce"\n[[rule]]\nid = "r"\ntools = ["*"]\nwho = ["host:{host}"]\neffect = "allow"\n'
    assert parse(text.encode(), "test").rules


@pytest.mark.parametrize("place", [place for place in PLACES if place.old], ids=row)
def test_old_place_leads_to_one_that_is_read(place: Place) -> None:
    targets = {where(other): other for other in of_hosts((place.host,)) if not other.old}
    assert place.old.replace("~", HOME, 1) in targets


@pytest.mark.parametrize("host", TITLES)
def test_every_host_has_a_place_that_is_read(host: str) -> None:
    assert any(not place.old for place in PLACES if place.host == host)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, f"{HOME}/.codex/config.toml"),
        ({"CODEX_HOME": "/srv/codex"}, "/srv/codex/config.toml"),
        ({"CODEX_HOME": "/srv/codex//"}, "/srv/codex/config.toml"),
        ({"CODEX_HOME": "/"}, "/config.toml"),
        ({"CODEX_HOME": ""}, f"{HOME}/.codex/config.toml"),
        ({"CODEX_HOME": "codex"}, f"{HOME}/.codex/config.toml"),
        ({"CODEX_HOME": "~/codex"}, f"{HOME}/.codex/config.toml"),
        ({"CODEX_HOME": "/a/{HOME:x}"}, "/a/{HOME:x}/config.toml"),
        ({"XDG_CONFIG_HOME": "/srv"}, f"{HOME}/.codex/config.toml"),
    ],
)
def test_variable_counts_only_if_it_is_absolute(given: dict[str, str], path: str) -> None:
    assert where(one("codex"), **given) == path


@pytest.mark.parametrize(
    ("host", "variable", "path"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", "/v/.claude.json"),
        ("cline", "CLINE_DIR", "/v/data/settings/cline_mcp_settings.json"),
        ("copilot", "COPILOT_HOME", "/v/mcp-config.json"),
        ("kimi-code", "KIMI_CODE_HOME", "/v/mcp.json"),
        ("goose", "XDG_CONFIG_HOME", "/v/goose/config.yaml"),
        ("vscode", "XDG_CONFIG_HOME", "/v/Code/User/mcp.json"),
    ],
)
def test_variables_that_hosts_honour(host: str, variable: str, path: str) -> None:
    assert where(one(host), **{variable: "/v"}) == path


@pytest.mark.parametrize(
    ("host", "linux", "macos"),
    [
        ("vscode", ".config/Code/User/mcp.json", "Library/Application Support/Code/User/mcp.json"),
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            "Library/Application Support/Claude/claude_desktop_config.json",
        ),
        ("zed", ".config/zed/settings.json", ".config/zed/settings.json"),
        ("goose", ".config/goose/config.yaml", ".config/goose/config.yaml"),
        ("claude-code", ".claude.json", ".claude.json"),
        ("trae", ".config/Trae/User/mcp.json", "Library/Application Support/Trae/User/mcp.json"),
    ],
)
def test_linux_and_macos_differ_where_they_must(host: str, linux: str, macos: str) -> None:
    assert where(one(host)) == f"{HOME}/{linux}"
    assert where(one(host), "darwin") == f"{HOME}/{macos}"


def test_macos_does_not_use_the_folder_of_linux_for_programs_with_one_of_their_own() -> None:
    for place in USER:
        if "Application Support" in place.macos:
            assert place.linux.startswith("{XDG_CONFIG_HOME:~/.config}/")


def test_host_that_is_not_there_has_no_path() -> None:
    assert path_of(one("copilot-xcode"), "linux", HOME, {}) == ("", "")
    assert path_of(one("visual-studio"), "darwin", HOME, {}) == ("", "")


def test_pattern_stands_apart_from_the_folder_it_is_in() -> None:
    profiles = next(place for place in of_hosts(("vscode",)) if "*" in place.linux)
    folder = f"{HOME}/.config/Code/User/profiles"
    assert path_of(profiles, "linux", HOME, {}) == (folder, "*/mcp.json")
    assert path_of(profiles, "linux", "/home/[u]*", {})[0] == "/home/[u]*/.config/Code/User/profiles"
    agents = next(place for place in of_hosts(("kiro",)) if "*" in place.linux)
    assert path_of(agents, "linux", HOME, {}) == (f"{HOME}/.kiro/agents", "*.json")
    yaml = one("continue", Scope.PROJECT)
    assert path_of(yaml, "linux", HOME, {}) == (".continue/mcpServers", "*.yaml")


def test_of_hosts_gives_files_of_a_scope() -> None:
    assert set(of_hosts()) == set(USER)
    assert list(of_hosts(scope=Scope.PROJECT)) == PROJECT
    assert {place.host for place in of_hosts(("zed", "amp"))} == {"zed", "amp"}
    assert [where(place) for place in of_hosts(("codex",), Scope.PROJECT)] == [".codex/config.toml"]
    assert list(of_hosts(("nobody",))) == []


def test_the_file_that_a_host_reads_first_comes_first() -> None:
    names = [where(place).rpartition("/")[2] for place in of_hosts(("opencode",))]
    assert names == ["opencode.jsonc", "opencode.json"]


def test_day_is_a_day_that_has_been() -> None:
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", CHECKED)
    assert dt.date.fromisoformat(CHECKED) <= dt.date.fromtimestamp(time.time())
