"""What it costs to know a peer beyond stdio, and what a flood of wrong keys costs the others.

    .venv/bin/python -m tests.bench.tokens [--json]

`jwt`: a token of a real provider on loopback: the first time (its keys are there), and each time after. `apikey`: a good
key, a wrong secret of a key that exists, and an id that does not. `flood`: the 99th percentile of good callers alone, and
of good callers between 10,000 wrong keys in the same loop, as if nothing throttled them. Nothing fails on microseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from mcpguard.credentials import apikey
from mcpguard.errors import PeerError
from tests.daemon.chains import Chain, jwt
from tests.fakes.issuer import Holder, Issuer

ROUNDS, CALLS, WRONG = 201, 50, 10_000


async def cost(once: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of one call: the best of rounds, since others use the machine, too."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            await once()
        found.append((time.perf_counter() - began) / CALLS * 1e6)
    return min(found)


async def each(things: list[str], once: Callable[[str], Awaitable[object]]) -> float:
    """Likewise of what can be done once only: a tenth of them took at most this."""
    times = []
    for thing in things:
        began = time.perf_counter()
        await once(thing)
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.quantiles(times, n=10)[0]


async def refused(chain: Chain, key: str) -> None:
    try:
        await chain.bearer(key, "apikey")
    except PeerError:
        return
    raise AssertionError("a wrong key was let in")


async def tokens(chain: Chain, issuer: Issuer) -> dict[str, float]:
    found = {}
    for alg in ("ES256", "RS256", "Ed25519"):
        issuer.rotate(alg, alg)
        chain.clock.now += 601
        await chain.bearer(issuer.token())
        found[f"first, {alg}"] = await each([issuer.token() for _ in range(200)], chain.bearer)
    token = issuer.token()
    found["known"] = await cost(lambda: chain.bearer(token))
    big = issuer.token(groups=[f"group-{number}" for number in range(100)])
    found["known, 100 groups"] = await cost(lambda: chain.bearer(big))
    holder = Holder()
    bound = issuer.token(cnf={"jkt": holder.thumbprint})
    proofs = [holder.proof(bound, chain.clock.now) for _ in range(200)]
    found["known, with a DPoP proof"] = await each(
        proofs, lambda proof: chain.bearer(bound, scheme="DPoP", dpop=proof)
    )
    return found


async def keys(chain: Chain) -> dict[str, float]:
    good = chain.key()
    ident = good.split("_")[1]
    wrong, strange = (apikey.write(one, secrets.token_bytes(32)) for one in (ident, "a" * 10))
    return {
        "good": await cost(lambda: chain.bearer(good, "apikey")),
        "wrong secret": await cost(lambda: refused(chain, wrong)),
        "unknown id": await cost(lambda: refused(chain, strange)),
    }


async def flood(chain: Chain) -> dict[str, float]:
    """Each good call waits for its turn in the loop behind whatever comes before it; CPU time of the loop's thread."""
    good = chain.key("good")
    wrong = [
        apikey.write(apikey.identifier(secrets.token_bytes(8)), secrets.token_bytes(32)) for _ in range(WRONG)
    ]

    async def caller(done: asyncio.Event, times: list[float]) -> None:
        while not done.is_set():
            began = time.thread_time()
            await asyncio.sleep(0)
            await chain.bearer(good, "apikey")
            times.append((time.thread_time() - began) * 1e6)

    async def strangers(done: asyncio.Event) -> None:
        for key in wrong:
            await refused(chain, key)
            await asyncio.sleep(0)
        done.set()

    async def nobody(done: asyncio.Event) -> None:
        for _ in range(WRONG):
            await asyncio.sleep(0)
        done.set()

    figures = {}
    for name, others in (("alone", nobody), ("in the flood", strangers)):
        done, times = asyncio.Event(), list[float]()
        await asyncio.gather(caller(done, times), others(done))
        figures[f"p50 {name}"] = statistics.median(times)
        figures[f"p99 {name}"] = statistics.quantiles(times, n=100)[98]
    return figures


async def measured() -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as place:
        async with Issuer() as issuer:
            chain = Chain(Path(place), jwt(issuer), issuer)
            found = {
                "jwt": await tokens(chain, issuer),
                "apikey": await keys(chain),
                "flood": await flood(chain),
            }
            await chain.close()
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measured())
    if as_json:
        print(json.dumps(found))
        return
    for kind, figures in found.items():
        for name, micros in figures.items():
            print(f"{kind:8} {name:28} {micros:9.1f} us")


if __name__ == "__main__":
    main()
