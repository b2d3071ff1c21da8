"""`mcpguard serve`: what it says before a daemon is asked. What it opens is tested with its listeners."""

import pytest
from click.testing import CliRunner

from mcpguard.cli.serve import serve
from mcpguard.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say where"),
        (["--list", "--listen", "unix:/a"], "--listen opens a listener"),
        (["--speak", "grpc", "--listen", "unix:/a"], "grpc"),
    ],
)
def test_usage(words: list[str], said: str) -> None:
    done = CliRunner().invoke(serve, words)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "tcp:0.0.0.0:80"], "use tls:HOST:PORT with a certificate, or unix:PATH and ssh -L"),
        (["--listen", "unix:relative"], "absolute path"),
        (["--listen", "tls:a:1"], "client_ca"),
        (["--listen", "unix:/a", "--auth", "cert"], "tls: only"),
        (["--listen", "unix:/a", "--recheck", "soon"], "1 to 6 digits"),
        (["--listen", "unix:/a", "--name", "Not A Name"], "1 to 64"),
        (["--listen", 'unix:/a"\nauth = ["x"]'], "absolute path"),
    ],
)
def test_a_listener_is_read_as_the_file_is(words: list[str], said: str) -> None:
    done = CliRunner().invoke(serve, words)
    assert isinstance(done.exception, ConfigError)
    sentence = done.exception.sentence()
    assert said in sentence
    assert sentence.startswith("the command line: ")
    assert "\n" not in sentence


def test_help_says_what_is_never_done() -> None:
    done = CliRunner().invoke(serve, ["--help"])
    assert "never plain TCP" in done.output
    assert "serve.toml" in done.output
