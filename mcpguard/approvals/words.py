"""What a person reads of a ticket: who asks, for what, with which arguments, why, and for how long.

Rule 1: nothing of others is obeyed or hidden: control, bidirectional and invisible characters appear as escapes, a
value is JSON on its own lines, and the lines that continue it begin with a bar, so that none looks like ours.
Rule 2: what is cut says how much is missing, and keeps its end: a command hides its sting there.
Rule 3: no line is wider than it may be, in columns of a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from mcpguard.approvals.members import Change, changes, leaves
from mcpguard.approvals.ticket import State, Ticket
from mcpguard.model import Json, JsonObject, escape, visible

WIDTH: Final = 80
"""Columns of the narrowest terminal that is written for."""
LEAVES: Final = 24
"""Members that are shown of long arguments, and changes."""
VALUE_CHARS: Final = 210
"""Characters that are shown of one value: three lines."""
_POINTER_CHARS: Final = 60
_CHANGE_POINTER_CHARS: Final = 24
_TAIL: Final = 4
"""A cut text keeps its head, and of its end one part in so many."""
_CONTEXT: Final = 8
"""Characters before the first difference that are shown of changed values."""
_SECOND: Final = 1_000_000_000
_MARGIN: Final = "  "
_LABEL: Final = 8
_REST: Final = _MARGIN + " " * _LABEL


def describe(ticket: Ticket, now: int) -> JsonObject:
    """A ticket as JSON: what the command line, the console and notifications are made from.

    `asked_seconds` is its age, `left_seconds` the time until silence is a no. Text in it is as others wrote it.
    """
    question, bound = ticket.question, ticket.question.binding
    left = ticket.expires - now if ticket.state is State.OPEN else 0
    return {
        "id": ticket.ident,
        "server": bound.server,
        "method": bound.method,
        "tool": bound.target,
        "arguments": question.arguments,
        "before": ticket.before,
        "host": question.host,
        "conn": question.conn,
        "rule": question.rule,
        "origin": question.origin,
        "reason": question.reason,
        "confirm": question.confirm,
        "asked_seconds": round(max(0, now - ticket.asked) / _SECOND, 3),
        "left_seconds": round(max(0, left) / _SECOND, 3),
        "waiting": ticket.waiting,
        "times": ticket.times,
        "state": ticket.state.value,
        "definition": bound.definition,
        "manifest": bound.manifest,
    }


def ticket_lines(shown: JsonObject, *, full: bool = False, width: int = WIDTH) -> list[str]:
    """A ticket (`describe`) for a person; every character visible, nothing to escape again.

    `full`: arguments are not cut.
    """
    lines = list(_wrapped(f"{visible(shown['id'])}  {_subject(shown)}".split(" "), "", _REST, width))
    lines += _prose("from", asker(shown["host"]), width)
    if exe := shown["host"].get("exe"):
        lines += _prose("", visible(str(exe)), width)
    lines += _arguments(shown["arguments"], width, full=full)
    lines += change_lines(shown["before"], shown["arguments"], width=width)
    lines += _rule(shown, width)
    if shown["confirm"]:
        lines += _prose("confirm", f"whoever approves has to show {visible(shown['confirm'])}", width)
    waiting = f"{shown['waiting']} call{'' if shown['waiting'] == 1 else 's'} waiting"
    if not shown["waiting"]:
        waiting = "the host gave up; a yes lets one identical retry through"
    times = f", asked {shown['times']} times" if shown["times"] > 1 else ""
    left = f"; {span(shown['left_seconds'])} left" if shown["state"] == State.OPEN.value else ""
    state = "" if shown["state"] == State.OPEN.value else f"{visible(shown['state'])}; "
    return lines + _prose("state", f"{state}{waiting}{times}{left}", width)


def question_text(ticket: Ticket) -> str:
    """A ticket for the user of its own host, who is asked in band: of no other call, and of bounded length."""
    shown = describe(ticket, ticket.asked)
    lines = [f"mcpguard asks: may this call go through? ({ticket.ident})", _subject(shown)]
    lines += _arguments(shown["arguments"], WIDTH, full=False)
    return "\n".join([*lines, *_rule(shown, WIDTH)])


def asker(host: JsonObject) -> str:
    """Who asks: the name it is enrolled under, or that it is not; of a listener's peer, its credential."""
    if principal := host.get("principal"):
        where = host.get("network") or f"uid {host.get('uid')}"
        return f"{visible(str(principal))} (from {visible(str(where))})"
    name = visible(str(host["host"])) if host.get("host") else "a host that is not enrolled"
    known = [f"{word} {visible(str(host[word]))}" for word in ("uid", "pid") if word in host]
    grade = f" [{visible(str(host['grade']))}]" if "grade" in host else ""
    return f"{name} ({' '.join(known)}){grade}" if known else f"{name}{grade}"


def brief(value: Json, columns: int) -> str:
    """Arguments on one line, cut to so many columns: for a table, never to decide on."""
    parts = (f"{place_of(pointer)}={_json(leaf)}" for pointer, leaf in islice(leaves(value), columns))
    return fit(" ".join(parts) or "none", columns)


def change_lines(before: Json, after: Json, *, width: int = WIDTH) -> list[str]:
    """One line for each member that is not as in the last call; none if there was no call."""
    if before is None:
        return []
    found = changes(before, after)
    if found is None:
        return _prose("changes", "too many members to compare with the last approved call", width)
    if not found:
        return _prose("changes", "none since the last approved call of it", width)
    lines = [*_prose("changes", "since the last approved call of it", width)]
    lines += [_change(change, width) for change in found[:LEAVES]]
    if len(found) > LEAVES:
        lines.append(f"{_MARGIN * 2}(+{len(found) - LEAVES} more changes)")
    return lines


