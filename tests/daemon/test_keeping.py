import asyncio
import json

import msgspec
import pytest

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.audit.marks import Marks
from mcpguard.daemon.control import Caller
from mcpguard.daemon.keeping import Keeping
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import JournalError, PeerError
from mcpguard.protocol.control import Request
from mcpguard.system.argumentkeys import NAME, ArgumentKeys, ArgumentReader
from mcpguard.system.journal import Journal

PERSON = Caller(1000, 4711)


def kept(member: bytes) -> dict:
    return {"args": json.loads(b'{"size":1%b}' % member)}


def run(directory, story):
    """A story with a journal and keys; what it gives, and the records."""

    async def main():
        journal = Journal.open(directory)
        recorder = Recorder(journal)
        keeping = Keeping(ArgumentKeys(directory), recorder)
        try:
            return story(keeping, journal)
        finally:
            await recorder.close()
            keeping.close()

    found = asyncio.run(main())
    lines = [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return found, [json.loads(line) for line in lines]


def erase(keeping, keys, **wanted):
    text = msgspec.json.encode({"keys": keys, "wanted": wanted}).decode()
    return keeping.erasing()["audit-erase"](Request("audit-erase", text=text), PERSON)


def test_arguments_are_redacted_before_they_are_sealed(tmp_path):
    value = {"password": "swordfish", "note": "plain", "mine": "marked"}
    marks = Marks(members={"mine": Marks(whole=True)})
    member, _ = run(tmp_path / "a", lambda keeping, _: keeping.keep(value, marks))
    found = ArgumentReader(tmp_path / "a").arguments(kept(member))
    assert found["arguments"]["note"] == "plain"
    assert found["arguments"]["password"].startswith(redact.MARK)
    assert found["arguments"]["mine"].startswith("«redacted:schema")


@pytest.mark.parametrize("value", [
    {"a": "x" * 1_000_000}, {"a": ["y" * 100] * 1000}, {str(n): n for n in range(4000)}, {"a": [[["z" * 20_000]]]},
    [0.5] * 20_000, {"a": "\x00\u2028" * 9000},
])  # fmt: skip
def test_what_is_too_long_is_cut_and_fits_into_a_record(tmp_path, value):
    member, _ = run(tmp_path / "a", lambda keeping, _: keeping.keep(value, None))
    assert len(member) < limits.RECORDED_BYTES * 4 // 3 + 100
    assert ArgumentReader(tmp_path / "a").arguments(kept(member))["cut"] is True


def test_a_key_that_cannot_be_kept_keeps_no_arguments_and_is_told(tmp_path, caplog):
    def story(keeping, journal):
        (journal.directory / NAME).mkdir()
        return [keeping.keep({"a": 1}, None) for _ in range(3)]

    members, _ = run(tmp_path / "a", story)
    assert set(members) == {b',"sealed":{"key":0,"data":""}'}
    assert len(caplog.records) == 1
    assert "cannot be kept" in caplog.text


def test_an_erasure_is_recorded_with_who_asked_and_for_what(tmp_path):
    def story(keeping, _):
        members = [keeping.keep({"n": number}, None) for number in range(6)]
        return members, erase(keeping, [[2, 3], [5, 5]], server="files")

    (members, reply), records = run(tmp_path / "a", story)
    assert reply == {"erased": 3}
    (record,) = [each for each in records if each.get("event") == "erased"]
    assert (record["records"], record["wanted"], record["by"]) == (
        3,
        {"server": "files"},
        "uid 1000 (pid 4711)",
    )
    reader = ArgumentReader(tmp_path / "a")
    gone = {"erased": True}
    assert [reader.arguments(kept(one)) == gone for one in members] == [False, True, True, False, True, False]
    reader.close()


def test_nothing_is_erased_that_cannot_be_recorded(tmp_path):
    def story(keeping, journal):
        member = keeping.keep({"n": 1}, None)
        journal._dead = "the disk reports an I/O error"
        with pytest.raises(JournalError):
            erase(keeping, [[1, 1]])
        journal._dead = ""
        return member

    member, _ = run(tmp_path / "a", story)
    assert ArgumentReader(tmp_path / "a").arguments(kept(member)) == {"arguments": {"n": 1}}


@pytest.mark.parametrize("text", [
    "", "{}", '{"keys":[[2,1]],"wanted":{}}', '{"keys":[[0,1]],"wanted":{}}', '{"keys":[[1]],"wanted":{}}',
    '{"keys":[[1,999999999999]],"wanted":{}}', '{"keys":[],"wanted":{},"more":1}',
])  # fmt: skip
def test_what_is_no_erasure_is_refused(tmp_path, text):
    def story(keeping, _):
        with pytest.raises(PeerError, match="not an erasure"):
            keeping.erasing()["audit-erase"](Request("audit-erase", text=text), PERSON)

    run(tmp_path / "a", story)
