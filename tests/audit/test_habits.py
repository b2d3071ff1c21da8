import msgspec
import pytest

from mcpguard.audit import habits
from mcpguard.audit.findings import Severity, Thresholds
from mcpguard.audit.habits import Habits, Learned
from tests.audit.sights import HOST, begin, call, seen

DAY, HOUR = 86_400.0, 3600.0


def fed(detector, events):
    return [found for event in events for found in detector.take(event)]


@pytest.fixture
def detector() -> Habits:
    return Habits(Thresholds())


# --- hosts and tools -------------------------------------------------------------------------------------------


def test_a_host_is_new_once(detector) -> None:
    (found,) = fed(detector, [begin(), begin(5), begin(9 * DAY)])
    assert (found.kind, found.weight) == ("new-host", Severity.LOW)
    (found,) = fed(detector, [begin(host=HOST | {"exe": "/usr/bin/other"})])
    assert "/usr/bin/other" in found.says


def test_an_enrolled_host_that_is_new_is_told_and_no_worry(detector) -> None:
    (found,) = fed(detector, [begin(host=HOST | {"host": "code"})])
    assert found.weight is Severity.INFO


def test_a_tool_is_new_once_and_only_after_the_server_was_learned(detector) -> None:
    assert fed(detector, [begin(), call(0, tool="a"), call(DAY - 1, tool="b")])[1:] == []
    (found,) = fed(detector, [call(DAY, tool="c"), call(DAY + 1, tool="c"), call(DAY + 2, tool="a")])
    assert (found.kind, found.tool, found.server) == ("new-tool", "c", "files")


def test_what_was_denied_teaches_nothing(detector) -> None:
    fed(detector, [begin(), call(1, tool="c", decision="deny")])
    assert [found.kind for found in fed(detector, [call(2 * DAY, tool="c")])] == ["new-tool"]


# --- hours -----------------------------------------------------------------------------------------------------


def days(count, hour=0.0):
    return [call(day * DAY + hour * HOUR) for day in range(count)]


@pytest.mark.parametrize(
    ("known", "hour", "found"), [(10, 6, 1), (9, 6, 0), (10, 1, 0), (10, -1, 0), (10, 0, 0), (10, 2, 1)]
)
def test_an_hour_is_unusual_after_enough_days_and_not_next_to_a_usual_one(
    detector, known, hour, found
) -> None:
    fed(detector, days(known))
    assert [each.kind for each in fed(detector, [call(known * DAY + hour * HOUR)])] == ["off-hours"] * found


def test_an_hour_is_unusual_once(detector) -> None:
    fed(detector, days(12))
    assert (
        len(
            fed(
                detector,
                [call(12 * DAY + 6 * HOUR), call(12 * DAY + 6 * HOUR + 9), call(13 * DAY + 6 * HOUR)],
            )
        )
        == 1
    )


def test_hours_are_local(detector) -> None:
    fed(detector, days(12))
    moved = msgspec.structs.replace(call(12 * DAY), east=6 * 3600)
    assert [each.evidence["hour"] for each in fed(detector, [moved])] == [18]


# --- volume ----------------------------------------------------------------------------------------------------


def work(detector, hours, calls, size=10):
    """So many calls in each of so many hours, a day after the other, as agents work."""
    for hour in range(hours):
        fed(detector, [call(hour * HOUR + n * 0.01, args={"size": size}) for n in range(calls)])


def busy(detector, at, calls, size=10, **more):
    return [
        each
        for each in fed(detector, [call(at + n * 0.01, args={"size": size}, **more) for n in range(calls)])
        if each.kind == "volume"
    ]


def test_far_more_calls_than_usual_are_found_once_an_hour(detector) -> None:
    work(detector, 24, 200)
    assert busy(detector, 24 * HOUR, 800) == []
    assert [each.count for each in busy(detector, 25 * HOUR, 3000)] == [1]


def test_not_while_it_is_learned_and_not_below_the_floor(detector) -> None:
    work(detector, 23, 200)
    assert busy(detector, 23 * HOUR, 3000) == []
    other = Habits(Thresholds())
    work(other, 30, 10)
    assert busy(other, 40 * HOUR, 500) == []
    assert len(busy(other, 41 * HOUR, 501)) == 1


def test_far_more_bytes_than_usual_are_found(detector) -> None:
    work(detector, 30, 20, size=10_000)
    (found,) = busy(detector, 40 * HOUR, 20, size=1024 * 1024)
    assert found.evidence["of"] == "bytes"


def test_an_unusual_hour_is_not_learned(detector) -> None:
    work(detector, 24, 200)
    for hour in range(30, 60):
        assert len(busy(detector, hour * HOUR, 3000)) == 1


