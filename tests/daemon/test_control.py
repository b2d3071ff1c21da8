"""admin.sock, spoken to by everybody."""

import json
import time

import pytest

from mcpguard import limits
from tests.lifecycle.stage import House, house, until

POLICY = (
    'version = 1\nmode = "enforce"\n\n[[rule]]\nid = "all"\nserver = "*"\ntools = ["*"]\neffect = "allow"\n'
)


@pytest.fixture(scope="module")
def place() -> object:
    with house() as made:
        yield made


def test_status(place: House) -> None:
    reply = place.ask({"verb": "status"})
    assert reply["ok"] is True
    assert reply["pid"] == place.daemon.pid
    assert reply["paths"] == {"runtime": str(place.run_dir), "audit": f"{place.state}/audit"}


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"verb":1}\n', b'{"verb":"status","x":1}\n', b"{" * 100_000 + b"\n",
        b"[" * 100_000 + b"\n", b'{"verb":"status","v":99}\n',
    ],
)  # fmt: skip
def test_garbage_is_answered_with_a_sentence(place: House, line: bytes) -> None:
    reply = json.loads(place.raw("admin.sock", line))
    assert reply["ok"] is False
    assert reply["error"].isprintable()


def test_verb_that_does_not_exist(place: House) -> None:
    reply = place.ask({"verb": "x" * 1000 + "\n"})
    assert reply == {"v": 1, "ok": False, "code": "unknown", "error": f"the daemon has no verb '{'x' * 40}'"}


def test_request_without_end(place: House) -> None:
    reply = json.loads(place.raw("admin.sock", b'{"verb":', end=True))
    assert reply["error"] == "not a control request: it has no end"


def test_request_that_is_too_long(place: House) -> None:
    before = place.status()["memory"]["pss_bytes"]
    with place.connect("admin.sock") as sock:
        try:
            for _ in range(limits.CONTROL_BYTES // limits.MIB + 4):
                sock.sendall(b"x" * limits.MIB)
        except OSError:
            pass
        assert b"it has no end" in sock.recv(1000)
    assert place.status()["memory"]["pss_bytes"] < before + 4 * limits.CONTROL_BYTES


def test_caller_that_says_nothing_holds_up_nobody(place: House) -> None:
    silent = [place.connect("admin.sock") for _ in range(100)]
    began = time.monotonic()
    assert place.answers()
    assert time.monotonic() - began < 1
    for sock in silent:
        sock.close()


def test_caller_that_leaves_before_the_reply(place: House) -> None:
    for _ in range(20):
        with place.connect("admin.sock") as sock:
            sock.sendall(b'{"verb":"status"}\n')
    assert place.answers()


def test_descriptors_come_back(place: House) -> None:
    before = place.descriptors()
    for line in (b"{}\n", b"x", b'{"verb":"status"}\n'):
        place.raw("admin.sock", line, end=True)
    assert until(lambda: place.descriptors() <= before)


def test_policy_is_applied_or_refused_as_a_whole(place: House) -> None:
    good = place.ask({"verb": "policy-apply", "source": "p.toml", "text": POLICY})
    assert good["policy"]["rules"] == 1
    assert good["policy"]["mode"] == "enforce"
    bad = place.ask({"verb": "policy-apply", "source": "p.toml", "text": POLICY + "frob = 1\n"})
    assert (bad["ok"], bad["code"]) == (False, "config")
    assert bad["error"].startswith("p.toml:")
    assert place.status()["policy"] == good["policy"]
