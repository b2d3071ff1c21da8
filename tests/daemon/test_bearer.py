"""Tokens of a real provider on loopback, and attacks on them by number (security.md 5.5 75)."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mcpguard.audit.event import event_of
from mcpguard.audit.ocsf import ocsf
from mcpguard.credentials.dpop import NonceWanted, nonces
from mcpguard.credentials.presented import Presented
from mcpguard.daemon.bearer import credential
from mcpguard.daemon.jwks import fetched
from mcpguard.errors import PeerError
from tests.daemon.chains import START, Chain, jwt, told
from tests.daemon.loops import both_loops, run
from tests.fakes.issuer import AUDIENCE, MAKERS, Holder, Issuer, Way, b64, forged


@both_loops
def test_a_token_of_the_provider_names_its_subject_groups_and_roles(tmp_path: Path, loop: str) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        found = await chain.bearer(issuer.token())
        name = f"jwt:{issuer.url}#agent-7"
        assert found.principals == {name, "claim:groups=dev", "claim:groups=ops", "role:operator"}
        assert (found.instance, found.expires) == (name, START + 330)
        assert found.evidence["auth"] == ["jwt"]
        assert found.evidence["jwt"]["kid"] == "first"
        assert issuer.asked == {"metadata": 1, "keys": 1}

    run(
        lambda: told(tmp_path, story, 'roles = { operator = ["groups=ops"], admin = ["groups=admins"] }'),
        loop,
    )


def test_a_token_that_a_client_has_got_from_the_provider(tmp_path: Path) -> None:
    """As a client does: metadata, client credentials, the token shown to us; what we trust is configuration alone."""

    async def story(chain: Chain, issuer: Issuer) -> None:
        way = Way(issuer.authority)
        basic = base64.b64encode(b"host:s3cret").decode()
        got = await fetched(way, f"{issuer.url}/token", "POST", {"authorization": f"Basic {basic}"})
        found = await chain.bearer(got["access_token"])
        assert f"jwt:{issuer.url}#agent-7" in found.principals
        async with Issuer(chain.clock) as stranger:
            with pytest.raises(PeerError, match="not trusted here"):
                await chain.bearer(stranger.token())
            with pytest.raises(PeerError, match="signature"):
                await chain.bearer(stranger.token(iss=issuer.url))
            assert stranger.asked == {}

    run(lambda: told(tmp_path, story))


def test_a_provider_whose_certificate_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        issuer.authority = trustme.CA()
        other = Chain(tmp_path / "other", jwt(issuer), issuer)
        with pytest.raises(PeerError, match="are not known"):
            await other.bearer(issuer.token())
        assert issuer.asked == {}
        await other.close()

    (tmp_path / "other").mkdir()
    run(lambda: told(tmp_path, story))


@pytest.mark.parametrize("alg", sorted(MAKERS))
def test_every_kind_of_key_verifies(tmp_path: Path, alg: str) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        issuer.rotate("k", alg)
        token = issuer.token()
        assert (await chain.bearer(token)).instance.endswith("#agent-7")
        head, body, signature = token.split(".")
        flipped = (
            bytes([base64.urlsafe_b64decode(signature + "==")[0] ^ 1])
            + base64.urlsafe_b64decode(signature + "==")[1:]
        )
        with pytest.raises(PeerError, match="signature"):
            await chain.bearer(f"{head}.{body}.{b64(flipped)}")

    run(lambda: told(tmp_path, story))


BAD: dict[str, tuple[Any, str]] = {
    "expired": (lambda i, _c: i.token(exp=START - 31), "has expired"),
    "not yet": (lambda i, _c: i.token(nbf=START + 31), "not valid yet"),
    "from the future": (lambda i, _c: i.token(iat=START + 31), "in the future"),
    "without exp": (lambda i, _c: i.token(exp=None), "never expires"),
    "for years": (lambda i, _c: i.token(exp=START + 9e7), "lives for longer"),
    "exp is text": (lambda i, _c: i.token(exp="2030"), "says no moment in exp"),
    "exp is true": (lambda i, _c: i.token(exp=True), "says no moment in exp"),
    "wrong audience": (lambda i, _c: i.token(aud="https://other.example"), "for somebody else"),
    "no audience": (lambda i, _c: i.token(aud=None), "does not say whom it is for"),
    "audience in pieces": (lambda i, _c: i.token(aud=[AUDIENCE[:-1], 7]), "for somebody else"),
    "other issuer": (lambda i, _c: i.token(iss=i.url + "/"), "not trusted here"),
    "no subject": (lambda i, _c: i.token(sub=None), "no sub of 1 to 256"),
    "subject with a control": (lambda i, _c: i.token(sub="a\x1b[2J"), "no sub of 1 to 256"),
    "id of another type": (lambda i, _c: i.token(header={"typ": "dpop+jwt"}), "of another type"),
    "bound in a strange way": (lambda i, _c: i.token(cnf={"jwk": {}}), "a way that is not known"),
    "bound to a certificate": (lambda i, _c: i.token(cnf={"x5t#S256": "abc"}), "and none was shown"),
    "alg none": (lambda i, _c: forged(i.token(), {"alg": "none", "typ": "JWT"}, signature=b"x"), "signed with none"),
    "alg none, no signature": (lambda i, _c: forged(i.token(), {"alg": "none"}).rpartition(".")[0] + ".", "with none"),
    "alg None": (lambda i, _c: forged(i.token(), {"alg": "NoNe"}), "signed with NoNe"),
    "alg is a list": (lambda i, _c: forged(i.token(), {"alg": ["ES256"]}), "signed with something else"),
    "another alg of the same key": (lambda i, _c: forged(i.token(), {"alg": "ES384", "kid": "first"}), "not|key"),
    "jwk": (lambda i, _c: embedded(i), "key of its own"),
    "jku": (lambda i, _c: forged(i.token(), {"alg": "ES256", "kid": "first", "jku": "https://evil"}), "address of keys"),
    "x5u": (lambda i, _c: forged(i.token(), {"alg": "ES256", "x5u": "https://evil"}), "address of certificates"),
    "crit": (lambda i, _c: forged(i.token(), {"alg": "ES256", "kid": "first", "crit": ["exp"]}), "must be understood"),
    "b64": (lambda i, _c: forged(i.token(), {"alg": "ES256", "kid": "first", "b64": False}), "another encoding"),
    "kid is a path": (lambda i, _c: i.token(header={"kid": "../../../../dev/null"}), "key that its issuer has not"),
    "kid is a query": (lambda i, _c: i.token(header={"kid": "x' UNION SELECT 'y"}), "key that its issuer has not"),
    "kid is an address": (lambda i, _c: i.token(header={"kid": "https://evil.example/k"}), "that its issuer has not"),
    "kid is long": (lambda i, _c: i.token(header={"kid": "k" * 257}), "names no key"),
    "kid is a number": (lambda i, _c: forged(i.token(), {"alg": "ES256", "kid": 1}), "names no key"),
    "too long": (lambda i, _c: i.token(filler="x" * 20_000), "longer than 16384 bytes"),
    "two parts": (lambda i, _c: i.token().rpartition(".")[0], "three parts"),
    "encrypted": (lambda i, _c: i.token() + ".a.b", "three parts"),
    "padded": (lambda i, _c: i.token() + "=", "three parts"),
    "not JSON": (lambda i, _c: f"{b64(b'{')}.{b64(b'{}')}.", "not a JSON object"),
    "a name twice": (lambda i, _c: b64(b'{"alg":"none","alg":"ES256"}') + "." + b64(b"{}") + ".x", "each name once"),
    "deep": (lambda i, _c: f"{b64(b'[' * 5000)}.{b64(b'{}')}.x", "not a JSON object"),
    "nothing": (lambda i, _c: "", "no token was shown"),
}  # fmt: skip


def embedded(issuer: Issuer) -> str:
    """Signed by the attacker's own key, which it brings along."""
    attacker = Holder()
    return attacker.proof("x", START, header={"typ": "JWT"}, **issuer.claims())


