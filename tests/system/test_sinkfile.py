"""`export.toml`: read strictly, with the line of what is wrong; changed without harm."""

import os
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system.sinkfile import JOURNALD, Sink, SinkFile, parse

GOOD = """\
version = 1

# the one that counts
[[sink]]
name = "siem"
kind = "syslog"
to = "tls://logs.example.com"
format = "ocsf"
facility = "authpriv"
ca = "/etc/ca.pem"
most = 4096

[[sink]]
name = "here"
kind = "journald"

[[sink]]
name = "web"
kind = "https"
to = "https://[::1]:8443/in?x=1"
token_file = "/run/token"
start = "now"

[[sink]]
name = "otel"
kind = "otlp"
to = "http://localhost:4318"
signals = ["logs"]
"""


def sink(rows: str) -> str:
    return f'version = 1\n[[sink]]\nname = "a"\n{rows}\n'


def test_every_kind() -> None:
    siem, here, web, otel = parse(GOOD, "f")
    assert siem == Sink(
        "siem", "syslog", "tls://logs.example.com", "ocsf", facility=10, ca="/etc/ca.pem", most=4096
    )
    assert here.to == JOURNALD
    assert (web.start, web.token_file, web.url.hostname) == ("now", "/run/token", "::1")
    assert otel.signals == ("logs",)
    assert parse("  \n", "f") == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("sink = 1", 0, "version"),
        ("version = 2", 1, "expected 1"),
        ("version = true", 1, "expected 1"),
        ("version = 1\nsinks = []", 2, "did you mean sink"),
        ("version = 1\n[sink]\nname = 'a'", 2, "expected [[sink]]"),
        ("version = 1\n[[sink]]\nkind = 'syslog'", 2, "a name"),
        (sink("kind = 'file'"), 4, "syslog"),
        (sink("kind = 'syslog'"), 2, "an address"),
        (sink("kind = 'syslog'\nto = 'udp://x:1'\ntoken_file = '/x'"), 6, "known key"),
        (sink("kind = 'syslog'\nto = 'http://x'"), 5, "udp://"),
        (sink("kind = 'syslog'\nto = 'tcp://x'"), 5, "a port"),
        (sink("kind = 'syslog'\nto = 'tcp://x:99999'"), 5, "an address"),
        (sink("kind = 'syslog'\nto = 'tcp://x:1/a'"), 5, "a host"),
        (sink("kind = 'syslog'\nto = 'unix://x/a'"), 5, "absolute path"),
        (sink("kind = 'syslog'\nto = 'udp://x:1'\nformat = 'xml'"), 6, '"json" or "ocsf" or "cef"'),
        (sink("kind = 'syslog'\nto = 'udp://x:1'\nfacility = 'mail'"), 6, "local0"),
        (sink("kind = 'syslog'\nto = 'udp://x:1'\nmost = 100"), 6, "at least"),
        (sink("kind = 'syslog'\nto = 'udp://x:1'\nca = '/x'"), 6, "TLS"),
        (sink("kind = 'https'\nto = 'http://x/'"), 5, "https://"),
        (sink("kind = 'https'\nto = 'https://u:p@x/'"), 5, "token_file"),
        (sink("kind = 'https'\nto = 'https://x/'\ntoken_file = 'x'"), 6, "absolute"),
        (sink('kind = "https"\nto = "https://x/\\u0000"'), 5, "expected"),
        (sink('kind = "https"\nto = "https://x/\\u202e"'), 5, "expected"),
        (sink("kind = 'otlp'\nto = 'http://collector:4318'"), 5, "another machine"),
        (sink("kind = 'otlp'\nto = 'https://x'\nsignals = ['logs', 'profiles']"), 6, "logs"),
        (sink("kind = 'journald'\nformat = 'cef'"), 5, "known key"),
        (sink("kind = 'journald'\nstart = 'later'"), 5, "beginning"),
        (sink("kind = 'journald'") + '[[sink]]\nname = "a"\nkind = "journald"', 6, "twice"),
        ("version = 1\n[[sink]\n", 2, "TOML"),
        ("version = 1\n" + "[[sink]]\nname = 'a'\n" * (limits.SINKS + 1), 0, "at most"),
        ("version = 1\n" + "a." * 40 + "b = 1", 2, "levels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "export.toml")
    assert words in caught.value.sentence()
    assert not line or caught.value.line == line, caught.value.sentence()


def test_adding_and_removing_keep_the_rest(tmp_path: Path) -> None:
    file = SinkFile(tmp_path / "export")
    assert (file.load(), file.stamp()) == ((), (0, 0, 0))
    file.add({"name": "first", "kind": "journald"})
    file.add({"name": "siem", "kind": "syslog", "to": "udp://127.0.0.1:514", "most": 4096})
    file.path.write_text(file.path.read_text().replace("[[sink]]", "# mine\n[[sink]]", 1))
    assert [each.name for each in file.load()] == ["first", "siem"]
    before = file.stamp()
    file.remove("siem")
    assert "# mine" in file.path.read_text()
    assert [each.name for each in file.load()] == ["first"]
    assert file.stamp() != before
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_text_cannot_become_keys(tmp_path: Path) -> None:
    file = SinkFile(tmp_path / "export")
    odd = 'unix:///tmp/"\n[[sink]]\nname = "evil"'
    with pytest.raises(ConfigError):
        file.add({"name": "a", "kind": "syslog", "to": odd})
    assert not file.path.exists()


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    file = SinkFile(tmp_path / "export")
    file.add({"name": "a", "kind": "journald"})
    before = file.path.read_bytes()
    for bad in ({"name": "a", "kind": "journald"}, {"name": "b", "kind": "https", "to": "http://x"}):
        with pytest.raises(ConfigError):
            file.add(bad)
    with pytest.raises(ConfigError, match="there is no sink"):
        file.remove("b")
    assert file.path.read_bytes() == before


def test_a_file_that_others_may_write_counts_for_nothing(tmp_path: Path) -> None:
    file = SinkFile(tmp_path / "export")
    file.add({"name": "a", "kind": "journald"})
    file.path.chmod(0o666)
    with pytest.raises(ConfigError, match="writable by others"):
        file.load()
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(ConfigError, match="expected a file"):
        file.load()
    file.path.unlink()
    file.path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        file.load()
    file.path.write_bytes(b"#" * (limits.SINKS_BYTES + 1))
    with pytest.raises(ConfigError, match="at most"):
        file.load()
