"""The next trust set and the next revocations: one version higher, and acceptable to whoever has the one before."""

import msgspec
import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.succession import renewed, revoke, rotated, with_key, without_key
from mcpguard.identity.trust import next_trust, parse_revocations
from tests.identity.signing import A, B, C, D
from tests.identity.trusting import END, NOW, role, signed, trusted

SMALL = trusted(keys={key.public.ident: key.public for key in (A, B, C)})
LATER = "2028-01-01T00:00:00Z"


def accepted(new, *keys, current=SMALL):
    """Whether the holder of the current set takes the new one."""
    return next_trust(current, signed(new.encode(), *keys), NOW).version == current.version + 1


def test_a_key_joins_a_publisher():
    new = with_key(SMALL, "acme", D.public, threshold=2)
    assert new.publishers["acme"] == role(C, D, threshold=2, prefix="io.github.acme/")
    assert new.keys[D.public.ident] == D.public
    assert SMALL.publishers["acme"] == role(C, prefix="io.github.acme/")
    assert accepted(new, A)


def test_a_new_publisher_has_names_of_its_own():
    assert with_key(SMALL, "dora", D.public).publishers["dora"] == role(D, prefix="dora/")
    new = with_key(SMALL, "dora", D.public, prefix="com.dora", not_before=END, expires=LATER)
    assert new.publishers["dora"] == role(D, prefix="com.dora", not_before=END, expires=LATER)
    without_local = msgspec.structs.replace(SMALL, publishers={})
    assert with_key(without_local, "local", D.public).publishers["local"] == role(D)


def test_a_key_with_an_end_gets_another_one():
    new = with_key(SMALL, "dora", D.public, until=END)
    assert new.until == {D.public.ident: END}
    assert with_key(new, "dora", D.public, until=LATER).until == {D.public.ident: LATER}
    assert with_key(new, "dora", D.public).until == {}


def test_a_key_joins_the_root():
    new = with_key(SMALL, "root", D.public, threshold=2)
    assert new.root == role(A, D, threshold=2)
    assert accepted(new, A, D)
    for keys in ((A,), (D,)):
        with pytest.raises(TrustError):
            accepted(new, *keys)


def test_a_key_leaves():
    both = with_key(SMALL, "acme", D.public)
    new = without_key(both, "acme", C.public.ident)
    assert new.publishers["acme"].keys == (D.public.ident,)
    assert C.public.ident not in new.keys
    assert new.version == 3
    gone = without_key(new, "acme", D.public.ident)
    assert "acme" not in gone.publishers
    assert accepted(gone, A, current=new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: without_key(SMALL, "root", A.public.ident), "'root' has 0 keys"),
        (lambda: without_key(SMALL, "acme", A.public.ident), "'acme' has no key"),
        (lambda: without_key(SMALL, "dora", A.public.ident), "'dora' has no key"),
        (
            lambda: without_key(with_key(SMALL, "acme", D.public, threshold=2), "acme", D.public.ident),
            "wants 2",
        ),
        (lambda: with_key(SMALL, "acme", D.public, threshold=3), "wants 3"),
        (lambda: with_key(SMALL, "acme", D.public, threshold=-1), "wants -1"),
        (lambda: with_key(SMALL, "dora", D.public, prefix=""), "both have the prefix"),
        (lambda: with_key(SMALL, "a b", D.public), "no prefix|no namespace"),
        (lambda: with_key(SMALL, "local", A.public, until=END), "root key"),
        (lambda: with_key(SMALL, "dora", D.public, until="soon"), "no moment"),
        (lambda: rotated(SMALL, D.public.ident, C.public), "has no key"),
        (lambda: rotated(with_key(SMALL, "root", D.public), A.public.ident, D.public), "names a key twice"),
        (lambda: renewed(SMALL, "soon"), "no moment"),
        (lambda: SMALL.lasting("soon"), "no moment"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change, message):
    with pytest.raises(TrustError, match=message) as caught:
        change()
    assert caught.value.hint


def test_the_root_is_rotated_everywhere():
    new = rotated(SMALL, A.public.ident, D.public)
    assert (new.root, new.publishers["local"]) == (role(D), role(D))
    assert A.public.ident not in new.keys
    assert accepted(new, A, D)
    for keys in ((A,), (D,), (B, D)):
        with pytest.raises(TrustError):
            accepted(new, *keys)


def test_a_trust_set_is_renewed():
    new = renewed(SMALL, LATER)
    assert (new.version, new.expires) == (2, LATER)
    assert accepted(new, A)
    assert with_key(SMALL, "acme", D.public).lasting(LATER).version == 2


def test_revocations_only_grow():
    digest, other = "sha256:" + "0f" * 32, "sha256:" + "1e" * 32
    first = revoke(None, expires=END, keys=[C.public.ident], manifests=[digest], minimum={"a": 5})
    second = revoke(first, expires=LATER, manifests=[other], packages=[other], minimum={"a": 3, "b": 1})
    assert (first.version, second.version) == (1, 2)
    assert second.keys == {C.public.ident}
    assert second.manifests == {digest, other}
    assert second.packages == {other}
    assert second.minimum == {"a": 5, "b": 1}
    assert second.expires == LATER
    assert parse_revocations(second.encode()) == second
    assert first.minimum == {"a": 5}
