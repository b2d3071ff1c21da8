"""The record of what was put into configurations: written before the file is, and never guessed."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.hosts.wrapping import Wrapped
from mcpguard.system import configfile
from mcpguard.system.wrapstore import FileRecord, WrapStore

COPIES = limits.CONFIG_COPIES
AT = "2026-11-22T10:00:00Z"
OLD, NEW, NEWER = b"old\xff\x00", b"new", b"newer"
FILE = Path("/home/u/x.json")
ONE = Wrapped(("mcpServers", "a"), ("npx",), ("mcpguard", "run", "--", "npx"), '"npx"', "x")
TWO = Wrapped(("mcpServers", "b"), ("uvx",), ("mcpguard", "run", "--", "uvx"), '"uvx"', "y", member=True)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kept(store: WrapStore) -> dict[str, bytes]:
    """The copies of files."""
    return {copy.path: path.read_bytes() for copy, path in store.copies()}


@pytest.fixture
def store(tmp_path: Path) -> WrapStore:
    return WrapStore(tmp_path / "state/wrapped")


def test_before_the_first_change_there_is_nothing_and_nothing_is_made(
    tmp_path: Path, store: WrapStore
) -> None:
    assert store.load() == {}
    assert list(tmp_path.iterdir()) == []


def test_change_is_noted_with_the_bytes_that_were_there(tmp_path: Path, store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE, TWO), AT)
    record = FileRecord(str(FILE), AT, sha(OLD), sha(NEW), (ONE, TWO))
    assert WrapStore(tmp_path / "state/wrapped").load() == {str(FILE): record}
    assert kept(store) == {str(FILE): OLD}


def test_everything_is_for_the_owner_alone(tmp_path: Path, store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    made = [tmp_path / "state/wrapped", *(tmp_path / "state/wrapped").rglob("*")]
    assert sorted(f"{path.name[:12]} {path.stat().st_mode & 0o7777:o}" for path in made) == [
        f"{sha(OLD)[:12]} 600", "backups 700", "wrapped 700", "wrapped.json 600",
    ]  # fmt: skip


def test_copy_of_before_the_first_change_is_kept(tmp_path: Path, store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    store.changing(FILE, NEW, NEWER, (ONE, TWO), "2026-11-23T10:00:00Z")
    record = store.load()[str(FILE)]
    assert (record.before, record.after, record.at) == (sha(OLD), sha(NEWER), "2026-11-23T10:00:00Z")
    assert kept(store) == {str(FILE): OLD}
    assert len(list((tmp_path / "state/wrapped/backups").iterdir())) == 1


def test_files_stand_beside_each_other(store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    store.changing(Path("/y"), OLD, NEWER, (TWO,), AT)
    assert {path: record.entries for path, record in store.load().items()} == {
        str(FILE): (ONE,),
        "/y": (TWO,),
    }


def test_with_the_last_entry_the_file_is_forgotten_and_its_copy_stays(store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    store.changing(FILE, NEW, OLD, (), AT)
    assert store.load() == {}
    assert kept(store) == {str(FILE): OLD}


def test_change_that_was_not_made_is_taken_back(store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    known = store.load()[str(FILE)]
    store.changing(FILE, NEW, NEWER, (ONE, TWO), AT)
    store.put_back(FILE, known)
    assert store.load() == {str(FILE): known}
    store.put_back(FILE, None)
    assert (store.load(), kept(store)) == ({}, {str(FILE): OLD})


def test_list_of_an_earlier_version_is_read(tmp_path: Path, store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    path = tmp_path / "state/wrapped/wrapped.json"
    content = json.loads(path.read_bytes())
    del content["copies"], content["files"][str(FILE)]["entries"][0]["null"]
    path.write_text(json.dumps(content))
    assert store.load()[str(FILE)].entries == (ONE,)
    assert store.copies() == []


def test_newest_copies_of_each_file_are_kept(tmp_path: Path, store: WrapStore) -> None:
    store.changing(Path("/other"), b"0", NEW, (ONE,), AT)
    for number in range(COPIES + 3):
        store.changing(FILE, f"{number}".encode(), NEW, (ONE,), AT)
        store.changing(FILE, NEW, f"{number}".encode(), (), AT)
    found = [path.read_bytes() for copy, path in store.copies() if copy.path == str(FILE)]
    assert found == [f"{number}".encode() for number in range(3, COPIES + 3)]
    assert kept(store)["/other"] == b"0"
    assert len(list((tmp_path / "state/wrapped/backups").iterdir())) == COPIES + 1


def test_same_bytes_are_one_copy(store: WrapStore) -> None:
    for at in (AT, "2026-11-24T10:00:00Z"):
        store.changing(FILE, OLD, NEW, (ONE,), at)
        store.changing(FILE, NEW, OLD, (), at)
    assert [(copy.path, copy.at) for copy, _ in store.copies()] == [(str(FILE), "2026-11-24T10:00:00Z")]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"v": 1}',
        b'{"v": 1, "files": []}',
        b'{"v": 1, "files": {"/x": {"path": "/x"}}}',
        b'{"v": 1, "files": {}, "more": 1}',
    ],
)
def test_damaged_list_is_refused_and_stays_as_it_is(tmp_path: Path, store: WrapStore, content: bytes) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    path = tmp_path / "state/wrapped/wrapped.json"
    path.write_bytes(content)
    for use in (store.load, lambda: store.changing(FILE, NEW, NEWER, (TWO,), AT)):
        with pytest.raises(DaemonError, match="cannot be relied on: it is damaged") as caught:
            use()
        assert caught.value.hint == f"look at it, then remove it: rm {path}"
    assert path.read_bytes() == content


def test_list_that_others_may_write_is_refused(tmp_path: Path, store: WrapStore) -> None:
    store.changing(FILE, OLD, NEW, (ONE,), AT)
    (tmp_path / "state/wrapped/wrapped.json").chmod(0o666)
    with pytest.raises(DaemonError, match="writable by others"):
        store.load()


def test_folder_that_others_could_replace_is_an_error_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(DaemonError, match=r"no copy of the file can be kept: .* is writable by others"):
        WrapStore(tmp_path / "open/wrapped").changing(FILE, OLD, NEW, (ONE,), AT)


def test_where_no_folder_can_be_made_nothing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DaemonError, match="not a directory"):
        WrapStore(tmp_path / "file/wrapped").changing(FILE, OLD, NEW, (ONE,), AT)


WRAPPER = """
import sys
from pathlib import Path
from mcpguard.hosts.wrapping import Wrapped
from mcpguard.system.wrapstore import WrapStore
store = WrapStore(Path(sys.argv[1]))
for number in range(20):
    path = f"/{sys.argv[2]}/{number}"
    store.changing(Path(path), path.encode(), b"", (Wrapped((path,), (), (), "", ""),), "")
"""


def test_two_commands_at_once_lose_nothing(tmp_path: Path, store: WrapStore) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", WRAPPER, str(tmp_path / "state/wrapped"), word])
        for word in ("one", "two", "three")
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    records = store.load()
    assert len(records) == 60
    assert kept(store) == {path: path.encode() for path in records}


def test_file_is_in_the_list_before_it_is_changed(tmp_path: Path, store: WrapStore) -> None:
    """A file that refuses its change is named all the same: looked at later, and left alone."""
    path = tmp_path / "config.json"
    path.write_bytes(OLD)
    found = configfile.read(path)
    assert found
    store.changing(path, OLD, NEW, (ONE,), AT)
    path.write_bytes(b"changed")
    with pytest.raises(ConfigError):
        configfile.replace(found, NEW)
    assert json.loads((tmp_path / "state/wrapped/wrapped.json").read_bytes())["files"].keys() == {str(path)}
