"""Keeps networks away that show wrong credentials again and again, and not those beside them that show right ones.

Rule 1: who is kept away is not looked at: no credential of it is checked, so that guessing costs us nothing.
Rule 2: a credential that was right from this network a moment ago is looked at all the same. A flood of wrong keys
does not keep out whoever shares the address; it does keep out who comes there for the first time meanwhile.
Rule 3: everything here is bounded, and what is forgotten first is what was seen longest ago.

Networks are an IPv4 address, the first 64 bits of an IPv6 address, or the user id of a local peer.

Not here: comparing secrets (authenticators); who counts as failed (`daemon.httpdoor`, `daemon.linedoor`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mcpguard import limits
from mcpguard.credentials.presented import Presented

_MINUTE: Final = 60.0
_PROVEN_SECONDS: Final = 3600.0


class _Network:
    """What is known of one network."""

    __slots__ = ("began", "failures", "locked", "until")

    def __init__(self, now: float) -> None:
        self.began = now
        self.failures = 0
        self.locked = 0
        self.until = 0.0


class Throttle:
    """Failures by network; `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._networks: OrderedDict[str, _Network] = OrderedDict()
        self._proven: OrderedDict[bytes, float] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def wait(self, presented: Presented) -> int:
        """In how many seconds a peer may come back, rounded up; 0 if it may be looked at now."""
        known = self._networks.get(network_of(presented))
        now = self._clock()
        if known is None or known.until <= now:
            return 0
        if self._proven.get(self._digest(presented), 0.0) > now:
            return 0
        return math.ceil(known.until - now)

    def failed(self, presented: Presented) -> None:
        """A peer showed a wrong credential; one that was right before is no longer."""
        now = self._clock()
        self._proven.pop(self._digest(presented), None)
        name = network_of(presented)
        known = self._networks.get(name)
        if known is None:
            known = self._networks[name] = _Network(now)
            if len(self._networks) > limits.NETWORKS:
                self._networks.popitem(last=False)
        self._networks.move_to_end(name)
        quiet = now - max(known.until, known.began)
        if quiet > _MINUTE:
            if quiet > limits.LOCKOUT_MOST_SECONDS:
                known.locked = 0
            known.began, known.failures = now, 0
        known.failures += 1
        if known.failures > limits.FAILURES:
            pause = min(limits.LOCKOUT_SECONDS * 2.0**known.locked, limits.LOCKOUT_MOST_SECONDS)
            known.until, known.locked = now + pause, min(known.locked + 1, 16)
            known.began, known.failures = now, limits.FAILURES  # one more after it, and it is kept away again

    def proved(self, presented: Presented) -> None:
        """A peer showed a right credential."""
        digest = self._digest(presented)
        self._proven[digest] = self._clock() + _PROVEN_SECONDS
        self._proven.move_to_end(digest)
        if len(self._proven) > limits.PROVEN:
            self._proven.popitem(last=False)

    def _digest(self, presented: Presented) -> bytes:
        hashed = hashlib.blake2b(key=self._key, digest_size=16)
        for part in (network_of(presented).encode(), presented.authorization.encode(), presented.certificate):
            hashed.update(b"%d:" % len(part) + part)
        return hashed.digest()


def network_of(presented: Presented) -> str:
    """What failures are counted under."""
    if not presented.network:
        return f"uid {presented.uid}"
    try:
        address = ipaddress.ip_address(presented.network.partition("%")[0])
    except ValueError:
        return presented.network
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
