"""Which programs everybody's service may run: nobody else can change them, and everybody can reach them."""

import os
from pathlib import Path

import pytest

from mcpguard.system.serviceprogram import _fault_of, _places, fault


def test_what_others_own_can_change_or_cannot_read_is_not_fit(tmp_path: Path) -> None:
    place = tmp_path / "program"
    place.write_text("")
    for mode, words in (
        (0o755, ""),
        (0o775, "written to by others"),
        (0o757, "written to by others"),
        (0o750, "read"),
    ):
        place.chmod(mode)
        assert words in _fault_of(place, os.getuid())
        assert bool(words) == bool(_fault_of(place, os.getuid()))
    tmp_path.chmod(0o700)
    assert "cannot be read by others" in _fault_of(tmp_path, os.getuid())


@pytest.mark.root
def test_what_another_user_owns_is_not_fit(tmp_path: Path) -> None:
    place = tmp_path / "program"
    place.write_text("")
    place.chmod(0o755)
    os.chown(place, 65533, -1)
    assert "belongs to uid 65533" in _fault_of(place, 0)


def test_a_place_that_the_service_does_not_see_is_named() -> None:
    for place in ("/root", "/home", "/tmp"):
        assert _fault_of(Path(place), 0) == "is where the service sees nothing"


def test_program_below_a_temporary_folder_is_not_fit(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("")
    assert fault(str(tmp_path / "program"), owner=os.getuid()) != ""


def test_links_are_followed_by_every_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "program").write_text("")
    (tmp_path / "second").symlink_to("real/program")
    (tmp_path / "link").symlink_to(tmp_path / "second")
    found = set(_places(tmp_path / "link"))
    assert {tmp_path / name for name in ("link", "second", "real", "real/program")} | {Path("/")} <= found
