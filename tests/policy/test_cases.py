"""What the rules of one name come to: a table of who wins, and what holds of every plan whatever its rules are."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.model import DAY, Caller, Charge, Decision, Verdict
from mcpguard.policy.cases import Case, Plan, charges_of, place_of
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.conditions import Condition
from mcpguard.policy.rules import Argument, Limit, Rule, When

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY
RATE = (Charge("k", 1, 60.0), "rate 1/min")


class Says:
    """A demand on a request that holds, does not, cannot be told, or breaks."""

    def __init__(self, truth, words="its arguments were others"):
        self.truth, self.words = truth, words

    def holds(self, value):
        if self.truth == "breaks":
            raise ZeroDivisionError("a bug")
        return self.truth

    def wanting(self, value):
        if self.words == "breaks":
            raise ZeroDivisionError("a bug")
        return self.words


class Equals:
    """A demand that the request is some value."""

    def __init__(self, value):
        self.value = value

    def holds(self, value):
        return value == self.value

    def wanting(self, value):
        return f"it were {self.value}, not {value}"


def case(effect=ALLOW, *tests, ident="r", line=1, charges=(), lacking="", condition=None, **members):
    return Case(Rule(ident, effect, line=line, **members), lacking, condition, tests, charges)


def plan(*cases, default=None, subject=lambda value: value):
    return Plan(cases, default or Decision(), "p.toml", subject)


def judged(*cases, value=None, around=None, now=0, **more):
    return plan(*cases, **more).judged(value, around or Circumstances(), now)


# --- who wins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [((), DENY), ((ALLOW,), ALLOW), ((ASK,), ASK), ((DENY,), DENY), ((ALLOW, ASK), ASK), ((ALLOW, DENY), DENY), ((ASK, DENY), DENY), ((ALLOW, ASK, DENY), DENY)],
)  # fmt: skip
@pytest.mark.parametrize("tests", [(), (Says(True),)])
def test_deny_beats_ask_beats_allow_in_every_order(effects, verdict, tests):
    for order in itertools.permutations(effects):
        found = judged(*(case(each, *tests, ident=each.name, line=each.value) for each in order))
        assert (found.verdict, found.rule) == (verdict, verdict.name if effects else "default")
        assert found.silent is (not effects)


@pytest.mark.parametrize(
    ("effect", "truth", "holds", "words"),
    [
        (ALLOW, True, True, "allows it"), (ASK, True, True, "asks it"), (DENY, True, True, "denies it"),
        (ALLOW, False, False, ""), (ASK, False, False, ""), (DENY, False, False, ""),
        (ALLOW, None, False, ""), (ASK, None, True, "asks it, since it cannot be told whether its conditions hold"),
        (DENY, None, True, "denies it, since it cannot be told whether its conditions hold"),
        (ALLOW, "breaks", False, ""), (ASK, "breaks", True, "since it cannot be told"), (DENY, "breaks", True, "since it cannot be told"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_denies_and_asks_and_never_allows(effect, truth, holds, words):
    found = judged(case(effect, Says(truth)))
    assert found.verdict is (effect if holds else DENY)
    assert found.silent is not holds
    assert words in found.reason


def test_what_a_request_is_about_may_be_unreadable():
    def broken(value):
        return value["arguments"]["deep"]

    assert judged(case(DENY, Equals("x")), value={}, subject=broken).silent, "nothing is not x"
    found = judged(case(ASK, Says(None)), case(ALLOW, Says(None), ident="a"), value=7, subject=broken)
    assert (found.verdict, found.rule) == (ASK, "r")


@pytest.mark.parametrize(
    ("fixed", "moving", "test", "truth"),
    [
        (True, True, True, True), (True, False, True, False), (True, None, True, None), (True, None, False, False), (True, "breaks", True, None),
        (True, "breaks", False, False), (None, True, True, None), (None, False, True, False), (False, True, True, False), (True, True, None, None),
    ],
)  # fmt: skip
def test_every_part_must_hold_and_one_that_does_not_settles_it(fixed, moving, test, truth):
    condition = Condition([(fixed, "fixed")], [(lambda _, __: Says(moving).holds(None), "moving")])
    found = case(ALLOW, Says(test), condition=condition)
    assert found.holds(None, Circumstances(), 0) is truth
    assert not found.always


@pytest.mark.parametrize(
    ("effect", "fixed", "never"),
    [(ALLOW, True, False), (ALLOW, False, True), (ALLOW, None, True), (ASK, None, False), (DENY, None, False), (DENY, False, True)],
)  # fmt: skip
def test_a_rule_whose_fixed_conditions_fail_never_holds(effect, fixed, never):
    assert case(effect, condition=Condition([(fixed, "x")])).never is never
    assert not case(effect).never


# --- what is said of it --------------------------------------------------------------------------------------


def test_of_those_that_win_the_one_on_the_smallest_line_is_named_with_its_file():
    found = judged(
        case(DENY, ident="late", line=9),
        case(DENY, ident="b", line=3),
        case(DENY, ident="a", line=3),
        case(ALLOW, ident="first", line=1),
    )
    assert (found.rule, found.origin) == ("a", "p.toml:3")
    found = judged(case(ident="mine", line=2), case(ident="systems", line=1, file="/etc/p.toml"))
    assert (found.rule, found.origin) == ("mine", "p.toml:2")


def test_a_rule_that_asks_and_wants_evidence_refuses_for_want_of_it():
    found = judged(
        case(ASK, ident="ask", lacking="rule ask wants G3, found G1", charges=[RATE]), case(ALLOW, ident="a")
    )
    assert (found.verdict, found.rule, found.reason) == (DENY, "ask", "rule ask wants G3, found G1")
    assert found.charges == ()


def test_a_denial_tells_which_rule_would_have_allowed_it_in_words_of_the_policy_only():
    mine = case(ALLOW, Equals("a secret"), ident="mine", args=(Argument("path"), Argument("")))
    found = judged(case(DENY, Says(False), ident="no"), mine, value="hunter2")
    assert found.silent
    assert found.reason == "rule mine would allow it only if its arguments were others: path, all of them"
    assert (
        judged(case(ALLOW, Equals(1))).reason
        == "rule r would allow it only if what is asked for were something else"
    )
    late = case(ALLOW, Equals(1), condition=Condition([], [(lambda *_: False, "it were Monday")]))
    assert judged(late).reason == "rule r would allow it only if it were Monday"
    assert judged(case(ASK, Says(False)), case(DENY, Says(False))).reason == Decision().reason


@pytest.mark.parametrize(
    ("tests", "moving", "words"),
    [
        ([Equals(7)], True, "it were 7, not 8"),
        ([Equals(7)], False, "it were Monday"),
        ([Says(True, "wrong"), Says(None, "right"), Says(False, "late")], True, "right"),
        ([Says("breaks")], True, "its arguments could be read"),
        ([Says(False, "breaks")], True, "its arguments could be read"),
        ([Says(True)], True, "more could be told of the request"),
    ],
)
def test_what_is_wanting_is_the_first_thing_that_does_not_hold(tests, moving, words):
    found = case(ALLOW, *tests, condition=Condition([], [(lambda *_: moving, "it were Monday")]))
    assert plan(found).wanting(found, 8, Circumstances(), 0) == words


def test_what_either_rule_wants_of_a_call_adds_up():
    rules = [
        case(ALLOW, ident="a", durable=True, result_bytes=500), case(ALLOW, ident="b", line=2, recheck=True, result_bytes=70),
        case(ALLOW, Says(False), ident="c", line=3, result_bytes=1),
    ]  # fmt: skip
    found = judged(*rules)
    assert (found.durable, found.recheck, found.result_bytes) == (True, True, 70)
    found = judged(*rules, case(DENY, ident="d", line=4))
    assert (found.verdict, found.durable, found.recheck) == (DENY, True, True)
    assert judged(case()).result_bytes == 0


def test_presence_is_wanted_if_one_of_the_rules_that_ask_wants_it():
    plain, strict = case(ASK, ident="plain"), case(ASK, ident="strict", line=2, confirm="presence")
    assert judged(plain, strict).confirm == "presence"
    assert judged(plain, strict).rule == "plain"
    assert judged(plain).confirm == ""
    assert judged(strict, case(DENY, ident="no")).confirm == ""
    assert judged(plain, strict, case(ALLOW, ident="yes", line=3, answers=("strict",))).confirm == ""


# --- answered for good ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "verdict", "rule"),
    [
        ([case(ASK, ident="q"), case(ALLOW, ident="yes", answers=("q",))], ALLOW, "yes"),
        ([case(ASK, ident="q", lacking="no evidence"), case(ALLOW, ident="yes", answers=("q",))], ALLOW, "yes"),
        ([case(ASK, ident="q"), case(ASK, ident="p", line=5), case(ALLOW, ident="yes", answers=("q",))], ASK, "p"),
        ([case(ASK, ident="q"), case(ALLOW, Says(False), ident="yes", answers=("q",))], ASK, "q"),
        ([case(ASK, ident="q"), case(ALLOW, Says(None), ident="yes", answers=("q",))], ASK, "q"),
        ([case(DENY, ident="q"), case(ALLOW, ident="yes", answers=("q",))], DENY, "q"),
        ([case(ASK, ident="q"), case(ASK, ident="yes", line=5, answers=("q",))], ASK, "q"),
    ],
)  # fmt: skip
def test_a_rule_that_allows_answers_those_that_ask_and_no_others(cases, verdict, rule):
    found = judged(*cases)
    assert (found.verdict, found.rule) == (verdict, rule)


def test_what_an_answered_rule_limits_and_records_stays():
    asks = case(ASK, ident="q", charges=[RATE], durable=True, result_bytes=9, confirm="presence")
    around = Circumstances()
    found = plan(asks, case(ALLOW, ident="yes", answers=("q",)))
    decision = found.judged(None, around, 0)
    assert (decision.verdict, decision.durable, decision.result_bytes, decision.confirm) == (
        ALLOW,
        True,
        9,
        "",
    )
    around.meters.take(decision.charges, 0, 0.0)
    late = found.judged(None, around, 0)
    assert (late.verdict, late.rule) == (DENY, "q")


# --- meters ----------------------------------------------------------------------------------------------------


def test_a_rule_with_nothing_left_denies_and_looking_takes_nothing():
    around, found = (
        Circumstances(),
        plan(case(ALLOW, charges=[RATE]), case(ASK, ident="q", line=2, confirm="presence")),
    )
    for _ in range(5):
        decision = found.judged(None, around, 0)
        assert (decision.verdict, decision.confirm, decision.charges) == (ASK, "presence", (RATE[0],))
    around.meters.take(decision.charges, 0, 0.0)
    late = found.judged(None, around, 0)
    assert (late.verdict, late.rule, late.origin, late.confirm, late.charges) == (
        DENY,
        "r",
        "p.toml:1",
        "",
        (),
    )
    assert late.reason == "rate 1/min of rule r is used up, again in 60 s"
    assert found.judged(None, around, 61_000_000_000).verdict is ASK


def test_a_denial_takes_nothing():
    found = judged(
        case(ALLOW, charges=[RATE]), case(DENY, Says(True), ident="no", charges=[(Charge("n", 1, 60.0), "x")])
    )
    assert (found.rule, found.charges) == ("no", ())


def test_only_rules_that_hold_are_charged():
    other = (Charge("o", 0, 60.0), "rate 0/min")
    assert judged(
        case(ALLOW, charges=[RATE]), case(ALLOW, Says(False), ident="o", charges=[other])
    ).charges == (RATE[0],)
    assert (
        judged(case(ALLOW, charges=[RATE]), case(ALLOW, Says(True), ident="o", charges=[other])).verdict
        is DENY
    )


ME = Caller(("any", "uid:7", "group:dev", "host:acme"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ME, "s", "t"), (Caller(("any", "uid:7", "host:evil")), "s", "t")), ((ME, "s", "t"), (ME, "s2", "t")), ((ME, "s", "t"), (ME, "s", "t2")),
        ((Caller(("uid:7",)), "s", "t"), (Caller(("uid:8",)), "s", "t")), ((Caller(()), "s", "t"), (Caller(("uid:8",)), "s", "t")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("per", [(), ("principal",), ("server",), ("tool",), ("principal", "server", "tool")])
def test_what_is_counted_apart_is_what_the_limit_says(one, other, per):
    rule = Rule("r", ALLOW, limits=(Limit(5, 60.0, per),))
    ((mine, _),), ((theirs, _),) = (charges_of(rule, *each, "UTC") for each in (one, other))
    what = ("principal", "server", "tool")[next(n for n in range(3) if one[n] != other[n])]
    assert (mine.key != theirs.key) is (what in per)
    assert charges_of(rule, *one, "UTC")[0][0] == mine


def test_every_limit_of_a_rule_is_a_meter_of_its_own_with_a_name_for_people():
    spans = [
        (60.0, "rate 5/min"),
        (1.0, "rate 5/s"),
        (3600.0, "rate 5/h"),
        (90.0, "rate 5/90 s"),
        (0.0, "concurrency 5"),
        (DAY, "budget 5/day"),
    ]
    rule = Rule("r", ALLOW, limits=tuple(Limit(5, seconds) for seconds, _ in spans), file="f")
    found = charges_of(rule, ME, "s", "t", "")
    assert [words for _, words in found] == [words for _, words in spans]
    assert len({charge.key for charge, _ in found}) == len(spans)
    others = [msgspec.structs.replace(rule, id="r2"), msgspec.structs.replace(rule, file="g")]
    keys = {charge.key for each in (rule, *others) for charge, _ in charges_of(each, ME, "s", "t", "")}
    assert len(keys) == 3 * len(spans), "rules of that name in another file have meters of their own"


@pytest.mark.parametrize(
    ("when", "zone", "counted"),
    [(None, "UTC", "UTC"), (When(zone="Asia/Tokyo"), "UTC", "Asia/Tokyo"), (When(after=("x",)), "Europe/Paris", "Europe/Paris"), (None, "", "")],
)  # fmt: skip
def test_a_budget_counts_days_in_the_zone_of_its_rule_else_of_the_policy(when, zone, counted):
    ((charge, _),) = charges_of(Rule("r", ALLOW, limits=(Limit(1, DAY),), when=when), ME, "s", "t", zone)
    assert charge.zone == counted


# --- what a name alone says -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "verdict", "depends"),
    [
        ([], DENY, False), ([case(ALLOW)], ALLOW, False), ([case(ALLOW), case(DENY)], DENY, False),
        ([case(ALLOW, Says(False))], ALLOW, True), ([case(ALLOW, charges=[RATE])], ALLOW, True), ([case(ASK, Says(False))], ASK, True),
        ([case(DENY, Says(False))], DENY, True), ([case(ALLOW), case(DENY, Says(False), ident="d")], ALLOW, True),
        ([case(DENY), case(ALLOW, Says(True), ident="a")], DENY, True), ([case(ASK), case(ALLOW, Says(True), ident="a")], ASK, True),
        ([case(ASK, Says(True)), case(ALLOW, Says(True), ident="a", line=2)], ALLOW, True),
        ([case(ASK), case(ALLOW, Says(False), ident="a", answers=("r",))], ALLOW, True),
    ],
)  # fmt: skip
def test_the_bound_is_the_most_that_a_name_can_get(cases, verdict, depends):
    found = plan(*cases)
    assert (found.bound.verdict, found.bound.depends) == (verdict, depends)
    if not depends:
        assert found.judged(None, Circumstances(), 0) is found.bound


def test_a_rule_that_may_refuse_is_named_where_none_allows():
    bound = plan(case(DENY, Says(True), ident="no", line=4)).bound
    assert not bound.silent
    assert (bound.rule, bound.origin) == ("no", "p.toml:4")
    assert bound.reason == "no rule allows it, and rule no may refuse it"


def test_of_what_is_never_seen_no_condition_allows_and_every_one_refuses():
    assert plan(case(ALLOW, Says(True))).unseen().silent
    assert plan(case(ALLOW), case(DENY, Says(False), ident="no")).unseen().rule == "no"
    assert plan(case(ALLOW), case(ASK, Says(False), ident="q")).unseen().verdict is ASK
    found = plan(case(ALLOW), case(ALLOW, Says(True), ident="b")).unseen()
    assert (found.verdict, found.depends) == (ALLOW, False)


def test_more_outcomes_than_are_remembered_stay_right():
    count = 6
    found = plan(*(case(ALLOW if n % 2 else DENY, Bit(n), ident=f"r{n}", line=n + 1) for n in range(count)))
    for _ in range(2):
        for value in range(2**count):
            decision = found.judged(value, Circumstances(), 0)
            held = [n for n in range(count) if value >> n & 1]
            denied = [n for n in held if n % 2 == 0]
            expected = f"r{(denied or held)[0]}" if held else "default"
            assert (decision.rule, decision.verdict is ALLOW) == (expected, bool(held) and not denied)
            assert len(found._outcomes) <= limits.OUTCOMES
    assert 2**count > limits.OUTCOMES


class Bit:
    """Holds where a bit of the request is set."""

    def __init__(self, number):
        self.number = number

    def holds(self, value):
        return bool(value >> self.number & 1)

    def wanting(self, value):
        return f"bit {self.number} were set"


@pytest.mark.parametrize(
    ("smaller", "greater"),
    [(Rule("z", DENY, line=1), Rule("a", DENY, line=2)), (Rule("a", DENY, line=2), Rule("b", DENY, line=2)), (Rule("z", DENY, line=9), Rule("a", DENY, line=1, file="x"))],
)  # fmt: skip
def test_rules_stand_by_file_line_and_name(smaller, greater):
    assert place_of(smaller) < place_of(greater)


# --- any rules ---------------------------------------------------------------------------------------------------

TRUTHS = st.sampled_from([True, False, None, "breaks"])
BODIES = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from([ALLOW, ASK, DENY]), "truths": st.lists(TRUTHS, max_size=2), "answers": st.sets(st.sampled_from("0123")),
            "lacking": st.booleans(), "charged": st.sampled_from(["", "", "left", "spent"]), "result_bytes": st.integers(0, 2), "durable": st.booleans(),
        }
    ),
    max_size=5,
)  # fmt: skip


def made(number, body):
    effect = body["effect"]
    charge = (Charge(body["charged"], 1, 60.0), "rate 1/min")
    return Case(
        Rule(str(number), effect, line=number, answers=tuple(body["answers"]), result_bytes=body["result_bytes"], durable=body["durable"]),
        "no evidence" if body["lacking"] and effect is ASK else "",
        None,
        [Says(truth) for truth in body["truths"]],
        [charge] if body["charged"] else [],
    )  # fmt: skip


def spent():
    around = Circumstances()
    around.meters.take([Charge("spent", 1, 60.0)], 0, 0.0)
    return around


@settings(max_examples=100)
@given(st.data(), BODIES)
def test_the_order_of_rules_changes_nothing(data, bodies):
    cases = [made(number, body) for number, body in enumerate(bodies)]
    first, second = plan(*cases), plan(*data.draw(st.permutations(cases)))
    assert (first.bound, first.unseen()) == (second.bound, second.unseen())
    assert first.judged(None, spent(), 0) == second.judged(None, spent(), 0)


@settings(max_examples=100)
@given(BODIES, BODIES)
def test_adding_a_denial_never_allows_more(bodies, more):
    cases = [made(number, body) for number, body in enumerate(bodies)]
    others = [made(number + 5, body) for number, body in enumerate(more) if body["effect"] is DENY]
    before, after = plan(*cases), plan(*cases, *others)
    assert after.judged(None, spent(), 0).verdict <= before.judged(None, spent(), 0).verdict
    assert after.unseen().verdict <= before.unseen().verdict


@settings(max_examples=100)
@given(BODIES)
def test_no_request_gets_more_than_its_name_says(bodies):
    found = plan(*(made(number, body) for number, body in enumerate(bodies)))
    decision = found.judged(None, spent(), 0)
    assert decision.verdict <= found.bound.verdict
    assert found.unseen().verdict <= found.bound.verdict
    assert not decision.depends
    if decision.verdict is DENY:
        assert decision.charges == ()