@pytest.mark.parametrize("case", BAD)
def test_75_what_is_wrong_with_a_token_is_told_recorded_and_no_secret(tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    shown: list[str] = []

    async def story(chain: Chain, issuer: Issuer) -> None:
        await chain.bearer(issuer.token())
        token = make(issuer, chain)
        shown.append(token)
        with pytest.raises(PeerError, match=words) as caught:
            await chain.bearer(token)
        sentence = caught.value.sentence()
        assert "\n" not in sentence
        assert all(part not in sentence for part in token.split(".") if len(part) > 8)
        assert chain.chain.failures == {"jwt": 1}
        assert issuer.asked["keys"] <= 2

    log = run(lambda: told(tmp_path, story)).log()
    (raw,) = [one for one in log.splitlines() if '"refused"' in one]
    event, line = ocsf(event_of(raw.encode())), json.loads(raw)
    assert (event["class_uid"], event["status"], event["status_detail"]) == (3002, "Failure", line["reason"])
    assert (line["stage"], line["host"]) == ("caller", {"shown": "jwt", "network": "192.0.2.7"})
    assert all(part not in log for part in shown[0].split(".") if len(part) > 20)


def test_75_the_public_key_as_a_shared_secret_is_no_signature(tmp_path: Path) -> None:
    """Algorithm confusion: HS256 with every spelling of the public RSA key as the secret."""

    async def story(chain: Chain, issuer: Issuer) -> None:
        issuer.rotate("rsa", "RS256")
        await chain.bearer(issuer.token())
        key = issuer.keys["rsa"][1]
        public = key.public_key
        spellings = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            json.dumps(key.as_dict(private=False)).encode(),
            b"",
        ]
        for secret in spellings:
            signed = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'rsa'}).encode())}.{b64(json.dumps(issuer.claims()).encode())}"
            signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
            with pytest.raises(PeerError, match="signed with HS256, expected"):
                await chain.bearer(f"{signed}.{b64(signature)}")

    run(lambda: told(tmp_path, story))


