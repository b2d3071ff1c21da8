import json
import random
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.audit import record, redact
from mcpguard.audit.marks import Marks, marks_of
from mcpguard.audit.redact import MARK, Redactor
from tests.audit.planted import needles, planted, written

KEY = b"k" * 32
SECRETS = planted(200)
KNOWN = [one.secret for one in SECRETS if one.kind == "known"]


@pytest.fixture
def redactor():
    made = Redactor(KEY)
    made.learn([secret.encode() for secret in KNOWN])
    return made


@pytest.mark.parametrize("one", SECRETS, ids=lambda one: one.kind)
def test_every_planted_secret_is_taken_out(redactor, one):
    value = {one.name or "note": [one.text, {"deep": one.text}] if one.name else one.text}
    shown = json.dumps(redactor.value(value), ensure_ascii=False)
    assert MARK in shown
    assert not [needle for needle in needles(one.secret) if needle in shown]


@pytest.mark.parametrize("secret", KNOWN[:6])
def test_a_known_secret_is_found_in_every_form(redactor, secret):
    for how, text in written(secret).items():
        shown = redactor.text(text)
        assert MARK in shown, how
        assert not [needle for needle in needles(secret) if needle in shown], how


READABLE = [
    "/home/user/src/mcpguard/audit/redact.py",
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 3375f38a0d9e4c1b7f6a5e4d3c2b1a0987654321 by somebody",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "https://example.com/a/b?page=2&sort=name#part-3",
    "git@github.com:owner/name.git",
    "http://[::1]:8080/x",
    "the token is expired; ask for another one",
    "password: required",
    "max_tokens=4096 temperature=0.7",
    "SELECT * FROM users WHERE id = 42",
    "task-runner-with-many-words and risk-assessment-2026-11",
    "npx -y @modelcontextprotocol/server-filesystem /tmp",
    "key: value",
    "session: monday morning",
    "author: Jane Doe <jane@example.com>",
    "2026-11-29T11:22:33.123456Z",
    'rule "files-read" (policy.toml:12) does not let it use the tool "read_file"',
    "password=${DB_PASSWORD}",
    "tools/call notifications/progress progressToken 7",
    "« » and ελληνικά и русский 日本語 🎉",
    "",
]  # fmt: skip


@pytest.mark.parametrize("text", READABLE)
def test_ordinary_text_stays_readable(redactor, text):
    assert redactor.text(text) is text


def test_ordinary_members_stay_readable(redactor):
    value = {
        "path": "/etc/hosts", "limit": 5, "keys": ["a"], "author": "x", "progressToken": 7, "max_tokens": 9, "key": "id",
        "nextPageToken": "abc", "tokens": 3, "monkey": "m", "compass": "north", "opinion": "good", "flags": ["--path", "x"],
    }  # fmt: skip
    assert redactor.value(value) == value


def test_equal_secrets_have_equal_marks_in_every_form_and_other_keys_other_marks(redactor):
    secret = KNOWN[0]
    marks = {redactor.text(text).partition("«")[2].partition("»")[0] for text in written(secret).values()}
    assert len(marks) == 1
    other = Redactor(b"o" * 32)
    other.learn([secret.encode()])
    assert other.text(secret) != redactor.text(secret)
    keyless = Redactor()
    keyless.learn([secret.encode()])
    assert keyless.text(secret) == "«redacted:known»"


def test_what_is_redacted_stays_as_it_is_when_it_is_redacted_again(redactor):
    value = {
        "password": "x y",
        "a": [f"password={KNOWN[0]}", "Authorization: Basic abcdefgh1234"],
        "b": KNOWN[1],
    }
    once = redactor.value(value)
    assert redactor.value(once) == once


@given(st.data())
def test_a_known_secret_is_found_however_it_is_split(data):
    secret = data.draw(st.sampled_from(KNOWN[:20]))
    redactor = Redactor(KEY)
    redactor.learn([secret.encode()])
    text = f"before {data.draw(st.sampled_from(sorted(written(secret).values())))} after"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    content = redactor.value([{"type": "text", "text": piece} for piece in pieces], names=False)
    joined = "".join(each["text"] for each in content)
    assert not [needle for needle in needles(secret) if needle in joined]
    assert joined.startswith("before ")
    assert joined.endswith(" after")


@given(st.data())
def test_a_stream_is_redacted_wherever_its_chunks_end(data):
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    redactor = Redactor(KEY)
    redactor.learn([secret.encode() for secret in KNOWN[:5]])
    chosen = [rng.choice([one for one in SECRETS if one.kind != "member"]) for _ in range(5)]
    known = KNOWN[:5]
    texts = [one.text for one in chosen if one.kind != "known"] + [
        rng.choice(list(written(k).values())) for k in known
    ]
    filler = "line of ordinary words\n" * data.draw(st.integers(0, 400))
    raw = filler.join(f"\n{text}\n" for text in texts).encode()
    stream, shown, at = redactor.stream(), "", 0
    while at < len(raw):
        size = data.draw(st.sampled_from([1, 7, 100, 4096, 5000, 100_000])) if at < 40 else 3000
        shown += stream.feed(raw[at : at + size])
        at += size
    shown += stream.flush()
    for secret in [*known, *(one.secret for one in chosen if one.kind != "known")]:
        assert not [needle for needle in needles(secret) if needle in shown]
    assert shown.count("line of ordinary words") == raw.count(b"line of ordinary words")


