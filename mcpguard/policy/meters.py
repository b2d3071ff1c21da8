"""How much was let through: rates, requests in flight, budgets of a day.

Rule 1: looking takes nothing; what was looked at is taken when the request is forwarded.
Rule 2: in no time as long as that of a rate, wherever it begins, more passes than the rate says.
Rule 3: a budget comes back at midnight in its zone. Neither a restart gives it back (`dump`, `load`) nor a clock that
is set back, since a day before the last one counts as the last one. A clock that is set forward does.
Rule 4: what is counted apart is bounded (`limits.METERS`, `limits.METERS_OF_ONE`); beyond it nothing new passes.

Decided:
    *Sliding windows*; rejected: fixed windows and token buckets, which both let twice the rate through where two of
    their windows meet. Up to 64 requests each one is remembered; for higher rates the window is cut into 64 parts,
    and a request counts until its part has left the window, so that at worst 1/64 of the window is waited too long.
    *A counter of names of its own for each rule and connection*, because names come from outside: a host that calls
    names without end stops itself, not the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import date
from typing import Final

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.model import DAY, Charge, Json, JsonObject
from mcpguard.policy.zones import local

_PARTS: Final = 64
_SECOND: Final = 1_000_000_000
_BETWEEN: Final = "\x1f"
_FILE: Final = "budgets"


def key_of(*parts: str) -> str:
    """The name of a meter; the last part is what comes from outside, and may be empty."""
    return _BETWEEN.join(parts)


class Meters:
    """All meters of a daemon."""

    __slots__ = ("_days", "_flights", "_owners", "_swept", "_windows")

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._flights: dict[str, int] = {}
        self._days: dict[str, _Day] = {}
        self._owners: dict[str, int] = {}
        self._swept = 0

    def shortage(self, charge: Charge, now: int, unix: float) -> str:
        """Why a request may not take this now, as the end of a sentence; empty if it may."""
        if charge.seconds == DAY:
            return self._of_the_day(charge, now, unix)
        if not charge.seconds:
            flying = self._flights.get(charge.key, 0)
            if flying < charge.limit:
                return "" if flying else self._crowded(charge.key, now, unix)
            return "is used up until one of its requests is answered"
        window = self._windows.get(charge.key)
        if window is None:
            return self._crowded(charge.key, now, unix) if charge.limit > 0 else "is used up"
        if not (wait := window.wait(charge, now)):
            return ""
        return f"is used up, again in {_duration(wait)}"

    def take(self, charges: Iterable[Charge], now: int, unix: float) -> None:
        """A request is forwarded."""
        for charge in charges:
            if charge.seconds == DAY:
                self._spend(charge, now, unix)
            elif not charge.seconds:
                flying = self._flights.get(charge.key, 0)
                if flying or self._admit(charge.key, now, unix):
                    self._flights[charge.key] = flying + 1
            else:
                window = self._windows.get(charge.key)
                if window is None and self._admit(charge.key, now, unix):
                    window = self._windows[charge.key] = _Window(charge)
                if window is not None:
                    window.take(charge, now)

    def give_back(self, charges: Iterable[Charge]) -> None:
        """A forwarded request was answered, or will not be."""
        for charge in charges:
            if charge.seconds or charge.key not in self._flights:
                continue
            self._flights[charge.key] -= 1
            if self._flights[charge.key] <= 0:
                del self._flights[charge.key]
                self._leave(charge.key)

    def dump(self) -> JsonObject:
        """The budgets of days, for `load` after a restart."""
        return {key: [day.zone, day.date.isoformat(), day.spent] for key, day in self._days.items()}

    def load(self, saved: JsonObject) -> None:
        """Go on from what `dump` gave.

        Raises:
            ConfigError: It is something else; nothing was loaded.
        """
        if type(saved) is not dict or len(saved) > limits.METERS:
            raise ConfigError(f"expected an object of at most {limits.METERS} budgets", file=_FILE)
        days = {key: _saved_day(key, value) for key, value in saved.items()}
        for key, day in days.items():
            known = self._days.get(key)
            if known is None:
                self._join(key)
            if known is None or (day.date, day.spent) > (known.date, known.spent):
                self._days[key] = day

    def _of_the_day(self, charge: Charge, now: int, unix: float) -> str:
        day = self._days.get(charge.key)
        today = _today(unix, charge.zone)
        if today is None:
            return f"cannot be counted, since the time zone {charge.zone} is not known"
        if day is None:
            return self._crowded(charge.key, now, unix) if charge.limit > 0 else "is used up"
        if day.date >= today and day.spent >= charge.limit:
            return f"is used up until midnight in {charge.zone or 'local time'}"
        return "" if charge.limit > 0 else "is used up"

    def _spend(self, charge: Charge, now: int, unix: float) -> None:
        day = self._days.get(charge.key)
        today = _today(unix, charge.zone)
        if today is None or (day is None and not self._admit(charge.key, now, unix)):
            return
        if day is None or day.date < today:
            day = self._days[charge.key] = _Day(charge.zone, today)
        day.spent += 1

    def _crowded(self, key: str, now: int, unix: float) -> str:
        """Why no new meter may begin; empty if one may."""
        if self._room(key) or self._sweep(key, now, unix):
            return ""
        return "cannot be counted, since too many names are counted apart"

    def _admit(self, key: str, now: int, unix: float) -> bool:
        """Begin a new meter, if there is room."""
        if self._crowded(key, now, unix):
            return False
        self._join(key)
        return True

    def _room(self, key: str) -> bool:
        count = len(self._windows) + len(self._flights) + len(self._days)
        return count < limits.METERS and self._owners.get(_owner(key), 0) < limits.METERS_OF_ONE

    def _join(self, key: str) -> None:
        owner = _owner(key)
        self._owners[owner] = self._owners.get(owner, 0) + 1

    def _leave(self, key: str) -> None:
        owner = _owner(key)
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]

    def _sweep(self, key: str, now: int, unix: float) -> bool:
        """Forget what has run out, once a second at most, since it looks at everything."""
        if self._swept and now - self._swept < _SECOND:
            return False
        self._swept = now
        for idle in [name for name, window in self._windows.items() if window.idle(now)]:
            del self._windows[idle]
            self._leave(idle)
        todays = {zone: _today(unix, zone) for zone in {day.zone for day in self._days.values()}}
        for past in [name for name, day in self._days.items() if _before(day.date, todays[day.zone])]:
            del self._days[past]
            self._leave(past)
        return self._room(key)


class _Window:
    """Requests of one rate; each entry is a part of the window and how many are in it."""

    __slots__ = ("_charge", "_ends", "_grain", "_length", "_parts", "_used")

    def __init__(self, charge: Charge) -> None:
        self._parts: deque[list[int]] = deque()
        self._used = 0
        self._ends = 0
        self._measure(charge)

    def _measure(self, charge: Charge) -> None:
        """Its length and how finely it counts, nanoseconds; both change if the policy does."""
        self._charge = charge
        self._length = int(charge.seconds * _SECOND)
        self._grain = 1 if charge.limit <= _PARTS else max(1, self._length // _PARTS)
        if self._parts:
            self._ends = max(self._ends, self._parts[-1][0] + self._length)

    def wait(self, charge: Charge, now: int) -> int:
        """Nanoseconds until one may pass; 0 if it may now."""
        if charge is not self._charge:
            self._measure(charge)
        parts, until = self._parts, now - self._length
        if parts and parts[0][0] <= until:
            self._forget(until)
        if self._used < charge.limit:
            return 0
        return max(1, parts[0][0] + self._length - now) if parts else self._length

    def take(self, charge: Charge, now: int) -> None:
        if charge is not self._charge:
            self._measure(charge)
        parts, grain, until = self._parts, self._grain, now - self._length
        end = now if grain == 1 else (now // grain + 1) * grain
        if parts and parts[0][0] <= until:
            self._forget(until)
        if parts and parts[-1][0] >= end:
            parts[-1][1] += 1
        else:
            parts.append([end, 1])
            self._ends = max(self._ends, end + self._length)
        self._used += 1
        while self._used - parts[0][1] >= charge.limit > 0:  # only where verdicts do not bind
            self._used -= parts.popleft()[1]

    def idle(self, now: int) -> bool:
        return self._ends <= now

    def _forget(self, until: int) -> None:
        while self._parts and self._parts[0][0] <= until:
            self._used -= self._parts.popleft()[1]


class _Day:
    """What was spent of one budget on its last day."""

    __slots__ = ("date", "spent", "zone")

    def __init__(self, zone: str, today: date, spent: int = 0) -> None:
        self.zone = zone
        self.date = today
        self.spent = spent


def _owner(key: str) -> str:
    return key.rpartition(_BETWEEN)[0]


def _today(unix: float, zone: str) -> date | None:
    try:
        moment = local(unix, zone)
    except (OverflowError, ValueError, OSError):
        return None
    return None if moment is None else moment.date()


def _before(day: date, today: date | None) -> bool:
    return today is not None and day < today


def _saved_day(key: str, value: Json) -> _Day:
    fault = ConfigError("expected a zone, a date and a number for each budget", file=_FILE, key=ascii(key))
    if type(value) is not list or [type(part) for part in value] != [str, str, int] or value[2] < 0:
        raise fault
    try:
        return _Day(value[0], date.fromisoformat(value[1]), value[2])
    except ValueError as error:
        raise fault from error


def _duration(nanoseconds: int) -> str:
    seconds = -(-nanoseconds // _SECOND)
    if seconds < 120:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{-(-minutes // 60)} h"
