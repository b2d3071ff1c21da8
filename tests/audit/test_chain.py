import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.chain import ENVELOPE_BYTES, SEAL_BYTES, START, Chain, State, Verifier, hash_line, verify
from mcpguard.audit.seal import FirstKey
from mcpguard.audit.tree import Tree

STAMP = b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"0f" * 16)


def bodies(count: int) -> list[bytes]:
    return [record.log("opened", n=n) for n in range(count)]


def log(count: int = 6) -> list[bytes]:
    return Chain().seal(bodies(count), STAMP).splitlines(keepends=True)


LOG = log()


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=5))
def test_sealing_a_burst_equals_sealing_one_by_one(bursts):
    made = [[record.log("x", n=str(n)) for n in burst] for burst in bursts]
    together, apart = Chain(), Chain()
    as_bursts = b"".join(together.seal(burst, STAMP) for burst in made)
    one_by_one = b"".join(apart.seal([body], STAMP) for burst in made for body in burst)
    assert as_bursts == one_by_one
    assert (together.seq, together.prev) == (apart.seq, apart.prev)


def test_a_line_names_the_one_before_it():
    chain = Chain()
    first, second = chain.seal(bodies(2), STAMP).splitlines(keepends=True)
    assert first.startswith(b'{"v":1,"seq":1,"prev":"' + START)
    assert second.startswith(b'{"v":1,"seq":2,"prev":"' + hash_line(first))
    assert (chain.seq, chain.prev) == (2, hash_line(second))
    assert len(first) - len(bodies(1)[0]) < ENVELOPE_BYTES
    assert second.startswith(Chain(1, hash_line(first)).expected())


def test_a_body_with_a_line_feed_is_refused_and_the_chain_stays():
    chain = Chain()
    with pytest.raises(ValueError, match="line feed"):
        chain.seal([b'"type":"log","x":"\n"'], STAMP)
    assert (chain.seq, chain.prev) == (0, START)


def test_an_empty_burst_is_nothing():
    assert Chain().seal([], STAMP) == b""


def test_a_good_log_verifies():
    report = verify(LOG)
    assert (report.state, report.records, report.seq, report.problem) == (State.OK, 6, 6, "")
    assert report.head == hash_line(LOG[-1]).decode()
    assert verify([]).state is State.OK


