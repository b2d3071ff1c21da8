from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system.servefile import Listen, ServeFile, parse

TLS = 'certificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'


def one(rows: str) -> Listen:
    (made,) = parse(f'version = 1\n[[listener]]\nname = "a"\n{rows}', "serve.toml")
    return made


def test_everything_that_may_stand_in_it() -> None:
    made = one(
        f'listen = "tls:guard.example:8443"\nauth = ["cert", "jwt"]\nspeak = "http"\nserver = "files"\n{TLS}'
        'hosts = ["guard.example", "[2001:db8::1]:8443"]\norigins = ["https://app.example:8443"]\n'
        'url = "https://guard.example:8443"\nrecheck = "30s"\n'
    )
    assert made == Listen(
        "a", host="guard.example", port=8443, auth=("cert", "jwt"), server="files", certificate="/c", key="/k",
        client_ca="/a", hosts=("guard.example", "[2001:db8::1]:8443"), origins=("https://app.example:8443",),
        url="https://guard.example:8443", recheck=30.0,
    )  # fmt: skip
    assert made.tls
    assert made.address == "tls:guard.example:8443"


def test_what_is_left_out() -> None:
    unix = one('listen = "unix:/run/guard.sock"')
    assert (unix.auth, unix.speak, unix.recheck, unix.tls) == (
        ("uid",),
        "http",
        limits.RECHECK_SECONDS,
        False,
    )
    assert unix.address == "unix:/run/guard.sock"
    assert one(f'listen = "tls:[::1]:8443"\n{TLS}').auth == ("cert",)
    assert one(f'listen = "tls:[::1]:8443"\n{TLS}').host == "::1"
    assert parse("", "serve.toml") == ()
    assert one('listen = "unix:/a"\nauth = ["apikey", "plugin:pager"]').auth == ("apikey", "plugin:pager")


@pytest.mark.parametrize(
    ("rows", "words", "line"),
    [
        ('listen = "tcp:0.0.0.0:80"', "ssh -L", 4),
        ('listen = "http://x"', "unix:PATH or tls:HOST:PORT", 4),
        ('listen = "unix:relative"', "absolute path", 4),
        ('listen = "unix://host/x"', "absolute path", 4),
        ('listen = "tls:host"', "tls:HOST:PORT", 4),
        ('listen = "tls:host:99999"', "tls:HOST:PORT", 4),
        ('listen = "tls:ho st:1"', "a host name", 4),
        ('listen = "tls::1"', "a host name", 4),
        ('auth = ["uid"]', "an address", 2),
        ('listen = "unix:/a"\nauth = []', "a list of kinds", 5),
        ('listen = "unix:/a"\nauth = ["plugin:pager"]', "beside plugin:NAME", 5),
        ('listen = "unix:/a"\nauth = ["Nope!"]', "apikey, jwt or plugin:NAME", 5),
        ('listen = "unix:/a"\nauth = "uid"', "a list", 5),
        ('listen = "unix:/a"\nauth = ["cert"]', "tls: only", 5),
        ('listen = "unix:/a"\nkey = "/k"', "tls: only", 5),
        ('listen = "unix:/a"\nuids = [65534]', "a user id", 5),
        ('listen = "unix:/a"\nuids = [true]', "a user id", 5),
        (f'listen = "tls:a:1"\n{TLS}auth = ["uid"]', "unix: only", 8),
        (f'listen = "tls:a:1"\n{TLS}uids = [1]', "unix: only", 8),
        ('listen = "tls:a:1"\ncertificate = "/c"\nkey = "/k"', "the CA of client certificates", 2),
        ('listen = "tls:a:1"\nauth = ["apikey"]\nkey = "/k"', "a PEM file", 2),
        ('listen = "tls:a:1"\nkey = "k"', "absolute path", 5),
        ('listen = "unix:/a"\nspeak = "ndjson"', "the one server", 2),
        ('listen = "unix:/a"\nspeak = "ndjson"\nserver = "s"\norigins = ["https://a"]', "found ndjson", 5),
        ('listen = "unix:/a"\nspeak = "grpc"', '"http" or "ndjson"', 5),
        ('listen = "unix:/a"\norigins = ["*"]', "one like https://app.example", 5),
        ('listen = "unix:/a"\norigins = ["null"]', "one like https://app.example", 5),
        ('listen = "unix:/a"\nhosts = ["A.example"]', "in lower case", 5),
        ('listen = "unix:/a"\nurl = "http://a"', "https://HOST:PORT", 5),
        ('listen = "unix:/a"\nurl = "https://a/path"', "https://HOST:PORT", 5),
        ('listen = "unix:/a"\nrecheck = "0s"', "at least 1s", 5),
        ('listen = "unix:/a"\nrecheck = 5', "1 to 6 digits", 5),
        ('listen = "unix:/a"\nanonymous = true', "a known key", 5),
        ('listen = "unix:/a"\n[[listener]]\nname = "a"\nlisten = "unix:/b"', "another name", 6),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_an_error_with_its_line(rows: str, words: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        one(rows)
    assert words in caught.value.sentence()
    assert caught.value.line == line
    assert "\n" not in caught.value.sentence()


@pytest.mark.parametrize(
    "text",
    [
        "listener = 1",
        "version = 2",
        "version = true",
        "x = 1\nversion = 1",
        "version = 1\n[listener]\n",
        "version",
    ],
)
def test_documents_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, "serve.toml")


def test_too_many_listeners() -> None:
    rows = "".join(
        f'[[listener]]\nname = "n{number}"\nlisten = "unix:/{number}"\n'
        for number in range(limits.LISTENERS + 1)
    )
    with pytest.raises(ConfigError, match="at most 16"):
        parse(f"version = 1\n{rows}", "serve.toml")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text, "serve.toml")
    except ConfigError:
        return
    assert isinstance(found, tuple)


def test_the_file_is_read_from_its_directory(tmp_path: Path) -> None:
    file = ServeFile(tmp_path / "none")
    assert file.load() == ()
    tmp_path.chmod(0o700)
    path = tmp_path / "serve.toml"
    path.write_text('version = 1\n[[listener]]\nname = "a"\nlisten = "unix:/a"\n')
    path.chmod(0o600)
    assert ServeFile(tmp_path).load()[0].name == "a"


def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "serve.toml"
    path.write_text("version = 1\n")
    path.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        ServeFile(tmp_path).load()
    assert "chmod" in caught.value.sentence()


def test_bytes_that_are_no_text_and_a_file_that_is_too_long(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "serve.toml"
    for data, words in ((b"version = 1\n# \xff\n", "UTF-8"), (b"#" * (limits.SERVE_BYTES + 1), "at most")):
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=words):
            ServeFile(tmp_path).load()
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError):
        ServeFile(tmp_path).load()
