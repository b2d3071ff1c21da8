"""Servers and hosts that a person, or policy on a finding, keeps away until a person lets them back.

Rule 1: what is in quarantine holds at once: connections end within a moment, and new ones are refused with a
sentence.
Rule 2: it is on disk before it is said to hold, and recorded; to lift it is recorded first. So whatever is lost in
between, it still holds.
Rule 3: the next daemon takes what the file says and what the newest record of the log says, both: to remove or to
edit the file lifts nothing. A file that is damaged keeps everybody out.

Not here: who may ask (`daemon.control`, which counts `daemon.formerhosts` among the hosts).

Decided:
    *Names, not programs, are in quarantine*, because names are what policy, records and people have; rejected:
    digests of commands. A command without a manifest can come under another name, which is why policy should not let
    such commands run (`unpinned`).
"""

from __future__ import annotations

import datetime as dt
import logging
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from mcpguard.audit import record
from mcpguard.audit.record import Record
from mcpguard.daemon.control import Caller, Personal, Verb
from mcpguard.daemon.formerhosts import FormerHosts
from mcpguard.daemon.party import Party
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.session import Session
from mcpguard.errors import DaemonError, JournalError, TrustError
from mcpguard.identity.statement import format_time
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request
from mcpguard.system.quarantinefile import (
    ASK,
    HOST,
    NAME_CHARS,
    REASON_CHARS,
    REFUSE,
    SERVER,
    Entry,
    Held,
    QuarantineFile,
)

_log: Final = logging.getLogger("mcpguard")
_LIST: Final = "mcpguard quarantine --list"
_REMEMBERED: Final = "the audit log"


