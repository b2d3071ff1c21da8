"""`audit export`: the whole log in every format, or a part of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcpguard.audit.formats import FORMATS
from mcpguard.cli.audit import audit
from tests.audit.exported import ends, lines, read_cef, read_syslog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "audit-000001.jsonl").write_bytes(b"".join(lines()))
    return folder


def run(*words: str) -> Any:
    return CliRunner().invoke(audit, ["export", *words])


@pytest.mark.parametrize("name", FORMATS)
def test_one_event_one_line(log: Path, name: str) -> None:
    done = run("--format", name, str(log))
    assert done.exit_code == 0, done.output
    found = done.stdout_bytes.decode().removesuffix("\n").split("\n")
    assert len(found) == len(lines())
    assert all(ends(line) == 1 for line in found)
    for line in found:
        if name == "cef":
            read_cef(line)
        elif name == "syslog":
            read_syslog(line.encode())
        else:
            json.loads(line)


def test_a_part_by_time(log: Path) -> None:
    unreadable = 2  # nobody can say that they are not of that time
    assert len(run("--since", "2026-11-22T18:00:00Z", str(log)).stdout.splitlines()) == len(lines())
    assert len(run("--since", "2026-11-22T18:00:01Z", str(log)).stdout.splitlines()) == unreadable
    assert len(run("--until", "2026-11-22T18:00:00Z", str(log)).stdout.splitlines()) == unreadable
    assert run("--since", "sunrise", str(log)).exit_code == 2


def test_a_file_is_private_and_whole_or_not_there(log: Path, tmp_path: Path) -> None:
    place = tmp_path / "out.jsonl"
    done = run("-o", str(place), str(log))
    assert done.exit_code == 0
    assert place.stat().st_mode & 0o777 == 0o600
    assert len(place.read_text().splitlines()) == len(lines())
    missing = tmp_path / "none" / "out"
    assert run("-o", str(missing), str(log)).exit_code == 1
    assert run("-o", str(tmp_path / "x"), str(tmp_path / "nolog")).exit_code == 1
    assert not [
        path for path in tmp_path.iterdir() if "x" in path.name and path != place and path.suffix != ".jsonl"
    ]


def test_a_part_by_what_records_say(log: Path) -> None:
    every = [json.loads(line) for line in run(str(log)).stdout.splitlines()]
    calls = [one for one in every if one.get("type") == "call"]
    assert calls
    assert [json.loads(line) for line in run("--type", "call", str(log)).stdout.splitlines()] == calls
    assert run("--type", "call", "--server", "nonesuch", str(log)).stdout == ""
