"""How much was let through: rates, requests in flight, budgets of a day.

Rule: looking takes nothing; what was looked at is taken when the request is forwarded.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcpguard.model import Charge


class Meters:
    """All meters of a daemon."""

    __slots__ = ()

    def shortage(self, charge: Charge, now: int, unix: float) -> str:
        """Why a request may not take this now, as the end of a sentence; empty if it may."""
        raise NotImplementedError

    def take(self, charges: Iterable[Charge], now: int, unix: float) -> None:
        """A request is forwarded."""
        raise NotImplementedError

    def give_back(self, charges: Iterable[Charge]) -> None:
        """A forwarded request was answered, or will not be."""
        raise NotImplementedError
