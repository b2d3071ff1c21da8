"""Which key signs; on first use the key and the first trust set are made together, or not at all."""

import shutil

import pytest

from mcpguard.cli import signer
from mcpguard.errors import TrustError
from mcpguard.identity.keys import PrivateKey
from mcpguard.identity.trust import parse_trust
from tests.cli.trustdesk import Desk
from tests.system.test_truststore import NOW


@pytest.fixture
def desk(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    return desk


def test_first_use_makes_both(desk, capsys):
    with desk.daemon():
        private = signer.local_signer(None, yes=True)
        assert signer.local_signer(None).public.ident == private.public.ident
        assert signer.local_signer(private.public.ident[:12]).raw() == private.raw()
    said = capsys.readouterr().err
    assert "you have no key to sign with yet" in said
    assert f"trusted: {private.public.ident} as root" in said
    assert desk.store.load().trust.publishers["local"].keys == (private.public.ident,)


def test_first_use_asks(desk):
    with desk.daemon(), pytest.raises(TrustError, match="this needs a yes"):
        signer.local_signer(None)
    assert not (desk.state / "keys").exists()


def test_first_use_with_a_key_that_is_there_makes_no_second_one(desk):
    ident = signer.generated("mine").public.ident
    with desk.daemon():
        with pytest.raises(TrustError, match="this needs a yes"):
            signer.local_signer(None)
        with pytest.raises(TrustError, match="there is no key 'zz'"):
            signer.local_signer("zz", yes=True)
        assert signer.local_signer(None, yes=True).public.ident == ident
    assert len(signer.key_files().list()) == 1


def test_a_key_that_was_lost_is_not_replaced_silently(desk):
    with desk.daemon():
        signer.local_signer(None, yes=True)
        shutil.rmtree(desk.state / "keys")
        with pytest.raises(TrustError, match="you have no signing key"):
            signer.local_signer(None, yes=True)
        assert not (desk.state / "keys").exists()


def test_a_key_that_was_rotated_out_is_not_asked_about(desk):
    with desk.daemon():
        old = signer.local_signer(None, yes=True).public.ident
        desk.run("trust", "rotate", "--yes")
        assert len(signer.key_files().list()) == 2
        assert signer.local_signer(None).public.ident != old
        with pytest.raises(TrustError, match="may not sign your own servers"):
            signer.local_signer(old)


def test_a_damaged_trust_file_makes_no_first_set(desk):
    with desk.daemon():
        signer.local_signer(None, yes=True)
        (desk.state / "trust" / "trust.json").unlink()
        with pytest.raises(TrustError, match=r"trust\.json is missing"):
            signer.local_signer(None, yes=True)


def test_the_first_set_is_one_year_of_one_key():
    public = PrivateKey(b"k" * 32).public
    trust = parse_trust(signer.first_trust_set(public, NOW).encode())
    assert (trust.version, trust.expires) == (1, "2028-02-29T12:00:00Z")
    assert {
        name: (role.keys, role.threshold, role.prefix) for name, role in trust.roles().items()
    } == dict.fromkeys(("root", "revocation", "local"), ((public.ident,), 1, ""))