class Quarantine:
    """What is in quarantine, for one daemon.

    Args:
        file: Where it outlives the daemon.
        recorder: Where changes are recorded.
        sessions: The connections that are open now, by id.
        former: The runs of hosts that have been here.
        boot: Names this boot of the machine.
        changed: Told of a server of which calls have to be asked about from now on, or no longer; and of one, with
        the
            reason, whose open questions are void.
    """

    def __init__(
        self,
        file: QuarantineFile,
        recorder: Recorder,
        sessions: Mapping[str, Session],
        former: FormerHosts,
        boot: str,
        changed: Callable[[str, str], None],
    ) -> None:
        self._file = file
        self._recorder = recorder
        self._sessions = sessions
        self._former = former
        self._boot = boot
        self._changed = changed
        self._entries: dict[str, Entry] = {}
        self._fault: DaemonError | None = None

    def restore(self, last: Record | None) -> None:
        """Take up what the last daemon left; `last`: the newest record of it in the audit log."""
        try:
            held = self._file.load()
        except DaemonError as error:
            _log.error("%s", error.sentence())
            self._fault = error
            held = Held()
        self._entries = {each.subject: each for each in held.entries}
        if held.boot == self._boot:
            self._former.load(held.runs)
        for word in last.body.get("held", []) if last is not None else []:
            self._remembered(str(word), last.time if last is not None else "")
        self.note()

    def _remembered(self, word: str, since: str) -> None:
        """Something that the log says is in quarantine, though the file may not."""
        how, _, subject = word.partition(" ")
        kind, _, name = subject.partition(":")
        known = self._entries.get(subject)
        if kind in (SERVER, HOST) and (known is None or (known.how == ASK and how == REFUSE)):
            _log.warning("the audit log has %a in quarantine, and the file has not: it is", subject)
            reason = "the audit log says so, and the file of quarantines did not"
            how = ASK if how == ASK else REFUSE
            self._entries[subject] = Entry(kind, name, how, reason, _REMEMBERED, since)

    def note(self) -> None:
        """Write down what is in quarantine, so that the newest segments of the log have it."""
        if self._entries:
            self._recorder.later([record.quarantine("still", self._held())])

    # --- what holds ----------------------------------------------------------------------------------------

    def doubted(self, server: str) -> bool:
        """Whether a person must look at every call of a server."""
        return f"{SERVER}:{server}" in self._entries

    def require(self, server: str, host: Party) -> None:
        """Refuse a connection of a server or a host in quarantine.

        Raises:
            DaemonError: What is in quarantine is not known.
            TrustError: It is refused.
        """
        if (self._entries or self._fault) and self._former.met(host):
            self._remember()
        if self._fault is not None:
            raise self._fault
        if found := self._holds(server, host.name):
            raise TrustError(_cause(found), hint=_step(found))

    def met(self, host: Party) -> None:
        """A host has come."""
        if self._former.met(host) and self._entries:
            self._remember()

    def hosts(self) -> FormerHosts | None:
        """The hosts that count as connected, because something is in quarantine; None if nothing is."""
        return self._former if self._entries or self._fault else None

    def refusal(self, session: Session) -> str:
        """Why a connection may not go on, as a sentence; empty if it may."""
        found = self._holds(session.server, session.host.name)
        return _sentence(found) if found else ""

    def _holds(self, server: str, host: str) -> Entry | None:
        for subject in (f"{SERVER}:{server}", f"{HOST}:{host}" if host else ""):
            found = self._entries.get(subject)
            if found is not None and found.how == REFUSE:
                return found
        return None

    # --- changes -------------------------------------------------------------------------------------------

    def impose(self, subject: str, how: str, reason: str, by: str) -> int:
        """Put a server or host (`server:NAME`, `host:NAME`) into quarantine; how many connections ended.

        Raises:
            TrustError: Its name cannot be put into quarantine, or too many are.
            DaemonError: It cannot be written down, or what is there is not known; nothing has changed.
            JournalError: It holds, and cannot be recorded.
        """
        if self._fault is not None:
            raise self._fault
        kind, _, name = subject.partition(":")
        if kind not in (SERVER, HOST) or not name or len(name) > NAME_CHARS:
            raise TrustError(
                f"nothing can be in quarantine as {subject[:80]!a}", hint="a server, server:NAME or host:NAME"
            )
        known = self._entries.get(subject)
        if known is not None and known.how in (how, REFUSE):
            return 0
        since = format_time(dt.datetime.fromtimestamp(time.time(), dt.UTC))
        entry = Entry(kind, name, how, reason[:REASON_CHARS], by[:NAME_CHARS], since)
        self._save({**self._entries, subject: entry})
        self._entries[subject] = entry
        ended = self._enforce(entry)
        self._recorder.append(
            [
                record.quarantine(
                    "imposed",
                    self._held(),
                    subject=subject,
                    how=how,
                    reason=entry.reason,
                    by=entry.by,
                    ended=ended,
                )
            ],
            durable=True,
        )
        return ended

    def _enforce(self, entry: Entry) -> int:
        ended = 0
        for session in list(self._sessions.values()):
            name = session.server if entry.kind == SERVER else session.host.name
            if entry.how == REFUSE and name == entry.name:
                session.cut(_sentence(entry))
                ended += 1
        if entry.kind == SERVER:
            self._changed(entry.name, _cause(entry) if entry.how == REFUSE else "")
        return ended

    def lift(self, subject: str, by: str) -> Entry:
        """Let a server or host back.

        Raises:
            TrustError: It is not in quarantine.
            DaemonError: What is there is not known, or cannot be written; it is still in quarantine.
            JournalError: It cannot be recorded; likewise.
        """
        if self._fault is not None:
            raise self._fault
        found = self._entries.get(subject)
        if found is None:
            raise TrustError(f"{subject[:NAME_CHARS]!a} is not in quarantine", hint=_LIST)
        rest = {name: entry for name, entry in self._entries.items() if name != subject}
        self._recorder.append(
            [record.quarantine("lifted", [each.held for each in rest.values()], subject=subject, by=by)],
            durable=True,
        )
        self._save(rest)
        self._entries = rest
        if found.kind == SERVER and found.how == ASK:
            self._changed(found.name, "")
        return found

    def _held(self) -> list[str]:
        return [each.held for each in self._entries.values()]

    def _save(self, entries: Mapping[str, Entry]) -> None:
        runs = self._former.dump() if entries else []
        self._file.save(Held(entries=list(entries.values()), boot=self._boot, runs=runs))

    def _remember(self) -> None:
        """Write down that another run of a host was here; it counts in this daemon all the same."""
        if self._fault is not None:
            return
        try:
            self._save(self._entries)
        except DaemonError as error:
            _log.error("%s", error.sentence())

    # --- verbs ---------------------------------------------------------------------------------------------

    def described(self) -> JsonObject:
        """What is in quarantine, for people."""
        entries = [{**msgspec.to_builtins(each), "subject": each.subject} for each in self._entries.values()]
        return {"entries": entries, "failure": self._fault.sentence() if self._fault else ""}

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"quarantine": lambda _request: self.described()}

    def approving(self) -> dict[str, Personal]:
        """Verbs that no connected host, nor what it has started, may use."""
        return {"quarantine-put": self._put, "quarantine-lift": self._lift}

    def _put(self, request: Request, caller: Caller) -> JsonObject:
        subject = request.name if ":" in request.name else f"{SERVER}:{request.name}"
        ended = self.impose(subject, REFUSE, request.reason, caller.words)
        return {"subject": subject, "ended": ended, **self.described()}

    def _lift(self, request: Request, caller: Caller) -> JsonObject:
        subject = request.name if request.name in self._entries else f"{SERVER}:{request.name}"
        return {"lifted": self.lift(subject, caller.words).subject, **self.described()}


def try_impose(quarantine: Quarantine, subject: str, how: str, reason: str, by: str) -> str:
    """Put something into quarantine for policy; why it does not hold, empty if it does. Never raises."""
    try:
        quarantine.impose(subject, how, reason, by)
    except (DaemonError, TrustError) as error:
        _log.error("%s is not in quarantine: %s", subject, error.sentence())
        return error.sentence()
    except JournalError as error:
        _log.error("%s is in quarantine, and that could not be recorded: %s", subject, error.sentence())
    return ""


def _sentence(entry: Entry) -> str:
    return f"{_cause(entry)}: {_step(entry)}"


def _cause(entry: Entry) -> str:
    why = f" ({entry.reason})" if entry.reason else ""
    what = "the server" if entry.kind == SERVER else "the host"
    return f"{what} {entry.name!a} is in quarantine since {entry.since}{why}"


def _step(entry: Entry) -> str:
    name = entry.name if entry.kind == SERVER and ":" not in entry.name else entry.subject
    return f"a person can lift it: mcpguard quarantine --lift {shlex.quote(name)}"
