"""Trusted folders: what is kept is what was confirmed, whatever becomes of the file."""

from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.system.folderstore import FolderStore, above, changed, described
from mcpguard.system.projectfile import NAME

TEXT = 'version = 1\n[[rule]]\nid = "no-writes"\ntools = ["write_*"]\neffect = "deny"\n'


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "state")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    (made / NAME).write_text(TEXT)
    return made


def test_nothing_is_trusted_at_first(store: FolderStore) -> None:
    assert store.load() == []


def test_a_trusted_folder_has_the_text_that_was_confirmed(store: FolderStore, folder: Path) -> None:
    store.trust(str(folder), TEXT, 0)
    (folder / NAME).write_text("version = 1\n")
    (found,) = store.load()
    assert (found.path, found.text, found.trusted_at) == (str(folder), TEXT, "1970-01-01T00:00:00Z")
    assert [rule.id for rule in found.ruleset.rules] == ["no-writes"]
    assert {rule.file for rule in found.ruleset.rules} == {f"{folder}/{NAME}"}
    assert changed(found) == described(found)["file"] == "it was edited"
    (folder / NAME).unlink()
    assert changed(found) == "it is gone"
    (folder / NAME).write_text(TEXT)
    assert described(found)["file"] == "as it was trusted"


def test_trusting_again_replaces_and_forgetting_removes(store: FolderStore, folder: Path) -> None:
    store.trust(str(folder), TEXT, 0)
    store.trust(str(folder), TEXT.replace("write_*", "*"), 0)
    assert [one.text.count('"*"') for one in store.load()] == [1]
    store.forget(str(folder))
    assert store.load() == []
    with pytest.raises(ConfigError, match="not trusted"):
        store.forget(str(folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT.replace('"deny"', '"allow"'), "narrows"),
        ('version = 1\nmode = "observe"\n', "known key"),
        ("version = 1\n" + "#" * limits.PROJECT_BYTES, "at most"),
        ("", "empty"),
    ],
)
def test_what_is_no_policy_of_a_project_is_not_trusted(
    store: FolderStore, folder: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        store.trust(str(folder), text, 0)
    assert store.load() == []


def test_a_folder_is_known_by_its_real_path(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for path in (f"{tmp_path}/link", f"{folder}/", f"{folder}/../project", "project"):
        with pytest.raises(ConfigError, match="real path"):
            store.trust(path, TEXT, 0)


def test_there_is_an_end_to_folders(store: FolderStore, tmp_path: Path) -> None:
    for number in range(limits.FOLDERS):
        store.trust(f"{tmp_path}/{number}", TEXT, 0)
    store.trust(f"{tmp_path}/0", TEXT, 0)
    with pytest.raises(ConfigError, match="which is the most"):
        store.trust(f"{tmp_path}/one-more", TEXT, 0)


@pytest.mark.parametrize(
    "data", [b"{", b'{"v":1}', b'{"v":1,"folders":[{"path":"/a"}]}', b'{"v":1,"folders":7}']
)
def test_a_damaged_list_is_an_error(store: FolderStore, folder: Path, tmp_path: Path, data: bytes) -> None:
    store.trust(str(folder), TEXT, 0)
    (tmp_path / "state" / "folders.json").write_bytes(data)
    with pytest.raises(DaemonError, match="cannot be relied on") as caught:
        store.load()
    assert "rm " in caught.value.hint


@pytest.mark.parametrize(
    ("path", "many"), [("", 1), ("/src", 2), ("/src/deep", 2), ("-other", 0), ("/..", 1), ("/srcs", 1)]
)
def test_which_folders_a_path_is_in(store: FolderStore, folder: Path, path: str, many: int) -> None:
    (folder / "src").mkdir()
    store.trust(str(folder), TEXT, 0)
    store.trust(f"{folder}/src", TEXT, 0)
    assert len(above(store.load(), f"{folder}{path}")) == many
