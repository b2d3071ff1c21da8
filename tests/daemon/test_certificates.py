"""The keeper of certificates over real sockets: who is let in, what is refused, renewal and revocation while calls run."""

import asyncio
import contextlib
import datetime as dt
import gc
import socket
import ssl
import subprocess
import time
import warnings

import pytest
import trustme
import uvloop

from mcpguard import limits
from mcpguard.credentials.presented import Authenticated
from mcpguard.daemon import tlscontext
from mcpguard.daemon.privatekeys import load_key
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import SERVER, fingerprint, read
from mcpguard.identity.certregistry import Imported
from mcpguard.identity.pathcheck import utc
from mcpguard.system.certstore import ROOT
from tests.daemon.certplace import DAY, DOMAIN, HOUR, NOW, Place, der_of, openssl, print_of, quiet, root_of

SECONDS = 20.0


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "certificates")


@pytest.fixture
def today(tmp_path):
    """With the clock of this machine: OpenSSL asks no other."""
    return Place(tmp_path / "certificates", time.time())


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request):
    with asyncio.Runner(loop_factory=request.param) as made:
        quiet(made.get_loop())
        yield made


class Echo:
    """A listener that answers each line with the number of the certificate that it was shown, and the line."""

    def __init__(self, place, context):
        self.place, self.context = place, context
        self.met, self.writers = [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        self.writers.append(writer)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if shown is not None:
            self.met.append(self.place.keeper.identify(shown))
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()

    async def call(self, context, host="localhost"):
        """One line there and back over a new connection."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=host
        )
        try:
            writer.write(b"hello\n")
            await writer.drain()
            return await asyncio.wait_for(reader.readline(), SECONDS)
        finally:
            writer.close()


async def refused(echo, context, host="localhost") -> str:
    """What a caller is told that gets no answer; in TLS 1.3 a client learns of it with its first read."""
    try:
        answer = await echo.call(context, host)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError) as error:
        return str(error) or type(error).__name__
    assert answer == b"", "an answer came"
    return "closed"


def test_both_sides_know_each_other(runner, today):
    today.server()
    alice = today.issue("alice")

    async def story():
        async with Echo(today, today.keeper.listener("guard")) as echo:
            context = today.keeper.remote("guard", "localhost", own="alice")
            assert await echo.call(context) == b"hello\n"
            (met,) = echo.met
        assert met == Authenticated(
            principals=frozenset({f"cert:mcpguard://{DOMAIN}/alice"}),
            evidence={
                "certificate": print_of(alice), "serial": read(alice.der).serial, "authority": "ours", "name": "alice",
                "names": [f"mcpguard://{DOMAIN}/alice"], "until": utc(read(alice.der).ends),
            },
            expires=read(alice.der).ends,
            instance="cert:alice",
        )  # fmt: skip
        assert today.keeper.still_valid(print_of(alice)) == ""
        assert today.keeper.last_used(print_of(alice)) == today.now

    runner.run(story())
    assert today.refused == []


def test_69_wrong_authority_expired_wrong_name_wrong_pin(runner, today, tmp_path):
    """security.md 5.5, 69: what a remote server may show, and what it gets."""
    stranger = trustme.CA()
    ends = dt.datetime.fromtimestamp(today.now - HOUR, dt.UTC)
    today.server()
    other = trustme.CA()
    today.authority.trust(Imported("corp", root_of(other), (), ("dns:localhost", "dns:corp.example")), "me")
    today.keeper.changed()
    expired = other.issue_cert("localhost", not_after=ends, not_before=ends - dt.timedelta(days=1))
    named = other.issue_cert("files.corp.example")
    pinned = other.issue_cert("localhost")
    today.authority.pin("files", der_of(pinned), "me")
    today.keeper.changed()
    cases = [
        (stranger.issue_cert("localhost"), "guard", "certificate verify failed"),
        (expired, "guard", "certificate has expired"),
        (named, "guard", "the certificate is for 'files.corp.example', not for 'localhost'"),
        (other.issue_cert("localhost"), "files", "is not one that is pinned for it"),
    ]

    async def story():
        for made, server, why in cases:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.configure_cert(context)
            async with Echo(today, context) as echo:
                told = await refused(echo, today.keeper.remote(server, "localhost"))
                assert why in told
                assert echo.met == []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pinned.configure_cert(context)
        async with Echo(today, context) as echo:
            assert await echo.call(today.keeper.remote("files", "localhost")) == b"hello\n"

    runner.run(story())
    assert [server for server, _ in today.refused] == [
        "guard",
        "files",
    ]  # OpenSSL refuses the others before us


def old(context, version):
    """The same, speaking this version of TLS alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_69_tls_1_2_and_older(runner, today, tmp_path, version):
    """security.md 5.5, 69: older versions are refused in both directions, although the other side would take them."""
    today.server()
    today.issue("alice")
    server = old(today.context(tmp_path, "guard", SERVER), version)
    client = old(today.context(tmp_path, "alice"), version)

    async def story():
        async with Echo(today, server) as echo:
            assert await echo.call(client) == b"hello\n"
            assert await refused(echo, today.keeper.remote("guard", "localhost", own="alice"))
        async with Echo(today, today.keeper.listener("guard")) as echo:
            assert await refused(echo, client)
            assert echo.met == []

    runner.run(story())


def test_71_a_public_authority_is_nobody(runner, today, tmp_path):
    """security.md 5.5, 71: a certificate that the machine's own store would accept is refused all the same."""
    public = trustme.CA(organization_name="A public authority")
    store = tmp_path / "store.pem"
    store.write_bytes(public.cert_pem.bytes())
    today.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    public.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context(cafile=store)

    async def story(monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(store))
        async with Echo(today, context) as echo:
            assert await echo.call(trusting) == b"hello\n"  # as any other client would
            assert "verify failed" in await refused(echo, today.keeper.remote("guard", "localhost"))

    with pytest.MonkeyPatch.context() as monkeypatch:
        runner.run(story(monkeypatch))


def test_clients_that_are_refused(runner, today, tmp_path):
    """No certificate, a stranger's, one for servers, one that was revoked, one that is not in the registry."""
    today.server()
    today.issue("alice")
    today.issue("mallory")
    copy = Place(tmp_path / "copy", today.now, made=False)
    stolen = today.store.directory
    for path in stolen.iterdir():
        copy.store.directory.mkdir(mode=0o700, exist_ok=True)
        target = copy.store.directory / path.name
        target.write_bytes(path.read_bytes())
        target.chmod(0o600)
    copy.keeper.changed()
    copy.issue("eve")
    gone = today.context(tmp_path, "mallory")
    today.authority.revoke("mallory", "key-compromise", "me")
    today.keeper.changed()
    stranger = today.context(tmp_path)
    trustme.CA().issue_cert("localhost").configure_cert(stranger)
    eve = today.context(tmp_path)
    eve.load_cert_chain(*copy.files(tmp_path, "eve"))
    cases = {
        "none": today.context(tmp_path),
        "stranger": stranger,
        "server": today.context(tmp_path, "guard"),
        "revoked": gone,
        "stolen": eve,
    }

    async def story():
        async with Echo(today, today.keeper.listener("guard")) as echo:
            for context in cases.values():
                assert await refused(echo, context)
            assert echo.met == []
            assert await echo.call(today.context(tmp_path, "alice")) == b"hello\n"

    runner.run(story())
    told = [why for _, why in today.refused]
    assert [
        word in why for word, why in zip(("was revoked at", "is not in the registry"), told, strict=True)
    ] == [True, True], told
    assert utc(today.now) in told[0]
    assert "key-compromise" in told[0]


def test_a_client_may_come_without_a_certificate_where_it_need_not_have_one(runner, today, tmp_path):
    today.server()

    async def story():
        async with Echo(today, today.keeper.listener("guard", required=False)) as echo:
            assert await echo.call(today.context(tmp_path)) == b"hello\n"
            assert echo.met == []
            stranger = today.context(tmp_path)
            trustme.CA().issue_cert("localhost").configure_cert(stranger)
            assert await refused(echo, stranger)

    runner.run(story())


def test_70_revoked_while_connected(runner, today):
    """security.md 5.5, 70: whoever holds the connection is told at once, and any later question says so."""
    today.server()
    alice, bob = today.issue("alice"), today.issue("bob")
    told = []
    stop = today.keeper.watch(lambda *revoked: told.append(revoked))

    async def story():
        async with Echo(today, today.keeper.listener("guard")) as echo:
            for name in ("alice", "bob"):
                assert await echo.call(today.keeper.remote("guard", "localhost", own=name)) == b"hello\n"
            today.authority.revoke("alice", "superseded", "me")
            today.keeper.changed()

    runner.run(story())
    ((certificate, why),) = told
    assert certificate == print_of(alice)
    assert why.startswith(f"the certificate was revoked at {utc(today.now)} (superseded)")
    assert today.keeper.still_valid(print_of(alice)) == why
    assert today.keeper.still_valid(print_of(bob)) == ""
    stop()
    today.authority.revoke("bob", "superseded", "me")
    today.keeper.changed()
    assert len(told) == 1


def test_what_else_ends_a_connection(place):
    """An authority that is forgotten, an intermediate that is retired, a certificate that ends."""
    corp = trustme.CA()
    place.authority.trust(Imported("corp", root_of(corp), (), ("dns:corp.example",)), "me")
    place.keeper.changed()
    begins = dt.datetime.fromtimestamp(place.now - DAY, dt.UTC)
    theirs = der_of(
        corp.issue_cert("a.corp.example", not_before=begins, not_after=begins + dt.timedelta(days=400))
    )
    alice = place.issue("alice")
    told = []
    place.keeper.watch(lambda certificate, _why: told.append(certificate))
    assert place.keeper.identify(theirs).principals == {"cert:a.corp.example"}
    place.keeper.identify(alice.der)
    place.authority.forget("corp", "me")
    place.keeper.changed()
    assert told == [fingerprint(theirs)]
    assert "leads to no authority" in place.keeper.still_valid(fingerprint(theirs))
    place.authority.renew_intermediate(load_key(place.store.key(ROOT, "word")), DAY, "me", retire=True)
    place.keeper.changed()
    assert told == [fingerprint(theirs), print_of(alice)]
    assert place.keeper.still_valid("ab" * 32) == "the certificate is not known any more"


def test_a_certificate_that_ends_while_connected(place):
    alice = place.issue("alice", seconds=HOUR)
    place.keeper.identify(alice.der)
    place.now += HOUR
    assert place.keeper.still_valid(print_of(alice)) == ""
    place.now += 1
    assert place.keeper.still_valid(print_of(alice)) == (
        f"the certificate holds from {utc(NOW - 300)} to {utc(NOW + HOUR)}, and it is {utc(NOW + HOUR + 1)}"
    )
    with pytest.raises(TrustError, match="expired at"):
        place.keeper.identify(alice.der)
    place.now = NOW - DAY  # the clock is set back
    with pytest.raises(TrustError, match="is not valid before"):
        place.keeper.identify(alice.der)


# --- renewal --------------------------------------------------------------------------------------------


def renewed_by_tick(place) -> None:
    async def tick():
        place.keeper.tick()
        await asyncio.sleep(0)

    asyncio.run(tick())


def test_renewal_at_two_thirds_of_life(place):
    first = place.server(seconds=24 * HOUR)
    place.now = NOW + 16 * HOUR - 1
    renewed_by_tick(place)
    assert place.keeper.registry.current("guard") == first
    place.now += 10
    renewed_by_tick(place)
    second = place.keeper.registry.current("guard")
    assert second.der != first.der
    assert read(second.der).pin != read(first.der).pin
    assert read(second.der).ends == NOW + 40 * HOUR + 9
    assert [event for event in place.events() if event in ("issue", "renew")] == ["issue", "renew"]
    assert place.records[-1][1]["by"] == "daemon"


def test_the_one_before_counts_until_it_ends(place):
    first = place.issue("alice")
    place.authority.renew("alice", "me")
    place.keeper.changed()
    second = place.keeper.registry.current("alice")
    for each in (first, second):
        assert place.keeper.identify(each.der).instance == "cert:alice"
    place.now += DAY + 1
    with pytest.raises(TrustError, match="expired"):
        place.keeper.identify(first.der)
    place.authority.renew("alice", "me")
    place.keeper.changed()
    place.authority.revoke("alice", "unspecified", "me")  # the name: every one of it
    place.keeper.changed()
    for each in place.keeper.registry.entries:
        with pytest.raises(TrustError, match="revoked"):
            place.keeper.identify(each.der)


def test_renewal_with_100_live_connections_fails_no_call(runner, today):
    """Both sides are renewed thrice while 100 connections call without a pause, and others come and go."""
    today.server()
    today.issue("alice")
    first = today.keeper.registry.current("guard")
    calls, shown = [0] * 100, set()

    async def story():
        listener = today.keeper.listener("guard")
        context = today.keeper.remote("guard", "localhost", own="alice")
        async with Echo(today, listener) as echo:
            stop = asyncio.Event()

            async def steady(number):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", echo.port, ssl=context, server_hostname="localhost"
                )
                mine = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                while not stop.is_set():
                    writer.write(b"%d\n" % number)
                    assert await asyncio.wait_for(reader.readline(), SECONDS) == b"%d\n" % number
                    calls[number] += 1
                assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == mine
                writer.close()

            async def passing():
                while not stop.is_set():
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", echo.port, ssl=context, server_hostname="localhost"
                    )
                    shown.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
                    writer.write(b"new\n")
                    assert await asyncio.wait_for(reader.readline(), SECONDS) == b"new\n"
                    writer.close()

            async def until(what):
                async with asyncio.timeout(SECONDS):
                    while not what():
                        await asyncio.sleep(0.005)

            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(steady(number))
                group.create_task(passing())
                await until(lambda: min(calls) >= 3 and shown)
                for many in range(1, 4):
                    for name in ("guard", "alice"):
                        today.authority.renew(name, "daemon")
                    today.keeper.changed()
                    now = list(calls)
                    newest = today.keeper.registry.current("guard").der
                    await until(
                        lambda newest=newest, now=now: (
                            newest in shown and all(b > a + 1 for a, b in zip(now, calls, strict=True))
                        )
                    )
                    assert len(shown) >= many + 1
                stop.set()

    runner.run(story())
    assert first.der in shown
    assert today.refused == []


