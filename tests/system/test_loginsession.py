import pytest

from mcpguard.system.loginsession import place_of, session_of

USER = "/user.slice/user-1000.slice"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "sessions").mkdir()
    (tmp_path / "users").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("cgroup", "session"),
    [
        (f"{USER}/session-3.scope", "3"),
        (f"{USER}/session-c2.scope/below", "c2"),
        (f"{USER}/session-3.scopes", ""),
        (f"{USER}/user@1000.service/app.slice/app-code.scope", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_control_group_names_the_session(run, cgroup, session):
    assert session_of(cgroup, 1000, run) == session


def test_what_the_user_manager_started_is_in_the_session_of_the_display(run):
    (run / "users" / "1000").write_text("# This is private data\nNAME=me\nDISPLAY=4\nSESSIONS=4 9\n")
    assert session_of(f"{USER}/user@1000.service/app.slice/app-code.scope", 1000, run) == "4"
    assert session_of(f"{USER}/session-9.scope", 1000, run) == "9"
    assert session_of("/", 1001, run) == ""


@pytest.mark.parametrize("display", ["", "../../etc", "a b", "x" * 65])
def test_a_session_that_is_none_is_not_known(run, display):
    (run / "users" / "1000").write_text(f"DISPLAY={display}\n")
    assert session_of("/", 1000, run) == ""


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("REMOTE=1\n", "remote"),
        ("UID=1\nREMOTE=0\n", "local"),
        ("REMOTE=yes\n", ""),
        ("", ""),
        ("#REMOTE=0\n", ""),
    ],
)
def test_a_session_is_local_or_remote_or_not_known(run, text, place):
    (run / "sessions" / "3").write_text(text)
    assert place_of("3", run) == place


@pytest.mark.parametrize("session", ["", "4", "../users/1000", "."])
def test_of_no_session_nothing_is_known(run, session):
    (run / "users" / "1000").write_text("REMOTE=0\n")
    assert place_of(session, run) == ""


def test_a_directory_in_its_place_is_not_known(run):
    (run / "sessions" / "3").mkdir()
    assert place_of("3", run) == ""