def test_a_stream_keeps_no_more_than_its_bound_of_a_secret_without_an_end():
    stream = Redactor(KEY).stream()
    shown = stream.feed(b"x\n-----BEGIN PRIVATE KEY-----\n")
    for _ in range(3 * limits.REDACTED_STREAM_BYTES // 65_000):
        shown += stream.feed(b"QUJD" * 16_250)
        assert len(stream._kept) < 2 * limits.REDACTED_STREAM_BYTES
    shown += stream.feed(b"\n-----END PRIVATE KEY-----\nafter\n") + stream.flush()
    assert "QUJD" not in shown
    assert shown.startswith("x\n«redacted:pem:")
    assert shown.endswith("after\n")


def test_bytes_of_a_stream_that_are_no_text_appear_as_escapes():
    stream = Redactor(KEY).stream()
    assert stream.feed(b"a\xff\xc3") + stream.flush() == "a\\xff\\xc3"


@given(st.text(max_size=300))
def test_any_text_gives_text(text):
    assert isinstance(Redactor(KEY).text(text), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_keeps_its_shape(value):
    def shape(value):
        if isinstance(value, dict):
            return [shape(item) for item in value.values()]
        return [shape(item) for item in value] if isinstance(value, list) else None

    assert shape(Redactor(KEY).value(value)) == shape(value)


def test_options_and_pairs_name_what_follows(redactor):
    found = redactor.value(["run", "--db-password", "a b", "--verbose", "x", "--api-key=Zq9Zq9Zq9Zq9", "-v"])
    assert [str(each).startswith(MARK) for each in found] == [False, False, True, False, False, False, False]
    assert "Zq9" not in found[5]
    assert MARK in redactor.value([{"name": "DB_PASSWORD", "value": "q"}])[0]["value"]


def test_what_a_schema_marks_is_taken_out(redactor):
    schema = {
        "properties": {
            "note": {"x-mcpguard-secret": True},
            "list": {"items": {"format": "password"}},
            "n": {},
        }
    }
    found = redactor.value({"note": "plain", "list": ["a", 5], "n": "kept"}, marks_of(schema))
    assert found["note"].startswith("«redacted:schema:")
    assert all(each.startswith("«redacted:schema:") for each in found["list"])
    assert found["n"] == "kept"


def test_whoever_approves_sees_commands_and_paths_wherever_they_stand(redactor):
    marks = Marks(whole=True)
    for text in (
        "rm -rf / --no-preserve-root",
        "/etc/passwd",
        "curl x | sh",
        "https://evil.example/x",
        "a b",
    ):
        assert redactor.shown({"token": text}) == {"token": text}
        assert redactor.shown(text, marks) == text
    assert MARK in redactor.shown({"token": "aB3dE5fG7hI9"})["token"]
    assert MARK in redactor.shown("aB3dE5fG7hI9", marks)
    assert MARK in redactor.shown({"x": KNOWN[0]})["x"]


def test_a_record_is_redacted_before_it_is_cut(redactor):
    before = redact.current()
    redact.install(redactor)
    try:
        secret = next(one.secret for one in SECRETS if one.kind == "github")
        for at in range(record.TEXT_CHARS - len(secret) - 2, record.TEXT_CHARS + 2):
            shown = record.encode("x" * at + " " + secret + "y" * 100_000).decode()
            assert secret[:12] not in shown
            assert "…(+" in shown
        total = record.encode("x" * 1_000_000)
        assert f"…(+{1_000_000 - record.TEXT_CHARS})" in total.decode()
    finally:
        redact.install(before)


def test_time_is_linear_in_hostile_text(redactor):
    """A text 32 times as long takes about 32 times as long; a square would be 1,024 times."""

    def seconds(text: str) -> float:
        began = process_time()
        redactor.text(text)
        return process_time() - began

    for part in (
        "token=",
        "eyJ",
        "sk-a",
        "key-",
        "://a:",
        'password="\\',
        "-----BEGIN PRIVATE KEY-----",
        "secret" + "a" * 40,
    ):
        short, long = part * (20_000 // len(part)), part * (620_000 // len(part))
        seconds(short)
        best_short, best_long = min(seconds(short) for _ in range(3)), min(seconds(long) for _ in range(3))
        assert best_long < 200 * max(best_short, 0.0005), part


@pytest.mark.parametrize(("size", "many"), [(60, 0), (60, 100), (1 << 20, 0), (1 << 20, 100)])
def test_cost(benchmark, size, many):
    redactor = Redactor(KEY)
    redactor.learn([f"{number:05}aB3dE5fG7hI9".encode() for number in range(many)])
    text = ("read the file /home/user/project/main.py and say hello now " * (size // 50))[:size]
    benchmark(redactor.text, text)
