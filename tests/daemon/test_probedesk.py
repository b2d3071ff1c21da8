"""Servers that are asked on behalf of the command line; whole stories are in tests/lifecycle/test_faraway.py."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mcpguard.daemon.certificates import Certificates
from mcpguard.daemon.control import Caller
from mcpguard.daemon.probedesk import LoginNoted, ProbeDesk, login_at
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.errors import TrustError, UpstreamError
from mcpguard.identity.remote import Remote
from mcpguard.protocol.control import Request
from tests.fakes.remotes import Pki, answer, listening

pytestmark = pytest.mark.asyncio
ME = Caller(1000, 42)


async def nobody(name: str, place: Remote) -> None:
    return None


def none(name: str) -> RegistryTls:
    def never() -> Certificates:
        raise AssertionError(name)

    return RegistryTls(name, never)


async def asked(desk: ProbeDesk, place: dict[str, object]) -> dict:
    verbs = desk.approving()
    told = verbs["remote-probe"](Request("remote-probe", name="far", text=json.dumps(place)), ME)
    async with asyncio.timeout(30):
        while told["phase"] == "asking":
            request = Request("remote-probed", ident=told["ident"], since=len(told["told"]))
            told = await verbs["remote-probed"](request, ME)
    return told


async def test_a_server_that_answers_and_one_that_wants_a_login(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with listening(pki.server()) as server:

        async def lists(request: Any) -> bytes:
            return request.result(tools=[]) if request.name == "tools/list" else await server.handle(request)

        server.handler = lists
        desk = ProbeDesk(nobody, none)
        place = {"url": f"https://localhost:{server.port}/mcp", "ca": pki.pem, "networks": ["loopback"]}
        told = await asked(desk, place)
        assert told["phase"] == "done", told
        assert told["probed"]["answers"][0]["name"] == "r"
        assert told["told"] == ["asking it in the legacy era", "asking it in the modern era"]

        async def closed(request):
            return answer(401, www_authenticate="Bearer")

        server.handler = closed
        told = await asked(desk, place)
        assert (told["phase"], told["login"]) == ("failed", True)
        assert (await asked(desk, {**place, "ca": Pki(tmp_path).pem}))["code"] == "trust"
        told = await asked(desk, {**place, "networks": []})
        assert (told["code"], told["login"]) == ("trust", False)
        with pytest.raises(UpstreamError, match="nothing is asked"):
            await desk.approving()["remote-probed"](Request("remote-probed", ident=told["ident"]), ME)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": "http://x/"}', '{"url": "https://x/", "more": 1}'])
async def test_what_is_no_place(text: str) -> None:
    with pytest.raises(TrustError):
        ProbeDesk(nobody, none).approving()["remote-probe"](
            Request("remote-probe", name="far", text=text), ME
        )


async def test_an_authorizer_that_remembers_refusals() -> None:
    noted = LoginNoted(None, "far")
    assert await noted.headers("POST", "https://x/") == {}
    assert noted.refused is None
    with pytest.raises(UpstreamError, match="wants a login"):
        await noted.challenged(401, "Bearer")
    assert noted.refused is not None


async def test_logins_are_at_https_alone() -> None:
    assert login_at("far", Remote("https://x/", ca="system")).url == "https://x/"
    assert login_at("far", Remote("unix:/run/x")) is None
