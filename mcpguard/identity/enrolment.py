"""Enrolled hosts: by what a person said yes to, a host is recognised again, or it is not and a sentence says why.

Rule 1: nothing that a process says of itself counts: not `comm`, not `clientInfo`, not its arguments or environment.
Except one: which script an interpreter runs stands in its arguments only. That is weak, and is said to be.
Rule 2: a path is where to look, a digest is what was found. A host without a digest is recognised only while nobody
but root could have changed it.
Rule 3: a changed digest is never silent: a person is asked with both digests, or policy has decided (`on_update`).
Rule 4: what cannot be told is not recognised.

Not here: what the evidence is worth. A program of the user's own can be replaced and steered by everything that runs
as that user, whatever its digest; that is what the grade says (`identity.grading`).

Decided:
    *A former digest counts only for a file that was replaced while it ran*, as updates do it; rejected: for every
    file, because then an old release with a known hole could be put back without a question.
    *No unit unless a person asks for it*, because scopes are named anew at each start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import pathpattern
from mcpguard.identity.facts import FileFacts, HostFacts, Program
from mcpguard.identity.statement import parse_json, parse_time
from mcpguard.model import Grade, Json, JsonObject

VERSION: Final = 1
"""The version of the list that is read and written here."""

ALLOW_SAME_OWNER: Final = "allow_same_owner"
"""The value of `on_update` with which a changed file is recognised if its owner is the same; all others ask."""

SHOWN_DIGITS: Final = 12
"""Hex digits of a digest that a person is shown in a sentence."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TEXT_CHARS: Final = 256
_UIDS: Final = 2**32
_NATIVE: Final = frozenset({Program.NATIVE, Program.INTERPRETER})

Struct = TypeVar("Struct", bound=msgspec.Struct)


class EnrolledFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that belongs to an enrolled host.

    Attributes:
        pattern: Where it is (`identity.pathpattern`).
        owner: User id of its owner.
        sha256: Its digest, hex; empty if none was taken.
        writable: Whether the user of the host, or others, could write to it or to a directory above it.
        previous: Digests that it had before, latest first.
    """

    pattern: str
    owner: int
    sha256: str
    writable: bool
    previous: tuple[str, ...] = ()


class Enrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host that a person has said yes to.

    Attributes:
        name: Its name in policy, as `host:NAME`.
        executable: Its executable.
        grade: What the evidence was worth then; for people.
        enrolled_at: When, RFC 3339.
        script: What its executable runs, if that is an interpreter.
        unit: Pattern over its systemd unit; empty if any will do.
        label: Its security label; empty if any will do.
        team: Team id of its code signature (macOS); empty elsewhere.
        signing: Signing identifier of its code signature (macOS); empty elsewhere.
    """

    name: str
    executable: EnrolledFile
    grade: str
    enrolled_at: str
    script: EnrolledFile | None = None
    unit: str = ""
    label: str = ""
    team: str = ""
    signing: str = ""

    def same_program(self, other: Enrolled) -> bool:
        """Whether both mean the same program, in whatever release and by whatever name."""
        return self._selectors() == other._selectors()

    def _selectors(self) -> tuple[object, ...]:
        files = [(file.pattern, file.owner) for file in (self.executable, self.script) if file]
        return (files, self.unit, self.label, self.team, self.signing)


class Recognition(msgspec.Struct, frozen=True):
    """Whether facts are those of an enrolled host.

    Attributes:
        name: Its name; empty if they are not.
        sentence: Why not, or what to bear in mind; empty if there is nothing to say.
        updated: The enrolment as it is from now on, if a changed file was recognised.
        old: Digest that a changed file had, hex.
        new: Digest that it has, hex.
    """

    name: str = ""
    sentence: str = ""
    updated: Enrolled | None = None
    old: str = ""
    new: str = ""


class _Compared(msgspec.Struct, frozen=True):
    """A file beside what was enrolled: `trouble` says why it is not the same one, `note` what to bear in mind."""

    trouble: str = ""
    note: str = ""
    updated: EnrolledFile | None = None
    old: str = ""
    new: str = ""
    askable: bool = False


# --- to recognise ---------------------------------------------------------------------------------------


def concerns(facts: HostFacts, enrolled: Enrolled) -> bool:
    """Whether the host is where the enrolled one is, so that its digests matter."""
    if facts.executable is None or not pathpattern.matches(
        enrolled.executable.pattern, facts.executable.path
    ):
        return False
    if enrolled.script is None or facts.script is None:
        return enrolled.script is None
    return pathpattern.matches(enrolled.script.pattern, facts.script.path)


