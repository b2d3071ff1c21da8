"""The file of API keys: whole or an error, never an empty list."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcpguard.credentials.apikey import ApiKey, Secret
from mcpguard.errors import DaemonError
from mcpguard.system.apikeystore import FILE, ApiKeyStore

KEY = ApiKey("abcdefghjk", "ci", (Secret("ab" * 32, 1.0),), 1.0, "me", networks=("10.0.0.0/8",))


def test_what_is_saved_is_loaded_and_ours_alone(tmp_path: Path) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    assert store.load() == ()
    store.save((KEY,))
    assert store.load() == (KEY,)
    assert (tmp_path / "auth" / FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "auth").stat().st_mode & 0o777 == 0o700
    store.save(())
    assert store.load() == ()


def change(place: Path, **members: Any) -> None:
    file = place / "auth" / FILE
    document = json.loads(file.read_text())
    document["keys"][0].update(members)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "members",
    [
        {"expires": "never"}, {"admin": True}, {"secrets": []}, {"secrets": [{"digest": "x", "created": 1}]},
        {"networks": ["everywhere"]}, {"uids": [-1]}, {"certificates": ["x"]}, {"id": None},
    ],
)  # fmt: skip
def test_what_is_damaged_is_an_error(tmp_path: Path, members: dict[str, Any]) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    store.save((KEY,))
    change(tmp_path, **members)
    with pytest.raises(DaemonError, match="no API key counts"):
        store.load()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"v":2,"keys":[]}', '{"keys":[]}', '{"v":1,"keys":[],"more":1}', "\xff"]
)
def test_what_is_no_list_is_an_error(tmp_path: Path, text: str) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    store.save(())
    (tmp_path / "auth" / FILE).write_text(text, "latin-1")
    with pytest.raises(DaemonError, match="cannot be relied on") as caught:
        store.load()
    assert "mcpguard apikey create" in caught.value.hint


def test_two_keys_of_one_id_or_name_are_an_error(tmp_path: Path) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    for other in (
        ApiKey("abcdefghjk", "other", KEY.secrets, 1.0),
        ApiKey("b" * 10, "ci", KEY.secrets, 1.0),
    ):
        store.save((KEY, other))
        with pytest.raises(DaemonError, match="twice"):
            store.load()
    store.save((KEY, ApiKey("b" * 10, "ci", KEY.secrets, 1.0, revoked=2.0)))
    assert len(store.load()) == 2


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_file_that_others_may_read_or_write_does_not_count(tmp_path: Path, mode: int) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    store.save((KEY,))
    (tmp_path / "auth" / FILE).chmod(mode)
    with pytest.raises(DaemonError, match="not a file of this user alone"):
        store.load()


def test_no_link_and_no_pipe_is_followed(tmp_path: Path) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    store.save((KEY,))
    file = tmp_path / "auth" / FILE
    os.rename(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DaemonError):
        store.load()
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(DaemonError, match="not a file of this user alone"):
        store.load()


def test_what_cannot_be_written_leaves_what_was(tmp_path: Path) -> None:
    store = ApiKeyStore(tmp_path / "auth")
    store.save((KEY,))
    (tmp_path / "auth" / ".new").mkdir()
    with pytest.raises(DaemonError, match="cannot write"):
        store.save(())
    assert store.load() == (KEY,)
