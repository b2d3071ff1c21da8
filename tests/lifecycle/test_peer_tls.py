"""TLS listeners: strangers (`openssl s_client`, `curl`), certificates of every wrong kind, another machine.

Numbers in names are those of the penetration-test plan.
"""

import datetime as dt
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from mcpguard.system.truststore import wall_clock
from tests.lifecycle.land import Land
from tests.lifecycle.peers import BOTH, MODERN, Authority, Peer, Served, talking
from tests.lifecycle.stage import MCPGUARD, until

POLICY = """\
version = 1
mode = "enforce"
[[rule]]
id = "build"
who = ["cert:build-agent", "spiffe://guard.example/ci/build"]
server = "talk"
tools = ["now", "hang"]
effect = "allow"
[[rule]]
id = "boss"
who = ["cert:boss@guard.example"]
server = "*"
tools = ["*"]
effect = "allow"
"""


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        made.found()
        made.policy(POLICY)
        talking(made)
        yield made


@pytest.fixture(scope="module")
def authority(land: Land) -> Authority:
    return Authority(land.root)


@pytest.fixture(scope="module")
def port(land: Land, authority: Authority) -> Iterator[int]:
    words = ("--listen", "tls:127.0.0.1:0", "--name", "net", "--recheck", "1s", *authority.words)
    with Served(land, *words) as served:
        yield served.port


def refusals(land: Land) -> list[str]:
    return [str(each.get("reason")) for each in land.records() if each.get("event") == "refused"]


def test_a_certificate_is_its_holder(land: Land, port: int, authority: Authority) -> None:
    with Peer(port, tls=authority.client("build-agent")) as peer:
        peer.greet()
        names = [
            tool["name"]
            for tool in peer.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).message()["result"][
                "tools"
            ]
        ]
        assert names == ["now", "hang"]
        assert "content" in peer.call(2, "now").message()["result"]
        assert "Unknown tool" in json.dumps(peer.call(3, "big").message())
        peer.send("DELETE").drained()
    found = until(
        lambda: [each for each in land.records() if each["type"] == "call" and each.get("tool") == "now"]
    )
    host = found[-1]["host"]
    assert (host["principal"], host["network"], host["grade"]) == ("cert:build-agent", "127.0.0.1", "G0")
    assert len(host["certificate"]) == 64


def test_a_spiffe_id_and_a_mail_address_are_principals(land: Land, port: int, authority: Authority) -> None:
    with Peer(
        port, tls=authority.made(x509.UniformResourceIdentifier("spiffe://guard.example/ci/build"))
    ) as peer:
        assert peer.modern(1, "tools/call", {"name": "now", "arguments": {}}).drained() == 200
    with Peer(port, tls=authority.client("boss@guard.example")) as peer:
        assert "result" in peer.modern(1, "tools/call", {"name": "big", "arguments": {}}).json()
    with Peer(port, tls=authority.client("somebody-else")) as peer:
        assert peer.modern(1, "tools/list").json()["result"]["tools"] == []


def test_a_renewed_certificate_of_the_same_name_goes_on_with_its_session(
    port: int, authority: Authority
) -> None:
    with Peer(port, tls=authority.client("build-agent")) as peer:
        peer.greet()
        with (
            Peer(port, tls=authority.client("build-agent")) as renewed,
            Peer(port, tls=authority.client("boss@guard.example")) as boss,
        ):
            renewed.session = boss.session = peer.session
            assert renewed.call(2, "now").drained() == 200
            assert boss.call(3, "now").status == 404  # the session of somebody else, however mighty it is
            assert renewed.send("DELETE").drained() == 204


# --- 69: what is refused in the handshake ----------------------------------------------------------------------


def fails(port: int, context: ssl.SSLContext) -> None:
    """A handshake that does not come to a request: in TLS 1.3 a client hears of it with its first read."""
    with Peer(port, tls=context) as peer, pytest.raises((ssl.SSLError, ConnectionError)):
        peer.greet()


def test_69_no_certificate(land: Land, port: int, authority: Authority) -> None:
    fails(port, authority.client())
    assert until(
        lambda: any("TLS handshake failed" in each and "certificate" in each for each in refusals(land))
    )


