"""How bytes are cut into reads changes nothing: both sides get the same bytes, and the log the same records."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.model import Side
from tests.fuzz.worlds import OPENINGS, POLICIES, World, stories


def pieces(data, cuts):
    at = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(at)]


@settings(max_examples=200)
@given(
    st.sampled_from(POLICIES),
    st.sampled_from(sorted(OPENINGS)),
    stories(),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_cuts_change_nothing(policy, opening, story, cuts):
    whole, cut, bytewise = (World(policy, opening) for _ in range(3))
    for side, data in story:
        whole.say(side, data)
        for piece in pieces(data, cuts):
            cut.say(side, piece)
        for at in range(len(data)):
            bytewise.say(side, data[at : at + 1])
    for other in (cut, bytewise):
        assert other.data == whole.data
        assert sorted(other.bodies) == sorted(whole.bodies)
        assert other.closed == whole.closed


@settings(max_examples=200)
@given(st.sampled_from(POLICIES), st.sampled_from(sorted(OPENINGS)), stories())
def test_reads_of_one_side_that_arrive_together_change_nothing(policy, opening, story):
    lines = [data for side, data in story if side is Side.HOST]
    apart, together = World(policy, opening), World(policy, opening)
    for data in lines:
        apart.say(Side.HOST, data)
    together.say(Side.HOST, b"".join(lines))
    assert together.data == apart.data
    assert sorted(together.bodies) == sorted(apart.bodies)
