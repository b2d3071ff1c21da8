"""A project's own policy at a real daemon: it narrows in its folder once it is trusted, and as it was then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.forms import FORMS, arrive, enrol, inside, leave
from tests.lifecycle.stage import MCPGUARD, Host, House, house, until

POLICY = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'
PROJECT = 'version = 1\n[[rule]]\nid = "no-notes"\ntools = ["note"]\neffect = "deny"\n'


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(POLICY)
        yield made


@pytest.fixture
def project(place: House) -> Path:
    folder = place.root.resolve() / "project"
    (folder / "src").mkdir(parents=True)
    (folder / ".mcpguard.toml").write_text(PROJECT)
    return folder


def denied(host: Host) -> bool:
    """Whether a note is refused by the rule of the project."""
    said = str(host.call("note", n=1))
    assert ("no-notes" in said) or "error" not in said.lower(), said
    return "no-notes" in said


def test_it_narrows_in_its_folder_and_below_once_it_is_trusted(place: House, project: Path) -> None:
    before, elsewhere = place.play(cwd=project).greet(), place.play().greet()
    assert not denied(before)
    done = place.mcpguard("policy", "trust-folder", str(project), "--yes")
    assert done.returncode == 0, done
    assert denied(before), "a connection that was open gets it, too"
    for cwd in (project, project / "src"):
        assert denied(place.play(cwd=cwd).greet())
    assert not denied(elsewhere)
    assert not denied(place.play(cwd=project.parent).greet())
    assert place.mcpguard("policy", "forget-folder", str(project)).returncode == 0
    assert not denied(before)
    events = [one["event"] for one in place.records() if one["type"] == "policy"]
    assert events == ["applied", "folder-trusted", "folder-forgotten"]


def test_a_link_does_not_lead_out_of_it(place: House, project: Path) -> None:
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    (place.root / "link").symlink_to(project / "src")
    assert denied(place.play(cwd=place.root / "link").greet())


@pytest.mark.parametrize("what", ["edited", "emptied", "removed"])
def test_what_an_agent_does_to_the_file_changes_nothing(place: House, project: Path, what: str) -> None:
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    file = project / ".mcpguard.toml"
    if what == "removed":
        file.unlink()
    else:
        file.write_text("" if what == "emptied" else PROJECT.replace("note", "nothing"))
    host = place.play(cwd=project).greet()
    assert denied(host)
    host.close_stdin()
    host.wait()
    assert any("counts as it was when trusted" in line for line in host.errors())


def test_a_file_that_nobody_trusted_is_told_of_and_does_not_count(place: House, project: Path) -> None:
    host = place.play(cwd=project / "src").greet()
    assert not denied(host)
    host.close_stdin()
    host.wait()
    said = "\n".join(host.errors())
    assert f"{project}/.mcpguard.toml does not count, because nobody trusted it" in said
    assert f"mcpguard policy trust-folder {project}" in said


def test_folders_in_folders_all_count(place: House, project: Path) -> None:
    (project / "src" / ".mcpguard.toml").write_text(
        PROJECT.replace("note", "echo").replace("no-notes", "no-echo")
    )
    for folder in (project, project / "src"):
        assert place.mcpguard("policy", "trust-folder", str(folder), "--yes").returncode == 0
    host = place.play(cwd=project / "src").greet()
    assert denied(host)
    assert "no-echo" in str(host.call("echo"))


def test_a_damaged_list_lets_nothing_start(place: House, project: Path) -> None:
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    (place.state / "policy" / "folders.json").write_text("{")
    host = place.play(cwd=project)
    assert host.wait() != 0
    assert any("what is known of trusted folders" in line and "rm " in line for line in host.errors())


def test_a_program_that_an_enrolled_host_started_trusts_no_folder(place: House, project: Path) -> None:
    first = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, first, "acme")
    leave(first)
    host = arrive(place, FORMS["pipes"], name="box").greet()
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    for words in (["forget-folder", str(project)], ["trust-folder", str(project.parent), "--yes"]):
        (project.parent / ".mcpguard.toml").write_text(PROJECT)
        code, said = inside(host, *MCPGUARD, "policy", *words)
        assert (code, "may not change this" in said) == (5, True), said
    assert [one["folder"] for one in place.ask({"verb": "folders"})["folders"]] == [str(project)]


def test_while_no_policy_is_applied_it_watches_only(project: Path, place: House) -> None:
    place.mcpguard("policy", "trust-folder", str(project), "--yes")
    place.mcpguard("daemon", "stop")
    assert place.daemon
    place.daemon.wait(10)
    for file in (place.state / "policy").glob("active.*"):
        file.unlink()
    place.serve()
    assert until(place.answers)
    assert not denied(place.play(cwd=project).greet())
