"""The list itself; what it does to real connections is in tests/lifecycle/test_quarantine.py."""

from pathlib import Path

import pytest

from mcpguard.daemon.quarantine import try_impose
from mcpguard.errors import TrustError
from mcpguard.system.journalfiles import latest
from mcpguard.system.quarantinefile import ASK, REFUSE
from tests.daemon.keptout import Connection, Stage
from tests.daemon.loops import run


def test_it_cuts_what_it_is_about_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        ours, theirs, host = Connection("files"), Connection("other"), Connection("more", "acme")
        stage = Stage(tmp_path, a=ours, b=theirs, c=host)
        assert stage.quarantine.impose("server:files", REFUSE, "why", "me") == 1
        assert stage.quarantine.impose("server:files", REFUSE, "why", "me") == 0, "it is there already"
        assert stage.quarantine.impose("host:acme", REFUSE, "", "me") == 1
        assert (len(ours.reasons), theirs.reasons, len(host.reasons)) == (1, [], 1)
        assert stage.changes[0][0] == "files"
        assert stage.quarantine.refusal(Connection("new", "acme")).endswith(
            "mcpguard quarantine --lift host:acme"
        )
        assert stage.quarantine.refusal(theirs) == ""
        await stage.recorder.close()

    run(story)


def test_ask_cuts_nothing_and_becomes_a_refusal_but_not_the_other_way(tmp_path: Path) -> None:
    async def story() -> None:
        one = Connection("files")
        stage = Stage(tmp_path, a=one)
        stage.quarantine.impose("server:files", ASK, "", "policy")
        assert (one.reasons, stage.quarantine.doubted("files"), stage.changes) == ([], True, [("files", "")])
        stage.quarantine.impose("server:files", REFUSE, "", "me")
        assert len(one.reasons) == 1
        stage.quarantine.impose("server:files", ASK, "", "policy")
        assert stage.quarantine.refusal(one)
        await stage.recorder.close()

    run(story)


@pytest.mark.parametrize("subject", ["server:", "tool:x", "files", "server:" + "x" * 201])
def test_what_has_no_name_is_refused(tmp_path: Path, subject: str) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        with pytest.raises(TrustError):
            stage.quarantine.impose(subject, REFUSE, "", "me")
        assert "nothing can be in quarantine" in try_impose(stage.quarantine, subject, REFUSE, "", "policy")
        await stage.recorder.close()

    run(story)


def test_the_log_counts_as_much_as_the_file(tmp_path: Path) -> None:
    async def first() -> None:
        stage = Stage(tmp_path)
        stage.quarantine.impose("server:files", REFUSE, "", "me")
        stage.quarantine.impose("host:acme", REFUSE, "", "me")
        stage.quarantine.impose("server:asked", ASK, "", "me")
        stage.quarantine.lift("host:acme", "me")
        await stage.recorder.close()

    async def second() -> None:
        (tmp_path / "quarantine" / "quarantine.json").write_text('{"v":1,"entries":[],"boot":"","runs":[]}')
        stage = Stage(tmp_path)
        stage.quarantine.restore(latest(tmp_path / "audit", "quarantine"))
        entries = stage.quarantine.described()["entries"]
        assert {(each["how"], each["subject"]) for each in entries} == {
            ("refuse", "server:files"),
            ("ask", "server:asked"),
        }
        await stage.recorder.close()

    run(first)
    run(second)


def test_a_lift_that_cannot_be_recorded_lifts_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        stage.quarantine.impose("server:files", REFUSE, "", "me")
        await stage.recorder.close()  # nothing can be written from now on
        with pytest.raises(Exception, match="closed"):
            stage.quarantine.lift("server:files", "me")
        assert stage.quarantine.refusal(Connection("files"))
        assert try_impose(stage.quarantine, "server:other", REFUSE, "", "policy") == "", (
            "it holds, unrecorded"
        )
        assert stage.quarantine.refusal(Connection("other"))

    run(story)


def test_a_name_is_quoted_for_the_shell(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        stage.quarantine.impose("server:a; rm -rf ~", REFUSE, "", "me")
        assert stage.quarantine.refusal(Connection("a; rm -rf ~")).endswith("--lift 'a; rm -rf ~'")
        await stage.recorder.close()

    run(story)
