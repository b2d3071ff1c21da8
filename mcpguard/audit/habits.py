"""What is unusual, compared with what was seen before: hosts, tools, hours, volumes, places of credentials.

What was learned is a value (`dump`, `load`), small and bounded, that a daemon hands to the next one. If it is lost
it is learned again, from the log or from now on; what is new is then learned before anything is found.

Decided:
    *Names of tools are kept as digests of 8 bytes*, because they come from outside and may be long; rejected: the
    names.
    *A volume is compared with the mean of hours that had traffic*, because agents rest for days and then work;
    rejected: a mean over all hours, which makes every morning unusual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from mcpguard.audit.bounded import NAME_CHARS, Table
from mcpguard.audit.findings import Finding, Severity, Thresholds
from mcpguard.audit.seen import Seen
from mcpguard.model import JsonObject

HOSTS: Final = 256
SERVERS: Final = 256
TOOLS: Final = 256
"""Hosts, servers, and tools of each, that are remembered."""
PAIRS: Final = 512
"""Pairs of host and server whose volume is."""
CREDENTIALS: Final = 512
PLACES: Final = 8
"""Credentials, and places of each, likewise."""
_HOUR: Final = 3600
_DAY: Final = 86_400
_USES: Final = ("given", "filled")
"""What happens to a secret when it is used."""
_SPREAD: Final = 6.0
"""A volume is unusual only beyond so many mean deviations, too."""
_MEMORY: Final = 48
"""Hours over which means are taken, about."""


class Hours(msgspec.Struct):
    """When one host is active.

    Attributes:
        days: Days on which it was.
        last: The last of them, days since 1970.
        hours: For each hour of the day, local time, on how many days it was active then.
        lasts: For each hour, the last of them.
    """

    days: int = 0
    last: int = -1
    hours: list[int] = msgspec.field(default_factory=lambda: [0] * 24)
    lasts: list[int] = msgspec.field(default_factory=lambda: [-1] * 24)


class Tools(msgspec.Struct):
    """What is called on one server. `since`: when it was first seen, seconds since 1970."""

    since: float = 0.0
    names: list[str] = []


class Volume(msgspec.Struct):
    """How much one host sends to one server.

    Attributes:
        hour: The hour that is being counted, hours since 1970.
        calls: Calls in it.
        sent: Bytes of arguments in it.
        told: Whether a finding was made in it.
        hours: Hours with traffic before it.
        mean_calls: Their mean.
        mean_sent: Likewise.
        spread_calls: Mean distance from the mean.
        spread_sent: Likewise.
    """

    hour: int = -1
    calls: float = 0.0
    sent: float = 0.0
    told: bool = False
    hours: int = 0
    mean_calls: float = 0.0
    mean_sent: float = 0.0
    spread_calls: float = 0.0
    spread_sent: float = 0.0

    def turn(self, hour: int) -> None:
        """Another hour begins; the one before is learned."""
        if self.hour >= 0 and self.calls and not self.told:
            share = 1 / min(self.hours + 1, _MEMORY)
            for name in ("calls", "sent"):
                value, mean = getattr(self, name), getattr(self, f"mean_{name}")
                spread = getattr(self, f"spread_{name}")
                setattr(self, f"mean_{name}", mean + (value - mean) * share)
                setattr(self, f"spread_{name}", spread + (abs(value - mean) - spread) * share)
            self.hours += 1
        self.hour, self.calls, self.sent, self.told = hour, 0.0, 0.0, False


class Learned(msgspec.Struct):
    """What a daemon hands to the next one; `Habits.dump` bounds every part of it."""

    hosts: dict[str, Hours] = {}
    servers: dict[str, Tools] = {}
    volumes: dict[str, Volume] = {}
    credentials: dict[str, dict[str, float]] = {}


class Habits:
    """`new-host`, `new-tool`, `off-hours`, `volume` and `credential-moved`."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._hosts: Table[str, Hours] = Table(Hours, HOSTS)
        self._servers: Table[str, Table[str, None]] = Table(lambda: Table(lambda: None, TOOLS), SERVERS)
        self._since: Table[str, float] = Table(float, SERVERS)
        self._volumes: Table[str, Volume] = Table(Volume, PAIRS)
        self._credentials: Table[str, Table[str, float]] = Table(lambda: Table(float, PLACES), CREDENTIALS)

    def take(self, seen: Seen) -> Iterator[Finding]:
        """One record."""
        if seen.type == "session" and seen.event == "begin":
            yield from self._host(seen)
            yield from self._credential(seen)
            self._known(seen.text("server"), seen.at)
        elif seen.type == "secret" and seen.event in _USES:
            yield from self._credential(seen)
        elif (
            seen.type == "call" and seen.body.get("decision") == "allow" and seen.body.get("side") != "server"
        ):
            who = seen.who
            yield from self._hour(seen, who)
            yield from self._volume(seen, who)
            if tool := seen.text("tool"):
                yield from self._tool(seen, tool)

    # --- hosts ---------------------------------------------------------------------------------------------

    def _host(self, seen: Seen) -> Iterator[Finding]:
        who = seen.who
        if who in self._hosts:
            return
        self._hosts.of(who)
        enrolled = bool(seen.host.get("host"))
        yield self._found(
            "new-host", seen, who, f"{who!a} has connected for the first time",
            severity=Severity.INFO if enrolled else None,
        )  # fmt: skip

    def _hour(self, seen: Seen, who: str) -> Iterator[Finding]:
        habit = self._hosts.of(who)
        local = int(seen.at) + seen.east
        day, hour = local // _DAY, local % _DAY // _HOUR
        if habit.lasts[hour] == day:
            return
        near = habit.hours[hour - 1] + habit.hours[hour] + habit.hours[(hour + 1) % 24]
        known = habit.days - (habit.last == day)
        habit.lasts[hour] = day
        habit.hours[hour] += 1
        if habit.last != day:
            habit.last = day
            habit.days += 1
        if not near and known >= self._thresholds.days:
            says = f"{who!a} is active at {hour:02d}:00, and never was at this time of {known} days"
            yield self._found("off-hours", seen, who, says, evidence={"hour": hour, "days": known})

    # --- servers -------------------------------------------------------------------------------------------

    def _known(self, server: str, at: float) -> float:
        """Since when a server is known."""
        if server not in self._since:
            self._since.put(server, at)
        return self._since.of(server)

    def _tool(self, seen: Seen, tool: str) -> Iterator[Finding]:
        server = seen.text("server")
        since, tools = self._known(server, seen.at), self._servers.of(server)
        mark = hashlib.blake2b(tool.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
        known = mark in tools
        tools.put(mark, None)
        if not known and seen.at - since >= self._thresholds.learning:
            says = f"the tool {tool!a} of {server!a} was called for the first time"
            yield self._found("new-tool", seen, f"server {server} {tool}", says, tool=tool)

    def _volume(self, seen: Seen, who: str) -> Iterator[Finding]:
        bounds = self._thresholds
        volume = self._volumes.of(f"{who[: NAME_CHARS // 2]}\n{seen.text('server')[: NAME_CHARS // 2]}")
        hour = int(seen.at) // _HOUR
        if hour != volume.hour:
            volume.turn(hour)
        args = seen.body.get("args")
        size = args.get("size") if isinstance(args, dict) else 0
        volume.calls += seen.stands
        volume.sent += seen.stands * size if type(size) is int else 0
        if volume.told or volume.hours < bounds.hours:
            return
        for name, floor, words in (("calls", bounds.calls, "calls"), ("sent", bounds.sent, "bytes")):
            value, mean = getattr(volume, name), getattr(volume, f"mean_{name}")
            spread = getattr(volume, f"spread_{name}")
            if value > floor and value > bounds.times * mean and value > mean + _SPREAD * spread:
                volume.told = True
                says = f"{who!a} sent {value:.0f} {words} in an hour, where {mean:.0f} are usual"
                usual = {"in_an_hour": round(value), "usual": round(mean, 1), "of": words}
                yield self._found("volume", seen, f"{who} {seen.text('server')}", says, evidence=usual)
                return

    # --- credentials ---------------------------------------------------------------------------------------

    def _credential(self, seen: Seen) -> Iterator[Finding]:
        """What has the id of a credential: the `begin` of a caller who has shown one, and a secret that was used.

        Of a caller the place is where it came from; of a secret, the host whose server, or call, has got it.
        """
        ident = seen.text("credential")
        if not ident:
            return
        place = seen.text("remote") or seen.who
        places = self._credentials.of(ident)
        fresh = [
            name for name, at in places.items()
            if name != place and 0 <= seen.at - at < self._thresholds.moved
        ]  # fmt: skip
        again = place in places and seen.at - places.of(place) < self._thresholds.moved
        places.put(place, seen.at)
        if fresh and not again:
            says = f"the credential {ident!a} is used from {place!a}, and was from {fresh[-1]!a} before"
            yield self._found(
                "credential-moved", seen, f"credential {ident}", says,
                evidence={"credential": ident, "place": place, "before": fresh[-3:]},
            )  # fmt: skip

    def _found(
        self, kind: str, seen: Seen, subject: str, says: str, *, severity: Severity | None = None,
        tool: str = "", evidence: JsonObject | None = None,
    ) -> Finding:  # fmt: skip
        return Finding(
            kind, subject, says, severity=severity, conn=seen.text("conn"), host=seen.host,
            server=seen.text("server"), tool=tool, seqs=(seen.seq, seen.seq), evidence=evidence or {},
        )  # fmt: skip

    # --- between daemons -----------------------------------------------------------------------------------

    def dump(self) -> Learned:
        """What was learned."""
        return Learned(
            hosts=dict(self._hosts.items()),
            servers={
                name: Tools(at, list(self._servers.get(name) or ())) for name, at in self._since.items()
            },
            volumes=dict(self._volumes.items()),
            credentials={name: dict(places.items()) for name, places in self._credentials.items()},
        )

    def load(self, learned: Learned) -> None:
        """Take up what another daemon learned; what is beyond a bound is left out."""
        for who, hours in learned.hosts.items():
            if len(hours.hours) == len(hours.lasts) == 24:
                self._hosts.put(who[:NAME_CHARS], hours)
        for server, tools in learned.servers.items():
            self._since.put(server[:NAME_CHARS], tools.since)
            for mark in tools.names:
                self._servers.of(server[:NAME_CHARS]).put(mark[:16], None)
        for pair, volume in learned.volumes.items():
            self._volumes.put(pair[: NAME_CHARS + 1], volume)
        for ident, places in learned.credentials.items():
            for place, at in places.items():
                self._credentials.of(ident[:NAME_CHARS]).put(place[:NAME_CHARS], at)
