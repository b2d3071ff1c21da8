"""What people are shown of the registry."""

import msgspec

from mcpguard.cli import certwords
from mcpguard.cli.certified import Held
from mcpguard.identity.certificates import read
from mcpguard.identity.certregistry import PINNED, Imported, SvidSource
from tests.identity.test_certregistry import CORP, entry, registry
from tests.identity.x509made import DAY, NOW


def held(*entries, **more):
    return Held(
        registry(*entries, imported=more.pop("imported", ())),
        more.get("used", {}),
        more.get("faults", {}),
        frozenset(),
    )


def test_in_a_word():
    alice = entry()
    found = read(alice.der)
    for changed, now, word in [
        (alice, NOW, "valid"),
        (alice, NOW + DAY + 1, "expired"),
        (alice, NOW - DAY, "not yet"),
        (msgspec.structs.replace(alice, renewed="ab"), NOW, "renewed"),
        (msgspec.structs.replace(alice, how=PINNED), NOW, "pinned"),
        (msgspec.structs.replace(alice, revoked=NOW), NOW + DAY + 1, "revoked"),
    ]:
        assert certwords.state(changed, found, now) == word


def test_a_line_has_who_until_when_last_used_and_where():
    alice = entry(servers=("files", "notes"))
    print_ = read(alice.der).fingerprint
    line = certwords.line(alice, held(alice, used={print_: NOW}), NOW)
    for words in (
        "alice",
        "valid",
        "client",
        "until 2026-11-30T12:00:00Z",
        "used 2026-11-29T12:00:00Z",
        "for files, notes",
    ):
        assert words in line
    assert "never used" in certwords.line(alice, held(alice), NOW)


def test_authorities_imported_and_sources_with_their_faults():
    imported = (Imported("corp", CORP.root, (CORP.between,), (), "/list"),)
    found = held(imported=imported, faults={"corp": "the list is gone"})
    shown = "\n".join(certwords.authority_lines(found))
    assert "corp  imported, may vouch for nothing by itself" in shown
    assert "the list is gone" in shown
    assert "key not here" in shown
    assert certwords.authorities(found)["imported"][0]["fault"] == "the list is gone"
    sourced = found._replace(
        registry=msgspec.structs.replace(found.registry, sources=(SvidSource("s", socket="unix:/a"),))
    )
    assert "s  SPIFFE, from unix:/a" in certwords.authority_lines(sourced)