def test_a_context_that_nobody_uses_is_let_go(place):
    place.server()
    place.keeper.listener("guard")
    gc.collect()
    place.authority.renew("guard", "me")
    place.keeper.changed()
    assert place.keeper._contexts == []


# --- revocation lists -----------------------------------------------------------------------------------


def test_the_list_is_signed_anew_before_it_ends(place):
    assert place.keeper.registry.authority.number == 1
    for _ in range(3):
        place.now += limits.CRL_SECONDS / 2
        renewed_by_tick(place)
    assert place.keeper.registry.authority.number == 4
    assert place.keeper.registry.authority.listed == place.now
    assert place.events().count("list") == 3


def others_list(directory, ca_dir, number, *, revoke=None):
    """A revocation list made by openssl for an authority made by openssl."""
    (ca_dir / "number").write_text(f"{number:02X}\n")
    if revoke is not None:
        done = openssl("ca", "-config", ca_dir / "ca.cnf", "-revoke", revoke)
        assert done.returncode == 0, done.stderr
    done = openssl("ca", "-config", ca_dir / "ca.cnf", "-gencrl", "-out", directory)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def corp(tmp_path):
    """An authority that openssl runs: root, and certificates of clients."""
    place = tmp_path / "corp"
    place.mkdir()
    (place / "index").touch()
    (place / "ca.cnf").write_text(f"""
[ca]
default_ca = corp
[corp]
database = {place}/index
crlnumber = {place}/number
serial = {place}/serial
new_certs_dir = {place}
certificate = {place}/root.pem
private_key = {place}/root.key
default_md = sha256
default_crl_days = 3
default_days = 3
policy = any
copy_extensions = copy
unique_subject = no
crl_extensions = crl
x509_extensions = leaf
[any]
commonName = supplied
[crl]
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
""")
    (place / "serial").write_text("1001\n")
    made = openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-keyout", place / "root.key", "-out", place / "root.pem", "-subj", "/CN=corp root",
        "-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for name in ("ann", "ben"):
        made = openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", place / f"{name}.key",
            "-out", place / f"{name}.csr", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}.corp.example",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        made = openssl(
            "ca", "-config", place / "ca.cnf", "-batch", "-notext", "-in", place / f"{name}.csr", "-out",
            place / f"{name}.crt",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    return place


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_lists_of_another_authority(today, corp, tmp_path):
    today.now = time.time() + 2  # openssl has made its certificates since
    path = tmp_path / "corp.crl"
    others_list(path, corp, 7)
    today.authority.trust(
        Imported("corp", der(corp / "root.pem"), (), ("dns:corp.example",), str(path)), "me"
    )
    told = []
    today.keeper.watch(lambda certificate, why: told.append(certificate))

    def look():
        asyncio.run(today.keeper.look())

    today.keeper.changed()
    look()
    ann, ben = der(corp / "ann.crt"), der(corp / "ben.crt")
    for each in (ann, ben):
        today.keeper.identify(each)
    assert today.keeper.registry.imported[0].number == 7
    others_list(path, corp, 8, revoke=corp / "ann.crt")
    look()
    assert told == [fingerprint(ann)]
    with pytest.raises(TrustError, match=r"was revoked at .* by its authority 'corp'"):
        today.keeper.identify(ann)
    assert today.keeper.still_valid(fingerprint(ben)) == ""
    fresh = path.read_bytes()
    for what, why in [
        (lambda: others_list(path, corp, 5), "went back, from number 8 to 5"),
        (lambda: path.write_bytes(b"nothing"), "is not a revocation list"),
        (
            lambda: path.write_bytes(today.keeper.registry.authority.revocations[0]),
            "is not signed by the authority",
        ),
        (path.unlink, "cannot be read"),
    ]:
        what()
        look()
        with pytest.raises(TrustError, match=why):
            today.keeper.identify(ben)
        assert why in today.keeper.faults()["corp"]
    path.write_bytes(fresh)
    look()
    assert today.keeper.identify(ben).principals == {"cert:ben.corp.example"}
    today.now += 4 * DAY
    look()
    with pytest.raises(TrustError, match=r"ran out|expired"):
        today.keeper.identify(ben)
    assert "ran out" in today.keeper.faults()["corp"]


