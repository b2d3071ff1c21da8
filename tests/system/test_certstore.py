"""The registry on disk: nobody else's, whole after any crash, one writer."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.certificates import fingerprint
from mcpguard.identity.certregistry import Registry
from mcpguard.system import sealedkey
from mcpguard.system.certstore import LOCK, ROOT, CertStore
from tests.identity.test_certregistry import entry, registry

ALICE = entry()
KEPT = registry(entry("kept"))


@pytest.fixture
def store(tmp_path):
    return CertStore(tmp_path / "certificates", cost=2**14)


def put(store, found):
    with store.changing() as change:
        change.commit(found)


def test_nothing_at_first(store):
    assert (store.load(), store.used, store.last_used()) == (Registry(), False, {})
    assert not store.directory.exists()


def test_there_and_back_and_for_nobody_else(store):
    old = os.umask(0)
    try:
        put(store, registry(ALICE))
        with store.changing() as change:
            change.keep(ROOT, b"{}")
        store.note_used({"ab": 5.0})
    finally:
        os.umask(old)
    assert (store.load(), store.used, store.last_used()) == (registry(ALICE), True, {"ab": 5.0})
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_keys_that_nothing_speaks_of_are_removed(store):
    kept = msgspec.structs.replace(ALICE, kept=True)
    name, between = fingerprint(kept.der), fingerprint(registry().authority.between[0])
    with store.changing() as change:
        for each in (name, between, ROOT, "f" * 64):
            change.keep(each, sealedkey.in_clear(b"x", each))
        change.commit(registry(kept))
    assert {path.stem for path in store.directory.glob("*.key")} == {name, between, ROOT}
    put(store, registry(ALICE))
    assert not store.has_key(name)
    with pytest.raises(TrustError, match="is not here"):
        store.key(name)


def test_locked_keys(store):
    put(store, registry())
    with pytest.raises(TrustError, match="are not locked"):
        store.unlock("word")
    sealing = os.urandom(32)
    store.use(sealing)
    name = fingerprint(registry().authority.between[0])
    with store.changing() as change:
        change.keep(LOCK, sealedkey.under_passphrase(sealing, LOCK, "word", 2**14))
        change.keep(name, store.sealed(b"secret", name, locked=True))
    assert store.key(name) == b"secret"
    again = CertStore(store.directory)
    for what in (lambda: again.key(name), lambda: again.sealed(b"x", name, locked=True)):
        with pytest.raises(TrustError, match="are locked") as told:
            what()
        assert told.value.hint == "mcpguard ca unlock"
    with pytest.raises(TrustError, match="does not open"):
        again.unlock("other")
    again.unlock("word")
    assert again.key(name) == b"secret"


def test_damaged_is_an_error_and_never_an_empty_registry(store):
    put(store, registry(ALICE))
    path = store.directory / "registry.json"
    whole = path.read_bytes()
    for content in (b"", whole[:-1], b"null", b'{"version":2}', whole.replace(b'"entries"', b'"entires"')):
        path.write_bytes(content)
        with pytest.raises(TrustError, match=r"registry\.json is"):
            store.load()
        with pytest.raises(TrustError), store.changing():
            pass
    path.write_bytes(whole)
    assert store.load() == registry(ALICE)


def test_what_others_can_reach_is_refused(store):
    put(store, registry(ALICE))
    path = store.directory / "registry.json"
    path.chmod(0o644)
    with pytest.raises(TrustError, match="others may read") as told:
        store.load()
    assert told.value.hint.startswith("chmod 600 ")
    path.chmod(0o622)
    with pytest.raises(TrustError, match="writable by others"):
        store.load()
    path.chmod(0o600)
    store.directory.chmod(0o777)
    with pytest.raises(TrustError, match="writable by others"):
        store.load()
    store.directory.chmod(0o700)
    path.rename(store.directory / "elsewhere")
    path.symlink_to(store.directory / "elsewhere")
    with pytest.raises(TrustError, match="cannot be read"):
        store.load()


def test_one_writer_at_a_time(store):
    put(store, registry())
    order, inside = [], threading.Event()

    def other():
        inside.wait(20)
        with CertStore(store.directory).changing() as change:
            order.append("second")
            assert change.registry == registry(ALICE)

    thread = threading.Thread(target=other)
    thread.start()
    with store.changing() as change:
        inside.set()
        time.sleep(0.1)
        order.append("first")
        change.commit(registry(ALICE))
    thread.join(20)
    assert order == ["first", "second"]


WRITER = """
import sys
from pathlib import Path
from mcpguard.system.certstore import CertStore
from mcpguard.system import sealedkey
from tests.identity.test_certregistry import entry, registry
import msgspec
from mcpguard.identity.certificates import fingerprint
store = CertStore(Path(sys.argv[1]))
entries = [msgspec.structs.replace(entry(f"n{n}"), kept=True) for n in range(4)]
print("ready", flush=True)
n = 0
while True:
    n += 1
    some = entries[n % 3 : n % 3 + 2]
    with store.changing() as change:
        for each in some:
            name = fingerprint(each.der)
            change.keep(name, sealedkey.in_clear(b"key of " + name.encode(), name))
        change.commit(msgspec.structs.replace(registry(*some), version=1))
"""


def test_killed_at_any_moment(store):
    """kill -9 while changes are written: a whole registry is there each time, with every key that it speaks of."""
    seen = set()
    for delay in [n * 0.007 for n in range(12)]:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.directory)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "ready\n"
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = store.load()
        for each in found.entries:
            name = fingerprint(each.der)
            assert store.key(name) == b"key of " + name.encode()
        seen.add(len(found.entries))
        with store.changing() as change:  # and the next writer gets on
            change.commit(found)
        assert len(list(store.directory.glob("*.key"))) == len([e for e in found.entries if e.kept])
    assert 2 in seen
