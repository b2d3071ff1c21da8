"""`auth.toml`: read strictly, with the line of what is wrong; the examples of the documentation are valid."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ConfigError
from mcpguard.system.authfile import AuthFile, parse

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
EXAMPLES = [
    block
    for block in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    if block.startswith("# auth.toml")
]

GOOD = """\
version = 1

[jwt.corp]
issuer = "https://login.example.com/realms/main"
audience = ["https://guard.example.com/mcp", "guard"]
algorithms = ["RS256"]
types = ["at+jwt"]
jwks_url = "https://login.example.com/keys"
leeway = "10s"
max_age = "1h"
max_lifetime = "2h"
scopes = ["mcp"]
clients = "app"
claims = ["groups", "realm_access.roles"]
roles = { admin = ["groups=admins", "groups=root"], ops = "realm_access.roles=ops" }
revoked = ["user-1"]
servers = "files"
tools = ["read_*", "list"]
dpop = "required"
dpop_nonce = true
single_use = true
ttl = "5m"
stale = "1h"

[introspection.other]
issuer = "https://other.example"
audience = "guard"
url = "https://other.example/introspect"
client_id = "guard"
client_secret_file = "/run/secret"
cache = "30s"

[plugin.badge]
command = ["/usr/local/bin/badge", "--strict"]
env = ["BADGE_URL"]
sees = ["network", "certificate"]
timeout = "3s"
always = false
settings = { x = 1 }

