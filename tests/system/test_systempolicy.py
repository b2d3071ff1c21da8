"""The administrator's policy: believed only if nobody else could have written it."""

import os
from pathlib import Path

import pytest

from mcpguard.errors import ConfigError
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.systempolicy import PLACE, read

TEXT = 'version = 1\nmode = "enforce"\nfinal = ["mode"]\n'
ME = os.geteuid()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o755)
    file = directory / "policy.toml"
    file.write_text(TEXT)
    file.chmod(0o644)
    return file


def test_it_is_where_administrators_look_for_it() -> None:
    assert str(PLACE) == "/etc/mcpguard/policy.toml"


def test_none_is_none(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere" / "policy.toml") is None
    assert read(tmp_path / "policy.toml") is None


def test_it_may_have_finals(place: Path) -> None:
    ruleset = read(place, owner=ME)
    assert ruleset
    assert ruleset.final == ("mode",)


def refused(place: Path, says: str, owner: int = ME) -> None:
    with pytest.raises(ConfigError) as caught:
        read(place, owner=owner)
    assert says in caught.value.sentence()
    assert str(place.parent) in caught.value.file


def test_what_others_could_have_written_is_an_error(place: Path) -> None:
    place.chmod(0o666)
    refused(place, "found mode 0666")
    place.chmod(0o644)
    place.parent.chmod(0o777)
    refused(place, "found mode 0777")
    place.parent.chmod(0o755)
    refused(place, "expected to be owned by uid 54321", owner=54321)


def test_a_link_a_directory_and_a_bad_file_are_errors(place: Path) -> None:
    place.write_text("version = 1\n")
    refused(place, "mode")
    place.unlink()
    place.symlink_to("/etc/passwd")
    refused(place, "cannot be read")
    place.unlink()
    place.mkdir(mode=0o755)
    refused(place, "is a directory")
    place.rmdir()
    os.mkfifo(place, 0o600)
    refused(place, "expected a regular file")


def test_a_policy_that_contradicts_it_is_not_applied(place: Path, tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "policy", lambda: read(place, owner=ME))
    assert store.load() is not None
    with pytest.raises(ConfigError, match="mode is final"):
        store.apply(b'version = 1\nmode = "observe"\n', "mine.toml")
    assert store.current() is None
    applied = store.apply(b'version = 1\nmode = "enforce"\nrecheck = "30s"\n', "mine.toml")
    assert applied == store.load()
    assert applied.final == ("mode",)


def test_a_contradiction_that_comes_later_is_an_error_and_no_silent_preference(
    place: Path, tmp_path: Path
) -> None:
    store = PolicyStore(tmp_path / "policy", lambda: read(place, owner=ME))
    store.apply(b'version = 1\nmode = "enforce"\nrecheck = "30s"\n', "mine.toml")
    place.write_text(TEXT.replace('["mode"]', '["mode", "recheck"]'))
    with pytest.raises(ConfigError, match="recheck is final"):
        store.load()