def recognise(facts: HostFacts, enrolled: Enrolled, on_update: str) -> Recognition:
    """Compare what the kernel said of a host with one enrolled host.

    Another program gives an empty `Recognition`; the enrolled program that is not as it was gives a sentence.
    """
    if not concerns(facts, enrolled) or facts.executable is None:
        return Recognition()
    if doubt := _doubt(facts, enrolled) or _elsewhere(facts, enrolled):
        return _refused(enrolled, doubt)
    program = _compare(facts.executable, enrolled.executable, "executable", on_update)
    if program.trouble:
        return _refused(enrolled, program.trouble, program)
    script = _Compared()
    if facts.script is not None and enrolled.script is not None:
        script = _compare(facts.script, enrolled.script, "script", on_update)
        if script.trouble:
            return _refused(enrolled, script.trouble, script)
    return _recognised(enrolled, program, script)


def recognise_among(facts: HostFacts, hosts: Iterable[Enrolled], on_update: str) -> Recognition:
    """The enrolled host that these facts are of; the one that asks for most if there are several.

    If there is none, the sentence is about the nearest one, or empty.
    """
    nearest = Recognition()
    for enrolled in sorted(hosts, key=lambda host: (not host.unit, not host.label, host.name)):
        found = recognise(facts, enrolled, on_update)
        if found.name and not found.updated:
            return found
        if (found.name and not nearest.name) or (found.sentence and not nearest.sentence):
            nearest = found
    return nearest


def _recognised(enrolled: Enrolled, program: _Compared, script: _Compared) -> Recognition:
    notes = [compared.note for compared in (program, script) if compared.note]
    if enrolled.script is not None:
        notes.append(
            "it is known by interpreter and script only, which is weak: its user can start that with anything"
        )
    changed = next((compared for compared in (program, script) if compared.updated), _Compared())
    updated = None
    if changed.updated:
        updated = msgspec.structs.replace(
            enrolled,
            executable=program.updated or enrolled.executable,
            script=script.updated or enrolled.script,
        )
    return Recognition(enrolled.name, "; ".join(notes), updated, changed.old, changed.new)


def _refused(enrolled: Enrolled, why: str, compared: _Compared | None = None) -> Recognition:
    compared = compared or _Compared()
    if compared.askable:
        why = f"{why}; if you wanted that: mcpguard host trust {enrolled.name}"
    return Recognition("", f"host {enrolled.name} is not recognised: {why}", None, compared.old, compared.new)


def _doubt(facts: HostFacts, enrolled: Enrolled) -> str:
    """What makes every comparison worthless; empty if nothing does."""
    if not facts.pinned:
        return "no handle on its process is held, so its number may be another's"
    if facts.alone is False:
        return "it lives in another namespace, where paths mean something else"
    if facts.program not in _NATIVE:
        return "its executable is a shell, a loader, or nothing that can be told"
    if facts.program is Program.INTERPRETER and (enrolled.script is None or facts.script is None):
        return "it is an interpreter, and no script is known that it runs"
    return ""


def _elsewhere(facts: HostFacts, enrolled: Enrolled) -> str:
    if enrolled.team and (facts.team, facts.signing) != (enrolled.team, enrolled.signing):
        return f"it is not signed by {enrolled.team} as {enrolled.signing}"
    if enrolled.label and facts.label != enrolled.label:
        return f"it does not have the label {enrolled.label}"
    if enrolled.unit and not (facts.unit and pathpattern.word_matches(enrolled.unit, facts.unit)):
        return f"it is not in the unit {enrolled.unit}"
    return ""


def _compare(fact: FileFacts, known: EnrolledFile, what: str, on_update: str) -> _Compared:
    if not fact.lasting:
        return _Compared(f"its {what} is not a file that lasts")
    if fact.owner != known.owner:
        return _Compared(f"its {what} belongs to uid {fact.owner}, and belonged to uid {known.owner}")
    if not known.sha256:
        if fact.writable:
            return _Compared(f"its {what} can be changed by others than root now, and no digest was enrolled")
        return _Compared(note=f"its {what} is known by path and owner only")
    if not fact.digest:
        return _Compared(f"no digest of its {what} was taken{_because(fact)}")
    if fact.digest == known.sha256:
        return _Compared()
    if fact.deleted:
        return _replaced(fact, known, what)
    return _changed(fact, known, what, on_update)