[plugin.hours]
entry_point = "hours"
"""


def test_everything() -> None:
    auth = parse(GOOD, "auth.toml")
    (corp,) = auth.issuers
    rules = corp.rules
    assert (rules.name, rules.issuer) == ("corp", "https://login.example.com/realms/main")
    assert rules.audiences == ("https://guard.example.com/mcp", "guard")
    assert (rules.algorithms, rules.types, rules.untyped) == (("RS256",), ("at+jwt",), False)
    assert (rules.leeway, rules.max_age, rules.max_lifetime) == (10.0, 3600.0, 7200.0)
    assert rules.roles == (("admin", ("groups=admins", "groups=root")), ("ops", ("realm_access.roles=ops",)))
    assert (rules.revoked, rules.servers, rules.tools) == ({"user-1"}, ("files",), ("read_*", "list"))
    assert (rules.dpop, rules.single_use, corp.nonce, corp.ttl, corp.stale) == (
        "required",
        True,
        True,
        300.0,
        3600.0,
    )
    (other,) = auth.opaque
    assert (other.url, other.client_id, other.secret_file, other.cache) == (
        "https://other.example/introspect", "guard", "/run/secret", 30.0,
    )  # fmt: skip
    badge, hours = auth.plugins
    assert (badge.command, badge.env, badge.always, badge.timeout) == (
        ("/usr/local/bin/badge", "--strict"), ("BADGE_URL",), False, 3.0,
    )  # fmt: skip
    assert (hours.entry_point, hours.always, hours.sees) == ("hours", True, ("network", "uid"))
    assert parse("", "f") == parse("version = 1", "f")


def test_the_examples_of_the_documentation_are_valid() -> None:
    assert len(EXAMPLES) >= 6
    issuers = {issuer.rules.name for text in EXAMPLES for issuer in parse(text, "example").issuers}
    assert {"entra", "okta", "google", "keycloak"} <= issuers


def corp(rows: str) -> str:
    return f'version = 1\n[jwt.corp]\nissuer = "https://a.example"\naudience = "b"\n{rows}\n'


BAD = [
    ("version = 1\nnonsense\n", 2, "TOML"),
    ("[jwt.a]\n", 0, "expected version = 1"),
    ("version = 2\n", 1, "expected 1"),
    ("version = true\n", 1, "expected 1"),
    ("version = 1\njwt = 3\n", 2, "expected a table"),
    ("version = 1\n[oidc.a]\n", 2, "known key"),
    ("version = 1\n[jwt.A]\n", 2, "1 to 64"),
    ('version = 1\n[jwt.a]\naudience = "b"\n', 2, "expected an https:// address, found nothing"),
    ('version = 1\n[jwt.a]\nissuer = "https://a"\n', 2, "expected a text, or a list of them, found nothing"),
    (corp("audiance = 1"), 5, "did you mean audience"),
    (corp('algorithms = ["HS256"]'), 5, "never accepted"),
    (corp('algorithms = ["none"]'), 5, "never accepted"),
    (corp('algorithms = ["ES256K"]'), 5, "expected some of"),
    (corp("algorithms = []"), 5, "an empty list"),
    (corp('jwks_url = "http://a.example/keys"'), 5, "https://"),
    (corp('jwks_url = "file:///etc/passwd"'), 5, "https://"),
    (corp('jwks_url = "https://user@a.example/"'), 5, "https://"),
    (corp('jwks_url = "https://[::1"'), 5, "https://"),
    (corp('leeway = "1h"'), 5, "at most 5m"),
    (corp("leeway = 30"), 5, "expected 1 to 6 digits"),
    (corp('claims = ["a=b"]'), 5, "without blanks and ="),
    (corp('roles = { admin = ["groups"] }'), 5, "CLAIM=VALUE"),
    (corp('roles = { admin = ["groups="] }'), 5, "CLAIM=VALUE"),
    (corp('roles = { Admin = ["a=b"] }'), 5, "name of a role"),
    (corp('roles = ["a"]'), 5, "expected a table"),
    (corp('tools = ["a[b]"]'), 5, "bad glob"),
    (corp('dpop = "yes"'), 5, '"required" or "allowed" or "off"'),
    (corp('single_use = "yes"'), 5, "true or false"),
    (corp('[jwt.other]\nissuer = "https://a.example"\naudience = "b"'), 6, "stands twice"),
    ('version = 1\n[jwt.a]\nissuer = "https://a#b"\naudience = "b"\n', 3, "without #"),
    ('version = 1\n[introspection.a]\nissuer = "https://a"\naudience = "b"\n', 2, "found nothing"),
    ("version = 1\n[plugin.a]\n", 2, "either command or entry_point"),
    ('version = 1\n[plugin.a]\ncommand = ["/a"]\nentry_point = "b"\n', 2, "either command or entry_point"),
    ('version = 1\n[plugin.a]\ncommand = ["a"]\n', 3, "absolute path first"),
    ('version = 1\n[plugin.a]\ncommand = ["/a"]\nenv = ["LD_PRELOAD"]\n', 4, "may be passed on"),
    ('version = 1\n[plugin.a]\ncommand = ["/a"]\nenv = ["PYTHONPATH"]\n', 4, "may be passed on"),
    ('version = 1\n[plugin.a]\nentry_point = "b"\nenv = ["X"]\n', 4, "expected command beside it"),
    ('version = 1\n[plugin.a]\ncommand = ["/a"]\nsees = ["everything"]\n', 4, '"authorization" or'),
    ('version = 1\n[plugin.a]\ncommand = ["/a"]\ntimeout = "1m"\n', 4, "at most 30s"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=range(len(BAD)))
def test_what_is_not_understood_is_an_error_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "auth.toml")
    assert words in caught.value.sentence()
    assert caught.value.line == line


@given(st.text(max_size=200) | st.text('[]={}".\n aversion1jwt_', max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "f")
    except ConfigError as error:
        sentence = error.sentence()
    else:
        sentence = ""
    assert "\n" not in sentence


def test_a_file_that_others_may_write_to_does_not_count(tmp_path: Path) -> None:
    file = AuthFile(tmp_path / "auth")
    assert file.load() == parse("", "f")
    assert file.stamp() == (0, 0, 0)
    (tmp_path / "auth").mkdir()
    assert file.load() == parse("", "f")
    file.path.write_text(GOOD)
    file.path.chmod(0o644)
    assert len(file.load().issuers) == 1
    file.path.chmod(0o666)
    with pytest.raises(ConfigError, match="writable by others"):
        file.load()
    file.path.chmod(0o600)
    file.path.write_bytes(b"version = 1\n\xff")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        file.load()
    file.path.write_text("#" * 300_000)
    with pytest.raises(ConfigError, match="bytes, found more"):
        file.load()
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(ConfigError, match="expected a file"):
        file.load()
