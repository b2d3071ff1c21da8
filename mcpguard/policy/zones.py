"""Local time: what a clock on the wall shows at a moment of Unix time, in an IANA zone or where the machine stands.

Not here: the moment itself, which comes in. Zone data is read once for each zone, from the system or from `tzdata`.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@functools.lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """The zone of an IANA name such as `Europe/Berlin`; None if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # ValueError: `../x`; OSError: `Europe`, a folder
        return None


def local(unix: float, zone: str) -> datetime | None:
    """The local time at `unix` seconds; an empty zone is that of the machine. None if the zone is not known.

    Raises:
        OverflowError, ValueError, OSError: There is no such moment in the calendar.
    """
    moment = datetime.fromtimestamp(unix, UTC)
    if not zone:
        return moment.astimezone()
    found = zone_of(zone)
    return None if found is None else moment.astimezone(found)