@given(st.data())
def test_any_changed_byte_before_the_last_record_is_tampering(data):
    raw = b"".join(LOG)
    at = data.draw(st.integers(0, len(raw) - len(LOG[-1]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != raw[at]))
    changed = raw[:at] + bytes([byte]) + raw[at + 1 :]
    assert verify(_lines(changed)).state is State.TAMPERED


def _lines(raw: bytes) -> list[bytes]:
    parts = raw.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@given(st.data())
def test_a_changed_byte_in_the_last_record_is_found_or_leaves_a_record_that_only_an_anchor_could_tell(data):
    last = LOG[-1]
    at = data.draw(st.integers(0, len(last) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != last[at]))
    changed = last[:at] + bytes([byte]) + last[at + 1 :]
    report = verify(_lines(b"".join(LOG[:-1]) + changed))
    link = len(Chain(5, hash_line(LOG[-2])).expected())
    if at < link or at >= len(last) - 2:
        assert report.state is not State.OK
    elif report.state is State.OK:
        assert report.head != hash_line(last).decode()
    # one more record makes it as firm as the others
    after = Chain(6, hash_line(last)).seal(bodies(1), STAMP)
    assert verify(_lines(b"".join(LOG[:-1]) + changed + after)).state is State.TAMPERED


@given(st.integers(0, 4))
def test_a_deleted_line_is_tampering(at):
    report = verify(LOG[:at] + LOG[at + 1 :])
    assert (report.state, report.line, report.bad_seq) == (State.TAMPERED, at + 1, at + 2)
    assert report.problem == f"wrong seq: {at + 2} stands where {at + 1} belongs"


@given(st.permutations(range(6)).filter(lambda order: order != sorted(order)))
def test_lines_in_another_order_are_tampering(order):
    assert verify([LOG[at] for at in order]).state is State.TAMPERED


@given(st.integers(0, 5), st.integers(0, 6))
def test_a_duplicated_line_is_tampering(which, at):
    assert verify([*LOG[:at], LOG[which], *LOG[at:]]).state is State.TAMPERED


@given(
    st.integers(0, 5),
    st.sampled_from([b"\n", b"{}\n", b"hello\n", log(9)[8], log(3)[1].replace(b'"n":1', b'"n":7')]),
)
def test_an_inserted_line_is_tampering(at, line):
    assert verify([*LOG[:at], line, *LOG[at:]]).state is State.TAMPERED


def test_a_forged_record_with_the_right_number_has_the_wrong_prev():
    forged = Chain(2, b"ab" * 32).seal(bodies(1), STAMP)
    report = verify([*LOG[:2], forged])
    assert report.problem == "wrong prev: not the digest of record 2"
    report = verify([Chain(0, b"ab" * 32).seal(bodies(1), STAMP)])
    assert report.problem == "wrong prev: the first record names one before it"


@given(st.data())
def test_a_log_cut_anywhere_is_torn_or_shorter_never_tampered(data):
    raw = b"".join(LOG)
    end = data.draw(st.integers(0, len(raw)))
    lines = _lines(raw[:end])
    report = verify(lines)
    whole = not lines or lines[-1].endswith(b"\n")
    assert report.state is (State.OK if whole else State.TORN)
    assert report.records == sum(line.endswith(b"\n") for line in lines)


def test_zeros_after_a_power_loss_are_torn():
    assert verify([*LOG, b"\0" * 300]).state is State.TORN
    assert verify([*LOG[:-1], LOG[-1][:50] + b"\0" * 100]).state is State.TORN


@pytest.mark.parametrize(
    "end", [b"hello", b'{"v":1,"seq":9', b"x" * (limits.RECORD_BYTES + 1), b"\0" * (limits.RECORD_BYTES + 1)]
)
def test_an_unfinished_line_that_no_crash_leaves_is_tampering(end):
    report = verify([*LOG, end], file="audit-000001.jsonl")
    assert report.state is State.TAMPERED
    assert (report.file, report.line, report.bad_seq) == ("audit-000001.jsonl", 7, 7)


def test_a_line_longer_than_a_record_is_tampering():
    long = Chain().seal([b'"type":"log","x":"' + b"x" * limits.RECORD_BYTES + b'"'], STAMP)
    assert verify([long]).problem == "longer than a record may be"


def test_segments_make_one_chain():
    verifier = Verifier()
    assert verifier.segment(LOG[:3], "a")
    assert verifier.segment(LOG[3:], "b")
    assert verifier.finish().records == 6


def test_a_torn_line_is_tampering_when_anything_follows():
    for lines, later in (([*LOG[:2], LOG[2][:9], LOG[2]], []), ([*LOG[:2], LOG[2][:9]], LOG[2:])):
        verifier = Verifier()
        assert not verifier.segment(lines, "a")
        assert not verifier.segment(later, "b")
        report = verifier.finish()
        assert (report.state, report.file, report.line) == (State.TAMPERED, "a", 3)
        assert "goes on" in report.problem


def test_nothing_is_read_after_tampering():
    def lines():
        yield b"bad\n"
        yield LOG[0]
        raise AssertionError("read on")

    verifier = Verifier()
    assert not verifier.segment(lines(), "a")
    assert not verifier.segment(iter(LOG), "b")
    assert verifier.finish().problem == "not JSON"


def test_verification_may_begin_inside_a_log():
    report = verify(LOG[2:], seq=2, prev=hash_line(LOG[1]))
    assert (report.state, report.records, report.seq) == (State.OK, 4, 6)


KEY = FirstKey(1, bytes(range(32)))


def sealed_log(count: int = 6) -> list[bytes]:
    return Chain(key=KEY.key).seal(bodies(count), STAMP).splitlines(keepends=True)


def test_a_sealed_line_carries_the_hmac_of_itself_without_the_seal():
    chain = Chain(key=KEY.key)
    first, second = chain.seal(bodies(2), STAMP).splitlines(keepends=True)
    for line, key in ((first, KEY.key), (second, hashlib.sha256(b"mcpguard-evolve" + KEY.key).digest())):
        bare = line[:-SEAL_BYTES] + b"}\n"
        expected = hmac.new(key, bare, "sha256").hexdigest().encode()
        assert line[-SEAL_BYTES:] == b',"mac":"' + expected + b'"}\n'
        assert record.parse_line(line).body == record.parse_line(bare.replace(b'"v":2', b'"v":1')).body
    assert chain.key == KEY.at(3)
    assert len(first) - len(bodies(1)[0]) < ENVELOPE_BYTES


def test_a_log_of_version_1_goes_on_in_version_2_and_never_back():
    chain = Chain()
    old = chain.seal(bodies(3), STAMP).splitlines(keepends=True)
    chain.key = KEY.key
    new = chain.seal(bodies(3), STAMP).splitlines(keepends=True)
    verifier = Verifier(key=FirstKey(4, KEY.key))
    assert verifier.segment([*old, *new])
    report = verifier.finish()
    assert (report.records, report.sealed, report.seals) == (6, 3, 3)
    chain.key = b""
    after = chain.seal(bodies(1), STAMP)
    assert verify([*old, *new, after]).problem == "not sealed, and the records before it are"
    again = Verifier(key=FirstKey(2, KEY.key))
    again.segment(old)
    assert again.finish().bad_seq == 2


@given(st.data())
def test_with_the_first_key_any_changed_byte_is_found_in_its_own_record(data):
    log = sealed_log()
    at = data.draw(st.integers(0, 5))
    place = data.draw(st.integers(0, len(log[at]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value not in (log[at][place], 10)))
    changed = log[at][:place] + bytes([byte]) + log[at][place + 1 :]
    verifier = Verifier(key=KEY)
    verifier.segment([*log[:at], changed, *log[at + 1 :]])
    report = verifier.finish()
    assert (report.state, report.line) == (State.TAMPERED, at + 1)


def test_a_key_of_an_earlier_record_checks_from_where_the_reading_begins():
    log = sealed_log()
    verifier = Verifier(3, hash_line(log[2]), key=KEY)
    assert verifier.segment(log[3:])
    assert verifier.finish().seals == 3
    late = Verifier(key=FirstKey(5, KEY.at(5)))
    assert late.segment(log)
    assert late.finish().seals == 2
    assert late.chain.key == KEY.at(7)


def test_marks_tell_the_root_and_the_place_of_records_asked_for():
    log = sealed_log()
    verifier = Verifier(tree=Tree(), watch=(0, 2, 4, 9))
    verifier.segment(log[:3], "a")
    verifier.segment(log[3:], "b")
    assert sorted(verifier.marks) == [0, 2, 4]
    tree = Tree()
    for line in log[:4]:
        tree.add(line)
    mark = verifier.marks[4]
    assert (mark.root, mark.hash) == (tree.root(), hash_line(log[3]).decode())
    assert (mark.file, mark.end) == ("b", len(log[3]))


def test_what_is_known_is_hashed_and_not_looked_at():
    log = sealed_log()
    changed = [log[0].replace(b'"n":0', b'"n":7'), *log[1:]]
    verifier = Verifier(tree=Tree(), watch=(4,), known=4, key=KEY)
    assert verifier.segment(changed)
    assert verifier.finish().seals == 2
    good = Verifier(tree=Tree(), watch=(4,))
    good.segment(log)
    assert verifier.marks[4].root != good.marks[4].root


@pytest.mark.parametrize("member", ["last", "hash", "root"])
def test_a_rotation_that_names_another_end_is_tampering(member):
    chain, tree = Chain(key=KEY.key), Tree()
    lines = chain.seal(bodies(3), STAMP).splitlines(keepends=True)
    for line in lines:
        tree.add(line)
    true = {"last": 3, "hash": chain.prev.decode(), "root": tree.root().hex()}
    for said, state in (
        (true, State.OK),
        ({**true, member: 9 if member == "last" else "0" * 64}, State.TAMPERED),
    ):
        end = Chain(chain.seq, chain.prev, chain.key)
        verifier = Verifier(tree=Tree())
        verifier.segment([*lines, end.seal([record.log("rotated", **said)], STAMP)])
        assert verifier.finish().state is state


@pytest.mark.parametrize("key", [b"", KEY.key])
@pytest.mark.parametrize("burst", [1, 16])
def test_cost_of_sealing(benchmark, burst, key):
    tail = b'"type":"call",' + b'"x":"' + b"x" * 210 + b'"'
    benchmark(Chain(key=key).seal, [tail] * burst, STAMP)
