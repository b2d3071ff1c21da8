"""Tokens that come and go, and values that stay."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.daemon.oauthsecrets import passing

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def redactor() -> Iterator[redact.Redactor]:
    made = redact.Redactor(b"k" * 32)
    redact.install(made)
    yield made
    redact.install(redact.Redactor())


async def test_a_token_is_known_when_it_returns(redactor: redact.Redactor) -> None:
    token = secrets.token_urlsafe(32)
    assert token in redactor.name(f"x-{token}")
    await passing([token])
    assert token not in redactor.name(f"x-{token}"), "what was remembered before is forgotten"
    assert token not in redactor.text(f"x{token}x")
    assert token.encode().hex() not in redactor.text(token.encode().hex())


async def test_tokens_do_not_displace_what_servers_hold(redactor: redact.Redactor) -> None:
    lasting = secrets.token_urlsafe(32)
    redactor.learn([lasting.encode()])
    tokens = [secrets.token_urlsafe(32) for _ in range(limits.PASSING_SECRETS + 20)]
    for begin in range(0, len(tokens), 37):
        await passing(tokens[begin : begin + 37])
    shown = redactor.text(" ".join([lasting, *tokens]))
    assert lasting not in shown
    assert [token in shown for token in tokens] == [True] * 20 + [False] * limits.PASSING_SECRETS


async def test_many_at_once_are_all_known(redactor: redact.Redactor) -> None:
    tokens = [secrets.token_urlsafe(32) for _ in range(60)]
    await asyncio.gather(*(passing([token]) for token in tokens))
    shown = redactor.text(" ".join(tokens))
    assert not any(token in shown for token in tokens)


async def test_what_is_known_costs_nothing_and_what_is_short_is_no_secret(redactor: redact.Redactor) -> None:
    token = secrets.token_urlsafe(32)
    await passing([token, "short", b""])
    before = redactor.known._passing
    await passing([token])
    assert redactor.known._passing is before
    assert before.values == (token.encode(),)
