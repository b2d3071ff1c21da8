"""Plays a case on a connection and holds what happens against what must happen."""

import itertools
import json
import math
import random
import re
from datetime import datetime
from typing import Any

import msgspec

from mcpguard import limits
from tests.wire.connection import GREETED, Connection, EndedError, enveloped
from tests.wire.corpus import Case
from tests.wire.deviations import DEVIATIONS, WAITING
from tests.wire.expected import CHANGED, GONE, NOTHING
from tests.wire.guard import Guard

VARIANTS = ("whole", "cut", "pieces")
_BYTEWISE_BYTES = 2048
_PIECES = 64
_WINDOW_SECONDS = 1.2
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
REFUSED_GREETINGS = frozenset({"cor-032"})
"""Inputs after which the connection is not initialized, so that no call could be the barrier."""
_WORDS = frozenset({"method", "resultType", "type"})


# --- what the bytes say, read leniently and independently of the guard ---------------------------------------


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"": pairs, **dict(pairs)}


def readable_ids(data: bytes, *, answers: bool = False) -> list[int | str]:
    """The well-formed ids of the requests in a line (or of the answers), where a message has exactly one."""
    found: list[int | str] = []
    for line in data.split(b"\n"):
        try:
            value = json.loads(line.decode().strip(), object_pairs_hook=_pairs, parse_int=_integer)
        except RecursionError:
            deep = re.match(rb'\{"jsonrpc":"2\.0","id":(\d+),', line)
            found += [int(deep[1])] if deep else []
            continue
        except ValueError:
            continue
        for message in value if type(value) is list else [value]:
            if type(message) is not dict:
                continue
            names = [key for key, _ in message[""]]
            if answers and "method" in names and "result" not in names:
                continue
            if not answers and "method" not in names and ("result" in names or "error" in names):
                continue
            idents = [child for key, child in message[""] if key == "id"]
            if len(idents) == 1 and _well_formed(idents[0]) and idents[0] not in found:
                found.append(idents[0])
    return found


def _integer(text: str) -> float:
    return int(text) if len(text) < 40 else math.inf


def _well_formed(ident: Any) -> bool:
    if type(ident) is int:
        return abs(ident) < 2**53
    return type(ident) is str and len(ident) <= 256 and all(c.isprintable() for c in ident)


def is_ask(data: bytes) -> bool:
    """Whether the line is a request (or a batch of them), not an answer."""
    return b'"method"' in data and b'"result"' not in data


def canonical(line: bytes) -> bytes:
    """Our own encoding of what a line says."""
    out = msgspec.json.encode(msgspec.json.decode(line))
    for raw, escaped in (
        (b"\xe2\x80\xa8", rb"\u2028"),
        (b"\xe2\x80\xa9", rb"\u2029"),
        (b"\xc2\x85", rb"\u0085"),
    ):
        out = out.replace(raw, escaped)
    return out


def texts(value: Any) -> set[str]:
    """Strings in a value that are long enough to be recognised elsewhere."""
    if type(value) is dict:
        return set().union(*(texts(child) for key, child in value.items() if key not in _WORDS), set())
    if type(value) is list:
        return set().union(*map(texts, value), set())
    return {value} if type(value) is str and len(value) >= 12 and not value.startswith("2.") else set()


def is_no(answer: dict[str, Any]) -> bool:
    """Whether an answer says no: an error, a tool result with `isError`, or a declined elicitation."""
    result = answer.get("result")
    return "error" in answer or (
        type(result) is dict and (result.get("isError") is True or result.get("action") == "decline")
    )


# --- playing ------------------------------------------------------------------------------------------------


def pieces(data: bytes, variant: str, seed: str) -> list[bytes]:
    """The line whole, cut in two at a random point, or byte by byte (64 random pieces where it is long)."""
    chance = random.Random(f"{seed} {variant}")
    if variant == "whole" or len(data) < 2:
        return [data]
    if variant == "cut":
        cuts = [chance.randrange(1, len(data))]
    elif len(data) < _BYTEWISE_BYTES:
        cuts = list(range(1, len(data)))
    else:
        cuts = sorted(chance.sample(range(1, len(data)), _PIECES - 1))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def renumbered(connection: Connection, data: bytes) -> bytes:
    """A line of the server under the guard's ids: rule 3 of `connection`."""

    def number(match: re.Match[bytes]) -> bytes:
        ident = int(match[2])
        guess = connection.next_number if ident in (7, 3) else ident
        return match[1] + str(connection.ids.get(ident, guess)).encode()

    def token(match: re.Match[bytes]) -> bytes:
        real = connection.tokens.get(7)
        return match[1] + str(real).encode() if type(real) is int else match[0]

    data = re.sub(rb'(\\?"(?:id|requestId)\\?":"?\+?)(\d+)(?![0-9])', number, data)
    return re.sub(rb'("progressToken":"?)(5)(?![0-9])', token, data)


