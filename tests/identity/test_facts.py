"""Facts about a peer are values, and worth no more than they are."""

import pytest

from mcpguard.identity.facts import PeerFacts


@pytest.mark.parametrize("pinned", [True, False])
def test_user_id_alone_is_the_lowest_grade(pinned):
    facts = PeerFacts(pid=5, uid=1000, gid=1000, pinned=pinned)
    assert facts.grade == "G0"
    assert facts.evidence() == {"uid": 1000, "pid": 5, "grade": "G0"}


def test_facts_cannot_be_changed():
    with pytest.raises(AttributeError):
        PeerFacts(1, 2, 3, pinned=True).uid = 0
