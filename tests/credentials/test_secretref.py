"""References to secrets: what is one, what is none, and that no sentence repeats what was pasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.credentials.secretref import (
    SecretRef,
    filled,
    handles,
    host_name,
    is_name,
    is_own_name,
    parse_ref,
)
from mcpguard.errors import SecretError


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("vault://github", SecretRef("vault", "github")),
        ("vault://github#file", SecretRef("vault", "github", as_file=True)),
        ("keyring://my%20app/me@example.com", SecretRef("keyring", "me@example.com", service="my app")),
        ("keyring://a/b/c", SecretRef("keyring", "b/c", service="a")),
        ("file:///s/k?plain", SecretRef("file", "/s/k", way="plain")),
        ("file:///s/k?sealed", SecretRef("file", "/s/k", way="sealed")),
        ("file:///s/k.age?identity=/s/id", SecretRef("file", "/s/k.age", way="age", identity="/s/id")),
        ("file:///s/a%3Fb?plain#file", SecretRef("file", "/s/a?b", way="plain", as_file=True)),
        ("env://TOKEN", SecretRef("env", "TOKEN")),
        ("cmd://op read op://Private/x/y", SecretRef("cmd", argv=("op", "read", "op://Private/x/y"))),
        ("cmd:///usr/bin/pass show 'a b; c'", SecretRef("cmd", argv=("/usr/bin/pass", "show", "a b; c"))),
        ("systemd-cred://db.password", SecretRef("systemd-cred", "db.password")),
    ],
)
def test_references_are_read(text: str, ref: SecretRef) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "", "sw0rdfish-hunter2", "vault:github", "vault://", "vault://a/b", "vault://a b", "vault://-a", "VAULT://a",
        "vault://a\n", "vault://" + "a" * 65, "keyring://a", "keyring:///b", "keyring://a/", "keyring://a%2/b",
        "keyring://a/%ff", "keyring://a/%00", "file://relative?plain", "file:///a", "file:///a?", "file:///a?PLAIN",
        "file:///a/../b?plain", "file:///a?identity=b", "env://A B", "env://1A",
        "cmd://", "cmd://./op", "cmd://op $(id)", "cmd://op `id`", "cmd://op | tee /x", "cmd://op > /x",
        "cmd://op 'open", "cmd://op $HOME", "cmd://''", "systemd-cred://../x", "systemd-cred://", "http://x/y",
        "op://Private/x", "vault://" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_ref(text)
    assert "sw0rdfish" not in caught.value.sentence()


@given(st.text())
def test_any_text_is_a_reference_or_an_error(text: str) -> None:
    for scheme in ("", "vault://", "keyring://", "file:///", "env://", "cmd://", "systemd-cred://"):
        try:
            told = parse_ref(scheme + text).told
        except SecretError as error:
            told = error.sentence().replace(text, "") if len(text) > 8 else ""
        assert told.isprintable()


def test_a_program_is_told_without_its_arguments() -> None:
    assert parse_ref("cmd://vault kv get -field=x secret/y").told == "cmd://vault"
    assert parse_ref("keyring://a/b").told == "keyring://a/b"
    assert parse_ref("vault://a#file").told == "vault://a"


def test_what_stands_in_a_configuration() -> None:
    assert host_name(b"mcpguard-secret://github") == "github"
    assert host_name(b"ghp_abcdef") is None
    for wrong in (b"mcpguard-secret://", b"mcpguard-secret://a/b", b"mcpguard-secret://\xff"):
        with pytest.raises(SecretError):
            host_name(wrong)


def test_names_of_people_and_names_of_ours_are_apart() -> None:
    assert is_name("github.token-1")
    assert not is_own_name("github.token-1")
    assert is_own_name("oauth/notion/refresh")
    assert not is_name("oauth/notion/refresh")
    assert not is_own_name("../x")
    assert not is_own_name("/x")


def test_handles_are_found_and_filled_once() -> None:
    text = "Bearer ${secret:a}, ${secret:b}, ${secret:}, ${secret:a b}, $secret:a, ${secret:c}"
    assert handles(text) == ["a", "b", "c"]
    assert filled(text, {"a": "${secret:b}", "b": "B"}).startswith("Bearer ${secret:b}, B, ${secret:}")
    assert filled("${secret:c}", {"a": "x"}) == "${secret:c}"