def turned(connection: Connection, line: bytes) -> bytes:
    """A set-up's list request with the minted cursor: rule 4 of `connection`."""
    message = json.loads(line)
    cursor = (message.get("params") or {}).get("cursor")
    if type(cursor) is not str:
        return line
    if cursor not in connection.cursors:
        first = dict(
            message, id="first-page", params={k: v for k, v in message["params"].items() if k != "cursor"}
        )
        seen = connection.request(json.dumps(first).encode())
        give_page(connection, seen["id"], {"tools": [], "nextCursor": cursor})
    message["params"]["cursor"] = connection.cursors[cursor]
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def give_page(connection: Connection, number: int, result: dict[str, Any]) -> None:
    """The server answers a list; what cursor the host got for the server's is remembered."""
    answer = connection.answer(number, result)
    connection.cursors[result["nextCursor"]] = answer["result"]["nextCursor"]


def set_up(connection: Connection, case: Case) -> None:
    """The messages that precede the input."""
    connection.cursors.clear()
    for step in case.setup:
        if step.direction == "c2s":
            line = enveloped(step.data) if connection.era == "modern" else step.data
            connection.request(turned(connection, line))
            continue
        line = renumbered(connection, step.data)
        told, _ = connection.mark()
        message = json.loads(line)
        if "result" in message:
            connection.open_calls.pop(message["id"], None)
        connection.serve(line)
        connection.until(lambda told=told: len(connection.to_host.lines) > told, "a message of the set-up")
        cursor = message.get("result", {}).get("nextCursor")
        if cursor:
            connection.cursors[cursor] = json.loads(connection.to_host.lines[told])["result"]["nextCursor"]


def tidy(connection: Connection) -> None:
    """Answer what is in flight: each call must still be there, and its caller gets exactly this answer."""
    for number, ident in list(connection.open_calls.items()):
        result = {
            "content": [],
            "tools": [],
            "messages": [],
            "ttlMs": 0,
            "cacheScope": "private",
            "resultType": "complete",
        }
        if ident == 0 and connection.era == "legacy":
            result = {"protocolVersion": "2025-11-25", **GREETED}
        answer = connection.answer(number, result)
        assert answer["id"] == ident, answer
        assert type(answer["id"]) is type(ident), answer
        assert "result" in answer, answer


def opened(guard: Guard, case: Case, era: str, *, sockets: bool) -> Connection:
    """A connection as the case wants it to begin."""
    connection = Connection(guard, case.server, sockets=sockets)
    connection.era = "modern" if era.startswith("modern") else "legacy"
    if case.handshake and era == "legacy":
        connection.open_legacy()
    elif era.startswith("modern") and (case.era == "any" or not case.setup) and not begins(case):
        connection.open_modern()
    return connection


def begins(case: Case) -> bool:
    """Whether the input itself, or its set-up, begins the connection."""
    return case.era == "modern" and case.direction == "c2s"


def repeatable(case: Case) -> bool:
    """Whether the case can be played again on the same connection."""
    return case.action != "kill" and (case.handshake or case.era == "modern")


def play(connection: Connection, case: Case, era: str, variant: str) -> None:
    """One case in one variant, from set-up to judgement."""
    set_up(connection, case)
    data = case.data
    if case.direction == "s2c":
        data = renumbered(connection, data)
    elif era == "modern-enveloped":
        data = enveloped(data)
    before = len(connection.guard.records(connection.conn))
    mark = connection.mark()
    waiting = dict(connection.open_calls)
    parts = pieces(data, variant, case.id)
    if case.direction == "c2s":
        connection.send(*parts)
    else:
        connection.serve(*parts, stream=2 if case.direction == "stderr" else 1)
        if case.action != "kill":
            connection.settle()
    if case.action == "kill":
        connection.await_end()
        told, arrived = connection.to_host.lines[mark[0] :], connection.to_server.lines[mark[1] :]
        assert not connection.to_server.rest
        assert not connection.to_host.rest
        rejected(case, data, waiting, told, arrived)
        return
    if case.id in REFUSED_GREETINGS:
        connection.until(lambda: len(connection.to_host.lines) > mark[0], "the refusal of the greeting")
        told, arrived = connection.to_host.lines[mark[0] :], connection.to_server.lines[mark[1] :]
        connection.open_legacy()  # the host may try again, and the server thinks better of it
    else:
        told, arrived = connection.good(mark)
    assert connection.good() == ([], [])  # behind it, what was recorded for later is in the log
    records = connection.guard.records(connection.conn)[before:]
    judge(connection, case, era, data, waiting, told, arrived, records)
    tidy(connection)


