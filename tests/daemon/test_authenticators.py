"""The chain with every kind: what is required must be there, is combined so that it narrows, and is looked at again."""

import datetime as dt
import hashlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpguard.audit.detectors import Detectors
from mcpguard.audit.seen import Seen
from mcpguard.credentials import apikey, jws
from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.daemon.combining import combined
from mcpguard.errors import PeerError
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.scoped import within
from tests.daemon.chains import START, Chain, told
from tests.daemon.loops import run
from tests.fakes.issuer import AUDIENCE, Holder, Issuer


def certificate(*names: str) -> bytes:
    """A client certificate, DER."""
    made = trustme.CA().issue_cert(*names, not_after=dt.datetime.fromtimestamp(START + 900, dt.UTC))
    return x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)


def alone(place: Path, story, text: str = "") -> Chain:
    """A story with a chain that trusts no issuer."""

    async def whole() -> Chain:
        chain = Chain(place, text)
        try:
            await story(chain)
        finally:
            await chain.close()
        return chain

    return run(whole)


@pytest.mark.parametrize("required", [(), ("plugin:badge",), ("cert",), ("jwt", "magic"), ("apikey", "")])
def test_a_listener_that_asks_for_nothing_lets_nobody_in(tmp_path: Path, required: tuple[str, ...]) -> None:
    async def story(chain: Chain) -> None:
        with pytest.raises(PeerError, match="does not say how peers are recognised"):
            await chain.chain.authenticate(Presented(uid=0, certificate=certificate("a")), required)

    alone(tmp_path, story)


def test_a_token_and_the_connection_narrow_each_other(tmp_path: Path) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        shown = Authenticated(
            frozenset(["cert:agent.example"]), {"certificate": "c"}, START + 60, instance="cert:1"
        )
        presented = Presented(authorization=f"Bearer {issuer.token()}", url=AUDIENCE, network="192.0.2.7")
        found = await chain.chain.authenticate(presented, ("jwt",), shown)
        assert found.principals == {f"jwt:{issuer.url}#agent-7", "claim:groups=dev", "claim:groups=ops"}
        assert found.instance.startswith("jwt:"), "its own, since the connection has one already"
        both = combined([shown, found])
        assert {"cert:agent.example", "claim:groups=ops"} < both.principals
        assert both.expires == START + 60, "the earliest counts"
        assert (found.servers, found.tools) == (("files",), ())
        assert set(found.evidence) == {"auth", "jwt"}
        with pytest.raises(PeerError, match="no token was shown"):
            await chain.chain.authenticate(Presented(network="192.0.2.7"), ("jwt",), shown)
        assert chain.chain.failures == {"jwt": 1}

    run(lambda: told(tmp_path, story, 'servers = "files"'))


# --- scopes -----------------------------------------------------------------------------------------------


def scoped(*servers: str, expires: float = 0.0) -> Authenticated:
    return Authenticated(frozenset(), {}, expires, servers)


def test_scopes_that_have_nothing_in_common_reach_nothing_rather_than_all() -> None:
    assert combined([scoped(), scoped()]).servers == ()
    assert combined([scoped("a*"), scoped()]).servers == ("a*",)
    assert combined([scoped("a*", "b"), scoped("abc", "b", "c")]).servers == ("b", "abc")
    for one, other in ((("a",), ("b",)), (("a*",), ("*b",)), (("?",), ("*",))):
        if one == ("?",):
            assert combined([scoped(*one), scoped(*other)]).servers == ("?",)
            continue
        with pytest.raises(PeerError, match="none in common"):
            combined([scoped(*one), scoped(*other)])
    assert combined([scoped(expires=5), scoped(expires=0), scoped(expires=3)]).expires == 3


PATTERN = st.text("ab*?", min_size=1, max_size=6)


@given(PATTERN, PATTERN, st.text("ab", max_size=6))
def test_what_lies_within_a_pattern_matches_nothing_else(inner: str, outer: str, name: str) -> None:
    if within(inner, (outer,)) and compile_pattern(inner).matches(name):
        assert compile_pattern(outer).matches(name), (inner, outer, name)


