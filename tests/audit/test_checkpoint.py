import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import checkpoint as notes
from mcpguard.audit.checkpoint import Checkpoint, LogKey
from mcpguard.audit.tree import Tree
from mcpguard.errors import JournalError
from mcpguard.system.checkpointkey import valid

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = LogKey(notes.origin(PUBLIC), PUBLIC)
POINT = Checkpoint(KEY.name, 1234, hashlib.sha256(b"root").digest())
NOTE = POINT.note(KEY, PRIVATE.sign)


def test_a_key_is_read_as_it_is_written():
    assert notes.parse_key(KEY.text()) == KEY


def test_a_note_has_the_form_of_the_specification():
    text, _, signatures = NOTE.decode().partition("\n\n")
    assert text.split("\n") == [KEY.name, "1234", base64.b64encode(POINT.root).decode()]
    dash, name, blob = signatures.removesuffix("\n").split(" ")
    assert (dash, name) == ("\u2014", KEY.name)
    raw = base64.b64decode(blob)
    assert raw[:4] == hashlib.sha256(KEY.name.encode() + b"\n\x01" + PUBLIC).digest()[:4]
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(raw[4:], f"{text}\n".encode())


def test_a_signed_note_opens_and_further_signatures_do_not_disturb():
    assert notes.opened(NOTE, KEY, valid) == POINT
    cosigned = NOTE + f"\u2014 witness.example/w {base64.b64encode(b'x' * 76).decode()}\n".encode()
    assert notes.opened(cosigned, KEY, valid) == POINT


@given(st.data())
def test_no_changed_byte_of_a_note_goes_unseen(data):
    at = data.draw(st.integers(0, len(NOTE) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != NOTE[at]))
    changed = NOTE[:at] + bytes([byte]) + NOTE[at + 1 :]
    try:
        assert (
            notes.opened(changed, KEY, valid) == POINT
        )  # in the padding bits of Base64, which are not signed
    except JournalError:
        return
    assert base64.b64decode(changed.split()[-1]) == base64.b64decode(NOTE.split()[-1])


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (b"", "not a signed note"),
        (b"\xff" + NOTE, "not a signed note"),
        (NOTE.replace(b"1234", b"01234"), "no size"),
        (NOTE.replace(b"1234", b"1235"), "no valid signature"),
        (NOTE.replace(b"1234\n", b"1234\nAAAA\n"), "no root"),
        (POINT.note(KEY, lambda _: b"x" * 64), "no valid signature"),
        (Checkpoint("other", 1, b"r" * 32).note(KEY, PRIVATE.sign), "another log"),
        (NOTE + b"x" * notes.NOTE_BYTES, "not a signed note"),
    ],
)
def test_what_is_not_signed_by_the_log_is_refused(note, says):
    with pytest.raises(JournalError, match=says):
        notes.opened(note, KEY, valid)


@pytest.mark.parametrize(
    "text", ["", "a+b", "a+00000000+AQ==", KEY.text().replace("+", "+0", 1), KEY.text()[:-4]]
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(JournalError):
        notes.parse_key(text)


def test_notes_are_found_one_after_the_other_and_in_lines():
    other = Checkpoint(KEY.name, 1300, b"q" * 32).note(KEY, PRIVATE.sign)
    assert list(notes.notes(NOTE + other)) == [NOTE, other]
    assert list(notes.notes(NOTE + b"\n" + other + b"\n")) == [NOTE, other]
    lines = "\n".join(f"Nov 29 12:00:00 host mcpguard: {notes.in_a_line(each)}" for each in (NOTE, other))
    assert list(notes.notes(f"other: line\n{lines}\n".encode())) == [NOTE, other]
    assert list(notes.notes(b"")) == []
    for bad in (NOTE + b"something\n", b"x\n" + NOTE[:50], b"\xff", NOTE[:-9]):
        with pytest.raises(JournalError):
            assert list(notes.notes(bad)) == "never"


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40))
def test_a_tombstone_lets_the_tree_go_on(lines):
    tree = Tree()
    for line in lines:
        tree.add(line)
    stone = notes.tombstone(KEY.name, "audit-000003.jsonl", tree, "ab" * 32, "2026-11-29T12:00:00.000000Z")
    read = notes.parse_tombstone(notes.opened(stone.note(KEY, PRIVATE.sign), KEY, valid))
    assert (read.segment, read.hash, read.time) == (3, "ab" * 32, "2026-11-29T12:00:00.000000Z")
    again = read.tree()
    for both in (tree, again):
        both.add(b"next")
    assert again.root() == tree.root()


def test_a_tombstone_whose_frontier_is_not_its_root_is_refused():
    tree = Tree()
    tree.add(b"x")
    stone = notes.tombstone(KEY.name, "audit-000001.jsonl", tree, "ab" * 32, "now")
    for bad in (
        Checkpoint(stone.origin, stone.size, b"r" * 32, stone.further),
        Checkpoint(stone.origin, 3, stone.root, stone.further),
        POINT,
    ):
        with pytest.raises(JournalError):
            notes.parse_tombstone(bad)
