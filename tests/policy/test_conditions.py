"""Conditions of rules: tables of moments, sessions, hosts and tools; what cannot be told; changes of the clocks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.model import Caller, ToolFacts
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.conditions import Facts, below, compare, compile_when
from mcpguard.policy.match import compile_pattern
from mcpguard.policy.rules import When

HOME = Surroundings(home="/home/u", resolve=lambda path: path)


NOBODY = Caller()
NOTHING = Facts()


def holds(
    when, *, unix=0.0, labels=(), session=(), caller=NOBODY, facts=NOTHING, surroundings=HOME, zone="UTC"
):
    circumstances = Circumstances(offset=int(unix) * 1_000_000_000)
    circumstances.saw(labels, 1)
    circumstances.session = frozenset(session)
    return compile_when(when, zone, surroundings, caller, facts).holds(circumstances, 0)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# --- time -----------------------------------------------------------------------------------------------

WORK = ((480, 1200),)
NIGHT = ((22 * 60, 6 * 60),)
MON_FRI = frozenset(range(5))


@pytest.mark.parametrize(
    ("hours", "days", "moment", "expected"),
    [
        (WORK, (), "2026-01-05 08:00", True),
        (WORK, (), "2026-01-05 07:59:59", False),
        (WORK, (), "2026-01-05 19:59:59", True),
        (WORK, (), "2026-01-05 20:00", False),
        (WORK, MON_FRI, "2026-01-04 12:00", False),
        (WORK, MON_FRI, "2026-01-05 12:00", True),
        ((), {6}, "2026-01-04 00:00", True),
        ((), {6}, "2026-01-05 00:00", False),
        (NIGHT, (), "2026-01-05 23:00", True),
        (NIGHT, (), "2026-01-06 05:59", True),
        (NIGHT, (), "2026-01-06 06:00", False),
        (NIGHT, {4}, "2026-01-09 22:00", True),
        (NIGHT, {4}, "2026-01-10 05:00", True),
        (NIGHT, {4}, "2026-01-09 05:00", False),
        (NIGHT, {4}, "2026-01-10 22:00", False),
        (NIGHT, {6}, "2026-01-12 03:00", True),
        (((0, 1440),), (), "2026-01-05 23:59", True),
        (((600, 660), (1380, 30)), (), "2026-01-05 00:10", True),
        (((600, 660), (1380, 30)), (), "2026-01-05 11:00", False),
    ],
)
def test_hours_and_days(hours, days, moment, expected):
    assert holds(When(hours=hours, days=frozenset(days)), unix=at(moment)) is expected


@pytest.mark.parametrize(
    ("zone", "hours", "moment", "expected"),
    [
        # Berlin leaves out 02:00 to 03:00 on 2026-03-29: at 01:00 UTC it is 03:00.
        ("Europe/Berlin", ((120, 180),), "2026-03-29 00:59", False),
        ("Europe/Berlin", ((120, 180),), "2026-03-29 01:00", False),
        ("Europe/Berlin", ((180, 240),), "2026-03-29 01:00", True),
        # It repeats 02:00 to 03:00 on 2026-10-25.
        ("Europe/Berlin", ((120, 180),), "2026-10-25 00:00", True),
        ("Europe/Berlin", ((120, 180),), "2026-10-25 01:59", True),
        ("Europe/Berlin", ((120, 180),), "2026-10-25 02:00", False),
        # A span over the midnight of either night ends at 06:00 on the wall.
        ("Europe/Berlin", NIGHT, "2026-03-29 03:59", True),
        ("Europe/Berlin", NIGHT, "2026-03-29 04:00", False),
        ("Europe/Berlin", NIGHT, "2026-10-25 04:59", True),
        ("Europe/Berlin", NIGHT, "2026-10-25 05:00", False),
        ("America/New_York", ((540, 1020),), "2026-03-06 14:00", True),
        ("America/New_York", ((540, 1020),), "2026-03-09 13:00", True),
        ("America/New_York", ((540, 1020),), "2026-03-06 13:00", False),
    ],
)
def test_changes_of_the_clocks(zone, hours, moment, expected):
    assert holds(When(hours=hours, zone=zone), unix=at(moment), zone="UTC") is expected
    assert holds(When(hours=hours), unix=at(moment), zone=zone) is expected


def test_a_span_of_a_night_belongs_to_the_day_on_which_it_begins_though_clocks_change():
    saturday = When(hours=NIGHT, days=frozenset({5}), zone="Europe/Berlin")
    assert holds(saturday, unix=at("2026-10-25 04:59")) is True  # Sunday, 05:59 on the wall
    assert holds(saturday, unix=at("2026-10-24 03:00")) is False


def test_what_is_known_of_a_minute_is_not_kept_for_the_next():
    condition = compile_when(When(hours=WORK), "UTC", HOME, Caller(), Facts())
    circumstances = Circumstances(offset=int(at("2026-01-05 19:59:59")) * 1_000_000_000)
    assert [condition.holds(circumstances, second * 1_000_000_000) for second in (0, 1, 0)] == [
        True,
        False,
        True,
    ]


def test_a_moment_or_a_zone_that_is_none_cannot_be_told():
    assert holds(When(hours=WORK, zone="Europe/Nowhere")) is None
    assert holds(When(days=MON_FRI), unix=1e15) is None


@given(
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.frozensets(st.integers(0, 6)),
    st.integers(0, 4_000_000_000),
)
def test_a_span_and_what_is_left_of_the_day_are_each_others_opposite(start, end, days, unix):
    if start == end or end == 0:
        end = start + 1
    rest = (end % 1440, start) if start else (end, 1440)
    if rest[0] % 1440 == rest[1] % 1440:
        return
    here, there = (
        holds(When(hours=(span,)), unix=unix, zone="Europe/Berlin") for span in ((start, end), rest)
    )
    assert here is not there
    both = [
        holds(When(hours=((start, end),), days=chosen), unix=unix)
        for chosen in (days, frozenset(range(7)) - days)
    ]
    assert not days or len(days) == 7 or sum(both) <= 1


# --- labels, sessions, hosts, tools ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "labels", "expected"),
    [
        (When(after=("untrusted",)), (), False),
        (When(after=("untrusted", "web")), ("web",), True),
        (When(after_not=("untrusted",)), (), True),
        (When(after_not=("untrusted", "web")), ("web",), False),
        (When(after_not=("untrusted",)), ("private",), True),
        (When(after=("a",), after_not=("b",)), ("a",), True),
        (When(after=("a",), after_not=("b",)), ("a", "b"), False),
    ],
)
def test_labels_that_the_host_has_seen(when, labels, expected):
    assert holds(when, labels=labels) is expected


@pytest.mark.parametrize(
    ("words", "session", "expected"),
    [
        (("local",), ("local",), True),
        (("local",), ("remote",), False),
        (("local",), (), None),
        (("unlocked", "local"), ("unlocked",), None),
        (("unlocked", "local"), ("locked",), False),
        (("unlocked", "local"), ("unlocked", "local"), True),
        (("unlocked",), ("unlocked", "locked"), False),
        (("elsewhere",), ("local",), None),
    ],
)
def test_the_session(words, session, expected):
    assert holds(When(session=words), session=session) is expected


@pytest.mark.parametrize(
    ("folders", "cwd", "expected"),
    [
        (("~/src",), "/home/u/src", True),
        (("~/src",), "/home/u/src/a/b", True),
        (("~/src/",), "/home/u/src/a", True),
        (("~/src",), "/home/u/srcs", False),
        (("~",), "/home/u/x", True),
        (("/srv", "~/src"), "/srv/x", True),
        (("/",), "/srv/x", True),
        (("~/src",), "", None),
        (("relative",), "/home/u/relative", None),
        (("{cwd}",), "/home/u", None),
        (("{cwd}", "/home"), "/home/u", True),
    ],
)
def test_the_folder_in_which_the_server_was_started(folders, cwd, expected):
    assert holds(When(cwd=folders), caller=Caller(cwd=cwd)) is expected


def test_folders_that_are_links_lead_where_they_lead():
    where = Surroundings(home="/home/u", resolve={"/home/u/src": "/data/src"}.get)
    assert holds(When(cwd=("~/src",)), caller=Caller(cwd="/data/src/a"), surroundings=where) is True
    assert holds(When(cwd=("~/src",)), caller=Caller(cwd="/data"), surroundings=where) is False
    assert holds(When(cwd=("~/other",)), caller=Caller(cwd="/data"), surroundings=where) is None
    assert holds(When(cwd=("~/src",)), caller=Caller(cwd="/x"), surroundings=Surroundings()) is None

    def broken(path):
        raise OSError(path)

    assert (
        holds(When(cwd=("/x",)), caller=Caller(cwd="/y"), surroundings=Surroundings(resolve=broken)) is None
    )


@pytest.mark.parametrize(
    ("release", "operator", "wanted", "expected"),
    [
        ("1.2.3", ">=", "1.2", True),
        ("1.2", ">=", "1.2.0", True),
        ("1.10", ">", "1.9", True),
        ("1.10", "<", "1.9", False),
        ("2.0.0", "==", "2", True),
        ("2.0.1", "=", "2", False),
        ("2.0.1", "!=", "2", True),
        ("v1.2", "<=", "1.2", True),
        ("1.2.0-beta.1", ">=", "1.2", False),
        ("1.2.0-beta.2", ">", "1.2.0-beta.1", True),
        ("1.2.0-beta.10", ">", "1.2.0-beta.9", True),
        ("1.2.0-rc.1", ">", "1.2.0-beta", True),
        ("1.2.0rc1", "<", "1.2.0", True),
        ("1.2.0+build.7", "==", "1.2", True),
        ("1.0.0-alpha", "<", "1.0.0-alpha.1", True),
        ("1.0.0-1", "<", "1.0.0-alpha", True),
        ("", ">=", "1.2", None),
        ("latest", ">=", "1.2", None),
        ("1.2", ">=", "soon", None),
        ("1.2", "~", "1.2", None),
        ("9" * 5000, ">=", "1", None),
        ("1." * 5000, ">=", "1", None),
    ],
)
def test_versions(release, operator, wanted, expected):
    assert compare(release, operator, wanted) is expected
    assert holds(When(release=((operator, wanted),)), caller=Caller(release=release)) is expected


def test_all_comparisons_must_hold():
    between = When(release=((">=", "1.2"), ("<", "2")))
    answers = [holds(between, caller=Caller(release=release)) for release in ("1.1", "1.2", "2", "x")]
    assert answers == [False, True, False, None]


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ({"readOnlyHint": True}, {"readOnlyHint": True}, True),
        ({"readOnlyHint": True}, {"readOnlyHint": 1}, False),
        ({"readOnlyHint": True}, {}, False),
        ({"readOnlyHint": False}, {}, True),
        ({"destructiveHint": True}, {}, True),
        ({"destructiveHint": True}, {"readOnlyHint": True}, False),
        ({"destructiveHint": False}, {"destructiveHint": False}, True),
        ({"openWorldHint": True, "idempotentHint": False}, {}, True),
        ({"title": "x"}, {}, False),
        ({"title": "x"}, {"title": "x"}, True),
    ],
)
def test_annotations_have_the_values_that_the_protocol_gives_them(wanted, given, expected):
    facts = Facts(stated=ToolFacts(annotations=given))
    assert holds(When(annotations=wanted), facts=facts) is expected
    assert holds(When(annotations=wanted)) is None
    assert holds(When(annotations=wanted), facts=Facts(is_tool=False)) is False


def test_risk():
    low = When(risk=(compile_pattern("low"), compile_pattern("none*")))
    assert holds(low, facts=Facts(stated=ToolFacts(risk="low"))) is True
    assert holds(low, facts=Facts(stated=ToolFacts(risk="high"))) is False
    assert holds(low, facts=Facts(stated=ToolFacts())) is None
    assert holds(low) is None
    assert holds(low, facts=Facts(is_tool=False)) is False


def test_labels_of_the_tool():
    facts = Facts(reads=("private",), sends=("external", "mail"))
    assert holds(When(reads=("private", "x"), sends=("mail",)), facts=facts) is True
    assert holds(When(reads=("x",)), facts=facts) is False
    assert holds(When(sends=("private",)), facts=facts) is False


# --- together -------------------------------------------------------------------------------------------


def test_one_part_that_does_not_hold_settles_it():
    when = When(session=("local",), after=("web",), release=((">=", "1"),))
    assert holds(when, labels=("web",), session=("local",)) is None
    assert holds(when, labels=(), session=()) is False
    assert holds(when, labels=("web",), session=("local",), caller=Caller(release="1")) is True
    assert holds(when, labels=("web",), session=("local",), caller=Caller(release="0.9")) is False


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (When(hours=WORK, days=MON_FRI), "it were mon tue wed thu fri 08:00-20:00 in UTC"),
        (When(hours=((0, 1440),), zone="Europe/Berlin"), ""),
        (When(after=("web", "mail")), "the host had seen web or mail"),
        (When(after_not=("seen",)), "the host had not seen seen"),
        (When(session=("unlocked",)), "the session were unlocked"),
        (When(cwd=("~/src", "/srv")), "the host had started the server under ~/src or /srv"),
        (When(release=((">=", "1"), ("<", "2"))), "the host's version were >=1 and <2"),
        (When(reads=("private",)), "the tool read private"),
        (When(sends=("external",)), "the tool sent to external"),
        (When(annotations={"readOnlyHint": True}), "the tool were annotated readOnlyHint = true"),
        (When(risk=(compile_pattern("low"),)), "the risk of the tool were low"),
        (When(), ""),
        (When(session=("local",), after=("web",)), "the host had seen web"),
        (When(session=("local",), risk=(compile_pattern("low"),)), "the risk of the tool were low"),
    ],
)
def test_what_is_wanting(when, words):
    circumstances = Circumstances(offset=int(at("2026-01-04 03:00")) * 1_000_000_000)
    circumstances.saw(["seen"], 0)
    assert compile_when(when, "UTC", HOME, Caller(), Facts()).wanting(circumstances, 0) == words


def test_what_cannot_change_is_looked_at_once():
    fixed = compile_when(When(reads=("a",)), "", HOME, Caller(), Facts())
    assert (fixed.fixed, fixed.moves, fixed.lasting) == (False, False, "the tool read a")
    moving = compile_when(When(after=("a",)), "", HOME, Caller(), Facts())
    assert (moving.fixed, moving.moves, moving.lasting) == (True, True, "")


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/x", "/", True),
    ],
)
def test_below(path, folder, expected):
    assert below(path, folder) is expected