def place_of(pointer: str) -> str:
    """A pointer; in quotes if it holds what could be taken for the end of it."""
    plain = all(char.isalnum() or char in "/_.~-" for char in pointer)
    return visible(pointer) if plain else _json(pointer)


def span(seconds: float) -> str:
    """A time for a person: `45 s`, `3 min`, `2 h`; never longer than it is."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def fit(text: str, columns: int) -> str:
    """At most so many columns of a text; what is cut ends with an ellipsis."""
    if columns_of(text) <= columns:
        return text
    taken, used = [], 1
    for char in text:
        used += columns_of(char)
        if used > columns:
            break
        taken.append(char)
    return "".join(taken) + "…"


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _subject(shown: JsonObject) -> str:
    """What is called, and of which server: servers may name their tools alike."""
    method = "" if shown["method"] == "tools/call" else f" ({visible(shown['method'])})"
    return f"server {visible(shown['server'])}: {visible(shown['tool']) or visible(shown['method'])}{method}"


def _rule(shown: JsonObject, width: int) -> list[str]:
    where = f"{visible(shown['rule'])} at {visible(shown['origin'])}"
    return _prose("rule", f"{where}: {visible(shown['reason'])}", width)


def _json(value: Json) -> str:
    """JSON of a value in which every character can be seen."""
    return escape(msgspec.json.encode(value).decode())


def _cut(text: str, most: int) -> str:
    """A text of others without its middle, and how much that was."""
    if len(text) <= most:
        return text
    end = most // _TAIL
    return f"{text[: most - end]}…(+{len(text) - most} characters)…{text[-end:]}"


def _arguments(value: Json, width: int, *, full: bool) -> list[str]:
    size = len(msgspec.json.encode(value))
    shown = list(leaves(value) if full else islice(leaves(value), LEAVES))
    if not shown:
        return _prose("with", "no arguments", width)
    lines = _prose("with", f"arguments, {size:,} bytes", width)
    cut = False
    for pointer, leaf in shown:
        text, place = _json(leaf), place_of(pointer)
        if not full:
            cut = cut or len(text) > VALUE_CHARS or len(place) > _POINTER_CHARS
            text, place = _cut(text, VALUE_CHARS), _cut(place, _POINTER_CHARS)
        lines += _hard(f"{place}: {text}" if place else text, width)
    more = 0 if full else sum(1 for _ in leaves(value)) - len(shown)
    if more:
        lines.append(f"{_MARGIN * 2}(+{more:,} more members)")
    if more or cut:
        lines += _prose("", "not all of it is shown", width)
    return lines


def _change(change: Change, width: int) -> str:
    head = f"{_MARGIN * 2}{change.kind} {_cut(place_of(change.pointer), _CHANGE_POINTER_CHARS)}: "
    if change.kind == "changed":
        room = width - columns_of(head) - len(" -> ")
        old, new = _json(change.before), _json(change.after)
        start = _first_difference(old, new)
        old, new = _from(old, start), _from(new, start)
        left = max(room - columns_of(new), room // 2)
        old = fit(old, left)
        return f"{head}{old} -> {fit(new, room - columns_of(old))}"
    value = change.after if change.kind == "added" else change.before
    return head + fit(_json(value), width - columns_of(head))


def _first_difference(old: str, new: str) -> int:
    """Where two long texts begin to differ, less some context; 0 if that is near their beginning."""
    same = next((at for at, (one, two) in enumerate(zip(old, new, strict=False)) if one != two), None)
    start = (min(len(old), len(new)) if same is None else same) - _CONTEXT
    return start if start > _CONTEXT else 0


def _from(text: str, start: int) -> str:
    return f"…{text[start:]}" if start else text


def _prose(label: str, text: str, width: int) -> list[str]:
    """Words of ours and names of others, wrapped between words, with a label before the first line."""
    first = f"{_MARGIN}{label:<{_LABEL}}"
    return list(_wrapped(text.split(" "), first, _REST, width))


def _wrapped(words: Iterable[str], first: str, rest: str, width: int) -> Iterator[str]:
    line, empty = first, True
    for word in words:
        gap = "" if empty else " "
        if not empty and columns_of(line) + columns_of(gap + word) > width:
            yield line
            line, empty, gap = rest, True, ""
        pieces = _split(word, width - columns_of(line + gap), width - len(rest))
        line += gap + next(pieces)
        empty = False
        for piece in pieces:
            yield line
            line = rest + piece
    yield line


def _hard(text: str, width: int) -> list[str]:
    """A value of others: every character of it, wherever the line ends."""
    first, rest = _MARGIN * 2, f"{_MARGIN * 3}| "
    pieces = _split(text, width - len(first), width - len(rest))
    return [(first if not number else rest) + piece for number, piece in enumerate(pieces)]


def _split(text: str, first: int, rest: int) -> Iterator[str]:
    """A text in pieces of at most so many columns."""
    if text.isascii():
        yield text[:first]
        for at in range(first, len(text), rest):
            yield text[at : at + rest]
        return
    piece, used, room = "", 0, first
    for char in text:
        columns = _columns(char)
        if used + columns > room:
            yield piece
            piece, used, room = "", 0, rest
        piece += char
        used += columns
    yield piece
