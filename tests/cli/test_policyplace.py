"""Files that are named on the command line."""

from pathlib import Path

import pytest

from mcpguard.cli.policyplace import named, read
from mcpguard.errors import ConfigError


def test_names_are_absolute_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    assert named("link/p.toml") == f"{tmp_path}/link/p.toml"
    assert named("-") == "standard input"
    assert named("a\udcff") == f"{tmp_path}/a\\udcff"


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="found a directory"):
        read(str(tmp_path))
