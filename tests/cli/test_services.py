"""`mcpguard daemon install`, `uninstall`, `status`: what is written, what is asked of the manager, what is left alone.

The manager is that of `tests.fakes.desktops`; a real one is in tests/lifecycle/test_service.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpguard import __version__
from tests.fakes.desktops import NAMES, Desktop


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop() as made:
        yield made


def test_install_is_done_once_and_uninstall_leaves_nothing(desktop: Desktop) -> None:
    told = desktop.verb("install")
    assert desktop.files() == NAMES
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["written"] * 3 + ["done"] * 2
    asked = [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now mcpguard.socket mcpguard-admin.socket",
    ]
    assert desktop.changes() == asked
    before = {path: path.stat().st_mtime_ns for path in desktop.units.iterdir()}
    again = desktop.verb("install")
    assert again.stdout.count("as it is") == 3
    assert {path: path.stat().st_mtime_ns for path in desktop.units.iterdir()} == before
    desktop.changes()
    (desktop.units / "other.service").write_text("mine")
    gone = desktop.verb("uninstall")
    assert gone.stdout.count("removed") == 3
    assert desktop.files() == ["other.service"]
    assert desktop.changes() == [
        "systemctl --user disable --now mcpguard.socket mcpguard-admin.socket mcpguard.service",
        "systemctl --user daemon-reload",
    ]
    assert "nothing is installed here" in desktop.verb("uninstall").stderr
    assert desktop.changes() == []


def test_units_name_this_program_and_the_places_of_this_user(desktop: Desktop) -> None:
    desktop.verb("install")
    service = (desktop.units / "mcpguard.service").read_text()
    assert "Type=notify-reload\n" in service
    assert f'Environment="MCPGUARD_STATE_DIR={desktop.state}"\n' in service
    assert "/bin/mcpguard daemon start --idle 600\n" in service
    assert f"ListenStream={desktop.run_dir}/run.sock\n" in (desktop.units / "mcpguard.socket").read_text()


def test_dry_run_shows_everything_and_does_nothing(desktop: Desktop) -> None:
    told = desktop.verb("install", "--dry-run")
    assert "    ListenStream=" in told.stdout
    assert "to do      systemctl --user enable --now" in told.stdout
    assert desktop.files() == []
    found = json.loads(desktop.verb("install", "--dry-run", "--json").stdout)
    assert [Path(path).name for path in found["written"]] == [
        "mcpguard.socket",
        "mcpguard-admin.socket",
        "mcpguard.service",
    ]
    desktop.verb("install")
    assert desktop.verb("uninstall", "--dry-run").stdout.count("would be removed") == 3
    assert desktop.files() == NAMES
    assert [line for line in desktop.changes() if "disable" in line] == []


def test_what_was_changed_or_is_not_ours_is_left_alone_as_a_whole(desktop: Desktop) -> None:
    desktop.verb("install")
    place = desktop.units / "mcpguard.service"
    for text, words in (
        (place.read_text() + "LimitNOFILE=10\n", "changed since it was written"),
        ("[Service]\nExecStart=/bin/true\n", "not written by mcpguard"),
    ):
        place.write_text(text)
        desktop.changes()
        for verb in ("install", "uninstall"):
            told = desktop.verb(verb, code=6)
            assert f"{place}: {words}: nothing was done: keep your changes in a drop-in" in told.stderr
        assert (desktop.files(), place.read_text(), desktop.changes()) == (NAMES, text, [])
        assert words in desktop.verb("status", code=3).stdout


def test_older_version_is_replaced_and_a_running_daemon_is_left_to_the_user(desktop: Desktop) -> None:
    desktop.verb("install")
    desktop.env["SYSTEMD"] = "252"  # another text, as another version has one
    assert f"of mcpguard {__version__}, and not as this one" in desktop.verb("status").stdout
    told = desktop.verb("install")
    assert "to have it start anew: systemctl --user try-restart mcpguard.service" in told.stderr
    assert "ExecReload=" in (desktop.units / "mcpguard.service").read_text()


def test_without_a_manager_the_files_are_written_and_the_rest_is_said(desktop: Desktop) -> None:
    desktop.away.touch()
    told = desktop.verb("install")
    assert desktop.files() == NAMES
    assert "no user manager of systemd answers; where one does:" in told.stderr
    assert told.stdout.count("to do") == 2
    assert desktop.changes() == []
    assert "no user manager of systemd answers" in desktop.verb("status", code=3).stdout
    desktop.verb("uninstall")
    assert (desktop.files(), desktop.changes()) == ([], [])


def test_manager_of_another_home_is_asked_nothing(desktop: Desktop) -> None:
    """It never sees these files, and would enable what it has of this name."""
    desktop.env["READ"] = "/home/somebody/.config/systemd/user"
    told = desktop.verb("install")
    assert "no user manager of systemd answers; where one does:" in told.stderr
    assert (desktop.files(), desktop.changes()) == (NAMES, [])


def test_manager_that_names_only_folders_that_were_there_is_known_by_its_home(desktop: Desktop) -> None:
    """As some versions of systemd do, where nobody had a unit before."""
    desktop.env |= {"READ": "", "AT_HOME": str(desktop.root)}
    assert desktop.verb("install").stdout.count("done  ") == 2
    assert [line for line in desktop.changes() if "enable --now" in line] != []


def test_manager_that_refuses_is_quoted(desktop: Desktop) -> None:
    Path(f"{desktop.asked}.fail").touch()
    told = desktop.verb("install", code=1)
    assert (
        "enable --now mcpguard.socket mcpguard-admin.socket failed: Failed to enable unit: no" in told.stderr
    )


def test_status_says_what_stands_there_and_whether_it_listens(desktop: Desktop) -> None:
    assert json.loads(desktop.verb("status", "--json", code=3).stdout)["installed"] is False
    desktop.verb("install")
    found = json.loads(desktop.verb("status", "--json").stdout)
    assert (found["installed"], found["listens"]) == (True, True)
    assert {each["version"] for each in found["files"].values()} == {__version__}
    assert found["manager"]["mcpguard.socket"] == "active"
    Path(f"{desktop.asked}.active").unlink()
    assert json.loads(desktop.verb("status", "--json", code=3).stdout)["listens"] is False


def test_daemon_on_demand_with_servers_is_not_ended(desktop: Desktop) -> None:
    desktop.serve()
    host = desktop.play().greet()
    told = desktop.verb("install", code=1)
    assert "a daemon started on demand has 1 connection, which would be lost" in told.stderr
    assert desktop.files() == []
    assert "result" in host.call("echo")
    host.close_stdin()
    assert host.wait() == 0
    desktop.verb("install")
    assert desktop.daemon
    assert desktop.daemon.wait(20) == 0


def test_image_gets_the_files_of_everybodys_service_and_no_manager_is_asked(
    desktop: Desktop, tmp_path: Path
) -> None:
    told = desktop.verb("install", "--system", "--root", str(tmp_path))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "etc/systemd/system/mcpguard-system-admin.socket",
        "etc/systemd/system/mcpguard-system.service",
        "etc/systemd/system/mcpguard-system.socket",
        "etc/sysusers.d/mcpguard.conf",
        "etc/tmpfiles.d/mcpguard.conf",
    ]
    assert "systemd-sysusers mcpguard.conf" in told.stdout
    assert "systemd-tmpfiles --create mcpguard.conf" in told.stdout
    assert desktop.changes() == []
    desktop.verb("status", "--system", "--root", str(tmp_path))
    desktop.verb("uninstall", "--system", "--root", str(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.root
def test_program_that_others_could_change_does_not_serve_everybody(desktop: Desktop) -> None:
    """This one is in somebody's folder: nothing is written, and nobody is asked."""
    told = desktop.verb("install", "--system", code=5)
    assert "this mcpguard cannot serve everybody" in told.stderr
    assert "/opt/mcpguard" in told.stderr
    assert desktop.changes() == []
