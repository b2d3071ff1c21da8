"""The file of an index: private, replaced when it cannot be relied on, one process at a time."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from mcpguard.system import indexfile
from mcpguard.system.indexfile import at_hand, opened, path_of, remove


@pytest.fixture
def home(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def close(one) -> None:
    one.database.close()
    if one.lock >= 0:
        os.close(one.lock)


def marked(home, log) -> None:
    one = opened(home, log)
    with one.database:
        one.database.execute("INSERT INTO names VALUES (1, 1, 'mark')")
    close(one)


def marks(one) -> list[tuple[str]]:
    found = one.database.execute("SELECT name FROM names").fetchall()
    close(one)
    return found


def test_it_is_for_the_owner_alone(home, log):
    before = os.umask(0)
    try:
        marked(home, log)
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o600}


def test_what_is_in_it_stays(home, log):
    marked(home, log)
    one = opened(home, log)
    assert one.note == ""
    assert marks(one) == [("mark",)]


def test_logs_have_indexes_of_their_own_by_where_they_really_are(home, log, tmp_path):
    (tmp_path / "link").symlink_to(log)
    assert path_of(home, log) == path_of(home, tmp_path / "link")
    assert path_of(home, log) != path_of(home, tmp_path / "other")


def noise(path):
    path.write_bytes(os.urandom(9000))


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def other_program(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE names (x)")
        database.execute("PRAGMA application_id = 7")
    database.close()


def other_version(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def trigger(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON names BEGIN DELETE FROM names; END")
    database.close()


def open_to_all(path):
    path.chmod(0o666)


def link(path):
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def directory(path):
    path.unlink()
    path.symlink_to(path.parent)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (noise, "is damaged"), (cut, "is damaged"), (other_program, "is the database of another program"),
        (other_version, "is of another version"), (trigger, "is damaged"), (open_to_all, "is writable by others (mode 0666)"),
        (link, "is not a regular file"), (directory, "is not a regular file"),
    ],
)  # fmt: skip
def test_what_cannot_be_relied_on_is_replaced(home, log, harm, words):
    marked(home, log)
    harm(path_of(home, log))
    assert at_hand(home, log) is None
    one = opened(home, log)
    assert one.note == f"the index of the log {words}; it is made again"
    assert one.lock >= 0
    assert marks(one) == []
    assert path_of(home, log).stat(follow_symlinks=False).st_mode & 0o777 == 0o600


def test_an_empty_file_is_one_that_was_begun(home, log):
    home.mkdir(mode=0o700)
    path_of(home, log).touch(0o600)
    one = opened(home, log)
    assert one.note == ""
    assert marks(one) == []


def test_one_process_at_a_time(home, log, monkeypatch):
    one, told = opened(home, log), []
    monkeypatch.setattr(indexfile, "PATIENCE_SECONDS", 0.2)
    assert at_hand(home, log) is None
    other = opened(home, log, lambda: told.append(1))
    assert (other.lock, told) == (-1, [1])
    assert "another process has it" in other.note
    close(other)
    close(one)
    assert marks(opened(home, log)) == []


def test_who_waits_gets_it(home, log):
    marked(home, log)
    code = (
        "import sys; from pathlib import Path; from mcpguard.system.indexfile import opened\n"
        "one = opened(Path(sys.argv[1]), Path(sys.argv[2]), lambda: print('waiting', flush=True))\n"
        "print(one.lock >= 0, one.database.execute('SELECT name FROM names').fetchall())"
    )
    one = opened(home, log)
    with subprocess.Popen(
        [sys.executable, "-c", code, home, log], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        close(one)
        assert child.stdout.read() == "True [('mark',)]\n"


def test_a_place_that_cannot_be_written_is_memory(log, tmp_path):
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", None):
        one = opened(home, log)
        assert one.lock == -1
        assert bool(one.note) == (home is not None)
        assert marks(one) == []


def test_removed_and_made_again(home, log):
    marked(home, log)
    remove(home, log)
    assert not path_of(home, log).exists()
    assert marks(opened(home, log)) == []


def test_at_hand_makes_nothing(home, log):
    assert at_hand(home, log) is None
    assert not home.exists()
    marked(home, log)
    one = at_hand(home, log)
    assert one is not None
    with open(path_of(home, log).with_suffix(".lock")) as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert marks(one) == [("mark",)]


def test_a_process_that_is_killed_lets_go(home, log):
    code = (
        "import sys, time; from pathlib import Path; from mcpguard.system.indexfile import opened\n"
        "one = opened(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "one.database.execute('BEGIN'); one.database.execute(\"INSERT INTO names VALUES (1, 1, 'half')\")\n"
        "print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, home, log], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        child.kill()
    began = time.monotonic()
    assert marks(opened(home, log)) == []
    assert time.monotonic() - began < indexfile.PATIENCE_SECONDS
