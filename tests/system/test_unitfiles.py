"""What was written by mcpguard is told from what was not, and only that is replaced or removed."""

from pathlib import Path

import pytest

from mcpguard.errors import ConfigError
from mcpguard.system import unitfiles
from mcpguard.system.unitfiles import Filling, Scope, Standing, Unit

FILLING = Filling("1.2.3", "/opt/mcpguard")


@pytest.mark.parametrize("scope", list(Scope))
def test_every_file_says_who_wrote_it_until_somebody_touches_it(tmp_path: Path, scope: Scope) -> None:
    for unit in unitfiles.units(scope, FILLING):
        assert unitfiles.standing(tmp_path, unit) is Standing.MISSING
        unitfiles.write(tmp_path, unit)
        place = tmp_path / unit.name
        assert place.stat().st_mode & 0o777 == 0o644
        assert unitfiles.standing(tmp_path, unit) is Standing.CURRENT
        assert unitfiles.written_by(place.read_bytes()) == "1.2.3"
        for other in unitfiles.units(scope, Filling("1.3.0", "/opt/elsewhere")):
            if other.name == unit.name:
                assert unitfiles.standing(tmp_path, other) is Standing.OLDER
        for touched in (unit.data + b"\n", unit.data.replace(b"mcpguard", b"mcpguarD", 2)):
            place.write_bytes(touched)
            assert unitfiles.written_by(touched) == ""
            assert unitfiles.standing(tmp_path, unit) in (Standing.CHANGED, Standing.FOREIGN)
            with pytest.raises(ConfigError, match="nothing was done"):
                unitfiles.refuse_others(tmp_path, [unit])


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("program", ["/opt/mcpguard", "/opt/100% a/mcpguard"])
def test_program_that_a_unit_starts_is_read_from_it(scope: Scope, program: str) -> None:
    found = {unitfiles.program_of(unit.data) for unit in unitfiles.units(scope, Filling("1", program))}
    assert found - {""} == {program}


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"<plist", b"<plist><array/></plist>", b"[Service]\nExecStart=\n"]
)
def test_unit_that_starts_nothing(text: bytes) -> None:
    assert unitfiles.program_of(text) == ""


def test_links_folders_and_what_others_wrote_are_foreign(tmp_path: Path) -> None:
    unit = Unit("mcpguard.service", b"x")
    place = tmp_path / unit.name
    place.symlink_to("/dev/null")  # as `systemctl mask` does
    assert unitfiles.standing(tmp_path, unit) is Standing.FOREIGN
    place.unlink()
    place.mkdir()
    assert unitfiles.standing(tmp_path, unit) is Standing.FOREIGN
    place.rmdir()
    place.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(ConfigError, match="not written by mcpguard"):
        unitfiles.refuse_others(tmp_path, [unit])


def test_a_file_that_is_written_replaces_no_file_through_a_link(tmp_path: Path) -> None:
    unit = Unit("a.service", b"new")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".a.service.new").symlink_to(tmp_path / "precious")
    unitfiles.write(tmp_path, unit)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.service").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.service", "precious"]


def test_what_is_not_there_is_not_removed(tmp_path: Path) -> None:
    units = unitfiles.units(Scope.USER, FILLING)
    unitfiles.write(tmp_path, units[0])
    assert unitfiles.remove(tmp_path, units) == [tmp_path / units[0].name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", ['/a"b', "/a\nExecStart=/bin/evil", "/a\\b", "/a$b", "/a;b", "/\u00e4", "/<x>&"]
)
def test_path_that_a_unit_cannot_carry_is_refused(path: str) -> None:
    for scope in Scope:
        with pytest.raises(ConfigError, match="expected letters"):
            unitfiles.units(scope, Filling("1", path))
    with pytest.raises(ConfigError, match="expected letters"):
        unitfiles.units(Scope.USER, Filling("1", "/a", environment={"MCPGUARD_STATE_DIR": path}))
