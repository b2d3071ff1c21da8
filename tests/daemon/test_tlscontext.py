"""Contexts over plain blocking sockets, and what is left of a key that was loaded: nothing."""

import gc
import os
import socket
import ssl
import threading
import time

import pytest

from mcpguard.daemon import tlscontext
from mcpguard.daemon.privatekeys import der, new_key
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import fingerprint
from tests.daemon.test_privatekeys import serialization
from tests.identity.x509made import Maker


@pytest.fixture
def ours():
    return Maker(now=time.time())


def secret(key, words=b""):
    how = serialization.BestAvailableEncryption(words) if words else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def shake(server, client, told):
    """A handshake over a socket pair with blocking sockets; what each side raised."""
    left, right = socket.socketpair()
    left.settimeout(20)
    right.settimeout(20)

    def serve():
        try:
            with server.wrap_socket(left, server_side=True) as tls:
                told["server"] = tls.recv(10)
        except (ssl.SSLError, OSError) as error:
            told["server"] = error

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname="localhost") as tls:
            tls.sendall(b"hello")
            told["client"] = tls.version()
    except (ssl.SSLError, OSError) as error:
        told["client"] = error
    thread.join(20)
    left.close()
    right.close()
    return told


def pair(ours, tmp_path, server_check, client_check):
    contexts = []
    for made, use, check in (
        (tlscontext.listening, "server", server_check),
        (tlscontext.calling, "client", client_check),
    ):
        key, leaf = ours.leaf(["localhost"], uses=(use,))
        context = made([ours.root], check)
        tlscontext.show(context, [leaf, ours.between], secret(key), tmp_path)
        contexts.append((context, leaf))
    return contexts


def test_blocking_sockets_are_checked_too(ours, tmp_path):
    seen = {}
    (server, server_leaf), (client, client_leaf) = pair(
        ours, tmp_path, lambda chain: seen.update(server=chain), lambda chain: seen.update(client=chain)
    )
    told = shake(server, client, {})
    assert (told["server"], told["client"]) == (b"hello", "TLSv1.3")
    assert seen["server"] == (client_leaf, ours.between)
    assert seen["client"] == (server_leaf, ours.between)


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_check_that_refuses_ends_the_handshake_with_its_sentence(ours, tmp_path, side):
    def no(chain):
        raise TrustError(f"not {fingerprint(chain[0])[:8]}", hint="go away")

    def yes(_chain):
        return None

    (server, one), (client, two) = pair(ours, tmp_path, *((no, yes) if side == "server" else (yes, no)))
    told = shake(server, client, {})
    refused = fingerprint(two if side == "server" else one)[:8]
    assert isinstance(told[side], ssl.SSLCertVerificationError)
    assert f"not {refused}: go away" in str(told[side])
    assert told["server"] != b"hello"


def test_contexts_speak_tls_1_3_and_ask_for_certificates(ours):
    server, client = tlscontext.listening([ours.root], print), tlscontext.calling([ours.root], print)
    for context in (server, client):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert tlscontext.listening([], print, required=False).verify_mode == ssl.CERT_OPTIONAL
    assert [each["subject"] for each in server.get_ca_certs()] == [((("commonName", "ours root"),),)]


def test_nothing_is_left_of_a_key(ours, tmp_path):
    key, leaf = ours.leaf(["localhost"])
    context = tlscontext.calling([ours.root], print)
    before = len(os.listdir("/proc/self/fd"))
    tlscontext.show(context, [leaf], secret(key), tmp_path)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(tmp_path.iterdir()) == []


def test_another_key_and_an_encrypted_one_are_errors_and_no_question(ours, tmp_path):
    _, leaf = ours.leaf(["localhost"])
    context = tlscontext.calling([ours.root], print)
    for text in (secret(new_key()), secret(new_key(), b"word"), der(new_key())):
        with pytest.raises(ssl.SSLError):
            tlscontext.show(context, [leaf], text, tmp_path)
