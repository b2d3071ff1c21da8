"""Connections to remote servers: who answers, at which address, and what their answers look like.

Numbers in names are those of the security tests (69: TLS, 71: interception, 73: the corpus of wire attacks).
"""

import asyncio
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import warnings
from pathlib import Path

import aiohttp
import pytest
import trustme

from mcpguard import limits
from mcpguard.daemon.dialling import Dialler, HeadError, Lookup, check_head, read_body, told
from mcpguard.daemon.tls import spki
from mcpguard.errors import GuardError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote
from mcpguard.system.truststore import wall_clock
from tests.daemon.loops import both_loops, run
from tests.fakes import remotes
from tests.fakes.remotes import NAME, Pki, answer, listening

OTHER = "sha256:" + "0" * 64


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def here(*addresses: str) -> Lookup:
    """A resolver that answers with one address after the other, the last for ever."""
    left = list(addresses or ("127.0.0.1",))

    async def lookup(host: str, port: int) -> list[tuple[int, str]]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]

    return lookup


def far(port: int, **more: object) -> Remote:
    return Remote(f"https://{NAME}:{port}/mcp", **{"networks": ("loopback",), **more})  # type: ignore[arg-type]


async def post(dialler: Dialler, *, method: str = "POST", most: int = 1000, eager: bool = True) -> bytes:
    """One request over a new client, and the body of its answer."""
    async with await dialler.session(eager=eager) as session:
        try:
            body = b'{"id":1,"method":"ping"}' if method == "POST" else None
            async with dialler.request(session, method, data=body) as found:
                check_head(found)
                return await read_body(found, most)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise told(error, dialler.target) from error


async def refused(dialler: Dialler, kind: type[GuardError] = TrustError) -> str:
    """The sentence with which a connection is refused, whether it is tried at once or with the first request."""
    sentences = set()
    for eager in (True, False):
        with pytest.raises(kind) as caught:
            await post(dialler, eager=eager)
        sentences.add(caught.value.sentence())
    assert len(sentences) == 1, sentences
    return sentences.pop()


# --- 69, 71: who answers -----------------------------------------------------------------------------------------


@both_loops
def test_69_server_of_the_private_ca_is_reached_over_tls_1_3(pki: Pki, loop: str) -> None:
    async def story() -> None:
        async with listening(pki.server()) as server:
            assert b"echo" in await post(Dialler(far(server.port, ca=pki.pem), lookup=here()))
            (request,) = server.requests
            assert request.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            assert request.fields["host"] == f"{NAME}:{server.port}"
            assert request.fields["accept-encoding"] == "identity"
            assert not {"authorization", "cookie", "referer"} & set(request.fields)

    run(story, loop)


@both_loops
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("another CA", "not signed by the CA"),
        ("expired", "has expired"),
        ("not yet", "not valid yet"),
        ("another name", "for another name"),
        ("another address", "for another name"),
        ("another key", "which is not pinned"),
        ("self-signed", "signed by"),
    ],
)
def test_69_server_that_is_not_the_one_is_refused(pki: Pki, loop: str, fault: str, words: str) -> None:
    now = wall_clock()
    more: dict[str, object] = {}
    names: tuple[str, ...] = ()
    if fault == "another CA":
        more["ca"] = trustme.CA()
    elif fault == "expired":
        more["not_after"] = now - dt.timedelta(hours=1)
    elif fault == "not yet":
        more["not_before"] = now + dt.timedelta(hours=1)
    elif fault == "another name":
        names = ("elsewhere.test",)
    elif fault == "another address":
        names = ("10.0.0.1",)
    context = pki.server("server", *names, **more)
    if fault == "self-signed":
        own = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.private_key_pem.write_to_path(str(pki.place / "own.pem"))
        own.cert_pem.write_to_path(str(pki.place / "own.pem"), append=True)
        context.load_cert_chain(pki.place / "own.pem")

    async def story() -> None:
        async with listening(context) as server:
            remote = far(server.port, ca=pki.pem, pins=(OTHER,) if fault == "another key" else ())
            sentence = await refused(Dialler(remote, lookup=here()))
            assert words in sentence
            assert f"{NAME}:{server.port}" in sentence
            assert server.requests == []

    run(story, loop)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_69_older_tls_is_refused(pki: Pki, version: ssl.TLSVersion) -> None:
    """As a server that breaks off says it; one that says why is in the test of strangers."""
    context = pki.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version

    async def story() -> None:
        async with listening(context) as server:
            dialler = Dialler(far(server.port, ca=pki.pem), lookup=here())
            assert "it must speak TLS 1.3" in await refused(dialler, UpstreamError)
            assert server.requests == []

    run(story)


