"""What a manifest may say of a remote server."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import TrustError
from mcpguard.identity.manifest import Launch, Manifest, encode_manifest, parse_manifest
from mcpguard.identity.remote import Remote, Target, check_remote, is_url, parse_pin, parse_target, parse_web

PIN = "sha256:" + "ab" * 32
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("url", "target", "request_"),
    [
        ("https://a.test", Target("https", "a.test", 443, "/"), "https://a.test/"),
        ("https://a.test:443/mcp?x=1", Target("https", "a.test", 443, "/mcp?x=1"), "https://a.test/mcp?x=1"),
        ("https://10.0.0.1:8443/", Target("https", "10.0.0.1", 8443, "/"), "https://10.0.0.1:8443/"),
        ("https://[fd00::1]:8443/a", Target("https", "fd00::1", 8443, "/a"), "https://[fd00::1]:8443/a"),
        ("http+unix:/run/s", Target("http+unix", path="/mcp", socket="/run/s"), "http://localhost/mcp"),
        ("http+unix:/run/s:/x/y", Target("http+unix", path="/x/y", socket="/run/s"), "http://localhost/x/y"),
    ],
)
def test_url_is_read(url: str, target: Target, request_: str) -> None:
    assert parse_target(url) == target
    assert parse_target(url).request == request_


def test_stdio_framed_socket_is_read() -> None:
    assert parse_target("unix:/run/a:b") == Target("unix", socket="/run/a:b")
    assert parse_target("unix:/run/a:b").shown == "/run/a:b"


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "https:", "https://", "https:///x", "HTTPS://a.test/", "https://a.test:0/", "https://a.test:65536/",
        "https://user@a.test/", "https://a.test:443@b.test/", "https://a.test/#x", "https://a.test/../x",
        "https://a.test/%2e%2E/x", "https://a.test/a/./b", "https://a.test/a b", "https://a.test/\n",
        "https://a.test\\@b.test/", "https://ä.test/", "https://A.test/", "https://-a.test/", "https://a..test/",
        "https://a.test./", "https://0x7f.1/", "https://2130706433/", "https://127.1/", "https://0177.0.0.1/",
        "https://[::1/", "https://[1.2.3.4]x/", "https://a.test/" + "x" * 9000, "ftp://a.test/", "file:///etc/passwd",
        "javascript:alert(1)", "unix:relative", "unix:", "http+unix:x", "http+unix:/run/s:x", "http+unix:/run/s:/../x",
        "unix:/" + "x" * 107, "unix:/a\x00b",
    ],
)  # fmt: skip
def test_url_that_readers_disagree_about_is_refused(url: str) -> None:
    with pytest.raises(TrustError):
        parse_target(url)


def test_plain_http_is_refused_except_for_metadata_on_this_machine() -> None:
    for url in ("http://a.test/", "http://127.0.0.1/"):
        with pytest.raises(TrustError, match="plain HTTP"):
            parse_target(url)
    assert parse_web("http://127.0.0.1:80/x").request == "http://127.0.0.1/x"
    assert parse_web("https://a.test/x").port == 443
    for url in ("http://a.test/", "http://localhost/", "http://10.0.0.1/"):
        with pytest.raises(TrustError):
            parse_web(url)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://a.test/{text}", f"unix:{text}"):
        try:
            target = parse_target(url)
        except TrustError:
            continue
        assert target.socket or target.request.startswith("https://")


@pytest.mark.parametrize(
    "pin",
    [
        PIN,
        PIN.upper().replace("SHA256", "sha256"),
        "sha256/q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
        "sha256//q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
    ],
)
def test_pins_are_stored_in_one_spelling(pin: str) -> None:
    assert parse_pin(pin) == PIN


@pytest.mark.parametrize(
    "pin", ["", "ab" * 32, "sha256:" + "ab" * 31, "sha1:" + "ab" * 20, "sha256/" + "!" * 43 + "="]
)
def test_what_is_no_pin_is_refused(pin: str) -> None:
    with pytest.raises(TrustError, match="is no pin"):
        parse_pin(pin)


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        (Remote("https://a.test/"), "which certificate"),
        (Remote("https://a.test/", ca="text"), "not a list of certificates"),
        (Remote("https://a.test/", ca=PEM + "x"), "not a list of certificates"),
        (
            Remote("https://a.test/", ca=PEM.replace("CERTIFICATE", "PRIVATE KEY")),
            "not a list of certificates",
        ),
        (Remote("https://a.test/", pins=("sha256:" + "AB" * 32,)), "is not written as"),
        (Remote("https://a.test/", ca=PEM, client_cert="/c.pem"), "belong together"),
        (Remote("https://a.test/", ca=PEM, networks=("10.1.1.1",)), "is not written as"),
        (Remote("https://a.test/", ca=PEM, proxy="socks5://a.test:1"), "no URL"),
        (Remote("https://a.test/", ca=PEM, proxy="http://u:p@a.test:1"), "no URL"),
        (Remote("unix:/run/s", ca=PEM), "has no certificates"),
        (Remote("http+unix:/run/s", networks=("loopback",)), "has no certificates"),
    ],
)
def test_description_that_contradicts_itself_is_refused(remote: Remote, words: str) -> None:
    with pytest.raises(TrustError, match=words):
        check_remote(remote)


def manifest(remote: Remote, **more: object) -> Manifest:
    launch = Launch((remote.url,), (remote.url,), **more, remote=remote)  # type: ignore[arg-type]
    return Manifest("far", 1, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", launch)


@pytest.mark.parametrize(
    "remote",
    [
        Remote(
            "https://a.test/mcp",
            ca=PEM,
            pins=(PIN,),
            client_cert="/c",
            client_key="/k",
            networks=("loopback",),
        ),
        Remote("https://a.test/mcp", ca="system", proxy="http://p.test:3128"),
        Remote("unix:/run/s"),
    ],
)
def test_manifest_of_a_remote_server_vouches_for_all_of_it(remote: Remote) -> None:
    payload = encode_manifest(manifest(remote))
    found = parse_manifest(payload)
    assert found.launch.remote == remote
    assert found.subject == {remote.url: remote.digest}
    assert found.pin == "P1"
    assert remote.digest != msgspec.structs.replace(remote, url="https://b.test/mcp").digest
    with pytest.raises(TrustError, match="subject"):
        parse_manifest(payload.replace(remote.digest.encode(), b"0" * 64))


def test_manifest_that_starts_something_besides_is_refused() -> None:
    remote = Remote("https://a.test/mcp", ca=PEM)
    good = manifest(remote)
    for bad in (
        msgspec.structs.replace(good, launch=msgspec.structs.replace(good.launch, argv=("/bin/sh",))),
        msgspec.structs.replace(good, launch=msgspec.structs.replace(good.launch, env_set={"A": "b"})),
        msgspec.structs.replace(good, launch=msgspec.structs.replace(good.launch, env_pass=("A",))),
        manifest(Remote("https://a.test/mcp")),
        manifest(Remote("http://a.test/mcp", ca=PEM)),
    ):
        with pytest.raises(TrustError, match="the manifest is not acceptable"):
            encode_manifest(bad)


def test_unknown_word_about_a_remote_server_refuses_the_manifest() -> None:
    payload = encode_manifest(manifest(Remote("https://a.test/mcp", ca="system")))
    with pytest.raises(TrustError, match="not acceptable"):
        parse_manifest(payload.replace(b'"ca":"system"', b'"ca":"system","insecure":true'))


def test_urls_are_told_from_commands() -> None:
    for word in ("https://a.test/", "http+unix:/s", "unix:/s", "http:"):
        assert is_url(word)
    for word in ("https", "npx", "/usr/bin/x", "./https:x", ""):
        assert not is_url(word)
