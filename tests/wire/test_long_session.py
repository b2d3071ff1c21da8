"""The whole corpus from the host in one session each era, good calls before and behind each line, in one write."""

import json
from typing import Any

import pytest

from tests.wire.connection import Connection, enveloped
from tests.wire.corpus import CASES, Case
from tests.wire.guard import Guard
from tests.wire.verdicts import readable_ids, set_up

LONG = [
    case
    for case in CASES
    if case.direction == "c2s"
    and case.action != "kill"
    and all(step.direction == "c2s" for step in case.setup)
]


def exchange(connection: Connection, case: Case, data: bytes) -> None:
    """Good call, input, good call; the server answers all that arrives, the last first."""
    set_up(connection, case)
    told, arrived = connection.mark()
    first, line_before = connection.good_line()
    last, line_after = connection.good_line()
    connection.send(line_before + data + line_after)
    end = b'"n":"%b"' % last.encode()
    connection.until(lambda: any(end in line for line in connection.to_server.lines[arrived:]), case.id)
    owners = [first, *readable_ids(data), last]
    for line in connection.to_server.lines[arrived:]:
        message = json.loads(line)
        if "id" not in message:
            continue
        n = message.get("params", {}).get("arguments", {}).get("n")
        others = [i for i in owners if i not in (first, last)]
        assert n in (first, last) or others, f"{case.id}: {line!r} arrived"
        owner = n if n in (first, last) else others[0]
        owners.remove(owner)
        connection.note(line, owner)
    for number, owner in reversed(connection.open_calls.items()):
        connection.serve(
            b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"owner":%b}}\n'
            % (number, json.dumps(owner).encode())
        )
    expected = list(connection.open_calls.values())
    connection.open_calls.clear()

    def answers() -> list[dict[str, Any]]:
        return [json.loads(line) for line in connection.to_host.lines[told:]]

    refused = [] if case.action == "drop" else [ident for ident in owners if ident not in (first, last)]
    connection.until(lambda: len(answers()) >= len(expected) + len(refused), f"answers of {case.id}")
    got = sorted(json.dumps(a["id"]) for a in answers())
    assert got == sorted(json.dumps(ident) for ident in [*expected, *refused]), (case.id, answers())
    for ident in (first, last):
        assert [a["result"]["owner"] for a in answers() if a["id"] == ident] == [ident]


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_good_calls_survive_the_corpus_in_one_legacy_session(guard: Guard, sockets: bool) -> None:
    with Connection(guard, sockets=sockets) as connection:
        connection.open_legacy()
        for case in LONG:
            if case.handshake:
                exchange(connection, case, case.data)
        assert connection.good() == ([], [])


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_good_calls_survive_the_corpus_in_one_modern_session(guard: Guard, sockets: bool) -> None:
    with Connection(guard, sockets=sockets) as connection:
        connection.open_modern()
        for case in LONG:
            if case.era == "modern":
                exchange(connection, case, case.data)
            elif case.handshake:
                exchange(connection, case, case.data)
                exchange(connection, case, enveloped(case.data))
        assert connection.good() == ([], [])
