"""The file of an index of the audit log: whose it is, whether it can be relied on, who has it now.

An SQLite database beside the other state, for the owner alone (0600). It may be deleted at any time.

Rule 1. A file that is damaged, of another version, or not ours alone is replaced, and a sentence says so.
Rule 2. One process at a time has it. Who cannot have it, or cannot write it, gets one in memory.

Decided: *a lock of ours and no shared SQLite*: a file that is replaced while another process has it open would leave
two databases with one name for their rollback journals.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from mcpguard.errors import PeerError
from mcpguard.system.files import intruder, private_directory

VERSION: Final = 1
"""Of what is in the file; another one is replaced."""
PATIENCE_SECONDS: Final = 60.0
"""How long a file is waited for that another process has."""
TABLES: Final = {
    "names": "id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name)",
    "segments": (
        "number INTEGER PRIMARY KEY, stamp TEXT NOT NULL, indexed INTEGER NOT NULL, "
        "digest TEXT NOT NULL, unreadable INTEGER NOT NULL, bad INTEGER NOT NULL"
    ),
    "records": (
        "place INTEGER PRIMARY KEY, seq INTEGER NOT NULL, digest INTEGER NOT NULL, time INTEGER NOT NULL, "
        "type INTEGER NOT NULL, server INTEGER NOT NULL, host INTEGER NOT NULL, uid INTEGER NOT NULL, "
        "target INTEGER NOT NULL, decision INTEGER NOT NULL, conn INTEGER NOT NULL, side INTEGER NOT NULL, "
        "ident INTEGER NOT NULL, other INTEGER NOT NULL"
    ),
}
"""Tables and their columns. A text in `records` is the number of a name. `place` is that of `logplaces`, `digest` the
beginning of the SHA-256 of the line, `time` a number of `indexing.milliseconds`, `other` the place of the outcome of
a call or of the call of an outcome, 0 if there is none."""
_APPLICATION: Final = 0x6D637067
_SCHEMA: Final = (
    *(f"CREATE TABLE {name} ({columns})" for name, columns in TABLES.items()),
    "CREATE INDEX times ON records (time)",
    "CREATE INDEX open_calls ON records (place) WHERE other = 0 AND ident > 0",
)


class Opened(NamedTuple):
    """A database that is ours until it and the lock are closed. `lock`: -1 for none. `note`: what should be known."""

    database: sqlite3.Connection
    lock: int
    note: str


def path_of(home: Path, directory: Path) -> Path:
    """The index of a log; `home` is where indexes are."""
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:32]
    return home / f"{name}.sqlite"


def opened(home: Path | None, directory: Path, waiting: Callable[[], object] = int) -> Opened:
    """The index of a log, made if there is none that can be used.

    Args:
        home: Where indexes are kept; None makes one in memory.
        directory: The log.
        waiting: Called once if another process has it.
    """
    if home is None:
        return Opened(_memory(), -1, "")
    path = path_of(home, directory)
    try:
        private_directory(home)
        lock = _locked(path, waiting)
    except PeerError as error:
        return Opened(_memory(), -1, _unkept(error.sentence()))
    except OSError as error:
        return Opened(_memory(), -1, _unkept((error.strerror or str(error)).lower()))
    try:
        note = _unusable(path)
        if note:
            _remove(path)
        return Opened(_on_disk(path), lock, note)
    except (OSError, sqlite3.Error) as error:
        os.close(lock)
        return Opened(_memory(), -1, _unkept(str(error).lower()))


def remove(home: Path, directory: Path, waiting: Callable[[], object] = int) -> None:
    """Delete the index of a log. Order: the one who calls has closed it. Foreign `OSError` passes."""
    path = path_of(home, directory)
    lock = _locked(path, waiting)
    try:
        _remove(path)
    finally:
        os.close(lock)


def at_hand(home: Path, directory: Path) -> Opened | None:
    """The index as it is, without waiting, making or replacing anything; None: not now."""
    path = path_of(home, directory)
    try:
        lock = os.open(_lock_of(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and not _unusable(path):
            return Opened(sqlite3.connect(path), lock, "")
    except (OSError, sqlite3.Error):
        pass  # as if there were none
    os.close(lock)
    return None


def _unkept(why: str) -> str:
    return f"no index of the log is kept ({why}), so the whole log is read"


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _locked(path: Path, waiting: Callable[[], object]) -> int:
    """Hold the lock of an index; who waits longer than `PATIENCE_SECONDS` gets an OSError."""
    lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline, told = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(lock)
                raise OSError(errno.EBUSY, "another process has it, and goes on") from error
            if not told:
                waiting()
            told = True
            time.sleep(0.05)
        else:
            return lock


def _unusable(path: Path) -> str:
    """Why the file there cannot be our index, as a sentence; empty if it can be, or there is none."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return ""
    why = intruder(info) if stat.S_ISREG(info.st_mode) else "is not a regular file"
    if not why:
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                why = _foreign(database)
        except sqlite3.Error:
            why = "is damaged"
    return f"the index of the log {why}; it is made again" if why else ""


def _foreign(database: sqlite3.Connection) -> str:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    found = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not application and not version and not found:
        return ""  # one that was begun, and whose maker was ended
    if application != _APPLICATION:
        return "is the database of another program"
    if version != VERSION:
        return "is of another version"
    return "" if found == set(_SCHEMA) else "is damaged"


def _remove(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}-journal")):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()


def _on_disk(path: Path) -> sqlite3.Connection:
    """Open the file, made for the owner alone if it is not there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    database = sqlite3.connect(path)
    try:
        for pragma in ("journal_mode = TRUNCATE", "synchronous = NORMAL", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}")
        return _prepared(database)
    except BaseException:
        database.close()
        raise


def _memory() -> sqlite3.Connection:
    return _prepared(sqlite3.connect(":memory:"))


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    """Tables in a database that has none."""
    for pragma in (
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "temp_store = MEMORY",
        "cache_size = -65536",
    ):
        database.execute(f"PRAGMA {pragma}")
    if not database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        tables = ";".join(_SCHEMA)
        database.executescript(
            f"BEGIN; {tables}; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
        )
    return database
