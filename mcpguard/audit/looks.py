"""Secrets that can be told by their looks: keys with a known beginning, tokens behind a word that announces one.

Rule 1: time is linear in the text. A literal that may begin a secret is found by one automaton; a pattern is tried
only there, and what it has taken is not looked at again.
Rule 2: a match that has no end is taken to the end of the text: what is cut off is hidden rather than shown. So is
what follows more words that announce secrets than anybody writes (`limits.SECRET_WORDS`).
Rule 3: without a word that announces it, only what bears its issuer's mark is a secret. Digests, UUIDs and base64
stand in every log and must stay readable.

Source of the marks: GitHub, "Behind GitHub's new authentication token formats"; AWS IAM unique identifiers; Slack,
"Token types"; RFC 7468 (PEM), RFC 7519 (JWT), RFC 6750 (Bearer), RFC 3986 3.2.1 (userinfo).

Not here: values that are known exactly (`knownvalues`), what a schema marks (`marks`).
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from typing import Final, NamedTuple

from ahocorasick_rs import BytesAhoCorasick

from mcpguard import limits


class Span(NamedTuple):
    """A secret in encoded text: from where to where, in bytes, and of what kind."""

    start: int
    end: int
    kind: str


_TOKEN: Final = rb"[A-Za-z0-9_\-]"
_ISSUED: Final = {
    b"ghp_": ("github", rb"ghp_[A-Za-z0-9]{20,}"),
    b"gho_": ("github", rb"gho_[A-Za-z0-9]{20,}"),
    b"ghu_": ("github", rb"ghu_[A-Za-z0-9]{20,}"),
    b"ghs_": ("github", rb"ghs_[A-Za-z0-9]{20,}"),
    b"ghr_": ("github", rb"ghr_[A-Za-z0-9]{20,}"),
    b"github_pat_": ("github", rb"github_pat_[A-Za-z0-9_]{20,}"),
    b"glpat-": ("gitlab", rb"glpat-[A-Za-z0-9_\-]{16,}"),
    b"AKIA": ("aws", rb"AKIA[A-Z0-9]{12,}"),
    b"ASIA": ("aws", rb"ASIA[A-Z0-9]{12,}"),
    b"sk-": ("api-key", rb"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))sk-(?=[A-Za-z_\-]*[0-9])[A-Za-z0-9_\-]{16,}"),
    b"sk_live_": ("stripe", rb"sk_live_[A-Za-z0-9]{10,}"),
    b"sk_test_": ("stripe", rb"sk_test_[A-Za-z0-9]{10,}"),
    b"rk_live_": ("stripe", rb"rk_live_[A-Za-z0-9]{10,}"),
    b"xox": ("slack", rb"xox[a-z]-[A-Za-z0-9\-]{8,}"),
    b"xapp-": ("slack", rb"xapp-[A-Za-z0-9\-]{8,}"),
    b"hooks.slack.com/": ("slack", rb"hooks\.slack\.com/[A-Za-z]+/[A-Za-z0-9/]{16,}"),
    b"AIza": ("google", rb"AIza[A-Za-z0-9_\-]{30,}"),
    b"npm_": ("npm", rb"npm_[A-Za-z0-9]{30,}"),
    b"pypi-AgE": ("pypi", rb"pypi-[A-Za-z0-9_\-]{16,}"),
    b"hf_": ("huggingface", rb"hf_[A-Za-z0-9]{30,}"),
    b"mcpg_": ("mcpguard", rb"mcpg_[a-z0-9]{4,16}_[A-Za-z0-9]{20,}"),
    b"AGE-SECRET-KEY-1": ("age", rb"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    b"eyJ": ("jwt", rb"eyJ[A-Za-z0-9_\-]{8,}(?:\.|%2[eE])[A-Za-z0-9_\-]{8,}(?:(?:\.|%2[eE])[A-Za-z0-9_\-]*)*"),
    b"-----BEGIN ": (
        "pem",
        rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!-{4}))*(?:-----END[A-Z0-9 ]*-{0,5})?",
    ),
}  # fmt: skip
"""Literal that begins a secret: its kind, and the pattern that is tried there."""
_SHARED: Final = {b"eyJ", b"sk-"}
"""Of these, a run of token characters may hold many; where one fails, so do the others in the same run."""
_RUN: Final = re.compile(_TOKEN + rb"*")

_STRONG: Final = (
    "password", "passwd", "passphrase", "passcode", "secret", "apikey", "api_key", "api-key", "access_key",
    "access-key", "accesskey", "private_key", "private-key", "privatekey", "credential", "client_secret",
    "connectionstring", "encryption_key", "signing_key",
)  # fmt: skip
_WEAK: Final = ("token", "pwd", "auth", "session", "signature", "sig", "key", "jwt", "otp", "sid", "nonce")
_HEADERS: Final = ("authorization", "cookie", "x-api-key", "x-auth-token")
_BEARER: Final = "bearer"
_URL: Final = "://"

_ASSIGNED: Final = re.compile(
    rb"[A-Za-z0-9_.\-]{0,32}(?:\\{0,3}[\"'\]]){0,2}\s{0,4}(?P<sign>=>|:=|==?|:|%3[dDaA])(?P<blank>\s{0,4})"
    rb"(?:(?P<quote>\\{0,3}[\"'`])(?P<quoted>(?:(?!(?P=quote))(?:\\.|[^\n])){1,64})"
    rb"|(?P<bare>[^\s\"'`&,;<>(){}\[\]\\|]{4,64}))",
    re.IGNORECASE | re.DOTALL,
)
_REST: Final = re.compile(rb"[^\s\"'`&,;<>(){}\[\]\\|]*")
"""What of a bare value is behind the part by which it is judged: what is refused is read again for the next word."""
_HEADER: Final = re.compile(
    rb"[A-Za-z\-]{0,16}(?:\\{0,3}[\"'\]])?\s{0,4}[:=]\s{0,4}(?P<quote>\\{0,3}[\"'])?(?P<value>[^\r\n\"'\\]{6,})",
    re.IGNORECASE,
)
_BORNE: Final = re.compile(rb"bearer(?:\s|%20|\+){1,4}(?P<value>[A-Za-z0-9._~+/=\-]{12,})", re.IGNORECASE)
_USERINFO: Final = re.compile(
    rb"://(?:[^\s/?#@:\"'<>]{0,256}:(?P<value>[^\s/?#@\"'<>]{1,512})|(?P<alone>[^\s/?#@:\"'<>]{16,512}))@"
)
_PLAIN: Final = re.compile(
    rb"(?:true|false|null|none|undefined|yes|no|[*x.]+|\$\{?\w+\}?|%\w+%|\W+)", re.IGNORECASE
)
_ISSUER: Final = b"https://"
_MARKED: Final = "«redacted:".encode()

_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")
_NAMES_WITHIN: Final = (
    "password", "passwd", "passphrase", "passcode", "secret", "apikey", "accesskey", "privatekey", "credential",
    "authorization", "bearer", "encryptionkey", "signingkey", "connectionstring", "sessionkey",
)  # fmt: skip
_NAMES: Final = frozenset({
    "pwd", "pass", "pin", "otp", "totp", "mfa", "auth", "jwt", "cookie", "cookies", "setcookie", "cvv", "cvc", "pat",
    "sid", "sessionid", "xapikey", "dsn", "seed", "mnemonic", "recoverycode", "sastoken", "authkey",
})  # fmt: skip
_NOT_NAMES: Final = frozenset(
    {"progresstoken", "pagetoken", "nexttoken", "nextpagetoken", "continuationtoken"}
)


@functools.cache
def _automata() -> tuple[BytesAhoCorasick, BytesAhoCorasick, list[bytes], list[str]]:
    """Literals as they are, and words in lower case; made when the first text comes."""
    marks = list(_ISSUED)
    words = [*_STRONG, *_WEAK, *_HEADERS, _BEARER, _URL]
    return BytesAhoCorasick(marks), BytesAhoCorasick([word.encode() for word in words]), marks, words


_compiled: Final = {mark: (kind, re.compile(pattern)) for mark, (kind, pattern) in _ISSUED.items()}
_kinds: Final = dict.fromkeys(_STRONG, "strong") | dict.fromkeys(_HEADERS, "header")


def find(data: bytes) -> list[Span]:
    """The secrets in UTF-8 text, in order of where they begin; they may overlap."""
    by_mark, by_word, marks, words = _automata()
    found: list[Span] = []
    if hits := by_mark.find_matches_as_indexes(data, overlapping=True):
        found += _issued(data, [(start, marks[index]) for index, start, _ in hits])
    if hits := by_word.find_matches_as_indexes(data.lower(), overlapping=True):
        found += _announced(data, [(start, end, words[index]) for index, start, end in hits])
    return sorted(found)


def _issued(data: bytes, hits: list[tuple[int, bytes]]) -> list[Span]:
    """Secrets that bear their issuer's mark."""
    found, past, failed = [], 0, dict.fromkeys(_SHARED, 0)
    for start, mark in sorted(hits):
        if start < past or start < failed.get(mark, 0):
            continue
        kind, pattern = _compiled[mark]
        match = pattern.match(data, start)
        if match is not None:
            found.append(Span(start, match.end(), kind))
            past = match.end()
        elif mark in failed and (run := _RUN.match(data, start)):
            failed[mark] = run.end()
    return found


