import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit.tree import Tree

# The leaves and roots that implementations of RFC 6962 are tested with (certificate-transparency, merkle_tree_test.cc).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_those_of_the_known_vectors():
    tree = Tree()
    assert tree.root() == hashlib.sha256(b"").digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.add(bytes.fromhex(leaf))
        assert tree.root().hex() == root
    assert tree.size == 8


def by_definition(lines: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not lines:
        return hashlib.sha256(b"").digest()
    if len(lines) == 1:
        return hashlib.sha256(b"\0" + lines[0]).digest()
    k = 1
    while k * 2 < len(lines):
        k *= 2
    return hashlib.sha256(b"\1" + by_definition(lines[:k]) + by_definition(lines[k:])).digest()


@given(st.lists(st.binary(max_size=5), max_size=70), st.integers(0, 70))
def test_a_tree_goes_on_from_its_frontier(lines, at):
    tree = Tree()
    for line in lines[:at]:
        tree.add(line)
    again = Tree(tree.size, tree.frontier())
    for line in lines[at:]:
        again.add(line)
    assert again.root() == by_definition(lines)


@pytest.mark.parametrize(
    ("size", "frontier"), [(1, []), (3, [b"x" * 32]), (-1, []), (1, [b"short"]), (0, [b"x" * 32])]
)
def test_a_frontier_of_another_size_is_refused(size, frontier):
    with pytest.raises(ValueError, match="frontier"):
        Tree(size, frontier)


@given(
    st.lists(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=20), max_size=8)
)
def test_a_piece_of_lines_grows_a_tree_as_its_lines_do(pieces):
    one, other = Tree(), Tree()
    for piece in pieces:
        other.grow(b"".join(line + b"\n" for line in piece))
        for line in piece:
            one.add(line + b"\n")
        assert (other.size, other.frontier(), other.root()) == (one.size, one.frontier(), one.root())
