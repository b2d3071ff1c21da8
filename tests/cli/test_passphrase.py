"""Where passphrases come from. Typing is tested on a terminal of its own in test_key."""

import os
import threading

import pytest

from mcpguard.cli import passphrase
from mcpguard.errors import TrustError


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "p"
    path.touch(0o600)
    monkeypatch.setenv(passphrase.VARIABLE, str(path))
    return path


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"one\ntwo", "one"),
        (b"one", "one"),
        (b" one \r\n", " one "),
        (b"caf\xc3\xa9\n", "caf\u00e9"),
        (b"\xff\n", "\udcff"),
    ],
)
def test_the_first_line_counts(file, content, word):
    file.write_bytes(content)
    assert passphrase.new() == passphrase.of("SHA256:x") == word


def test_a_pipe_is_a_file_too(tmp_path, monkeypatch):
    monkeypatch.delenv(passphrase.VARIABLE, raising=False)
    os.mkfifo(tmp_path / "pipe", 0o600)
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("one\n",))
    writer.start()
    assert passphrase.of("SHA256:x", str(tmp_path / "pipe")) == "one"
    writer.join()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_touch(file, mode):
    file.write_text("one")
    file.chmod(mode)
    with pytest.raises(TrustError, match="others may read") as caught:
        passphrase.new()
    assert caught.value.hint == f"chmod 600 {file}"


def test_empty_absent_and_nobody_to_ask(file, monkeypatch):
    with pytest.raises(TrustError, match="is empty"):
        passphrase.of("SHA256:x")
    with pytest.raises(TrustError, match="cannot be read: no such file"):
        passphrase.of("SHA256:x", str(file) + "x")
    monkeypatch.setenv(passphrase.VARIABLE, "")
    for ask in (passphrase.new, lambda: passphrase.of("SHA256:x")):
        with pytest.raises(TrustError, match="no terminal"):
            ask()