def test_calls_that_stand_for_others_count_as_many(detector) -> None:
    work(detector, 24, 200)
    event = msgspec.structs.replace(call(30 * HOUR), stands=5000.0)
    assert [each.kind for each in fed(detector, [event])][-1] == "volume"


# --- credentials -----------------------------------------------------------------------------------------------


def used(at, remote, ident="key:a"):
    return begin(at, credential=ident, remote=remote)


def secret(at, event, **more):
    return seen("secret", at, event=event, credential="vault://github", **more)


def moves(detector, *events):
    return [each.evidence["place"] for each in fed(detector, events) if each.kind == "credential-moved"]


def test_a_credential_that_is_used_from_a_second_place_is_found(detector) -> None:
    assert moves(detector, used(0, "10.0.0.1"), used(9, "10.0.0.1"), used(10, "10.0.0.2")) == ["10.0.0.2"]
    assert moves(detector, used(11, "10.0.0.2"), used(12, "10.0.0.1")) == []


def test_a_credential_may_move_once_a_day_has_gone_by(detector) -> None:
    assert moves(detector, used(0, "10.0.0.1"), used(DAY, "10.0.0.2")) == []
    assert moves(detector, used(2 * DAY - 1, "10.0.0.3")) == ["10.0.0.3"]


def test_credentials_are_told_apart_and_none_is_none(detector) -> None:
    assert moves(detector, used(0, "a"), used(1, "b", "key:b"), begin(2), begin(3, remote="c")) == []


def test_without_a_remote_the_program_is_the_place(detector) -> None:
    other = HOST | {"exe": "/tmp/x"}
    assert moves(detector, begin(0, credential="key:a"), begin(1, credential="key:a", host=other)) == [
        "/tmp/x"
    ]


# --- bounds, and the next daemon -------------------------------------------------------------------------------


def flooded(detector) -> None:
    for n in range(600):
        name = f"{n}\u202e" * 400
        fed(
            detector,
            [
                used(n, name, name),
                begin(n, server=name, host={"exe": name}),
                call(n, tool=name),
                call(n, tool=name, server=name, host={"exe": name}),
            ],
        )
    for n in range(2000):
        fed(detector, [call(n, tool=f"t{n}")])


def test_a_flood_of_hostile_names_is_bounded_in_memory_and_on_disk(detector) -> None:
    flooded(detector)
    learned = detector.dump()
    assert len(learned.hosts) <= habits.HOSTS
    assert len(learned.servers) <= habits.SERVERS
    assert max(len(each.names) for each in learned.servers.values()) <= habits.TOOLS
    assert len(learned.volumes) <= habits.PAIRS
    assert len(learned.credentials) <= habits.CREDENTIALS
    assert len(msgspec.json.encode(learned)) < 3 * 1024 * 1024


def test_what_was_learned_is_taken_up_by_the_next(detector) -> None:
    fed(detector, [begin(), used(0, "10.0.0.1"), *days(12)])
    after = Habits(Thresholds())
    after.load(msgspec.json.decode(msgspec.json.encode(detector.dump()), type=Learned))
    assert fed(after, [begin(1)]) == []
    assert moves(after, used(2, "10.0.0.2")) == ["10.0.0.2"]
    found = fed(after, [call(20 * DAY + 9 * HOUR, tool="new")])
    assert [each.kind for each in found] == ["off-hours", "new-tool"]
    assert (
        msgspec.to_builtins(after.dump())["volumes"].keys()
        == msgspec.to_builtins(detector.dump())["volumes"].keys()
    )


def test_a_file_that_says_too_much_is_cut() -> None:
    after = Habits(Thresholds())
    after.load(
        Learned(hosts={f"h{n}": habits.Hours() for n in range(1000)} | {"bad": habits.Hours(hours=[1])})
    )
    assert len(after.dump().hosts) == habits.HOSTS
    assert "bad" not in after.dump().hosts


@pytest.mark.parametrize("kind", ["outcome", "log", "flow", "policy"])
def test_other_records_teach_nothing(detector, kind) -> None:
    assert fed(detector, [seen(kind, event="begin", decision="allow")]) == []
    assert detector.dump() == Learned()


def test_a_secret_that_another_host_gets_is_found(detector) -> None:
    other = {"uid": 7, "exe": "/evil"}
    used = [
        secret(0, "given"), secret(1, "filled"), secret(2, "given"), secret(3, "set", host=other),
        secret(4, "given", host=other), secret(5, "given", host=other),
    ]  # fmt: skip
    found = [each for each in fed(detector, used) if each.kind == "credential-moved"]
    assert [each.evidence["credential"] for each in found] == ["vault://github"]
