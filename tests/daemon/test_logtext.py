"""The daemon's log holds no secret, whatever went wrong."""

import asyncio
import io
import logging
import secrets
import subprocess
import sys

import pytest

from mcpguard.audit import redact
from mcpguard.daemon.logtext import LogFormatter
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import TrustError

SECRET = "zX9" + secrets.token_hex(12)


def logged(write) -> str:
    stream = io.StringIO()
    log = logging.getLogger(f"here-{secrets.token_hex(4)}")
    log.propagate = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter())
    log.addHandler(handler)
    write(log)
    return stream.getvalue()


def failing(kind: str) -> None:
    unshown = SECRET
    if kind == "key":
        {}[unshown]
    elif kind == "value":
        int(unshown)
    elif kind == "decode":
        (unshown.encode() + b"\xff").decode("ascii")
    elif kind == "cause":
        try:
            {}[unshown]
        except KeyError as error:
            raise RuntimeError(f"it was {unshown!r}") from error
    elif kind == "context":
        try:
            int(unshown)
        except ValueError:
            [].index(f"x {unshown}")
    elif kind == "bytes":
        {}[unshown.encode()]


@pytest.mark.parametrize("kind", ["key", "value", "decode", "cause", "context", "bytes"])
def test_a_traceback_says_where_and_not_what(kind):
    def write(log):
        try:
            failing(kind)
        except Exception as error:
            log.exception("connection %s: %s", "1-abc", error)

    text = logged(write)
    assert SECRET not in text
    assert "test_logtext.py" in text
    assert "in failing" in text
    assert "Error" in text


def test_our_own_sentences_stay_and_known_secrets_in_them_do_not():
    before = redact.current()
    redact.install(redact.Redactor(b"k" * 32))
    try:
        redact.current().learn([SECRET.encode()])
        text = logged(
            lambda log: log.warning("refused: %s", TrustError(f"the server 'x-{SECRET}' is not known"))
        )
        assert SECRET not in text
        assert "the server 'x-«redacted:known:" in text
    finally:
        redact.install(before)


def test_what_nobody_caught_is_logged_without_what_it_was_given():
    # the secret by standard input: newer Pythons print the source lines of a program given with -c
    code = """
import asyncio, sys, threading
from mcpguard.daemon.logtext import log_to
log_to(sys.stderr)
secret = sys.stdin.read()
class Bad:
    def __del__(self):
        raise ValueError(secret)
def thread():
    raise KeyError(secret)
async def main():
    asyncio.get_running_loop().call_soon(lambda: int(secret))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
asyncio.run(main())
t = threading.Thread(target=thread); t.start(); t.join()
Bad()
raise RuntimeError("got " + repr(secret))
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=SECRET,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 1
    for word in ("ValueError", "KeyError", "RuntimeError", "invalid literal"):
        assert word in found.stderr
    assert SECRET not in found.stderr


def test_a_task_that_fails_is_logged_without_what_it_was_given(caplog):
    async def bad():
        raise KeyError(SECRET)

    async def main():
        task = spawn_task(bad(), name="a task")
        await asyncio.wait([task])

    with caplog.at_level(logging.ERROR, "mcpguard"):
        asyncio.run(main())
    (record,) = caplog.records
    text = LogFormatter().format(record)
    assert "KeyError" in text
    assert SECRET not in text
