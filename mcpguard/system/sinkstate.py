"""What is remembered of a sink: how far it has the log, how much it was sent, what went wrong last.

One file for each, replaced as a whole. Rule: it is written after the sink has taken a batch, never before.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.audit.event import event_of
from mcpguard.errors import GuardError, JournalError, PeerError
from mcpguard.model import JsonObject
from mcpguard.system.files import open_entry, private_directory, replace_file
from mcpguard.system.journalfiles import last
from mcpguard.system.sinkfile import Sink
from mcpguard.system.spool import Place

_NAME: Final = "sent.json"
_TRIES: Final = 5


class SinkState(msgspec.Struct, frozen=True):
    """One sink.

    Attributes:
        trail: Ends of the batches that it took last, oldest first.
        sent: Events that it took, those that it got twice included.
        sent_at: When it took something last, Unix time; 0.0 for never.
        error: What is wrong now, as a sentence; empty if nothing is.
        error_at: When something was wrong last, Unix time.
        failures: Tries that failed.
        gaps: Gap events that were sent.
    """

    trail: tuple[Place, ...] = ()
    sent: int = 0
    sent_at: float = 0.0
    error: str = ""
    error_at: float = 0.0
    failures: int = 0
    gaps: int = 0

    @property
    def seq(self) -> int:
        """Position in the chain of the record that it has last; 0 if that is not known."""
        return self.trail[-1].seq if self.trail else 0

    def took(self, end: Place, count: int, gaps: int, now: float) -> SinkState:
        """After a batch."""
        trail = (*self.trail, end)[-limits.TRAIL :]
        return msgspec.structs.replace(
            self, trail=trail, sent=self.sent + count, sent_at=now, error="", gaps=self.gaps + gaps
        )

    def failed(self, sentence: str, now: float) -> SinkState:
        """After a try that failed."""
        return msgspec.structs.replace(self, error=sentence, error_at=now, failures=self.failures + 1)


class StateFile:
    """The file of one sink in `directory`; each has a folder of its own, so that none waits for another."""

    def __init__(self, directory: Path, name: str) -> None:
        self._folder = directory / name

    def load(self) -> SinkState | None:
        """What was remembered last; None if nothing was, or if it is damaged: then the sink gets the log once more.

        Raises:
            JournalError: It cannot be read.
        """
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            descriptor = open_entry(folder, _NAME)
            if descriptor is None:
                return None
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                return msgspec.json.decode(file.read(), type=SinkState)
        except msgspec.MsgspecError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            os.close(folder)

    def save(self, state: SinkState) -> None:
        """Remember; on the disk when this returns.

        Raises:
            JournalError: The disk refuses, or others could write there.
        """
        try:
            private_directory(self._folder)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(folder, _NAME, msgspec.json.encode(state) + b"\n")
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unusable(error) from error
        except PeerError as error:
            raise JournalError(error.message, hint=error.hint) from error

    def remove(self) -> None:
        """Forget the sink."""
        for left in reversed(range(_TRIES)):
            try:
                for path in self._folder.iterdir():
                    path.unlink(missing_ok=True)
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or not left:  # what ships to it may just have written
                    raise self._unusable(error) from error
            else:
                return

    def _unusable(self, error: OSError) -> JournalError:
        reason = (error.strerror or str(error)).lower()
        return JournalError(f"what sinks have of the audit log cannot be kept at {self._folder}: {reason}")


def waiting(audit: Path, state: SinkState | None) -> int:
    """Records that a sink has not got; -1 if that cannot be told.

    Cost: the last lines of the newest segment are read.
    """
    try:
        found, _, _ = last(audit, 1)
    except JournalError:
        return 0
    newest = event_of(found[0]).record.seq if found else 0
    if not newest:
        return -1 if found else 0
    return max(0, newest - (state.seq if state else 0))


def described(sink: Sink, audit: Path, states: Path) -> JsonObject:
    """What there is to say of a sink, for people and metrics; that its state cannot be read is said as its error."""
    try:
        state = StateFile(states, sink.name).load()
    except GuardError as error:
        state = SinkState(error=error.sentence())
    known = state or SinkState()
    return {
        "name": sink.name,
        "kind": sink.kind,
        "to": sink.to,
        "format": sink.format,
        "sent": known.sent,
        "sent_at": known.sent_at,
        "waiting": waiting(audit, state),
        "error": known.error,
        "error_at": known.error_at,
        "failures": known.failures,
        "gaps": known.gaps,
    }