def test_a_flood_of_unknown_key_ids_asks_once_a_minute(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        await chain.bearer(issuer.token())
        for number in range(500):
            with pytest.raises(PeerError):
                await chain.bearer(issuer.token(header={"kid": f"k{number}"}))
        assert issuer.asked["keys"] == 2
        issuer.rotate("second")
        with pytest.raises(PeerError):
            await chain.bearer(issuer.token())
        chain.clock.now += 60
        await chain.bearer(issuer.token())
        assert issuer.asked["keys"] == 3

    run(lambda: told(tmp_path, story))


def test_a_key_that_is_rotated_in_is_found_at_once_and_none_that_was_good_fails(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        old = issuer.token()
        found = await chain.bearer(old)
        issuer.rotate("second", "RS256")
        await chain.bearer(issuer.token())
        await chain.bearer(old)
        await chain.chain.recheck(found)

    run(lambda: told(tmp_path, story))


def test_a_key_that_is_withdrawn_ends_tokens_that_were_verified(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        token = issuer.token(exp=START + 7200)
        found = await chain.bearer(token)
        issuer.rotate("second", keep=False)
        await chain.bearer(token)  # the keys are known for ten minutes
        chain.clock.now += 601
        with pytest.raises(PeerError, match="withdrawn the key"):
            await chain.chain.recheck(found)
        with pytest.raises(PeerError, match="key that its issuer has not"):
            await chain.bearer(token)

    run(lambda: told(tmp_path, story))


def test_while_the_issuer_is_away_the_last_keys_count_for_a_time_and_then_nothing_does(
    tmp_path: Path,
) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        await chain.bearer(issuer.token())
        issuer.away = True
        chain.clock.now += 601
        found = await chain.bearer(issuer.token())
        for _ in range(50):
            await chain.bearer(issuer.token())
        assert issuer.asked["metadata"] == 2, "one try a minute"
        chain.clock.now += 3600
        with pytest.raises(PeerError, match=r"keys of the issuer .* are not known"):
            await chain.bearer(issuer.token())
        with pytest.raises(PeerError):
            await chain.chain.recheck(found)
        issuer.away = False
        chain.clock.now += 61
        await chain.bearer(issuer.token())

    run(lambda: told(tmp_path, story, 'stale = "1h"'))


def test_metadata_of_another_issuer_and_keys_in_the_clear_are_refused(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        issuer.metadata = {"issuer": "https://evil.example"}
        with pytest.raises(PeerError, match="of another issuer"):
            await chain.bearer(issuer.token())
        chain.clock.now += 61
        issuer.metadata = {"jwks_uri": "http://127.0.0.1/keys"}
        with pytest.raises(PeerError, match="no https:// address"):
            await chain.bearer(issuer.token())

    run(lambda: told(tmp_path, story))


def test_a_token_ends_while_it_is_remembered(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        token = issuer.token()
        found = await chain.bearer(token)
        chain.clock.now += 329
        await chain.bearer(token)
        await chain.chain.recheck(found)
        chain.clock.now += 1
        with pytest.raises(PeerError, match="has expired"):
            await chain.bearer(token)
        with pytest.raises(PeerError, match="has expired"):
            await chain.chain.recheck(found)

    run(lambda: told(tmp_path, story))


def test_75_a_token_that_counts_once_does_not_count_twice(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        token = issuer.token(jti="one")
        await chain.bearer(token)
        with pytest.raises(PeerError, match="used before"):
            await chain.bearer(token)
        with pytest.raises(PeerError, match="no jti"):
            await chain.bearer(issuer.token(jti=None))
        with pytest.raises(PeerError, match="signature"):
            await chain.bearer(
                forged(issuer.token(), {"alg": "ES256", "kid": "first"}, issuer.claims(jti="two"))
            )
        await chain.bearer(issuer.token(jti="two"))

    run(lambda: told(tmp_path, story, "single_use = true"))


def test_revocation_by_configuration_holds_at_once_and_narrower_rules_too(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        token = issuer.token()
        found = await chain.bearer(token)
        text = (chain.place / "auth" / "auth.toml").read_text()
        chain.write(text + 'revoked = ["agent-7"]\n')
        chain.chain.reload()
        for again in (chain.bearer(token), chain.chain.recheck(found)):
            with pytest.raises(PeerError, match="was revoked here"):
                await again
        chain.write(text + 'scopes = ["admin"]\n')
        chain.chain.reload()
        with pytest.raises(PeerError, match="lacks the scope admin"):
            await chain.bearer(token)
        chain.write("version = 1\n")
        chain.chain.reload()
        with pytest.raises(PeerError, match="no longer trusted"):
            await chain.chain.recheck(found)

    run(lambda: told(tmp_path, story))


# --- proofs -----------------------------------------------------------------------------------------------


def bound(issuer: Issuer, holder: Holder) -> str:
    return issuer.token(cnf={"jkt": holder.thumbprint})


def test_a_token_that_is_bound_counts_with_a_proof_of_its_key_once(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        for alg in ("ES256", "Ed25519", "RS256"):
            holder = Holder(alg)
            token = bound(issuer, holder)
            proof = holder.proof(token, chain.clock.now)
            await chain.bearer(token, scheme="DPoP", dpop=proof)
            with pytest.raises(PeerError, match="used before"):
                await chain.bearer(token, scheme="DPoP", dpop=proof)

    run(lambda: told(tmp_path, story))


PROOFS: dict[str, tuple[Any, str]] = {
    "none": (lambda h, t, n: "", "no DPoP proof was shown"),
    "another key": (lambda h, t, n: Holder().proof(t, n), "another key than"),
    "another method": (lambda h, t, n: h.proof(t, n, htm="GET"), "another method"),
    "another address": (lambda h, t, n: h.proof(t, n, htu=AUDIENCE + "/x"), "another address"),
    "another host": (lambda h, t, n: h.proof(t, n, htu="https://guard.example.evil/mcp"), "another address"),
    "with a user": (lambda h, t, n: h.proof(t, n, htu="https://a@guard.example/mcp"), "another address"),
    "another token": (lambda h, t, n: h.proof(t + "x", n), "another token"),
    "no ath": (lambda h, t, n: h.proof(t, n, ath=None), "another token"),
    "old": (lambda h, t, n: h.proof(t, n - 62), "not of now"),
    "early": (lambda h, t, n: h.proof(t, n + 62), "not of now"),
    "no jti": (lambda h, t, n: h.proof(t, n, jti=None), "no jti"),
    "another type": (lambda h, t, n: h.proof(t, n, header={"typ": "JWT"}), "another type"),
    "no key": (lambda h, t, n: h.proof(t, n, header={"jwk": None}), "no public key"),
    "a private key": (lambda h, t, n: h.proof(t, n, header={"jwk": h.key.as_dict(private=True)}), "no public key"),
    "a shared secret": (lambda h, t, n: h.proof(t, n, header={"jwk": {"kty": "oct", "k": "AA"}}), "no public key"),
    "alg none": (lambda h, t, n: forged(h.proof(t, n), {"typ": "dpop+jwt", "alg": "none", "jwk": {}}), "with none"),
    "two of them": (lambda h, t, n: h.proof(t, n) + ", " + h.proof(t, n), "three parts"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROOFS)
def test_what_is_wrong_with_a_proof_is_told(tmp_path: Path, case: str) -> None:
    make, words = PROOFS[case]

    async def story(chain: Chain, issuer: Issuer) -> None:
        holder = Holder()
        token = bound(issuer, holder)
        with pytest.raises(PeerError, match=words):
            await chain.bearer(token, scheme="DPoP", dpop=make(holder, token, chain.clock.now))

    run(lambda: told(tmp_path, story))


def test_a_stolen_token_that_is_bound_is_worth_nothing_as_a_bearers(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        holder = Holder()
        token = bound(issuer, holder)
        await chain.bearer(token, scheme="DPoP", dpop=holder.proof(token, chain.clock.now))
        with pytest.raises(PeerError, match="scheme DPoP, not Bearer"):
            await chain.bearer(token)
        plain = issuer.token()
        with pytest.raises(PeerError, match="not bound to a key"):
            await chain.bearer(plain, scheme="DPoP", dpop=holder.proof(plain, chain.clock.now))

    run(lambda: told(tmp_path, story))


def test_where_proofs_are_required_a_plain_token_does_not_count_and_off_is_off(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        with pytest.raises(PeerError, match="only tokens that are bound"):
            await chain.bearer(issuer.token())
        chain.write((chain.place / "auth" / "auth.toml").read_text().replace("required", "off"))
        chain.chain.reload()
        holder = Holder()
        token = bound(issuer, holder)
        with pytest.raises(PeerError, match="not accepted here"):
            await chain.bearer(token, scheme="DPoP", dpop=holder.proof(token, chain.clock.now))

    run(lambda: told(tmp_path, story, 'dpop = "required"'))


def test_a_proof_needs_a_nonce_where_that_is_said_and_asking_for_it_is_no_failure(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        holder = Holder()
        token = bound(issuer, holder)
        with pytest.raises(NonceWanted) as wanted:
            await chain.bearer(token, scheme="DPoP", dpop=holder.proof(token, chain.clock.now))
        assert chain.chain.failures == {}
        proof = holder.proof(token, chain.clock.now, nonce=wanted.value.nonce)
        await chain.bearer(token, scheme="DPoP", dpop=proof)
        chain.clock.now += 290  # within twice the time
        await chain.bearer(
            token, scheme="DPoP", dpop=holder.proof(token, chain.clock.now, nonce=wanted.value.nonce)
        )
        old = nonces(b"n" * 32, chain.clock.now - 601)[0]
        with pytest.raises(NonceWanted):
            await chain.bearer(token, scheme="DPoP", dpop=holder.proof(token, chain.clock.now, nonce=old))

    chain = run(lambda: told(tmp_path, story, "dpop_nonce = true"))
    assert '"refused"' not in chain.log()


def test_a_token_that_is_bound_to_a_certificate_counts_beside_it_alone(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        certificate = b"any certificate, which the listener has verified"
        token = issuer.token(cnf={"x5t#S256": b64(hashlib.sha256(certificate).digest())})
        await chain.bearer(token, certificate=certificate)
        with pytest.raises(PeerError, match="and another one was shown"):
            await chain.bearer(token, certificate=b"another")

    run(lambda: told(tmp_path, story))


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("Bearer abc", ("bearer", "abc")),
        ("dPoP  abc ", ("dpop", "abc")),
        ("abc", ("bearer", "abc")),
        ("", ("bearer", "")),
        ("Basic dTpw", ("basic", "dTpw")),
    ],
)
def test_the_field_in_its_parts(field: str, parts: tuple[str, str]) -> None:
    assert credential(field) == parts


def test_a_password_is_no_token(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        with pytest.raises(PeerError, match="no token was shown"):
            await chain.chain.authenticate(Presented(authorization="Basic dTpw"), ("jwt",))

    run(lambda: told(tmp_path, story))