# --- judging ------------------------------------------------------------------------------------------------


def judge(
    connection: Connection, case: Case, era: str, data: bytes, waiting: dict[int, Any], told: list[bytes],
    arrived: list[bytes], records: list[dict[str, Any]],
) -> None:  # fmt: skip
    entry = WAITING.get(case.id) or DEVIATIONS.get(case.id)
    if era == "modern" and case.era == "any" and case.direction == "c2s":
        entry = None  # no request of the legacy form passes there
    expected = entry.today if entry else case.expected
    for line in [*told, *arrived]:
        assert line == canonical(line), "not our own encoding"
    if case.direction == "stderr":
        assert not told
        assert not arrived
        connection.until(lambda: data.rstrip(b"\n") in connection.stderr.lines, "the line on stderr")
    elif expected == "reject":
        answered = rejected(case, data, waiting, told, arrived)
        for ident in answered:
            connection.open_calls = {
                n: i for n, i in connection.open_calls.items() if (n, i) not in answered.items()
            }
            assert ident in waiting
        recorded(connection, case, records)
    elif expected == "withdrawn":
        withdrawn(connection, data, waiting, told, arrived, records)
    elif expected == "silenced":
        silenced(connection, data, waiting, told, arrived)
    elif expected == "denied before":
        assert not told
        assert not arrived
        assert not waiting
        before = [json.loads(line) for line in connection.to_host.lines]
        assert any(answer.get("id") == 7 and is_no(answer) for answer in before)
    elif expected == "nothing" or case.id in NOTHING:
        assert not told
        assert not arrived
    else:
        let_through(connection, case, data, waiting, told, arrived)


def rejected(
    case: Case, data: bytes, waiting: dict[int, Any], told: list[bytes], arrived: list[bytes]
) -> dict[int, Any]:  # fmt: skip
    """Nothing of it arrived, and who waits for an answer has exactly one; the calls that were settled by that."""
    from_host = case.direction == "c2s"
    across, back = (arrived, told) if from_host else (told, arrived)
    answers = [json.loads(line) for line in back]
    idents = readable_ids(data)
    if case.action == "kill":
        assert not across
        assert len(answers) <= 1, answers
        assert all(is_no(answer) for answer in answers), answers
        return {}
    if from_host or is_ask(data):
        assert not across, across
        wanted = [] if case.action == "drop" or (not from_host and case.action == "kill") else idents
        assert [answer["id"] for answer in answers] == wanted, (answers, wanted)
        assert all(is_no(answer) for answer in answers), answers
        return {}
    assert not back, back
    answered = readable_ids(data, answers=True)
    settled = {} if case.action == "drop" else {i: waiting[i] for i in answered if i in waiting}
    withheld = [json.loads(line) for line in across]
    assert [answer["id"] for answer in withheld] == list(settled.values()), (withheld, settled)
    assert all(is_no(answer) for answer in withheld), withheld
    for text in texts(_loaded(data)):
        assert not any(text in json.dumps(answer, ensure_ascii=False) for answer in withheld), (
            f"{text!r} leaks"
        )
    return settled


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def crowded(connection: Connection) -> bool:
    """Whether more was dropped just now than gets records of its own; `test_extremes` holds that the rest is counted."""
    records = connection.guard.records(connection.conn)
    drops = [datetime.fromisoformat(r["t"]).timestamp() for r in records if r["type"] == "drop"]
    since = datetime.fromisoformat(records[-1]["t"]).timestamp() - _WINDOW_SECONDS
    return sum(at > since for at in drops) >= limits.DROP_RECORDS_PER_SECOND


def recorded(connection: Connection, case: Case, records: list[dict[str, Any]]) -> None:
    """A rejected message leaves a record: a drop, a refused call, or a withheld answer."""
    found = [
        r for r in records
        if r["type"] == "drop"
        or (r["type"] == "call" and r["decision"] == "deny")
        or (r["type"] == "outcome" and r["status"] == "refused")
    ]  # fmt: skip
    if crowded(connection):
        return
    assert found, f"no record of {case.id}"
    if case.action == "drop":
        assert any(r["type"] == "drop" for r in found), found


def silenced(
    connection: Connection, data: bytes, waiting: dict[int, Any], told: list[bytes], arrived: list[bytes]
) -> None:
    """The greeting arrives without its instructions, and that is recorded."""
    assert not arrived
    sent = json.loads(data)
    connection.open_calls.pop(sent["id"])
    sent["id"] = waiting[sent["id"]]
    del sent["result"]["instructions"]
    assert [json.loads(line) for line in told] == [sent]
    assert [r["kind"] for r in connection.guard.records(connection.conn) if r["type"] == "finding"] == [
        "instructions"
    ]


