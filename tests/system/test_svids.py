"""SVIDs from files and from a real Workload API."""

import sys
import time

import pytest

pytest.importorskip("spiffe", reason="the extra `spiffe` is not installed")

from cryptography.hazmat.primitives import serialization

from mcpguard.errors import TrustError
from mcpguard.identity.certificates import pem
from mcpguard.identity.certregistry import SvidSource
from mcpguard.system import svids
from mcpguard.system.svids import SvidFiles, WorkloadApi, opened
from tests.identity.x509made import Maker
from tests.system.workloadapi import WorkloadServer

SECONDS = 20.0


@pytest.fixture
def domain():
    return Maker("example.org", now=time.time(), permitted=("uri:example.org",))


def until(what):
    deadline = time.monotonic() + SECONDS
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def secret(key, encoding=serialization.Encoding.DER):
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_files(tmp_path, domain):
    key, leaf = domain.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
    source = SvidSource(
        "spire", str(tmp_path / "svid.pem"), str(tmp_path / "key.pem"), str(tmp_path / "bundle.pem")
    )
    files = opened(source)
    assert isinstance(files, SvidFiles)
    with pytest.raises(TrustError, match=r"svid\.pem cannot be read: no such file"):
        files.latest()
    (tmp_path / "svid.pem").write_bytes(pem([leaf, domain.between]))
    (tmp_path / "key.pem").write_bytes(secret(key, serialization.Encoding.PEM))
    (tmp_path / "bundle.pem").write_bytes(pem([domain.root]))
    found = files.latest()
    assert (found.chain, found.bundle) == ((leaf, domain.between), (domain.root,))
    (tmp_path / "bundle.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(TrustError, match="no certificate that can be read"):
        files.latest()


def test_the_workload_api_streams(tmp_path, domain):
    server = WorkloadServer(tmp_path / "agent.sock")
    api = opened(SvidSource("spire", socket=f"unix:{tmp_path}/agent.sock"))
    assert isinstance(api, WorkloadApi)
    try:
        for _ in range(2):
            key, leaf = domain.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
            server.give("spiffe://example.org/web", [leaf, domain.between], secret(key), [domain.root])
            assert until(lambda leaf=leaf: api.latest().chain == (leaf, domain.between))
            found = api.latest()
            assert found.bundle == (domain.root,)
            loaded = serialization.load_pem_private_key(found.key, None)
            assert loaded.private_numbers() == key.private_numbers()
    finally:
        api.close()
        server.close()


def test_no_agent_answers(tmp_path, monkeypatch, domain):
    monkeypatch.setattr(svids, "_CONNECT_SECONDS", 0.3)
    api = WorkloadApi(f"unix:{tmp_path}/nobody.sock")
    with pytest.raises(TrustError, match="gives nothing") as told:
        api.latest()
    assert str(tmp_path) in told.value.message
    assert told.value.hint == "does its agent run?"
    server = WorkloadServer(tmp_path / "nobody.sock")
    key, leaf = domain.leaf(uris=["spiffe://example.org/web"], uses=("server", "client"))
    server.give("spiffe://example.org/web", [leaf, domain.between], secret(key), [domain.root])
    try:
        with pytest.raises(TrustError, match="gives nothing"):
            api.latest()  # it is not asked again at once
        monkeypatch.setattr(svids, "_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(svids, "_CONNECT_SECONDS", SECONDS)
        assert api.latest().chain == (leaf, domain.between)
    finally:
        api.close()
        server.close()
    api.close()


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spiffe", None)
    with pytest.raises(TrustError) as told:
        WorkloadApi(f"unix:{tmp_path}/agent.sock").latest()
    assert told.value.hint == "pip install 'mcpguard[spiffe]'"
