"""Opening a page: real programs, and URLs that are attacks."""

import os
import stat
import sys
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system import browser
from mcpguard.system.browser import BrowserError
from tests.lifecycle.stage import until

GOOD = "https://auth.example/authorize?response_type=code&state=a-_~.b&scope=read+write&redirect_uri=http%3A%2F%2F127.0.0.1"


def program(place: Path) -> tuple[dict[str, str], Path]:
    """A browser that writes down what it was started with."""
    path, seen = place / "browser", place / "seen"
    path.write_text(
        f"#!{sys.executable} -I\nimport os, sys\n"
        "kept = sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}'))\n"
        f"open({str(seen)!r} + '.new', 'w').write(repr((sys.argv[1:], kept[3:], os.getsid(0) == os.getpid())))\n"
        f"os.rename({str(seen)!r} + '.new', {str(seen)!r})\n"
    )
    path.chmod(0o700)
    return {"MCPGUARD_BROWSER": str(path)}, seen


def test_the_url_is_one_argument_of_one_program(tmp_path: Path) -> None:
    environment, seen = program(tmp_path)
    with open(os.devnull) as ours:
        os.set_inheritable(ours.fileno(), True)
        assert browser.open_page(GOOD, environment)
        assert until(seen.exists)
    argv, descriptors, leads = eval(seen.read_text())
    assert argv == [GOOD]
    assert descriptors == []
    assert leads, "a Ctrl-C at our terminal does not end it"


@pytest.mark.parametrize(
    "url",
    [
        "", "file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "vbscript:x", "ftp://a.example/", "about:blank",
        "http://a.example/", "http://10.0.0.1/", "https://u:p@a.example/", "https://a.example@b.example/", "-h", "--help",
        "--new-window https://a.example", "https://a.example/ --help", "https://a.example/;touch x", "https://a.example/?$(id)",
        "https://a.example/?`id`", "https://a.example/?a|b", "https://a.example/?'", 'https://a.example/?"', "https://a.example/?a\nb",
        "https://a.example/?a\x00b", "https://a.example/?\x1b[2J", "https://a.example/#x", "https://a.example/?x#y",
        "https://a.example/?%", "https://a.example/?\u202e", "https://a.example/?" + "x" * limits.OAUTH_REDIRECT_CHARS,
        "a.example", "//a.example", "https:a.example", "HTTPS//x", "x-apple.systempreferences:", "steam://run/1",
    ],
)  # fmt: skip
def test_nothing_else_is_opened(tmp_path: Path, url: str) -> None:
    environment, seen = program(tmp_path)
    with pytest.raises(BrowserError) as caught:
        browser.open_page(url, environment)
    assert caught.value.message.isprintable()
    assert not seen.exists()


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "[::1]:80"])
def test_http_is_opened_on_this_machine(host: str) -> None:
    assert browser.require_url(f"http://{host}/x")


@pytest.mark.parametrize(
    "named", ["xdg-open", "./browser", "/nowhere/browser", "/etc/passwd", "/tmp", "/bin/sh -c"]
)
def test_a_browser_is_named_by_the_absolute_path_of_a_program(named: str) -> None:
    with pytest.raises(ConfigError, match="is no program"):
        browser.launcher({"MCPGUARD_BROWSER": named})


def test_without_a_display_there_is_no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert browser.launcher({}) == ()
    assert not browser.open_page(GOOD, {})


def test_with_a_display_the_first_launcher_of_the_system_is_taken_whatever_path_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of somebody else's in PATH does not choose what opens the page."""
    for folder, names in {"system": ("xdg-open", "gio"), "path": ("xdg-open",)}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("#!/bin/sh\n")
            (tmp_path / folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setattr(browser, "_PLACES", str(tmp_path / "system"))
    environment = {"DISPLAY": ":0", "PATH": str(tmp_path / "path")}
    assert browser.launcher(environment) == (str(tmp_path / "system" / "xdg-open"),)
    (tmp_path / "system" / "xdg-open").unlink()
    assert browser.launcher(environment) == (str(tmp_path / "system" / "gio"), "open")


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    bad = tmp_path / "browser"
    bad.write_text("#!/nowhere/at/all\n")
    bad.chmod(0o700)
    with pytest.raises(BrowserError, match="does not start"):
        browser.open_page(GOOD, {"MCPGUARD_BROWSER": str(bad)})
