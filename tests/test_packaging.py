"""What a wheel holds: the package, the program, the licence, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel that is built now."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True, timeout=110)
    (wheel,) = folder.glob("mcpguard-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def test_every_module_is_there_and_no_test(names: list[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "mcpguard").rglob("*.py")}
    assert modules <= set(names)
    foreign = [name for name in names if not name.startswith(("mcpguard/", "mcpguard-"))]
    assert foreign == []
    assert not any(part in name for name in names for part in ("__pycache__", ".pyc", "node_modules"))


def test_units_and_property_lists_are_there(names: list[str]) -> None:
    units = {
        str(path.relative_to(ROOT)) for path in (ROOT / "mcpguard/system/units").rglob("*") if path.is_file()
    }
    assert len(units) >= 10
    assert units <= set(names)


def test_the_program_the_types_and_the_licence_are_there(names: list[str]) -> None:
    assert "mcpguard/py.typed" in names
    assert any(name.endswith(".data/scripts/mcpguard") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.endswith("entry_points.txt") for name in names), (
        "a wrapper would import a library first"
    )
