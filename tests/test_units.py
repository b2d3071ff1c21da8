"""The units and property lists, held against the tools that read them; what `daemon install` writes, not the templates."""

import plistlib
import re
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest

from mcpguard import __version__
from mcpguard.system import unitfiles
from mcpguard.system.unitfiles import Filling, Scope
from tests.fakes.managers import needs, tool

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "mcpguard/system/units"
EXPOSURE = 2.0
PLIST = {
    "type": "object",
    "required": ["Label", "ProgramArguments", "Sockets", "KeepAlive"],
    "additionalProperties": False,
    "properties": {
        "Label": {"type": "string", "pattern": r"^io\.github\.mcpguard\.(agent|system)$"},
        "ProgramArguments": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 3,
            "prefixItems": [{"pattern": "^/"}, {"const": "daemon"}, {"const": "start"}],
        },
        "EnvironmentVariables": {"type": "object", "additionalProperties": {"type": "string"}},
        "Sockets": {
            "type": "object",
            "required": ["run", "admin"],
            "additionalProperties": {
                "type": "object",
                "required": ["SockType", "SockPathName", "SockPathMode"],
                "additionalProperties": False,
                "properties": {
                    "SockType": {"const": "stream"},
                    "SockPathName": {"type": "string", "pattern": "^/", "maxLength": 103},
                    "SockPathMode": {"enum": [0o600, 0o666]},
                },
            },
        },
        "KeepAlive": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "ExitTimeOut": {"type": "integer", "minimum": 10},
        "ProcessType": {"enum": ["Background", "Standard", "Adaptive", "Interactive"]},
        "StandardErrorPath": {"type": "string", "pattern": "^/"},
        "UserName": {"const": "_mcpguard"},
        "GroupName": {"const": "_mcpguard"},
        "Umask": {"const": 0o077},
    },
}


def written(directory: Path, scope: Scope, **more: object) -> list[Path]:
    """The files of a service, for the systemd that is installed."""
    told = subprocess.run([tool("systemctl"), "--version"], capture_output=True, text=True, check=True)
    version = int(told.stdout.split()[1])
    filling = Filling(__version__, "/bin/true", systemd=version, **more)  # type: ignore[arg-type]
    for unit in unitfiles.units(scope, filling):
        unitfiles.write(directory, unit)
    return sorted(path for path in directory.rglob("mcpguard*") if path.is_file())


@needs("systemd-analyze", "systemctl")
@pytest.mark.parametrize("scope", [Scope.USER, Scope.SYSTEM], ids=lambda scope: scope.value)
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path, scope: Scope) -> None:
    files = [str(path) for path in written(tmp_path, scope) if path.suffix in (".service", ".socket")]
    assert len(files) == 3
    manager = "--user" if scope is Scope.USER else "--system"
    told = subprocess.run(
        [tool("systemd-analyze"), manager, "verify", "--man=no", *files],
        capture_output=True, text=True, check=False, env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@needs("systemd-analyze", "systemctl")
def test_paths_with_spaces_and_signs_of_percent_are_read_as_they_are(tmp_path: Path) -> None:
    program = tmp_path / "a place with 5% room" / "mcpguard"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    filling = Filling(
        "1", str(program), "/some where/5%", {"MCPGUARD_STATE_DIR": "/my state/5%"}, systemd=252
    )
    for unit in unitfiles.units(Scope.USER, filling):
        unitfiles.write(tmp_path, unit)
    told = subprocess.run(
        [tool("systemd-analyze"), "--user", "verify", "--man=no", str(tmp_path / "mcpguard.service")],
        capture_output=True, text=True, check=False, env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert "ListenStream=/some where/5%%/run.sock\n" in (tmp_path / "mcpguard.socket").read_text()
    assert 'Environment="MCPGUARD_STATE_DIR=/my state/5%%"\n' in (tmp_path / "mcpguard.service").read_text()


@needs("systemd-analyze", "systemctl")
def test_exposure_of_the_system_service_is_low(tmp_path: Path) -> None:
    files = written(tmp_path, Scope.SYSTEM)
    (service,) = [path for path in files if path.name == "mcpguard-system.service"]
    told = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", service],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for mcpguard-system.service: ([0-9.]+)", told.stdout)
    assert level is not None, told
    assert float(level[1]) < EXPOSURE
    assert told.returncode == 0


def test_a_systemd_that_knows_no_notify_reload_gets_what_it_knows() -> None:
    for version, kind, reload in ((252, "notify", True), (253, "notify-reload", False)):
        units = unitfiles.units(Scope.SYSTEM, Filling("1", "/bin/true", systemd=version))
        (text,) = [unit.data.decode() for unit in units if unit.name.endswith(".service")]
        assert f"\nType={kind}\n" in text
        assert ("\nExecReload=/bin/kill -HUP $MAINPID\n" in text) is reload
        assert "@" not in text.replace("@system-service", "").replace("@privileged @resources @obsolete", "")


def test_property_list_of_the_agent_is_what_launchd_reads() -> None:
    filling = Filling(
        "1", "/opt/a & b/mcpguard".replace("&", "and"), "/Users/me/run", {"A": "1"}, log="/tmp/log"
    )
    (unit,) = unitfiles.units(Scope.AGENT, filling)
    found = plistlib.loads(unit.data)
    jsonschema_rs.validate(PLIST, found)
    assert found["Sockets"]["run"]["SockPathMode"] == 0o600
    assert found["EnvironmentVariables"] == {"A": "1"}
    assert unitfiles.written_by(unit.data) == "1"


def test_property_list_of_the_machine_is_what_launchd_reads() -> None:
    text = (UNITS / "launchd/io.github.mcpguard.system.plist").read_bytes()
    found = plistlib.loads(text.replace(b"@PROGRAM@", b"/opt/mcpguard/bin/mcpguard"))
    jsonschema_rs.validate(PLIST, found)
    assert b"@" not in text.replace(b"@PROGRAM@", b"")
    modes = {name: sock["SockPathMode"] for name, sock in found["Sockets"].items()}
    assert modes == {"run": 0o666, "admin": 0o600}
    assert "--system" in found["ProgramArguments"]


def test_folders_at_the_top_are_the_ones_of_the_package() -> None:
    for name in ("systemd", "launchd"):
        assert (ROOT / name).resolve() == UNITS / name
        assert len(list((ROOT / name).iterdir())) >= 2
