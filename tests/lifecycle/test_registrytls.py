"""Remote servers by the certificate registry, through the real command line: vouched for, shown, renewed, revoked.

Numbers in names are those of the security tests.
"""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from mcpguard.identity.certificates import fingerprint
from tests.fakes.remotes import GREETING, Remote, Request, Threaded, answer
from tests.lifecycle.farstage import POLICY, TOOLS, apart
from tests.lifecycle.stage import House, until


class Far:
    """A house with an authority of its own, and a server with a certificate of it that wants one of ours."""

    def __init__(self, house: House, place: Path) -> None:
        self.house, self.place = house, place
        self.shown: list[str] = []

    def issue(self, name: str, *options: str) -> None:
        done = self.house.mcpguard("ca", "issue", name, *options)
        assert done.returncode == 0, done.stderr

    def context(self, name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.place / f"{name}.crt", self.place / f"{name}.key")
        made.load_verify_locations(self.place / "ca.crt")
        made.verify_mode = ssl.CERT_REQUIRED
        return made

    async def handle(self, request: Request) -> bytes:
        shown = request.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.shown.append(fingerprint(shown))
        if request.name == "initialize":
            return answer(200, {"jsonrpc": "2.0", "id": request.message["id"], "result": GREETING})
        if request.name == "tools/list":
            return request.result(tools=TOOLS)
        if request.name == "tools/call":
            return request.result(content=[{"type": "text", "text": "done"}])
        if request.name == "server/discover":
            head = {"jsonrpc": "2.0", "id": request.message["id"]}
            return answer(200, head | {"error": {"code": -32601, "message": "not here"}})
        return await self.server.handle(request)

    def serving(self, name: str) -> Threaded:
        return Threaded(self.context(name))

    def add(self, server: Remote, *options: str, name: str = "far", url: str = "") -> tuple[int, str]:
        self.server = server
        server.handler = self.handle
        words = [
            "--url",
            url or f"https://localhost:{server.port}/mcp",
            "--allow-network",
            "loopback",
            *options,
        ]
        done = self.house.mcpguard("server", "add", name, "--yes", *words)
        return done.returncode, done.stdout + done.stderr


BOTH = ("--ca", "registry", "--client-cert", "registry:me")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with House() as house:
        phrase = house.root / "phrase"
        phrase.write_text("correct horse battery\n")
        phrase.chmod(0o600)
        house.env["MCPGUARD_PASSPHRASE_FILE"] = str(phrase)
        house.serve()
        for words in (["trust", "init", "--yes"], ["ca", "init", "--permit", "dns:localhost", "--yes"]):
            done = house.mcpguard(*words)
            assert done.returncode == 0, done.stderr
        house.policy(POLICY)
        made = Far(house, tmp_path)
        made.issue("srv", "--server", "--dns", "localhost", "--out", str(tmp_path))
        made.issue("me", "--client")
        yield made


def test_registry_vouches_and_our_certificate_is_renewed_under_a_connection(far: Far) -> None:
    with far.serving("srv") as server:
        code, said = far.add(server, *BOTH)
        assert code == 0, said
        assert "the authorities and pins of the certificate registry" in said
        assert "our certificate me of the certificate registry" in said
        host = apart(far.house, "far").greet()
        assert host.call("look")["result"]["content"][0]["text"] == "done"
        before = far.shown[-1]
        done = far.house.mcpguard("ca", "renew", "me")
        assert done.returncode == 0, done.stderr
        assert host.call("look")["result"]["content"][0]["text"] == "done"  # the connection goes on
        other = apart(far.house, "far").greet()
        assert other.call("look")["result"]["content"][0]["text"] == "done"
        assert far.shown[-1] != before


@pytest.mark.parametrize("how", ["revoked", "pin"])
def test_69_70_server_that_counts_no_longer_is_cut_and_refused(far: Far, how: str) -> None:
    with far.serving("srv") as server:
        assert far.add(server, *BOTH)[0] == 0
        host = apart(far.house, "far").greet()
        assert host.call("look")["result"]["content"][0]["text"] == "done"
        if how == "revoked":
            done = far.house.mcpguard("ca", "revoke", "srv", "--yes")
        else:
            other = trustme.CA().issue_cert("localhost").cert_chain_pems[0]
            other.write_to_path(str(far.place / "srv2.crt"))
            done = far.house.mcpguard("cert", "pin", "far", str(far.place / "srv2.crt"), "--yes")
        assert done.returncode == 0, done
        why = "revoked" if how == "revoked" else "not one that is pinned"
        ended = until(lambda: [each for each in far.house.records() if each.get("event") == "end"])
        assert "not to be talked to any more" in ended[0]["reason"]
        assert why in ended[0]["reason"]
        calls = len(server.named("tools/call"))
        again = far.house.host("far")
        assert again.wait() == 5
        assert why in "".join(again.errors())
        assert len(server.named("tools/call")) == calls


def test_own_certificate_alone_brings_no_authority(far: Far) -> None:
    """A server that a file vouches for is not vouched for by the registry because we show it a certificate of it."""
    other = trustme.CA()
    file = far.place / "other.pem"
    other.cert_pem.write_to_path(str(file))
    with far.serving("srv") as server:
        code, said = far.add(server, "--ca", str(file), "--client-cert", "registry:me")
        assert code == 5
        assert "not signed by the CA" in said
    context = far.context("srv")
    leaf = other.issue_cert("localhost")
    leaf.configure_cert(context)
    with Threaded(context) as server:
        code, said = far.add(server, "--ca", str(file), "--client-cert", "registry:me")
        assert code == 0, said
        host = apart(far.house, "far").greet()
        assert host.call("look")["result"]["content"][0]["text"] == "done"
        assert far.house.mcpguard("ca", "renew", "me").returncode == 0
        assert host.call("look")["result"]["content"][0]["text"] == "done"
        port = server.port
    with Threaded(far.context("srv"), port=port) as server:  # one of our own authority takes its place
        far.server, server.handler = server, far.handle
        said = json.dumps(host.call("look"))
        assert "not signed by the CA" in said


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--ca", "registry", "--pin", "sha256:" + "0" * 64), "pins are kept there"),
        (("--ca", "registry", "--client-cert", "registry:me", "--client-key", "x"), "has its key there"),
        (("--ca", "registry", "--client-cert", "registry:nobody"), "no certificate called 'nobody'"),
        (("--ca", "registry"), "broke the connection"),  # it wants a certificate of ours
    ],
)
def test_what_the_registry_cannot_do(far: Far, options: tuple[str, ...], why: str) -> None:
    with far.serving("srv") as server:
        code, said = far.add(server, *options)
        assert code != 0
        assert why in said, said
        assert server.named("tools/list") == []


def test_69_name_that_the_certificate_has_not(far: Far) -> None:
    with far.serving("srv") as server:
        code, said = far.add(server, *BOTH, url=f"https://127.0.0.1:{server.port}/mcp")
        assert code == 5, said
        assert "127.0.0.1" in said