# --- last use -------------------------------------------------------------------------------------------


def test_last_use_is_written_once_a_minute_and_at_the_end(place):
    alice = place.issue("alice")
    assert place.keeper.last_used(print_of(alice)) == 0.0
    renewed_by_tick(place)
    place.keeper.identify(alice.der)
    renewed_by_tick(place)
    first = place.now
    place.now += 61
    place.keeper.identify(alice.der)
    assert place.store.last_used() in ({}, {print_of(alice): first})
    renewed_by_tick(place)
    assert place.store.last_used() == {print_of(alice): first + 61}
    place.now += 5
    place.keeper.identify(alice.der)
    place.keeper.close()
    assert place.store.last_used() == {print_of(alice): first + 66}


# --- strangers ------------------------------------------------------------------------------------------


class Stranger:
    """`openssl s_server` on a port of its own."""

    def __init__(self, *words):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.child = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-rev", *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    async def ready(self):
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def end(self):
        self.child.terminate()
        return self.child.communicate(timeout=SECONDS)[0]


def test_openssl_s_server_is_called(runner, today, tmp_path):
    today.server()
    today.issue("alice")
    chain, key = today.files(tmp_path, "guard")
    root = today.root(tmp_path)
    stranger = Stranger(
        "-cert",
        chain,
        "-cert_chain",
        chain,
        "-key",
        key,
        "-CAfile",
        root,
        "-Verify",
        "4",
        "-verify_return_error",
    )

    async def story():
        await stranger.ready()
        context = today.keeper.remote("guard", "localhost", own="alice")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", stranger.port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"abc\n")
        assert await asyncio.wait_for(reader.readline(), SECONDS) == b"cba\n"
        writer.close()
        anonymous = today.keeper.remote("guard", "localhost")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", stranger.port, ssl=anonymous, server_hostname="localhost"
        )
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            writer.write(b"abc\n")
            assert await reader.readline() == b""
        writer.close()

    try:
        runner.run(story())
    finally:
        said = stranger.end()
    assert "TLSv1.3" in said


