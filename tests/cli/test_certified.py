"""The registry as verbs see it, and the files that they write."""

import os
import stat

import pytest
from click import BadParameter, Context, Option

from mcpguard import limits
from mcpguard.cli import certified
from mcpguard.cli.ca import ca
from mcpguard.errors import DaemonError, TrustError
from tests.identity.test_certregistry import entry, registry


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No daemon runs, and none is asked."""
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(certified.client, "request", _nobody)
    return tmp_path


def _nobody(_request):
    raise DaemonError("the mcpguard daemon is not running")


def test_from_its_file_where_no_daemon_runs(alone):
    assert certified.held().registry.entries == ()
    store = certified.CertStore(alone / "certificates")
    found = registry(entry())
    with store.changing() as change:
        change.commit(found)
    store.note_used({"ab": 7.0})
    assert certified.held() == (found, {"ab": 7.0}, {}, frozenset())


def test_an_answer_that_is_not_understood(alone, monkeypatch):
    for reply in (
        {},
        {"registry": "?", "used": {}, "sources": {}},
        {"registry": "e30=", "used": [], "sources": {}},
    ):
        monkeypatch.setattr(certified.client, "request", lambda _request, reply=reply: reply)
        with pytest.raises(DaemonError, match="is not understood"):
            certified.held()


def test_files_are_for_their_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        certified.write_files(str(tmp_path / "new"), {"a": b"1", "b": b"2"})
        certified.write_files(str(tmp_path / "new"), {"a": b"3"})
    finally:
        os.umask(old)
    assert {p.name: p.read_bytes() for p in (tmp_path / "new").iterdir()} == {"a": b"3", "b": b"2"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new").iterdir()} == {0o600}
    (tmp_path / "file").touch()
    with pytest.raises(TrustError):
        certified.write_files(str(tmp_path / "file"), {"a": b"1"})


def test_files_that_are_too_large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * (limits.CHAIN_BYTES + 1))
    with pytest.raises(TrustError, match="is larger than"):
        certified.read_file(str(path))


@pytest.mark.parametrize("text", ["", "a b", "../a", "-a", "a" * 65, "a\n", "é"])
def test_what_is_no_name(text):
    with pytest.raises(BadParameter):
        certified.name_of(Context(ca), Option(["--name"]), text)
    assert certified.name_of(Context(ca), Option(["--name"]), "a.b-c_1") == "a.b-c_1"
