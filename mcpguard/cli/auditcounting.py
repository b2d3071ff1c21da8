"""Counting the records of a log that somebody asked for, by local days and hours."""

from __future__ import annotations

from mcpguard.audit.statistics import Statistics
from mcpguard.cli.auditreading import Reading
from mcpguard.cli.recordwords import local

HOUR, DAY = len("2026-11-20 10"), len("2026-11-20")
"""Characters of a local time that name its hour, its day."""


def counted(reading: Reading) -> Statistics:
    """Count every record that is wanted; the buckets of time are hours.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    statistics, hours = Statistics(), dict[str, str]()
    reading.label = "counting"
    for hit in reading.records():
        time = hit.record.time
        hour = hours.get(time[:15])  # ten minutes: some time zones are a quarter of an hour apart
        if hour is None:
            if len(hours) > 100_000:
                hours.clear()
            hour = hours[time[:15]] = local(time)[:HOUR]
        statistics.add(hit.record, hit.facets, hour[:DAY], hour)
    reading.finish(statistics.records)
    return statistics
