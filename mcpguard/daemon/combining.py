"""Several kinds of evidence about one peer, as one: each can only narrow what the others give.

Decided:
    *Scopes are intersected by patterns that lie within each other*, so that `a*` with `*b` is nothing; rejected:
    keeping both lists for every call, which every user of the result would have to know about.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import PeerError
from mcpguard.policy.scoped import common


def combined(parts: Sequence[Authenticated]) -> Authenticated:
    """Principals of all, what all scopes allow, the earliest expiry; evidence and instance are those of the first.

    Raises:
        PeerError: Their scopes have nothing in common.
    """
    whole, *others = parts
    for other in others:
        whole = Authenticated(
            whole.principals | other.principals,
            whole.evidence,
            earliest(whole.expires, other.expires),
            _common(whole.servers, other.servers, "servers"),
            _common(whole.tools, other.tools, "tools"),
            whole.instance,
        )
    return whole


def earliest(*moments: float) -> float:
    """The first of some moments, of which 0.0 is never."""
    return min((each for each in moments if each), default=0.0)


def _common(ours: tuple[str, ...], theirs: tuple[str, ...], what: str) -> tuple[str, ...]:
    both = common(ours, theirs)
    if both is None:
        raise PeerError(f"what was shown together reaches no {what}: their scopes have none in common")
    return both
