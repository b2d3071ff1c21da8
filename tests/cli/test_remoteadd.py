"""What `server add --url` takes for a description, and how it is shown; the rest is in tests/lifecycle/test_remote.py."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mcpguard.cli import remoteadd
from mcpguard.cli.server import server
from mcpguard.errors import TrustError
from mcpguard.identity.remote import Remote
from tests.fakes.remotes import Pki

PIN = "sha256:" + "ab" * 32
NONE: dict[str, Any] = {
    "url": None, "ca": None, "pin": (), "client_cert": None, "client_key": None, "allow_network": (), "proxy": None,
    "passed": (), "fixed": (), "cwd": None, "host_argv": None,
}  # fmt: skip


def test_options_become_a_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pki = Pki(tmp_path)
    (tmp_path / "noisy.pem").write_text(
        "subject=CA\r\n" + pki.pem.replace("\n", "\r\n") + "\nbye\n" + pki.pem
    )
    found = remoteadd.described({
        **NONE, "url": "https://a.test/mcp", "ca": "noisy.pem", "pin": (PIN, PIN), "client_cert": "c.pem",
        "client_key": "k.pem", "allow_network": ("10.1.2.3", "loopback", "10.1.2.3/32"), "proxy": "http://p.test:3128/",
    })  # fmt: skip
    assert found == Remote(
        "https://a.test/mcp", ca=pki.pem * 2, pins=(PIN,), client_cert=f"{tmp_path}/c.pem",
        client_key=f"{tmp_path}/k.pem", networks=("10.1.2.3/32", "loopback"), proxy="http://p.test:3128",
    )  # fmt: skip
    words = dict(remoteadd.in_words(found))
    assert words["vouched for by"] == "2 CA certificates in the manifest"
    assert words["may be in"] == "10.1.2.3/32, loopback"
    assert words["has the key"] == PIN


def test_without_a_url_nothing_is_described() -> None:
    assert remoteadd.described(NONE) is None


@pytest.mark.parametrize(
    "options",
    [
        {"ca": "x"}, {"pin": (PIN,)}, {"client_cert": "x"}, {"client_key": "x"}, {"allow_network": ("loopback",)},
        {"proxy": "http://p.test:1"}, {"url": "https://a.test/", "passed": ("A",)},
        {"url": "https://a.test/", "fixed": ("A=b",)}, {"url": "https://a.test/", "cwd": "/"},
        {"url": "https://a.test/", "host_argv": "x"},
    ],
)  # fmt: skip
def test_options_that_do_not_belong_together_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        remoteadd.described({**NONE, **options})


@pytest.mark.parametrize(
    "words", [["--url", "https://a.test/", "--", "sh"], ["--url", "https://a.test/", "--from", "x"]]
)
def test_url_and_command_exclude_each_other(words: list[str]) -> None:
    done = CliRunner().invoke(server, ["add", "x", *words])
    assert done.exit_code == 2
    assert "give one of" in done.output


@pytest.mark.parametrize("text", ["", "text", "-----BEGIN CERTIFICATE-----\n", "\xff"])
def test_file_without_a_certificate_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(TrustError):
        remoteadd.described({**NONE, "url": "https://a.test/", "ca": str(file)})


def test_authorities_of_the_system_are_named_as_what_they_are() -> None:
    words = dict(remoteadd.in_words(Remote("https://a.test/", ca="system", proxy="http://p.test:1")))
    assert words["vouched for by"] == "any certificate authority of the operating system"
    assert words["through"] == "http://p.test:1"


def test_every_option_of_the_page_exists() -> None:
    text = (Path(__file__).parents[2] / "docs" / "remote.md").read_text()
    options = {option for parameter in server.commands["add"].params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--probe"} <= options
