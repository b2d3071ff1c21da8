"""Trust sets as a person reads them: no difference without a line."""

import msgspec
import pytest

from mcpguard.cli.trustwords import changes, described, revoked, revoked_more
from mcpguard.identity.succession import renewed, revoke, rotated, with_key, without_key
from tests.system.test_truststore import LATER, OTHER, ROOT, STRANGER, T1, T2, public

ME, ACME, NEW = (key.public.ident for key in (ROOT, OTHER, STRANGER))
DIGEST = "sha256:" + "d" * 64


def test_a_trust_set_is_roles_and_keys():
    assert described(T2) == [
        f"trust set version 2, until {LATER}",
        "root          says who is trusted, 1 of 1",
        f"  {ME} (ssh-ed25519)",
        "revocation    revokes, 1 of 1",
        f"  {ME} (ssh-ed25519)",
        "io.acme       signs manifests called io.acme/*, 1 of 1",
        f"  {ACME} (ssh-ed25519)",
        "local         signs manifests of any name, 1 of 1",
        f"  {ME} (ssh-ed25519)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (T1, renewed(T1, LATER), ["nothing changes but the version"]),
        (T1, T2, ["new publisher io.acme: signs manifests called io.acme/*, 1 of 1", f"+ io.acme: {ACME} (ssh-ed25519)"]),
        (T2, without_key(T2, "io.acme", ACME), ["publisher io.acme is no longer trusted"]),
        (T1, renewed(T1, "2030-01-01T00:00:00Z"), [f"the trust set holds until 2030-01-01T00:00:00Z, not {LATER}"]),
        (
            T2,
            with_key(T2, "io.acme", public(STRANGER), threshold=2, prefix="io.", not_before="2027-01-01T00:00:00Z"),
            [
                "io.acme: signs manifests called io.acme/*, 1 of 1 -> signs manifests called io.*, 2 of 2, not before 2027-01-01T00:00:00Z",
                f"+ io.acme: {NEW} (ssh-ed25519)",
            ],
        ),
        (
            T2,
            with_key(T2, "io.acme", public(OTHER), until="2027-05-01T00:00:00Z"),
            [f"key {ACME}: until its roles end -> 2027-05-01T00:00:00Z"],
        ),
        (
            T1,
            rotated(T1, ME, public(STRANGER)),
            [f"{sign} {role}: {key} (ssh-ed25519)" for role in ("root", "revocation", "local") for sign, key in (("+", NEW), ("-", ME))],
        ),
    ],
)  # fmt: skip
def test_every_difference_has_a_line(old, new, lines):
    assert changes(old, new) == lines


@pytest.mark.parametrize("field", ["threshold", "prefix", "not_before", "expires", "keys"])
def test_no_field_of_a_role_changes_unseen(field):
    role = T2.publishers["io.acme"]
    other = {"threshold": 2, "prefix": "x", "not_before": "2020", "expires": "2030", "keys": (ME,)}[field]
    new = msgspec.structs.replace(
        T2, publishers={**T2.publishers, "io.acme": msgspec.structs.replace(role, **{field: other})}
    )
    assert changes(T2, new) != ["nothing changes but the version"]


def test_revocations():
    old = revoke(None, expires=LATER, keys=[ACME])
    new = revoke(old, expires=LATER, manifests=[DIGEST], packages=[DIGEST], minimum={"files": 3})
    assert revoked(new) == [
        f"revocations version 2, until {LATER}", f"  key {ACME}", f"  manifest {DIGEST}", f"  package {DIGEST}", "  files below version 3",
    ]  # fmt: skip
    assert revoked_more(old, new) == [
        "revoked: files below version 3", f"revoked: manifest {DIGEST}", f"revoked: package {DIGEST}", f"the revocation file holds until {LATER}",
    ]  # fmt: skip
    assert f"no longer revoked: key {ACME}" in revoked_more(old, revoke(None, expires=LATER))