@given(st.lists(PATTERN, max_size=3), st.lists(PATTERN, max_size=3), st.text("ab", max_size=6))
def test_together_they_never_reach_what_one_of_them_does_not(
    ours: list[str], theirs: list[str], name: str
) -> None:
    def reaches(patterns: tuple[str, ...]) -> bool:
        return not patterns or any(compile_pattern(one).matches(name) for one in patterns)

    try:
        both = combined([scoped(*ours), scoped(*theirs)]).servers
    except PeerError:
        return
    assert not reaches(both) or (reaches(tuple(ours)) and reaches(tuple(theirs)))


# --- API keys over the chain ------------------------------------------------------------------------------


def test_74_a_key_that_was_stolen_is_worth_nothing_to_another_user_elsewhere_or_without_the_certificate(
    tmp_path: Path,
) -> None:
    async def story(chain: Chain) -> None:
        mine, theirs = certificate("mine.example"), certificate("theirs.example")
        pin = hashlib.sha256(mine).hexdigest()
        by_user = chain.key("user", '{"uids":[1000]}')
        by_cert = chain.key("cert", json.dumps({"certificates": [pin]}))
        by_net = chain.key("net", '{"networks":["192.0.2.0/24","2001:db8::/32"]}')
        assert (await chain.bearer(by_user, "apikey", uid=1000, network="")).instance.startswith("key:")
        await chain.bearer(by_cert, "apikey", certificate=mine)
        for network in ("192.0.2.9", "2001:db8::1", "::ffff:192.0.2.9"):
            await chain.bearer(by_net, "apikey", network=network)
        for key, circumstances, words in [
            (by_user, {"uid": 1001, "network": ""}, "bound to a user, and was shown by uid 1001"),
            (by_user, {"uid": None}, "by another machine"),
            (by_cert, {"certificate": theirs}, "with another one"),
            (by_cert, {}, "without one"),
            (by_net, {"network": "198.51.100.1"}, "came from 198.51.100.1"),
            (by_net, {"network": "", "uid": 1000}, "came from a Unix socket"),
            (by_net, {"network": "192.0.2.9.evil"}, "bound to a network"),
        ]:
            with pytest.raises(PeerError, match=words) as caught:
                await chain.bearer(key, "apikey", **circumstances)
            assert key not in caught.value.sentence()

    chain = alone(tmp_path, story)
    assert "mcpg_" not in chain.log()
    assert chain.log().count('"event":"refused"') == 7


