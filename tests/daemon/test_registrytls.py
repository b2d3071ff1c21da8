"""One connection's view of the certificate registry: what it has met, and what becomes of that."""

from pathlib import Path

import pytest

from mcpguard.daemon import tlscontext
from mcpguard.daemon.registrytls import RegistryTls, needed
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import fingerprint
from tests.daemon.certplace import DAY, Place


def test_what_was_met_is_judged_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    entry = place.server("srv")
    link = RegistryTls("far", lambda: place.keeper)
    link._note((entry.der, *place.keeper.above(entry)), "localhost")
    assert link.fault() == ""
    place.now += 2 * DAY
    assert link.fault()
    place.now -= 2 * DAY
    assert link.fault() == ""
    place.authority.revoke(fingerprint(entry.der), "unspecified", "me")
    place.keeper.changed()
    assert "revoked" in link.fault()
    link.close()
    assert link.fault() == ""
    link._note((entry.der,), "localhost")
    assert link.fault() == ""


def test_a_certificate_that_is_only_shown_brings_no_authority(tmp_path: Path) -> None:
    """Removing the guard (`server is not None`) lets our root into contexts of others."""
    place = Place(tmp_path)
    place.issue("me")
    context = tlscontext.calling((), lambda _: None)
    RegistryTls("far", lambda: place.keeper).show(context, "me")
    place.authority.renew("me", "daemon")
    place.keeper.changed()
    assert context.get_ca_certs() == []
    assert RegistryTls("far", lambda: place.keeper).context("localhost", "me").get_ca_certs() != []


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises(TrustError, match="no certificate called 'nobody'"):
        RegistryTls("far", lambda: place.keeper).context("localhost", "nobody")


def test_where_there_is_no_registry() -> None:
    with pytest.raises(TrustError, match="is the daemon's"):
        needed(None)
