"""SVIDs as the keeper has them: only sound ones are shown, and peers of the trust domain are known by their names."""

import asyncio
import time

import pytest
from cryptography.hazmat.primitives import serialization

from mcpguard.daemon.svidfeed import SvidFeed
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import fingerprint, pem
from mcpguard.identity.certregistry import SvidSource
from mcpguard.system.svids import Svid
from tests.daemon.certplace import NOW, Place
from tests.daemon.test_certificates import Echo, quiet, refused
from tests.identity.x509made import Maker

SPIRE = Maker("example.org", permitted=("uri:example.org", "dns:web.example.org"))
WEB = "spiffe://example.org/web"


def secret(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def svid(maker=SPIRE, uri=WEB, **more):
    key, leaf = maker.leaf(uris=[uri], uses=("server", "client"), **more)
    return Svid((leaf, maker.between), secret(key), (maker.root,))


class Given:
    """A source that gives what it is told to; the files and the Workload API are in tests/system/test_svids.py."""

    def __init__(self):
        self.now, self.closed = None, False

    def latest(self):
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def close(self):
        self.closed = True


def test_only_what_is_sound_is_shown():
    feed = SvidFeed(SvidSource("spire"), Given())
    assert (feed.shown, feed.fault) == (None, "nothing has come yet")
    first = svid()
    assert feed.take(first, NOW)
    assert (feed.shown.chain, feed.anchors[0].permitted, feed.fault) == (
        first.chain,
        ("uri:example.org",),
        "",
    )
    assert not feed.take(first, NOW)
    key, other = SPIRE.leaf(["localhost"])
    good = svid()
    for bad, why in [
        (Svid((other,), secret(key), good.bundle), "not an X.509-SVID"),
        (Svid(good.chain, secret(key), good.bundle), "not that of the SVID"),
        (Svid(good.chain, b"nothing", good.bundle), "cannot be read"),
        (Svid(good.chain, good.key, ()), "without the authorities"),
        (Svid(good.chain, good.key, (good.chain[0],)), "without the authorities"),
        (svid(begins=NOW - 600, ends=NOW - 1), "expired"),
        (Svid((b"x",), good.key, good.bundle), "not a certificate"),
        (TrustError("no agent", hint="start it"), "no agent: start it"),
    ]:
        assert not feed.take(bad, NOW)
        assert why in feed.fault
        assert feed.shown.chain == first.chain
    assert feed.take(good, NOW)
    assert feed.fault == ""


def test_peers_of_the_trust_domain(tmp_path):
    place = Place(tmp_path / "certificates", made=False)
    place.authority.follow(SvidSource("spire", *(str(tmp_path / name) for name in ("c", "k", "b"))), "me")
    place.keeper.changed()
    given = svid()
    for name, content in (("c", pem(given.chain)), ("k", given.key), ("b", pem(given.bundle))):
        (tmp_path / name).write_bytes(content)
    asyncio.run(place.keeper.look())
    assert place.keeper.faults() == {}
    # DNS names of an SVID stand for nobody: the trust domain speaks for its own names
    _, db = SPIRE.leaf(["web.example.org"], uris=["spiffe://example.org/db"])
    with pytest.raises(TrustError, match="leads to no authority"):
        place.keeper.identify(db)  # its intermediate came with the handshake
    place.keeper._client((db, SPIRE.between))
    found = place.keeper.identify(db)
    assert found.principals == {"spiffe://example.org/db"}
    assert found.evidence["authority"] == "spire"
    _, foreign = Maker("example.org", permitted=("uri:example.org",)).leaf(uris=[WEB])
    with pytest.raises(TrustError):
        place.keeper._client((foreign, SPIRE.between))
    told = []
    place.keeper.watch(lambda certificate, why: told.append((certificate, why)))
    place.authority.forget("spire", "me")
    place.keeper.changed()
    assert [certificate for certificate, _ in told] == [fingerprint(db)]


def test_a_new_svid_is_shown_to_new_connections(tmp_path):
    now = time.time()
    maker = Maker("example.org", now=now, permitted=("uri:example.org",))
    place = Place(tmp_path / "certificates", now, made=False)
    place.authority.follow(SvidSource("spire", *(str(tmp_path / name) for name in ("c", "k", "b"))), "me")
    place.keeper.changed()
    asyncio.run(place.keeper.look())
    assert "cannot be read" in place.keeper.faults()["spire"]
    with pytest.raises(TrustError, match="has given no certificate"):
        place.keeper.listener("spire")

    def write(given):
        for name, content in (("k", given.key), ("c", pem(given.chain)), ("b", pem(given.bundle))):
            (tmp_path / name).write_bytes(content)

    async def story():
        quiet(asyncio.get_running_loop())
        write(svid(maker))
        await place.keeper.look()
        async with Echo(place, place.keeper.listener("spire")) as echo:
            context = place.keeper.remote("web", WEB, own="spire")
            seen = []
            for _ in range(3):
                given = svid(maker)
                write(given)
                await place.keeper.look()
                assert await echo.call(context) == b"hello\n"
                seen.append(echo.met[-1].evidence["certificate"])
                assert seen[-1] == fingerprint(given.chain[0])
            assert len(set(seen)) == 3
            assert echo.met[-1].principals == {WEB}
            other = place.keeper.remote("web", "spiffe://example.org/db", own="spire")
            assert "not for 'spiffe://example.org/db'" in await refused(echo, other)

    asyncio.run(story())
    place.keeper.close()