def test_a_key_that_is_revoked_ends_what_is_connected_at_once(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key("ci", '{"servers":["files"],"tools":["read_*"],"seconds":3600}')
        found = await chain.bearer(key, "apikey")
        assert (found.servers, found.tools, found.expires) == (("files",), ("read_*",), START + 3600)
        assert found.principals == {found.instance}
        await chain.chain.recheck(found)
        assert chain.chain.still(found) == ""
        chain.verb("apikey-revoke", "ci", reason="lost")
        assert "is revoked" in chain.chain.still(found)
        assert chain.ended == [found.instance.removeprefix("key:")]
        for again in (chain.chain.recheck(found), chain.bearer(key, "apikey")):
            with pytest.raises(PeerError, match=r"is revoked|not known here"):
                await again

    log = alone(tmp_path, story).log()
    assert '"event":"revoked"' in log
    assert '"reason":"lost"' in log


def test_rotation_with_100_connections_fails_no_call_and_the_old_one_ends_after_the_overlap(
    tmp_path: Path,
) -> None:
    async def story(chain: Chain) -> None:
        old = chain.key("ci")
        found = [await chain.bearer(old, "apikey") for _ in range(100)]
        new = str(chain.verb("apikey-rotate", "ci", seconds=3600.0)["key"])
        for each in found:
            assert chain.chain.still(each) == ""
            assert (await chain.chain.renew(each, Presented())).expires == START + 3600
        assert (await chain.bearer(old, "apikey")).expires == START + 3600
        assert (await chain.bearer(new, "apikey")).principals == found[0].principals, "policy goes on to hold"
        chain.clock.now += 3600
        for again in (chain.chain.recheck(found[0]), chain.bearer(old, "apikey")):
            with pytest.raises(PeerError, match="the overlap is over"):
                await again
        await chain.bearer(new, "apikey")
        last = str(chain.verb("apikey-rotate", "ci", seconds=0.0)["key"])
        with pytest.raises(PeerError, match="not known here"):
            await chain.bearer(new, "apikey")
        await chain.bearer(last, "apikey")

    alone(tmp_path, story)


def test_a_wrong_key_costs_what_an_unknown_one_costs_and_good_ones_do_not_wait(tmp_path: Path) -> None:
    """10,000 wrong keys; tests/bench/tokens.py has the figures. Here: of one size, within a wide margin."""

    async def story(chain: Chain) -> None:
        good = chain.key("ci")
        ident = good.split("_")[1]
        known = [apikey.write(ident, bytes([number % 256, number // 256] * 16)) for number in range(1000)]
        strange = [
            apikey.write("a" * 10, bytes([number % 256, number // 256] * 16)) for number in range(1000)
        ]

        async def cost(key: str) -> float:
            began = time.perf_counter()
            with pytest.raises(PeerError, match="not known here"):
                await chain.bearer(key, "apikey")
            return time.perf_counter() - began

        costs = [(await cost(one), await cost(other)) for one, other in zip(known, strange, strict=True)]
        ratio = statistics.median(one for one, _ in costs) / statistics.median(other for _, other in costs)
        assert 0.5 < ratio < 2.0, ratio
        await chain.bearer(good, "apikey")
        assert chain.chain.failures["apikey"] == 2000

    chain = alone(tmp_path, story)
    assert chain.log().count('"event":"refused"') < 200, "a flood fills no log"


def test_failures_again_and_again_are_a_finding(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        for _ in range(10):
            with pytest.raises(PeerError):
                await chain.bearer("mcpg_nonsense", "apikey", network="198.51.100.9")

    chain = alone(tmp_path, story)
    detectors = Detectors()
    found = [
        finding
        for line in chain.log().splitlines()
        if (body := json.loads(line))["type"] == "session"
        for finding in detectors.take(Seen(START, body, body["seq"]))
    ]
    assert [one.kind for one in found if one.kind == "auth-failures"] == ["auth-failures"]


TEXT = st.text(max_size=60) | st.text("\ud800é\x00 .Aa1", max_size=40)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(TEXT, TEXT, TEXT, st.binary(max_size=40), st.none() | st.integers(0, 5)),
        min_size=30,
        max_size=60,
    )
)
def test_whatever_a_peer_shows_it_is_let_in_or_refused_with_a_sentence(
    tmp_path: Path, shown: list[Any]
) -> None:
    sentences: list[str] = []

    async def story(chain: Chain, issuer: Issuer) -> None:
        holder = Holder()
        bound = issuer.token(cnf={"jkt": holder.thumbprint})
        for scheme, text, other, certificate, uid in shown:
            proofs = [
                holder.proof(bound, START, **{name: text})
                for name in ("jti", "htm", "htu", "ath", "nonce", "iat")
            ]
            tries = [
                Presented(uid, certificate, other, f"{scheme} {text}", other),
                Presented(uid, certificate, other, f"Bearer {text}", other),
                Presented(uid, certificate, other, f"Bearer mcpg_{text}", other),
                Presented(
                    uid,
                    certificate,
                    other,
                    f"Bearer {issuer.token(sub=text, jti=text, cnf={'jkt': other})}",
                    other,
                ),
                Presented(uid, certificate, other, f"Bearer {issuer.token(cnf={'x5t#S256': text})}", other),
                *(
                    Presented(uid, certificate, other, f"DPoP {bound}", proof, "POST", text)
                    for proof in proofs
                ),
            ]
            for presented in tries:
                for kinds in (("jwt",), ("apikey",), ("cert",), ("apikey", "jwt")):
                    try:
                        await chain.chain.authenticate(presented, kinds)
                    except PeerError as error:
                        sentences.append(error.sentence())

    with TemporaryDirectory() as place:
        run(lambda: told(Path(place), story))
    assert not any("\n" in sentence for sentence in sentences)


EXTRAS = ("jwt", "aiohttp", "pyrage")
COSTLY = ("ssl", "importlib.metadata", "cryptography.x509")


def imported(*modules: str) -> set[str]:
    """What of the above a process has after it has imported these."""
    text = f"import sys, {', '.join(modules)}\nprint(*(name for name in {(*EXTRAS, *COSTLY)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_nothing_of_an_extra_is_imported_before_it_is_needed() -> None:
    ours = imported("mcpguard.daemon.app", "mcpguard.daemon.authenticators")
    assert ours.isdisjoint(EXTRAS)
    assert ours <= imported(
        "asyncio", "uvloop", "mcpguard.daemon.keeping", "mcpguard.identity.keys", "cryptography"
    )


def test_without_the_extra_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(chain: Chain, issuer: Issuer) -> None:
        text = (chain.place / "auth" / "auth.toml").read_text()
        monkeypatch.setattr(jws, "_loaded", {})
        monkeypatch.setitem(sys.modules, "jwt.algorithms", None)
        chain.write(text + "\n")
        chain.chain.reload()
        assert "pip install 'mcpguard[http]'" in chain.chain.fault
        with pytest.raises(PeerError, match="how peers are recognised is not known"):
            await chain.bearer(issuer.token())

    run(lambda: told(tmp_path, story))


# --- configuration ----------------------------------------------------------------------------------------


def test_while_auth_toml_is_not_valid_nobody_is_let_in(tmp_path: Path) -> None:
    async def story(chain: Chain) -> None:
        key = chain.key()
        with pytest.raises(PeerError, match="how peers are recognised is not known"):
            await chain.bearer(key, "apikey")
        assert "auth.toml:2" in chain.chain.fault
        chain.write("version = 1\n")
        await chain.chain.tick()
        assert chain.chain.fault == ""
        await chain.bearer(key, "apikey")

    alone(tmp_path, story, "version = 1\nnonsense = 2\n")


def test_introspection_vouches_for_opaque_tokens(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")

    def text(issuer: Issuer, secret: Path) -> str:
        return (
            f'version = 1\n[introspection.corp]\nissuer = "{issuer.url}"\naudience = "{AUDIENCE}"\n'
            f'url = "{issuer.url}/introspect"\nclient_id = "host"\nclient_secret_file = "{secret}"\n'
            'claims = ["groups"]\ncache = "60s"\n'
        )

    async def story(chain: Chain, issuer: Issuer) -> None:
        chain.write(text(issuer, tmp_path / "secret"))
        chain.chain.reload()
        issuer.opaque["tok-1"] = {**issuer.claims(), "client_id": "app"}
        found = await chain.bearer("tok-1")
        assert f"jwt:{issuer.url}#agent-7" in found.principals
        assert "tok-1" not in json.dumps(found.evidence)
        for _ in range(20):
            await chain.bearer("tok-1")
        assert issuer.asked["introspect"] == 1
        for _ in range(20):
            with pytest.raises(PeerError, match="is not active"):
                await chain.bearer("tok-2")
        assert issuer.asked["introspect"] == 2
        await chain.chain.recheck(found)
        del issuer.opaque["tok-1"]  # revoked there
        chain.clock.now += 61
        with pytest.raises(PeerError, match="is not active"):
            await chain.chain.recheck(found)
        issuer.opaque["tok-3"] = issuer.claims(aud="https://other.example")
        with pytest.raises(PeerError, match="for somebody else"):
            await chain.bearer("tok-3")
        issuer.away = True
        with pytest.raises(PeerError, match="does not say whether it counts"):
            await chain.bearer("tok-4")
        issuer.away = False
        (tmp_path / "secret").write_text("wrong")
        with pytest.raises(PeerError, match="answers with status 401"):
            await chain.bearer("tok-5")
        (tmp_path / "secret").unlink()
        with pytest.raises(PeerError, match="our own secret for it cannot be read"):
            await chain.bearer("tok-6")
        asked = issuer.asked["introspect"]
        for number in range(700):
            with pytest.raises(PeerError):
                await chain.bearer(f"flood-{number}")
        with pytest.raises(PeerError, match="too many tokens"):
            await chain.bearer("one-more")
        assert issuer.asked["introspect"] - asked <= 600
        with pytest.raises(PeerError, match=r"not known any more|too many tokens"):
            await chain.chain.recheck(found)

    run(lambda: told(tmp_path, story))