def _replaced(fact: FileFacts, known: EnrolledFile, what: str) -> _Compared:
    """Order: the file's last name is gone, and its digest is not the one in force."""
    if fact.digest in known.previous:
        return _Compared(note=f"it runs a former release of its {what}, which was replaced meanwhile")
    trouble = f"its {what} was replaced while it ran, and is no release that was enrolled; restart the host"
    return _Compared(trouble, old=known.sha256, new=fact.digest)


def _changed(fact: FileFacts, known: EnrolledFile, what: str, on_update: str) -> _Compared:
    digests = f"sha256 {known.sha256[:SHOWN_DIGITS]} -> {fact.digest[:SHOWN_DIGITS]}"
    if on_update != ALLOW_SAME_OWNER:
        again = " (a former release)" if fact.digest in known.previous else ""
        trouble = f"its {what} changed{again}, {digests}"
        return _Compared(trouble, old=known.sha256, new=fact.digest, askable=True)
    if fact.writable and not known.writable:
        trouble = f"its {what} changed, {digests}, and others than root can write to it now"
        return _Compared(trouble, old=known.sha256, new=fact.digest, askable=True)
    note = f"its {what} changed, {digests}; its owner is the same (on_update = {ALLOW_SAME_OWNER})"
    if fact.digest in known.previous:
        return _Compared(note=note)
    return _Compared("", note, _succeeded(known, fact.digest), known.sha256, fact.digest)


def _because(fact: FileFacts) -> str:
    return f" ({fact.doubt})" if fact.doubt else ""


# --- to enrol -------------------------------------------------------------------------------------------


def propose(name: str, facts: HostFacts, grade: Grade, enrolled_at: str, unit: str = "") -> Enrolled:
    """The enrolment of a host as it is now; `enrolled_at` is RFC 3339, `unit` a pattern to ask for.

    Raises:
        TrustError: It could not be recognised again by this, or should not be.
    """
    if facts.executable is None:
        raise TrustError("nothing is known of its executable", hint="see what keeps it: mcpguard status")
    enrolled = Enrolled(
        name=name,
        executable=_pinned(facts.executable, "executable"),
        grade=grade.name,
        enrolled_at=enrolled_at,
        script=_pinned(facts.script, "script")
        if facts.script and facts.program is Program.INTERPRETER
        else None,
        unit=unit,
        label=facts.label if facts.confined else "",
        team=facts.team if facts.signing else "",
        signing=facts.signing if facts.team else "",
    )
    check(enrolled)
    again = recognise(facts, enrolled, "")
    if not again.name:
        raise TrustError(
            again.sentence or "it could not be recognised again", hint="start the host in another way"
        )
    return enrolled


def succeed(old: Enrolled, new: Enrolled) -> Enrolled:
    """`new` in the place of `old`: if it is the same program, it remembers the digests that it had."""
    executable = _heir(old.executable, new.executable)
    script = _heir(old.script, new.script) if old.script and new.script else new.script
    return msgspec.structs.replace(new, executable=executable, script=script)


def _heir(old: EnrolledFile, new: EnrolledFile) -> EnrolledFile:
    same = (old.pattern, old.owner) == (new.pattern, new.owner)
    if not same or not old.sha256:
        return msgspec.structs.replace(new, previous=())
    return msgspec.structs.replace(_succeeded(old, new.sha256), writable=new.writable)


def _succeeded(known: EnrolledFile, digest: str) -> EnrolledFile:
    if digest == known.sha256:
        return known
    former = dict.fromkeys((known.sha256, *known.previous))
    former.pop(digest, None)
    return msgspec.structs.replace(known, sha256=digest, previous=tuple(former)[: limits.FORMER_DIGESTS])


def _pinned(fact: FileFacts, what: str) -> EnrolledFile:
    if fact.writable and not fact.digest:
        raise TrustError(
            f"no digest of its {what} was taken{_because(fact)}, and others than root can write to it",
            hint="close whatever writes to it, then try again",
        )
    if pathpattern.has_star(fact.path):
        raise TrustError("the path of the program holds a star, which means every name", hint="rename it")
    return EnrolledFile(pathpattern.derive(fact.path), fact.owner, fact.digest, fact.writable)


