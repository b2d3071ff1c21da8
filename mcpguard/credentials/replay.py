"""Ids that count once: of tokens that may be used a single time, and of proofs (RFC 7519 4.1.7, RFC 9449 11.1).

Rule: an id is remembered until its time is over. When so many are that no more fit, the next one is refused: what is
forgotten early could be used twice.
"""

from __future__ import annotations

import hashlib
import heapq
from typing import Final

from mcpguard.errors import PeerError

IDS: Final = 65_536
"""Ids that are remembered at a time, some 10 MiB."""


class ReplayCache:
    """Remembers ids of one kind; `what` names it in sentences."""

    def __init__(self, what: str, most: int = IDS) -> None:
        self._what = what
        self._most = most
        self._seen: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def use(self, scope: str, ident: str, until: float, now: float) -> None:
        """Use an id up. Order: its signature was verified; strangers must not fill this.

        Args:
            scope: Whose id it is: ids of two issuers are different ones.
            ident: The id.
            until: Unix seconds from which it need not be remembered, since it is refused for its age.
            now: Unix seconds.

        Raises:
            PeerError: It was used before, or there is no room.
        """
        while self._ends and self._ends[0][0] <= now:
            self._seen.discard(heapq.heappop(self._ends)[1])
        name = hashlib.blake2b(f"{len(scope)}:{scope}{ident}".encode(), digest_size=16).digest()
        if name in self._seen:
            raise PeerError(f"the {self._what} was used before", hint="make a new one for each use")
        if len(self._seen) >= self._most:
            raise PeerError(f"too many {self._what}s came in a short time", hint="try again in a minute")
        self._seen.add(name)
        heapq.heappush(self._ends, (until, name))