def test_69_wrong_ca(port: int, authority: Authority) -> None:
    fails(port, authority.client("build-agent", ca=trustme.CA()))


def test_69_expired(port: int, authority: Authority) -> None:
    past = wall_clock() - dt.timedelta(days=1)
    fails(port, authority.client("build-agent", not_after=past))


def test_69_tls_1_2_and_1_1(port: int, authority: Authority) -> None:
    context = authority.client("build-agent")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    fails(port, context)
    words = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-tls1_1",
        "-cipher",
        "DEFAULT@SECLEVEL=0",
    ]
    done = subprocess.run(words, input="", capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout


def test_69_plain_http_on_a_tls_port(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        try:
            while more := sock.recv(4096):
                said += more
        except ConnectionError:
            pass
    assert b"HTTP" not in said


def test_a_certificate_for_servers_only_is_no_clients(port: int, authority: Authority) -> None:
    name = x509.DNSName("build-agent")
    fails(port, authority.made(name, use=x509.ExtendedKeyUsageOID.SERVER_AUTH))
    with Peer(port, tls=authority.made(name)) as peer:
        assert peer.greet().status == 200
        peer.send("DELETE")


def test_a_certificate_without_a_name_is_nobody(land: Land, port: int, authority: Authority) -> None:
    context = authority.client("xn--wildcard", common_name="build-agent")
    with Peer(port, tls=context) as peer:  # the common name does not count
        assert peer.modern(1, "tools/list").json()["result"]["tools"] == []
    with Peer(port, tls=authority.client("*.guard.example")) as peer:
        answer = peer.modern(1, "tools/list")
        assert answer.status == 401
        assert "names nobody" in answer.error()[1]
        assert answer.field("WWW-Authenticate").startswith("Bearer")


# --- strangers -----------------------------------------------------------------------------------------------


def test_openssl_sees_tls_1_3_and_is_asked_for_a_certificate(port: int, authority: Authority) -> None:
    words = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-CAfile",
        str(authority.ca_file),
        "-servername",
        "localhost",
    ]
    done = subprocess.run(words, input="", capture_output=True, text=True, timeout=30, check=False)
    assert "TLSv1.3" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "Server certificate" in done.stdout
    assert "client certificate" in done.stdout  # it is asked for one
    old = subprocess.run(
        [*words, "-tls1_2"], input="", capture_output=True, text=True, timeout=30, check=False
    )
    assert old.returncode != 0
    assert "Cipher is (NONE)" in old.stdout


def curl(
    land: Land, authority: Authority, url: str, body: str, *more: str
) -> subprocess.CompletedProcess[str]:
    made = authority.ca.issue_cert("build-agent")
    certificate, key = land.root / "curl.pem", land.root / "curl.key"
    certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    words = [
        "curl",
        "-sS",
        "-i",
        "--max-time",
        "20",
        "--cacert",
        authority.ca_file,
        "--cert",
        certificate,
        "--key",
        key,
        url,
    ]
    fields = [
        "Content-Type: application/json",
        f"Accept: {BOTH}",
        f"MCP-Protocol-Version: {MODERN}",
        "Mcp-Method: tools/call",
        "Mcp-Name: now",
    ]
    return subprocess.run(
        [*map(str, words), "-d", body, *(word for field in fields for word in ("-H", field)), *more],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


CALL = json.dumps({
    "jsonrpc": "2.0", "id": 1, "method": "tools/call",
    "params": {"name": "now", "arguments": {}, "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}},
})  # fmt: skip


def test_curl_calls_a_tool(land: Land, port: int, authority: Authority) -> None:
    done = curl(land, authority, f"https://localhost:{port}/mcp/talk", CALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HTTP/1.1 200")
    assert '"resultType":"complete"' in done.stdout


def test_curl_under_another_name_of_this_machine_is_misdirected(
    land: Land, port: int, authority: Authority
) -> None:
    """DNS rebinding: the page's name resolves to us; TLS is told to look the other way, and Host still says it."""
    done = curl(
        land, authority, f"https://rebound.example:{port}/mcp/talk", CALL, "-k", "--resolve", f"rebound.example:{port}:127.0.0.1",
    )  # fmt: skip
    assert done.stdout.startswith("HTTP/1.1 421"), done.stdout + done.stderr


# --- continuous ----------------------------------------------------------------------------------------------


def test_70_a_certificate_that_expires_ends_its_session_and_says_why(
    land: Land, port: int, authority: Authority
) -> None:
    soon = wall_clock().replace(microsecond=0) + dt.timedelta(seconds=4)
    with Peer(port, tls=authority.client("build-agent", not_after=soon)) as peer:
        peer.greet()
        waiting = peer.call(5, "hang")  # an open stream, before and after
        last = [message for _, message in waiting.events() if message][-1]
        assert "expired" in last["error"]["message"]
        assert wall_clock() >= soon
        assert wall_clock() < soon + dt.timedelta(seconds=15)  # the interval is a second
    found = until(
        lambda: [
            each
            for each in land.records()
            if each.get("event") == "end" and "expired" in str(each.get("reason"))
        ]
    )
    assert found


def test_a_new_certificate_of_the_listener_is_shown_to_new_connections(
    port: int, authority: Authority
) -> None:
    with Peer(port, tls=authority.client("build-agent")) as peer:
        peer.greet()
        before = shown(port, authority)
        authority.server()
        assert until(lambda: shown(port, authority) != before)
        assert peer.call(1, "now").drained() == 200  # connections that are open go on
        peer.send("DELETE")


def test_renewal_with_a_hundred_live_connections_fails_no_call(port: int, authority: Authority) -> None:
    """The listener's certificate and those of its clients are replaced while everybody calls; `-s` shows the count."""
    tls = authority.client("build-agent")
    peers = [Peer(port, tls=tls) for _ in range(100)]
    stop, failed, made = threading.Event(), [], Counter()

    def call(mine: list[Peer]) -> None:
        while not stop.is_set():
            for peer in mine:
                status = peer.modern(1, "tools/call", {"name": "now", "arguments": {}}).drained()
                made[status] += 1
                if status != 200:
                    failed.append(status)

    callers = [threading.Thread(target=call, args=(peers[start::4],)) for start in range(4)]
    for each in callers:
        each.start()
    serials = set()
    for _ in range(3):
        authority.server()
        before = made[200]
        with Peer(port, tls=authority.client("build-agent")) as new:  # a renewed client, too
            assert new.modern(1, "tools/list").drained() == 200
            sock = new.connection.sock
            assert isinstance(sock, ssl.SSLSocket)
            serials.add(
                x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"").serial_number
            )
        assert until(lambda before=before: made[200] >= before + 200)
        assert until(lambda: shown(port, authority) not in serials)
    stop.set()
    for each in callers:
        each.join(60)
    for peer in peers:
        peer.close()
    assert failed == []
    assert made[200] >= 600
    print(dict(made))


def shown(port: int, authority: Authority) -> int:
    """The serial number of the certificate that a new connection is shown."""
    with Peer(port, tls=authority.client("build-agent")).connected() as sock:
        assert isinstance(sock, ssl.SSLSocket)
        return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"").serial_number


# --- how it is started ---------------------------------------------------------------------------------------


def serve(land: Land, *words: str) -> subprocess.CompletedProcess[str]:
    return land.mcpguard("serve", *words)


def test_never_plain_tcp(land: Land) -> None:
    done = serve(land, "--listen", "tcp:127.0.0.1:8080")
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    for words in ("tcp:", "everybody on the way", "tls:HOST:PORT", "unix:PATH", "ssh -L"):
        assert words in done.stderr


def test_a_key_that_others_may_read_is_not_used(land: Land, authority: Authority, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    shutil.copy(authority.key, key)
    key.chmod(0o644)
    words = (
        "--certificate",
        str(authority.certificate),
        "--key",
        str(key),
        "--client-ca",
        str(authority.ca_file),
    )
    done = serve(land, "--listen", "tls:127.0.0.1:0", *words)
    assert done.returncode == 6
    assert "chmod 600" in done.stderr


def test_a_kind_of_credential_that_nothing_checks_is_said(land: Land, authority: Authority) -> None:
    done = serve(
        land, "--listen", "tls:127.0.0.1:0", "--auth", "cert", "--auth", "palm-print", *authority.words
    )
    assert done.returncode == 6
    assert "palm-print" in done.stderr


def test_an_address_that_is_taken_is_said(land: Land, port: int, authority: Authority) -> None:
    done = serve(land, "--listen", f"tls:127.0.0.1:{port}", *authority.words)
    assert done.returncode == 1
    assert "address already in use" in done.stderr.lower()


def test_the_listener_goes_with_its_verb_even_when_that_is_killed(land: Land, authority: Authority) -> None:
    with Served(land, "--listen", "tls:127.0.0.1:0", "--name", "short", *authority.words) as served:
        port = served.port
        served.process.kill()
        served.process.wait(20)

        def closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        assert until(closed)
    names = [each["name"] for each in land.ask({"verb": "listeners"})["listeners"]]
    assert "short" not in names


# --- another machine -----------------------------------------------------------------------------------------


NETWORK = """\
set -e
ip link set lo up
ip link add near type veth peer name far
ip addr add 10.99.0.1/24 dev near && ip link set near up
unshare --net sleep 120 >/dev/null 2>&1 & export other=$!
trap 'kill $other' EXIT
for _ in $(seq 100); do
    ip link set far netns $other 2>/dev/null && break
    sleep 0.02
done
nsenter --net=/proc/$other/ns/net sh -c 'ip link set lo up; ip addr add 10.99.0.2/24 dev far; ip link set far up'
"$@"
"""


def can_have_a_network() -> bool:
    words = ["unshare", "--net", "sh", "-c", "ip link add near type veth peer name far"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.root
@pytest.mark.skipif(
    not can_have_a_network(), reason="this kernel gives no network namespaces with veth to us"
)
def test_another_machine_calls_over_a_network(authority: Authority, tmp_path: Path) -> None:
    """The daemon in one network namespace, curl in another: two machines with a cable between them."""
    with Land() as far:
        ca = Authority(far.root)
        ca.server("guard.example")
        story = tmp_path / "story.py"
        story.write_text(STORY)
        words = [
            "unshare",
            "--net",
            "bash",
            "-c",
            NETWORK,
            "-",
            sys.executable,
            str(story),
            str(far.root),
        ]
        done = subprocess.run(
            words,
            env=os.environ | far.env | {"PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAR 200" in done.stdout
        assert "NETWORK 10.99.0.2" in done.stdout
    assert MCPGUARD


STORY = """
import json, os, subprocess
from pathlib import Path
from mcpguard.system.truststore import wall_clock
from tests.lifecycle.land import Land
from tests.lifecycle.peers import Authority, Served, talking
from tests.lifecycle.test_peer_tls import CALL, POLICY, curl

with Land() as land:
    land.serve(); land.found(); land.policy(POLICY); talking(land)
    ca = Authority(land.root); ca.server("guard.example")
    words = ("--listen", "tls:10.99.0.1:8443", "--host", "guard.example:8443", *ca.words)
    with Served(land, *words):
        far = os.environ["other"]
        made = ca.ca.issue_cert("build-agent")
        (land.root / "c.pem").write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        (land.root / "c.key").write_bytes(made.private_key_pem.bytes())
        words = ["nsenter", f"--net=/proc/{far}/ns/net", "curl", "-sS", "-i", "--max-time", "20", "--cacert", str(ca.ca_file),
            "--cert", str(land.root / "c.pem"), "--key", str(land.root / "c.key"), "--resolve", "guard.example:8443:10.99.0.1",
            "https://guard.example:8443/mcp/talk", "-d", CALL]
        for field in ("Content-Type: application/json", "Accept: application/json, text/event-stream",
                "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: now"):
            words += ["-H", field]
        done = subprocess.run(words, capture_output=True, text=True)
        print("FAR", done.stdout.split()[1] if done.stdout else done.stderr)
    calls = [each for each in land.records() if each["type"] == "call"]
    print("NETWORK", calls[-1]["host"]["network"])
"""