def withdrawn(
    connection: Connection, data: bytes, waiting: dict[int, Any], told: list[bytes], arrived: list[bytes],
    records: list[dict[str, Any]],
) -> None:  # fmt: skip
    """The list arrives without the bad definitions, nothing of which reaches the host."""
    assert not arrived
    sent = json.loads(data)
    assert len(told) == 1
    answer = json.loads(told[0])
    assert answer["id"] == waiting[sent["id"]]
    connection.open_calls.pop(sent["id"])
    assert answer["result"]["tools"] == [], answer
    for text in texts(sent["result"]["tools"]):
        assert text not in json.dumps(answer, ensure_ascii=False), f"{text!r} leaks"
    # A finding is told once for each connection, and cases are played on one several times.
    before = connection.guard.records(connection.conn)
    found = [r for r in before if r["type"] == "finding" and r["kind"] == "tools"]
    assert (
        found
        or crowded(connection)
        or any(r["type"] == "drop" and "definition" in r["reason"] for r in records)
    ), records


def let_through(
    connection: Connection,
    case: Case,
    data: bytes,
    waiting: dict[int, Any],
    told: list[bytes],
    arrived: list[bytes],
) -> None:
    """The same value arrives, once, under an id of its reader's own; members that JSON-RPC does not know are gone."""
    sent = [json.loads(line) for line in data.split(b"\n") if line.strip()]
    sent = sent[0] if len(sent) == 1 and type(sent[0]) is list else sent
    if case.direction == "c2s":
        assert not told, told
        got = [connection.note(line, m.get("id")) for line, m in zip(arrived, sent, strict=True)]
        for message, seen in zip(sent, got, strict=True):
            if "id" in message:
                assert type(seen["id"]) is int
                message["id"] = seen["id"]
            if (token := message.get("params", {}).get("_meta", {}).get("progressToken")) is not None:
                assert token != seen["params"]["_meta"]["progressToken"]
        lines = arrived
    else:
        assert not arrived, arrived
        got = [json.loads(line) for line in told]
        for message, _ in zip(sent, got, strict=True):
            if "id" in message:
                message["id"] = waiting[message["id"]]
                connection.open_calls = {n: i for n, i in connection.open_calls.items() if i != message["id"]}
        lines = told
    for message, seen, line in zip(sent, got, lines, strict=True):
        for name in message.keys() - _MEMBERS:
            del message[name]
        if case.id in CHANGED:
            CHANGED[case.id](message, seen)
        if connection.era == "modern" and "tools" in seen.get("result", {}):
            short_lived(message["result"], seen["result"])
        # Order counts, and so do types: 1 is not 1.0, and not true.
        assert json.dumps(seen) == json.dumps(message)
        for gone in (*case.gone, *GONE.get(case.id, ())):
            assert gone not in line, f"{gone!r} arrived"


def short_lived(sent: dict[str, Any], seen: dict[str, Any]) -> None:
    """A modern list is private and expires soon, whatever the server says."""
    assert seen.pop("cacheScope") == "private"
    assert 0 <= seen.pop("ttlMs") <= 1000
    sent.pop("cacheScope", None)
    sent.pop("ttlMs", None)


def named(connection: Connection, case: Case, era: str, variant: str) -> None:
    """`play`, whose failure says which case, era and variant it was."""
    try:
        play(connection, case, era, variant)
    except (AssertionError, EndedError) as error:
        raise AssertionError(f"{case.id} ({case.description}), {era}, {variant}: {error}") from error


def run(guard: Guard, case: Case, era: str) -> None:
    """A case in all variants, on one connection where it can be repeated, through pipes or sockets by its id."""
    sockets = sum(case.id.encode() + era.encode()) % 2 == 1
    if repeatable(case):
        with opened(guard, case, era, sockets=sockets) as connection:
            for variant in VARIANTS:
                named(connection, case, era, variant)
        return
    for variant in VARIANTS:
        with opened(guard, case, era, sockets=sockets) as connection:
            named(connection, case, era, variant)


def eras(case: Case) -> list[str]:
    """The connections in which the case must hold."""
    if case.era != "any":
        return [case.era]
    if case.direction != "c2s" or enveloped(case.data) == case.data:
        return ["legacy", "modern"]
    return (
        ["legacy", "modern", "modern-enveloped"]
        if case.expected == "reject"
        else ["legacy", "modern-enveloped"]
    )