def test_71_authority_that_the_system_trusts_is_not_trusted_unless_the_manifest_says_so(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody in between has a certificate for the right name, of an authority that everything else trusts."""
    public = trustme.CA()
    bundle = pki.place / "bundle.pem"
    public.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))  # what Python would take for the list of the system

    async def story() -> None:
        async with listening(pki.server(ca=public)) as between:
            for remote in (far(between.port, ca=pki.pem), far(between.port, ca="system")):
                assert "not signed by the CA" in await refused(Dialler(remote, lookup=here()))
            pinned = far(between.port, pins=(OTHER,))
            assert "which is not pinned" in await refused(Dialler(pinned, lookup=here()))
            assert between.requests == []

    run(story)


@both_loops
@pytest.mark.parametrize("known_by", ["ca and pin", "pin"])
def test_pinned_key_is_enough_and_name_and_dates_still_count(pki: Pki, loop: str, known_by: str) -> None:
    good = ssl.PEM_cert_to_DER_cert(
        pki.issue("a").read_text().partition("-----BEGIN CERT")[1]
        + pki.issue("b").read_text().partition("-----BEGIN CERT")[2]
    )
    assert spki(good).startswith("sha256:")

    async def story() -> None:
        for names, more, words in (
            ((), {}, ""),
            (("elsewhere.test",), {}, "for another name"),
            ((), {"not_after": wall_clock() - dt.timedelta(hours=1)}, "has expired"),
        ):
            context = pki.server("server", *names, **more)
            text = (pki.place / "server.pem").read_text()
            leaf = ssl.PEM_cert_to_DER_cert(
                text[text.index("-----BEGIN CERT") :].split("-----END")[0] + "-----END CERTIFICATE-----"
            )
            async with listening(context) as server:
                ca = pki.pem if known_by == "ca and pin" else ""
                dialler = Dialler(far(server.port, ca=ca, pins=(OTHER, spki(leaf))), lookup=here())
                if words:
                    assert words in await refused(dialler)
                    assert server.requests == []
                else:
                    assert b"echo" in await post(dialler)

    run(story, loop)


@both_loops
def test_client_certificate_is_shown_and_its_lack_is_said(pki: Pki, loop: str) -> None:
    mine = str(pki.issue("mine", "me@example.org"))
    other = str(pki.issue("other", "me@example.org", ca=trustme.CA()))

    async def story() -> None:
        async with listening(pki.server(clients=True)) as server:
            good = far(server.port, ca=pki.pem, client_cert=mine, client_key=mine)
            assert b"echo" in await post(Dialler(good, lookup=here()))
            shown = server.requests[0].writer.get_extra_info("ssl_object").getpeercert()
            assert ("email", "me@example.org") in shown["subjectAltName"]
            for remote in (
                far(server.port, ca=pki.pem),
                far(server.port, ca=pki.pem, client_cert=other, client_key=other),
            ):
                with pytest.raises(UpstreamError):
                    await post(Dialler(remote, lookup=here()))
            assert len(server.requests) == 1

    run(story, loop)


@pytest.mark.parametrize("fault", ["absent", "another key", "encrypted", "text"])
def test_client_certificate_that_cannot_be_used_is_said(pki: Pki, fault: str) -> None:
    certificate = key = pki.issue("mine")
    if fault == "absent":
        certificate = key = pki.place / "nothing.pem"
    elif fault == "another key":
        key = pki.issue("other")
    elif fault == "text":
        key = pki.place / "key.pem"
        key.write_text("hello")
    else:
        key = pki.place / "locked.pem"
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", key],
            check=True,
        )
    remote = far(1, ca=pki.pem, client_cert=str(certificate), client_key=str(key))

    async def story() -> None:
        with pytest.raises(TrustError, match="cannot be used"):
            await Dialler(remote, lookup=here()).session()

    run(story)


@pytest.mark.parametrize(
    ("options", "shown", "words"),
    [
        (("-tls1_3",), "", ""),
        (("-tls1_2",), "", "does not speak TLS 1.3"),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "", "does not speak TLS 1.3"),
        (("-tls1_3", "-Verify", "2", "-verify_return_error"), "mine", ""),
        (("-tls1_3", "-Verify", "2", "-verify_return_error"), "", "wants a certificate of ours"),
        (("-tls1_3", "-Verify", "2", "-verify_return_error"), "other", "does not accept our certificate"),
    ],
)
def test_69_stranger_is_reached_or_refused(
    pki: Pki, options: tuple[str, ...], shown: str, words: str
) -> None:
    """`openssl s_server`: a TLS stack that is not ours, and says why."""
    openssl = shutil.which("openssl")
    assert openssl
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = pki.issue("server")
    certificates = {"mine": pki.issue("mine"), "other": pki.issue("other", ca=trustme.CA())}
    client = str(certificates.get(shown, ""))
    command = [
        openssl,
        "s_server",
        "-accept",
        str(port),
        "-cert",
        file,
        "-cert_chain",
        file,
        "-key",
        file,
        "-www",
    ]
    with subprocess.Popen(
        [*command, "-CAfile", pki.ca_file, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        while b"ACCEPT" not in process.stdout.readline():
            assert process.poll() is None

        async def story() -> None:
            remote = far(port, ca=pki.pem, client_cert=client, client_key=client)
            assert b"TLSv1.3" in await post(Dialler(remote, lookup=here()), method="GET", most=100_000)

        try:
            if words:
                with pytest.raises(TrustError, match=words):
                    run(story)
            else:
                run(story)
        finally:
            process.kill()


# --- which address -----------------------------------------------------------------------------------------------


@both_loops
@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"https://{NAME}:1/mcp", "127.0.0.1"), (f"https://{NAME}:1/mcp", "169.254.169.254"),
        (f"https://{NAME}:1/mcp", "::ffff:10.0.0.1"), (f"https://{NAME}:1/mcp", "fe80::1%lo"),
        ("https://127.0.0.1:1/mcp", ""), ("https://[::1]:1/mcp", ""), ("https://169.254.169.254/mcp", ""),
    ],
)  # fmt: skip
def test_address_that_nobody_named_is_refused(pki: Pki, loop: str, url: str, address: str) -> None:
    async def story() -> None:
        if address:
            dialler = Dialler(Remote(url, ca=pki.pem), lookup=here(address))
        else:
            dialler = Dialler(Remote(url, ca=pki.pem))
        assert "--allow-network" in await refused(dialler)

    run(story, loop)


def test_rebinding_name_is_resolved_once_for_each_connection_and_judged_each_time(pki: Pki) -> None:
    """The second answer of the resolver is a private address; it is never connected to."""

    async def story() -> None:
        async with listening(pki.server()) as server:
            asked: list[str] = []
            addresses = ["127.0.0.1", "127.0.0.1", "127.0.0.2"]

            async def lookup(host: str, port: int) -> list[tuple[int, str]]:
                asked.append(host)
                return [(socket.AF_INET, addresses[min(len(asked), 3) - 1])]

            remote = far(server.port, ca=pki.pem, networks=("127.0.0.1/32",))
            dialler = Dialler(remote, lookup=lookup)
            async with await dialler.session() as session:
                for _ in range(3):
                    async with dialler.request(session, "POST", data=b'{"id":1,"method":"ping"}') as found:
                        await found.read()
                assert len(asked) == 2  # one connection to look, one for all three requests
                await session.connector.close()  # type: ignore[union-attr]
            async with await Dialler(remote, lookup=lookup).session(eager=False) as session:
                with pytest.raises(aiohttp.ClientError) as caught:
                    await dialler.request(session, "POST")
            assert "resolves to where it may not be: 127.0.0.2" in told(caught.value, dialler.target).message
            assert asked == [NAME] * 3

    run(story)


def test_address_is_judged_again_where_the_socket_is_made(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the judgement of what a name resolves to, the one at the socket still holds."""

    async def careless(self: Dialler, host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(Dialler, "addresses", careless)

    async def story() -> None:
        async with listening(pki.server()) as server:
            sentence = await refused(Dialler(far(server.port, ca=pki.pem, networks=())))
            assert "127.0.0.1 is a loopback address" in sentence
            assert server.connections == 0

    run(story)


def test_proxy_of_the_environment_means_nothing(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with listening(None) as proxy, listening(pki.server()) as server:
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert b"echo" in await post(Dialler(far(server.port, ca=pki.pem), lookup=here()))
            assert proxy.connections == 0

    run(story)


@both_loops
def test_proxy_of_the_manifest_tunnels(pki: Pki, loop: str) -> None:
    async def story() -> None:
        async with listening(None) as proxy, listening(pki.server()) as server:

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked = await reader.readuntil(b"\r\n\r\n")
                assert asked.startswith(f"CONNECT {NAME}:{server.port} ".encode())
                inward, outward = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    await asyncio.gather(_copy(reader, outward), _copy(inward, writer))
                finally:
                    outward.transport.abort()

            proxy.raw = tunnel
            remote = far(server.port, ca=pki.pem, proxy=f"http://127.0.0.1:{proxy.port}")
            assert b"echo" in await post(Dialler(remote, lookup=here()))
            assert proxy.connections == 1
            another = far(server.port, ca=trustme_pem(), proxy=remote.proxy)
            with pytest.raises(TrustError, match="not signed by the CA"):
                await post(Dialler(another, lookup=here()))

    run(story, loop)


def trustme_pem() -> str:
    return trustme.CA().cert_pem.bytes().decode()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    ("lookup_fails", "words"),
    [(socket.gaierror(-2, "Name or service not known"), "does not resolve"), (None, "cannot be reached")],
)
def test_server_that_is_not_there_is_said(pki: Pki, lookup_fails: OSError | None, words: str) -> None:
    async def lookup(host: str, port: int) -> list[tuple[int, str]]:
        if lookup_fails:
            raise lookup_fails
        return [(socket.AF_INET, "127.0.0.1")]

    async def story() -> None:
        assert words in await refused(Dialler(far(1, ca=pki.pem), lookup=lookup), UpstreamError)

    run(story)


def test_server_that_does_not_shake_hands_is_given_up(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOTE_CONNECT_SECONDS", 0.2)

    async def story() -> None:
        async with listening(None) as server:

            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read()

            server.raw = silent
            with pytest.raises(UpstreamError, match="does not answer in time"):
                await post(Dialler(far(server.port, ca=pki.pem), lookup=here()))

    run(story)


# --- Unix sockets ------------------------------------------------------------------------------------------------


@both_loops
def test_unix_socket_of_our_own_is_used(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        path = str(tmp_path / "s")
        async with listening(None, path) as server:
            assert b"echo" in await post(Dialler(Remote(f"http+unix:{path}:/x")))
            assert server.requests[0].fields["host"] == "localhost"

    run(story, loop)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0: a second uid listens")
def test_unix_socket_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from uid 1000, a listener of uid 1001 is neither ours nor root's."""
    place = Path(f"/tmp/u{os.getpid()}")
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    program = (
        "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(1,flush=True)\n"
        "while True:\n c,_=s.accept()\n print(c.recv(9),flush=True)"
    )
    try:
        with subprocess.Popen(
            [
                "setpriv",
                "--reuid=1001",
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                program,
                str(place / "s"),
            ],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"1\n"
            try:

                async def story() -> None:
                    dialler = Dialler(Remote(f"http+unix:{place / 's'}"))
                    with pytest.raises(GuardError, match="belongs to uid 1001"):
                        await post(dialler)

                run(story)
                assert process.stdout.readline() == b"b''\n"  # nothing was sent
            finally:
                process.kill()
    finally:
        shutil.rmtree(place)


# --- 73: answers -------------------------------------------------------------------------------------------------


GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@both_loops
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD, ""),
        (
            GOOD.replace(b"\r\n\r\n", b"\r\ncontent-type: text/event-stream\r\n\r\n", 1),
            "content-type came twice",
        ),
        (GOOD.replace(b"\r\n\r\n", b"\r\nmcp-session-id: a\r\nmcp-session-id: b\r\n\r\n", 1), "came twice"),
        (GOOD.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\n", 1), "not HTTP"),
        (GOOD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n", 1), "not HTTP"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nx: a\r\n b\r\n\r\n", 1), "folded"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nx: a\x00b\r\n\r\n", 1), "not HTTP"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nx : a\r\n\r\n", 1), "not HTTP"),
        (GOOD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n", 1), "compressed"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nx: " + b"a" * 9000 + b"\r\n\r\n", 1), "not HTTP"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nx: a" * 80 + b"\r\n\r\n", 1), "header fields"),
        (GOOD.replace(b"content-length: 2", b"content-length: 2000"), "more than 1000 bytes"),
        (GOOD.replace(b"content-length: 2", b"content-length: +2"), "not HTTP"),
        (answer(200, "x" * 2000), "more than 1000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n",
            "more than 1000 bytes",
        ),
        (answer(307, location="http://169.254.169.254/latest/"), "redirect"),
        (b"HTTP/1.1 301 X\r\nlocation: https://elsewhere.test/\r\nlocation: /\r\n\r\n", "came twice"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP"),
        (b"", "broke the connection"),
    ],
)
def test_73_answer_that_readers_disagree_about_is_refused(
    pki: Pki, loop: str, data: bytes, words: str
) -> None:
    async def story() -> None:
        async with listening(pki.server()) as server:

            async def say(request: remotes.Request) -> bytes:
                await request.send(data)
                return b""

            server.handler = say
            dialler = Dialler(far(server.port, ca=pki.pem), lookup=here())
            if not words:
                assert await post(dialler) == b"{}"
                return
            with pytest.raises(GuardError) as caught:
                await post(dialler)
            assert words in caught.value.message
            assert len(server.requests) == 1  # a redirect was not followed, and nothing was tried again

    run(story, loop)


def test_head_error_is_one_sentence() -> None:
    target = Remote("https://a.test/x", ca="system").target
    error = told(HeadError("a compressed body"), target)
    assert error.sentence() == "the server at a.test:443 answers with a compressed body: ask its owner"
