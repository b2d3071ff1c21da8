"""`mcpguard policy trust-folder`, `folders`, `forget-folder`, as a person uses them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.stage import House

PROJECT = 'version = 1\n[[rule]]\nid = "no-notes"\ntools = ["note"]\neffect = "deny"\n'
POLICY = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'


@pytest.fixture
def place() -> Iterator[House]:
    """A home in which no daemon runs."""
    with House() as made:
        yield made


@pytest.fixture
def project(place: House) -> Path:
    folder = place.root.resolve() / "project"
    folder.mkdir()
    (folder / ".mcpguard.toml").write_text(PROJECT)
    return folder


def test_trust_show_edit_trust_again_forget(place: House, project: Path) -> None:
    assert "no folder is trusted" in place.mcpguard("policy", "folders").stdout
    shown = place.mcpguard("policy", "trust-folder", str(project), "--dry-run").stdout
    assert "1 rule that deny or ask" in shown
    assert "no-notes" in shown
    assert "nothing was trusted" in shown
    said = place.mcpguard("policy", "trust-folder", "--yes", cwd=project)
    assert (said.returncode, f"trusted {project}; undo:" in said.stdout) == (0, True), said
    assert "trusted already" in place.mcpguard("policy", "trust-folder", str(project)).stdout
    (project / ".mcpguard.toml").write_text(PROJECT.replace("no-notes", "other"))
    assert "it was edited since" in place.mcpguard("policy", "folders").stdout
    again = place.mcpguard("policy", "trust-folder", str(project), "--yes").stdout
    assert again.index("other") < again.index("no longer:") < again.index("no-notes")
    (listed,) = json.loads(place.mcpguard("policy", "folders", "--json").stdout)["folders"]
    assert (listed["folder"], listed["rule_count"], listed["file"]) == (str(project), 1, "as it was trusted")
    assert place.mcpguard("policy", "forget-folder", str(project)).returncode == 0
    gone = place.mcpguard("policy", "forget-folder", str(project))
    assert (gone.returncode, "this folder is not trusted" in gone.stderr) == (6, True)


def test_a_folder_that_was_removed_can_be_forgotten(place: House, project: Path) -> None:
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    (project / ".mcpguard.toml").unlink()
    project.rmdir()
    assert "it is gone" in place.mcpguard("policy", "folders").stdout or "cannot be read" in (
        place.mcpguard("policy", "folders").stdout
    )
    assert place.mcpguard("policy", "forget-folder", str(project)).returncode == 0


@pytest.mark.parametrize("text", [None, "", PROJECT.replace("deny", "allow"), "\xff", "version = 2\n"])
def test_what_cannot_be_trusted_is_a_sentence(place: House, project: Path, text: str | None) -> None:
    file = project / ".mcpguard.toml"
    file.unlink()
    if text is not None:
        file.write_text(text, encoding="latin-1")
    said = place.mcpguard("policy", "trust-folder", str(project), "--yes")
    assert said.returncode == 6
    assert str(file) in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_nobody_says_yes_for_somebody_who_is_not_there(place: House, project: Path) -> None:
    said = place.mcpguard("policy", "trust-folder", str(project), stdin=None)
    assert said.returncode != 0
    assert "no folder is trusted" in place.mcpguard("policy", "folders").stdout


def test_explain_counts_the_folder(place: House, project: Path) -> None:
    policy = place.root / "p.toml"
    policy.write_text(POLICY)
    place.mcpguard("policy", "apply", str(policy))
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    inside = place.mcpguard("policy", "explain", "box", "note", "--cwd", str(project), "--args", "{}")
    assert (inside.returncode, "rule    no-notes" in inside.stdout) == (5, True), inside
    assert f"{project}/.mcpguard.toml" in inside.stdout
    outside = place.mcpguard("policy", "explain", "box", "note", "--cwd", "/", "--args", "{}")
    assert outside.returncode == 0, outside
