"""Roles in roles."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mcpguard.policy.roles import cycle, flattened

NAMES = st.sampled_from("abcde")


def test_members_of_inner_roles_are_members() -> None:
    roles = {"a": ("host:x", "role:b"), "b": ("role:c", "uid:1"), "c": ("uid:2", "host:x")}
    assert cycle(roles) == ()
    flat = flattened(roles)
    assert {name: set(who) for name, who in flat.items()} == {
        "a": {"host:x", "uid:1", "uid:2"}, "b": {"uid:1", "uid:2", "host:x"}, "c": {"uid:2", "host:x"},
    }  # fmt: skip


def test_what_holds_itself_is_named() -> None:
    assert cycle({"a": ("role:a",)}) == ("a", "a")
    assert cycle({"a": ("role:b",), "b": ("role:c",), "c": ("role:b",)}) == ("b", "c", "b")


def test_a_long_chain_does_not_recurse() -> None:
    roles = {f"r{n}": (f"role:r{n + 1}",) for n in range(5000)} | {"r5000": ("uid:1",)}
    assert cycle(roles) == ()
    assert flattened(roles)["r0"] == ("uid:1",)


@given(st.dictionaries(NAMES, st.lists(NAMES.map("role:".__add__) | st.just("uid:1"), max_size=4).map(tuple)))
def test_either_a_cycle_is_found_or_every_role_is_flat(roles: dict[str, tuple[str, ...]]) -> None:
    known = {
        name: tuple(m for m in who if not m.startswith("role:") or m[5:] in roles)
        for name, who in roles.items()
    }
    if around := cycle(known):
        assert around[0] == around[-1]
        assert all(f"role:{b}" in known[a] for a, b in itertools.pairwise(around))
    else:
        assert all(not who.startswith("role:") for members in flattened(known).values() for who in members)
