"""What is trusted, asked of a daemon and without one; answers that are none."""

import json
import socket
import threading

import pytest

from mcpguard.cli import trusted
from mcpguard.errors import DaemonError, TrustError
from tests.cli.trustdesk import Desk
from tests.system.test_truststore import R1, ROOT, T1, T2, signed


@pytest.fixture
def desk(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    return desk


def test_the_daemon_and_the_files_say_the_same(desk):
    with desk.daemon():
        assert trusted.held().trust is None
        with pytest.raises(TrustError, match="no keys are trusted yet"):
            trusted.trust_set()
        assert trusted.put("trust-put", signed(T1, ROOT))["version"] == 1
        trusted.put("trust-put", signed(T2, ROOT))
        trusted.put("revocations-put", signed(R1, ROOT))
        asked = trusted.held()
        with pytest.raises(TrustError, match="does not follow"):
            trusted.put("trust-put", signed(T1, ROOT))
    assert asked == trusted.held()
    assert (asked.trust, asked.revocations) == (T2, R1)
    assert asked.trust_envelope == signed(T2, ROOT)
    assert trusted.trust_set() == (T2, asked)


@pytest.mark.parametrize(
    "reply",
    [
        {}, {"trust": "", "revocations": ""}, {"trust": 1, "revocations": "", "seen": {}},
        {"trust": "!", "revocations": "", "seen": {}}, {"trust": "", "revocations": "", "seen": {"trust": "x"}},
        {"trust": "", "revocations": "", "seen": []},
    ],
)  # fmt: skip
def test_an_answer_that_is_none(desk, reply):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(desk.runtime / "admin.sock"))
        listener.listen()

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(json.dumps({"v": 1, "ok": True, **reply}).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DaemonError, match="is not understood"):
            trusted.held()
        thread.join()


def test_a_refusal_is_not_mistaken_for_absence(desk):
    """A daemon that answers with an error is asked again by a person, not read around."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(desk.runtime / "admin.sock"))
        listener.listen()

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b'{"v":1,"ok":false,"code":"trust","error":"state went back"}\n')

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(TrustError, match="state went back"):
            trusted.held()
        thread.join()
