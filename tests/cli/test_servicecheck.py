"""`mcpguard doctor` on the service: fine without one; what is wrong with one is said, and mended where it can be."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpguard import __version__
from mcpguard.cli.checked import Finding, Level
from mcpguard.cli.servicecheck import service
from mcpguard.system.unitfiles import Filling, Scope, units, write
from tests.cli.homes import PROGRAM
from tests.fakes.desktops import NAMES, Desktop

OK, NOTE, BAD = Level.OK, Level.NOTE, Level.BAD
INSTALL = "mcpguard daemon install"


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """One that is ours for the time being."""
    with Desktop() as made:
        lived_in(made, monkeypatch)
        yield made


def lived_in(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in desktop.env.items():
        monkeypatch.setenv(name, value)


def only() -> Finding:
    (one,) = service()
    return one


def mended() -> None:
    for one in service():
        assert one.mend
        one.mend()
    assert only().level is OK


def written(desktop: Desktop, **more: Any) -> None:
    """A service as another mcpguard has written it."""
    filling = {
        "version": __version__,
        "program": PROGRAM,
        "runtime": str(desktop.run_dir),
        "environment": {
            "MCPGUARD_RUNTIME_DIR": str(desktop.run_dir),
            "MCPGUARD_STATE_DIR": str(desktop.state),
        },
        "systemd": 257,
    }
    for unit in units(Scope.USER, Filling(**{**filling, **more})):
        write(desktop.units, unit)


def test_none_is_fine_and_said(desktop: Desktop) -> None:
    one = only()
    assert (one.level, one.fix) == (OK, "")
    assert one.words.startswith("not installed, and need not be: the first mcpguard run starts the daemon")
    assert one.words.endswith(f"; {INSTALL} makes it one")
    desktop.away.touch()
    assert only().words.endswith(" (no user manager of systemd answers)")
    assert desktop.files() == []


def test_one_that_listens_is_fine(desktop: Desktop) -> None:
    desktop.verb("install")
    assert (only().level, only().words) == (OK, f"installed in {desktop.units}, and its manager listens")


def test_program_that_is_gone_is_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    written(desktop, program="/opt/gone to/mcpguard")
    assert (only().level, only().words) == (BAD, "it starts /opt/gone to/mcpguard, which is not there")
    assert only().fix == INSTALL
    mended()
    assert PROGRAM in (desktop.units / "mcpguard.service").read_text()


def test_another_program_is_a_note_and_left(desktop: Desktop) -> None:
    """Whoever tries a second mcpguard does not want its doctor to take the service over."""
    desktop.verb("install")
    written(desktop, program="/bin/sh")
    one = only()
    assert (one.level, one.words, one.mend) == (NOTE, f"it starts /bin/sh, and this is {PROGRAM}", None)


def test_another_version_is_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    written(desktop, version="0.0.9")
    assert only().words == f"it was written by mcpguard 0.0.9, and this is {__version__}"
    mended()


def test_another_place_or_systemd_is_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    written(desktop, systemd=252)
    assert (only().level, only().words) == (BAD, "mcpguard.service is not as it would be written now")
    mended()


def test_part_that_is_missing_is_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    (desktop.units / "mcpguard-admin.socket").unlink()
    assert (only().level, only().words) == (BAD, f"{desktop.units}: mcpguard-admin.socket are missing")
    mended()
    assert desktop.files() == NAMES


def test_unit_that_was_changed_is_a_note_and_left(desktop: Desktop) -> None:
    desktop.verb("install")
    unit = desktop.units / "mcpguard.service"
    unit.write_text(unit.read_text() + "LimitNOFILE=10\n")
    one = only()
    assert (one.level, one.words, one.mend) == (NOTE, "changed since it was written: nothing was done", None)


def test_sockets_that_do_not_listen_are_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    Path(f"{desktop.asked}.active").unlink()
    words = "it does not listen: mcpguard.socket is inactive, mcpguard-admin.socket is inactive"
    assert (only().level, only().words) == (BAD, words)
    mended()


def test_service_that_will_not_be_there_after_the_next_start_is_bad_and_mended(desktop: Desktop) -> None:
    desktop.verb("install")
    Path(f"{desktop.asked}.enabled").unlink()
    assert (only().level, only().words) == (BAD, "it listens now, and not after the next start")
    mended()


def test_installed_without_a_manager_is_a_note(desktop: Desktop) -> None:
    desktop.verb("install")
    desktop.away.touch()
    one = only()
    assert (one.level, one.mend) == (NOTE, None)
    assert one.words.startswith("it is installed, and no user manager of systemd answers")


def test_doctor_mends_it_and_says_what_it_cannot(desktop: Desktop) -> None:
    desktop.verb("install")
    Path(f"{desktop.asked}.active").unlink()
    Path(f"{desktop.asked}.fail").touch()
    done = desktop.mcpguard("doctor", "--fix", cwd=desktop.units)
    assert done.returncode == 7
    assert "could not mend: it does not listen: " in done.stderr
    assert "Failed to enable unit: no" in done.stderr
    Path(f"{desktop.asked}.fail").unlink()
    done = desktop.mcpguard("doctor", "--fix", "--json", cwd=desktop.units)
    (one,) = (one for one in json.loads(done.stdout)["findings"] if one["check"] == "service")
    assert (one["level"], one["mended"], done.returncode) == ("bad", True, 0)
    done = desktop.mcpguard("doctor", "--json", cwd=desktop.units)
    (one,) = (one for one in json.loads(done.stdout)["findings"] if one["check"] == "service")
    assert (one["level"], done.returncode) == ("ok", 0)
