"""An authorizer against a real provider and a real server that wants its tokens."""

import asyncio

import pytest

from mcpguard.credentials.oautherror import OAuthError
from tests.daemon.oauthworld import world

pytestmark = pytest.mark.asyncio


async def test_a_login_gives_a_token_that_the_server_takes() -> None:
    async with world() as at:
        login = await at.log_in()
        assert login.phase == "done", login.described()
        assert await at.call(at.oauth()) == 200


async def test_without_a_login_a_call_names_the_command() -> None:
    async with world() as at:
        with pytest.raises(OAuthError, match="nobody has logged in") as caught:
            await at.call(at.oauth())
        assert caught.value.hint == "mcpguard remote login files"


async def test_fifty_calls_at_once_are_one_refresh() -> None:
    async with world(lifetime=600) as at:
        await at.log_in()
        oauth = at.oauth()
        assert await at.call(oauth) == 200
        at.late = 601
        assert set(await asyncio.gather(*(at.call(oauth) for _ in range(50)))) == {200}
        grants = [form["grant_type"] for form in at.provider.asked("/token")]
        assert grants == ["authorization_code", "refresh_token"]
