"""What a rule says of forms and pages: which host a URL is at, where all programs agree on it."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.model import Verdict
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.document import parse
from mcpguard.policy.elicited import MODES, Elicited, host_of
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import Elicit
from mcpguard.policy.snapshot import compile_snapshot


def elicited(*hosts, modes=MODES):
    return Elicited(Elicit(tuple(modes), tuple(map(compile_pattern, hosts))))


def page(url):
    return {"mode": "url", "url": url}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com", "example.com"), ("https://example.com/", "example.com"), ("http://example.com/a?b#c", "example.com"),
        ("HTTPS://EXAMPLE.com:443/", "example.com"), ("https://example.com./", "example.com"), ("https://example.com?x", "example.com"),
        ("https://example.com#x", "example.com"), ("https://a-b_c.example.com:8080", "a-b_c.example.com"), ("https://localhost/", "localhost"),
        ("http://127.0.0.1/", "127.0.0.1"), ("http://255.255.255.255:1", "255.255.255.255"), ("https://1.example.com", "1.example.com"),
        ("https://example.com/@evil.net", "example.com"), ("https://example.com/%5c", "example.com"),
    ],
)  # fmt: skip
def test_a_host_that_every_program_reads_alike(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "https://user@example.com/", "https://example.com:80@evil.net/", "https://example.com\\@evil.net/", "https://evil.net\\.example.com/",
        "https://example.com/\\..", "https://[::1]/", "https://ex%61mple.com/", "https://exa\tmple.com/", " https://example.com/",
        "https://example.com/ ", "https://example.com/\n", "https://b\u00fccher.example/", "https://\uff45xample.com/", "https://example.com/\u00e9",
        "https://.example.com/", "https://example..com/", "https://0../", "https://example.com../", "https://./", "https://", "https:///example.com", "https:example.com", "//example.com",
        "https://example.com:/", "https://example.com:x/", "https://example.com:123456/",
        "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://127.0.0.01/", "http://1.2.3.4.5/", "http://1.2.3.0x4/",
        "http://0x/", "http://example.0x/", "javascript:alert(1)", "ftp://example.com/", "file:///etc/passwd", "", None, 7, True, ["https://example.com"],
    ],
)  # fmt: skip
def test_a_host_that_programs_may_read_differently_cannot_be_told(url):
    assert host_of(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://\u017fecret.example/",  # browsers go to secret.example
        "https://ban\u212a.example/",  # a Kelvin sign: bank.example
        "https://\u0130stanbul.example/", "https://\u0131nside.example/",
        "http\u017f://example.com/",
    ],
)  # fmt: skip
def test_a_letter_of_another_alphabet_is_none_of_ours_whatever_its_other_case_is(url):
    assert host_of(url) is None


CHARS = st.sampled_from([*"aAzsSkK09-_.:/?#@\\%[] x", "\u017f", "\u212a", "\u0130", "\u00e9", "\n"])


@given(st.text(CHARS, max_size=14), st.sampled_from(["https://", "http://", "HTTPS://"]))
def test_a_host_that_can_be_told_is_plain_and_the_one_that_a_library_reads(rest, scheme):
    host = host_of(scheme + rest)
    if host is not None:
        assert re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host)
        assert urlsplit(scheme + rest).hostname in (host, f"{host}.")


# --- which elicitations a rule speaks of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modes", "hosts", "params", "holds"),
    [
        (MODES, [], {}, True), (MODES, [], {"mode": "form"}, True), (MODES, [], page("nonsense"), True),
        (["form"], [], {}, True), (["form"], [], page("https://a.example"), False),
        (["url"], [], {}, False), (["url"], [], {"mode": "form", "url": "https://a.example"}, False), (["url"], [], {"mode": "url"}, True),
        (MODES, [], {"mode": "other"}, None), (MODES, [], {"mode": None}, None), (MODES, [], {"mode": ["url"]}, None), (MODES, [], {"mode": "URL"}, None),
        (MODES, [], None, None), (MODES, [], [], None), (MODES, [], "form", None),
        (MODES, ["a.example"], {}, True), (["url"], ["a.example"], page("https://a.example/x"), True), (["url"], ["a.example"], page("https://b.example"), False),
        (["url"], ["*.example"], page("https://a.example"), True), (["url"], ["*.example"], page("https://example"), False),
        (["url"], ["A.Example"], page("https://a.EXAMPLE"), True), (["url"], ["b", "a.*"], page("https://a.example"), True),
        (["url"], ["*"], page("https://me@a.example"), None), (["url"], ["*"], {"mode": "url"}, None), (["url"], ["*"], page(7), None),
    ],
)  # fmt: skip
def test_a_rule_speaks_of_modes_and_of_pages_by_host(modes, hosts, params, holds):
    assert elicited(*hosts, modes=modes).holds(params) is holds


@pytest.mark.parametrize(
    ("modes", "hosts", "always"),
    [
        (MODES, [], True),
        (["url", "form"], [], True),
        (["form"], [], False),
        (["url"], [], False),
        (MODES, ["a"], False),
    ],
)
def test_a_rule_of_every_mode_and_host_demands_nothing(modes, hosts, always):
    assert elicited(*hosts, modes=modes).always is always


@pytest.mark.parametrize(
    ("modes", "hosts", "params", "words"),
    [
        (["url"], [], {}, "its mode were url"), (["form"], [], page("https://a"), "its mode were form"),
        (MODES, ["A.x", "*.b"], page("https://c"), "its page were on a.x or *.b"),
        (MODES, [], {"mode": "other"}, "its mode were form or url"), (MODES, ["a"], None, "its mode were form or url"),
        (["url"], ["a"], {"mode": {}}, "its mode were url"),
    ],
)  # fmt: skip
def test_what_is_wanting_is_said_in_words_of_the_policy(modes, hosts, params, words):
    assert elicited(*hosts, modes=modes).wanting(params) == words


@pytest.mark.parametrize(
    ("effect", "url", "verdict"),
    [
        ("deny", "https://evil.example/", Verdict.DENY), ("deny", "https://fine.example/", Verdict.ALLOW),
        ("deny", "https://\u0435vil.example/", Verdict.DENY), ("deny", "https://evil.example@fine.example/", Verdict.DENY),
        ("deny", "https://\u017fly.example/", Verdict.DENY), ("ask", "https://[::1]/", Verdict.ASK), ("ask", "https://fine.example/", Verdict.ALLOW),
    ],
)  # fmt: skip
def test_a_page_of_which_nothing_can_be_told_is_refused_where_some_are(effect, url, verdict):
    text = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "all"\nelicitation = true\neffect = "allow"\n'
    text += f'[[rule]]\nid = "some"\nelicitation = {{ mode = "url", hosts = ["evil.example", "sly.example"] }}\neffect = "{effect}"\n'
    found = compile_snapshot(parse(text.encode(), "p"), "s")
    assert found.judge("elicitation/create", "", page(url), Circumstances(), 0).verdict is verdict