def _announced(data: bytes, hits: list[tuple[int, int, str]]) -> list[Span]:
    """Secrets that stand behind a word."""
    found, past, looked = [], 0, 0
    for start, end, word in sorted(hits):
        if start < past:
            continue
        looked += 1
        if looked > limits.SECRET_WORDS:
            found.append(Span(start, len(data), "unclear"))
            break
        span = _behind(data, start, end, word)
        if span is not None:
            found.append(span)
            past = span.end
    return found


def _behind(data: bytes, start: int, end: int, word: str) -> Span | None:
    if word == _URL:
        match = _USERINFO.match(data, start)
        if match is None:
            return None
        group = "value" if match["value"] is not None else "alone"
        if group == "alone" and not looks_random(match[group]):
            return None
        return _span(match, group, "userinfo")
    if word == _BEARER:
        match = _BORNE.match(data, start)
        return _span(match, "value", "bearer") if match is not None and looks_random(match["value"]) else None
    if word in _HEADERS:
        match = _HEADER.match(data, end)
        return _span(match, "value", "header") if match is not None else None
    match = _ASSIGNED.match(data, end)
    if match is None:
        return None
    group = "bare" if match["bare"] is not None else "quoted"
    value = match[group]
    if value.startswith(_MARKED) or _PLAIN.fullmatch(value):
        return None
    if word == "jwt" and value.startswith(_ISSUER):
        return None  # a principal, `jwt:ISSUER#SUBJECT`; a token begins otherwise
    if _kinds.get(word) == "strong":
        prose = (
            group == "bare" and bool(match["blank"]) and match["sign"] == b":" and value.strip(b".").isalpha()
        )
        return None if prose and value.islower() else _whole(data, match, "named")
    return _whole(data, match, "entropy") if len(value) >= 12 and looks_random(value) else None


