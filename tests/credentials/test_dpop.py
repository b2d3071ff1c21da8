"""Proofs of a key: the example of RFC 9449, held against every other request than its own."""

import pytest

from mcpguard.credentials import dpop
from mcpguard.credentials.dpop import NonceWanted
from mcpguard.errors import PeerError
from tests.fakes.issuer import Holder

PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
    "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRy"
    "ZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9."
    "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
"""RFC 9449 7.1."""
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
"""RFC 9449 6.1."""
URL = "https://resource.example.org/protectedresource"
AT = 1562262618.0


def test_the_example_of_rfc_9449_holds() -> None:
    proof = dpop.proved(PROOF, "GET", URL, TOKEN, AT)
    assert (proof.thumbprint, proof.ident, proof.until) == (THUMBPRINT, "e1j3V_bKic8-LAEB", AT + 60)
    dpop.require_key(proof, THUMBPRINT)
    with pytest.raises(PeerError, match="another key than"):
        dpop.require_key(proof, THUMBPRINT[:-1] + "A")


@pytest.mark.parametrize(
    ("method", "url", "token", "at"),
    [
        ("POST", URL, TOKEN, AT),
        ("get", URL, TOKEN, AT),
        ("GET", URL + "/", TOKEN, AT),
        ("GET", URL.replace("https", "http"), TOKEN, AT),
        ("GET", URL.replace(".org", ".org:8443"), TOKEN, AT),
        ("GET", URL, TOKEN + "x", AT),
        ("GET", URL, TOKEN, AT + 61),
        ("GET", URL, TOKEN, AT - 61),
    ],
)
def test_for_any_other_request_it_does_not(method: str, url: str, token: str, at: float) -> None:
    with pytest.raises(PeerError):
        dpop.proved(PROOF, method, url, token, at)


@pytest.mark.parametrize("url", [URL + "?a=b", URL + "#c", URL.upper().replace("/PROTECTEDRESOURCE", "/protectedresource"), URL.replace(".org", ".org:443")])  # fmt: skip
def test_query_fragment_case_of_the_host_and_the_usual_port_do_not_count(url: str) -> None:
    dpop.proved(PROOF, "GET", url, TOKEN, AT)


def test_no_changed_character_of_it_holds() -> None:
    for at in range(0, len(PROOF), 5):
        changed = PROOF[:at] + ("A" if PROOF[at] != "A" else "B") + PROOF[at + 1 :]
        with pytest.raises(PeerError):
            dpop.proved(changed, "GET", URL, TOKEN, AT)


@pytest.mark.parametrize(
    ("scheme", "bound", "wanted", "proof"),
    [
        ("bearer", "", "allowed", False),
        ("bearer", "", "off", False),
        ("dpop", "k", "allowed", True),
        ("dpop", "k", "required", True),
        ("bearer", "k", "allowed", None),
        ("dpop", "", "allowed", None),
        ("bearer", "", "required", None),
        ("dpop", "k", "off", None),
        ("bearer", "k", "off", None),
    ],
)
def test_scheme_and_binding_go_together(scheme: str, bound: str, wanted: str, proof: bool | None) -> None:
    if proof is None:
        with pytest.raises(PeerError):
            dpop.require_scheme(scheme, bound, wanted)
    else:
        assert dpop.require_scheme(scheme, bound, wanted) is proof


def test_a_nonce_is_good_for_a_while_and_only_ours_is() -> None:
    holder = Holder()
    first = dpop.nonces(b"k", AT)
    assert dpop.nonces(b"k", AT + 300)[1] == first[0]
    assert not set(first) & set(dpop.nonces(b"other", AT))

    def hold(nonce: object) -> None:
        dpop.proved(holder.proof("t", AT, nonce=nonce), "POST", "https://guard.example/mcp", "t", AT, first)

    hold(first[0])
    hold(first[1])
    for bad in (None, "", "x", 7, dpop.nonces(b"k", AT - 601)[0], "é"):
        with pytest.raises(NonceWanted) as wanted:
            hold(bad)
        assert wanted.value.nonce == first[0]