# --- as text --------------------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether a host can be called so: 1 to 64 of a-z 0-9 _ . -, a letter or digit first."""
    return _NAME.fullmatch(text) is not None


def check(enrolled: Enrolled) -> None:
    """Refuse what no enrolment may say.

    Raises:
        TrustError: A name, path, owner, digest, text or moment is not one, or a file that others than root can
            write to has no digest.
    """
    if not is_name(enrolled.name):
        raise TrustError(
            f"{enrolled.name[:64]!a} is no name for a host",
            hint="1 to 64 of a-z 0-9 _ . -, a letter or digit first",
        )
    _check_file(enrolled.executable, "executable")
    if enrolled.script is not None:
        _check_file(enrolled.script, "script")
        if not enrolled.script.sha256:
            raise _refusal("no digest of the script was taken, so nothing would be known by it")
    if enrolled.grade not in Grade.__members__:
        raise _refusal(f"{enrolled.grade[:8]!a} is no grade")
    parse_time(enrolled.enrolled_at, "the moment of the enrolment")
    for text in (enrolled.unit, enrolled.label, enrolled.team, enrolled.signing):
        if len(text) > _TEXT_CHARS or not text.isprintable():
            raise _refusal(
                f"a unit, label or signature is longer than {_TEXT_CHARS} characters or cannot be read"
            )
    if bool(enrolled.team) is not bool(enrolled.signing):
        raise _refusal("a team id without a signing identifier names no program")


def encode(hosts: Iterable[Enrolled]) -> bytes:
    """The list as bytes, sorted by name; for people to read, not to edit."""
    listed = sorted(hosts, key=lambda host: host.name)
    return msgspec.json.format(msgspec.json.encode({"version": VERSION, "hosts": listed}), indent=2) + b"\n"


def decode(data: bytes) -> tuple[Enrolled, ...]:
    """The list of `encode`.

    Raises:
        TrustError: It is not that list, whole and of this version.
    """
    if len(data) > limits.ENROLLED_BYTES:
        raise _refusal(f"the list of enrolled hosts is longer than {limits.ENROLLED_BYTES} bytes")
    value = parse_json(data, "the list of enrolled hosts")
    if value.get("version") != VERSION:
        raise _refusal(f"the list of enrolled hosts is not of version {VERSION}")
    listed = _List.of(value)
    if len(listed.hosts) > limits.ENROLLED_HOSTS:
        raise _refusal(f"the list of enrolled hosts names more than {limits.ENROLLED_HOSTS}")
    if len({host.name for host in listed.hosts}) < len(listed.hosts):
        raise _refusal("the list of enrolled hosts has one name twice")
    for host in listed.hosts:
        check(host)
    return listed.hosts


def encode_one(enrolled: Enrolled) -> str:
    """One enrolment as JSON text."""
    return msgspec.json.encode(enrolled).decode()


def decode_one(text: str) -> Enrolled:
    """The enrolment of `encode_one`.

    Raises:
        TrustError: It is not one, or says what none may say.
    """
    enrolled = _converted(
        parse_json(text.encode(errors="replace"), "the enrolment"), Enrolled, "the enrolment"
    )
    check(enrolled)
    return enrolled


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    hosts: tuple[Enrolled, ...]

    @classmethod
    def of(cls, value: JsonObject) -> _List:
        return _converted(value, cls, "the list of enrolled hosts")


def _converted(value: Json, kind: type[Struct], what: str) -> Struct:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refusal(f"{what} is not one: {str(error)[:120]!a}") from error


def _check_file(file: EnrolledFile, what: str) -> None:
    if wrong := pathpattern.flaw(file.pattern):
        raise _refusal(f"the path of its {what} is no pattern: expected {wrong}")
    if not 0 <= file.owner < _UIDS:
        raise _refusal(f"the owner of its {what} is no user id")
    if any(not _DIGEST.fullmatch(digest) for digest in (file.sha256 or "0" * 64, *file.previous)):
        raise _refusal(f"a digest of its {what} is not 64 hex digits")
    if len(file.previous) > limits.FORMER_DIGESTS:
        raise _refusal(f"its {what} has more than {limits.FORMER_DIGESTS} former digests")
    if file.writable and not file.sha256:
        raise _refusal(f"no digest of its {what} was taken, and others than root can write to it")


def _refusal(message: str) -> TrustError:
    return TrustError(message, hint="enrol the host again: mcpguard host trust")