async def _run(*words):
    child = await asyncio.create_subprocess_exec(
        *map(str, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return child, *(await asyncio.wait_for(child.communicate(b"hello\nQ\n"), SECONDS))


def test_openssl_s_client_and_curl_call(today, tmp_path):
    today.server()
    today.issue("alice")
    chain, key = today.files(tmp_path, "alice")
    root = today.root(tmp_path)
    guard = read(today.keeper.registry.current("guard").der)

    async def web(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
            await writer.drain()
        writer.close()

    async def story():
        quiet(asyncio.get_running_loop())
        async with Echo(today, today.keeper.listener("guard")) as echo:
            at = f"127.0.0.1:{echo.port}"
            child = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", at, "-servername", "localhost", "-CAfile", root, "-cert", chain,
                "-key", key, "-verify_return_error", "-verify_hostname", "localhost", "-quiet",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            child.stdin.write(b"hello\n")
            assert await asyncio.wait_for(child.stdout.readline(), SECONDS) == b"hello\n"
            child.terminate()
            await child.communicate()
            child, out, said = await _run(
                "openssl",
                "s_client",
                "-connect",
                at,
                "-CAfile",
                root,
                "-tls1_2",
                "-cipher",
                "ALL:@SECLEVEL=0",
            )
            assert (child.returncode != 0, b"Cipher is (NONE)" in out) == (True, True), said
        server = await asyncio.start_server(web, "127.0.0.1", 0, ssl=today.keeper.listener("guard"))
        port = server.sockets[0].getsockname()[1]
        url = [
            "curl",
            "-sS",
            "-q",
            "--noproxy",
            "*",
            f"https://localhost:{port}/",
            "--resolve",
            f"localhost:{port}:127.0.0.1",
        ]
        mine = [*url, "--cacert", root, "--cert", chain, "--key", key]
        child, out, said = await _run(*mine, "--tlsv1.3", "--pinnedpubkey", guard.pin)
        assert (child.returncode, out) == (0, b"yes"), said
        child, _, _ = await _run(*mine, "--pinnedpubkey", read(today.keeper.registry.authority.root).pin)
        assert child.returncode == 90  # the pin does not match
        child, out, _ = await _run(*url, "--cacert", root)
        assert (child.returncode != 0, out) == (True, b"")
        server.close()
        await server.wait_closed()

    asyncio.run(story())


def test_whoever_takes_the_check_away_lets_a_thief_in(runner, today, tmp_path, monkeypatch):
    """That the handshake's check is what refuses: without it the revoked client of above would get an answer."""
    today.server()
    today.issue("mallory")
    gone = today.context(tmp_path, "mallory")
    today.authority.revoke("mallory", "unspecified", "me")
    today.keeper.changed()
    monkeypatch.setattr(tlscontext, "_look", lambda *_: None)

    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def story():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=today.keeper.listener("guard"))
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=gone, server_hostname="localhost"
        )
        writer.write(b"in\n")
        assert await reader.readline() == b"in\n"
        writer.close()
        server.close()

    runner.run(story())
