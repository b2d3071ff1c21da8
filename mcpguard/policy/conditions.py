"""`when` of a rule: what holds of the moment, the session, the host and the tool.

Rule 1: a condition holds, does not, or cannot be told (None); what that means for a rule is for `cases` to say.
Rule 2: all parts must hold; one that does not settles it, whatever cannot be told of the others.
Rule 3: what cannot change while a connection lasts is looked at when compiling only.

What is meant, part by part:
    `hours`, `days` are read off a clock on the wall. An hour that a change of the clocks leaves out does not come,
    one that it repeats comes twice; a span over midnight belongs to the day on which it begins.
    `reads`, `sends` are what manifest and policy say of a tool; a label that neither gives is not there.
    `annotations` of a pinned tool: hints that the definition leaves out have the value that MCP gives them (schema,
    ToolAnnotations). Of a tool that is not pinned nothing can be told, nor can a risk that its manifest does not
    state.
    `session`: neither a word nor its opposite being known, it cannot be told; likewise a folder or version not known.

Not here: whether a label was earned (`gate`), whether the session is what it seems (`system`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from mcpguard.model import Caller, Json, JsonObject, ToolFacts
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.match import Pattern
from mcpguard.policy.rules import When
from mcpguard.policy.zones import local

Part: TypeAlias = Callable[[Circumstances, int], bool | None]
"""One thing that changes from call to call: whether it holds at a moment on the monotonic clock, nanoseconds."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OPPOSITE: Final = {"local": "remote", "remote": "local", "locked": "unlocked", "unlocked": "locked"}
_HINTS: Final = {"readOnlyHint": False, "idempotentHint": False, "openWorldHint": True}
_VERSION: Final = re.compile(
    r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})(?:[-.~]?((?:a|b|c|rc|alpha|beta|pre|dev|next|canary|nightly|insiders?)"
    r"[0-9A-Za-z.-]{0,40})|-([0-9A-Za-z][0-9A-Za-z.-]{0,40}))?(?:\+[0-9A-Za-z.-]{0,60})?",
    re.IGNORECASE,
)


class Facts(msgspec.Struct, frozen=True):
    """What is known of what a request is about.

    Attributes:
        is_tool: Whether it is a tool; nothing else has annotations or a risk.
        stated: What the manifest says of the tool; None if no manifest speaks of it.
        reads: Labels of what its answers carry, from manifest and policy.
        sends: Labels of where it sends what it is given, likewise.
    """

    is_tool: bool = True
    stated: ToolFacts | None = None
    reads: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()


class Condition:
    """A `when`, compiled for one connection and one tool.

    Attributes:
        fixed: Whether the parts that cannot change hold; if False, the rule never speaks of this tool.
        lasting: The first of them that does not, as the end of a sentence that begins with `if`.
        moves: Whether there are parts that can.
    """

    __slots__ = ("_moving", "fixed", "lasting", "moves")

    def __init__(
        self, fixed: Iterable[tuple[bool | None, str]], moving: Iterable[tuple[Part, str]] = ()
    ) -> None:
        settled = list(fixed)
        self._moving = tuple(moving)
        self.fixed = _all(held for held, _ in settled)
        self.moves = bool(self._moving)
        self.lasting = next((words for held, words in settled if held is self.fixed is not True), "")

    def holds(self, circumstances: Circumstances, now: int) -> bool | None:
        """Whether all of it holds; `now` in monotonic nanoseconds."""
        truth = self.fixed
        if truth is False:
            return False
        for part, _ in self._moving:
            held = part(circumstances, now)
            if held is False:
                return False
            if held is None:
                truth = None
        return truth

    def wanting(self, circumstances: Circumstances, now: int) -> str:
        """What would have to be otherwise, as the end of a sentence that begins with `if`; empty if all holds."""
        if self.fixed is False:
            return self.lasting
        told = [(_told(part, circumstances, now), words) for part, words in self._moving]
        failing = [words for held, words in told if held is False]
        doubtful = [words for held, words in told if held is None]
        return next((words for words in (*failing, self.lasting, *doubtful) if words), "")


def compile_when(
    when: When, zone: str, surroundings: Surroundings, caller: Caller, facts: Facts
) -> Condition:
    """Compile the conditions of one rule; `zone` is that of the policy, for a rule that names none.

    Asks `surroundings.resolve` for the folders of `cwd`. Never raises: what cannot be read cannot be told.
    """
    fixed: list[tuple[bool | None, str]] = []
    if when.reads:
        fixed.append((_some(when.reads, facts.reads), f"the tool read {_or(when.reads)}"))
    if when.sends:
        fixed.append((_some(when.sends, facts.sends), f"the tool sent to {_or(when.sends)}"))
    if when.cwd:
        words = f"the host had started the server under {_or(when.cwd)}"
        fixed.append((_started_under(when.cwd, surroundings, caller.cwd), words))
    if when.release:
        words = f"the host's version were {' and '.join(op + wanted for op, wanted in when.release)}"
        fixed.append((_all(compare(caller.release, *each) for each in when.release), words))
    if when.annotations:
        words = "the tool were annotated " + " and ".join(
            f"{key} = {_shown(value)}" for key, value in when.annotations.items()
        )
        fixed.append((_annotated(when.annotations, facts), words))
    if when.risk:
        words = f"the risk of the tool were {_or(pattern.text for pattern in when.risk)}"
        fixed.append((_risky(when.risk, facts), words))
    return Condition(fixed, _moving(when, zone))


def compare(release: str, operator: str, wanted: str) -> bool | None:
    """Whether a version compares so; `operator` is one of >= > <= < == = !=. None if either is not a version.

    Numbers compare as numbers and missing ones are 0; a pre-release comes before its release (Semantic Versioning
    2.0.0, section 11). Build metadata does not count.
    """
    left, right = _version(release), _version(wanted)
    if left is None or right is None:
        return None
    match operator:
        case ">=":
            return left >= right
        case ">":
            return left > right
        case "<=":
            return left <= right
        case "<":
            return left < right
        case "==" | "=":
            return left == right
        case "!=":
            return left != right
        case _:
            return None


def below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` or lies in it, component by component."""
    folder = folder.rstrip("/")
    return path == folder or path.startswith(f"{folder}/")


def _moving(when: When, zone: str) -> list[tuple[Part, str]]:
    moving: list[tuple[Part, str]] = []
    if when.hours or when.days:
        hours = _Hours(when, when.zone or zone)
        moving.append((hours.holds, hours.words()))
    if when.after:
        moving.append((_after(when.after), f"the host had seen {_or(when.after)}"))
    if when.after_not:
        moving.append((_after_not(when.after_not), f"the host had not seen {_or(when.after_not)}"))
    moving.extend((_session(word), f"the session were {word}") for word in when.session)
    return moving


class _Hours:
    """Hours and days; the answer is the same for a whole minute of Unix time, since zones differ by whole minutes."""

    __slots__ = ("_held", "_minute", "_when", "_zone")

    def __init__(self, when: When, zone: str) -> None:
        self._when = when
        self._zone = zone
        self._minute = -1
        self._held: bool | None = None

    def holds(self, circumstances: Circumstances, now: int) -> bool | None:
        minute = int(circumstances.unix(now) // 60)
        if minute != self._minute:
            self._held, self._minute = self._look(minute), minute
        return self._held

    def words(self) -> str:
        days = " ".join(_DAYS[day] for day in sorted(self._when.days))
        hours = " or ".join(f"{_clock(start)}-{_clock(end)}" for start, end in self._when.hours)
        return f"it were {' '.join(part for part in (days, hours) if part)} in {self._zone or 'local time'}"

    def _look(self, minute: int) -> bool | None:
        try:
            moment = local(minute * 60, self._zone)
        except (OverflowError, ValueError, OSError):
            return None
        if moment is None:
            return None
        of_day, today = moment.hour * 60 + moment.minute, moment.weekday()
        return any(self._within(span, of_day, today) for span in self._when.hours or ((0, 24 * 60),))

    def _within(self, span: tuple[int, int], of_day: int, today: int) -> bool:
        start, end = span
        days = self._when.days
        if start < end:
            return start <= of_day < end and (not days or today in days)
        if of_day >= start:
            return not days or today in days
        return of_day < end and (not days or (today - 1) % 7 in days)


def _after(labels: tuple[str, ...]) -> Part:
    wanted = frozenset(labels)
    return lambda circumstances, _: not wanted.isdisjoint(circumstances.labels)


def _after_not(labels: tuple[str, ...]) -> Part:
    unwanted = frozenset(labels)
    return lambda circumstances, _: unwanted.isdisjoint(circumstances.labels)


def _session(word: str) -> Part:
    opposite = _OPPOSITE.get(word)

    def holds(circumstances: Circumstances, _: int) -> bool | None:
        if opposite in circumstances.session:
            return False
        return True if word in circumstances.session else None

    return holds


def _some(wanted: tuple[str, ...], there: tuple[str, ...]) -> bool:
    return not frozenset(wanted).isdisjoint(there)


def _started_under(folders: tuple[str, ...], surroundings: Surroundings, cwd: str) -> bool | None:
    if not cwd:
        return None
    return _any(_below_folder(folder, surroundings, cwd) for folder in folders)


def _below_folder(folder: str, surroundings: Surroundings, cwd: str) -> bool | None:
    """`cwd` has no links in it, so what begins like it has none either; else where the folder leads decides."""
    if folder == "~" or folder.startswith("~/"):
        if not surroundings.home:
            return None
        folder = surroundings.home + folder[1:]
    if not folder.startswith("/"):
        return None
    if below(cwd, folder):
        return True
    try:
        resolved = surroundings.resolve(folder)
    except Exception:  # noqa: BLE001 (asks the world: whatever goes wrong there, it cannot be told)
        return None
    return None if resolved is None else below(cwd, resolved)


def _annotated(wanted: JsonObject, facts: Facts) -> bool | None:
    if not facts.is_tool:
        return False
    if facts.stated is None:
        return None
    given = facts.stated.annotations
    read_only = given.get("readOnlyHint") is True
    known = {**_HINTS, "destructiveHint": not read_only, **given}
    return all(key in known and _same(known[key], value) for key, value in wanted.items())


def _risky(patterns: tuple[Pattern, ...], facts: Facts) -> bool | None:
    if not facts.is_tool:
        return False
    if facts.stated is None or not facts.stated.risk:
        return None
    risk = facts.stated.risk
    return any(pattern.matches(risk) for pattern in patterns)


def _version(text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]] | None:
    """What versions are ordered by: their numbers, then what follows; a release comes after all its pre-releases."""
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    early = found[2] or found[3]
    if not early:
        return tuple(numbers), ((2, 0, ""),)
    parts = re.findall(r"[0-9]{1,9}|[^0-9.-]+", early.lower())
    return tuple(numbers), tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


def _told(part: Part, circumstances: Circumstances, now: int) -> bool | None:
    try:
        return part(circumstances, now)
    except Exception:  # noqa: BLE001 (for an explanation: a fault of a condition is that it cannot be told)
        return None


def _same(found: Json, wanted: Json) -> bool:
    return isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)


def _all(truths: Iterable[bool | None]) -> bool | None:
    found = list(truths)
    return False if False in found else None if None in found else True


def _any(truths: Iterable[bool | None]) -> bool | None:
    found = list(truths)
    return True if True in found else None if None in found else False


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)


def _shown(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