def _whole(data: bytes, match: re.Match[bytes], kind: str) -> Span:
    """The whole of a value of which the beginning was judged."""
    if match["bare"] is not None:
        rest = _REST.match(data, match.end())
        return Span(match.start("bare"), rest.end() if rest else match.end(), kind)
    ends = re.compile(rb"(?:(?!%b)(?:\\.|[^\n]))*" % re.escape(match["quote"]), re.DOTALL).match(
        data, match.end()
    )
    return Span(match.start("quoted"), ends.end() if ends else match.end(), kind)


def _span(match: re.Match[bytes], group: str, kind: str) -> Span | None:
    if match[group].startswith(_MARKED):
        return None
    return Span(match.start(group), match.end(group), kind)


def looks_random(value: bytes, bits: float = 2.8) -> bool:
    """Whether a token is no word or path: letters and digits or both cases of them, `bits` of entropy a character."""
    if b" " in value or value.count(b"/") > len(value) // 8:
        return False
    letters, digits = any(c > 64 for c in value), any(48 <= c <= 57 for c in value)
    mixed = not (value.islower() or value.isupper()) and letters
    if not (letters and digits) and not (mixed and len(value) >= 16):
        return False
    return entropy(value) >= bits


def entropy(value: bytes) -> float:
    """Shannon entropy of the bytes, bits each; 0 for none."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


@functools.lru_cache(maxsize=4096)
def secret_name(name: str) -> bool:
    """Whether a member, a variable or an option of this name holds a secret: `DB_PASSWORD`, `--api-key`, `pin`."""
    if len(name) > 128:
        return False
    bare = _NOT_WORD.sub("", name.lower())
    if bare in _NAMES or any(word in bare for word in _NAMES_WITHIN):
        return True
    return bare.endswith("token") and bare not in _NOT_NAMES
