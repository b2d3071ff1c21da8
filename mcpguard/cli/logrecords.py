"""Records of the audit log that hold certain words, in order, for verbs that read the whole of it.

A line that cannot be read is passed over: `audit verify` names it, and what it said cannot be judged. The verbs that
search use the index (`auditreading`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mcpguard.audit.record import Record, parse_line
from mcpguard.cli.progress import progress
from mcpguard.errors import JournalError
from mcpguard.system import journalfiles


def records(
    directory: Path, label: str, words: Iterable[bytes], *, written_since: float = 0.0
) -> Iterator[tuple[bytes, Record]]:
    """Lines in which one of the words stands, and their records; a bar on a terminal says how far the reading is.

    Args:
        directory: The log.
        label: What the bar says.
        words: Bytes of which a wanted line has at least one.
        written_since: Unix time; segments that were last written before it are not read.

    Raises:
        JournalError: There is no log, or it cannot be read.
    """
    wanted = tuple(words)
    found = [path for path in journalfiles.segments(directory) if _recent(path, written_since)]
    with progress(found, label) as advance:
        for path in found:
            for line in journalfiles.lines(path, advance):
                if any(word in line for word in wanted) and (record := _read(line)) is not None:
                    yield line, record


def _recent(path: Path, since: float) -> bool:
    return not since or path.stat().st_mtime >= since


def _read(line: bytes) -> Record | None:
    try:
        return parse_line(line)
    except JournalError:
        return None
