"""Signed tokens: the examples of the RFCs, and keys of every kind that must not verify anything."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mcpguard.credentials import jws
from mcpguard.errors import PeerError

RSA_JWK = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RS256 = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
"""RFC 7515 A.2."""
ES256_JWK = {
    "kty": "EC", "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # fmt: skip
ES256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
"""RFC 7515 A.3."""
HS256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
"""RFC 7515 A.1."""
UNSECURED = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
"""RFC 7515 A.5."""
ED_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED_SIGNED = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
ED_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
"""RFC 8037 A.4; its payload is no JSON, so that no token can be made of it."""


def read(jwk: object) -> jws.Key:
    key = jws.read_key(jwk)
    assert key is not None
    return key


@pytest.mark.parametrize(("token", "jwk"), [(RS256, RSA_JWK), (ES256, ES256_JWK)])
def test_the_examples_of_rfc_7515_verify_and_no_changed_byte_does(token: str, jwk: dict[str, str]) -> None:
    compact = jws.split(token)
    assert compact.payload["iss"] == "joe"
    jws.verify(compact, read(jwk), ("RS256", "ES256"))
    for at in range(0, len(compact.signed), 7):
        changed = bytearray(compact.signed)
        changed[at] ^= 1
        with pytest.raises(PeerError, match="signature"):
            jws.verify(
                jws.Compact(compact.header, {}, bytes(changed), compact.signature),
                read(jwk),
                ("RS256", "ES256"),
            )
    for signature in (b"", b"\0" * 64, compact.signature[:-1], compact.signature + b"\0", b"\0" * 256):
        with pytest.raises(PeerError, match="signature"):
            jws.verify(
                jws.Compact(compact.header, {}, compact.signed, signature), read(jwk), ("RS256", "ES256")
            )


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_the_example_of_rfc_8037_verifies_under_both_names(alg: str) -> None:
    compact = jws.Compact({"alg": alg}, {}, ED_SIGNED, jws.decoded(ED_SIGNATURE))
    jws.verify(compact, read(ED_JWK), (alg,))
    with pytest.raises(PeerError, match="signature"):
        jws.verify(jws.Compact({"alg": alg}, {}, ED_SIGNED + b"x", compact.signature), read(ED_JWK), (alg,))


@pytest.mark.parametrize(
    ("jwk", "thumbprint"),
    [
        (ED_JWK, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),  # RFC 8037 A.3
        (
            {
                "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
                "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            },
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),  # RFC 7638 3.1
    ],
)  # fmt: skip
def test_the_thumbprints_of_the_rfcs(jwk: dict[str, str], thumbprint: str) -> None:
    assert read(jwk).thumbprint == thumbprint


@pytest.mark.parametrize("token", [HS256, UNSECURED])
def test_a_shared_secret_and_no_signature_are_never_accepted_even_if_they_were_allowed(token: str) -> None:
    compact = jws.split(token)
    for allowed in (("RS256",), ("HS256", "none", "RS256")):
        with pytest.raises(PeerError, match=r"signed with (HS256|none), expected"):
            jws.verify(compact, read(RSA_JWK), allowed)


def test_a_key_verifies_by_the_algorithms_of_its_own_kind_alone() -> None:
    compact = jws.split(RS256)
    for jwk in (ES256_JWK, ED_JWK, {**RSA_JWK, "alg": "PS256"}, {**RSA_JWK, "alg": "RS512"}):
        with pytest.raises(PeerError, match="its key is for"):
            jws.verify(compact, read(jwk), ("RS256", "ES256", "EdDSA"))


BAD_KEYS = [
    None, [], "key", {}, {"kty": "oct", "k": "AAAA"}, {"kty": ["RSA"]}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256"},
    {**RSA_JWK, "use": "enc"}, {**RSA_JWK, "key_ops": ["encrypt"]}, {**RSA_JWK, "key_ops": "verify"},
    {**RSA_JWK, "alg": "RSA-OAEP"}, {**RSA_JWK, "alg": "HS256"}, {**RSA_JWK, "d": "AQAB"}, {**RSA_JWK, "kid": 7},
    {**RSA_JWK, "kid": "k" * 300}, {**RSA_JWK, "n": "AQAB"}, {**RSA_JWK, "n": 5}, {**RSA_JWK, "e": "AA"},
    {**ES256_JWK, "crv": "secp256k1"}, {**ES256_JWK, "crv": "Ed25519"}, {**ES256_JWK, "crv": ["P-256"]},
    {**ES256_JWK, "y": ES256_JWK["x"]}, {**ED_JWK, "crv": "X25519"}, {**ED_JWK, "crv": "P-256"}, {**ED_JWK, "x": "AA"},
    {**ED_JWK, "k": "AA"},
]  # fmt: skip


@pytest.mark.parametrize("jwk", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_what_can_verify_nothing_is_left_out(jwk: object) -> None:
    assert jws.read_key(jwk) is None
    assert jws.read_keys({"keys": [jwk, RSA_JWK]})[0].algorithms[0] == "RS256"


def test_short_rsa_keys_are_left_out() -> None:
    with pytest.warns():
        short = RSAKey.generate_key(1024)
    assert jws.read_key(short.as_dict(private=False)) is None


def test_a_set_is_bounded() -> None:
    assert len(jws.read_keys({"keys": [RSA_JWK] * jws.KEYS})) == jws.KEYS
    with pytest.raises(PeerError, match="at most 64"):
        jws.read_keys({"keys": [RSA_JWK] * (jws.KEYS + 1)})
    for bad in (None, [], {}, {"keys": {}}):
        with pytest.raises(PeerError, match="not a set of keys"):
            jws.read_keys(bad)


@given(
    st.text(max_size=80)
    | st.text("abcXYZ019-_.=", max_size=80)
    | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode())
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        compact = jws.split(text)
    except PeerError:
        return
    assert isinstance(compact.header, dict)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_value_is_a_key_or_none(value: object) -> None:
    assert jws.read_key(value) is None


@pytest.mark.parametrize("text", ["AB", "AAB", "A", "AA=", "A+", "A A"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(PeerError):
        jws.decoded(text)


def test_numbers_that_json_has_not_are_refused() -> None:
    for payload in (
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":1,"exp":2}',
        b"[]",
        b"\xff",
        b'{"n":' + b"9" * 5000 + b"}",
    ):
        head = jws.encoded(json.dumps({"alg": "ES256"}).encode())
        with pytest.raises(PeerError, match="claims of the token are not a JSON object"):
            jws.split(f"{head}.{jws.encoded(payload)}.AA")


def test_keys_of_every_curve_are_read() -> None:
    for curve, alg in (("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")):
        assert read(ECKey.generate_key(curve).as_dict(private=False)).algorithms == (alg,)
    assert read(OKPKey.generate_key("Ed25519").as_dict(private=False)).algorithms == ("EdDSA", "Ed25519")
    assert jws.read_key(OKPKey.generate_key("X25519").as_dict(private=False)) is None
