import pytest

from mcpguard import limits
from mcpguard.audit.looks import entropy, find, looks_random, secret_name

T = "aB3dE5fG7hI9jK1lM2nO"
TABLE = [
    (f"ghp_{T}{T}", "github", f"ghp_{T}{T}"),
    (f"x=ghs_{T}{T};", "github", f"ghs_{T}{T}"),
    (f"glpat-{T}", "gitlab", f"glpat-{T}"),
    ("AKIAIOSFODNN7EXAMPLE", "aws", "AKIAIOSFODNN7EXAMPLE"),
    (f"url%3Dsk-{T}", "api-key", f"sk-{T}"),
    (f"sk_live_{T}", "stripe", f"sk_live_{T}"),
    (f"xoxp-1-{T}", "slack", f"xoxp-1-{T}"),
    (f"https://hooks.slack.com/services/T0/B0/{T}", "slack", f"hooks.slack.com/services/T0/B0/{T}"),
    (f"AIza{T}{T}", "google", f"AIza{T}{T}"),
    (f"npm_{T}{T}", "npm", f"npm_{T}{T}"),
    (f"pypi-AgEI{T}", "pypi", f"pypi-AgEI{T}"),
    (f"hf_{T}{T}", "huggingface", f"hf_{T}{T}"),
    (f"key mcpg_k3w9x2m7q4_{T}{T}{T}.", "mcpguard", f"mcpg_k3w9x2m7q4_{T}{T}{T}"),
    ("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQ", "age", "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQ"),
    (f"a eyJhbGciOiJI.{T}.{T} b", "jwt", f"eyJhbGciOiJI.{T}.{T}"),
    ("-----BEGIN EC PRIVATE KEY-----\nabc", "pem", "-----BEGIN EC PRIVATE KEY-----\nabc"),
    (f"bearer {T}", "bearer", T),
    (f"Cookie: a={T}; b=2", "header", f"a={T}; b=2"),
    ("Authorization: Digest x y z", "header", "Digest x y z"),
    ("amqp://u:p@h", "userinfo", "p"),
    (f"https://{T}@h/", "userinfo", T),
    ("PASSWORD=x1y2", "named", "x1y2"),
    ("api-key: Zz9!", "named", "Zz9!"),
    ('\\"secret\\": \\"a b\\"', "named", "a b"),
    ("'private_key'=>'q r s t'", "named", "q r s t"),
    ("credentials=" + "z" * 300, "named", "z" * 300),
    ("password='" + "z " * 200 + "'", "named", "z " * 200),
    (f"token={T}&x", "entropy", T),
    (f"sig: {T}", "entropy", T),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "secret"), TABLE)
def test_what_is_found(text, kind, secret):
    spans = find(text.encode())
    assert (kind, secret.encode()) in [(span.kind, text.encode()[span.start : span.end]) for span in spans]


@pytest.mark.parametrize(
    "text",
    ["jwt:https://login.example.com/realms/a1#0f6b2c9e-1d3a-4b5c", "ghp_short", "AKIA", "task-1234567890123456789", "eyJ.eyJ", "-----BEGIN PUBLIC KEY-----\nabc", "bearer of bad news",
     "a://b/c@d", "password", "password=", "password: see below", "token=true", "key: 42", "secret=$SECRET", "session=ab"],
)  # fmt: skip
def test_what_is_left(text):
    assert find(text.encode()) == []


@pytest.mark.parametrize("name", [
    "password", "DB_PASSWORD", "--api-key", "clientSecret", "AWS_SECRET_ACCESS_KEY", "token", "GITHUB_TOKEN", "pin",
    "X-Api-Key", "refreshToken", "Authorization", "sessionid", "Cookie", "private_key", "MYSQL_PWD"[6:],
])  # fmt: skip
def test_names_of_secrets(name):
    assert secret_name(name)


@pytest.mark.parametrize("name", [
    "path", "tokens", "max_tokens", "tokenizer", "progressToken", "nextPageToken", "author", "keyboard", "spin", "passage",
    "key", "compass", "pinned", "signal", "session", "x" * 200 + "password",
])  # fmt: skip
def test_names_of_other_things(name):
    assert not secret_name(name)


def test_entropy_is_of_bytes():
    assert entropy(b"") == 0
    assert entropy(b"aaaa") == 0
    assert entropy(b"abcd") == 2.0


@pytest.mark.parametrize(("value", "random"), [
    (T, True), ("hello", False), ("HELLO_WORLD", False), ("/usr/lib/x86/a1", False), ("a b1 C2 d3 E4 f5", False),
    ("AbCdEfGhIjKlMnOp", True), ("12345678901234567890", False), ("aaaaaaaa1", False),
])  # fmt: skip
def test_what_looks_random(value, random):
    assert looks_random(value.encode()) is random


def test_what_follows_too_many_announcements_is_hidden_whole():
    text = b"key: x " * (limits.SECRET_WORDS + 5)
    assert find(text) == [(7 * limits.SECRET_WORDS, len(text), "unclear")]
    assert find(text[: 7 * limits.SECRET_WORDS]) == []
